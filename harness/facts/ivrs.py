"""IVRS, the table by which firmware describes AMD's IOMMU (AMD I/O Virtualization Technology specification, chapter 5)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from harness.core.pci import PciAddress
from harness.facts.acpi_table import (
    BODY_OFFSET,
    Span,
    Table,
    UnknownStructure,
    find_end,
    is_whole,
    name_bits,
    parse_table,
    walk,
)
from harness.facts.ivhd_entries import IvhdEntry, read_entries, spell_device

SIGNATURES = (b"IVRS",)

_HEAD = 4
_IVHD_10 = 0x10
_IVHD_BYTES = {_IVHD_10: 24, 0x11: 40, 0x40: 40}
_IVMD_KINDS = {0x20: "all", 0x21: "select", 0x22: "range"}
_IVMD_ALL, _IVMD_SELECT, _IVMD_RANGE = _IVMD_KINDS
_IVMD_BYTES = 32
_IVMD_FLAGS = ("unity", "read", "write", "exclusion")
_IVHD_FLAGS = ("ht-tunnel", "pass-pw", "response-pass-pw", "isochronous", "iotlb", "coherent")
_IVHD_10_FLAGS = (*_IVHD_FLAGS, "prefetch", "ppr")
_GUEST_ADDRESS_BITS = {2: 48}
_LAST_ADDRESS = (1 << 64) - 1
# Where a feature's bit is: in the feature field of type 10h, and in the EFR image of the later types.
_FEATURE_BITS = {"x2apic": (0, 2), "guest_translation": (2, 4), "guest_apic": (6, 7)}


class Ivhd(msgspec.Struct, frozen=True):
    """A description of one unit, the function at ``device``; one unit may have several, of rising ``type`` (10h, 11h, 40h).

    ``info`` holds ``msi_number`` and ``unit_id``. ``features`` is the feature reporting field (10h) or the attributes
    (11h, 40h); ``efr`` and ``efr2`` are the images of two registers, which 10h lacks (None). The three features are
    None where the table does not tell: an empty field of type 10h, a later type without ``Ivrs.efr_supported``.
    """

    type: int
    flags: int
    flag_names: tuple[str, ...]
    device: str
    capability_offset: int
    base_address: int
    segment: int
    info: int
    msi_number: int
    unit_id: int
    features: int
    efr: int | None = None
    efr2: int | None = None
    x2apic: bool | None = None
    guest_translation: bool | None = None
    guest_apic: bool | None = None
    entries: tuple[IvhdEntry, ...] = ()


class Ivmd(msgspec.Struct, frozen=True):
    """Memory reserved for ``all`` devices of a segment, for one (``select``) or a ``range`` from ``device`` to ``last_device``.

    ``first`` and ``last`` are addresses. ``malformed``: it starts at 0, has no length, or passes the end of memory; some
    firmware leaves such a block empty, and AMD-Vi then fails to start.
    """

    type: int
    kind: str
    flags: int
    flag_names: tuple[str, ...]
    segment: int
    device: str | None
    last_device: str | None
    aux: int
    first: int
    length: int
    last: int
    malformed: bool = False


class Ivrs(msgspec.Struct, frozen=True):
    """AMD's table; ``ivinfo`` as it stands there and decoded, address sizes in bits (0: not told).

    ``units`` counts the units: one may have several kinds of IVHD blocks. ``ht_ats_reserved``: addresses of HyperTransport are
    no addresses for translation requests. ``dma_remap``: firmware asks for protection of memory before the system starts.
    ``problems`` tells what is damaged or makes no sense; what is whole was decoded all the same.
    """

    table: Table = Table()
    ivinfo: int = 0
    efr_supported: bool = False
    dma_remap: bool = False
    gva_size: int = 0  # the code; 2 is 48 bits
    guest_virtual_address_bits: int = 0
    physical_address_bits: int = 0
    virtual_address_bits: int = 0
    ht_ats_reserved: bool = False
    units: int = 0
    ivhd: tuple[Ivhd, ...] = ()
    ivmd: tuple[Ivmd, ...] = ()
    unknown: tuple[UnknownStructure, ...] = ()
    problems: tuple[str, ...] = ()


_Structure = Ivhd | Ivmd | UnknownStructure


def parse_ivrs(data: bytes, status: str = "present", source: str = "") -> Ivrs:
    """Decode an IVRS table; what its length or a structure's length makes unreadable is left out and told."""
    table = parse_table(data, SIGNATURES, status, source)
    if not table.has_body:
        return Ivrs(table, problems=("the table ends before its fixed fields do",) if table.status == "present" else ())
    problems: list[str] = []
    (ivinfo,) = struct.unpack_from("<I", data, 36)
    efr_supported = bool(ivinfo & 1)
    found = tuple(_decode(data, find_end(data, table, problems), problems, efr_supported=efr_supported))
    ivhd = tuple(item for item in found if isinstance(item, Ivhd))
    kinds = [block.type for block in ivhd]
    gva_size = ivinfo >> 5 & 7
    return Ivrs(
        table,
        ivinfo=ivinfo,
        efr_supported=efr_supported,
        dma_remap=bool(ivinfo & 2),
        gva_size=gva_size,
        guest_virtual_address_bits=_GUEST_ADDRESS_BITS.get(gva_size, 0),
        physical_address_bits=ivinfo >> 8 & 0x7F,
        virtual_address_bits=ivinfo >> 15 & 0x7F,
        ht_ats_reserved=bool(ivinfo >> 22 & 1),
        units=max((kinds.count(kind) for kind in set(kinds)), default=0),
        ivhd=ivhd,
        ivmd=tuple(item for item in found if isinstance(item, Ivmd)),
        unknown=tuple(item for item in found if isinstance(item, UnknownStructure)),
        problems=tuple(problems),
    )


