"""Stage 4: inside the guest, over SSH, as somebody would look who has just plugged in a stick."""

from __future__ import annotations

import pytest

from fixtures.run import BenchRun
from fixtures.storage import Stick
from harness.core.errors import NotMeasurableError
from harness.core.pci import XHCI_CLASS
from harness.facts.host import HostFacts, find_controllers
from harness.facts.pci import PciDevice
from harness.machine.disks import hash_window
from harness.machine.interrupts import count_interrupts
from harness.machine.running import Machine
from harness.machine.usb_tree import read_root_hubs, read_usb_link
from harness.transport.protocol import check

SUPER_SPEED_MBIT = 5000
HIGH_SPEED_MBIT = 480


@pytest.fixture(scope="module")
def guest_controller(guest_facts: HostFacts, bound_controller: PciDevice) -> PciDevice:
    """Return the controller as the guest sees it: same id and subsystem, an address of its own."""
    found = find_controllers(guest_facts, id=bound_controller.id, subsystem=bound_controller.subsystem)
    assert len(found) == 1, f"the guest has {len(found)} controllers {bound_controller.id}, one was given to it"
    return found[0]


def test_controller_in_guest(run: BenchRun, guest: Machine, guest_controller: PciDevice, bound_controller: PciDevice) -> None:
    """The guest's lspci shows the controller as an xHCI (class 0c03, prog-if 30) with xhci_hcd bound to it."""
    listing = check(guest.ssh, ["lspci", "-nnk", "-d", bound_controller.id])
    run.note("lspci -nnk in the guest", listing.text)

    assert bound_controller.id in listing.text
    assert guest_controller.class_code == XHCI_CLASS
    assert guest_controller.driver == "xhci_hcd"


def test_root_hubs(run: BenchRun, guest: Machine, guest_controller: PciDevice) -> None:
    """The controller has an xHCI root hub at 5000M or more, and one at 480M."""
    run.note("lsusb -t in the guest", check(guest.ssh, "lsusb -t").text)
    speeds = read_root_hubs(guest.ssh, guest_controller.address)
    run.note(f"root hubs of {guest_controller.address}", ", ".join(f"{speed}M" for speed in speeds))

    assert min(speeds, default=0) == HIGH_SPEED_MBIT
    assert max(speeds, default=0) >= SUPER_SPEED_MBIT


def test_stick_enumerates(run: BenchRun, guest: Machine, stick: Stick, guest_disk: str) -> None:
    """The stick, plugged in while the guest runs, comes up as a disk; its driver and speed are recorded."""
    run.note("lsusb -t in the guest", check(guest.ssh, "lsusb -t").text)
    link = read_usb_link(guest.ssh, guest_disk)
    run.note(guest_disk, f"serial {link.serial}, driver {link.driver}, {link.speed_mbit}M, USB {link.usb_version}")
    if link.is_super_speed_at_high_speed:
        run.condition(
            f"the stick {stick.serial} speaks USB {link.usb_version} but runs at {link.speed_mbit}M",
            "plug it into a USB 3 port with a USB 3 cable; if it is, suspect the port",
        )
    assert link.driver in {"usb-storage", "uas"}
    assert link.speed_mbit >= HIGH_SPEED_MBIT


def test_interrupts_move(run: BenchRun, guest: Machine, guest_controller: PciDevice, stick: Stick, guest_disk: str) -> None:
    """The controller's interrupt count in the guest moves when data flows."""
    before = count_interrupts(guest.ssh, guest_controller.address)
    hash_window(guest.ssh, guest_disk, min(8, stick.window_mib))
    after = count_interrupts(guest.ssh, guest_controller.address)
    run.note(f"interrupts of {guest_controller.address} in the guest", f"before {before}, after {after}")
    if before is None or after is None:
        raise NotMeasurableError("the guest does not say which interrupts are the controller's")

    assert after > before


def test_content_is_right(run: BenchRun, guest: Machine, stick: Stick, guest_disk: str) -> None:
    """What the guest reads from the stick is what is on it: the SHA-256 is right."""
    digest = hash_window(guest.ssh, guest_disk, stick.window_mib)
    origin = "the pattern it was made with" if stick.known_pattern else "read on the host before the bind"
    run.note(f"SHA-256 of the first {stick.window_mib} MiB", f"{digest} in the guest\n{stick.sha256} {origin}")

    assert digest == stick.sha256
