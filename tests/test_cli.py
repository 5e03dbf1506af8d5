"""The command line: what it says, how it ends, and how quickly it starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fixtures.run import RUNS
from harness.cli import Outcome, error_status, tell_error
from harness.core.errors import BenchError, BoardError, DeadlineError, HostLostError, RefusedError, ThroughpassError, UsageError
from harness.core.record import BoardVerdict, Verdict, encode
from tests.records import sample_record

THROUGHPASS = Path(sys.executable).with_name("throughpass")
HEAVY = ("paramiko", "pytest", "rich", "asyncio", "jinja2", "scipy", "matplotlib", "pexpect", "cryptography")

INTERRUPTIBLE = """
import signal, sys, threading
from harness.cli import interruptible
with interruptible():
    try:
        print("ready", flush=True)
        threading.Event().wait(30)
    finally:
        print("tidying", flush=True)
        sys.stdin.readline()
        print("tidied", flush=True)
"""
"""Work that a signal ends, and a tidying that lasts until a line comes."""


def throughpass(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would."""
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(
        [THROUGHPASS, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def test_cli_version() -> None:
    """The version is printed, and nothing else."""
    done = throughpass("--version")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("throughpass 0.")


def test_cli_help_names_every_verb() -> None:
    """The help names each verb with what it does."""
    top, bench = throughpass("--help"), throughpass("bench", "--help")

    assert top.returncode == bench.returncode == 0
    assert [verb for verb in ("qualify", "report", "doctor", "bench") if verb not in top.stdout] == []
    assert [verb for verb in ("list", "build", "up", "shell") if verb not in bench.stdout] == []


def test_cli_starts_without_weight() -> None:
    """Nothing that only a boot or a report needs is imported before a verb asks for it."""
    code = f"import sys, harness.cli; print([name for name in {HEAVY!r} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_cli_list_shows_the_shipped_benches(tmp_path: Path) -> None:
    """Each shipped bench is one line with its kind, image, IOMMU and what it is, wherever the command runs."""
    done = throughpass("bench", "list", cwd=tmp_path)

    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith("virtual-")}
    assert [
        part for part in ("virtual", "debian13", "intel", "A board with Intel VT-d") if part not in lines["virtual-vtd"]
    ] == []
    assert " amd " in lines["virtual-amdvi"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["qualify", "virtual-vdt"], "no bench is called 'virtual-vdt'", id="qualify"),
        pytest.param(["bench", "shell", "no/such.toml"], "there is no bench file no/such.toml", id="shell"),
        pytest.param(["bench", "up", "nope", "--write", "x.toml"], "no bench is called 'nope'", id="up"),
        pytest.param(["bench", "build", "debian11"], "no image is called 'debian11': there are debian12, debian13", id="build"),
        pytest.param(["report", "no-such.json"], "no-such.json cannot be read: No such file", id="report"),
        pytest.param(["qualify", "--profile", "huge"], "'huge' is not one of", id="profile"),
        pytest.param(["bench", "up", "virtual-vtd"], "Missing option '--write'", id="missing-option"),
        pytest.param(["frobnicate"], "No such command 'frobnicate'", id="no-verb"),
    ],
)
def test_cli_bad_input_is_a_sentence_and_two(arguments: Sequence[str], said: str, tmp_path: Path) -> None:
    """Wrong input ends with status 2 and a sentence on standard error, without a traceback."""
    done = throughpass(*arguments, cwd=tmp_path)

    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_cli_up_of_a_real_bench_is_refused(tmp_path: Path) -> None:
    """Only a virtual board can be brought up; a file that would be overwritten is named before anything boots."""
    (tmp_path / "here.toml").write_text(
        'schema = 1\nname = "here"\nkind = "local"\n[controller]\nid = "1033:0194"\n', encoding="utf-8"
    )

    real = throughpass("bench", "up", "here.toml", "--write", "x.toml", cwd=tmp_path)
    there = throughpass("bench", "up", "virtual-vtd", "--write", "here.toml", cwd=tmp_path)

    assert (real.returncode, there.returncode) == (2, 2)
    assert "the bench here is of kind local: only a virtual board can be brought up" in real.stderr
    assert "here.toml is there already" in there.stderr


