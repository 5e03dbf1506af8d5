"""Rules about what the host loses with the controller: disks, the network, its console."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from harness.core.finding import Evidence, Severity
from harness.facts.host import BLOCKS, INTERFACES, MOUNTS, ROUTES, SESSION, SWAPS, HostFacts
from harness.facts.network import NetworkInterface
from harness.facts.pci import PciDevice
from harness.facts.storage import Disk
from harness.facts.usb import UsbDevice
from harness.rules.rule import Opinion, Target, bench_line, controller_rule

_T = TypeVar("_T")

USB_CONSOLES = ("ttyUSB", "ttyACM")
_SERIAL = {"pl2303", "cp210x", "ch341", "ch341-uart", "cdc_acm", "mos7840", "ftdi_sio", "usb_serial_simple", "xr_serial"}
_USE_SOURCES = "/proc/self/mountinfo, /proc/swaps, /sys/class/block/*/holders, /sys/fs"


@controller_rule(
    "STO001",
    title="The host uses no disk on the controller",
    why="A disk that is mounted, swapped to or part of an array would vanish under the host, with its data.",
    remedy="move the disk to another controller, or unmount it (swapoff, stop the array); a root disk must move",
    source="PVE-Tools/PVE-Tools-9#98, foxlet/macOS-Simple-KVM#373",
    required=True,
    guards=True,
)
def disks(facts: HostFacts, target: Target, controller: PciDevice) -> Opinion:
    """Look for uses of the disks behind the controller, and behind what is bound with it."""
    found = unique(disk for address in target.addresses for disk in facts.disks_on(address))
    evidence = tuple(_evidence(disk) for disk in found)
    used = [disk for disk in found if disk.used_for]
    if used:
        listed = "; ".join(f"{disk.name} ({', '.join(disk.used_for)})" for disk in used)
        return Opinion(Severity.REFUSAL, f"the host uses a disk on the controller: {listed}", evidence)
    late = [section for section in ("block", "mounts", "usb") if facts.section_timed_out(section)]
    if late:
        return Opinion(Severity.UNKNOWN, f"the host's disks were not read in whole ({', '.join(late)})", evidence)
    if hidden := _hidden_uses(facts, found, target):
        return Opinion(Severity.UNKNOWN, f"the host does not show what it uses its disks for ({', '.join(hidden)})", evidence)
    nothing = Evidence("/sys/class/block", f"no disk behind {controller.address}")
    message = "the host uses none of the disks on the controller" if found else "there is no disk on the controller"
    return Opinion(Severity.PASS, message, evidence or (nothing,))


@controller_rule(
    "NET001",
    title="The way to the host does not go through the controller",
    why="With the network interface that carries the session, the session is lost and nobody can undo the bind.",
    remedy="connect to the host through another interface, or work at its own console",
    source="foxlet/macOS-Simple-KVM#373",
    required=True,
    guards=True,
)
def network(facts: HostFacts, target: Target, controller: PciDevice) -> Opinion:
    """Look for interfaces behind the controller, and behind what is bound with it, that carry the session or the only way out."""
    found = unique(interface for address in target.addresses for interface in facts.network_on(address))
    evidence = tuple(
        Evidence(f"/sys/class/net/{interface.interface}", f"{interface.path} {interface.state} {interface.address}")
        for interface in found
    )
    if session := [interface.interface for interface in found if interface.carries_ssh]:
        return Opinion(Severity.REFUSAL, f"{session[0]} on the controller carries this session", evidence)
    ways = [name for name in _only_ways_out(facts, found, target) if name not in target.allow.interfaces]
    if ways:
        message = f"{ways[0]} on the controller is the host's only default route"
        remedy = f"give the host another way out; or, where it needs none, {bench_line('allow', 'interfaces', ways)}"
        return Opinion(Severity.REFUSAL, message, evidence, remedy)
    if hidden := _hidden_ways(facts, found):
        return Opinion(Severity.UNKNOWN, f"the host does not show which way leads to it ({', '.join(hidden)})", evidence)
    if found:
        return Opinion(
            Severity.INFORMATION, f"the host loses the interface {', '.join(item.interface for item in found)}", evidence
        )
    return Opinion(
        Severity.PASS,
        "no network interface is on the controller",
        (Evidence("/sys/class/net", f"none behind {controller.address}"),),
    )


@controller_rule(
    "CON001",
    title="No console of the kernel is on the controller",
    why="A serial console behind a USB adapter falls silent with the controller, just when its messages would be needed.",
    remedy="",
    source="foxlet/macOS-Simple-KVM#373, admin-guide/serial-console.html",
    informs=True,
)
def consoles(facts: HostFacts, _: Target, controller: PciDevice) -> Opinion:
    """Look for USB consoles and for adapters behind the controller: for information, as with keyboards."""
    usb = [name for name in facts.kernel.consoles if name.startswith(USB_CONSOLES)]
    evidence: tuple[Evidence, ...] = (
        Evidence("/proc/consoles, /proc/cmdline", " ".join(facts.kernel.consoles) or "no console is named"),
    )
    adapters = [device for device in facts.usb_on(controller.address) if holds_console(facts, device)]
    if adapters:
        names = ", ".join(device.name for device in adapters)
        evidence += tuple(
            Evidence(f"/sys/bus/usb/devices/{device.name}", f"{device.id} {device.product}".strip()) for device in adapters
        )
        return Opinion(Severity.INFORMATION, f"the console {', '.join(usb)} hangs on the controller: {names}", evidence)
    hidden = bool(usb) and not shows_usb(facts, controller)
    if hidden or (not facts.kernel.consoles and not facts.kernel.cmdline):
        return Opinion(Severity.UNKNOWN, "the host does not show the kernel's consoles, or where they hang", evidence)
    return Opinion(Severity.PASS, "no console of the kernel is on the controller", evidence)


def unique(found: Iterable[_T]) -> tuple[_T, ...]:
    """Return each thing once, in order: what hangs below two of the functions is found twice."""
    return tuple(dict.fromkeys(found))


def shows_usb(facts: HostFacts, controller: PciDevice) -> bool:
    """Return whether the capture shows what is on this controller: by sysfs, or by a text that names its buses."""
    if any(bus.pci_address == controller.address for bus in facts.usb_tree) or facts.usb_on(controller.address):
        return True
    return controller.source == "sysfs" and not facts.section_timed_out("usb")


def holds_console(facts: HostFacts, device: UsbDevice) -> bool:
    """Return whether a console of the kernel hangs on a device; where none was placed, every serial adapter may hold it."""
    if paths := facts.kernel.console_paths:
        return any(f"{path}/".startswith(f"{device.path}/") for path in paths if device.path)
    return any(name.startswith(USB_CONSOLES) for name in facts.kernel.consoles) and _is_serial_adapter(device)


def _is_serial_adapter(device: UsbDevice) -> bool:
    """Return whether one of a device's drivers makes a serial port of it."""
    return any(driver in _SERIAL or driver.endswith("_sio") for driver in device.drivers)


