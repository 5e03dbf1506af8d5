"""Charts of a record: every measured rate, and the ratios with their intervals. Static SVG, light and dark.

Importing this module imports matplotlib (half a second): import it where a page is rendered.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from harness.core.judgement import Call, Judgement
from harness.core.series import Series
from reports.arms import ArmStyle, style_arms
from reports.rows import COLOURS, STRIP, draw_grid, label_row, rows_figure, spread
from reports.spelling import spell_count, spell_rate, spell_ratio, visible
from reports.svg import GRID, INK, SETTINGS, inline_svg

_LARGEST_MIB_S = 1e15  # beyond it a figure is no measurement, and matplotlib's arithmetic overflows
_FARTHEST = 1e6  # the same for a ratio and its inverse
_EQUIVALENT = (1 / 1.03, 1.03)
_ABOVE = (1.01, 1.02, 1.05, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 50.0)
_BELOW = (0.99, 0.98, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05, 0.02)
_MOST_TICKS = 7
_INTERVAL, _BLOCKS = 0.24, 0.42  # where in a strip the interval lies, and where the marks of the blocks begin


@dataclass(frozen=True)
class RatioRow:
    """One row of a chart of ratios: what it is of, what was found, and the ratio with the ends of its interval.

    ``blocks`` are the ratios of the single blocks, ``left_out`` of those that do not count; ``floor`` is the factor by which an
    arm came out different from itself.
    """

    label: str
    answer: str
    ratio: float | None
    low: float | None
    high: float | None
    style: ArmStyle
    blocks: tuple[float, ...] = ()
    left_out: tuple[float, ...] = ()
    floor: float | None = None


def rates_chart(series: Sequence[Series], *, emulated: bool, arms: Sequence[str] = (), name: str = "rates") -> str:
    """Return a strip plot as inline SVG: one row a series, one mark a block (the first on top), a bar at the median.

    ``arms`` are all arms of the page, so that each looks the same in every chart; ``name`` makes ids unique in it.
    Rates that are no number, negative or beyond 1e15 MiB/s are not drawn.
    """
    with mpl.rc_context(SETTINGS):
        figure, axes = rows_figure(len(series), emulated=emulated)
        largest = max((rate for one in series for rate in _drawable(one)), default=0.0)
        axes.set_xlim(0, largest * 1.06 or 1)
        axes.set_xlabel("MiB/s")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
        draw_grid(axes, len(series))
        cells = {one.cell for one in series}
        styles = style_arms([*arms, *(one.arm for one in series)])
        for row, one in enumerate(series):
            label = one.arm if len(cells) == 1 else f"{one.arm}, {one.cell}"
            _strip(axes, row, one, label, styles[one.arm])
    title = "Rates: " + ", ".join(sorted(visible(cell) for cell in cells)) if series else "Rates: nothing was measured"
    return inline_svg(figure, name=name, title=title, description=_rates_in_words(series), colours=COLOURS)


def ratio_chart(
    judgements: Sequence[Judgement],
    series: Sequence[Series] = (),
    *,
    emulated: bool = False,
    arms: Sequence[str] = (),
    name: str = "ratios",
) -> str:
    """Return the ratios with their intervals on a logarithmic axis as inline SVG, with a line at 1.0 and the +-3 % band.

    Below an interval stands the ratio of each block, from ``series``; the noise floor is outlined where it is known.
    What was not judged keeps its row and says so. ``arms`` and ``name`` are as in ``rates_chart``.
    """
    styles = style_arms(each.arm for each in judgements) | style_arms(arms)  # one that was not measured takes no arm's look
    cells = {each.cell for each in judgements}
    rows = [_ratio_row(each, series, styles[each.arm], cell=len(cells) > 1) for each in judgements]
    return ratio_rows_chart(rows, emulated=emulated, name=name, title="Ratios", description=_ratios_in_words(judgements))


def ratio_rows_chart(rows: Sequence[RatioRow], *, emulated: bool, name: str, title: str, description: str) -> str:
    """Return rows of ratios as ``ratio_chart`` draws them; ``title`` and ``description`` are for those who hear the page."""
    with mpl.rc_context(SETTINGS):
        figure, axes = rows_figure(len(rows), emulated=emulated)
        low, high = _ratio_limits(rows)
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        axes.xaxis.set_major_locator(FixedLocator(_ratio_ticks(low, high)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(_ratio_axis(rows))
        draw_grid(axes, len(rows))
        for row, one in enumerate(rows):
            _interval(axes, row, one)
    return inline_svg(figure, name=name, title=title, description=description, colours=COLOURS)


def block_ratios(judgement: Judgement, series: Sequence[Series], *, steady: bool) -> tuple[float, ...]:
    """Return rate of arm / rate of base of each block that both measured, in their order; what has no ratio is left out.

    A judgement rests on blocks in which no run was found to be unsteady: those with ``steady``, the others without it.
    """
    of_cell = [one for one in series if one.cell == judgement.cell]
    arm, base = (
        {sample.block: sample for one in of_cell if one.arm == name for sample in one.samples}
        for name in (judgement.arm, judgement.base)
    )
    pairs = [(arm[block], base[block]) for block in sorted(arm.keys() & base.keys())]
    rates = [(ours.rate_mib_s, theirs.rate_mib_s) for ours, theirs in pairs if steady != (False in {ours.steady, theirs.steady})]
    return tuple(ours / theirs for ours, theirs in rates if 0 < ours < _LARGEST_MIB_S and 0 < theirs < _LARGEST_MIB_S)


def _ratio_row(judgement: Judgement, series: Sequence[Series], style: ArmStyle, *, cell: bool) -> RatioRow:
    ratio = judgement.ratio
    label = f"{judgement.arm} / {judgement.base}"
    answer = judgement.call.value if ratio is None else f"{spell_ratio(ratio)}, {judgement.call.value}"
    return RatioRow(
        f"{label}, {judgement.cell}" if cell else label,
        answer,
        ratio,
        judgement.low,
        judgement.high,
        style,
        block_ratios(judgement, series, steady=True),
        block_ratios(judgement, series, steady=False),
        judgement.floor,
    )


def _ratio_axis(rows: Sequence[RatioRow]) -> str:
    """Return the label of the axis, which says what the bands are."""
    floors = sorted({one.floor for one in rows if _is_floor(one.floor)})
    known = f"dashes: noise floor ±{100 * (floors[-1] - 1):.1f} %" if floors else "equivalent"
    return f"ratio (logarithmic; band: ±3 %, {known})"


def _is_floor(floor: float | None) -> TypeGuard[float]:
    """Return whether a noise floor can be drawn: a factor that is none of a record's oddities."""
    return floor is not None and 1 < floor <= _FARTHEST


