"""Charts of a record: every measured rate, and the ratios with their intervals. Static SVG, light and dark.

Importing this module imports matplotlib (half a second): import it where a page is rendered.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from harness.core.judgement import Call, Judgement
from harness.core.series import Series
from reports.arms import STYLES, ArmStyle, style_arms
from reports.marks import EMULATED
from reports.spelling import spell_rate, visible
from reports.svg import CAVEAT, GRID, INK, SETTINGS, inline_svg

_WIDTH = 440  # points; two charts stand side by side on a desk, and one fits a phone at four fifths
_ROW = 58
_MARGIN = 14
_FOOT = 44  # the axis, its numbers and its label
_NOTE = 22  # the line below it
_STRIP = (0.36, 0.94)  # the part of a row that holds marks; above it stand the label and the answer
_LONGEST = 34  # characters of a label that fit

_LARGEST_MIB_S = 1e15  # beyond it a figure is no measurement, and matplotlib's arithmetic overflows
_FARTHEST = 1e6  # the same for a ratio and its inverse
_EQUIVALENT = (1 / 1.03, 1.03)
_ABOVE = (1.01, 1.02, 1.05, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 50.0)
_BELOW = (0.99, 0.98, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05, 0.02)
_MOST_TICKS = 7


@dataclass(frozen=True)
class RatioRow:
    """One row of a chart of ratios: what it is of, what was found, and the ratio with the ends of its interval."""

    label: str
    answer: str
    ratio: float | None
    low: float | None
    high: float | None
    style: ArmStyle


def rates_chart(series: Sequence[Series], *, emulated: bool, arms: Sequence[str] = (), name: str = "rates") -> str:
    """Return a strip plot as inline SVG: one row a series, one mark a block (the first on top), a bar at the median.

    ``arms`` are all arms of the page, so that each looks the same in every chart; ``name`` makes ids unique in it.
    Rates that are no number, negative or beyond 1e15 MiB/s are not drawn.
    """
    with mpl.rc_context(SETTINGS):
        figure, axes = _figure(len(series), emulated=emulated)
        largest = max((rate for one in series for rate in _drawable(one)), default=0.0)
        axes.set_xlim(0, largest * 1.06 or 1)
        axes.set_xlabel("MiB/s")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
        _draw_grid(axes, len(series))
        cells = {one.cell for one in series}
        styles = style_arms([*arms, *(one.arm for one in series)])
        for row, one in enumerate(series):
            label = one.arm if len(cells) == 1 else f"{one.arm}, {one.cell}"
            _strip(axes, row, one, label, styles[one.arm])
    title = "Rates: " + ", ".join(sorted(visible(cell) for cell in cells)) if series else "Rates: nothing was measured"
    return inline_svg(figure, name=name, title=title, description=_rates_in_words(series), colours=_COLOURS)


def ratio_chart(
    judgements: Sequence[Judgement], *, emulated: bool = False, arms: Sequence[str] = (), name: str = "ratios"
) -> str:
    """Return the ratios with their intervals on a logarithmic axis as inline SVG, with a line at 1.0 and the +-3 % band.

    What was not judged keeps its row and says so. ``arms`` and ``name`` are as in ``rates_chart``.
    """
    styles = style_arms([*arms, *(each.arm for each in judgements)])
    cells = {each.cell for each in judgements}
    rows = [_ratio_row(each, styles[each.arm], cell=len(cells) > 1) for each in judgements]
    return ratio_rows_chart(rows, emulated=emulated, name=name, title="Ratios", description=_ratios_in_words(judgements))


def ratio_rows_chart(rows: Sequence[RatioRow], *, emulated: bool, name: str, title: str, description: str) -> str:
    """Return rows of ratios as ``ratio_chart`` draws them; ``title`` and ``description`` are for those who hear the page."""
    with mpl.rc_context(SETTINGS):
        figure, axes = _figure(len(rows), emulated=emulated)
        low, high = _ratio_limits(rows)
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        axes.xaxis.set_major_locator(FixedLocator(_ratio_ticks(low, high)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("ratio (logarithmic; band: ±3 %, equivalent)")
        _draw_grid(axes, len(rows))
        for row, one in enumerate(rows):
            _interval(axes, row, one)
    return inline_svg(figure, name=name, title=title, description=description, colours=_COLOURS)


def _ratio_row(judgement: Judgement, style: ArmStyle, *, cell: bool) -> RatioRow:
    ratio = judgement.ratio
    label = f"{judgement.arm} / {judgement.base}"
    answer = judgement.call.value if ratio is None else f"{ratio:.3g}×, {judgement.call.value}"
    return RatioRow(f"{label}, {judgement.cell}" if cell else label, answer, ratio, judgement.low, judgement.high, style)


_COLOURS = {style.colour: style.css for style in STYLES}


def _figure(rows: int, *, emulated: bool) -> tuple[Figure, Axes]:
    """Return a figure with one empty axes of that many rows; row 0 is the top one."""
    plot = _ROW * max(rows, 1)
    foot = _FOOT + (_NOTE if emulated else 0)
    height = _MARGIN + plot + foot
    figure = Figure(figsize=(_WIDTH / 72, height / 72), facecolor="none")
    axes = figure.add_axes((_MARGIN / _WIDTH, foot / height, 1 - 2 * _MARGIN / _WIDTH, plot / height), facecolor="none")
    axes.set_ylim(max(rows, 1), 0)
    axes.yaxis.set_visible(False)
    axes.spines[["left", "top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", labelsize=11)
    if emulated:
        figure.text(0.5, 6 / height, EMULATED, ha="center", va="bottom", fontweight="bold", color=CAVEAT)
    if not rows:
        axes.text(0.5, 0.5, "nothing was measured", ha="center", va="center", transform=axes.transAxes)
    return figure, axes


def _draw_grid(axes: Axes, rows: int) -> None:
    """Draw a line at each tick through the rows' strips; the labels between them stay on clear ground."""
    left, right = axes.get_xlim()
    for tick in axes.get_xticks():
        if left <= tick <= right:
            for row in range(rows):
                axes.plot([tick, tick], [row + end for end in _STRIP], color=GRID, linewidth=1, zorder=0.4)


