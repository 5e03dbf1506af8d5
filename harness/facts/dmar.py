"""DMAR, the table by which firmware describes Intel's IOMMU (VT-d specification 4.1, chapter 8)."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterable, Iterator

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
    read_text,
    walk,
)
from harness.facts.pci import PciDevice
from harness.facts.sysfs import pci_addresses_on

SIGNATURES = (b"DMAR", b"RMAD", b"XMAR")
"""Xen hides the table from dom0 under the second name (before 4.2: the third), with its checksum kept right."""

_BRIDGE = "pci-bridge"
_SCOPE_KINDS = {1: "pci-endpoint", 2: _BRIDGE, 3: "ioapic", 4: "hpet", 5: "namespace-device"}
_SCOPE_HEAD = 6
_SCOPE_FLAGS = ("request-without-pasid-nested", "request-without-pasid-write-snoop", "request-without-pasid-page-snoop")
_SCOPE_FLAG_NAMES = (*_SCOPE_FLAGS, "atc-hardened", "atc-required")
_HEAD = 4
_LAST_DEVICE, _LAST_FUNCTION = 0x1F, 7
_SIZE_MASK = 0xF
_PAGE = 4096


class DeviceScope(msgspec.Struct, frozen=True):
    """One device, or a bridge and all below it. ``path`` is ``1c.7/00.0``: a step a bridge, from ``start_bus`` downwards.

    ``address`` is the device's where the path has one step; a longer one needs the bridges' bus numbers (``resolve_scope``).
    ``enumeration_id`` is an IOAPIC's APIC id, an HPET's number or the number of an ANDD. ``flags`` came with VT-d 4.
    """

    type: int
    kind: str
    enumeration_id: int
    start_bus: int
    path: str
    flags: int = 0
    flag_names: tuple[str, ...] = ()
    address: str | None = None


class Drhd(msgspec.Struct, frozen=True):
    """A remapping unit; ``size`` of its registers in bytes. ``include_all``: of its segment, all that no other unit names."""

    register_base: int
    segment: int
    flags: int
    include_all: bool
    size: int
    scopes: tuple[DeviceScope, ...] = ()


class Rmrr(msgspec.Struct, frozen=True):
    """Memory that the named devices must always reach: first and last address."""

    segment: int
    first: int
    last: int
    scopes: tuple[DeviceScope, ...] = ()


class Atsr(msgspec.Struct, frozen=True):
    """Root ports that support address translation services: the named, or all of a segment."""

    segment: int
    flags: int
    all_ports: bool
    scopes: tuple[DeviceScope, ...] = ()


class Rhsa(msgspec.Struct, frozen=True):
    """The NUMA node (proximity domain) of the unit with these registers."""

    register_base: int
    proximity_domain: int


class Andd(msgspec.Struct, frozen=True):
    """A device in ACPI's namespace that a scope may name by its number."""

    device_number: int
    name: str


class Satc(msgspec.Struct, frozen=True):
    """Devices of the SoC with a translation cache; ``atc_required``: they work only with it switched on."""

    segment: int
    flags: int
    atc_required: bool
    scopes: tuple[DeviceScope, ...] = ()


class Sidp(msgspec.Struct, frozen=True):
    """Devices of the SoC with properties, told by their scopes' flags."""

    segment: int
    scopes: tuple[DeviceScope, ...] = ()


class Dmar(msgspec.Struct, frozen=True):
    """Intel's table; ``host_address_width`` in bits, ``units`` counts the remapping units (DRHD).

    ``problems`` tells what is damaged or makes no sense; what is whole was decoded all the same.
    """

    table: Table = Table()
    host_address_width: int = 0
    flags: int = 0
    interrupt_remapping: bool = False
    x2apic_opt_out: bool = False
    dma_opt_in: bool = False
    units: int = 0
    drhd: tuple[Drhd, ...] = ()
    rmrr: tuple[Rmrr, ...] = ()
    atsr: tuple[Atsr, ...] = ()
    rhsa: tuple[Rhsa, ...] = ()
    andd: tuple[Andd, ...] = ()
    satc: tuple[Satc, ...] = ()
    sidp: tuple[Sidp, ...] = ()
    unknown: tuple[UnknownStructure, ...] = ()
    problems: tuple[str, ...] = ()


_Structure = Drhd | Rmrr | Atsr | Rhsa | Andd | Satc | Sidp | UnknownStructure
_Decoder = Callable[[bytes, Span, list[str]], _Structure]


