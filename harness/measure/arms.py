"""Arms: the ways in which a disk reaches the system that measures it. A new way is a new class here, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from harness.machine.passthrough import Passthrough, disk_serial
from harness.measure.design import NATIVE, PCI, USB_HOST, VIRTIO_BLK
from harness.transport.protocol import Transport

CONFOUNDERS = """
(
name=${disk##*/}
show() { [ -r "$2" ] && read -r value <"$2" && echo "$1=$value"; }
case $name in
sd*)
    cd -P "/sys/block/$name/device/../../../.." || exit 1
    show speed speed
    for interface in *:*; do
        cd -P "./$interface/driver" && echo "driver=${PWD##*/}" && cd "$OLDPWD"
    done
    until [ -e iommu_group ] || [ "$PWD" = / ]; do cd ..; done
    show iommu_domain iommu_group/type
    ;;
esac
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
    def stick(self) -> str:
        """Return the serial of the stick."""

    @property
    def serial(self) -> str:
        """Return the serial by which the disk is found where it is measured."""

    @property
    def origin(self) -> Transport | None:
        """Return the host where it keeps the stick's USB or its controller's IOMMU to itself: conditions hold there too."""

    @property
    def writable(self) -> bool:
        """Return whether the system that measures could write to the disk at all."""

    def attach(self) -> Transport:
        """Hand the disk to the system where it is measured, which is returned; it comes up there in its own time."""

    def detach(self) -> None:
        """Return to the base state."""


@dataclass(frozen=True)
class NativeArm:
    """The host itself, no guest in the way."""

    passthrough: Passthrough
    stick: str
    name: str = NATIVE

    @property
    def serial(self) -> str:
        """Return the stick's own serial."""
        return self.stick

    @property
    def origin(self) -> Transport | None:
        """Return None: all that counts is where it is measured."""
        return None

    @property
    def writable(self) -> bool:
        """Return True: the stick is the system's own."""
        return True

    def attach(self) -> Transport:
        """Return the host: the disk is there, or comes back to it."""
        return self.passthrough.host

    def detach(self) -> None:
        """Do nothing: this is the base state."""


@dataclass(frozen=True)
class PciArm:
    """The whole controller, through VFIO."""

    passthrough: Passthrough
    stick: str
    name: str = PCI

    @property
    def serial(self) -> str:
        """Return the stick's own serial."""
        return self.stick

    @property
    def origin(self) -> Transport | None:
        """Return None: all that counts is where it is measured."""
        return None

    @property
    def writable(self) -> bool:
        """Return True: the stick is the system's own."""
        return True

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
    stick: str
    name: str = USB_HOST

    @property
    def serial(self) -> str:
        """Return the stick's own serial."""
        return self.stick

    @property
    def origin(self) -> Transport | None:
        """Return the host, whose controller it is."""
        return self.passthrough.host

    @property
    def writable(self) -> bool:
        """Return True: the stick is the system's own."""
        return True

    def attach(self) -> Transport:
        """Give the stick to the guest."""
        self.passthrough.give_stick(self.stick)
        return self.passthrough.guest.ssh

    def detach(self) -> None:
        """Take the stick back."""
        self.passthrough.take_stick(self.stick)


@dataclass(frozen=True)
class VirtioBlkArm:
    """The host's block device, as a paravirtual disk of the guest's."""

    passthrough: Passthrough
    stick: str
    name: str = VIRTIO_BLK

    @property
    def serial(self) -> str:
        """Return the serial that the disk has in the guest."""
        return disk_serial(self.stick)

    @property
    def origin(self) -> Transport | None:
        """Return the host, which drives the stick."""
        return self.passthrough.host

    @property
    def writable(self) -> bool:
        """Return False: the host's block device is handed over to be read."""
        return False

    def attach(self) -> Transport:
        """Give the disk to the guest."""
        self.passthrough.give_disk(self.stick)
        return self.passthrough.guest.ssh

    def detach(self) -> None:
        """Take the disk back."""
        self.passthrough.take_disk()


ARM_CLASSES: dict[str, type[NativeArm | PciArm | UsbHostArm | VirtioBlkArm]] = {
    NATIVE: NativeArm,
    PCI: PciArm,
    USB_HOST: UsbHostArm,
    VIRTIO_BLK: VirtioBlkArm,
}
"""Every kind of arm that there is."""


def parse_confounders(text: str) -> dict[str, str]:
    """Return what may confound a comparison: the disk's USB driver and speed, and its queue limits."""
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if "speed" in found:
        found["speed"] = f"{found['speed']}M"
    return found
