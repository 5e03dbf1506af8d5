"""Moving the controller, or one device on it, between host and guest while both run."""

from __future__ import annotations

from dataclasses import dataclass

from harness.actions.binding import Binding
from harness.core.deadline import Deadline
from harness.core.errors import BenchError, BoardError
from harness.facts.pci import PciDevice
from harness.machine.disks import wait_for_disk
from harness.machine.guest import CONTROLLER, usb_host_device, vfio_device
from harness.machine.running import Machine
from harness.transport.protocol import Transport

MOVE_TIMEOUT_S = 60.0
"""For one step of a move: a guest's reaction to hot-plug, a disk's enumeration."""


@dataclass
class Passthrough:
    """Who has the controller. ``in_guest`` is true while it is the guest's."""

    host: Transport
    guest: Machine
    binding: Binding
    in_guest: bool

    @property
    def controller(self) -> PciDevice:
        """Return the controller as it was found."""
        return self.binding.found

    def give_controller(self) -> None:
        """Host to guest: bind to the reserving driver, plug into the guest."""
        self.binding.bind()
        try:
            self.guest.qmp.execute("device_add", vfio_device(self.controller.address))
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

    def give_stick(self, serial: str) -> str:
        """Hand one USB device of the host to the guest; return its disk there."""
        bus, port = self._place(serial)
        self.guest.qmp.execute("device_add", usb_host_device(bus, port))
        return wait_for_disk(self.guest.ssh, serial, Deadline.after(MOVE_TIMEOUT_S, "the stick's way into the guest"))

    def take_stick(self) -> None:
        """Take the USB device back from the guest."""
        self._remove("usb-device")

    def _remove(self, identity: str) -> None:
        self.guest.qmp.clear_events()
        self.guest.qmp.execute("device_del", {"id": identity})
        limit = Deadline.after(MOVE_TIMEOUT_S, f"the guest's letting go of {identity}")
        self.guest.qmp.wait_for_event("DEVICE_DELETED", limit, device=identity)

    def _place(self, serial: str) -> tuple[int, str]:
        """Return the host's bus and port of the stick, from sysfs: "2-1.3" is port 1.3 of bus 2."""
        disk = wait_for_disk(self.host, serial, Deadline.after(MOVE_TIMEOUT_S, "the stick's return to the host"))
        path = self.host.run(f"readlink -f /sys/block/{disk.rpartition('/')[2]}/device/../../../..").text
        bus, _, port = path.rpartition("/")[2].partition("-")
        if not (bus.isdigit() and port):
            raise BoardError(f"the stick {serial} is not at a USB port: {path}")
        return int(bus), port
