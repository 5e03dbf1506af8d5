"""report.html: one static page made from a record alone, readable without scripts."""

from __future__ import annotations

import os
from pathlib import Path

from harness.core.errors import UsageError
from harness.core.finding import Severity
from harness.core.record import Record, decode
from reports.conditions import view_conditions
from reports.costs import CONSUMERS, PERCENTILES
from reports.course import view_reasons, view_stages
from reports.engine import template_engine
from reports.marks import EMULATED, MEANINGS, SEVERITIES, VERDICTS
from reports.throughput import SHOWN, find_primary, primary_caveats, view_cells, view_grid
from reports.times import ALL_KINDS, view_times

_WORST_FIRST = (
    Severity.FAILURE,
    Severity.REFUSAL,
    Severity.UNKNOWN,
    Severity.CONDITION,
    Severity.INFORMATION,
    Severity.PASS,
)


def render_report(record: Record) -> str:
    """Return the page as HTML: self-contained, without scripts, the same text for the same record."""
    stages = view_stages(record)
    findings = sorted(record.findings, key=lambda finding: _WORST_FIRST.index(finding.severity))
    return (
        template_engine()
        .get_template("report.html.jinja")
        .render(
            record=record,
            run=record.run,
            environment=record.environment,
            mark=VERDICTS[record.verdict.board],
            meaning=MEANINGS[record.verdict.board],
            emulated=EMULATED,
            reasons=view_reasons(record, stages),
            primary=find_primary(record),
            caveats=primary_caveats(record),
            cells=view_cells(record),
            grid=view_grid(record),
            conditions=view_conditions(record.series),
            percentiles=PERCENTILES,
            consumers=CONSUMERS,
            shown=SHOWN,
            stages=stages,
            findings=[(finding, SEVERITIES[finding.severity]) for finding in findings],
            times=view_times(record),
            kinds=ALL_KINDS,
        )
    )


def read_record(path: Path) -> Record:
    """Read a record; raise UsageError if it cannot be read or is none of a version we know."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    return decode(data, str(path))


def write_report(record_path: Path, page: Path | None = None) -> Path:
    """Read ``record.json`` and write its page (``report.html`` beside it, unless named); return the page's path.

    Raises UsageError if the record cannot be read or is none of a version we know, OSError if the page cannot be written.
    """
    return write_page(page or record_path.with_name("report.html"), render_report(read_record(record_path)))


def write_page(page: Path, text: str) -> Path:
    """Write a page, whole or not at all, and return its path; raise OSError if it cannot be written."""
    draft = page.with_name(f".{page.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(page)
    finally:
        draft.unlink(missing_ok=True)
    return page
