"""A machine's state as a file, tried with a QEMU that has no machine in it: saving and loading are the same for it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pytest

from harness.core.deadline import Deadline
from harness.core.errors import BenchError
from harness.machine.qmp import Qmp
from harness.machine.state import load_state, save_state, why_not_savable
from harness.transport.local import LocalTransport

QEMU = "qemu-system-x86_64"

pytestmark = pytest.mark.skipif(shutil.which(QEMU) is None, reason=f"{QEMU} is not installed")


@contextmanager
def bare_qemu(folder: Path, *arguments: str) -> Iterator[Qmp]:
    """Run a QEMU with nothing but what is asked for, and hold its monitor."""
    transport = LocalTransport()
    limit = Deadline.after(30, "starting a bare QEMU")
    argv = [QEMU, "-nodefaults", "-display", "none", "-chardev", f"socket,id=qmp,path={folder / 'qmp'}"]
    with transport.listen(PurePosixPath(folder / "qmp")) as listener:
        process = transport.start([*argv, "-mon", "chardev=qmp,mode=control", *arguments], log=folder / "log")
        try:
            qmp = Qmp(listener.accept(process, limit), "bare", limit)
            try:
                yield qmp
            finally:
                qmp.close()
        finally:
            process.kill()
            process.wait(Deadline.after(40, "ending a bare QEMU"))


def soon() -> Deadline:
    """Return a deadline that is far enough."""
    return Deadline.after(30, "a small state")


def test_state_goes_from_one_qemu_to_another(tmp_path: Path) -> None:
    """A state that is saved can be loaded by another QEMU; both run on, and what comes next is not taken for the end."""
    state = tmp_path / "it's a state"
    with bare_qemu(tmp_path, "-machine", "none") as qmp, state.open("xb") as file:
        assert why_not_savable(qmp) == ""
        save_state(qmp, file, soon())

        assert qmp.execute("query-status")["status"] == "running"
    with bare_qemu(tmp_path, "-machine", "none", "-incoming", "defer") as qmp, state.open("rb") as file:
        load_state(qmp, file, soon())

        assert qmp.execute("query-status")["status"] == "running"


def test_state_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """A disk that is full is an error with QEMU's words, and the machine runs on."""
    with bare_qemu(tmp_path, "-machine", "none") as qmp, Path("/dev/full").open("wb", buffering=0) as full:
        with pytest.raises(BenchError, match="the state of bare could not be saved"):
            save_state(qmp, full, soon())

        assert qmp.execute("query-status")["status"] == "running"


def test_state_that_is_cut_short_is_an_error(tmp_path: Path) -> None:
    """Loading half a state ends with an error at once, although QEMU ends itself then; nobody waits for the deadline."""
    state = tmp_path / "state"
    with bare_qemu(tmp_path, "-machine", "none") as qmp, state.open("xb") as file:
        save_state(qmp, file, soon())
    state.write_bytes(state.read_bytes()[:100])
    limit = soon()
    waiting = bare_qemu(tmp_path, "-machine", "none", "-incoming", "defer")
    with waiting as qmp, state.open("rb") as file, pytest.raises(BenchError):
        load_state(qmp, file, limit)

    assert not limit.expired


def test_board_that_cannot_be_saved_says_why(tmp_path: Path) -> None:
    """QEMU's own words name the device that stands in the way (AMD's IOMMU cannot be migrated in QEMU 7.2)."""
    device = json.dumps({"driver": "amd-iommu"})
    arguments = ("-accel", "tcg", "-machine", "q35", "-S", "-device", device)
    with bare_qemu(tmp_path, *arguments) as qmp, (tmp_path / "state").open("xb") as file:
        why = why_not_savable(qmp)
        if not why:
            pytest.skip("this QEMU can save an AMD IOMMU")

        assert "amd-iommu" in why
        with pytest.raises(BenchError, match="amd-iommu"):
            save_state(qmp, file, soon())
