"""What a history looks like: the wall of boards, a chart for each cell of each bench, and lines for a terminal."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.core.history import BoardRow, History, Line, StageState
from harness.core.record import Outcome
from reports.arms import ArmStyle, style_arms
from reports.engine import template_engine
from reports.marks import EMULATED, NOT_RUN, OUTCOMES, VERDICTS, WORST_FIRST, Mark
from reports.spelling import columns, parse_instant, spell_rate, visible


@dataclass(frozen=True)
class WallRow:
    """A board on the wall: its verdict's mark, and a mark a stage."""

    row: BoardRow
    mark: Mark
    stages: tuple[tuple[str, Mark], ...]
    ratio: str


@dataclass(frozen=True)
class LineRow:
    """A figure over time in a table's row."""

    line: Line
    style: ArmStyle
    name: str
    runs: int
    last: str
    ends: str
    median: str
    low: str
    high: str


@dataclass(frozen=True)
class CellHistory:
    """One cell of one bench: its chart (our own SVG) and its rows."""

    cell: str
    chart: str
    rows: tuple[LineRow, ...]


@dataclass(frozen=True)
class BenchHistory:
    """All cells of one bench, of one kind of hardware."""

    bench: str
    emulated: bool
    cells: tuple[CellHistory, ...]


def render_history(history: History) -> str:
    """Return the page as HTML: self-contained, without scripts, the same text for the same history."""
    wall = [_wall_row(row) for row in history.boards]
    return (
        template_engine()
        .get_template("history.html.jinja")
        .render(
            history=history,
            wall=wall,
            stages=list(dict.fromkeys(stage for each in wall for stage, _ in each.stages)),
            benches=_view_benches(history),
            emulated=EMULATED,
            spell=spell_figure,
            not_run=NOT_RUN,
        )
    )


def _wall_row(row: BoardRow) -> WallRow:
    ratio = "" if row.ratio is None else spell_figure(row.ratio, ratio=True)
    return WallRow(row, VERDICTS[row.verdict], tuple((each.stage, _stage_mark(each)) for each in row.stages), ratio)


def _stage_mark(state: StageState) -> Mark:
    return next((OUTCOMES[outcome] for outcome in WORST_FIRST if outcome in state.outcomes), NOT_RUN)


def _view_benches(history: History) -> tuple[BenchHistory, ...]:
    benches: dict[tuple[str, bool], list[Line]] = {}
    for line in history.lines:
        benches.setdefault((line.bench, line.emulated), []).append(line)
    return tuple(_view_bench(*key, lines, number) for number, (key, lines) in enumerate(benches.items()))


def _view_bench(bench: str, emulated: bool, lines: Sequence[Line], number: int) -> BenchHistory:  # noqa: FBT001 (a key's part)
    from reports.history_chart import history_chart  # noqa: PLC0415 (matplotlib: only where something is drawn)

    runs = sorted({(point.run, point.start) for line in lines for point in line.points}, key=_moment)
    cells = []
    for place, cell in enumerate(dict.fromkeys(line.cell for line in lines)):
        mine = [line for line in lines if line.cell == cell]
        chart = history_chart(mine, runs, emulated=emulated, name=f"history-{number}-{place}")
        styles = style_arms(line.arm for line in mine)
        cells.append(CellHistory(cell, chart, tuple(_line_row(line, styles[line.arm]) for line in mine)))
    return BenchHistory(bench, emulated, tuple(cells))


def _moment(run: tuple[str, str]) -> tuple[float, str]:
    instant = parse_instant(run[1])
    return (instant.timestamp() if instant else 0.0), run[0]


def _line_row(line: Line, style: ArmStyle) -> LineRow:
    ratio = bool(line.base)
    values = [point.value for point in line.points]
    last = line.points[-1]
    ends = [spell_figure(end, ratio=ratio) for end in (last.low, last.high) if end is not None]
    return LineRow(
        line,
        style,
        f"{line.arm} / {line.base}" if ratio else line.arm,
        len(values),
        spell_figure(last.value, ratio=ratio),
        f"[{', '.join(ends)}]" if ends else "",
        spell_figure(statistics.median(values), ratio=ratio),
        spell_figure(min(values), ratio=ratio),
        spell_figure(max(values), ratio=ratio),
    )


def spell_figure(value: float, *, ratio: bool) -> str:
    """Return a rate in MiB/s without its unit, or a ratio."""
    return f"{value:#.3g}".rstrip(".") if ratio else spell_rate(value)


def history_text(history: History) -> str:
    """Return the history as lines for a terminal, without control codes: boards, figures, changes, and what was skipped."""
    sections = (_board_lines(history), _figure_lines(history), _change_lines(history), _skipped_lines(history))
    return "\n\n".join("\n".join(lines) for section in sections if (lines := list(section)))


def _board_lines(history: History) -> Iterator[str]:
    rows = [("bench", "verdict", "date", "kernel", "ratio", "stages", "")]
    for each in (_wall_row(row) for row in history.boards):
        row = each.row
        stages = " ".join(f"{stage}:{mark.word}" for stage, mark in each.stages if mark is not OUTCOMES[Outcome.PASS])
        word = "(emulated)" if row.emulated else ""
        rows.append((row.bench, row.verdict.value, row.start[:10], row.kernel, each.ratio or "–", stages or "all passed", word))
    yield from columns(rows)


def _figure_lines(history: History) -> Iterator[str]:
    if not history.lines:
        return
    rows = [("bench", "cell", "figure", "runs", "last", "interval", "median", "lowest", "highest")]
    for line in history.lines:
        row = _line_row(line, style_arms([line.arm])[line.arm])
        rows.append((line.bench, line.cell, row.name, str(row.runs), row.last, row.ends, row.median, row.low, row.high))
    yield from columns(rows)
    if any(line.emulated for line in history.lines):
        yield f"note: {EMULATED}"


def _change_lines(history: History) -> Iterator[str]:
    if history.unsought:
        yield visible(f"note: {history.unsought}")
    for line in history.lines:
        for change in line.changes:
            figures = [spell_figure(value, ratio=bool(line.base)) for value in (change.before, change.after)]
            name = f"{line.arm} / {line.base}" if line.base else line.arm
            new = f" ({'; '.join(change.new)})" if change.new else ""
            yield visible(f"changed: {line.bench} {line.cell} {name} at {change.run}: {figures[0]} -> {figures[1]}{new}")


def _skipped_lines(history: History) -> Iterator[str]:
    yield from (visible(f"skipped: {each.why}") for each in history.skipped)
