"""Reboots, ends and drivers that do not come back: told as the board's, and QEMU is left as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import pytest

from harness.core.deadline import Deadline
from harness.core.errors import BenchError, BoardError, DeadlineError
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


def ample() -> Deadline:
    """Return a deadline that leaves each part its own time."""
    return Deadline.after(3000, "the stage usb")


def nearly_over() -> Deadline:
    """Return the deadline of a stage that is over before any part of it has had its time."""
    return replace(Deadline.after(0.2, "the stage usb"), length_s=480.0)


def test_reboot_that_does_not_come_is_the_boards() -> None:
    """A machine that does not let go fails its board; what a reset means to QEMU is as before."""
    machine, heard = deaf_machine()

    with pytest.raises(BoardError, match=r"guest was told to reboot, and has not done it within 60 s") as caught:
        reboot(machine, ample())

    assert caught.value.evidence == "xhci_hcd: stuck"
    assert heard[0] == ("set-action", {"reboot": "reset"})
    assert heard[-2:] == [("RESET", {"reason": "guest-reset"}), ("set-action", {"reboot": "shutdown"})]


def test_end_that_does_not_come_is_the_boards() -> None:
    """A machine that does not go off fails its board: only its own shutdown counts, not a reset."""
    machine, heard = deaf_machine()

    with pytest.raises(BoardError, match=r"guest was told to poweroff"):
        power_off(machine, ample())

    assert heard[-1] == ("SHUTDOWN", {"reason": "guest-shutdown"})


@pytest.mark.parametrize("order", [reboot, power_off])
def test_stage_that_is_over_proves_nothing(order: Callable[[Machine, Deadline], None]) -> None:
    """A machine that had not its own time to obey is not to blame: the stage took too long, and that is said."""
    machine, _ = deaf_machine()

    with pytest.raises(DeadlineError, match=r"^the stage usb took longer than 480 s$"):
        order(machine, nearly_over())


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


def reloaded(status: int | None, deadline: Deadline | None = None) -> str:
    """Return what a reload gives on a system that answers so."""
    system: Any = Answering(status)
    return reload_driver(system, "0000:01:00.0", deadline or ample())


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
    with pytest.raises(BoardError, match=r"the driver of 0000:01:00.0 on guest was not reloaded within 60 s"):
        reloaded(None)


def test_driver_that_had_no_time_is_nobodys() -> None:
    """A driver that the end of its stage interrupts fails no board."""
    with pytest.raises(DeadlineError, match=r"^the stage usb took longer than 480 s$"):
        reloaded(None, nearly_over())
