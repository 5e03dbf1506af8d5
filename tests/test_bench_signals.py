"""Interrupted runs on the virtual bench: whatever the moment, nothing is left and the record says what happened."""

from __future__ import annotations

import signal
import tempfile
import time
from pathlib import Path

import pytest

from harness.bench.config import BOARDS
from harness.core.deadline import Deadline
from harness.core.record import BoardVerdict, Outcome
from tests.qualification import BRIEF, LIMIT_S, leftovers, qualify_until, started, wait_for_line

pytestmark = pytest.mark.bench

INTERRUPTED = 2  # pytest's own status

MOMENTS = [
    pytest.param("booting the board", signal.SIGTERM, id="boot"),
    pytest.param("[readiness]", signal.SIGINT, id="readiness"),
    pytest.param("PASS           The host uses no disk", signal.SIGTERM, id="binding"),
    pytest.param("booting the guest", signal.SIGINT, id="guest"),
    pytest.param("block 1 of 2", signal.SIGINT, id="throughput"),
    pytest.param("[return]", signal.SIGTERM, id="return"),
]


def named_board(name: str, folder: Path) -> Path:
    """Return a bench file like the shipped VT-d board's, under a name of its own: boards of one name wait for one another."""
    path = folder / f"{name}.toml"
    path.write_text((BOARDS / "virtual-vtd.toml").read_text().replace('name = "virtual-vtd"', f'name = "{name}"'))
    return path


def files_of(name: str) -> set[Path]:
    """Return what runs on a board of that name have in the folders for temporary files."""
    sockets = Path("/tmp").glob(f"throughpass-{name}*")  # noqa: S108 (where machines keep their sockets, whatever TMPDIR says)
    return {*sockets, *Path(tempfile.gettempdir()).glob(f"throughpass-sticks-{name}*")}


@pytest.mark.parametrize(("line", "signum"), MOMENTS)
def test_signal_leaves_nothing(line: str, signum: signal.Signals, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A signal in the middle of a stage ends the run, leaves no QEMU and no temporary files, and a record that says so."""
    name = f"interrupted-{request.node.callspec.id}"
    before = files_of(name)
    smoke = ["--profile", "smoke", "-k", "not reloads and not reboots"]
    options = {"[return]": ["-k", BRIEF], "booting the board": ["--cold"]}.get(line, smoke)
    done = qualify_until(line, signum, named_board(name, tmp_path), tmp_path / "runs", *options)

    assert done.status == INTERRUPTED, done.output
    assert done.record.verdict.board is BoardVerdict.UNDECIDED
    assert done.record.verdict.reasons[0] == f"the run was interrupted ({signum.name})"
    assert [check for check in done.record.checks if check.outcome is Outcome.ERROR] == [], done.output
    assert (done.folder / "report.html").is_file()
    assert not leftovers(name)
    assert files_of(name) <= before


def test_kill_leaves_no_machine(tmp_path: Path) -> None:
    """A runner that is killed outright takes its board with it: the board's QEMU ends by itself, and its files go with it."""
    name = "killed"
    before = files_of(name)
    done = qualify_until("[readiness]", signal.SIGKILL, named_board(name, tmp_path), tmp_path / "runs")

    assert done.status == -signal.SIGKILL
    limit = Deadline.after(30, "the end of the board")
    while (leftovers(name) or files_of(name) - before) and not limit.expired:
        time.sleep(0.1)  # a killed runner's board is nobody's child: there is nothing to wait on
    assert not leftovers(name)
    assert files_of(name) <= before


def test_second_run_waits_for_the_bench(tmp_path: Path) -> None:
    """A second run on the same bench says who is in its way, waits, and goes on when the first has ended."""
    board = named_board("contested", tmp_path)
    with started(board, tmp_path / "first") as first:
        wait_for_line(first, "[readiness]")
        with started(board, tmp_path / "second") as second:
            waiting = wait_for_line(second, "another run holds the bench contested")
            first.send_signal(signal.SIGTERM)
            first.communicate(timeout=LIMIT_S)
            wait_for_line(second, "[readiness]")
            second.send_signal(signal.SIGTERM)
            second.communicate(timeout=LIMIT_S)

    assert waiting.strip().endswith("waiting")
    assert (first.returncode, second.returncode) == (INTERRUPTED, INTERRUPTED)
    assert not leftovers("contested")