def parse_dmar(data: bytes, status: str = "present", source: str = "") -> Dmar:
    """Decode a DMAR table; what its length or a structure's length makes unreadable is left out and told."""
    table = parse_table(data, SIGNATURES, status, source)
    if not table.has_body:
        return Dmar(table, problems=("the table ends before its fixed fields do",) if table.status == "present" else ())
    problems: list[str] = []
    found = tuple(_decode(data, find_end(data, table, problems), problems))
    width, flags = data[36], data[37]
    drhd = tuple(item for item in found if isinstance(item, Drhd))
    return Dmar(
        table,
        host_address_width=width + 1,
        flags=flags,
        interrupt_remapping=bool(flags & 1),
        x2apic_opt_out=bool(flags & 2),
        dma_opt_in=bool(flags & 4),
        units=len(drhd),
        drhd=drhd,
        rmrr=tuple(item for item in found if isinstance(item, Rmrr)),
        atsr=tuple(item for item in found if isinstance(item, Atsr)),
        rhsa=tuple(item for item in found if isinstance(item, Rhsa)),
        andd=tuple(item for item in found if isinstance(item, Andd)),
        satc=tuple(item for item in found if isinstance(item, Satc)),
        sidp=tuple(item for item in found if isinstance(item, Sidp)),
        unknown=tuple(item for item in found if isinstance(item, UnknownStructure)),
        problems=tuple(problems),
    )


def resolve_scope(scope: DeviceScope, segment: int, pci: Iterable[PciDevice]) -> str | None:
    """Return the address of a scope's device, found through the bridges on its path; None if one of them is not known.

    A bridge's secondary bus is read off a function behind it: where there is none, the way ends.
    """
    if scope.address is not None:
        return scope.address
    steps = [_parse_step(step) for step in scope.path.split("/")]
    bus: int | None = scope.start_bus
    address = None
    for step in steps:
        bus = bus if address is None else _secondary_bus(address, pci)
        if step is None or bus is None:
            return None
        address = _spell(segment, bus, *step)
        if address is None:
            return None
    return address


def covers(scope: DeviceScope, segment: int, address: PciAddress | str, pci: Iterable[PciDevice]) -> bool:
    """Return whether a scope names a function, or a bridge above it."""
    functions = tuple(pci)
    named = resolve_scope(scope, segment, functions)
    if named is None or scope.kind != _BRIDGE:
        return named == str(address)
    device = next((function for function in functions if function.address == str(address)), None)
    return named == str(address) or (device is not None and named in pci_addresses_on(device.path))


def rmrr_of(dmar: Dmar, address: PciAddress | str, pci: Iterable[PciDevice]) -> tuple[Rmrr, ...]:
    """Return the reserved memory that firmware ties to a function, by its own name or by a bridge's above it."""
    functions = tuple(pci)
    return tuple(
        region for region in dmar.rmrr if any(covers(scope, region.segment, address, functions) for scope in region.scopes)
    )


def rmrr_unresolved(dmar: Dmar, pci: Iterable[PciDevice]) -> tuple[Rmrr, ...]:
    """Return the reserved memory of devices that the host does not show: whose it is cannot be known."""
    functions = tuple(pci)
    return tuple(
        region for region in dmar.rmrr if any(resolve_scope(scope, region.segment, functions) is None for scope in region.scopes)
    )


def _decode(data: bytes, end: int, problems: list[str]) -> Iterator[_Structure]:
    for span in walk(data, BODY_OFFSET, end, head=_HEAD, measure=_measure, what="structure", problems=problems):
        name, fixed, decode = _DECODERS.get(span.type, ("structure", _HEAD, _unknown))
        if is_whole(span, fixed, name, problems):
            yield decode(data, span, problems)


def _measure(data: bytes, position: int) -> tuple[int, int]:
    kind, length = struct.unpack_from("<HH", data, position)
    return kind, length


def _drhd(data: bytes, span: Span, problems: list[str]) -> Drhd:
    flags, size, segment, base = struct.unpack_from("<BBHQ", data, span.start + 4)
    if base == 0:
        problems.append(f"the DRHD at {span.start:#x} has its registers at address 0")
    scopes = _scopes(data, span, 16, segment, problems)
    # VT-d 4.0 made four bits of a reserved byte the size, as a power of two; they are 0, a page, in all older tables.
    return Drhd(base, segment, flags, bool(flags & 1), _PAGE << (size & _SIZE_MASK), scopes)


