"""The history of benches: what many records say over time, and where each board stands.

Format history:
1: first version.
"""

from __future__ import annotations

from typing import Any

import msgspec

from harness.core.record import BoardVerdict, Outcome

SCHEMA = 1


class Point(msgspec.Struct, frozen=True):
    """What one run gave: a rate in MiB/s or a ratio, as the geometric mean of its blocks with its interval."""

    run: str
    start: str
    value: float
    low: float | None
    high: float | None
    blocks: int


class ChangePoint(msgspec.Struct, frozen=True):
    """The first run after a lasting change: the means of the stretches before and after, and what else was new in that run."""

    run: str
    start: str
    before: float
    after: float
    p: float
    new: tuple[str, ...] = ()  # "kernel 6.12.48 -> 6.17.2"


class Line(msgspec.Struct, frozen=True):
    """One arm in one cell on one bench over time, or with ``base`` the ratio of two arms."""

    bench: str
    emulated: bool
    cell: str
    arm: str
    base: str
    points: tuple[Point, ...]
    changes: tuple[ChangePoint, ...] = ()


class StageState(msgspec.Struct, frozen=True):
    """The outcomes of a stage's checks, each once; none: the stage was not run."""

    stage: str
    outcomes: tuple[Outcome, ...]


class BoardRow(msgspec.Struct, frozen=True):
    """Where a board stands by the newest record of its bench. The ratio is that of the comparison that decides."""

    bench: str
    emulated: bool
    record: str  # the file
    run: str
    start: str
    verdict: BoardVerdict
    stages: tuple[StageState, ...]
    runs: int
    board: str = ""
    kernel: str = ""
    qemu: str = ""
    profile: str = ""
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    ratio_of: str = ""  # "pci / usb-host, SEQ1M Q8T1 read"


class Skipped(msgspec.Struct, frozen=True):
    """A file that is no record which could be read, and why."""

    name: str
    why: str


class History(msgspec.Struct, frozen=True):
    """Everything that a folder of records says over time. ``unsought`` says why no change points were looked for, if so."""

    schema: int
    source: str
    records: int
    confidence: float
    boards: tuple[BoardRow, ...] = ()
    lines: tuple[Line, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    unsought: str = ""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a history."""
    return msgspec.json.schema(History)
