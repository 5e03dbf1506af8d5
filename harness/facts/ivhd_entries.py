"""The device entries of an IVHD block: which functions an AMD IOMMU translates for, and by which names it knows them."""

from __future__ import annotations

import struct

import msgspec

from harness.core.pci import PciAddress
from harness.facts.acpi_table import Span, read_text, walk

_KINDS = {
    0x00: "pad",
    0x01: "all",
    0x02: "select",
    0x03: "range-start",
    0x04: "range-end",
    0x40: "pad",
    0x42: "alias-select",
    0x43: "alias-range-start",
    0x46: "extended-select",
    0x47: "extended-range-start",
    0x48: "special",
    0xF0: "acpi-hid",
}
_RANGE_END = 0x04
_RANGE_STARTS = {0x03, 0x43, 0x47}
_ALIASES = {0x42, 0x43}
_EXTENDED = {0x46, 0x47}
_SPECIAL = 0x48
_ACPI_HID = 0xF0
_NO_DEVICE = {0x00, 0x01, 0x40, _SPECIAL}
_VARIETIES = {1: "ioapic", 2: "hpet"}
_SHORTEST = 4
_HID_BYTES = 22
_UID_LENGTH_OFFSET = 21
_UID_INTEGER = 1


class IvhdEntry(msgspec.Struct, frozen=True):
    """One entry; ``settings`` are its bits of the device table, ``extended`` more of them (None: the type has none).

    ``device`` is where it stands, or a range starts; ``end`` where that range ends (None: no end follows). ``source`` is the
    address that the device's requests bear, where that is another (an alias, a special device). ``variety`` is ``ioapic`` or
    ``hpet``, known to ACPI by ``handle``; ``hid``, ``cid`` and ``uid`` name a device of ACPI's namespace.
    """

    type: int
    kind: str
    device_id: int
    device: str | None
    settings: int
    end: str | None = None
    source: str | None = None
    extended: int | None = None
    handle: int | None = None
    variety: str = ""
    variety_code: int | None = None
    hid: str = ""
    cid: str = ""
    uid_format: int | None = None
    uid: str = ""


def spell_device(segment: int, device_id: int) -> str:
    """Return a device id of sixteen bits as an address."""
    return str(PciAddress(segment, device_id >> 8, device_id >> 3 & 0x1F, device_id & 7))


def read_entries(data: bytes, span: Span, segment: int, problems: list[str]) -> tuple[IvhdEntry, ...]:
    """Read the entries between two positions of a table; a range's end is told at its start as well."""
    spans = walk(data, span.start, span.end, head=_SHORTEST, measure=_measure, what="device entry", problems=problems)
    entries: list[IvhdEntry] = []
    start: int | None = None
    for found in spans:
        entry = _entry(data, found, segment)
        if found.type == _RANGE_END and start is not None:
            entries[start] = msgspec.structs.replace(entries[start], end=entry.device)
            start = None
        elif found.type == _RANGE_END:
            problems.append(f"the range's end at {found.start:#x} has no start")
        elif found.type in _RANGE_STARTS:
            start = len(entries)
        entries.append(entry)
    return tuple(entries)


def _measure(data: bytes, position: int) -> tuple[int, int]:
    """Return the length that an entry's type gives it: the two highest bits count doublings, an ACPI name tells its own."""
    kind = data[position]
    if kind == _ACPI_HID:
        told = data[position + _UID_LENGTH_OFFSET : position + _HID_BYTES]
        return kind, _HID_BYTES + (told[0] if told else 0)
    return kind, _SHORTEST << (kind >> 6)


def _entry(data: bytes, span: Span, segment: int) -> IvhdEntry:
    kind, device, settings = struct.unpack_from("<BHB", data, span.start)
    entry = IvhdEntry(
        type=kind,
        kind=_KINDS.get(kind, f"type-{kind}"),
        device_id=device,
        device=None if kind in _NO_DEVICE else spell_device(segment, device),
        settings=settings,
    )
    more = data[span.start + _SHORTEST : span.end]
    if kind in _ALIASES:
        (source,) = struct.unpack_from("<xHx", more)
        return msgspec.structs.replace(entry, source=spell_device(segment, source))
    if kind in _EXTENDED:
        return msgspec.structs.replace(entry, extended=int.from_bytes(more, "little"))
    if kind == _SPECIAL:
        handle, source, variety = struct.unpack("<BHB", more)
        name = _VARIETIES.get(variety, f"variety-{variety}")
        source_name = spell_device(segment, source)
        return msgspec.structs.replace(entry, source=source_name, handle=handle, variety=name, variety_code=variety)
    return _named(entry, more) if kind == _ACPI_HID else entry


def _named(entry: IvhdEntry, more: bytes) -> IvhdEntry:
    hid, cid, uid_format = struct.unpack_from("<8s8sB", more)
    uid = more[_HID_BYTES - _SHORTEST :]
    return msgspec.structs.replace(
        entry,
        hid=read_text(hid),
        cid=read_text(cid),
        uid_format=uid_format,
        uid=str(int.from_bytes(uid, "little")) if uid_format == _UID_INTEGER else read_text(uid),
    )
