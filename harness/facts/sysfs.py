"""Values as sysfs writes them: links, numbers, the PCI functions on a path."""

from __future__ import annotations

import posixpath
import re

from harness.core.capture import Capture, Item, Status
from harness.core.pci import PciAddress

_PCI_ADDRESS = re.compile(r"^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$")
_NUMBER = re.compile(r"^[+-]?(?:0[xX][0-9a-fA-F]{1,16}|[0-9]{1,18})$")


def parse_number(text: str | None) -> int | None:
    """Return ``0x1033`` or ``42`` as a number, None for anything else."""
    if text is None or not _NUMBER.match(text):
        return None
    return int(text, 16) if "x" in text.lower() else int(text)


def read_number(capture: Capture, name: str) -> int | None:
    """Return the number in an attribute, None if it was not read or is none."""
    return parse_number(capture.text(name))


def read_path(capture: Capture, name: str) -> str | None:
    """Return where a link leads, as a real path with its leading slash: ``/sys/devices/pci0000:00/0000:00:04.0``.

    The probe gives real paths; a folder or archive of a host gives relative links, which are resolved from the link's own folder.
    """
    target = capture.text(name)
    if not target:
        return None
    return posixpath.normpath(posixpath.join("/", posixpath.dirname(name), target))


def read_link_name(capture: Capture, name: str) -> str | None:
    """Return the last part of where a link leads: the driver's or the group's name."""
    target = capture.text(name)
    return target.rstrip("/").rsplit("/", 1)[-1] or None if target else None


def read_names(capture: Capture, folder: str) -> tuple[str, ...]:
    """Return what a folder holds: as the probe lists it, or as a capture made of files shows it."""
    listed = (capture.text(folder) or "").split()
    read = [name for name in capture.children(folder) if _came(capture, f"{folder}/{name}")]
    return tuple(sorted({*listed, *read}))


def _came(capture: Capture, name: str) -> bool:
    if capture.get(name).status is not Status.ABSENT:
        return True
    return any(_came(capture, f"{name}/{child}") for child in capture.children(name))


def timed_out(capture: Capture, section: str) -> bool:
    """Return whether a section of the probe did not end in time, so that what is absent from it is in truth unknown."""
    return capture.get(f"sections/{section}").status is Status.TIMED_OUT


def exists(item: Item) -> bool:
    """Return whether something is there, readable or not."""
    return item.status in {Status.READ, Status.DENIED}


def pci_addresses_on(path: str) -> tuple[str, ...]:
    """Return the PCI functions on a sysfs path, the nearest to the processor first."""
    return tuple(str(PciAddress.parse(part)) for part in path.split("/") if _PCI_ADDRESS.match(part))
