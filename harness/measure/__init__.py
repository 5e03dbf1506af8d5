"""From a fio job to a judgement."""
