"""USB devices and the drivers of their interfaces; root hubs are part of a controller and left out."""

from __future__ import annotations

import re

import msgspec

from harness.core.capture import Capture
from harness.facts.sysfs import pci_addresses_on, read_link_name, read_names, read_number, read_path

_FOLDER = "sys/bus/usb/devices"
_DEVICE = re.compile(r"^\d+-\d+(\.\d+)*$")
_HUB, _KEYBOARD = "09", "030101"


class UsbDevice(msgspec.Struct, frozen=True):
    """One device: ``name`` is ``2-1``, ``port`` ``1`` or ``1.4``, ``id`` ``46f4:0001``; interface classes are ``080650``.

    (Class, subclass and protocol.) ``pci_address`` is the controller it hangs on, empty if that is no PCI function.
    Its strings are whatever the device says.
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


class UsbInterface(msgspec.Struct, frozen=True):
    """One interface of a device: ``kind`` is its class in words (``Mass Storage``), ``driver`` is empty without one."""

    number: int
    kind: str = ""
    driver: str = ""
    storage: bool = False


class UsbNode(msgspec.Struct, frozen=True):
    """One device below a root hub: ``port`` is the way from the root hub (``1.4``), ``speed_mbit`` what was negotiated."""

    device_number: int
    port: str
    speed_mbit: int
    id: str = ""
    name: str = ""
    interfaces: tuple[UsbInterface, ...] = ()

    @property
    def is_storage(self) -> bool:
        """Return whether one of its interfaces is mass storage."""
        return any(interface.storage for interface in self.interfaces)


class UsbBus(msgspec.Struct, frozen=True):
    """One root hub with its devices: ``driver`` is the host controller's (``xhci_hcd``), ``ports`` how many it has."""

    number: int
    driver: str = ""
    ports: int = 0
    speed_mbit: int = 0
    pci_address: str = ""
    devices: tuple[UsbNode, ...] = ()


def read_usb_tree(capture: Capture) -> tuple[UsbBus, ...]:
    """Read every bus with what hangs on it, by number."""
    del capture
    return ()


def read_usb(capture: Capture) -> tuple[UsbDevice, ...]:
    """Read every device, by name."""
    names = read_names(capture, _FOLDER)
    return tuple(_read_device(capture, name, names) for name in sorted(filter(_DEVICE.match, names), key=_by_port))


def _read_device(capture: Capture, name: str, names: tuple[str, ...]) -> UsbDevice:
    folder = f"{_FOLDER}/{name}"
    interfaces = [other for other in names if other.startswith(f"{name}:")]
    drivers = [read_link_name(capture, f"{_FOLDER}/{interface}/driver") for interface in interfaces]
    path = read_path(capture, folder) or ""
    return UsbDevice(
        name=name,
        bus=read_number(capture, f"{folder}/busnum") or 0,
        device_number=read_number(capture, f"{folder}/devnum") or 0,
        port=name.partition("-")[2],
        id=_id(capture, folder),
        serial=capture.text(f"{folder}/serial") or "",
        product=capture.text(f"{folder}/product") or "",
        manufacturer=capture.text(f"{folder}/manufacturer") or "",
        speed_mbit=_speed(capture.text(f"{folder}/speed")),
        usb_version=capture.text(f"{folder}/version") or "",
        drivers=tuple(dict.fromkeys(filter(None, drivers))),
        interface_classes=tuple(dict.fromkeys(filter(None, (_interface_class(capture, other) for other in interfaces)))),
        pci_address=next(reversed(pci_addresses_on(path)), ""),
        path=path,
    )


def _id(capture: Capture, folder: str) -> str:
    pair = [capture.text(f"{folder}/{attribute}") or "" for attribute in ("idVendor", "idProduct")]
    return ":".join(pair) if all(pair) else ""


def _interface_class(capture: Capture, interface: str) -> str:
    parts = ("bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol")
    return "".join(capture.text(f"{_FOLDER}/{interface}/{part}") or "" for part in parts)


def _speed(text: str | None) -> int:
    """Return the speed in Mbit/s; low speed, which sysfs writes as 1.5, counts as 1."""
    match = re.match(r"\d+", text or "")
    return int(match[0]) if match else 0


def _by_port(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.split(r"[-.]", name))
