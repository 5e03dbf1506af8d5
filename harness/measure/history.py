"""What records say over time: a line for each figure of a bench, where a line changed for good, and where each board stands.

Emulated and real figures never share a line, nor does a board's row.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.core.errors import BenchError
from harness.core.history import SCHEMA, BoardRow, ChangePoint, History, Line, Point, Skipped, StageState
from harness.core.record import STAGES
from harness.core.series import Series
from harness.measure.design import PAIRS
from harness.measure.effects import finite_log_ratios
from harness.measure.judge import EQUIVALENCE
from harness.measure.outline import Entry, Outline
from harness.measure.statistics import CONFIDENCE, LEAST_PAIRS, ratio_interval, resolution_of, steady_part

MOST_P = 0.001
"""Change points are looked for in many lines after each run: a laxer bound would find one in every crowd."""
LEAST_POINTS = 6
"""Fewer runs show no lasting change."""
HOW_TO_GET = "change points need apache-otava: pip install --editable '.[history]' in the checkout"

_TOLD = {
    "board": "board",
    "firmware": "firmware",
    "kernel": "kernel",
    "qemu": "QEMU",
    "accelerator": "accelerator",
    "guest_kernel": "guest's kernel",
    "controller": "controller",
    "controller_driver": "controller's driver",
    "stick": "stick",
    "bench_qemu": "QEMU that plays the board",
    "bench_accelerator": "its accelerator",
}
"""What may explain a change, and its name for readers."""

_Key = tuple[str, bool, str, str, str]


def make_history(entries: Sequence[Entry], skipped: Sequence[Skipped], source: Path) -> History:
    """Return the history of records, which stand in the order of their time."""
    drawn = _draw_lines(entries)
    able = can_find_changes()
    lines = [Line(*key, tuple(point for _, point in found), _find_changes(found) if able else ()) for key, found in drawn.items()]
    return History(
        schema=SCHEMA,
        source=str(source),
        records=len(entries),
        confidence=CONFIDENCE,
        boards=tuple(_rows(entries)),
        lines=tuple(lines),
        skipped=tuple(skipped),
        unsought="" if able else HOW_TO_GET,
    )


def can_find_changes() -> bool:
    """Return whether the library for change points is installed."""
    return importlib.util.find_spec("otava") is not None


def find_changes(values: Sequence[float]) -> list[tuple[int, float, float, float]]:
    """Return where a series changed for good: the first index after it, the means before and after, and p.

    What lies within the 3 % that are equivalent everywhere is no change.
    The method is that of "Hunter: Using Change Point Detection to Hunt for Performance Regressions" (Fleming et al., 2023).
    """
    from otava.analysis import compute_change_points  # noqa: PLC0415 (an extra)

    if len(values) < LEAST_POINTS:
        return []
    found, _ = compute_change_points(list(values), max_pvalue=MOST_P, min_magnitude=EQUIVALENCE - 1)
    return [(int(each.index), float(each.stats.mean_1), float(each.stats.mean_2), float(each.stats.pvalue)) for each in found]


def _draw_lines(entries: Sequence[Entry]) -> dict[_Key, list[tuple[Entry, Point]]]:
    """Return the points of every figure, benches and cells in the order of their names and of the grid."""
    lines: dict[_Key, list[tuple[Entry, Point]]] = {}
    for entry in entries:
        counted = list(_counted(entry.outline))
        for cell, arm, base, logs, resolution in _figures(counted):
            key = (entry.outline.run.bench, entry.emulated, cell, arm, base)
            lines.setdefault(key, []).append((entry, _point(entry, logs, resolution)))
    cells = list(dict.fromkeys(key[2] for key in lines))
    return {key: lines[key] for key in sorted(lines, key=lambda key: (key[0], key[1], cells.index(key[2]), key[4] != ""))}


def _counted(outline: Outline) -> Iterator[Series]:
    """Yield the series whose figures count: their data were right, and they were steady, as far as somebody asked."""
    for one in outline.series:
        if one.way not in outline.void_arms:
            with contextlib.suppress(BenchError):
                yield steady_part(one)


def _figures(series: Sequence[Series]) -> Iterator[tuple[str, str, str, tuple[float, ...], float]]:
    """Yield cell, arm, base, the logarithm of each block's value and their resolution; what has no value is left out."""
    found = {(one.cell, one.arm): one for one in series}
    for (cell, arm), one in found.items():
        rates = [rate for rate in one.rates_mib_s if math.isfinite(rate) and rate > 0]
        if rates:
            yield cell, arm, "", tuple(map(math.log, rates)), resolution_of(one)
    for cell in dict.fromkeys(one.cell for one in series):
        for arm, base in PAIRS:
            ours, theirs = found.get((cell, arm)), found.get((cell, base))
            if ours and theirs and (logs := _ratios(ours, theirs)):
                yield cell, arm, base, logs, resolution_of(ours, theirs)


