"""The chart of latencies: a row an arm, the percentiles as marks on one logarithmic axis.

Importing this module imports matplotlib (half a second): import it where a page is rendered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from reports.arms import ArmStyle, style_arms
from reports.costs import PERCENTILES, Costs
from reports.rows import COLOURS, STRIP, draw_grid, label_row, rows_figure
from reports.spelling import spell_latency, visible
from reports.svg import INK, SETTINGS, inline_svg

_ROW = 48
_LEAST_US, _MOST_US = 1e-3, 1e9
_MOST_TICKS = 6
_STEPS = (1, 2, 5, 3, 7, 1.5, 4, 6, 8, 9, 1.2, 2.5, 1.1, 1.3, 1.4, 3.5, 4.5)
"""Where a decade may have ticks, the roundest first."""


def latency_chart(costs: Sequence[Costs], *, emulated: bool, arms: Sequence[str] = (), name: str = "latency") -> str:
    """Return the percentiles of one cell as inline SVG; an empty text where none is known.

    From left to right p50, p99 and p99.9 of an arm. ``arms`` are all arms of the page, so that each looks the same everywhere.
    """
    shown = [each for each in costs if _drawable(each)]
    if not shown:
        return ""
    styles = style_arms([*arms, *(each.arm for each in costs)])
    values = [value for each in shown for _, value in _drawable(each)]
    with mpl.rc_context(SETTINGS):
        figure, axes = rows_figure(len(shown), emulated=emulated, row_height=_ROW)
        ticks = _dress(axes, min(values), max(values))
        draw_grid(axes, len(shown), ticks)
        for row, each in enumerate(shown):
            _percentiles(axes, row, each, styles[each.arm])
    title = f"Latency: {visible(shown[0].cell)}"
    return inline_svg(figure, name=name, title=title, description=_in_words(shown), colours=COLOURS)


def _dress(axes: Axes, low: float, high: float) -> list[float]:
    """Give the axes a logarithmic scale that holds the values, with its ticks, and return them."""
    room = max((high / low) ** 0.08, 1.15)
    low, high = low / room, high * room
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    ticks = _ticks(low, high)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _spell_tick(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("latency of completion (logarithmic): ● p50, ○ p99, | p99.9")
    return ticks


def _ticks(low: float, high: float) -> list[float]:
    """Return round values between the ends, the roundest first to be chosen, with room for a label between any two."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    gap = math.log(high / low) / _MOST_TICKS
    chosen: list[float] = []
    for tick in (step * 10.0**power for step in _STEPS for power in decades):
        if low <= tick <= high and all(abs(math.log(tick / other)) >= gap for other in chosen):
            chosen.append(tick)
    return sorted(chosen)


def _spell_tick(value_us: float) -> str:
    """Return ``200 µs``, ``5 ms``, ``2 s``: ticks are round."""
    factor, unit = next((pair for pair in ((1e6, "s"), (1e3, "ms"), (1.0, "µs")) if value_us >= 0.999 * pair[0]), (1.0, "µs"))
    return f"{value_us / factor:g} {unit}"


def _percentiles(axes: Axes, row: int, costs: Costs, style: ArmStyle) -> None:
    """Draw one arm in its row: filled p50, hollow p99, a bar at p99.9, and the line that joins them."""
    found = _drawable(costs)
    label_row(axes, row, costs.arm, ", ".join(spell_latency(value) for _, value in found))
    height = row + (STRIP[0] + STRIP[1]) / 2
    values = [value for _, value in found]
    axes.plot(values, [height] * len(values), color=style.colour, linewidth=1.4, zorder=2)
    for name, value in found:
        marker, size, fill = {"p50": (style.marker, 8, style.colour), "p99": (style.marker, 8, "none")}.get(name, ("|", 14, INK))
        axes.plot(
            [value],
            [height],
            marker=marker,
            markersize=size,
            markerfacecolor=fill,
            markeredgecolor=style.colour,
            markeredgewidth=1.6,
            clip_on=False,
            zorder=3,
        )


def _drawable(costs: Costs) -> list[tuple[str, float]]:
    """Return the percentiles that a logarithmic axis can show, by name."""
    found = zip(PERCENTILES, costs.latencies_us, strict=True)
    return [(name, value) for name, value in found if value is not None and _LEAST_US <= value <= _MOST_US]


def _in_words(costs: Sequence[Costs]) -> str:
    """Return what the chart shows, for those who hear the page."""
    words = [f"{each.arm}: " + ", ".join(f"{name} {spell_latency(value)}" for name, value in _drawable(each)) for each in costs]
    return visible("; ".join(words))
