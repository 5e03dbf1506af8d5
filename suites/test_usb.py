"""Stage 4: inside the guest, over SSH, as somebody would look who has just plugged in a stick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from fixtures.guest import GuestStay
from fixtures.outcomes import require, tell_with
from fixtures.run import BenchRun
from fixtures.storage import GUEST_READING, GuestDisk, NoStick, Stick
from fixtures.trips import explained_loss, find_in_guest, reboot_guest, reload_in_guest, require_working
from harness.core.deadline import Deadline
from harness.core.errors import NotMeasurableError, ThroughpassError
from harness.core.pci import XHCI_CLASS
from harness.facts.host import HostFacts
from harness.facts.pci import PciDevice
from harness.machine.batch import Part, run_batch
from harness.machine.disks import READING_LIMIT_S, hash_command, read_hash
from harness.machine.interrupts import count_interrupts, interrupts_command
from harness.machine.running import Machine
from harness.machine.usb_tree import parse_root_hubs, parse_usb_link, root_hubs_command

SUPER_SPEED_MBIT = 5000
HIGH_SPEED_MBIT = 480


@pytest.fixture(scope="module")
def guest_controller(guest_facts: HostFacts, bound_controller: PciDevice) -> PciDevice:
    """Return the controller as the guest sees it: same id and subsystem, an address of its own."""
    return find_in_guest(guest_facts, bound_controller)


@pytest.fixture(scope="module")
def listings(guest: Machine, guest_controller: PciDevice, bound_controller: PciDevice) -> dict[str, Part]:
    """Return how the guest lists its PCI and USB devices before the stick is plugged in."""
    looks = {
        "lspci": f"lspci -nnk -d {bound_controller.id}",
        "lsusb": "lsusb -t",
        "hubs": root_hubs_command(guest_controller.address),
    }
    return run_batch(guest.ssh, looks)


@pytest.fixture(scope="module")
def flow(guest: Machine, guest_controller: PciDevice, plugged_stick: Stick, guest_disk: GuestDisk) -> dict[str, Part]:
    """Return the hash of what the guest reads from the stick, and the controller's interrupts before and after."""
    interrupts = interrupts_command(guest_controller.address)
    looks = {"before": interrupts, "data": hash_command(guest_disk.device, plugged_stick.window_mib), "after": interrupts}
    return run_batch(guest.ssh, looks, deadline=Deadline.after(READING_LIMIT_S, "reading from the stick in the guest"))


@pytest.fixture(scope="module")
def known_stick(found_stick: Stick | NoStick, request: pytest.FixtureRequest) -> Stick | None:
    """Return the stick with what the guest has read from it, None where there is none."""
    if isinstance(found_stick, NoStick):
        return None
    disk: GuestDisk = request.getfixturevalue("guest_disk")
    plugged: Stick = request.getfixturevalue("plugged_stick")
    return replace(plugged, sha256=read_hash(request.getfixturevalue("flow")["data"], disk.device))


def test_controller_in_guest(
    run: BenchRun, guest_controller: PciDevice, bound_controller: PciDevice, listings: dict[str, Part]
) -> None:
    """The guest's lspci shows the controller as an xHCI (class 0c03, prog-if 30) with xhci_hcd bound to it."""
    listing = listings["lspci"].require()
    run.note("lspci -nnk in the guest", listing.text)

    require(bound_controller.id in listing.text, "lspci in the guest does not show the controller")
    require(guest_controller.class_code == XHCI_CLASS, f"its class in the guest is {guest_controller.class_code:06x}, not 0c0330")
    require(
        guest_controller.driver == "xhci_hcd",
        f"its driver in the guest is {guest_controller.driver or 'none'}, not xhci_hcd",
        "see the guest's dmesg: firmware that is missing (uPD72020x), a reset that failed, an interrupt that never came",
    )


def test_root_hubs(run: BenchRun, guest_controller: PciDevice, listings: dict[str, Part]) -> None:
    """The controller has an xHCI root hub at 5000M or more, and one at 480M."""
    run.note("lsusb -t in the guest", listings["lsusb"].require().text)
    speeds = parse_root_hubs(listings["hubs"].text)
    run.note(f"root hubs of {guest_controller.address}", ", ".join(f"{speed}M" for speed in speeds))

    shown = ", ".join(f"{speed}M" for speed in speeds) or "none"
    require(HIGH_SPEED_MBIT in speeds, f"there is no root hub at 480M, but {shown}", "see the guest's dmesg for xhci_hcd")
    require(
        max(speeds, default=0) >= SUPER_SPEED_MBIT,
        f"there is no root hub at 5000M or more, but {shown}",
        "see the guest's dmesg for xhci_hcd; a controller without SuperSpeed ports is none that USB 3 can be qualified on",
    )


