"""The chart of every second: a panel an arm, a thin line a block, cliffs and stalls marked.

Importing this module imports matplotlib (half a second): import it where a page is rendered.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.core.series import Sample, Series
from reports.arms import ArmStyle, style_arms
from reports.cliffs import find_cliff, known_stalls, typical_cliff
from reports.rows import COLOURS, WIDTH, foot_height, shorten, warn_of_emulation
from reports.spelling import spell_count, spell_rate, visible
from reports.svg import GRID, INK, SETTINGS, inline_svg

_HEAD, _PANEL, _LEFT, _RIGHT = 30, 66, 44, 14  # points
_LARGEST_MIB_S = 1e15
_LONGEST = 16  # characters of an arm beside the words of its cliff


def seconds_chart(series: Sequence[Series], *, emulated: bool, arms: Sequence[str] = (), name: str = "seconds") -> str:
    """Return the rate in each second of one cell as inline SVG; an empty text where nobody counted seconds.

    All panels have one scale. ``arms`` are all arms of the page, so that each looks the same in every chart.
    """
    shown = [one for one in series if any(_drawable(sample) for sample in one.samples)]
    if not shown:
        return ""
    styles = style_arms([*arms, *(one.arm for one in series)])
    largest = max(rate for one in shown for sample in one.samples for rate in sample.seconds_mib_s if 0 <= rate < _LARGEST_MIB_S)
    longest = max(len(sample.seconds_mib_s) for one in shown for sample in one.samples)
    with mpl.rc_context(SETTINGS):
        figure, panels = _figure(len(shown), emulated=emulated)
        for axes, one in zip(panels, shown, strict=True):
            axes.set_xlim(0, longest)
            axes.set_ylim(0, largest * 1.06 or 1)
            _panel(axes, one, styles[one.arm])
        panels[-1].xaxis.set_visible(True)
        panels[-1].spines["bottom"].set_visible(True)
        panels[-1].set_xlabel("seconds of the run; MiB/s upwards")
    title = f"Rate in each second: {visible(shown[0].cell)}"
    return inline_svg(figure, name=name, title=title, description=_in_words(shown), colours=COLOURS)


def _figure(panels: int, *, emulated: bool) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels below each other, each with clear ground above it."""
    foot = foot_height(emulated=emulated)
    height = panels * (_HEAD + _PANEL) + foot
    figure = Figure(figsize=(WIDTH / 72, height / 72), facecolor="none")
    warn_of_emulation(figure, height, emulated=emulated)
    across = _LEFT / WIDTH, 1 - (_LEFT + _RIGHT) / WIDTH
    bottoms = [foot + (panels - 1 - panel) * (_HEAD + _PANEL) for panel in range(panels)]
    return figure, [_axes(figure, (across[0], bottom / height, across[1], _PANEL / height)) for bottom in bottoms]


def _axes(figure: Figure, place: tuple[float, float, float, float]) -> Axes:
    axes = figure.add_axes(place, facecolor="none")
    axes.spines[["left", "top", "right", "bottom"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    axes.xaxis.set_visible(False)
    axes.grid(axis="y", color=GRID, linewidth=1)
    axes.tick_params(labelsize=11)
    axes.tick_params(axis="y", length=0)
    axes.set_axisbelow(True)
    return axes


def _panel(axes: Axes, series: Series, style: ArmStyle) -> None:
    """Draw one arm: its name and what was found above, a line a block below."""
    head, place = 1 + 12 / _PANEL, axes.transAxes
    left = -_LEFT / (WIDTH - _LEFT - _RIGHT)
    axes.text(left + 0.035, head, shorten(series.arm, _LONGEST), va="center", fontweight="bold", transform=place)
    axes.text(1, head, _answer(series.samples), va="center", ha="right", transform=place)
    for sample in series.samples:
        _line(axes, sample, style)


def _line(axes: Axes, sample: Sample, style: ArmStyle) -> None:
    """Draw one block: its line with a mark at the end, a bar at its cliff, a cross at each stall."""
    rates = [rate if 0 <= rate < _LARGEST_MIB_S else math.nan for rate in sample.seconds_mib_s]
    middles = [second + 0.5 for second in range(len(rates))]
    dashes = (0, style.dashes) if style.dashes else "solid"
    axes.plot(middles, rates, color=style.colour, linewidth=1.1, linestyle=dashes, alpha=0.75, zorder=2)
    axes.plot(middles[-1:], rates[-1:], color=style.colour, marker=style.marker, markersize=4.5, clip_on=False, zorder=3)
    if cliff := find_cliff(sample):
        axes.axvline(cliff.at_s, color=INK, linewidth=1.4, zorder=1)
    stalls = known_stalls(sample)
    axes.plot(
        [middles[second] for second in stalls],
        [rates[second] for second in stalls],
        linestyle="none",
        marker="x",
        markersize=7,
        markeredgewidth=2,
        color=INK,
        clip_on=False,
        zorder=4,
    )


def _answer(samples: Sequence[Sample]) -> str:
    """Return what a panel says beside the arm's name: its cliff and its stalls, else how many lines it has."""
    stalled = sum(len(known_stalls(sample)) for sample in samples)
    cliff = typical_cliff(samples)
    words = [cliff.words] if cliff else []
    words += [spell_count(stalled, "stall")] if stalled else []
    return ", ".join(words) or spell_count(sum(bool(_drawable(sample)) for sample in samples), "block")


def _drawable(sample: Sample) -> list[float]:
    return [rate for rate in sample.seconds_mib_s if 0 <= rate < _LARGEST_MIB_S]  # False for what is not a number


def _in_words(series: Sequence[Series]) -> str:
    """Return what the chart shows, for those who hear the page."""
    words = []
    for one in series:
        seconds = [rate for sample in one.samples for rate in _drawable(sample)]
        low, middle, high = (spell_rate(rate) for rate in (min(seconds), statistics.median(seconds), max(seconds)))
        words.append(f"{one.arm}: seconds between {low} and {high} MiB/s, median {middle}; {_answer(one.samples)}")
    return visible(". ".join(words))
