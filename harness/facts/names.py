"""Names of PCI ids and classes, from the runner's own hwdata: a board need not have any."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from harness.core.pci import USB_CLASS

_PLACES = (Path("/usr/share/hwdata/pci.ids"), Path("/usr/share/misc/pci.ids"))
_VENDOR = re.compile(r"^([0-9a-f]{4})  (.+)$")
_DEVICE = re.compile(r"^\t([0-9a-f]{4})  (.+)$")
_KEY = re.compile(r"^([0-9a-f]{4})(?::([0-9a-f]{4}))?$")
_CLASS = re.compile(r"^(?:C ([0-9a-f]{2})|\t([0-9a-f]{2})|\t\t([0-9a-f]{2}))  (.+)$")
_VENDOR_LINE = re.compile(rb"\n([0-9a-f]{4})  ([^\n]+)")
_FIRST_CLASS = b"\nC "

# What readiness must know even on a runner without hwdata. Old pci.ids write "USB Controller": names are compared in lower case.
_KNOWN_CLASSES = {"usb controller": USB_CLASS, "pci bridge": 0x0604, "host bridge": 0x0600, "isa bridge": 0x0601}
_USB_INTERFACES = {
    0x00: "UHCI",
    0x10: "OHCI",
    0x20: "EHCI",
    0x30: "xHCI",
    0x40: "USB4 Host Interface",
    0x80: "Unspecified",
    0xFE: "USB Device (xDCI)",
}


class Classified(Protocol):
    """What has a class: a PCI function."""

    @property
    def class_code(self) -> int:
        """Return class, subclass and programming interface as one number."""

    @property
    def prog_if_known(self) -> bool:
        """Return whether the last byte of the class was told."""


class PciNames(Mapping[str, str]):
    """The names in a pci.ids file by id (``1033``, ``1033:0194``); a device is looked up among its vendor's when it is asked for.

    The few ids of a host are found in a third of the time that parsing the whole file takes.
    """

    def __init__(self, data: bytes) -> None:
        self._data = b"\n" + data
        self._vendors: dict[str, tuple[str, int, int]] | None = None

    def __getitem__(self, key: str) -> str:
        """Return a name; KeyError where the file has none."""
        match = _KEY.match(key)
        if match is None:
            raise KeyError(key)
        if self._vendors is None:
            self._vendors = self._find_vendors()
        name, begin, end = self._vendors[match[1]]
        if match[2] is None:
            return name
        at = self._data.find(f"\n\t{match[2]}  ".encode(), begin, end)
        if at < 0:
            raise KeyError(key)
        stop = self._data.find(b"\n", at + 1)
        line = self._data[at + len("\n\t0194  ") : stop if stop >= 0 else end]
        return f"{name} {line.decode('utf-8', 'replace').rstrip()}"

    def __iter__(self) -> Iterator[str]:
        """Yield every id in the file; this parses all of it."""
        return iter(parse_pci_ids(self._data.decode("utf-8", "replace")))

    def __len__(self) -> int:
        """Return how many ids the file names."""
        return sum(1 for _ in self)

    def _find_vendors(self) -> dict[str, tuple[str, int, int]]:
        """Return each vendor's name, and between which bytes its devices stand."""
        first_class = self._data.find(_FIRST_CLASS)
        end = first_class if first_class >= 0 else len(self._data)
        lines = list(_VENDOR_LINE.finditer(self._data, 0, end))
        ends = [line.start() for line in lines[1:]] + [end]
        return {
            line[1].decode(): (line[2].decode("utf-8", "replace").rstrip(), line.end(), stop)
            for line, stop in zip(lines, ends, strict=False)
        }


@functools.cache
def read_pci_names() -> Mapping[str, str]:
    """Return the name of each id that this machine knows; empty without hwdata."""
    return PciNames(_read_file())


@functools.cache
def read_class_names() -> Mapping[str, str]:
    """Return the names of classes by their digits: ``0c``, ``0c03``, ``0c0330``; empty without hwdata."""
    data = _read_file()
    first = data.find(_FIRST_CLASS)
    return parse_class_names(data[first:].decode("utf-8", "replace")) if first >= 0 else {}


@functools.cache
def read_class_codes() -> Mapping[str, int]:
    """Return class and subclass (``0x0c03``) by the subclass's name in lower case; a name that two of them have tells nothing."""
    codes: dict[str, int] = {}
    twice = set()
    for digits, name in read_class_names().items():
        if len(digits) == len("0c03"):
            known = codes.setdefault(name.lower(), int(digits, 16))
            twice |= {name.lower()} if known != int(digits, 16) else set()
    return _KNOWN_CLASSES | {name: code for name, code in codes.items() if name not in twice}


def usb_interface(device: Classified) -> str:
    """Return a USB controller's programming interface in words (``xHCI``), empty where it is unknown or none of USB's."""
    if device.class_code >> 8 != USB_CLASS or not device.prog_if_known:
        return ""
    return _USB_INTERFACES.get(device.class_code & 0xFF, "")


def parse_class_names(text: str) -> dict[str, str]:
    """Return ``{"0c": "Serial bus controller", "0c03": "USB controller", "0c0330": "XHCI"}`` of a pci.ids file's class lines."""
    names = {}
    parts = ["", "", ""]
    for line in text.splitlines():
        match = _CLASS.match(line)
        if match is None:
            continue
        depth = (match.lastindex or 0) and next(at for at in range(3) if match[at + 1])
        parts[depth:] = [match[depth + 1], *[""] * (2 - depth)]
        if all(parts[: depth + 1]):
            names["".join(parts)] = match[4].strip()
    return names


def parse_pci_ids(text: str) -> dict[str, str]:
    """Return ``{"1033": "NEC Corporation", "1033:0194": "NEC Corporation uPD720200 ..."}`` of a pci.ids file."""
    names = {}
    vendor = ""
    for line in text.splitlines():
        if line.startswith("C "):  # classes follow, in the same shape
            break
        if match := _VENDOR.match(line):
            vendor = match[1]
            names[vendor] = match[2]
        elif vendor and (match := _DEVICE.match(line)):
            names[f"{vendor}:{match[1]}"] = f"{names[vendor]} {match[2]}"
    return names


def _read_file() -> bytes:
    place = next((place for place in _PLACES if place.is_file()), None)
    return place.read_bytes() if place else b""