def _hidden_uses(facts: HostFacts, found: Sequence[Disk], target: Target) -> list[str]:
    """Return what was not read of the uses of the controller's disks, or of which disks are on it."""
    hidden = [name for name in facts.unread if name in {MOUNTS, SWAPS} or name.startswith(BLOCKS)]
    hidden += [f"what is built upon {disk.name}" for disk in found if not disk.uses_known]
    shown = {disk.usb_device for disk in found}
    devices = [device for address in target.addresses for device in facts.usb_on(address)]
    storage = [device for device in devices if is_storage(device) and device.name not in shown]
    return hidden + [f"the disk of USB device {device.name}" for device in storage]


def _only_ways_out(facts: HostFacts, found: Sequence[NetworkInterface], target: Target) -> list[str]:
    """Return the interfaces that hold the default route, if no other one leads out."""
    defaults = [interface.interface for interface in found if interface.default_route]
    others = [interface.interface for interface in facts.network if interface.default_route and interface not in found]
    return [] if any(_leads_out(facts, name, target) for name in others) else defaults


def _hidden_ways(facts: HostFacts, found: Sequence[NetworkInterface]) -> list[str]:
    """Return what was not read of the way to the host; the session's matters where an interface is on the controller."""
    hidden = ["not in whole"] if facts.section_timed_out("net") else []
    hidden += [name for name in facts.unread if name == ROUTES or name.startswith(INTERFACES)]
    if not found:
        return hidden
    carriers = [interface for interface in facts.network if interface.carries_ssh]
    tunnels = [] if any(interface.pci_addresses for interface in carriers) else carriers
    hidden += [f"what is below {interface.interface}" for interface in tunnels]
    return hidden + [name for name in facts.unread if name == SESSION]


def is_storage(device: UsbDevice) -> bool:
    """Return whether a device's driver makes a disk of it."""
    return any(driver in {"usb-storage", "uas"} or driver.startswith("ums-") for driver in device.drivers)


def _evidence(disk: Disk) -> Evidence:
    return Evidence(_USE_SOURCES if disk.used_for else f"/sys/class/block/{disk.name}", f"{disk.name}: {_describe(disk)}")


def _describe(disk: Disk) -> str:
    use = ", ".join(disk.used_for) or "not used"
    return " ".join(filter(None, (disk.path, f"serial {disk.serial}" if disk.serial else "", f"({use})")))


def _leads_out(facts: HostFacts, name: str, target: Target) -> bool:
    """Return whether an interface is a device of its own elsewhere: a bridge upon the controller's is no other way out."""
    return any(
        interface.interface == name and interface.pci_addresses and not set(target.addresses) & set(interface.pci_addresses)
        for interface in facts.network
    )
