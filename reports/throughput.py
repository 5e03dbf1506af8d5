"""What a page says of throughput: rates per arm, what may confound them, and every raw value."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from harness.core.judgement import Judgement
from harness.core.record import Record
from harness.core.series import Series
from reports.arms import ArmStyle, style_arms
from reports.cliffs import find_caveats
from reports.conditions import find_differences
from reports.costs import Costs, view_costs

SHOWN = ("driver", "speed")
"""Confounders with a column beside the rates; one table over all arms has them all."""


@dataclass(frozen=True)
class ArmRow:
    """One arm in one cell; rates in MiB/s, None where no sample is a number."""

    series: Series
    style: ArmStyle
    blocks: int
    median: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class CellView:
    """One cell: its arms, what they cost, the conditions in which they differ, what weakens their figures, the judgements.

    The charts are our own SVG; empty without data.
    """

    cell: str
    primary: bool
    rows: tuple[ArmRow, ...]
    costs: tuple[Costs, ...]
    differences: tuple[str, ...]
    caveats: tuple[str, ...]
    judgements: tuple[Judgement, ...]
    unsteady: bool
    rates: str
    ratios: str
    seconds: str
    latency: str


@dataclass(frozen=True)
class GridRow:
    """One cell in the table that people know: the median of each arm, and the judgement on the pair that decides."""

    cell: str
    medians: tuple[float | None, ...]
    judgement: Judgement | None


@dataclass(frozen=True)
class Grid:
    """Cells as rows, arms as columns; ``pair`` is the judgement whose arm and base every row compares."""

    arms: tuple[tuple[str, ArmStyle], ...]
    rows: tuple[GridRow, ...]
    pair: Judgement | None


def find_primary(record: Record) -> Judgement | None:
    """Return the judgement that decides, or None if there is none."""
    return next((judgement for judgement in record.judgements if judgement.primary), None)


def primary_caveats(record: Record) -> tuple[str, ...]:
    """Return what weakens the sentence that opens the page: caveats on the two arms that it compares."""
    primary = find_primary(record)
    if primary is None:
        return ()
    pair = {primary.arm, primary.base}
    return find_caveats([one for one in record.series if one.cell == primary.cell and one.arm in pair], record.void_arms)


def view_grid(record: Record) -> Grid | None:
    """Return the grid, the primary cell first; None where no more than one cell was measured."""
    cells, pair = _cells(record), find_primary(record)
    measured = [cell for cell in cells if any(one.cell == cell for one in record.series)]
    if len(measured) < 2:  # noqa: PLR2004 (one cell has its own table)
        return None
    arms = style_arms(one.arm for one in record.series)
    judged = {each.cell: each for each in record.judgements if pair and (each.arm, each.base) == (pair.arm, pair.base)}
    medians = {(one.cell, one.arm): _median(one) for one in record.series}
    rows = tuple(GridRow(cell, tuple(medians.get((cell, arm)) for arm in arms), judged.get(cell)) for cell in measured)
    return Grid(tuple(arms.items()), rows, pair)


def view_cells(record: Record) -> tuple[CellView, ...]:
    """Return the cells, the primary one first, the others in the order in which they were measured."""
    primary = find_primary(record)
    decisive = primary.cell if primary is not None else None
    return tuple(_view_cell(record, cell, number, primary=cell == decisive) for number, cell in enumerate(_cells(record)))


def _cells(record: Record) -> tuple[str, ...]:
    primary = find_primary(record)
    first = [primary.cell] if primary is not None else []
    return tuple(dict.fromkeys([*first, *(one.cell for one in record.series), *(each.cell for each in record.judgements)]))


def _view_cell(record: Record, cell: str, number: int, *, primary: bool) -> CellView:
    # matplotlib takes half a second: only for figures
    from reports.charts import rates_chart, ratio_chart  # noqa: PLC0415
    from reports.latency_chart import latency_chart  # noqa: PLC0415
    from reports.seconds_chart import seconds_chart  # noqa: PLC0415

    series = [one for one in record.series if one.cell == cell]
    judgements = tuple(each for each in record.judgements if each.cell == cell)
    costs = view_costs(series)
    arms = [one.arm for one in record.series]
    styles = style_arms(arms)
    emulated = record.environment.emulated
    return CellView(
        cell=cell,
        primary=primary,
        rows=tuple(_row(one, styles[one.arm]) for one in series),
        costs=costs,
        differences=find_differences(series),
        caveats=find_caveats(series, record.void_arms),
        judgements=judgements,
        unsteady=any(sample.steady is False for one in series for sample in one.samples),
        rates=rates_chart(series, emulated=emulated, arms=arms, name=f"rates-{number}") if series else "",
        ratios=ratio_chart(judgements, series, emulated=emulated, arms=arms, name=f"ratios-{number}") if judgements else "",
        seconds=seconds_chart(series, emulated=emulated, arms=arms, name=f"seconds-{number}"),
        latency=latency_chart(costs, emulated=emulated, arms=arms, name=f"latency-{number}"),
    )


def _row(series: Series, style: ArmStyle) -> ArmRow:
    rates = _finite(series)
    blocks = len({sample.block for sample in series.samples})
    return ArmRow(series, style, blocks, _median(series), min(rates, default=None), max(rates, default=None))


def _median(series: Series) -> float | None:
    rates = _finite(series)
    return statistics.median(rates) if rates else None


def _finite(series: Series) -> list[float]:
    return [rate for rate in series.rates_mib_s if math.isfinite(rate)]
