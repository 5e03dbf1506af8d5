"""Arms: the ways in which a disk reaches the system that measures it. A new way is a new class here, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from harness.core.deadline import Deadline
from harness.machine.disks import wait_for_disk
from harness.machine.passthrough import MOVE_TIMEOUT_S, Passthrough
from harness.measure.design import NATIVE, PCI, USB_HOST
from harness.transport.protocol import Transport

_DESCRIBE = """
disk=$1; name=${disk##*/}
cd -P "/sys/block/$name/device/../../../.." || exit 1
show() { [ -r "$2" ] && read -r value <"$2" && echo "$1=$value"; }
show speed speed
for interface in *:*; do
    [ -e "$interface/driver" ] && link=$(readlink "$interface/driver") && echo "driver=${link##*/}"
done
cd -P "/sys/block/$name/queue"
read -r line <scheduler && line=${line#*[} && echo "scheduler=${line%%]*}"
for key in max_sectors_kb max_hw_sectors_kb nr_requests; do show $key $key; done
show usbfs_memory_mb /sys/module/usbcore/parameters/usbfs_memory_mb
"""
"""Prints what may confound a comparison, one key=value a line."""


class Arm(Protocol):
    """One way. ``attach`` starts from the base state (controller with its own driver on the host), ``detach`` restores it."""

    @property
    def name(self) -> str:
        """Return the arm's name in plans, series and judgements."""

    def attach(self) -> tuple[Transport, str]:
        """Bring the disk to where it is measured; return that system and the device node there."""

    def detach(self) -> None:
        """Return to the base state."""


@dataclass(frozen=True)
class NativeArm:
    """The host itself, no guest in the way."""

    passthrough: Passthrough
    serial: str
    name: str = NATIVE

    def attach(self) -> tuple[Transport, str]:
        """Wait until the host has the disk."""
        limit = Deadline.after(MOVE_TIMEOUT_S, "the stick's return to the host")
        return self.passthrough.host, wait_for_disk(self.passthrough.host, self.serial, limit)

    def detach(self) -> None:
        """Do nothing: this is the base state."""


@dataclass(frozen=True)
class PciArm:
    """The whole controller, through VFIO."""

    passthrough: Passthrough
    serial: str
    name: str = PCI

    def attach(self) -> tuple[Transport, str]:
        """Give the controller to the guest and wait for the disk there."""
        self.passthrough.give_controller()
        limit = Deadline.after(MOVE_TIMEOUT_S, "the stick's way into the guest")
        return self.passthrough.guest.ssh, wait_for_disk(self.passthrough.guest.ssh, self.serial, limit)

    def detach(self) -> None:
        """Take the controller back."""
        self.passthrough.take_controller()


@dataclass(frozen=True)
class UsbHostArm:
    """The stick alone, through QEMU's emulated xHCI."""

    passthrough: Passthrough
    serial: str
    name: str = USB_HOST

    def attach(self) -> tuple[Transport, str]:
        """Give the stick to the guest and wait for the disk there."""
        return self.passthrough.guest.ssh, self.passthrough.give_stick(self.serial)

    def detach(self) -> None:
        """Take the stick back."""
        self.passthrough.take_stick()


ARM_CLASSES: dict[str, type[NativeArm | PciArm | UsbHostArm]] = {NATIVE: NativeArm, PCI: PciArm, USB_HOST: UsbHostArm}
"""Every arm that there is, by its name."""


def read_confounders(transport: Transport, device: str) -> dict[str, str]:
    """Return what may confound a comparison: the disk's USB driver and speed, and its queue limits."""
    lines = transport.run(["sh", "-c", _DESCRIBE, "describe", device]).text.splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    if "speed" in found:
        found["speed"] = f"{found['speed']}M"
    return found
