"""The verdict and the evidence where others draw the page: pytest-html's summary and rows, and the terminal."""

from __future__ import annotations

from harness.core.record import Check, Record
from reports.course import view_reasons, view_stages
from reports.engine import template_engine
from reports.marks import EMULATED, MEANINGS, VERDICTS
from reports.spelling import spell_cycles, visible
from reports.throughput import find_primary


def verdict_block(record: Record) -> str:
    """Return the verdict as an HTML fragment, escaped, with its style in itself (pytest-html's page has a light one)."""
    return (
        template_engine()
        .get_template("verdict.html.jinja")
        .render(
            record=record,
            mark=VERDICTS[record.verdict.board],
            meaning=MEANINGS[record.verdict.board],
            emulated=EMULATED,
            primary=find_primary(record),
            reasons=view_reasons(record, view_stages(record)),
        )
    )


def evidence_html(check: Check) -> str:
    """Return a check's reason, remedy and evidence as an HTML fragment, escaped; an empty text if it has none."""
    if not (check.reason or check.remedy or check.evidence):
        return ""
    return template_engine().get_template("evidence.html.jinja").render(check=check)


def verdict_text(record: Record) -> str:
    """Return verdict, reasons with their remedies, and the primary judgement as lines for a terminal, without control codes."""
    primary = find_primary(record)
    lines = [f"Verdict: {record.verdict.board.value}. {MEANINGS[record.verdict.board]} ({spell_cycles(record.run.cycles)})"]
    for reason in view_reasons(record, view_stages(record)):
        lines.append(f"  - {_flat(reason.text)}")
        if reason.remedy:
            lines.append(f"    What to do: {_flat(reason.remedy)}")
    if primary is not None:
        lines.append(_flat(primary.sentence))
    if record.environment.emulated and record.series:
        lines.append(EMULATED)
    return "\n".join(lines)


def _flat(text: str) -> str:
    """Return a text as one line: a line break from a device must not forge a line of ours."""
    return visible(" ".join(text.split()))
