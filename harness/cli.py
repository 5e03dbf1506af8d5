"""throughpass, the command. It imports all, nobody imports it."""
# ruff: noqa: PLC0415 (imports of weight stand within the verbs: a listing must not wait for what only a boot needs)

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.bench.config import load_bench, shipped_benches
from harness.core.deadline import Deadline
from harness.core.errors import BenchError, BoardError, HostLostError, ThroughpassError, UsageError
from reports.spelling import visible

if TYPE_CHECKING:
    import pytest

    from harness.core.record import BoardVerdict

CHECKOUT = Path(__file__).resolve().parents[1]
DEFAULT_BENCH = "virtual-vtd"
BOOT_LIMIT_S = 300.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FAILED, BAD_INPUT, UNDECIDED, INTERRUPTED = 1, 2, 3, 130

_PLAIN: dict[str, Any] = {"no_args_is_help": True, "rich_markup_mode": None, "pretty_exceptions_enable": False}
app = typer.Typer(help="Qualify a board for PCI passthrough of its USB controllers.", add_completion=False, **_PLAIN)
bench_app = typer.Typer(help="Benches: list, build, hold, look inside.", **_PLAIN)
app.add_typer(bench_app, name="bench")

ColdOption = Annotated[bool, typer.Option("--cold", help="boot a virtual board even where a snapshot could be restored")]
BenchArgument = Annotated[str, typer.Argument(metavar="BENCH", help="a shipped bench, or the path of a bench file")]


def main() -> None:
    """Run the command line; every error that is expected becomes a sentence and an exit status."""
    try:
        app()
    except ThroughpassError as error:
        tell_error(error)
        sys.exit(error_status(error))


def error_status(error: ThroughpassError) -> int:
    """Return the exit status for an error: whose fault it is."""
    if isinstance(error, UsageError):
        return BAD_INPUT
    return FAILED if isinstance(error, BoardError) else UNDECIDED


def tell_error(error: ThroughpassError) -> None:
    """Write an error to standard error: the sentence, what to do, and its evidence, with control characters made visible."""
    lines = [f"throughpass: {visible(error.message)}"]
    lines += [f"  {visible(error.remedy)}"] if error.remedy else []
    lines += [f"    {visible(line, keep=chr(9))}" for line in error.evidence.strip().splitlines()]
    typer.echo("\n".join(lines), err=True)


def tell(line: str) -> None:
    """Write a line about what is going on; standard output is for results."""
    typer.echo(visible(line), err=True)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP end the work once, and nothing interrupt the tidying that follows."""

    def interrupt(signum: int, _frame: FrameType | None) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt(signal.Signals(signum).name)

    before = signal_handlers()
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup has asked for that
            signal.signal(number, interrupt)
    try:
        yield
    except KeyboardInterrupt as interruption:
        before = {}  # nothing more may interrupt the way out
        tell(f"throughpass: interrupted by {interruption}")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        restore_signals(before)


def signal_handlers() -> dict[signal.Signals, Any]:
    """Return how the signals that end our work are handled now."""
    return {number: signal.getsignal(number) for number in _SIGNALS}


def restore_signals(handlers: dict[signal.Signals, Any]) -> None:
    """Let signals be handled as they were."""
    for number, handler in handlers.items():
        if handler is not None:  # None: nobody in Python knows
            signal.signal(number, handler)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 (typer's callback)
    if wanted:
        from importlib.metadata import version

        typer.echo(f"throughpass {version('throughpass')}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Qualify a board for PCI passthrough of its USB controllers."""


