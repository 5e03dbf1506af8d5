"""A machine of ours that reboots or goes off by itself: ordered inside of it, awaited outside.

Many a card comes up once and hangs when its guest boots again: nobody takes the power from it in between.
"""

from __future__ import annotations

import contextlib

from harness.core.deadline import Deadline
from harness.core.errors import BoardError, DeadlineError, ThroughpassError
from harness.machine.running import Machine
from harness.machine.spec import READY

OBEYING_S = 60.0
"""From the order to the moment at which the kernel lets go: it shuts its devices down first."""

BOOTING_S = 240.0
"""For the boot that follows, on an emulated machine."""

_CARD_HANGS = "the card may hang when it is shut down: see the end of the guest's console, and the host's dmesg for vfio-pci"


def reboot(machine: Machine, deadline: Deadline) -> None:
    """Let the machine reboot by itself, wait until it is up again, and log in anew: ``machine.ssh`` is another one then.

    A reset ends QEMU otherwise, so that a panic is an exit; until the machine is up, a panic is what its console says.
    """
    machine.qmp.execute("set-action", {"reboot": "reset"})  # QEMU 6.0
    try:
        _order(machine, "reboot", "RESET", "guest-reset", deadline)
        machine.console.wait_for(READY, deadline.within(BOOTING_S, f"the second boot of {machine.spec.name}"))
    finally:
        with contextlib.suppress(ThroughpassError):  # a machine that is gone needs it no more, and why it is gone is told
            machine.qmp.execute("set-action", {"reboot": "shutdown"})
    machine.log_in(deadline)


def power_off(machine: Machine, deadline: Deadline) -> None:
    """Let the machine go off by itself, and wait until its QEMU has ended."""
    _order(machine, "poweroff", "SHUTDOWN", "guest-shutdown", deadline)
    machine.process.wait(deadline.within(OBEYING_S, f"the end of {machine.spec.name}"))


def _order(machine: Machine, verb: str, event: str, reason: str, deadline: Deadline) -> None:
    """Order a reboot or an end, and wait for the event that QEMU tells of it.

    That it does not come is the board's fault after the time for it, and nobody's where the stage was over before.
    The order is in two parts: a machine that obeys at once may not have answered that it was told what to do. There is no init
    that would stop services; busybox writes what is unwritten, and the kernel shuts its devices down.
    """
    name = machine.spec.name
    limit = deadline.within(OBEYING_S, f"{verb} of {name}")
    machine.qmp.clear_events()
    try:
        with machine.ssh.converse(f"read -r _ && exec busybox {verb} -f", limit) as talk:
            talk.send(b"now\n")
            machine.qmp.wait_for_event(event, limit, reason=reason)
    except DeadlineError as error:
        if limit.cut:
            raise
        told = f"{name} was told to {verb}, and has not done it within {limit.length_s:.0f} s"
        raise BoardError(told, evidence=machine.console.tail(), remedy=_CARD_HANGS) from error
