"""From outcomes to the board's verdict: pure, so that any record can be judged again."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.record import BoardVerdict, Check, Outcome, Verdict

_SHOWN = (Outcome.FAIL, Outcome.REFUSED, Outcome.ERROR, Outcome.NOT_MEASURABLE, Outcome.CONDITION)


def judge_board(checks: Sequence[Check], *, partial: str = "", interrupted: str = "") -> Verdict:
    """Judge a board by its checks.

    ``partial`` says why stages were left out (empty: none were), ``interrupted`` what ended the run early.
    What the host would not say leaves the board undecided, or where it is not required a condition: it is never a pass.
    A proven failure outweighs an error of the bench: the error might go away, the failure will not.
    """
    outcomes = {check.outcome for check in checks}
    reasons = _reasons(checks)
    if interrupted:
        return Verdict(BoardVerdict.UNDECIDED, (interrupted, *reasons))
    if partial:
        return Verdict(BoardVerdict.PARTIAL, (partial, *reasons))
    if Outcome.FAIL in outcomes:
        return Verdict(BoardVerdict.NOT_QUALIFIED, reasons)
    unknown = any(check.outcome is Outcome.NOT_MEASURABLE and check.required for check in checks)
    if not checks or unknown or outcomes & {Outcome.ERROR, Outcome.REFUSED, Outcome.BLOCKED}:
        return Verdict(BoardVerdict.UNDECIDED, reasons or ("no check was run",))
    if outcomes & {Outcome.CONDITION, Outcome.NOT_MEASURABLE}:
        return Verdict(BoardVerdict.CONDITIONAL, reasons)
    return Verdict(BoardVerdict.QUALIFIED)


def _reasons(checks: Sequence[Check]) -> tuple[str, ...]:
    """Return each distinct reason once, failures first; what is merely blocked has its cause listed already."""
    ordered = [check for outcome in _SHOWN for check in checks if check.outcome is outcome]
    return tuple(dict.fromkeys(check.reason or check.title for check in ordered))


def exit_status(verdict: BoardVerdict, *, strict: bool = False) -> int:
    """Return a verb's exit status: 0 good, 1 NOT QUALIFIED (strict: CONDITIONAL too), 3 undecided."""
    if verdict is BoardVerdict.QUALIFIED:
        return 0
    if verdict is BoardVerdict.CONDITIONAL:
        return 1 if strict else 0
    return 1 if verdict is BoardVerdict.NOT_QUALIFIED else 3
