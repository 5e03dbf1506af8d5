"""Where a run's time went, as a page tells it: a bar for each stage, split by what was waited for, and the harness's part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.core.overhead import Share, share_run, share_stages
from harness.core.record import Record
from harness.core.timeline import SpanKind
from reports.spelling import parse_instant


@dataclass(frozen=True)
class TimeKind:
    """A kind of time: its word, what it is, and the pattern of the style sheet by which it is known without colour."""

    word: str
    meaning: str
    pattern: str


KINDS = {
    SpanKind.BOOT: TimeKind("board start", "the board boots, or is reached", "boot"),
    SpanKind.GUEST: TimeKind("guest boot", "QEMU starts on the host and the guest boots", "guest"),
    SpanKind.FIO: TimeKind("fio", "fio's process, from its start to its end", "fio"),
    SpanKind.SETTLE: TimeKind("settling", "a hot-plug, until the disk is there or the guest has let go", "settle"),
}
HARNESS = TimeKind("harness", "everything else: asking, reading, binding, judging, writing", "harness")
ALL_KINDS = (*KINDS.values(), HARNESS)


@dataclass(frozen=True)
class Piece:
    """A piece of a bar: its kind and seconds, its start and length in per cent of the longest bar."""

    kind: TimeKind
    duration_s: float
    start: float
    length: float


@dataclass(frozen=True)
class TimeRow:
    """A stage's time, its share of all stages in per cent, and its pieces in the order of ``ALL_KINDS``."""

    stage: str
    duration_s: float
    of_all: float
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class KindSum:
    """The run's time of one kind, and its share of all in per cent."""

    kind: TimeKind
    duration_s: float
    of_all: float


@dataclass(frozen=True)
class Overhead:
    """The harness's own seconds and their part of all in per cent; ``strict`` counts fio's start and end in."""

    whole_s: float
    harness_s: float
    harness_percent: float
    strict_s: float
    strict_percent: float


@dataclass(frozen=True)
class TimesView:
    """The stages' bars, the run's time of each kind, and the overhead: None where the record does not split its time."""

    rows: tuple[TimeRow, ...]
    sums: tuple[KindSum, ...]
    overhead: Overhead | None
    wall_time_s: float | None


def view_times(record: Record) -> TimesView:
    """Return where the time went, in the order of the run."""
    shares = share_stages(record.run)
    whole = share_run(shares)
    longest_s = max((share.duration_s for share in shares), default=0.0) or 1.0
    split = bool(record.run.spans)
    rows = tuple(_row(share, whole.duration_s, longest_s, split=split) for share in shares)
    sums = tuple(
        KindSum(kind, duration_s, _percent(duration_s, whole.duration_s))
        for kind, duration_s in zip(ALL_KINDS, _seconds(whole), strict=True)
    )
    return TimesView(rows, sums, _overhead(whole) if split else None, wall_time_s(record))


def wall_time_s(record: Record) -> float | None:
    """Return the seconds from the run's start to its end, or None if the record does not say."""
    start, end = parse_instant(record.run.start), parse_instant(record.run.end)
    return None if start is None or end is None or end < start else (end - start).total_seconds()


def _overhead(whole: Share) -> Overhead:
    return Overhead(
        whole.duration_s,
        whole.harness_s,
        _percent(whole.harness_s, whole.duration_s),
        whole.strict_s,
        _percent(whole.strict_s, whole.duration_s),
    )


def _row(share: Share, whole_s: float, longest_s: float, *, split: bool) -> TimeRow:
    return TimeRow(share.stage, share.duration_s, _percent(share.duration_s, whole_s), _pieces(share, longest_s, split=split))


def _pieces(share: Share, longest_s: float, *, split: bool) -> tuple[Piece, ...]:
    """Return a bar's pieces; spans that claim more than their stage has are drawn to its end."""
    seconds: Sequence[float] = _seconds(share) if split else (*(0.0 for _ in KINDS), share.duration_s)
    ends = [min(sum(seconds[: at + 1]), share.duration_s) for at in range(len(seconds))]
    starts = (0.0, *ends)
    return tuple(
        Piece(kind, duration_s, _percent(start, longest_s), _percent(end - start, longest_s))
        for kind, duration_s, start, end in zip(ALL_KINDS, seconds, starts, ends, strict=False)
    )


def _seconds(share: Share) -> tuple[float, ...]:
    """Return the seconds of each of ``ALL_KINDS``."""
    return (*(share.parts_s[kind] for kind in KINDS), share.harness_s)


def _percent(part: float, whole: float) -> float:
    return min(100.0, 100 * part / whole) if whole > 0 else 0.0
