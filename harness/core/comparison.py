"""A comparison of two records: what differs, what came and went, and how much faster or slower the second one is.

Format history:
1: first version.
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from harness.core.finding import Severity
from harness.core.record import BoardVerdict, Outcome

SCHEMA = 1


class Shift(enum.Enum):
    """The answer of one figure of the second record against the first."""

    FASTER = "faster"  # a rate
    SLOWER = "slower"
    HIGHER = "higher"  # a ratio of two arms: not faster, since it falls too where its base became faster
    LOWER = "lower"
    EQUIVALENT = "equivalent"  # the interval lies wholly inside +-3 %
    INCONCLUSIVE = "inconclusive"
    NOT_COMPARABLE = "not comparable"  # measured under conditions that decide more than the board does
    NOT_JUDGED = "not judged"  # a profile without verdict, or too few blocks
    ONLY_ONE = "in one only"  # the other record has no such figure


class Change(enum.Enum):
    """What became of a check or a finding."""

    LOST = "lost"  # a check passed, and does not any more
    WEAKER = "weaker"  # it still passes, under a condition that is new
    GONE = "gone"  # it passed, and was not asked any more
    REGAINED = "regained"  # it did not pass, and does now
    NEW = "new"  # it was not asked before
    CHANGED = "changed"  # anything else
    CAME = "came"  # a finding that was not there before, or is graver now
    WENT = "went"  # one that is not there any more, or is milder now


class Side(msgspec.Struct, frozen=True):
    """One of the two records, in the words of the head of a page."""

    name: str  # the file that was read
    run: str
    start: str
    bench: str
    kind: str
    profile: str
    suite_version: str
    git: str
    verdict: BoardVerdict
    board: str = ""
    firmware: str = ""
    kernel: str = ""
    qemu: str = ""
    stick: str = ""


class Difference(msgspec.Struct, frozen=True):
    """A fact with two values; None: the record has nothing of that name."""

    path: str
    before: str | None
    after: str | None


class CheckChange(msgspec.Struct, frozen=True):
    """A check with two outcomes; None: it was not run. ``reason`` is the second record's."""

    id: str
    title: str
    before: Outcome | None
    after: Outcome | None
    change: Change
    reason: str = ""


class FindingChange(msgspec.Struct, frozen=True):
    """A conclusion that only one record draws, or that weighs differently; ``message`` is the newer one."""

    rule: str
    subject: str
    before: Severity | None
    after: Severity | None
    change: Change
    message: str


class Effect(msgspec.Struct, frozen=True):
    """One figure in both records: an arm's rate in MiB/s, or with ``base`` the ratio of two arms; and after / before.

    ``before`` and ``after`` are geometric means over the blocks. ``p`` belongs to "nothing changed" of this figure alone,
    ``adjusted_p`` is Holm's, for all figures of the comparison at once.
    """

    cell: str
    arm: str
    base: str
    before: float | None
    after: float | None
    blocks_before: int
    blocks_after: int
    ratio: float | None
    low: float | None
    high: float | None
    shift: Shift
    sentence: str
    p: float | None = None
    adjusted_p: float | None = None
    caveats: tuple[str, ...] = ()


class Comparison(msgspec.Struct, frozen=True):
    """Everything that two records say of each other.

    ``told_before`` and ``told_after`` name the facts that only one of the two has a field for: nobody knows whether they changed.
    """

    schema: int
    before: Side
    after: Side
    emulated: bool
    confidence: float
    method: str
    effects: tuple[Effect, ...] = ()
    checks: tuple[CheckChange, ...] = ()
    findings: tuple[FindingChange, ...] = ()
    differences: tuple[Difference, ...] = ()
    told_before: tuple[str, ...] = ()
    told_after: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a comparison."""
    return msgspec.json.schema(Comparison)
