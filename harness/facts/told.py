"""What a command's text says of one PCI function: what it leaves out is not known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from harness.core.pci import PciAddress

# Which programming interface a driver of a function of class 0c03 speaks; - and _ are the same in a module's name.
_INTERFACES = (("xhci", 0x30), ("ehci", 0x20), ("ohci", 0x10), ("uhci", 0x00), ("thunderbolt", 0x40))
_CLASS = re.compile(r"\[((?:[0-9a-f]{2}){2,3})\]$|^(?:Class )?((?:[0-9a-f]{2}){2,3})$", re.IGNORECASE)
_NOT_TOLD = (None, "", ())
# What may change while a host runs: the text that was printed last is right.
_VOLATILE = ("driver", "modules", "group", "interrupts", "link_speed", "link_width")


class Told(msgspec.Struct, frozen=True):
    """One function, as one text shows it; None, or empty, where the text does not tell.

    ``kind`` is class and subclass (``0x0c03``). ``driver`` is empty where the text tells that there is none. ``flr`` is what the
    capabilities say of a function level reset. ``path`` is the place in sysfs that the bridges above make.
    """

    address: str
    id: str = ""
    kind: int | None = None
    prog_if: int | None = None
    name: str = ""
    subsystem: str = ""
    revision: int | None = None
    driver: str | None = None
    modules: tuple[str, ...] = ()
    group: str | None = None
    numa_node: int | None = None
    link_speed: str = ""
    link_width: str = ""
    max_link_speed: str = ""
    max_link_width: str = ""
    interrupts: str = ""
    slot: str = ""
    label: str = ""
    flr: bool | None = None
    path: str = ""

    def contradicts(self, other: Told) -> bool:
        """Return whether both cannot be the same function of one host."""
        for field in ("id", "kind", "prog_if"):
            mine, others = getattr(self, field), getattr(other, field)
            if mine not in _NOT_TOLD and others not in _NOT_TOLD:
                if mine != others:
                    return True
                if field == "id":
                    return False  # names may come from two versions of pci.ids
        mine, others = self.name.rstrip("."), other.name.rstrip(".")  # what is too long for lspci's buffer ends in dots
        return bool(mine and others) and not (mine.startswith(others) or others.startswith(mine))


def find_address(text: str) -> str:
    """Return an address as sysfs spells it, empty for anything else; its domain may be short (``ff:02:05.0``)."""
    domain, colon, rest = text.strip().rpartition(":")[0].rpartition(":")
    full = f"{domain.zfill(4)}:{rest}:{text.strip().rpartition(':')[2]}" if colon else text
    try:
        return str(PciAddress.parse(full))
    except ValueError:
        return ""


def interface_of(driver: str | None) -> int | None:
    """Return the programming interface that a USB controller has if this driver works with it, None where that is not known."""
    return next((code for start, code in _INTERFACES if driver and driver.lower().startswith(start)), None)


def split_kind(text: str, classes: Mapping[str, int]) -> int | None:
    """Return class and subclass of ``USB controller [0c03]``, ``Class 0c03``, ``0c03`` or, by its name, ``USB controller``."""
    digits = _class_digits(text)
    return int(digits[:4], 16) if digits else classes.get(text.strip().lower())


def split_prog_if(text: str) -> int | None:
    """Return the programming interface where a class stands with it: ``Class 0c0330``, as toybox prints it with -e."""
    return int(digits[4:], 16) if (digits := _class_digits(text))[4:] else None


def _class_digits(text: str) -> str:
    match = _CLASS.search(text.strip())
    return match[1] or match[2] if match else ""


def join_outputs(outputs: Iterable[Mapping[str, Told]]) -> tuple[Told, ...]:
    """Return what several outputs of one text tell together, by address.

    A later one fills in what was not told and has the last word on what changes at run time. One that contradicts the first ones
    is left out as a whole: people paste their guest's list below that of the host.
    """
    known: dict[str, Told] = {}
    for output in outputs:
        if any(told.contradicts(known[address]) for address, told in output.items() if address in known):
            continue
        known |= {address: join(known[address], told) if address in known else told for address, told in output.items()}
    return tuple(known[address] for address in sorted(known, key=PciAddress.parse))


def fill(first: Told, later: Told) -> Told:
    """Return the first with what it does not tell from the later."""
    missing = {name: getattr(later, name) for name in Told.__struct_fields__ if getattr(first, name) in _NOT_TOLD}
    if first.driver is not None:
        missing.pop("driver", None)
    return msgspec.structs.replace(first, **missing)


def join(earlier: Told, later: Told) -> Told:
    """Return what both tell of one function; of what changes at run time the later tells more truly."""
    newer = {name: value for name in _VOLATILE if (value := getattr(later, name)) not in _NOT_TOLD}
    if later.driver is not None:
        newer["driver"] = later.driver
    return msgspec.structs.replace(fill(earlier, later), **newer)
