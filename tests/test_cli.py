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
from harness.cli.qualify import Outcome
from harness.cli.terminal import error_status, tell_error
from harness.core.errors import BenchError, BoardError, DeadlineError, HostLostError, RefusedError, ThroughpassError, UsageError
from harness.core.record import BoardVerdict, Verdict, encode
from harness.facts.tree import read_capture
from tests.records import sample_record

THROUGHPASS = Path(sys.executable).with_name("throughpass")
HEAVY = ("paramiko", "pytest", "rich", "asyncio", "jinja2", "scipy", "matplotlib", "pexpect", "cryptography")

INTERRUPTIBLE = """
import signal, sys, threading
from harness.cli.terminal import interruptible
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
        [THROUGHPASS, *arguments],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
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
    assert [verb for verb in ("qualify", "report", "compare", "history", "doctor", "bench") if verb not in top.stdout] == []
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
        pytest.param(["storage", "mark", "TP0001"], "standard input is no terminal", id="mark-without-a-person"),
        pytest.param(
            ["storage", "show", "--bench", "virtual-vtd"], "is virtual: its board lives only as long", id="virtual-disks"
        ),
        pytest.param(["frobnicate"], "No such command 'frobnicate'", id="no-verb"),
    ],
)
def test_cli_bad_input_is_a_sentence_and_two(arguments: Sequence[str], said: str, tmp_path: Path) -> None:
    """Wrong input ends with status 2 and a sentence on standard error, without a traceback."""
    done = throughpass(*arguments, cwd=tmp_path)

    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_cli_collect_masks_unless_raw(tmp_path: Path) -> None:
    """What names the machine is in a collected archive only if that is asked for; a second archive does not replace the first."""
    masked, raw, name = tmp_path / "masked.tar.gz", tmp_path / "raw.tar.gz", "proc/sys/kernel/hostname"
    own = Path("/", name).read_text("utf-8").strip()

    done = [throughpass("collect", *options) for options in (["-o", str(masked)], ["-o", str(raw), "--raw"], ["-o", str(raw)])]

    assert [one.returncode for one in done] == [0, 0, 2]
    assert "exists already" in done[2].stderr
    assert read_capture(raw).text(name) == own
    assert read_capture(masked).text(name) in ({"host"} if own not in {"localhost", "(none)"} else {own})
    assert read_capture(masked).scope is None


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


class Session:
    """Sessions of pytest that are over: what ``qualify`` asks of one."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.asked: list[str] = []
        monkeypatch.setattr("fixtures.options.benches_of", lambda _: dict.fromkeys(self.asked))

    def outcome(self, *verdicts: BoardVerdict | None, interrupted: bool = False) -> Outcome:
        """Return what is known after a session with one bench for each verdict; None: its run was never begun."""
        self.asked = [f"bench-{number}" for number in range(len(verdicts))]
        runs = [self.run(name, verdict) for name, verdict in zip(self.asked, verdicts, strict=True) if verdict]
        found = Outcome()
        found.interrupted = interrupted
        stash = pytest.Stash()
        stash[RUNS] = runs
        found.session = SimpleNamespace(config=SimpleNamespace(stash=stash))  # type: ignore[assignment] # as much as is asked for
        return found

    def run(self, name: str, verdict: BoardVerdict) -> Any:
        """Return a run with a record in its folder."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "record.json").touch()
        record = sample_record(verdict=Verdict(verdict))
        return SimpleNamespace(config=SimpleNamespace(name=name), folder=folder, record=lambda: record)


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """Return sessions whose runs lie in a folder of this test."""
    return Session(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("verdicts", "code", "strict", "status"),
    [
        ([BoardVerdict.QUALIFIED], 0, True, 0),
        ([BoardVerdict.CONDITIONAL], 0, False, 0),
        ([BoardVerdict.CONDITIONAL], 0, True, 1),
        ([BoardVerdict.QUALIFIED, BoardVerdict.NOT_QUALIFIED], 1, False, 1),
        ([BoardVerdict.UNDECIDED, BoardVerdict.NOT_QUALIFIED], 1, False, 3),
        ([BoardVerdict.PARTIAL], 0, False, 3),
        ([], 0, False, 3),
    ],
)
def test_cli_status_is_that_of_the_worst_board(
    session: Session, verdicts: list[BoardVerdict], code: int, *, strict: bool, status: int
) -> None:
    """Over several benches the worst verdict decides."""
    assert session.outcome(*verdicts).exit_status(code, strict=strict) == status


@pytest.mark.parametrize("code", [2, 3, 5, 70])
def test_cli_status_of_a_session_that_went_wrong(session: Session, code: int) -> None:
    """A session that pytest did not bring to its end qualifies nobody, whatever its records say."""
    assert session.outcome(BoardVerdict.QUALIFIED).exit_status(code, strict=False) == 3


def test_cli_status_of_a_failure_that_is_in_no_record(session: Session) -> None:
    """A failure that pytest saw and no record holds qualifies nobody."""
    assert session.outcome(BoardVerdict.QUALIFIED).exit_status(1, strict=False) == 3


def test_cli_status_of_a_bench_without_a_record(session: Session, tmp_path: Path) -> None:
    """Every bench that was asked for must have a record: one whose run never began, or could not be written, is undecided."""
    assert session.outcome(BoardVerdict.QUALIFIED, None).exit_status(0, strict=False) == 3
    found = session.outcome(BoardVerdict.QUALIFIED)
    (tmp_path / "bench-0" / "record.json").unlink()
    assert found.exit_status(0, strict=False) == 3


def test_cli_status_of_what_never_became_a_run(session: Session) -> None:
    """Interruption outweighs all; pytest's usage error is bad input."""
    assert session.outcome(BoardVerdict.QUALIFIED, interrupted=True).exit_status(2, strict=False) == 130
    assert Outcome().exit_status(4, strict=False) == 2
    assert Outcome().exit_status(0, strict=False) == 3


@pytest.mark.parametrize(
    ("error", "interrupted"),
    [
        pytest.param(KeyboardInterrupt(), True, id="key"),
        pytest.param(KeyboardInterrupt("SIGTERM"), True, id="signal"),
        pytest.param(pytest.Session.Interrupted("SIGTERM"), True, id="signal-while-tidying"),
        pytest.param(pytest.Session.Interrupted("1 error during collection"), False, id="collection"),
        pytest.param(pytest.exit.Exception("enough"), False, id="exit"),
    ],
)
def test_cli_tells_signals_from_errors(error: BaseException, *, interrupted: bool) -> None:
    """Pytest ends a session whose collection failed as if a person had: that is undecided, no interruption."""
    found = Outcome()

    seen: Any = SimpleNamespace(value=error)
    found.pytest_keyboard_interrupt(seen)

    assert found.interrupted is interrupted


TWICE = """
import signal
from harness.cli import app
before = signal.getsignal(signal.SIGTERM)
statuses = []
for arguments in (["no-such-bench"], ["-k", "no_such_check"], ["no-such-bench"]):
    try:
        app(["qualify", *arguments])
    except SystemExit as end:
        statuses.append(end.code)
print(statuses, signal.getsignal(signal.SIGTERM) is before)
"""


def test_cli_qualify_twice_in_one_process(tmp_path: Path) -> None:
    """Nothing of a session is left for the next one: neither its outcome nor its way with signals."""
    done = subprocess.run([sys.executable, "-c", TWICE], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[2, 3, 2] True"


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