def test_stick_enumerates(run: BenchRun, plugged_stick: Stick, guest_disk: GuestDisk) -> None:
    """The stick comes up as a disk in the guest; its driver and speed are recorded."""
    run.note("lsusb -t in the guest", guest_disk.tree.require().text)
    link = parse_usb_link(guest_disk.link.require().text)
    run.note(guest_disk.device, f"serial {link.serial}, driver {link.driver}, {link.speed_mbit}M, USB {link.usb_version}")
    if link.is_super_speed_at_high_speed:
        run.condition(
            f"the stick {plugged_stick.serial} speaks USB {link.usb_version} but runs at {link.speed_mbit}M",
            "plug it into a USB 3 port with a USB 3 cable; if it is, suspect the port",
        )
    require(link.driver in {"usb-storage", "uas"}, f"the stick's driver is {link.driver or 'none'}, neither usb-storage nor uas")
    require(
        link.speed_mbit >= HIGH_SPEED_MBIT,
        f"the stick runs at {link.speed_mbit}M: not even High Speed",
        "try another port and another cable",
    )


def test_stick_is_hot_plugged(run: BenchRun, stick: Stick, guest_disk: GuestDisk) -> None:
    """A stick that is plugged in while the guest runs comes up there."""
    if stick.pluggable is None:
        pytest.skip("the stick is in from the start, nobody plugs it in (--operator asks a person to)")
    run.note(guest_disk.device, "was plugged in while the guest ran, and came up")


def test_interrupts_move(run: BenchRun, guest_controller: PciDevice, guest_disk: GuestDisk, flow: dict[str, Part]) -> None:
    """The controller's interrupt count in the guest moves when data flows."""
    read_hash(flow["data"], guest_disk.device)
    before, after = (count_interrupts(flow[name].text) for name in ("before", "after"))
    run.note(f"interrupts of {guest_controller.address} in the guest", f"before {before}, after {after}")
    if before is None or after is None:
        raise NotMeasurableError("the guest does not say which interrupts are the controller's")

    require(
        after > before,
        f"data flowed, and the controller's interrupt count stayed at {after}",
        "the guest polls or gets interrupts by another way: see /proc/interrupts there, and the host's log for IRTE faults",
    )


def test_content_is_right(run: BenchRun, plugged_stick: Stick, guest_disk: GuestDisk, flow: dict[str, Part]) -> None:
    """What the guest reads from the stick is what is on it: the SHA-256 is right."""
    digest = read_hash(flow["data"], guest_disk.device)
    known = f"{plugged_stick.sha256} {plugged_stick.origin}"
    run.note(f"SHA-256 of the first {plugged_stick.window_mib} MiB", f"{digest} in the guest\n{known}")
    if plugged_stick.origin == GUEST_READING:
        pytest.skip("nobody has read this stick before the guest: the host's reading in the last stage is compared with it")

    require(
        digest == plugged_stick.sha256,
        f"data differ: the guest reads {digest[:16]}..., the stick holds {plugged_stick.sha256[:16]}...",
        "do not trust this board with data: look for DMAR or AMD-Vi faults in the host's log, try another port and stick",
    )


def test_driver_reloads(run: BenchRun, guest: Machine, guest_controller: PciDevice, known_stick: Stick | None) -> None:
    """The guest unloads its xHCI driver and loads it again: controller and stick come back with the same content."""
    if not reload_in_guest(run, guest, guest_controller.address):
        pytest.skip("the driver is built into the guest's kernel: it cannot be unloaded")
    require_working(run, guest, guest_controller.address, known_stick, "after the driver's reload")


def test_guest_reboots(run: BenchRun, stay: GuestStay, guest_controller: PciDevice, known_stick: Stick | None) -> None:
    """The guest reboots with the controller in it: controller, stick and content are there again."""
    run.progress("rebooting the guest")
    try:
        reboot_guest(run, stay)
    except ThroughpassError as error:
        known = explained_loss(run, error)
        try:
            stay.leave("usb/guest-reboots")  # nobody could work with it
        except ThroughpassError as later:
            tell_with(known, later)
        if known is error:
            raise
        raise known from error
    require_working(run, stay.machine, guest_controller.address, known_stick, "after the guest's reboot")


def test_kernel_stays_calm(calm: Callable[[], None]) -> None:
    """While data flow in the guest, and in its reboot, neither its kernel nor the host's tells of a fault of the controller's."""
    calm()