def _drawable(series: Series) -> list[float]:
    """Return the rates that a chart can show."""
    return [rate for rate in series.rates_mib_s if 0 <= rate < _LARGEST_MIB_S]  # False for what is not a number


def _strip(axes: Axes, row: int, series: Series, label: str, style: ArmStyle) -> None:
    """Draw one series in its row: the label on top, below it the marks in the order of the blocks."""
    rates = _drawable(series)
    _label(axes, row, label, f"median {spell_rate(statistics.median(rates))}" if rates else "no rate")
    if not rates:
        return
    top, bottom = row + _STRIP[0], row + _STRIP[1]
    heights = [top + (bottom - top) * (place + 1) / (len(rates) + 1) for place in range(len(rates))]
    middle = statistics.median(rates)
    axes.plot([middle, middle], [top, bottom], color=INK, linewidth=2, solid_capstyle="butt", zorder=2)
    axes.plot(
        rates,
        heights,
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
    """Draw one ratio in its row: the label and the answer on top, below it the ratio and its interval."""
    ratio, low, high, style = one.ratio, one.low, one.high, one.style
    _label(axes, row, one.label, one.answer)
    top, bottom = row + _STRIP[0], row + _STRIP[1]
    height = (top + bottom) / 2
    axes.fill_between(_EQUIVALENT, top, bottom, color=GRID, linewidth=0, zorder=0.5)
    axes.plot([1, 1], [top, bottom], color=INK, linewidth=1.2, zorder=1)
    if low is not None and high is not None and low <= high:
        left, right = axes.get_xlim()
        ends = [min(max(end, left), right) for end in (low, high)]
        axes.plot(ends, [height, height], color=style.colour, linewidth=3, solid_capstyle="butt", zorder=2)
        axes.plot(ends, [height, height], color=style.colour, linestyle="none", marker="|", markersize=12, zorder=2)
    if ratio is not None and 1 / _FARTHEST <= ratio <= _FARTHEST:
        axes.plot([ratio], [height], marker=style.marker, markersize=8, color=style.colour, clip_on=False, zorder=3)


def _label(axes: Axes, row: int, left: str, right: str) -> None:
    """Write a row's label at its left and its answer at its right, where they need no margin."""
    across = axes.get_yaxis_transform()
    axes.text(0, row + 0.18, _shorten(left), transform=across, va="center", fontweight="bold")
    axes.text(1, row + 0.18, right, transform=across, va="center", ha="right")


def _shorten(text: str) -> str:
    """Return a device's or user's text as it fits a row; the tables have it whole."""
    clean = visible(text)
    return clean if len(clean) <= _LONGEST else clean[: _LONGEST - 1] + "…"


def _ratio_limits(rows: Sequence[RatioRow]) -> tuple[float, float]:
    """Return the ends of the axis: they hold every drawable ratio and 1.0, with room on both sides."""
    values = [value for each in rows for value in (each.ratio, each.low, each.high) if value is not None]
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
        f"{one.arm}: median {spell_rate(statistics.median(rates))} MiB/s, {len(rates)} blocks"
        for one in series
        if (rates := _drawable(one))
    ]
    return visible("; ".join(words) or "no rate was measured")


def _ratios_in_words(judgements: Sequence[Judgement]) -> str:
    """Return the sentences of the judgements."""
    words = [each.sentence for each in judgements if each.call is not Call.NOT_JUDGED or each.sentence]
    return visible(" ".join(words) or "nothing was judged")
