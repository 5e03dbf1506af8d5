"""Interrupted runs on the virtual bench: whatever the moment, nothing is left and the record says what happened."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path

import pytest

from harness.bench.config import BOARDS
from harness.core.record import BoardVerdict, Outcome
from tests.qualification import leftovers, qualify_until

pytestmark = pytest.mark.bench

INTERRUPTED = 2  # pytest's own status

MOMENTS = [
    pytest.param("booting the board", signal.SIGTERM, marks=pytest.mark.xdist_group("faults"), id="boot"),
    pytest.param("[readiness]", signal.SIGINT, marks=pytest.mark.xdist_group("faults"), id="readiness"),
    pytest.param("PASS           The host uses no disk", signal.SIGTERM, marks=pytest.mark.xdist_group("faults"), id="binding"),
    pytest.param("booting the guest", signal.SIGINT, marks=pytest.mark.xdist_group("faults"), id="guest"),
    pytest.param("plugging in", signal.SIGTERM, marks=pytest.mark.xdist_group("amdvi"), id="usb"),
    pytest.param("block 1 of 2", signal.SIGINT, marks=pytest.mark.xdist_group("amdvi"), id="throughput"),
]


def named_board(name: str, folder: Path) -> Path:
    """Return a bench file like the shipped VT-d board's, under a name of its own: boards of one name wait for one another."""
    path = folder / f"{name}.toml"
    path.write_text((BOARDS / "virtual-vtd.toml").read_text().replace('name = "virtual-vtd"', f'name = "{name}"'))
    return path


@pytest.mark.parametrize(("line", "signum"), MOMENTS)
def test_signal_leaves_nothing(line: str, signum: signal.Signals, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A signal in the middle of a stage ends the run, leaves no QEMU and no temporary files, and a record that says so."""
    name = f"interrupted-{request.node.callspec.id}"
    done = qualify_until(line, signum, named_board(name, tmp_path), tmp_path / "runs", "--profile", "smoke")

    assert done.status == INTERRUPTED, done.output
    assert done.record.verdict.board is BoardVerdict.UNDECIDED
    assert done.record.verdict.reasons[0] == f"the run was interrupted ({signum.name})"
    assert not [check for check in done.record.checks if check.outcome is Outcome.ERROR]
    assert (done.folder / "report.html").is_file()
    assert not leftovers(name)
    assert not list(Path("/tmp").glob(f"throughpass-{name}*"))  # noqa: S108 (where machines keep their sockets)
    assert not list(Path(tempfile.gettempdir()).glob(f"throughpass-sticks-{name}*"))


@pytest.mark.xdist_group("faults")
def test_kill_leaves_no_machine(tmp_path: Path) -> None:
    """A runner that is killed outright takes its board with it: the board's QEMU ends by itself."""
    name = "killed"
    done = qualify_until("[readiness]", signal.SIGKILL, named_board(name, tmp_path), tmp_path / "runs")

    assert done.status == -signal.SIGKILL
    assert not leftovers(name)
