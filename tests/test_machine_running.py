"""A running machine: what is said when it is lost, and who is to blame."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest

from harness.core.deadline import Deadline
from harness.core.errors import BenchError, BoardError, HostLostError, ThroughpassError
from harness.machine.running import Machine
from harness.machine.spec import MachineSpec


class FakeProcess:
    """A process that ends as it is told to."""

    def __init__(self, status: int | None = None, *, lost: bool = False, words: str = "") -> None:
        self.status = status
        self.lost = lost
        self.words = words
        self.waited_s = 0.0

    def poll(self) -> int | None:
        """Return the status; the exit status comes a little after the sockets' ends, so that this is None."""
        if self.lost:
            raise HostLostError("the host is gone")
        return None

    def wait(self, deadline: Deadline) -> int:
        """Return the status, or raise what nobody knows."""
        self.waited_s = deadline.length_s
        if self.lost:
            raise HostLostError("the host is gone")
        if self.status is None:
            raise deadline.error()
        return self.status

    def join(self) -> int:
        """Return the status."""
        return self.wait(Deadline.after(1, "ending"))

    def kill(self) -> None:
        """Do nothing."""

    def stderr_text(self) -> str:
        """Return what it said."""
        return self.words


class FakeConsole:
    """A console with a death on it, or none."""

    def __init__(self, death: str = "") -> None:
        self._death = death

    def death(self) -> str:
        """Return the death."""
        return self._death

    def tail(self) -> str:
        """Return the end."""
        return f"... {self._death}"


GIVEN = BenchError("QMP device_add on guest failed")


def explained(process: FakeProcess, death: str = "") -> ThroughpassError:
    """Return what a machine makes of an error."""
    spec = MachineSpec("guest", "guest", "k", "i", ())
    console: Any = FakeConsole(death)
    rest: Any = None
    return Machine(spec, [], process, console, rest, rest, rest, PurePosixPath("/tmp/x")).explain_loss(GIVEN)  # noqa: S108


def test_loss_status_comes_after_the_sockets() -> None:
    """QEMU's sockets end before its exit status comes: that is waited for, and then QEMU is what failed."""
    process = FakeProcess(1, words="vfio: it broke")

    found = explained(process)

    assert isinstance(found, BoardError)
    assert (found.message, found.evidence) == ("QEMU of guest ended with status 1", "vfio: it broke")
    assert process.waited_s == 2.0


@pytest.mark.parametrize(
    "process",
    [
        pytest.param(FakeProcess(lost=True), id="host-gone"),
        pytest.param(FakeProcess(), id="runs-on"),
        pytest.param(FakeProcess(-9), id="holder-killed"),
    ],
)
def test_loss_that_is_not_the_boards(process: FakeProcess) -> None:
    """A connection that is gone, or a machine that runs on, proves nothing against the board: the error stays what it was."""
    assert explained(process) is GIVEN


def test_loss_death_on_the_console() -> None:
    """What the console said of a death is the best word, also when the host went with it."""
    found = explained(FakeProcess(lost=True), "Kernel panic - not syncing: x")

    assert isinstance(found, BoardError)
    assert found.message == "guest died: Kernel panic - not syncing: x"
