"""The chart of a cell over time: rates of the arms above, the ratio that decides below, change points through both.

Importing this module imports matplotlib (half a second): import it where a page is rendered.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from harness.core.history import Line, Point
from reports.arms import STYLES, ArmStyle, style_arms
from reports.marks import EMULATED
from reports.spelling import parse_instant, spell_rate, visible
from reports.svg import CAVEAT, GRID, INK, SETTINGS, inline_svg

_WIDTH, _RATES, _RATIO, _FOOT, _NOTE, _GAP = 760, 190, 110, 30, 22, 34  # points
_LEFT, _RIGHT = 62, 12
_MOST_BARS = 60
"""More runs have a wash instead of a bar each."""
_MARKS = 20
"""About so many marks tell a line from the others where no colour is seen."""
_LARGEST = 1e15
_MOST_DATES = 6


def history_chart(lines: Sequence[Line], runs: Sequence[tuple[str, str]], *, emulated: bool, name: str) -> str:
    """Return one cell of one bench as inline SVG; ``runs`` are id and start of all runs that have a place on the axis."""
    places = {run: place for place, run in enumerate(runs)}
    rates, ratios = [line for line in lines if not line.base], [line for line in lines if line.base][:1]
    styles = style_arms(line.arm for line in rates)
    with mpl.rc_context(SETTINGS):
        figure, axes = _figure(ratio=bool(ratios), emulated=emulated)
        for line in rates:
            _draw(axes[0], line, places, styles[line.arm])
        top = max((end for line in rates for end in _drawable(line.points)), default=0.0)
        axes[0].set_ylim(0, top * 1.08 or 1)
        axes[0].set_ylabel("MiB/s")
        for line in ratios:
            _draw(axes[-1], line, places, styles[line.arm])
            axes[-1].axhline(1, color=INK, linewidth=1, zorder=0.6)
            axes[-1].set_ylabel(_shorten(f"{line.arm} / {line.base}"), fontsize=10)
        for each in axes:
            _dress(each, runs)
        axes[0].xaxis.set_visible(len(axes) == 1)  # the dates stand once, at the bottom
    cell = visible(lines[0].cell) if lines else "nothing"
    return inline_svg(figure, name=name, title=f"Over time: {cell}", description=_in_words(lines), colours=_COLOURS)


_COLOURS = {style.colour: style.css for style in STYLES}


def _figure(*, ratio: bool, emulated: bool) -> tuple[Figure, list[Axes]]:
    foot = _FOOT + (_NOTE if emulated else 0)
    height = _GAP / 2 + _RATES + (_RATIO + _GAP / 2 if ratio else 0) + foot
    figure = Figure(figsize=(_WIDTH / 72, height / 72), facecolor="none")
    left, width = _LEFT / _WIDTH, 1 - (_LEFT + _RIGHT) / _WIDTH
    axes = [figure.add_axes((left, 1 - (_GAP / 2 + _RATES) / height, width, _RATES / height), facecolor="none")]
    if ratio:
        axes.append(figure.add_axes((left, foot / height, width, _RATIO / height), facecolor="none"))
    if emulated:
        figure.text(0.5, 6 / height, EMULATED, ha="center", va="bottom", fontweight="bold", color=CAVEAT)
    return figure, axes


def _draw(axes: Axes, line: Line, places: dict[tuple[str, str], int], style: ArmStyle) -> None:
    """Draw one figure over time: intervals as a wash, values as marks or a line, a change of stretch as a dashed line."""
    points = [point for point in line.points if _drawable([point])]
    across = [places[point.run, point.start] for point in points]
    values = [point.value for point in points]
    ends = [(point.low or point.value, point.high or point.value) for point in points]
    few = len(points) <= _MOST_BARS
    low, high = [max(end[0], 0.0) for end in ends], [min(end[1], 4 * value) for end, value in zip(ends, values, strict=True)]
    if few:
        axes.vlines(across, low, high, color=style.colour, linewidth=1.2, alpha=0.6, zorder=1)
    else:
        axes.fill_between(across, low, high, color=style.colour, alpha=0.18, linewidth=0, zorder=1)
    every = max(1, len(points) // _MARKS)
    axes.plot(across, values, color=style.colour, linewidth=1.3, marker=style.marker, markersize=5, markevery=every, zorder=2)
    for change in line.changes:
        place = places[change.run, change.start] - 0.5
        axes.axvline(place, color=style.colour, linewidth=1.4, linestyle=(0, (5, 3)), zorder=1.5)


def _dress(axes: Axes, runs: Sequence[tuple[str, str]]) -> None:
    """Give an axes the dates of some runs, and take away what shouts."""
    axes.set_xlim(-0.5, max(len(runs), 1) - 0.5)
    axes.margins(y=0.15)
    step = max(1, -(-len(runs) // _MOST_DATES))
    axes.xaxis.set_major_locator(FixedLocator(list(range(0, len(runs), step))))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: _date(runs, round(place))))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=GRID, linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=10)


def _date(runs: Sequence[tuple[str, str]], place: int) -> str:
    if not 0 <= place < len(runs):
        return ""
    instant = parse_instant(runs[place][1])
    return f"{instant:%Y-%m-%d}" if instant else ""


def _drawable(points: Sequence[Point]) -> list[float]:
    return [point.value for point in points if 0 <= point.value < _LARGEST]


def _shorten(text: str) -> str:
    clean = visible(text)
    return clean if len(clean) <= 24 else clean[:23] + "…"  # noqa: PLR2004 (what fits the axis)


def _in_words(lines: Sequence[Line]) -> str:
    """Return what the chart shows, for those who hear the page."""
    words = []
    for line in lines:
        if line.points:
            what = f"{line.arm} / {line.base}" if line.base else line.arm
            first, last = (spell_rate(point.value) for point in (line.points[0], line.points[-1]))
            changes = f", {len(line.changes)} change points" if line.changes else ""
            words.append(f"{what}: {len(line.points)} runs, first {first}, last {last}{changes}")
    return visible("; ".join(words) or "nothing was measured")