def ivmd_of(ivrs: Ivrs, address: PciAddress | str) -> tuple[Ivmd, ...]:
    """Return the sound blocks of reserved memory that firmware ties to a function."""
    wanted = PciAddress.parse(str(address))
    return tuple(block for block in ivrs.ivmd if not block.malformed and _concerns(block, wanted))


def _concerns(block: Ivmd, wanted: PciAddress) -> bool:
    if block.segment != wanted.domain or block.type == _IVMD_ALL:
        return block.segment == wanted.domain
    first, last = (PciAddress.parse(address) if address else None for address in (block.device, block.last_device))
    if first is None:
        return False
    return first <= wanted <= last if last else first == wanted


def _decode(data: bytes, end: int, problems: list[str], *, efr_supported: bool) -> Iterator[_Structure]:
    for span in walk(data, BODY_OFFSET, end, head=_HEAD, measure=_measure, what="structure", problems=problems):
        if span.type in _IVHD_BYTES:
            if is_whole(span, _IVHD_BYTES[span.type], "IVHD", problems):
                yield _ivhd(data, span, problems, efr_supported=efr_supported)
        elif span.type in _IVMD_KINDS:
            if is_whole(span, _IVMD_BYTES, "IVMD", problems):
                yield _ivmd(data, span, problems)
        else:
            yield UnknownStructure(span.type, span.length)


def _measure(data: bytes, position: int) -> tuple[int, int]:
    kind, length = struct.unpack_from("<BxH", data, position)
    return kind, length


def _ivhd(data: bytes, span: Span, problems: list[str], *, efr_supported: bool) -> Ivhd:
    kind, flags, _, device, capability, base, segment, info, features = struct.unpack_from("<BBHHHQHHI", data, span.start)
    old = kind == _IVHD_10
    efr, efr2 = (None, None) if old else struct.unpack_from("<QQ", data, span.start + 24)
    # Without the flag in ivinfo, Linux (5.11) does not look at the image either: firmware may have left it empty.
    # The first revision had no features in type 10h: zeroes there say nothing.
    register = (features or None) if old else efr if efr_supported else None
    told = {name: None if register is None else bool(register >> bits[not old] & 1) for name, bits in _FEATURE_BITS.items()}
    if base == 0:
        problems.append(f"the IVHD at {span.start:#x} has its registers at address 0")
    return Ivhd(
        type=kind,
        flags=flags,
        flag_names=name_bits(flags, _IVHD_10_FLAGS if old else _IVHD_FLAGS),
        device=spell_device(segment, device),
        capability_offset=capability,
        base_address=base,
        segment=segment,
        info=info,
        msi_number=info & 0x1F,
        unit_id=info >> 8 & 0x1F,
        features=features,
        efr=efr,
        efr2=efr2,
        **told,
        entries=read_entries(data, Span(kind, span.start + _IVHD_BYTES[kind], span.end), segment, problems),
    )


def _ivmd(data: bytes, span: Span, problems: list[str]) -> Ivmd:
    # The segment lies in bytes that were reserved before Linux 6.0 learned of it: 0 in older tables.
    kind, flags, _, device, aux, segment, first, length = struct.unpack_from("<BBHHHH6xQQ", data, span.start)
    last = first + length - 1 if length else first
    malformed = first == 0 or length == 0 or last > _LAST_ADDRESS
    if malformed:
        problems.append(f"the IVMD at {span.start:#x} is malformed: it starts at {first:#x} and has {length:#x} bytes")
    return Ivmd(
        type=kind,
        kind=_IVMD_KINDS[kind],
        flags=flags,
        flag_names=name_bits(flags, _IVMD_FLAGS),
        segment=segment,
        device=None if kind == _IVMD_ALL else spell_device(segment, device),
        last_device=spell_device(segment, aux) if kind == _IVMD_RANGE else None,
        aux=aux,
        first=first,
        length=length,
        last=min(last, _LAST_ADDRESS),
        malformed=malformed,
    )