@app.command()
def qualify(
    benches: Annotated[list[str] | None, typer.Argument(metavar="[BENCH]...", help="shipped benches or bench files")] = None,
    profile: Annotated[Literal["smoke", "quick", "standard"] | None, typer.Option(help="how much is measured")] = None,
    runs: Annotated[Path | None, typer.Option(help="where runs are kept  [default: reports/runs of the checkout]")] = None,
    select: Annotated[str | None, typer.Option("-k", metavar="EXPR", help="only checks that match, as pytest's -k")] = None,
    *,
    cold: ColdOption = False,
    strict: Annotated[bool, typer.Option("--strict", help="exit with 1 for CONDITIONAL too")] = False,
) -> None:
    """Run the qualification. Exit status: 0 qualified, 1 not, 2 bad input, 3 undecided or partial, 130 interrupted."""
    import pytest

    arguments = [str(CHECKOUT / "suites"), f"--rootdir={CHECKOUT}", "-c", str(CHECKOUT / "pyproject.toml"), "--no-header"]
    arguments += [f"--bench={bench}" for bench in benches or [DEFAULT_BENCH]]
    arguments += [f"--profile={profile}"] if profile else []
    arguments += [f"--runs={runs.absolute()}"] if runs else []
    arguments += ["-k", select] if select else []
    arguments += ["--cold"] if cold else []
    outcome = Outcome()
    before = signal_handlers()
    code = pytest.main(arguments, plugins=[outcome])
    if not outcome.interrupted:  # else nothing more may interrupt the way out
        restore_signals(before)
    raise typer.Exit(outcome.exit_status(int(code), strict=strict))


class Outcome:
    """A pytest plugin that remembers how a qualification ended."""

    def __init__(self) -> None:
        self.interrupted = False
        self.session: pytest.Session | None = None

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Note that a person, or a signal, ended the run; errors of collection come this way too, as a subclass."""
        self.interrupted |= type(excinfo.value) is KeyboardInterrupt or str(excinfo.value).startswith("SIG")

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Keep the session: it has the runs."""
        self.session = session

    def exit_status(self, code: int, *, strict: bool) -> int:
        """Return the worst status over all benches; ``code`` is pytest's own, and what it did not run in full is undecided."""
        import pytest

        from harness.core.verdict import exit_status

        if self.interrupted:
            return INTERRUPTED
        if code == pytest.ExitCode.USAGE_ERROR:
            return BAD_INPUT
        verdicts = self._verdicts() if code in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED} else []
        if not verdicts or None in verdicts:
            return UNDECIDED
        worst = max(exit_status(verdict, strict=strict) for verdict in verdicts if verdict)
        return UNDECIDED if code and not worst else worst  # a failure that is in no record qualifies nobody

    def _verdicts(self) -> list[BoardVerdict | None]:
        """Return the verdict on each bench that was asked for, None for one without a record."""
        from fixtures.options import benches_of
        from fixtures.run import RUNS

        if self.session is None:
            return []
        runs = {run.config.name: run for run in self.session.config.stash.get(RUNS, [])}
        kept = {name: run.record().verdict.board for name, run in runs.items() if (run.folder / "record.json").is_file()}
        return [kept.get(name) for name in benches_of(self.session.config)]


@app.command()
def report(record: Annotated[Path, typer.Argument(metavar="RECORD", help="record.json, or the folder of a run")]) -> None:
    """Make the page of a record anew, and print its path."""
    from reports.page import write_report

    typer.echo(str(write_report(record / "record.json" if record.is_dir() else record)))


@app.command()
def doctor() -> None:
    """Say what this machine lacks for the virtual bench, KVM tried by a real boot. Exit status 1: something needed is missing."""
    from harness.bench.doctor import examine

    good = True
    with interruptible():
        for answer in examine(tell):
            mark = "ok     " if answer.good else "MISSING" if answer.needed else "note   "
            typer.echo(f"{mark}  {answer.subject:<18}  {visible(answer.text, keep=chr(10))}")
            good &= answer.good or not answer.needed
    raise typer.Exit(0 if good else FAILED)


