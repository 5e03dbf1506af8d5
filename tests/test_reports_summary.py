"""The verdict for pytest-html and for the terminal: complete, escaped, without control codes."""

from __future__ import annotations

import msgspec
import pytest

from harness.core.finding import Evidence
from harness.core.record import Check, Outcome, Record
from reports.page import render_report
from reports.summary import evidence_html, verdict_block, verdict_text
from tests.records import SENTENCE, empty_record, failed_record, hostile_record, refused_record, sample_record


def test_verdict_text_lists_verdict_reasons_and_remedies() -> None:
    """The terminal shows the verdict first, then each reason with what to do."""
    lines = verdict_text(failed_record()).splitlines()

    assert lines[0].startswith("Verdict: NOT QUALIFIED.")
    assert lines[1].startswith("  - The kernel uses no DMA remapping")
    assert lines[2].startswith("    What to do: Enable")
    assert len(lines) == 5


def test_verdict_text_ends_with_the_figures() -> None:
    """The primary sentence is shown, and on a virtual bench the warning with it."""
    assert verdict_text(sample_record()).splitlines()[1:] == [SENTENCE, "virtual bench: figures are not hardware figures"]


def test_verdict_text_lets_no_device_speak_to_the_terminal() -> None:
    """Control codes are shown as escapes, and a line break in a reason starts no line of its own."""
    text = verdict_text(hostile_record("x\x1b[2J\rVerdict: QUALIFIED\nVerdict: QUALIFIED\u202e"))

    assert not [char for char in text if char != "\n" and not char.isprintable()]
    assert [line for line in text.splitlines() if line.startswith("Verdict:")] == [text.splitlines()[0]]


@pytest.mark.parametrize("record", [sample_record(), failed_record(), refused_record(), empty_record()])
def test_verdict_block_names_the_verdict(record: Record) -> None:
    """The block for pytest-html's page holds the verdict's word and every reason."""
    block = verdict_block(record)

    assert record.verdict.board.value in block
    assert block.count("<li") == len(record.verdict.reasons)


def test_verdict_block_escapes_what_devices_say() -> None:
    """Neither markup nor control codes of a record reach pytest-html's page."""
    block = verdict_block(hostile_record())

    assert "<img" not in block
    assert "\x1b" not in block


def test_evidence_shows_reason_remedy_and_every_source() -> None:
    """A row's evidence holds all that the check knows, escaped, with the lines of the evidence as they were."""
    check = Check("a/b", "T.", "a", Outcome.FAIL, "why <b>", "do this", (Evidence("dmesg", "one\n\ttwo\x1b[31m"),))
    html = evidence_html(check)

    assert "why &lt;b&gt;" in html
    assert "do this" in html
    assert "dmesg" in html
    assert "one\n\ttwo\\x1b[31m" in html


def test_check_without_evidence_has_no_block() -> None:
    """A check that has nothing to show adds nothing to its row."""
    assert evidence_html(Check("a/b", "T.", "a", Outcome.PASS)) == ""


@pytest.mark.parametrize(("cycles", "said"), [(1, "(one cycle)"), (3, "(3 cycles)")])
def test_verdict_says_how_many_round_trips(cycles: int, said: str) -> None:
    """A verdict that rests on one round trip says so, on the terminal and on pytest-html's page."""
    record = sample_record()
    record = msgspec.structs.replace(record, run=msgspec.structs.replace(record.run, cycles=cycles))

    assert verdict_text(record).splitlines()[0].endswith(said)
    assert said in verdict_block(record)
    assert said.strip("()") in render_report(record)
