"""Arms: the ways in which a disk reaches the system that measures it. A new way is a new class here, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from harness.machine.passthrough import Passthrough
from harness.measure.design import NATIVE, PCI, USB_HOST
from harness.transport.protocol import Transport

CONFOUNDERS = """
(
name=${disk##*/}
cd -P "/sys/block/$name/device/../../../.." || exit 1
show() { [ -r "$2" ] && read -r value <"$2" && echo "$1=$value"; }
show speed speed
for interface in *:*; do
    cd -P "./$interface/driver" && echo "driver=${PWD##*/}" && cd "$OLDPWD"
done
cd -P "/sys/block/$name/queue"
read -r line <scheduler && line=${line#*[} && echo "scheduler=${line%%]*}"
for key in max_sectors_kb max_hw_sectors_kb nr_requests; do show $key $key; done
show usbfs_memory_mb /sys/module/usbcore/parameters/usbfs_memory_mb
) 2>/dev/null
"""
"""Prints what may confound a comparison on ``$disk``, one key=value a line; see ``parse_confounders``."""


class Arm(Protocol):
    """One way. ``attach`` starts from the base state (controller with its own driver on the host), ``detach`` restores it."""

    @property
    def name(self) -> str:
        """Return the arm's name in plans, series and judgements."""

    @property
    def serial(self) -> str:
        """Return the serial of the disk that is measured."""

    def attach(self) -> Transport:
        """Hand the disk to the system where it is measured, which is returned; it comes up there in its own time."""

    def detach(self) -> None:
        """Return to the base state."""


@dataclass(frozen=True)
class NativeArm:
    """The host itself, no guest in the way."""

    passthrough: Passthrough
    serial: str
    name: str = NATIVE

    def attach(self) -> Transport:
        """Return the host: the disk is there, or comes back to it."""
        return self.passthrough.host

    def detach(self) -> None:
        """Do nothing: this is the base state."""


@dataclass(frozen=True)
class PciArm:
    """The whole controller, through VFIO."""

    passthrough: Passthrough
    serial: str
    name: str = PCI

    def attach(self) -> Transport:
        """Give the controller to the guest."""
        self.passthrough.give_controller()
        return self.passthrough.guest.ssh

    def detach(self) -> None:
        """Take the controller back."""
        self.passthrough.take_controller()


@dataclass(frozen=True)
class UsbHostArm:
    """The stick alone, through QEMU's emulated xHCI."""

    passthrough: Passthrough
    serial: str
    name: str = USB_HOST

    def attach(self) -> Transport:
        """Give the stick to the guest."""
        self.passthrough.give_stick(self.serial)
        return self.passthrough.guest.ssh

    def detach(self) -> None:
        """Take the stick back."""
        self.passthrough.take_stick()


ARM_CLASSES: dict[str, type[NativeArm | PciArm | UsbHostArm]] = {NATIVE: NativeArm, PCI: PciArm, USB_HOST: UsbHostArm}
"""Every arm that there is, by its name."""


def parse_confounders(text: str) -> dict[str, str]:
    """Return what may confound a comparison: the disk's USB driver and speed, and its queue limits."""
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if "speed" in found:
        found["speed"] = f"{found['speed']}M"
    return found
