"""Rules about what the host loses with the controller: disks, the network, keyboards."""

from __future__ import annotations

from harness.core.finding import Evidence, Severity
from harness.facts.host import BLOCKS, INTERFACES, MOUNTS, ROUTES, SESSION, SWAPS, HostFacts
from harness.facts.network import NetworkInterface
from harness.facts.pci import PciDevice
from harness.facts.storage import Disk
from harness.facts.usb import UsbDevice
from harness.rules.rule import Opinion, Target, controller_rule

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
)
def disks(facts: HostFacts, target: Target, controller: PciDevice) -> Opinion:
    """Look for uses of the disks behind the controller, and behind what goes with it."""
    found = tuple(disk for address in leaving(target, controller) for disk in facts.disks_on(address))
    evidence = tuple(_evidence(disk) for disk in found)
    used = [disk for disk in found if disk.used_for]
    if used:
        listed = "; ".join(f"{disk.name} ({', '.join(disk.used_for)})" for disk in used)
        return Opinion(Severity.REFUSAL, f"the host uses a disk on the controller: {listed}", evidence)
    late = [section for section in ("block", "mounts", "usb") if facts.section_timed_out(section)]
    if late:
        return Opinion(Severity.UNKNOWN, f"the host's disks were not read in whole ({', '.join(late)})", evidence)
    if hidden := _hidden_uses(facts, found, controller):
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
)
def network(facts: HostFacts, target: Target, controller: PciDevice) -> Opinion:
    """Look for interfaces behind the controller, and behind what goes with it, that carry the session or the only way out."""
    found = tuple(interface for address in leaving(target, controller) for interface in facts.network_on(address))
    evidence = tuple(
        Evidence(f"/sys/class/net/{interface.interface}", f"{interface.path} {interface.state} {interface.address}")
        for interface in found
    )
    if reason := _severed(facts, found, controller):
        return Opinion(Severity.REFUSAL, reason, evidence)
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
    "INP001",
    title="No keyboard of the host is on the controller",
    why="With its last keyboard a host without network can no longer be operated.",
    remedy="",
    source="foxlet/macOS-Simple-KVM#373",
    informs=True,
)
def keyboards(facts: HostFacts, _: Target, controller: PciDevice) -> Opinion:
    """Name the keyboards on the controller: worth knowing, no reason to stop while the session goes another way."""
    found = [device for device in facts.usb_on(controller.address) if device.is_keyboard]
    others = [device for device in facts.usb if device.may_be_keyboard and device not in found]
    evidence = tuple(Evidence(f"/sys/bus/usb/devices/{device.name}", f"{device.id} {device.product}".strip()) for device in found)
    if not found and not shows_usb(facts, controller):
        return Opinion(Severity.UNKNOWN, "the host does not show which USB devices are on the controller")
    if not found and (unclear := [device for device in facts.usb_on(controller.address) if device.may_be_keyboard]):
        message = f"an input device is on the controller, and no text tells whether it is a keyboard: {unclear[0].name}"
        return Opinion(Severity.UNKNOWN, message, tuple(Evidence("lsusb", f"{item.name} {item.id}".strip()) for item in unclear))
    if not found:
        nothing = (Evidence("/sys/bus/usb/devices", f"no boot keyboard behind {controller.address}"),)
        return Opinion(Severity.PASS, "no USB keyboard is on the controller", nothing)
    names = ", ".join(device.name for device in found)
    last = "" if others else ", the host's only USB keyboard"
    return Opinion(Severity.INFORMATION, f"a keyboard is on the controller: {names}{last}", evidence)


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


def leaving(target: Target, controller: PciDevice) -> tuple[str, ...]:
    """Return the addresses of all functions that leave the host: the controller's, and those of its siblings."""
    return (controller.address, *(address for address in target.siblings if address != controller.address))


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


def _hidden_uses(facts: HostFacts, found: tuple[Disk, ...], controller: PciDevice) -> list[str]:
    """Return what was not read of the uses of the controller's disks, or of which disks are on it."""
    hidden = [name for name in facts.unread if name in {MOUNTS, SWAPS} or name.startswith(BLOCKS)]
    hidden += [f"what is built upon {disk.name}" for disk in found if not disk.uses_known]
    shown = {disk.usb_device for disk in found}
    storage = [device for device in facts.usb_on(controller.address) if is_storage(device) and device.name not in shown]
    return hidden + [f"the disk of USB device {device.name}" for device in storage]


def _severed(facts: HostFacts, found: tuple[NetworkInterface, ...], controller: PciDevice) -> str:
    """Return why nobody would reach the host any more, empty if somebody would."""
    if session := [interface.interface for interface in found if interface.carries_ssh]:
        return f"{session[0]} on the controller carries this session"
    defaults = [interface.interface for interface in found if interface.default_route]
    others = [interface.interface for interface in facts.network if interface.default_route and interface not in found]
    if defaults and not any(_leads_out(facts, name, controller) for name in others):
        return f"{defaults[0]} on the controller is the host's only default route"
    return ""


def _hidden_ways(facts: HostFacts, found: tuple[NetworkInterface, ...]) -> list[str]:
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


def _leads_out(facts: HostFacts, name: str, controller: PciDevice) -> bool:
    """Return whether an interface is a device of its own elsewhere: a bridge upon the controller's is no other way out."""
    return any(
        interface.interface == name and interface.pci_addresses and controller.address not in interface.pci_addresses
        for interface in facts.network
    )
