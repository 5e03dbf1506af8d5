"""What a comparison of two records looks like: one static page, and lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.core.comparison import Change, Comparison, Effect, Shift, Side
from reports.arms import style_arms
from reports.engine import template_engine
from reports.marks import EMULATED, OUTCOMES, SEVERITIES, VERDICTS, Mark
from reports.spelling import columns, spell_instant, spell_interval, spell_rate, spell_ratio, visible

SHIFTS = {
    Shift.FASTER: Mark("up", "good", "faster", "▲"),
    Shift.HIGHER: Mark("up", "good", "higher", "▲"),
    Shift.SLOWER: Mark("down", "bad", "slower", "▼"),
    Shift.LOWER: Mark("down", "bad", "lower", "▼"),
    Shift.EQUIVALENT: Mark("check", "quiet", "equivalent", "="),
    Shift.INCONCLUSIVE: Mark("question", "unsure", "inconclusive", "?"),
    Shift.NOT_COMPARABLE: Mark("warning", "weak", "not comparable", "!"),
    Shift.NOT_JUDGED: Mark("dash", "quiet", "not judged", "–"),
    Shift.ONLY_ONE: Mark("dash", "quiet", "in one only", "–"),
}
CHANGES = {
    Change.LOST: Mark("cross", "bad", "lost", "✘"),
    Change.CAME: Mark("warning", "weak", "came", "+"),
    Change.WEAKER: Mark("warning", "weak", "weaker", "▲"),
    Change.GONE: Mark("question", "unsure", "not asked any more", "?"),
    Change.CHANGED: Mark("dash", "quiet", "changed", "–"),
    Change.REGAINED: Mark("check", "good", "passes now", "✔"),
    Change.WENT: Mark("check", "good", "went", "-"),
    Change.NEW: Mark("dash", "quiet", "new", "–"),
}

_FALLEN = frozenset({Shift.SLOWER, Shift.LOWER})
_UNSURE = (Shift.INCONCLUSIVE, Shift.NOT_COMPARABLE, Shift.NOT_JUDGED, Shift.ONLY_ONE)
"""Answers that need their sentence."""


@dataclass(frozen=True)
class CellEffects:
    """All figures of one cell, and their chart (our own SVG; empty without an interval)."""

    cell: str
    effects: tuple[tuple[Effect, Mark], ...]
    chart: str

    @property
    def counts(self) -> str:
        """Return how often each answer was given."""
        return _count_shifts([effect for effect, _ in self.effects])

    @property
    def worse(self) -> bool:
        """Return whether a figure fell."""
        return any(effect.shift in _FALLEN for effect, _ in self.effects)


def render_comparison(comparison: Comparison) -> str:
    """Return the page as HTML: self-contained, without scripts, the same text for the same comparison."""
    return (
        template_engine()
        .get_template("compare.html.jinja")
        .render(
            comparison=comparison,
            before=comparison.before,
            after=comparison.after,
            summary=summarise(comparison),
            cells=_view_cells(comparison),
            checks=[(each, CHANGES[each.change]) for each in comparison.checks],
            findings=[(each, CHANGES[each.change]) for each in comparison.findings],
            outcomes=OUTCOMES,
            severities=SEVERITIES,
            verdicts=VERDICTS,
            emulated=EMULATED if comparison.emulated else "",
            unsure=[shift.value for shift in _UNSURE],
            spell_value=spell_value,
            spell_ratio=spell_ratio,
            spell_ends=spell_ends,
        )
    )


def summarise(comparison: Comparison) -> tuple[tuple[str, Mark | None], ...]:
    """Return the answer in a few sentences, each with a mark where it is good or bad news."""
    lines: list[tuple[str, Mark | None]] = []
    ours, theirs = comparison.before.verdict, comparison.after.verdict
    if ours is theirs:
        lines.append((f"The verdict is the same: {theirs.value}.", None))
    else:
        lines.append((f"The verdict was {ours.value}, and is {theirs.value} now.", VERDICTS[theirs]))
    if comparison.effects:
        fallen = next((SHIFTS[effect.shift] for effect in comparison.effects if effect.shift in _FALLEN), None)
        lines.append((f"Of {_count(len(comparison.effects), 'figure')}: {_count_shifts(comparison.effects)}.", fallen))
    for what, changes in (("check", comparison.checks), ("finding", comparison.findings)):
        kinds = [each.change for each in changes]
        told = [(f"{kinds.count(change)} {mark.word}", mark) for change, mark in CHANGES.items() if change in kinds]
        if told:
            lines.append((f"{what.capitalize()}s: {', '.join(text for text, _ in told)}.", told[0][1]))
        else:
            lines.append((f"No {what} came, went or changed.", None))
    lines.append((f"{_count(len(comparison.differences), 'fact')} differ{'s' * (len(comparison.differences) == 1)}.", None))
    return tuple(lines)


def _count_shifts(effects: Sequence[Effect]) -> str:
    shifts = [effect.shift for effect in effects]
    return ", ".join(f"{shifts.count(shift)} {mark.word}" for shift, mark in SHIFTS.items() if shift in shifts)


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}".capitalize()


def _view_cells(comparison: Comparison) -> tuple[CellEffects, ...]:
    cells = dict.fromkeys(effect.cell for effect in comparison.effects)
    return tuple(_view_cell(comparison, cell, number) for number, cell in enumerate(cells))


def _view_cell(comparison: Comparison, cell: str, number: int) -> CellEffects:
    effects = tuple(effect for effect in comparison.effects if effect.cell == cell)
    chart = _chart(effects, emulated=comparison.emulated, name=f"shifts-{number}")
    return CellEffects(cell, tuple((effect, SHIFTS[effect.shift]) for effect in effects), chart)


def _chart(effects: Sequence[Effect], *, emulated: bool, name: str) -> str:
    """Return how far each figure of a cell moved, as our own SVG; an empty text where none has an interval."""
    drawn = [effect for effect in effects if effect.ratio is not None]
    if not drawn:
        return ""
    from reports.charts import RatioRow, ratio_rows_chart  # noqa: PLC0415 (matplotlib: only where something is drawn)

    styles = style_arms(effect.arm for effect in effects)
    rows = [
        RatioRow(
            f"{one.arm} / {one.base}" if one.base else one.arm,
            f"{spell_ratio(one.ratio)}, {one.shift.value}",
            one.ratio,
            one.low,
            one.high,
            styles[one.arm],
        )
        for one in drawn
    ]
    title = f"Now against before: {visible(drawn[0].cell)}"
    description = visible(" ".join(f"{one.sentence}." for one in drawn))
    return ratio_rows_chart(rows, emulated=emulated, name=name, title=title, description=description)


def comparison_text(comparison: Comparison) -> str:
    """Return the comparison as lines for a terminal, without control codes."""
    sections = (
        _heads(comparison.before, comparison.after),
        (visible(text) for text, _ in summarise(comparison)),
        _effect_lines(comparison),
        _check_lines(comparison),
        _fact_lines(comparison),
        (f"note: {visible(note)}" for note in comparison.notes),
    )
    return "\n\n".join("\n".join(lines) for section in sections if (lines := list(section)))


def _heads(before: Side, after: Side) -> Iterator[str]:
    """Yield what the two records are, one a line; what is the same stands once below."""
    for word, side in (("before", before), ("now", after)):
        words = (side.name, side.bench, spell_instant(side.start), side.profile, f"kernel {side.kernel or 'unknown'}")
        yield f"{word:<7} {visible(' · '.join(filter(None, words)))}"


def _effect_lines(comparison: Comparison) -> Iterator[str]:
    rows = [
        (
            SHIFTS[effect.shift].glyph,
            effect.shift.value,
            effect.cell,
            f"{effect.arm} / {effect.base}" if effect.base else effect.arm,
            f"{spell_value(effect, effect.before)} -> {spell_value(effect, effect.after)}",
            f"{spell_ratio(effect.ratio)} {spell_ends(effect)}".strip() if effect.ratio is not None else effect.sentence,
        )
        for effect in comparison.effects
    ]
    yield from columns(rows)
    for caveat in dict.fromkeys(caveat for effect in comparison.effects for caveat in effect.caveats):
        yield f"note: {visible(caveat)}"
    if rows:
        yield f"{comparison.confidence:.0%} intervals, {comparison.method}"
        yield f"note: {EMULATED}" if comparison.emulated else "rates in MiB/s"


def _check_lines(comparison: Comparison) -> Iterator[str]:
    rows = []
    for check in comparison.checks:
        words = [OUTCOMES[each].word if each else "not run" for each in (check.before, check.after)]
        rows.append((CHANGES[check.change].glyph, check.change.value, check.id, " -> ".join(words), check.reason))
    for finding in comparison.findings:
        weights = [SEVERITIES[each].word if each else "none" for each in (finding.before, finding.after)]
        name = f"{finding.rule} {finding.subject}"
        rows.append((CHANGES[finding.change].glyph, finding.change.value, name, " -> ".join(weights), finding.message))
    yield from columns(rows)


def _fact_lines(comparison: Comparison) -> Iterator[str]:
    for one in comparison.differences:
        yield visible(f"{one.path}: {_absent(one.before)} -> {_absent(one.after)}")
    for word, names in (("before", comparison.told_before), ("now", comparison.told_after)):
        if names:
            yield visible(f"only told {word}: {', '.join(names)}")


def _absent(text: str | None) -> str:
    return "(not there)" if text is None else text


def spell_value(effect: Effect, value: float | None) -> str:
    """Return a rate in MiB/s without its unit, or a ratio."""
    if value is None:
        return "–"
    return spell_ratio(value) if effect.base else spell_rate(value)


def spell_ends(effect: Effect) -> str:
    """Return ``[1.02, 1.06]``; empty where there is no interval."""
    return spell_interval(effect.low, effect.high)
