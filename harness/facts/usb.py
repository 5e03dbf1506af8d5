"""USB devices and the drivers of their interfaces; root hubs are part of a controller and left out."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from harness.core.capture import Capture
from harness.facts.sysfs import pci_addresses_on, read_path
from harness.facts.usb_bus import UsbBus, UsbNode
from harness.facts.usb_tree import FOLDER, port_order, read_usb_tree

_HUB, _KEYBOARD, _HUMAN_INTERFACE = "09", "030101", "03"


class UsbDevice(msgspec.Struct, frozen=True):
    """One device: ``name`` is ``2-1``, ``port`` ``1`` or ``1.4``, ``id`` ``46f4:0001``; interface classes are ``080650``.

    (Class, subclass and protocol; the class alone, ``08``, where a text told no more.) ``pci_address`` is the controller it hangs
    on, empty if that is no PCI function or not known. A device whose port no text told is named like its node in /dev/bus/usb,
    ``002/005``, with bus 0 if not even that is known. Its strings are whatever the device says.
    """

    name: str
    bus: int = 0
    device_number: int = 0
    port: str = ""
    id: str = ""
    serial: str = ""
    product: str = ""
    manufacturer: str = ""
    speed_mbit: int = 0
    usb_version: str = ""
    drivers: tuple[str, ...] = ()
    interface_classes: tuple[str, ...] = ()
    pci_address: str = ""
    path: str = ""

    @property
    def is_hub(self) -> bool:
        """Return whether one of its interfaces is a hub's."""
        return any(kind.startswith(_HUB) for kind in self.interface_classes)

    @property
    def is_keyboard(self) -> bool:
        """Return whether one of its interfaces is a boot keyboard's."""
        return _KEYBOARD in self.interface_classes

    @property
    def may_be_keyboard(self) -> bool:
        """Return whether it is a keyboard, or a human interface device of which no text told the kind."""
        return self.is_keyboard or _HUMAN_INTERFACE in self.interface_classes


def read_usb(capture: Capture, tree: Iterable[UsbBus] | None = None) -> tuple[UsbDevice, ...]:
    """Read every device, by bus and port: from sysfs, and from the texts of lsusb where sysfs does not tell.

    ``tree`` is what ``read_usb_tree`` returned, if somebody has it.
    """
    return tuple(
        _make_device(capture, bus, node)
        for bus in (read_usb_tree(capture) if tree is None else tree)
        for node in sorted(bus.devices, key=lambda node: (port_order(node.port), node.device_number))
    )


def _make_device(capture: Capture, bus: UsbBus, node: UsbNode) -> UsbDevice:
    name = f"{bus.number}-{node.port}" if bus.number and node.port else f"{bus.number:03}/{node.device_number:03}"
    folder = f"{FOLDER}/{name}"
    path = read_path(capture, folder) or ""
    strings = {part: capture.text(f"{folder}/{part}") or "" for part in ("serial", "product", "manufacturer", "version")}
    return UsbDevice(
        name=name,
        bus=bus.number,
        device_number=node.device_number,
        port=node.port,
        id=node.id,
        serial=strings["serial"],
        product=strings["product"] or ("" if strings["manufacturer"] else node.name),
        manufacturer=strings["manufacturer"],
        speed_mbit=node.speed_mbit,
        usb_version=strings["version"],
        drivers=node.drivers,
        interface_classes=tuple(dict.fromkeys(interface.code for interface in node.interfaces if interface.code)),
        pci_address=next(reversed(pci_addresses_on(path)), bus.pci_address),
        path=path,
    )
