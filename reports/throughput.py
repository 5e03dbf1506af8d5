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
    """One cell of the grid: arms, their conditions, judgements, and the charts (our own SVG; empty without data)."""

    cell: str
    primary: bool
    rows: tuple[ArmRow, ...]
    confounders: tuple[Confounder, ...]
    judgements: tuple[Judgement, ...]
    rates: str
    ratios: str


def find_primary(record: Record) -> Judgement | None:
    """Return the judgement that decides, or None if there is none."""
    return next((judgement for judgement in record.judgements if judgement.primary), None)


def view_cells(record: Record) -> tuple[CellView, ...]:
    """Return the cells, the primary one first, the others in the order in which they were measured."""
    primary = find_primary(record)
    first = [primary.cell] if primary is not None else []
    measured = [one.cell for one in record.series]
    judged = [each.cell for each in record.judgements]
    cells = dict.fromkeys([*first, *measured, *judged])
    return tuple(_view_cell(record, cell, number, primary=cell in first) for number, cell in enumerate(cells))


def _view_cell(record: Record, cell: str, number: int, *, primary: bool) -> CellView:
    from reports.charts import rates_chart, ratio_chart  # noqa: PLC0415 (matplotlib takes half a second: only for figures)

    series = [one for one in record.series if one.cell == cell]
    judgements = tuple(each for each in record.judgements if each.cell == cell)
    arms = [one.arm for one in record.series]
    styles = style_arms(arms)
    emulated = record.environment.emulated
    return CellView(
        cell=cell,
        primary=primary,
        rows=tuple(_row(one, styles[one.arm]) for one in series),
        confounders=_confounders(series),
        judgements=judgements,
        rates=rates_chart(series, emulated=emulated, arms=arms, name=f"rates-{number}") if series else "",
        ratios=ratio_chart(judgements, emulated=emulated, arms=arms, name=f"ratios-{number}") if judgements else "",
    )


def _row(series: Series, style: ArmStyle) -> ArmRow:
    rates = [rate for rate in series.rates_mib_s if math.isfinite(rate)]
    blocks = len({sample.block for sample in series.samples})
    if not rates:
        return ArmRow(series, style, blocks, None, None, None)
    return ArmRow(series, style, blocks, statistics.median(rates), min(rates), max(rates))


def _confounders(series: Sequence[Series]) -> tuple[Confounder, ...]:
    names = dict.fromkeys(name for one in series for name in one.confounders)
    return tuple(Confounder(name, tuple(one.confounders.get(name, "") for one in series)) for name in names)
