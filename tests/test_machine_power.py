"""Reboots, ends and drivers that do not come back: told as the board's, and QEMU is left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

import pytest

from harness.core.deadline import Deadline
from harness.core.errors import BenchError, BoardError
from harness.machine.driver import reload_driver
from harness.machine.power import power_off, reboot
from harness.machine.running import Machine
from harness.machine.spec import MachineSpec
from harness.transport.protocol import Result


class Deaf:
    """Stands for QEMU, console and sshd of a machine that hears its orders and does nothing."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def execute(self, command: str, arguments: object = None) -> None:
        """Keep a command."""
        self.heard.append((command, arguments))

    def clear_events(self) -> None:
        """Do nothing."""

    def wait_for_event(self, name: str, deadline: Deadline, **data: str) -> None:
        """Tell that the event did not come."""
        self.heard.append((name, data))
        raise deadline.error()

    @contextmanager
    def converse(self, command: str, _deadline: Deadline) -> Iterator[Deaf]:
        """Keep a command."""
        self.heard.append(command)
        yield self

    def send(self, data: bytes) -> None:
        """Keep a line."""
        self.heard.append(data)

    def tail(self) -> str:
        """Return the end of the console."""
        return "xhci_hcd: stuck"


def deaf_machine() -> tuple[Machine, list[object]]:
    """Return a machine that does nothing, and what it has heard."""
    deaf: Any = Deaf()
    spec = MachineSpec("guest", "guest", "k", "i", ())
    return Machine(spec, [], deaf, deaf, deaf, deaf, deaf, PurePosixPath("/x"), None, deaf, deaf), deaf.heard


def soon() -> Deadline:
    """Return a deadline."""
    return Deadline.after(5, "a test")


def test_reboot_that_does_not_come_is_the_boards() -> None:
    """A machine that does not let go fails its board; what a reset means to QEMU is as before."""
    machine, heard = deaf_machine()

    with pytest.raises(BoardError, match=r"guest was told to reboot, and has not done it within 5 s") as caught:
        reboot(machine, soon())

    assert caught.value.evidence == "xhci_hcd: stuck"
    assert heard[0] == ("set-action", {"reboot": "reset"})
    assert heard[-2:] == [("RESET", {"reason": "guest-reset"}), ("set-action", {"reboot": "shutdown"})]


def test_end_that_does_not_come_is_the_boards() -> None:
    """A machine that does not go off fails its board: only its own shutdown counts, not a reset."""
    machine, heard = deaf_machine()

    with pytest.raises(BoardError, match=r"guest was told to poweroff"):
        power_off(machine, soon())

    assert heard[-1] == ("SHUTDOWN", {"reason": "guest-shutdown"})


class Answering:
    """A system that answers a reload with a status, or not at all."""

    name = "guest"

    def __init__(self, status: int | None) -> None:
        self.status = status

    def run(self, command: str, *, deadline: Deadline) -> Result:
        """Return the answer."""
        if self.status is None:
            raise deadline.error()
        return Result(self.name, command, self.status, b"xhci_pci\n", b"modprobe: FATAL: Module xhci_pci is in use.\n")


def reloaded(status: int | None) -> str:
    """Return what a reload gives on a system that answers so."""
    system: Any = Answering(status)
    return reload_driver(system, "0000:01:00.0", soon())


def test_driver_is_named_or_built_in() -> None:
    """A driver that came back is named; of one that is built in nothing is."""
    assert (reloaded(0), reloaded(3)) == ("xhci_pci", "")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        pytest.param(4, "refuses to be unloaded", id="in-use"),
        pytest.param(5, "still bound", id="still-bound"),
        pytest.param(6, "cannot be loaded again", id="not-loaded"),
        pytest.param(1, "cannot be found", id="no-driver"),
    ],
)
def test_driver_that_cannot_be_reloaded(status: int, said: str) -> None:
    """A guest that refuses is no fault of the board's; modprobe's words are kept."""
    with pytest.raises(BenchError, match=said) as caught:
        reloaded(status)

    assert "is in use" in caught.value.evidence


def test_driver_that_hangs_is_the_boards() -> None:
    """A driver that waits for ever for its device fails the board."""
    with pytest.raises(BoardError, match=r"the driver of 0000:01:00.0 on guest was not reloaded within 5 s"):
        reloaded(None)
