"""Moving the controller, or one device on it, between host and guest while both run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.actions.binding import Binding
from harness.actions.lending import STICKS, lend, take_back
from harness.core.deadline import Deadline
from harness.core.errors import BenchError, BoardError
from harness.core.timeline import SpanKind, Timeline
from harness.facts.pci import PciDevice
from harness.machine.disks import wait_until_gone, work_on_disk
from harness.machine.guest import CONTROLLER, DISK, DISK_NODE, disk_device, disk_node, group_node, usb_host_device, vfio_device
from harness.machine.running import Machine
from harness.transport.protocol import Transport

PASSING = "vfio-pci"
"""The driver through which QEMU gets a device; QEMU has passed none by pci-stub since 2.12."""

MOVE_TIMEOUT_S = 60.0
"""For one step of a move: a guest's reaction to hot-plug, a disk's enumeration."""

_PLACE = """
cd -P "/sys/block/${disk##*/}/device/../../../.." && read -r bus <busnum && read -r device <devnum &&
    printf '%s\\n/dev/bus/usb/%03d/%03d\\n' "$PWD" "$bus" "$device"
"""


def disk_serial(serial: str) -> str:
    """Return the serial of a stick's block device in the guest: one of its own, since virtio has room for 20 characters only."""
    return f"tp-{hashlib.sha256(serial.encode()).hexdigest()[:16]}"


@dataclass
class Passthrough:
    """Who has the controller. ``in_guest`` is true while it is the guest's; ``timeline`` learns how long a hot-plug takes."""

    host: Transport
    guest: Machine
    binding: Binding
    timeline: Timeline
    in_guest: bool

    @property
    def controller(self) -> PciDevice:
        """Return the controller as it was found."""
        return self.binding.found

    def give_controller(self) -> None:
        """Host to guest: bind to the reserving driver, plug into the guest."""
        self.binding.bind(PASSING)
        self._lend(group_node(self.controller.group or ""))
        try:
            self._add(vfio_device(self.controller.address))
        except BenchError as error:
            if type(error) is not BenchError:
                raise  # a lost connection or a deadline is not QEMU's refusal
            raise BoardError(f"QEMU cannot take the controller: {error.message}", evidence=error.evidence) from error
        self.in_guest = True

    def take_controller(self) -> None:
        """Guest to host: pull from the guest, wait until it let go, give back to the driver that was found."""
        if self.in_guest:
            self._remove(CONTROLLER)
            self.in_guest = False
        self.binding.give_back()

    def give_stick(self, serial: str) -> None:
        """Hand one USB device of the host to the guest, as soon as the host has it."""
        bus, port, node = self._place(serial)
        self._lend(node)
        self._add(usb_host_device(bus, port))

    def take_stick(self, serial: str) -> None:
        """Take the USB device back from the guest, and its node; what the guest has beside it stays lent."""
        self._remove("usb-device")
        if self.guest.user is not None:
            take_back(self.host, self.guest.user, STICKS)
        # QEMU says at once that a USB device is gone. A guest that has not looked by then may miss the next one in the same port
        # (QEMU 10.0.13, Linux 6.12: once in some 200 moves, with both cores busy).
        limit = Deadline.after(MOVE_TIMEOUT_S, f"the guest's letting go of the stick {serial}")
        with self.timeline.during(SpanKind.SETTLE):
            wait_until_gone(self.guest.ssh, serial, limit)

    def give_disk(self, serial: str) -> None:
        """Hand the host's block device of a stick to the guest, to read; it is found there by ``disk_serial``."""
        limit = Deadline.after(MOVE_TIMEOUT_S, "the stick's return to the host")
        found = work_on_disk(self.host, serial, {"node": 'echo "$disk"'}, limit, timeline=self.timeline)
        node = found["node"].require().text.strip()
        self._lend(node)
        self.guest.qmp.execute("blockdev-add", disk_node(node))
        try:
            self._add(disk_device(disk_serial(serial)))
        except BenchError:
            self.guest.qmp.execute("blockdev-del", {"node-name": DISK_NODE})
            raise

    def take_disk(self) -> None:
        """Take the block device back from the guest."""
        self._remove(DISK)
        self.guest.qmp.execute("blockdev-del", {"node-name": DISK_NODE})
        if self.guest.user is not None:
            take_back(self.host, self.guest.user, STICKS)

    def _lend(self, node: str) -> None:
        """Give a node to the guest's QEMU, if it is not whoever has it already."""
        if self.guest.user is not None:
            lend(self.host, self.guest.user, node)

    def _add(self, device: Mapping[str, Any]) -> None:
        with self.timeline.during(SpanKind.SETTLE):
            self.guest.qmp.execute("device_add", device)

    def _remove(self, identity: str) -> None:
        self.guest.qmp.clear_events()
        limit = Deadline.after(MOVE_TIMEOUT_S, f"the guest's letting go of {identity}")
        with self.timeline.during(SpanKind.SETTLE):
            self.guest.qmp.execute("device_del", {"id": identity})
            self.guest.qmp.wait_for_event("DEVICE_DELETED", limit, device=identity)

    def _place(self, serial: str) -> tuple[int, str, str]:
        """Return the host's bus and port of the stick, from sysfs ("2-1.3" is port 1.3 of bus 2), and its node."""
        limit = Deadline.after(MOVE_TIMEOUT_S, "the stick's return to the host")
        found = work_on_disk(self.host, serial, {"place": _PLACE}, limit, timeline=self.timeline)
        path, _, node = found["place"].text.partition("\n")
        bus, _, port = path.rpartition("/")[2].partition("-")
        if not (bus.isdigit() and port):
            raise BoardError(f"the stick {serial} is not at a USB port: {path}")
        return int(bus), port, node
