"""What a page says of throughput: rates per arm, what may confound them, and every raw value."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from harness.core.judgement import Judgement
from harness.core.record import Record
from harness.core.series import Series
from reports.arms import ArmStyle, style_arms

SHOWN = ("driver", "speed")
"""Confounders with a column of their own; the others stand in a table below."""


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
class Confounder:
    """One condition and its value in each arm, in the order of the rows."""

    name: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Return whether the arms were not measured under the same condition."""
        return len(set(self.values)) > 1


@dataclass(frozen=True)
class CellView:
    """One cell of the grid: its arms, their conditions, the judgements about it and its chart (SVG, trusted)."""

    cell: str
    primary: bool
    rows: tuple[ArmRow, ...]
    confounders: tuple[Confounder, ...]
    judgements: tuple[Judgement, ...]
    chart: str


def find_primary(record: Record) -> Judgement | None:
    """Return the judgement that decides, or None if there is none."""
    return next((judgement for judgement in record.judgements if judgement.primary), None)


def view_cells(record: Record) -> tuple[CellView, ...]:
    """Return the cells, the primary one first, the others in the order in which they were measured."""
    if not record.series:
        return ()
    from reports.charts import rates_chart  # noqa: PLC0415 (matplotlib takes half a second: only where there are rates)

    primary = find_primary(record)
    first = [primary.cell] if primary is not None else []
    arms = [one.arm for one in record.series]
    emulated = record.environment.emulated
    cells = dict.fromkeys([*first, *(one.cell for one in record.series)])
    views = []
    for number, cell in enumerate(cells):
        series = [one for one in record.series if one.cell == cell]
        chart = rates_chart(series, emulated=emulated, arms=arms, name=f"rates-{number}") if series else ""
        judgements = tuple(each for each in record.judgements if each.cell == cell)
        styles = style_arms(arms)
        rows = tuple(_row(one, styles[one.arm]) for one in series)
        views.append(CellView(cell, cell in first, rows, _confounders(series), judgements, chart))
    return tuple(views)


def view_ratios(record: Record) -> str:
    """Return the chart of all judgements (SVG, trusted), or an empty text if there are none."""
    if not record.judgements:
        return ""
    from reports.charts import ratio_chart  # noqa: PLC0415 (as above)

    arms = [one.arm for one in record.series]
    return ratio_chart(record.judgements, emulated=record.environment.emulated, arms=arms)


def _row(series: Series, style: ArmStyle) -> ArmRow:
    rates = [rate for rate in series.rates_mib_s if math.isfinite(rate)]
    blocks = len({sample.block for sample in series.samples})
    if not rates:
        return ArmRow(series, style, blocks, None, None, None)
    return ArmRow(series, style, blocks, statistics.median(rates), min(rates), max(rates))


def _confounders(series: Sequence[Series]) -> tuple[Confounder, ...]:
    names = dict.fromkeys(name for one in series for name in one.confounders)
    return tuple(Confounder(name, tuple(one.confounders.get(name, "") for one in series)) for name in names)
