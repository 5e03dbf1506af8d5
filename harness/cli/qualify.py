"""The main job: a qualification."""
# ruff: noqa: PLC0415 (imports of weight stand within the verbs: a listing must not wait for what only a boot needs)

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.cli.app import CHECKOUT, DEFAULT_BENCH, ColdOption, app
from harness.cli.terminal import BAD_INPUT, INTERRUPTED, UNDECIDED, restore_signals, signal_handlers

if TYPE_CHECKING:
    import pytest

    from harness.core.record import BoardVerdict


@app.command()
def qualify(
    benches: Annotated[list[str] | None, typer.Argument(metavar="[BENCH]...", help="shipped benches or bench files")] = None,
    profile: Annotated[Literal["smoke", "quick", "standard"] | None, typer.Option(help="how much is measured")] = None,
    runs: Annotated[Path | None, typer.Option(help="where runs are kept  [default: reports/runs of the checkout]")] = None,
    select: Annotated[str | None, typer.Option("-k", metavar="EXPR", help="only checks that match, as pytest's -k")] = None,
    wait: Annotated[int, typer.Option(min=0, help="seconds to wait for a controller that somebody else has")] = 0,
    *,
    cycles: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="round trips, host to guest and back  [default: 2, virtual boards: 1]")
    ] = None,
    cold: ColdOption = False,
    operator: Annotated[bool, typer.Option("--operator", help="ask on the terminal for sticks that no machine plugs")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="exit with 1 for CONDITIONAL too")] = False,
) -> None:
    """Run the qualification. Exit status: 0 qualified, 1 not, 2 bad input, 3 undecided or partial, 130 interrupted."""
    import pytest

    arguments = [str(CHECKOUT / "suites"), f"--rootdir={CHECKOUT}", "-c", str(CHECKOUT / "pyproject.toml"), "--no-header"]
    arguments += [f"--bench={bench}" for bench in benches or [DEFAULT_BENCH]]
    arguments += [f"--profile={profile}"] if profile else []
    arguments += [f"--cycles={cycles}"] if cycles else []
    arguments += [f"--runs={runs.absolute()}"] if runs else []
    arguments += ["-k", select] if select else []
    arguments += [f"--wait={wait}"] if wait else []
    arguments += ["--cold"] if cold else []
    arguments += ["--operator"] if operator else []
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