def _rmrr(data: bytes, span: Span, problems: list[str]) -> Rmrr:
    segment, first, last = struct.unpack_from("<HQQ", data, span.start + 6)
    if last < first:
        problems.append(f"the RMRR at {span.start:#x} ends at {last:#x}, before it starts at {first:#x}")
    return Rmrr(segment, first, last, _scopes(data, span, 24, segment, problems))


def _atsr(data: bytes, span: Span, problems: list[str]) -> Atsr:
    flags, segment = struct.unpack_from("<BxH", data, span.start + 4)
    return Atsr(segment, flags, bool(flags & 1), _scopes(data, span, 8, segment, problems))


def _rhsa(data: bytes, span: Span, _: list[str]) -> Rhsa:
    base, domain = struct.unpack_from("<QI", data, span.start + 8)
    return Rhsa(base, domain)


def _andd(data: bytes, span: Span, _: list[str]) -> Andd:
    return Andd(data[span.start + 7], read_text(data[span.start + 8 : span.end]))


def _satc(data: bytes, span: Span, problems: list[str]) -> Satc:
    flags, segment = struct.unpack_from("<BxH", data, span.start + 4)
    return Satc(segment, flags, bool(flags & 1), _scopes(data, span, 8, segment, problems))


def _sidp(data: bytes, span: Span, problems: list[str]) -> Sidp:
    (segment,) = struct.unpack_from("<H", data, span.start + 6)
    return Sidp(segment, _scopes(data, span, 8, segment, problems))


def _unknown(_data: bytes, span: Span, _problems: list[str]) -> UnknownStructure:
    return UnknownStructure(span.type, span.length)


_DECODERS: dict[int, tuple[str, int, _Decoder]] = {
    0: ("DRHD", 16, _drhd),
    1: ("RMRR", 24, _rmrr),
    2: ("ATSR", 8, _atsr),
    3: ("RHSA", 20, _rhsa),
    4: ("ANDD", 8, _andd),
    5: ("SATC", 8, _satc),
    6: ("SIDP", 8, _sidp),
}
"""By type: the structure's name, its bytes before the scopes, and its decoder."""


def _scopes(data: bytes, span: Span, fixed: int, segment: int, problems: list[str]) -> tuple[DeviceScope, ...]:
    spans = walk(
        data,
        span.start + fixed,
        span.end,
        head=_SCOPE_HEAD,
        measure=lambda data, position: (data[position], data[position + 1]),
        what="device scope",
        problems=problems,
    )
    return tuple(_scope(data, found, segment, problems) for found in spans)


def _scope(data: bytes, span: Span, segment: int, problems: list[str]) -> DeviceScope:
    kind, _, flags, _, enumeration, bus = data[span.start : span.start + _SCOPE_HEAD]
    path = data[span.start + _SCOPE_HEAD : span.end]
    steps = list(zip(path[::2], path[1::2], strict=False))  # an odd byte is no step
    if not steps or len(path) % 2:
        problems.append(f"the device scope at {span.start:#x} has a path of {len(path)} bytes")
    return DeviceScope(
        type=kind,
        kind=_SCOPE_KINDS.get(kind, f"type-{kind}"),
        enumeration_id=enumeration,
        start_bus=bus,
        path="/".join(f"{device:02x}.{function:x}" for device, function in steps),
        flags=flags,
        flag_names=name_bits(flags, _SCOPE_FLAG_NAMES),
        address=_spell(segment, bus, *steps[0]) if len(steps) == 1 else None,
    )


def _spell(segment: int, bus: int, device: int, function: int) -> str | None:
    """Return the address; None where the numbers are beyond what PCI has."""
    valid = device <= _LAST_DEVICE and function <= _LAST_FUNCTION
    return str(PciAddress(segment, bus, device, function)) if valid else None


def _parse_step(text: str) -> tuple[int, int] | None:
    device, _, function = text.partition(".")
    try:
        return int(device, 16), int(function, 16)
    except ValueError:  # the scope had no path
        return None


def _secondary_bus(bridge: str, pci: Iterable[PciDevice]) -> int | None:
    """Return the bus behind a bridge: that of any function whose path in sysfs names the bridge right before it."""
    for device in pci:
        chain = pci_addresses_on(device.path)
        below = next((child for above, child in itertools.pairwise(chain) if above == bridge), None)
        if below is not None and PciAddress.parse(below).domain == PciAddress.parse(bridge).domain:  # VMD opens another
            return PciAddress.parse(below).bus
    return None
