"""Rules about what the kernel says of a device at work: its controller, its link, its USB devices, and the kernel itself."""

from __future__ import annotations

from collections.abc import Iterable

from harness.core.finding import Evidence, Severity
from harness.facts.host import HostFacts
from harness.facts.pci import PciDevice
from harness.rules.messages import find_known
from harness.rules.rule import Opinion, Target, controller_rule, host_rule, no_sign

_SHOWN = 5


@controller_rule(
    "XHC001",
    title="The controller answers its driver",
    why="A controller that died, for xhci_hcd or in a reset, takes all its devices along; some stay dead until power-off.",
    remedy="power the host off and on; update the card's firmware and the kernel; try another slot",
    source="pop-os/linux#307, QubesOS/qubes-issues#7906, hathach/tinyusb#3766",
)
def dead_controller(facts: HostFacts, _: Target, controller: PciDevice) -> Opinion:
    """Look for the lines of the controller's driver."""
    found = [line for line in _lines(facts, "XHC001") if controller.address in line]
    if found:
        return Opinion(Severity.CONDITION, f"the controller did not answer its driver once: {found[0]}", _quote(found))
    return no_sign(facts, "a controller that did not answer")


@controller_rule(
    "AER001",
    title="The controller's PCIe link reports no error",
    why="Errors on the link cost speed where they are corrected; where they are not, the device is lost or its data.",
    remedy="seat the card again, or use another slot; forbid power saving of the link (pcie_aspm=off); update the firmware",
    source="PCI/pcieaer-howto.html",
)
def bus_errors(facts: HostFacts, _: Target, controller: PciDevice) -> Opinion:
    """Tell the controller's errors from those of others."""
    found = _lines(facts, "AER001")
    own = [line for line in found if controller.address in line]
    if own:
        return Opinion(Severity.CONDITION, f"the controller's link reported errors: {own[0]}", _quote(own))
    if found:
        return Opinion(Severity.INFORMATION, f"PCIe links reported errors, none of the controller's: {found[0]}", _quote(found))
    return no_sign(facts, "errors of a PCIe link")


@host_rule(
    "USB001",
    title="USB devices come up on their ports, and stay",
    why="A cable, a hub or a port at fault looks like a controller at fault: resets, aborts, a device that never enumerates.",
    remedy="try another cable, another port and another stick, without a hub; where uas fails, usb-storage.quirks=",
    source="openwrt/mt76#495, genodelabs/genode#5041",
    informs=True,
)
def usb_trouble(facts: HostFacts, _: Target) -> Opinion:
    """Look for what the hub driver and uas complain of."""
    return _tell(facts, "USB001", "USB devices that fail on their ports", "USB devices failed on their ports")


@host_rule(
    "USB002",
    title="A USB device that QEMU takes is there, and nobody else's",
    why="For USB-level passthrough QEMU opens the device's node and claims its interfaces from the host's drivers and programs.",
    remedy="give the user the device's node in /dev/bus/usb; unmount the stick; end the program that has it; name its port",
    source="dockur/windows#655, kubevirt/kubevirt#13754",
    informs=True,
)
def usb_claims(facts: HostFacts, _: Target) -> Opinion:
    """Look for two that use one device."""
    return _tell(facts, "USB002", "a USB device that two used", "two used one USB device")


@host_rule(
    "LOG001",
    title="The kernel left no message out",
    why="Of too many messages the kernel prints some and counts the rest; what a full ring loses, nobody counts.",
    remedy="read the journal, which keeps more (journalctl -k); a larger ring: log_buf_len=16M on the kernel's command line",
    source="patmagauran/i915ovmfPkg#23",
    informs=True,
)
def left_out(facts: HostFacts, _: Target) -> Opinion:
    """Look for counts of what was suppressed, and for losses."""
    return _tell(facts, "LOG001", "messages that were left out", "the kernel left messages out")


@host_rule(
    "LOG002",
    title="The kernel met no error of its own",
    why="After an oops or a hung task the kernel may do anything; what a run finds then is no property of the board.",
    remedy="reboot the host; look whether a newer kernel has it, and report it with the whole log",
    source="admin-guide/bug-hunting.html",
    informs=True,
)
def kernel_errors(facts: HostFacts, _: Target) -> Opinion:
    """Look for oopses, lock-ups, hung tasks and interrupts that nobody handled."""
    return _tell(facts, "LOG002", "errors of the kernel's own", "the kernel met an error of its own")


def _lines(facts: HostFacts, rule: str) -> list[str]:
    """Return the log's lines that the rule explains."""
    lines = list(facts.log.lines)
    return [lines[place] for place, message in find_known(lines) if message.rule == rule]


def _quote(lines: Iterable[str]) -> tuple[Evidence, ...]:
    return tuple(Evidence("dmesg", line) for line in list(lines)[:_SHOWN])


def _tell(facts: HostFacts, rule: str, silent: str, sentence: str) -> Opinion:
    """Return what a rule that only informs has to say."""
    found = _lines(facts, rule)
    return Opinion(Severity.INFORMATION, f"{sentence}: {found[0]}", _quote(found)) if found else no_sign(facts, silent)
