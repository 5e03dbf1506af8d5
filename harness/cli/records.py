"""Records: the page of one, two compared, and many over time."""
# ruff: noqa: PLC0415 (imports of weight stand within the verbs: a listing must not wait for what only a boot needs)

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.app import CHECKOUT, app
from harness.cli.terminal import FAILED, say, tell
from harness.core.errors import UsageError

if TYPE_CHECKING:
    from harness.core.comparison import Comparison

RecordArgument = Annotated[Path, typer.Argument(metavar="RECORD", help="record.json, or the folder of a run")]
FAIL_WORDS = ("slower", "lower", "lost", "came", "weaker", "gone", "inconclusive", "incomparable")
"""What ``compare --fail-on`` knows, the gravest first."""


@app.command()
def report(
    record: RecordArgument,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR|FILE", help="where the page goes  [default: report.html beside the record]")
    ] = None,
) -> None:
    """Make the page of a record anew from the record alone, and print its path."""
    from reports.page import write_report

    path = record_path(record)
    page = (output / "report.html" if output.is_dir() else output) if output else path.with_name("report.html")
    try:
        say(str(write_report(path, page)))
    except OSError as error:
        raise _unwritable(page, error) from error
    if page.resolve().parent != path.resolve().parent:
        tell(f"the page's links lead to files beside {path}: they work only where those are copied too")


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="record.json, or the folder of a run")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="the record that is compared with it")],
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="write a page")] = None,
    fail_on: Annotated[
        str, typer.Option(metavar="WORD,...", help=f"exit with 1 if there is any such: {', '.join(FAIL_WORDS)}")
    ] = "",
    despite: Annotated[
        str, typer.Option(metavar="WORD,...", help="compare figures although these differ: driver, speed, stick")
    ] = "",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="print the comparison as JSON")] = False,
) -> None:
    """Compare two records: facts, findings, checks and speed. Exit status: 0 done, 1 --fail-on found something, 2 bad input."""
    from harness.measure.compare import compare_records
    from reports.comparison import comparison_text, render_comparison
    from reports.page import read_record

    words = _words(fail_on)
    unknown = [word for word in words if word not in FAIL_WORDS]
    if unknown:
        raise UsageError(f"--fail-on does not know {unknown[0]!r}: there are {', '.join(FAIL_WORDS)}")
    paths = record_path(before), record_path(after)
    made = compare_records(read_record(paths[0]), read_record(paths[1]), (str(paths[0]), str(paths[1])), _words(despite))
    if html:
        _write(html, render_comparison(made))
    say(_as_json(made) if as_json else comparison_text(made))
    found = [word for word in words if word in troubles(made)]
    for word in found:
        tell(f"--fail-on {word}: {', '.join(troubles(made)[word])}")
    raise typer.Exit(FAILED if found else 0)


@app.command()
def history(
    subject: Annotated[
        str, typer.Argument(metavar="[BENCH|DIR]", help="one bench, or a folder of records; without it all benches of --runs")
    ] = "",
    runs: Annotated[Path | None, typer.Option(help="where runs are kept  [default: reports/runs of the checkout]")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="write a page, for a wall too")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="print the history as JSON")] = False,
) -> None:
    """Show what records say over time, and where each board stands. What is no record is named and skipped."""
    from harness.measure.history import make_history
    from harness.measure.outline import read_outlines
    from reports.history import history_text, render_history

    root = _history_root(subject, runs or CHECKOUT / "reports" / "runs")
    entries, skipped = read_outlines(root)
    if not entries:
        why = f": {skipped[0].why}" if skipped else ""
        raise UsageError(f"there is no record that can be read below {root}{why}")
    made = make_history(entries, skipped, root)
    if html:
        _write(html, render_history(made))
    say(_as_json(made) if as_json else history_text(made))


def _history_root(subject: str, runs: Path) -> Path:
    """Return the folder of records that a person means: one of theirs, or that of a bench."""
    named = (Path(subject), runs / Path(subject).stem if subject.endswith(".toml") else runs / subject) if subject else (runs,)
    found = next((folder for folder in named if folder.is_dir()), None)
    if found is None:
        raise UsageError(f"there are no runs of {subject or 'any bench'}: neither {' nor '.join(map(str, named))} is a folder")
    return found


def troubles(made: Comparison) -> dict[str, list[str]]:
    """Return what a comparison has of each word of ``FAIL_WORDS``, by name; a word of which there is nothing is not there."""
    from harness.measure.changes import is_grave

    found: dict[str, list[str]] = {}
    for effect in made.effects:
        word = {"not comparable": "incomparable", "in one only": "incomparable"}.get(effect.shift.value, effect.shift.value)
        found.setdefault(word, []).append(f"{effect.arm}{effect.base and f' / {effect.base}'} {effect.cell}")
    for check in made.checks:
        found.setdefault(check.change.value, []).append(check.id)
    for finding in filter(is_grave, made.findings):
        found.setdefault("came", []).append(f"{finding.rule} {finding.subject}")
    return {word: found[word] for word in FAIL_WORDS if word in found}


def record_path(given: Path) -> Path:
    """Return the record that a person means: a file, or record.json in the folder of a run."""
    return given / "record.json" if given.is_dir() else given


def _words(text: str) -> Sequence[str]:
    return [word for part in text.split(",") if (word := part.strip())]


def _write(page: Path, text: str) -> None:
    from reports.page import write_page

    try:
        tell(f"page: {write_page(page, text)}")
    except OSError as error:
        raise _unwritable(page, error) from error


def _unwritable(page: Path, error: OSError) -> UsageError:
    return UsageError(f"{page} cannot be written: {error.strerror or error}; choose another place")


def _as_json(document: object) -> str:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