def _drawable(series: Series) -> list[float]:
    """Return the rates that a chart can show."""
    return [rate for rate in series.rates_mib_s if 0 <= rate < _LARGEST_MIB_S]  # False for what is not a number


def _strip(axes: Axes, row: int, series: Series, label: str, style: ArmStyle) -> None:
    """Draw one series in its row: the label on top, below it the marks in the order of the blocks."""
    rates = _drawable(series)
    label_row(axes, row, label, f"median {spell_rate(statistics.median(rates))}" if rates else "no rate")
    if not rates:
        return
    top, bottom = row + STRIP[0], row + STRIP[1]
    middle = statistics.median(rates)
    axes.plot([middle, middle], [top, bottom], color=INK, linewidth=2, solid_capstyle="butt", zorder=2)
    axes.plot(
        rates,
        spread(len(rates), top, bottom),
        linestyle="none",
        marker=style.marker,
        markersize=7,
        color=style.colour,
        markeredgecolor=style.colour,
        alpha=0.85,
        clip_on=False,
        zorder=3,
    )


def _interval(axes: Axes, row: int, one: RatioRow) -> None:
    """Draw one ratio in its row: the label and the answer on top, then the interval, and below it each block's own ratio."""
    ratio, low, high, style = one.ratio, one.low, one.high, one.style
    label_row(axes, row, one.label, one.answer)
    top, bottom = row + STRIP[0], row + STRIP[1]
    height = top + (bottom - top) * (_INTERVAL if one.blocks or one.left_out else 0.5)
    _bands(axes, top, bottom, one.floor)
    if low is not None and high is not None and low <= high:
        left, right = axes.get_xlim()
        ends = [min(max(end, left), right) for end in (low, high)]
        axes.plot(ends, [height, height], color=style.colour, linewidth=3, solid_capstyle="butt", zorder=2)
        axes.plot(ends, [height, height], color=style.colour, linestyle="none", marker="|", markersize=10, zorder=2)
    if ratio is not None and 1 / _FARTHEST <= ratio <= _FARTHEST:
        axes.plot([ratio], [height], marker=style.marker, markersize=8, color=style.colour, clip_on=False, zorder=3)
    below = top + (bottom - top) * _BLOCKS
    for ratios, marker, size in ((one.blocks, "o", 3.2), (one.left_out, "x", 4.2)):
        drawn = [each for each in ratios if 1 / _FARTHEST <= each <= _FARTHEST]
        heights = spread(len(drawn), below, bottom)
        axes.plot(drawn, heights, marker, markersize=size, color="none", markeredgecolor=style.colour, clip_on=False, zorder=2.5)


