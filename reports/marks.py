"""Marks: the shape, tone and word by which an outcome, a verdict or a severity is recognised.

Shape and word carry the meaning; the tone (a colour) only repeats it.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.core.finding import Severity
from harness.core.record import BoardVerdict, Outcome


@dataclass(frozen=True)
class Mark:
    """``shape`` names an icon of the templates, ``tone`` a colour of the style sheet, ``glyph`` is the icon as text."""

    shape: str
    tone: str  # good, weak, bad, unsure, quiet
    word: str
    glyph: str


VERDICTS = {
    BoardVerdict.QUALIFIED: Mark("check", "good", "QUALIFIED", "✔"),
    BoardVerdict.CONDITIONAL: Mark("warning", "weak", "CONDITIONAL", "▲"),
    BoardVerdict.NOT_QUALIFIED: Mark("cross", "bad", "NOT QUALIFIED", "✘"),
    BoardVerdict.UNDECIDED: Mark("question", "unsure", "UNDECIDED", "?"),
    BoardVerdict.PARTIAL: Mark("partial", "quiet", "PARTIAL", "◐"),
}

MEANINGS = {
    BoardVerdict.QUALIFIED: "This board passes the USB controller through to a guest, and gives it back.",
    BoardVerdict.CONDITIONAL: "It works, but a named condition is weak.",
    BoardVerdict.NOT_QUALIFIED: "This board does not do what PCI passthrough of a USB controller needs.",
    BoardVerdict.UNDECIDED: "Nothing is said about the board: the run could not decide.",
    BoardVerdict.PARTIAL: "Stages were left out: no verdict on the board.",
}
"""What each verdict says, in one sentence."""

OUTCOMES = {
    Outcome.PASS: Mark("check", "good", "passed", "✔"),
    Outcome.CONDITION: Mark("warning", "weak", "condition", "▲"),
    Outcome.FAIL: Mark("cross", "bad", "failed", "✘"),
    Outcome.REFUSED: Mark("stop", "unsure", "refused", "⊖"),
    Outcome.BLOCKED: Mark("blocked", "quiet", "blocked", "◇"),
    Outcome.ERROR: Mark("error", "unsure", "bench error", "!"),
    Outcome.NOT_APPLICABLE: Mark("dash", "quiet", "not applicable", "–"),
    Outcome.NOT_MEASURABLE: Mark("question", "unsure", "not measurable", "?"),
}

SEVERITIES = {
    Severity.PASS: Mark("check", "good", "holds", "✔"),
    Severity.INFORMATION: Mark("dash", "quiet", "information", "–"),
    Severity.CONDITION: Mark("warning", "weak", "condition", "▲"),
    Severity.UNKNOWN: Mark("question", "unsure", "unknown", "?"),
    Severity.REFUSAL: Mark("stop", "unsure", "refusal", "⊖"),
    Severity.FAILURE: Mark("cross", "bad", "failure", "✘"),
}

NOT_RUN = Mark("dash", "quiet", "not run", "–")

WORST_FIRST = (
    Outcome.FAIL,
    Outcome.ERROR,
    Outcome.REFUSED,
    Outcome.NOT_MEASURABLE,
    Outcome.BLOCKED,
    Outcome.CONDITION,
    Outcome.PASS,
    Outcome.NOT_APPLICABLE,
)
"""Outcomes in the order in which one speaks for a stage."""

OPEN = frozenset({Outcome.FAIL, Outcome.REFUSED, Outcome.ERROR, Outcome.NOT_MEASURABLE})
"""Outcomes whose evidence is shown unasked: somebody has to act on them."""

EMULATED = "virtual bench: figures are not hardware figures"
"""Stands wherever figures of a virtual bench do."""
