"""A USB bus as a tree: root hub, devices, interfaces; and the classes of interfaces in words."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

_STORAGE, _HUB = "08", "09"
_STORAGE_DRIVER = re.compile(r"(?:uas|usb-storage|ums-[\w-]+)\Z")
_SPEED = re.compile(r"[0-9]{1,6}")
_UNNAMED = re.compile(r"'b(?:Interface|Device)Class 0x([0-9a-f]{2}) not yet handled'")

_KINDS = {
    "00": "(Defined at Interface level)",
    "01": "Audio",
    "02": "Communications",
    "03": "Human Interface Device",
    "05": "Physical Interface Device",
    "06": "Imaging",
    "07": "Printer",
    "08": "Mass Storage",
    "09": "Hub",
    "0a": "CDC Data",
    "0b": "Chip/SmartCard",
    "0d": "Content Security",
    "0e": "Video",
    "0f": "Personal Healthcare",
    "10": "Audio/Video",
    "11": "Billboard",
    "12": "Type-C Bridge",
    "13": "Bulk Display",
    "14": "MCTCP over USB",
    "3c": "I3C",
    "58": "Xbox",
    "dc": "Diagnostic",
    "e0": "Wireless",
    "ef": "Miscellaneous Device",
    "fe": "Application Specific Interface",
    "ff": "Vendor Specific Class",
}

# Early usbutils had a list of its own, after the kernel's usb/core/devices.c; later ones ask usb.ids.
_SHORT = {
    ">ifc": "00",
    "audio": "01",
    "comm.": "02",
    "hid": "03",
    "pid": "05",
    "still": "06",
    "print": "07",
    "stor.": "08",
    "hub": "09",
    "data": "0a",
    "scard": "0b",
    "c-sec": "0d",
    "video": "0e",
    "wlcon": "e0",
    "misc": "ef",
    "app.": "fe",
    "vend.": "ff",
}

_CODES = _SHORT | {kind.lower(): code for code, kind in _KINDS.items()}


class UsbInterface(msgspec.Struct, frozen=True):
    """One interface of a device: ``kind`` is its class in words (``Mass Storage``), ``driver`` is empty without one.

    ``code`` is class, subclass and protocol (``080650``), the class alone (``08``) where a text told no more, or empty.
    """

    number: int
    kind: str = ""
    driver: str = ""
    storage: bool = False
    code: str = ""


class UsbNode(msgspec.Struct, frozen=True):
    """One device below a root hub: ``port`` is the way from the root hub (``1.4``), ``speed_mbit`` what was negotiated.

    An empty ``port``, ``id`` or ``name`` and a speed of 0 are not known. ``ports`` is how many a hub has. ``lanes`` is 2 on a
    link of two lanes (``20000M/x2``). No interface: it has none, is not configured, or only a plain list told of it.
    """

    device_number: int
    port: str
    speed_mbit: int
    id: str = ""
    name: str = ""
    interfaces: tuple[UsbInterface, ...] = ()
    ports: int = 0
    lanes: int = 1

    @property
    def is_storage(self) -> bool:
        """Return whether one of its interfaces is mass storage."""
        return any(interface.storage for interface in self.interfaces)

    @property
    def is_hub(self) -> bool:
        """Return whether one of its interfaces is a hub's."""
        return any(interface.code.startswith(_HUB) or interface.driver == "hub" for interface in self.interfaces)

    @property
    def drivers(self) -> tuple[str, ...]:
        """Return the drivers of its interfaces, each once."""
        return tuple(dict.fromkeys(interface.driver for interface in self.interfaces if interface.driver))


class UsbBus(msgspec.Struct, frozen=True):
    """One root hub with its devices: ``driver`` is the host controller's (``xhci_hcd``), ``ports`` how many it has.

    ``number`` is 0 where a text lost the root hub's line: the devices are there, their bus is not known. ``pci_address`` is
    empty for a controller that is no PCI function, and where only a text told of the bus. A speed of 0 is not known.
    """

    number: int
    driver: str = ""
    ports: int = 0
    speed_mbit: int = 0
    pci_address: str = ""
    devices: tuple[UsbNode, ...] = ()
    lanes: int = 1


def storage_on(bus: UsbBus) -> tuple[UsbNode, ...]:
    """Return the devices of a bus that are mass storage; ``drivers`` and ``speed_mbit`` say how they run."""
    return tuple(node for node in bus.devices if node.is_storage)


def tree_of(tree: Iterable[UsbBus], pci_address: object) -> tuple[UsbBus, ...]:
    """Return the buses of one controller, given as text or as a PciAddress; buses known from texts alone are nobody's."""
    return tuple(bus for bus in tree if bus.pci_address and bus.pci_address == str(pci_address))


def make_interface(number: int, kind: str, driver: str, code: str) -> UsbInterface:
    """Return an interface; it is storage by its class, or by a storage driver that took a class of its maker's own."""
    storage = code.startswith(_STORAGE) or _STORAGE_DRIVER.match(driver) is not None
    return UsbInterface(number=number, kind=kind, driver=driver, storage=storage, code=code)


def find_class_code(words: str) -> str:
    """Return the code of a class in the words of any usbutils (``Mass Storage``, ``stor.``), empty if there is none."""
    if match := _UNNAMED.match(words):
        return match[1]
    return _CODES.get(words.lower(), "")


def find_class_name(code: str) -> str:
    """Return the words of usb.ids for a class (the first two digits count), empty for one without a name."""
    return _KINDS.get(code[:2].lower(), "")


def parse_speed(text: str | None) -> int:
    """Return the speed in Mbit/s; low speed, which is written as 1.5, counts as 1, what is not told as 0."""
    match = _SPEED.match(text or "")
    return int(match[0]) if match else 0
