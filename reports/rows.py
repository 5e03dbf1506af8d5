"""Charts made of rows: a label and an answer on clear ground, below them a strip that holds the marks.

Importing this module imports matplotlib (half a second): import it where a page is rendered.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.arms import STYLES
from reports.marks import EMULATED
from reports.spelling import visible
from reports.svg import CAVEAT, GRID

WIDTH = 440
"""Points; two charts stand side by side on a desk, and one fits a phone at four fifths."""

STRIP = (0.36, 0.94)
"""The part of a row that holds marks."""

COLOURS = {style.colour: style.css for style in STYLES}
"""From the colours of the arms to those of the page."""

_MARGIN = 14
_ROW = 58
_FOOT = 44  # the axis, its numbers and its label
_NOTE = 22  # the line below it
_LONGEST = 34  # characters of a label that fit beside an answer


def rows_figure(rows: int, *, emulated: bool, row_height: float = _ROW) -> tuple[Figure, Axes]:
    """Return a figure with one empty axes of that many rows; row 0 is the top one."""
    plot = row_height * max(rows, 1)
    foot = foot_height(emulated=emulated)
    height = _MARGIN + plot + foot
    figure = Figure(figsize=(WIDTH / 72, height / 72), facecolor="none")
    axes = figure.add_axes((_MARGIN / WIDTH, foot / height, 1 - 2 * _MARGIN / WIDTH, plot / height), facecolor="none")
    axes.set_ylim(max(rows, 1), 0)
    axes.yaxis.set_visible(False)
    axes.spines[["left", "top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", labelsize=11)
    warn_of_emulation(figure, height, emulated=emulated)
    if not rows:
        axes.text(0.5, 0.5, "nothing was measured", ha="center", va="center", transform=axes.transAxes)
    return figure, axes


def foot_height(*, emulated: bool) -> int:
    """Return how many points the axis and what stands below it take."""
    return _FOOT + (_NOTE if emulated else 0)


def warn_of_emulation(figure: Figure, height: float, *, emulated: bool) -> None:
    """Write below the axis that the figures are none of hardware, as part of the drawing: it may be cut out."""
    if emulated:
        figure.text(0.5, 6 / height, EMULATED, ha="center", va="bottom", fontweight="bold", color=CAVEAT)


def draw_grid(axes: Axes, rows: int, ticks: Sequence[float] | None = None) -> None:
    """Draw a line at each tick through the rows' strips; the labels between them stay on clear ground."""
    left, right = axes.get_xlim()
    for tick in axes.get_xticks() if ticks is None else ticks:
        if left <= tick <= right:
            for row in range(rows):
                axes.plot([tick, tick], [row + end for end in STRIP], color=GRID, linewidth=1, zorder=0.4)


def label_row(axes: Axes, row: int, left: str, right: str) -> None:
    """Write a row's label at its left and its answer at its right, where they need no margin."""
    across = axes.get_yaxis_transform()
    axes.text(0, row + 0.18, shorten(left), transform=across, va="center", fontweight="bold")
    axes.text(1, row + 0.18, right, transform=across, va="center", ha="right")


def shorten(text: str, longest: int = _LONGEST) -> str:
    """Return a device's or user's text as it fits a row; the tables have it whole."""
    clean = visible(text)
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


def spread(count: int, top: float, bottom: float) -> list[float]:
    """Return the heights of ``count`` marks between two heights, evenly, the first on top."""
    return [top + (bottom - top) * (place + 1) / (count + 1) for place in range(count)]
