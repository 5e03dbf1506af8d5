"""The ACPI tables by which firmware describes an IOMMU: DMAR (Intel VT-d) and IVRS (AMD-Vi)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from harness.core.capture import Capture, Status
from harness.facts.sysfs import read_names, timed_out

_FOLDER = "sys/firmware/acpi/tables"
_HEADER_BYTES = 36
_BODY_OFFSET = 48  # both tables: 12 bytes of fixed fields follow the header
_DRHD, _RMRR = 0, 1
_RMRR_BYTES = 24
_IVHD_TYPES = {0x10, 0x11, 0x40}
_IVMD_TYPES = {0x20, 0x21, 0x22}
_IVMD_BYTES = 32
_STRUCTURE_BYTES = 4  # type and length


class Table(msgspec.Struct, frozen=True):
    """One table: ``status`` is ``present``, ``absent``, ``denied``, ``broken`` (not a table) or ``unknown``; lengths in bytes."""

    status: str = "unknown"
    length: int = 0  # as its header says
    length_read: int = 0
    checksum_valid: bool = False
    oem: str = ""


class MemoryRange(msgspec.Struct, frozen=True):
    """Memory that firmware reserves for devices (RMRR, IVMD): first and last address."""

    first: int
    last: int


class Dmar(msgspec.Struct, frozen=True):
    """Intel's table; ``host_address_width`` in bits, ``units`` counts the remapping units (DRHD)."""

    table: Table = Table()
    host_address_width: int = 0
    interrupt_remapping: bool = False
    x2apic_opt_out: bool = False
    dma_opt_in: bool = False
    units: int = 0
    reserved: tuple[MemoryRange, ...] = ()


class Ivrs(msgspec.Struct, frozen=True):
    """AMD's table; ``ivinfo`` as it stands there, address sizes in bits, ``units`` counts the kinds of IVHD blocks."""

    table: Table = Table()
    ivinfo: int = 0
    physical_address_bits: int = 0
    virtual_address_bits: int = 0
    units: int = 0
    reserved: tuple[MemoryRange, ...] = ()


class Acpi(msgspec.Struct, frozen=True):
    """Both tables, and the names of all that the host has."""

    dmar: Dmar = Dmar()
    ivrs: Ivrs = Ivrs()
    names: tuple[str, ...] = ()


def read_acpi(capture: Capture) -> Acpi:
    """Read both tables; without /sys/firmware (a container) they are unknown, not absent."""
    names = tuple(name for name in read_names(capture, _FOLDER) if name not in {"data", "dynamic"})
    dmar, ivrs = (capture.get(f"{_FOLDER}/{name}").data for name in ("DMAR", "IVRS"))
    return Acpi(
        dmar=parse_dmar(dmar, _status(capture, "DMAR", names)),
        ivrs=parse_ivrs(ivrs, _status(capture, "IVRS", names)),
        names=names,
    )


def parse_table(data: bytes, signature: bytes, status: str = "present") -> Table:
    """Read a table's header; data that is no such table is ``broken``."""
    if status != "present":
        return Table(status)
    if len(data) < _HEADER_BYTES or data[:4] != signature:
        return Table("broken", length_read=len(data))
    (length,) = struct.unpack_from("<I", data, 4)
    oem = b" ".join(part.strip(b"\0 ") for part in (data[10:16], data[16:24])).decode("ascii", "replace")
    valid = len(data) >= length >= _HEADER_BYTES and sum(data[:length]) % 256 == 0
    return Table("present", length, len(data), valid, oem)


def parse_dmar(data: bytes, status: str = "present") -> Dmar:
    """Read a DMAR table; what its length or a structure's length makes unreadable is left out."""
    table = parse_table(data, b"DMAR", status)
    if table.status != "present" or len(data) < _BODY_OFFSET:
        return Dmar(table)
    width, flags = data[36], data[37]
    structures = list(_structures(data, "<HH"))
    ranges = (struct.unpack_from("<QQ", body, 8) for kind, body in structures if kind == _RMRR and len(body) >= _RMRR_BYTES)
    return Dmar(
        table,
        host_address_width=width + 1,
        interrupt_remapping=bool(flags & 1),
        x2apic_opt_out=bool(flags & 2),
        dma_opt_in=bool(flags & 4),
        units=sum(kind == _DRHD for kind, _ in structures),
        reserved=tuple(MemoryRange(first, last) for first, last in ranges),
    )


def parse_ivrs(data: bytes, status: str = "present") -> Ivrs:
    """Read an IVRS table. One unit may have several IVHD blocks of rising type: the largest count of one type is the units'."""
    table = parse_table(data, b"IVRS", status)
    if table.status != "present" or len(data) < _BODY_OFFSET:
        return Ivrs(table)
    (ivinfo,) = struct.unpack_from("<I", data, 36)
    structures = list(_structures(data, "<BxH"))
    kinds = [kind for kind, _ in structures if kind in _IVHD_TYPES]
    ranges = (
        struct.unpack_from("<QQ", body, 16) for kind, body in structures if kind in _IVMD_TYPES and len(body) >= _IVMD_BYTES
    )
    return Ivrs(
        table,
        ivinfo=ivinfo,
        physical_address_bits=ivinfo >> 8 & 0x7F,
        virtual_address_bits=ivinfo >> 15 & 0x7F,
        units=max((kinds.count(kind) for kind in set(kinds)), default=0),
        reserved=tuple(MemoryRange(first, first + length - 1) for first, length in ranges if length),
    )


def _structures(data: bytes, layout: str) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the bytes of each structure; one that runs past the end, or has no length, ends the walk."""
    (declared,) = struct.unpack_from("<I", data, 4)
    end = min(len(data), declared)
    position = _BODY_OFFSET
    while position + _STRUCTURE_BYTES <= end:
        kind, length = struct.unpack_from(layout, data, position)
        if length < _STRUCTURE_BYTES or position + length > end:
            return
        yield kind, data[position : position + length]
        position += length


def _status(capture: Capture, name: str, names: tuple[str, ...]) -> str:
    item = capture.get(f"{_FOLDER}/{name}")
    if item.status is Status.READ:
        return "present"
    if item.status is Status.DENIED:
        return "denied"
    if item.status is Status.TIMED_OUT or timed_out(capture, "acpi") or not names or name in names:
        return "unknown"
    return "absent"