def test_cli_qualify_that_selects_nothing_is_undecided(tmp_path: Path) -> None:
    """A selection that no check matches boots nothing and qualifies nothing, wherever the command runs."""
    done = throughpass("qualify", "-k", "no_such_check", "--runs", "runs", cwd=tmp_path)

    assert done.returncode == 3, done.stdout + done.stderr
    assert list(tmp_path.rglob("record.json")) == []


def test_cli_report_makes_the_page_anew(tmp_path: Path) -> None:
    """From a record, or from the folder that holds one, the page is made and its path printed."""
    (tmp_path / "record.json").write_bytes(encode(sample_record()))

    done = throughpass("report", str(tmp_path))

    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/report.html\n")
    assert "QUALIFIED" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert throughpass("report", str(tmp_path / "record.json")).returncode == 0


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("x"), 2),
        (BenchError("x"), 3),
        (HostLostError("x"), 3),
        (DeadlineError("x"), 3),
        (RefusedError("x"), 3),
        (BoardError("x"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_cli_error_has_the_status_of_who_is_at_fault(error: ThroughpassError, status: int) -> None:
    """Input is 2, the board 1, our bench 3."""
    assert error_status(error) == status


def test_cli_error_shows_no_control_code(capsys: pytest.CaptureFixture[str]) -> None:
    """A hostile string in a message or in its evidence reaches the terminal as text; evidence is indented below."""
    tell_error(BoardError("the stick \x1b[31mX\x07 failed", evidence="line 1\nline\t2\x1b]0;title\x07\n", remedy="pull it"))

    said = capsys.readouterr()

    assert said.out == ""
    assert said.err.splitlines() == [
        r"throughpass: the stick \x1b[31mX\x07 failed",
        "  pull it",
        "    line 1",
        "    line\t2\\x1b]0;title\\x07",
    ]


def outcome(*verdicts: BoardVerdict, interrupted: bool = False) -> Outcome:
    """Return what is known after a session with runs of these verdicts."""
    runs: list[Any] = [
        SimpleNamespace(record=lambda verdict=verdict: sample_record(verdict=Verdict(verdict))) for verdict in verdicts
    ]
    found = Outcome()
    found.interrupted = interrupted
    stash = pytest.Stash()
    stash[RUNS] = runs
    found.session = SimpleNamespace(config=SimpleNamespace(stash=stash))  # type: ignore[assignment] # as much as is asked for
    return found


@pytest.mark.parametrize(
    ("verdicts", "strict", "status"),
    [
        ([BoardVerdict.QUALIFIED], True, 0),
        ([BoardVerdict.CONDITIONAL], False, 0),
        ([BoardVerdict.CONDITIONAL], True, 1),
        ([BoardVerdict.QUALIFIED, BoardVerdict.NOT_QUALIFIED], False, 1),
        ([BoardVerdict.UNDECIDED, BoardVerdict.NOT_QUALIFIED], False, 3),
        ([BoardVerdict.PARTIAL], False, 3),
        ([], False, 3),
    ],
)
def test_cli_status_is_that_of_the_worst_board(verdicts: list[BoardVerdict], *, strict: bool, status: int) -> None:
    """Over several benches the worst verdict decides, whatever pytest itself would say."""
    assert outcome(*verdicts).exit_status(1, strict=strict) == status


def test_cli_status_of_what_never_became_a_run() -> None:
    """Interruption outweighs all; pytest's usage error without a run is bad input."""
    assert outcome(BoardVerdict.QUALIFIED, interrupted=True).exit_status(2, strict=False) == 130
    assert Outcome().exit_status(4, strict=False) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_cli_signal_ends_once_and_tidies(number: signal.Signals) -> None:
    """A signal ends the work with 130; a second one does not end the tidying."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", INTERRUPTIBLE], stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == "tidying\n"
        process.send_signal(number)
        out, errors = process.communicate("\n", timeout=20)

    assert out == "tidied\n"
    assert f"interrupted by {number.name}" in errors
    assert "typer" in errors  # Exit, which the command line turns into its status


def test_cli_survives_a_closed_pipe() -> None:
    """A reader that goes early leaves no traceback."""
    text = f"{THROUGHPASS} bench list | head -n 1"

    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False)  # noqa: S607

    assert "Traceback" not in done.stderr
