"""Rules about what kind of USB function this is, and what its card needs."""

from __future__ import annotations

import re

from harness.core.finding import Evidence, Severity
from harness.core.pci import XHCI_CLASS
from harness.facts.host import HostFacts
from harness.facts.pci import PciDevice
from harness.rules.rule import Opinion, Target, controller_rule, no_sign

_KINDS = {
    0x00: "a UHCI host controller (USB 1)",
    0x10: "an OHCI host controller (USB 1)",
    0x20: "an EHCI host controller (USB 2)",
    0x30: "an xHCI host controller",
    0x40: "a USB4 host interface: it carries tunnels, no USB devices",
    0xFE: "a USB device controller (xDCI): it makes this machine a device of another",
}
_RENESAS = {"1912:0014", "1912:0015"}
_FIRMWARE = re.compile(
    r"renesas.{0,200}(?:fail|can't|unable|timed? ?out|not found)|(?:fail|can't).{0,200}renesas_usb_fw", re.IGNORECASE
)
_RESET_TROUBLE = re.compile(
    r"not ready \d+ms after|no available reset|(?:refused to|can't|unable to) change power state|reset failed"
    r"|FLR.{0,200}timed? ?out",
    re.IGNORECASE,
)


@controller_rule(
    "PCI003",
    title="What is called a USB controller is an xHCI",
    why="Class 0c03 also holds xDCI device controllers, USB4 host interfaces and the controllers of USB 1 and 2.",
    remedy="show the whole class: `lspci -nn` and `lspci -v` (prog-if), or /sys/bus/pci/devices/ADDRESS/class",
    source="projectceladon/vm_manager#20, QubesOS/qubes-issues#3209",
    required=True,
)
def is_xhci(_facts: HostFacts, _target: Target, controller: PciDevice) -> Opinion:
    """Look at the whole class, down to the programming interface."""
    source = controller.source.removeprefix("commands/")
    where = f"/sys/bus/pci/devices/{controller.address}/class" if source == "sysfs" else source
    evidence = (Evidence(where, controller.class_text),)
    if controller.is_xhci:
        return Opinion(Severity.PASS, f"the function is of class {XHCI_CLASS:06x}: xHCI", evidence)
    if not controller.class_known or not controller.prog_if_known:
        return Opinion(Severity.UNKNOWN, "the function's programming interface is not told: it may be an xHCI or not", evidence)
    kind = _KINDS.get(controller.class_code & 0xFF, "no kind of USB controller that is known")
    if not controller.is_usb:
        kind = "no USB controller"
    return Opinion(Severity.INFORMATION, f"the function is {kind}", evidence)


@controller_rule(
    "PCI005",
    title="The controller needs no firmware from its driver",
    why="A uPD720201 or uPD720202 without ROM gets its firmware from the driver at each start, in the guest too.",
    remedy="flash the card's ROM, or put renesas_usb_fw.mem into /lib/firmware of the host and of the guest",
    source="QubesOS/qubes-issues#7906, dracut-ng/dracut#2491",
)
def renesas_firmware(facts: HostFacts, _: Target, controller: PciDevice) -> Opinion:
    """Know the two cards by their ids, and look for a load that failed."""
    evidence = Evidence(f"/sys/bus/pci/devices/{controller.address}", f"id {controller.id or '(not told)'}")
    if not controller.id:
        return Opinion(Severity.UNKNOWN, "the controller's id is not told", (evidence,))
    if controller.id not in _RENESAS:
        return Opinion(Severity.PASS, "the controller is none of those that load firmware", (evidence,))
    if failed := facts.log.find(_FIRMWARE):
        return Opinion(Severity.CONDITION, "the controller's firmware could not be loaded", (evidence, *failed))
    message = "the controller may need the file renesas_usb_fw.mem, in the guest too, unless its card has a ROM"
    return Opinion(Severity.INFORMATION, message, (evidence,))


@controller_rule(
    "RST002",
    title="No reset or change of power failed on the controller",
    why="A controller that does not come back from a reset or from D3 dies with its first guest, or stays dead until power-off.",
    remedy="update the card's firmware; load vfio-pci with disable_idle_d3=1; power the host off to revive the card",
    source="patmagauran/i915ovmfPkg#23, hathach/tinyusb#3789, mroboff/vm-curator#63, pop-os/linux#307",
)
def reset_trouble(facts: HostFacts, _: Target, controller: PciDevice) -> Opinion:
    """Look for the log's lines about this function."""
    found = tuple(item for item in facts.log.find(_RESET_TROUBLE, limit=99) if controller.address in item.text)[:5]
    if found:
        return Opinion(Severity.CONDITION, f"the controller did not come back once: {found[0].text}", found)
    return no_sign(facts, "a reset of the controller's that failed")