def _bands(axes: Axes, top: float, bottom: float, floor: float | None) -> None:
    """Draw what a ratio is held against: 1, the +-3 % of equivalence, and the noise floor as a dashed outline."""
    axes.fill_between(_EQUIVALENT, top, bottom, color=GRID, linewidth=0, zorder=0.5)
    axes.plot([1, 1], [top, bottom], color=INK, linewidth=1.2, zorder=1)
    if _is_floor(floor):
        for end in (1 / floor, floor):
            axes.plot([end, end], [top, bottom], color=INK, linewidth=1, dashes=(3, 2), zorder=0.9)


def _ratio_limits(rows: Sequence[RatioRow]) -> tuple[float, float]:
    """Return the ends of the axis: they hold every drawable ratio and 1.0, with room on both sides."""
    values = [
        value for each in rows for value in (each.ratio, each.low, each.high, *each.blocks, *each.left_out) if value is not None
    ]
    values = [value for value in values if 1 / _FARTHEST <= value <= _FARTHEST]
    low, high = min([0.92, *values]), max([1.08, *values])
    room = (high / low) ** 0.06
    return low / room, high * room


def _ratio_ticks(low: float, high: float) -> list[float]:
    """Return at most seven round ratios between the ends, 1.0 among them."""
    if high / low > 100:  # noqa: PLR2004 (two decades: powers of ten suffice)
        first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
        powers = [10.0**power for power in range(first, last + 1)]
        return [power for power in powers if round(math.log10(power)) % math.ceil(len(powers) / _MOST_TICKS) == 0]
    ticks = [tick for tick in (*_ABOVE, *_BELOW) if low <= tick <= high]
    gap = math.log(high / low) / (_MOST_TICKS + 1)
    chosen = [1.0]
    for tick in sorted(ticks, key=lambda each: abs(math.log(each))):
        if all(abs(math.log(tick / other)) >= gap for other in chosen):
            chosen.append(tick)
    return sorted(chosen)


def _rates_in_words(series: Sequence[Series]) -> str:
    """Return what the chart shows, for those who hear the page."""
    words = [
        f"{one.arm}: median {spell_rate(statistics.median(rates))} MiB/s, {spell_count(len(rates), 'block')}"
        for one in series
        if (rates := _drawable(one))
    ]
    return visible("; ".join(words) or "no rate was measured")


def _ratios_in_words(judgements: Sequence[Judgement]) -> str:
    """Return the sentences of the judgements."""
    words = [each.sentence for each in judgements if each.call is not Call.NOT_JUDGED or each.sentence]
    return visible(" ".join(words) or "nothing was judged")
