"""Surveys of this machine, of hosts over SSH, of benches and of captures; and the captures themselves."""
# ruff: noqa: PLC0415 (imports of weight stand within the verbs: a listing must not wait for what only a boot needs)

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.app import app
from harness.cli.terminal import FAILED, UNDECIDED, interruptible, say, tell
from harness.core.errors import ThroughpassError, UsageError
from reports.spelling import visible

if TYPE_CHECKING:
    from harness.rules.screen import Line
    from harness.rules.survey import Fleet, Survey

_COLOURS = {"ready": "green", "conditional": "yellow", "not ready": "red", "unknown": "magenta"}
_WIDEST = 120

TargetArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="TARGET", help="a host as ssh knows it; none: this machine"),
]
BenchOption = Annotated[str | None, typer.Option("--bench", metavar="BENCH", help="local, a shipped bench or a bench file")]
FromOption = Annotated[str | None, typer.Option("--from", metavar="DIR|FILE", help="a capture: a folder or an archive")]
HostsOption = Annotated[
    str | None, typer.Option("--hosts", metavar="FILE|HOST", help="several hosts: a file with one a line; more may follow")
]
LimitOption = Annotated[float, typer.Option("--limit", metavar="SECONDS", min=1, max=86400, help="how long each host may take")]
StrictOption = Annotated[bool, typer.Option("--strict", help="exit with 1 if an xHCI is not ready, 3 if one is unknown")]


@app.command()
def survey(
    targets: TargetArgument = None,
    *,
    bench: BenchOption = None,
    path: FromOption = None,
    hosts: HostsOption = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="how many hosts at a time")] = 40,
    limit: LimitOption = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document: docs/survey.schema.json")] = False,
    strict: StrictOption = False,
) -> None:
    """Say which USB controllers a host may give away, and at what cost. Reads only, and needs nothing there but a shell.

    Exit status: 0 surveyed, 2 bad input, 3 a host could not be surveyed.
    """
    from harness.bench.sources import find_place, require_named
    from harness.rules.survey import survey_of

    named = targets or []
    with interruptible():
        if hosts is not None or len(named) > 1:
            _require_hosts_alone(bench, path)
            fleet = _survey_fleet(_named_hosts(hosts, named), jobs, limit)
            _show_fleet(fleet, as_json=as_json)
            status = UNDECIDED if any(host.error for host in fleet.hosts) else 0
            surveys = [host.survey for host in fleet.hosts if host.survey]
        else:
            require_named(path)  # Path would make "." of it
            place = find_place(named, bench, Path(path) if path else None)
            made = survey_of(place.take(limit, tell), place.source)
            _show_survey(made, as_json=as_json)
            status, surveys = 0, [made]
    raise typer.Exit(max(status, _strictly(surveys)) if strict else status)


@app.command()
def collect(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.tar.gz", help="the archive to write")],
    targets: TargetArgument = None,
    *,
    bench: BenchOption = None,
    limit: LimitOption = 60.0,
    raw: Annotated[bool, typer.Option("--raw", help="keep serial numbers, MAC addresses and host names")] = False,
    force: Annotated[bool, typer.Option("--force", help="replace a file of that name")] = False,
) -> None:
    """Keep what a host says in an archive that `survey --from` reads. Serial numbers, MAC addresses and host names are masked.

    Exit status: 0 written, 2 bad input, 3 the host could not be reached.
    """
    from harness.bench.sources import find_place
    from harness.facts.archive import require_writable, write_archive
    from harness.facts.mask import mask

    place = find_place(targets or [], bench, None)
    require_writable(output, overwrite=force)  # before a host is kept waiting
    with interruptible():
        taken = place.take(limit, tell)
        write_archive(taken if raw else mask(taken), output, overwrite=force)
    say(str(output))


def _require_hosts_alone(bench: str | None, path: str | None) -> None:
    for option, value in (("--bench", bench), ("--from", path)):
        if value is not None:
            raise UsageError(f"several hosts are given, and {option} {value}: one or the other")


def _named_hosts(listed: str | None, named: list[str]) -> tuple[str, ...]:
    from harness.bench.sources import read_hosts, require_named

    if listed is not None:
        return read_hosts(listed, named)
    require_named(*named)
    return tuple(dict.fromkeys(named))


def _survey_fleet(hosts: tuple[str, ...], jobs: int, limit_s: float) -> Fleet:
    """Survey each host; progress is told as they answer, the result is in the order in which they were named."""
    from harness.bench.fleet import survey_fleet
    from harness.rules.survey import Fleet, FleetHost, Source, survey_of

    found: dict[str, FleetHost] = {}
    for outcome in survey_fleet(hosts, bound=jobs, limit_s=limit_s):
        made = survey_of(outcome.capture, Source("ssh", outcome.target)) if outcome.capture else None
        error = _sentence(outcome.error) if outcome.error else None
        found[outcome.target] = FleetHost(outcome.target, made, error)
        tell(f"{outcome.target}: {error or 'answered'} ({len(found)} of {len(hosts)})")
    for host in hosts:
        if host not in found:
            tell(f"{host}: another name of a host that is surveyed already")
    return Fleet(schema=1, hosts=tuple(found[host] for host in hosts if host in found))


def _sentence(error: ThroughpassError) -> str:
    """Return what happened and what to do, for a place that holds one sentence."""
    return "; ".join(filter(None, (error.message, error.remedy)))


def _show_survey(made: Survey, *, as_json: bool) -> None:
    from harness.rules.screen import show_survey

    _print_json(made) if as_json else _print_lines(show_survey(made, _width()))


def _show_fleet(fleet: Fleet, *, as_json: bool) -> None:
    from harness.rules.screen import show_fleet

    _print_json(fleet) if as_json else _print_lines(show_fleet(fleet, _width()))


def _print_json(document: Survey | Fleet) -> None:
    import msgspec

    say(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


def _print_lines(lines: Iterable[Line]) -> None:
    """Print the lines of a screen; colours only repeat what the words say, and only on a terminal."""
    on_terminal = sys.stdout is not None and sys.stdout.isatty()  # None: closed by who started us
    for line in lines:
        text = visible(line.text)
        say(typer.style(text, fg=_COLOURS.get(line.mark), bold=True) if line.mark and on_terminal else text)


def _width() -> int:
    return min(_WIDEST, shutil.get_terminal_size((100, 40)).columns)


def _strictly(surveys: Iterable[Survey]) -> int:
    verdicts = {verdict.value for made in surveys for verdict in made.verdict.values()}
    if "not ready" in verdicts:
        return FAILED
    return UNDECIDED if "unknown" in verdicts or not verdicts else 0
