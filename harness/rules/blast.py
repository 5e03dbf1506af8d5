"""The blast radius: what the host loses with a controller, and with all that its IOMMU group takes along."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from harness.core.finding import Evidence
from harness.facts.host import GROUPS, MOUNTS, ROUTES, SWAPS, HostFacts
from harness.facts.members import find_members
from harness.facts.network import NetworkInterface
from harness.facts.pci import PciDevice
from harness.facts.storage import Disk
from harness.facts.usb import UsbDevice
from harness.facts.usb_bus import UsbNode
from harness.rules.controller import describe
from harness.rules.groups import is_in_use
from harness.rules.losses import USB_CONSOLES, holds_console, shows_usb

_HID, _MOUSE = "03", "030102"
_USB_DEVICES, _PCI_DEVICES, _BLOCK, _NET = "/sys/bus/usb/devices", "/sys/bus/pci/devices", "/sys/class/block", "/sys/class/net"
_KINDS = {
    "e001": "Bluetooth adapter",
    "0e": "camera",
    "01": "sound device",
    "07": "printer",
    "0b": "card reader",
    "08": "USB storage",
}
_ORDER = ("disk", "network", "console", "keyboard", "mouse", "input", "usb", "function")


class Loss(msgspec.Struct, frozen=True):
    """One thing that the host loses.

    ``kind`` is disk, network, console, keyboard, mouse, input (another HID), usb, or function (a member of the group);
    ``what`` fits into "giving it away takes: ..."; ``vital`` is what the host, or this session, lives by; ``through`` is the
    address of the function that takes it along, empty for the controller itself.
    """

    kind: str
    what: str
    evidence: Evidence
    vital: bool = False
    through: str = ""


class Blast(msgspec.Struct, frozen=True):
    """All that is lost with one controller, what hurts most first; ``unknown`` names what was not read and may hide more."""

    address: str
    losses: tuple[Loss, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """Return all of it in words: ``giving 05:00.0 away takes: keyboard 045e:0746, the disk that holds /``."""
        taken = ", ".join(loss.what for loss in self.losses) or ("nothing that is seen" if self.unknown else "nothing else")
        hidden = f"; not known: {', '.join(self.unknown)}" if self.unknown else ""
        return f"giving {_short(self.address)} away takes: {taken}{hidden}"


def find_blast(facts: HostFacts, controller: PciDevice) -> Blast:
    """Return what the host loses with a controller and with the other members of its IOMMU group; bridges stay."""
    losses = list(_losses_on(facts, controller.address))
    for address, member in find_members(facts, controller).items():
        if address != controller.address and not (member and member.class_known and (member.is_bridge or not is_in_use(member))):
            losses.append(_member(address, member))
            losses += [msgspec.structs.replace(loss, through=address) for loss in _losses_on(facts, address)]
    ordered = sorted(losses, key=lambda loss: (not loss.vital, bool(loss.through), _ORDER.index(loss.kind)))
    return Blast(controller.address, tuple(ordered), tuple(_find_unknown(facts, controller)))


def _losses_on(facts: HostFacts, address: str) -> Iterator[Loss]:
    yield from map(_disk, facts.disks_on(address))
    yield from map(_network, facts.network_on(address))
    consoles = [name for name in facts.kernel.consoles if name.startswith(USB_CONSOLES)]
    disks = {disk.usb_device for disk in facts.disks_on(address)}
    interfaces = [interface.path for interface in facts.network_on(address)]
    for device in facts.usb_on(address):
        if holds_console(facts, device):
            yield Loss("console", f"the serial console {', '.join(consoles)}", _usb_evidence(device))
        elif device.is_hub or device.name in disks or any(f"{device.path}/" in path for path in interfaces if device.path):
            continue  # a hub is no loss, and what a disk or an interface hangs on is told by that
        else:
            yield _usb(device)
    yield from _told(facts, address)


def _disk(disk: Disk) -> Loss:
    uses = ["/" if use == "root" else use for use in disk.used_for]
    held = " and ".join(uses)
    model = " ".join(filter(None, (disk.vendor, disk.model)))
    what = f"the disk that holds {held}" if held else f"disk {disk.name}{f' ({model})' if model else ''}, which is not in use"
    evidence = Evidence(
        f"{_BLOCK}/{disk.name}", " ".join(filter(None, (disk.path, f"({', '.join(uses)})" if uses else "(not used)")))
    )
    return Loss("disk", what, evidence, vital=bool(uses))


def _network(interface: NetworkInterface) -> Loss:
    role = f"NIC {interface.interface}"
    if interface.default_route:
        role = f"the NIC of the default route ({interface.interface})"
    if interface.carries_ssh:
        role = f"the NIC of this SSH connection ({interface.interface})"
    evidence = Evidence(f"{_NET}/{interface.interface}", f"{interface.path} {interface.state} {interface.address}".strip())
    return Loss("network", role, evidence, vital=interface.carries_ssh or interface.default_route)


def _usb(device: UsbDevice) -> Loss:
    name = " ".join(filter(None, (device.id, device.product))) or device.name
    if device.is_keyboard:
        return Loss("keyboard", f"keyboard {name}", _usb_evidence(device))
    if _MOUSE in device.interface_classes:
        return Loss("mouse", f"mouse {name}", _usb_evidence(device))
    if any(kind.startswith(_HID) for kind in device.interface_classes):
        return Loss("input", f"input device {name}", _usb_evidence(device))
    kinds = (word for start, word in _KINDS.items() if any(kind.startswith(start) for kind in device.interface_classes))
    return Loss("usb", f"{next(kinds, 'USB device')} {name}", _usb_evidence(device))


def _told(facts: HostFacts, address: str) -> Iterator[Loss]:
    """Yield the devices that only the text of lsusb tells of."""
    shown = {(device.bus, device.device_number) for device in facts.usb}
    for bus in facts.usb_tree:
        if bus.pci_address == address:
            yield from (
                _node(node) for node in bus.devices if (bus.number, node.device_number) not in shown and not _is_hub(node)
            )


def _node(node: UsbNode) -> Loss:
    name = " ".join(filter(None, (node.id, node.name))) or f"on port {node.port}"
    kinds = ", ".join(dict.fromkeys(interface.kind for interface in node.interfaces if interface.kind))
    evidence = Evidence("lsusb -t", f"port {node.port}, {node.speed_mbit}M: {kinds or 'no interface'}")
    if any(_is_input(interface.kind, interface.driver) for interface in node.interfaces):
        return Loss("input", f"input device {name}", evidence)
    if node.is_storage:
        return Loss("disk", f"USB storage {name}", evidence)
    return Loss("usb", f"USB device {name}", evidence)


def _is_input(kind: str, driver: str) -> bool:
    # Before usbutils 0.85 a class is cut to "HID" or "Human Interface De..."; the driver's name never is.
    return driver == "usbhid" or kind.lower().startswith(("human interface", "hid"))


def _is_hub(node: UsbNode) -> bool:
    return bool(node.interfaces) and all(interface.kind.lower() == "hub" for interface in node.interfaces)


def _member(address: str, device: PciDevice | None) -> Loss:
    name = describe(device) if device else address
    driver = f", driver {device.driver}" if device and device.driver else ""
    text = f"in the same group{f', class {device.class_text}' if device else ''}{driver}"
    return Loss("function", f"{name}, which shares its IOMMU group", Evidence(f"{_PCI_DEVICES}/{address}", text), through=address)


def _usb_evidence(device: UsbDevice) -> Evidence:
    return Evidence(f"{_USB_DEVICES}/{device.name}", f"{device.id} {device.product} {' '.join(device.drivers)}".strip())


def _find_unknown(facts: HostFacts, controller: PciDevice) -> Iterator[str]:
    """Yield what was not read, in words."""
    lists = {
        "what is mounted": MOUNTS in facts.unread or facts.section_timed_out("mounts"),
        "swap": SWAPS in facts.unread,
        "the routes": ROUTES in facts.unread or facts.section_timed_out("net"),
        "the IOMMU groups": not find_members(facts, controller) and GROUPS in facts.unread,
        "the USB devices": not shows_usb(facts, controller),
        "the disks": facts.section_timed_out("block"),
    }
    yield from (name for name, hidden in lists.items() if hidden)


def _short(address: str) -> str:
    return address.removeprefix("0000:")