def _ratios(arm: Series, base: Series) -> tuple[float, ...]:
    try:
        return finite_log_ratios(arm, base)
    except BenchError:  # a record that was edited; its rates are drawn as they are
        return ()


def _point(entry: Entry, logs: Sequence[float], resolution: float) -> Point:
    run = entry.outline.run
    if len(logs) < LEAST_PAIRS:
        return Point(run.id, run.start, math.exp(statistics.fmean(logs)), None, None, len(logs))
    interval = ratio_interval(logs).at_least(resolution)
    return Point(run.id, run.start, interval.ratio, interval.low, interval.high, len(logs))


def _find_changes(line: Sequence[tuple[Entry, Point]]) -> tuple[ChangePoint, ...]:
    changes = []
    for index, before, after, p in find_changes([point.value for _, point in line]):
        (earlier, _), (entry, point) = line[index - 1], line[index]
        changes.append(ChangePoint(point.run, point.start, before, after, p, tuple(_what_is_new(earlier, entry))))
    return tuple(changes)


def _what_is_new(before: Entry, after: Entry) -> Iterator[str]:
    """Yield what differs between two runs that follow each other; what one of them does not tell is no news."""
    ours, theirs = before.outline, after.outline
    for field, name in _TOLD.items():
        values = getattr(ours.environment, field), getattr(theirs.environment, field)
        if all(values) and values[0] != values[1]:
            yield f"{name} {values[0]} -> {values[1]}"
    for name, one, other in (
        ("throughpass", ours.run.suite_version, theirs.run.suite_version),
        ("profile", ours.run.profile, theirs.run.profile),
    ):
        if one != other:
            yield f"{name} {one or 'unknown'} -> {other or 'unknown'}"


def _rows(entries: Sequence[Entry]) -> Iterator[BoardRow]:
    """Yield a row for each bench, by its newest record."""
    benches: dict[tuple[str, bool], list[Entry]] = {}
    for entry in entries:
        benches.setdefault((entry.outline.run.bench, entry.emulated), []).append(entry)
    for bench, emulated in sorted(benches):
        yield _row(benches[bench, emulated][-1], len(benches[bench, emulated]))


def _row(entry: Entry, runs: int) -> BoardRow:
    record = entry.outline
    void = {one.arm for one in record.series if one.way in record.void_arms}
    primary = next((each for each in record.judgements if each.primary and not {each.arm, each.base} & void), None)
    return BoardRow(
        bench=record.run.bench,
        emulated=entry.emulated,
        record=str(entry.path),
        run=record.run.id,
        start=record.run.start,
        verdict=record.verdict.board,
        stages=tuple(_stages(entry)),
        runs=runs,
        board=record.environment.board,
        kernel=record.environment.kernel,
        qemu=record.environment.qemu,
        profile=record.run.profile,
        ratio=primary.ratio if primary else None,
        low=primary.low if primary else None,
        high=primary.high if primary else None,
        ratio_of=f"{primary.arm} / {primary.base}, {primary.cell}" if primary else "",
    )


def _stages(entry: Entry) -> Iterator[StageState]:
    """Yield the stages in their order; one that only a newer suite knows comes last."""
    checks = entry.outline.checks
    for stage in dict.fromkeys([*STAGES, *(check.stage for check in checks)]):
        yield StageState(stage, tuple(dict.fromkeys(check.outcome for check in checks if check.stage == stage)))
