"""The ACPI tables by which firmware describes an IOMMU: DMAR (Intel VT-d) and IVRS (AMD-Vi).

They come as files of sysfs, or as dumps in hexadecimal, under the same path or as acpidump's text (``commands/acpidump``).
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from harness.core.capture import Capture, Status
from harness.facts import dmar as intel
from harness.facts import ivrs as amd
from harness.facts.acpi_text import Dump, parse_dump, read_printed
from harness.facts.disagreement import Disagreement
from harness.facts.dmar import Dmar, parse_dmar
from harness.facts.ivrs import Ivrs, parse_ivrs
from harness.facts.sysfs import read_names, timed_out

_FOLDER = "sys/firmware/acpi/tables"
_DUMP = "commands/acpidump"
_CHECKSUM = 9
_NEVER_MISSING = "FACP"  # where it is, the folder was listed or copied whole
_INTEL, _AMD = (tuple(name.decode() for name in names) for names in (intel.SIGNATURES, amd.SIGNATURES))


class Acpi(msgspec.Struct, frozen=True):
    """Both tables, and the names of all that the host has."""

    dmar: Dmar = Dmar()
    ivrs: Ivrs = Ivrs()
    names: tuple[str, ...] = ()


class _Found(NamedTuple):
    """A table's bytes, how they were come by, and from where."""

    status: str
    data: bytes = b""
    source: str = ""


def read_acpi(capture: Capture) -> Acpi:
    """Read both tables; without /sys/firmware (a container) they are unknown, not absent."""
    dump = parse_dump(capture.get(_DUMP).data)
    listed = _read_listed(capture)
    dmar, ivrs = (_find(capture, names, listed, dump) for names in (_INTEL, _AMD))
    return Acpi(
        dmar=parse_dmar(dmar.data, dmar.status, dmar.source),
        ivrs=parse_ivrs(ivrs.data, ivrs.status, ivrs.source),
        names=listed or tuple(sorted(dump.names)),
    )


def find_acpi_disagreements(capture: Capture) -> tuple[Disagreement, ...]:
    """Return where acpidump's text shows another table than sysfs, which is believed."""
    dump = parse_dump(capture.get(_DUMP).data)
    found = []
    for names in (_INTEL, _AMD):
        known, said = _find_in_sysfs(capture, names, _read_listed(capture)), _find_in_dump(dump, names)
        if said is not None and known.status in {"present", "absent"} and known.data != said.data:
            found.append(Disagreement(names[0], "ACPI table", _describe(known.data), _describe(said.data), _DUMP))
    return tuple(found)


def _read_listed(capture: Capture) -> tuple[str, ...]:
    return tuple(name for name in read_names(capture, _FOLDER) if name not in {"data", "dynamic"})


def _find(capture: Capture, names: tuple[str, ...], listed: tuple[str, ...], dump: Dump) -> _Found:
    """Return the table of sysfs; where that is not to be read, the one that acpidump shows."""
    found = _find_in_sysfs(capture, names, listed)
    if found.status in {"present", "absent"}:
        return found
    said = _find_in_dump(dump, names)
    if said is not None:
        return said
    return _Found("absent") if found.status == "unknown" and dump.complete and not _is_named(names, listed) else found


def _find_in_sysfs(capture: Capture, names: tuple[str, ...], listed: tuple[str, ...]) -> _Found:
    items = [capture.get(f"{_FOLDER}/{name}{number}") for name in names for number in ("", "1")]
    for item in items:
        # An empty file is what a copy leaves that was refused; the kernel has no empty tables.
        if item.status is Status.READ and item.data:
            return _Found("present", read_printed(item.data, names) or item.data, "sysfs")
    if any(item.status is Status.DENIED for item in items):
        return _Found("denied")
    cut_off = timed_out(capture, "acpi") or any(item.status is Status.TIMED_OUT for item in items)
    is_list = bool(capture.text(_FOLDER)) or _NEVER_MISSING in listed
    return _Found("unknown" if cut_off or not is_list or _is_named(names, listed) else "absent")


def _find_in_dump(dump: Dump, names: tuple[str, ...]) -> _Found | None:
    data = next((data for name in names if (data := dump.find(name))), b"")
    return _Found("present", data, _DUMP) if data else None


def _describe(data: bytes) -> str:
    return (
        f"{len(data)} bytes, checksum {data[_CHECKSUM]:02x}"
        if len(data) > _CHECKSUM
        else f"{len(data)} bytes"
        if data
        else "absent"
    )


def _is_named(names: tuple[str, ...], listed: tuple[str, ...]) -> bool:
    """Return whether a list has one of the tables; Linux numbers tables of one name from 1."""
    return any(name.removesuffix("1") in names for name in listed)