@bench_app.command("list")
def list_benches() -> None:
    """List the shipped benches."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("name", "kind", "image", "IOMMU", "what it is", box=None, header_style="bold", pad_edge=False)
    for path in shipped_benches():
        config = load_bench(str(path))
        board = config.board
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        description = visible(first.removeprefix("#").strip()) if first.startswith("#") else ""
        row = (config.name, config.kind, board.image if board else "", board.iommu if board else "", description)
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


@bench_app.command("build")
def build_images(
    images: Annotated[list[str] | None, typer.Argument(metavar="[IMAGE]...", help="debian13, debian12")] = None,
) -> None:
    """Build the images of virtual boards and guests, unless they are there."""
    from harness.bench.images import recipe_names, require_image

    wanted = images or ["debian13"]
    for name in wanted:
        if name not in recipe_names():
            raise UsageError(f"no image is called {name!r}: there are {', '.join(recipe_names())}")
    with interruptible():
        for name in wanted:
            typer.echo(str(require_image(name, tell).folder))


@bench_app.command("clean")
def clean_cache() -> None:
    """Empty the cache: images, snapshots of boards, sticks, transcripts. What is wanted again is made again."""
    from harness.bench.cache import cache_folder
    from harness.bench.upkeep import describe_cache, empty_cache

    tell(f"cache: {describe_cache()}")
    with interruptible():
        typer.echo(f"removed {empty_cache() >> 20} MiB from {cache_folder()}")


@bench_app.command("up")
def hold_board(
    bench: BenchArgument,
    write: Annotated[Path, typer.Option("--write", metavar="FILE.toml", help="the bench file to write, of kind ssh")],
    *,
    cold: ColdOption = False,
) -> None:
    """Boot a virtual board and hold it until a signal comes. The written file reaches it as a host of kind ssh."""
    from harness.bench.held import held_bench_file, require_free
    from harness.bench.virtual import VirtualBench

    config = load_bench(bench)
    if config.kind != "virtual":
        raise UsageError(f"the bench {config.name} is of kind {config.kind}: only a virtual board can be brought up")
    require_free(write)
    board = VirtualBench(config, cold=cold)
    limit = Deadline.after(BOOT_LIMIT_S, f"booting {config.name}")
    with interruptible(), _transcripts(config.name) as logs, board.open(logs, limit, tell):
        for stick in board.loose_sticks():
            board.plug(stick)
        with held_bench_file(config, board.machine.access, write):
            tell(f"the board {config.name} is up, and {write} leads to it; Ctrl-C or SIGTERM takes it down")
            with suppress(KeyboardInterrupt):
                status = board.machine.process.join()
                why = board.machine.explain_loss(BenchError(f"QEMU ended with status {status}"))
                raise BenchError(f"the board {config.name} is gone: {why}", evidence=why.evidence)
        tell(f"taking the board {config.name} down")


@bench_app.command("shell")
def shell_on_board(
    bench: BenchArgument,
    command: Annotated[list[str] | None, typer.Argument(metavar="[-- CMD...]", help="a command instead of a shell")] = None,
    *,
    cold: ColdOption = False,
) -> None:
    """Open a shell on a board (a virtual one is booted for it), or run one command there and end with its exit status."""
    from harness.bench.make import make_bench
    from harness.bench.virtual import VirtualBench
    from harness.transport.ssh import SshTransport
    from harness.transport.terminal import run_joined, run_shell

    config = load_bench(bench)
    made = make_bench(config, cold=cold)
    limit = Deadline.after(BOOT_LIMIT_S, f"opening {config.name}")
    with interruptible(), _transcripts(config.name) as logs, made.open(logs, limit, tell) as host:
        if not isinstance(host.transport, SshTransport):
            raise UsageError(f"the bench {config.name} is this machine: a shell is here already")
        try:
            status = run_joined(host.transport, shlex.join(command)) if command else run_shell(host.transport)
        except HostLostError as error:
            raise (made.machine.explain_loss(error) if isinstance(made, VirtualBench) else error) from None
    raise typer.Exit(status)


@contextmanager
def _transcripts(name: str) -> Iterator[Path]:
    """Hold a folder of the cache for the transcripts of a board that belongs to no run; the next one overwrites them."""
    from harness.bench.cache import cache_folder

    folder = cache_folder() / "logs" / name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    except (BoardError, BenchError) as error:
        error.evidence += f"\nthe transcripts lie in {folder}" if any(folder.iterdir()) else ""
        raise
