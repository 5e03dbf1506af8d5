"""Real hosts' DMAR and IVRS tables against what iasl, a disassembler, prints of the same bytes: field by field."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.core.pci import PciAddress
from harness.facts.acpi import read_acpi
from harness.facts.dmar import DeviceScope, Dmar, Drhd
from harness.facts.ivhd_entries import IvhdEntry
from harness.facts.ivrs import Ivrs
from tests.captures import make_capture
from tests.corpus import pieces, score

Row = tuple[str, object, object]
Getter = Callable[[Any], object]

_FIELD = re.compile(r"^\[([0-9A-F]+)h \d+\s+([0-9A-F]+)h?\]\s+(.*?) : (.*)$")
_BIT = re.compile(r"^\s+(\S.*?) : ([0-9A-F]+)$")
_UNKNOWN = re.compile(r"Unknown (?:DMAR|IVRS) subtable type 0x([0-9A-Fa-f]+)")
_EARLY = "terminates early"
_BODY = 0x30
_TWO_BITS = {"System MGMT"}
# Bits that follow their byte in newer versions of iasl, which older ones print as a byte alone.
_DECODED = " (decoded below)"


@dataclass
class Printed:
    """One line of iasl: where, how many bytes, which field, its text, and the bits that it prints below."""

    offset: int
    length: int
    label: str
    text: str
    bits: list[tuple[str, int]] = field(default_factory=list)

    @property
    def value(self) -> object:
        """Return the number, the numbers, or what stands in quotation marks without what fills it up."""
        if self.text.startswith('"'):
            return self.text[1 : self.text.rindex('"')].rstrip()
        words = self.text.partition("[")[0].split()
        return int("".join(words), 16) if "," not in self.text else self.text.strip()

    @property
    def bits_value(self) -> int:
        """Return the byte that the bits make, the lowest first."""
        total, place = 0, 0
        for label, value in self.bits:
            total |= value << place
            place += 2 if label in _TWO_BITS else 1
        return total


def read_printed(text: str) -> list[Printed]:
    """Read iasl's text, up to the bytes at its end."""
    lines: list[Printed] = []
    for line in text.partition("Raw Table Data")[0].splitlines():
        if match := _FIELD.match(line):
            offset, length, label, said = match.groups()
            # Lengths are in hexadecimal where an h follows, else decimal; only that of 10 reserved bytes differs.
            lines.append(Printed(int(offset, 16), int(length, 16), label.strip().removesuffix(_DECODED), said.strip()))
        elif (match := _BIT.match(line)) and lines:
            lines[-1].bits.append((match[1], int(match[2], 16)))
    return lines


def split(lines: list[Printed], *starts: str) -> Iterator[list[Printed]]:
    """Yield the lines from one of the labels to before the next; what stands before the first comes first."""
    group: list[Printed] = []
    for line in lines:
        if line.label in starts:
            yield group
            group = []
        group.append(line)
    yield group


def compare(name: str, lines: list[Printed], found: object, getters: dict[str, Getter]) -> Iterator[Row]:
    """Yield a row a field, and one for its bits; a label without a getter is a failure, so that none is forgotten."""
    for line in lines:
        where = f"{name} {line.offset:#x} {line.label}"
        getter = getters.get(f"{line.label}/{line.length}") or getters.get(line.label)
        if getter is None:
            yield where, "not compared", line.value
            continue
        told = getter(found)
        if told is not SKIPPED:
            yield where, told, line.value
            if line.bits:
                yield f"{where} (bits)", told, line.bits_value


SKIPPED = object()


def skip(_: object) -> object:
    """Take a field as compared: the table's decoding has no place for it."""
    return SKIPPED


def device_id(address: str | None) -> int:
    """Return an address as the sixteen bits of a table."""
    assert address is not None
    found = PciAddress.parse(address)
    return found.bus << 8 | found.device << 3 | found.function


def scope_length(scope: DeviceScope) -> int:
    """Return the bytes of a scope, by its path."""
    return 6 + 2 * len(scope.path.split("/"))


def with_scopes(fixed: int) -> Getter:
    """Return what tells a structure's length: its fixed bytes and its scopes."""
    return lambda found: fixed + sum(map(scope_length, found.scopes))


HEADER: dict[str, Getter] = {
    "Signature": skip,  # it chose the decoder
    "Table Length": lambda table: table.length,
    "Revision": lambda table: table.revision,
    "Checksum": skip,  # whether it is right is asked on its own
    "Oem ID": skip,  # both in one, below
    "Oem Table ID": skip,
    "Oem Revision": lambda table: table.oem_revision,
    "Asl Compiler ID": lambda table: table.creator,
    "Asl Compiler Revision": lambda table: table.creator_revision,
}
DMAR_FIELDS: dict[str, Getter] = {
    "Host Address Width": lambda dmar: dmar.host_address_width - 1,
    "Flags": lambda dmar: dmar.flags,
    "Reserved": skip,
}
IVRS_FIELDS: dict[str, Getter] = {"Virtualization Info": lambda ivrs: ivrs.ivinfo, "Reserved": skip}
SCOPE: dict[str, Getter] = {
    "Device Scope Type": lambda scope: scope.type,
    "Entry Length": scope_length,
    "Reserved/2": lambda scope: scope.flags,  # as iasl before 20221020 calls both bytes
    "Reserved/1": skip,
    "Flags": lambda scope: scope.flags,
    "Enumeration ID": lambda scope: scope.enumeration_id,
    "PCI Bus Number": lambda scope: scope.start_bus,
}
SEGMENT: dict[str, Getter] = {"PCI Segment Number": lambda found: found.segment, "Subtable Type": skip, "Reserved": skip}
FLAGGED: dict[str, Getter] = {**SEGMENT, "Flags": lambda found: found.flags, "Length": with_scopes(8)}
DMAR_STRUCTURES: dict[int, tuple[str, dict[str, Getter]]] = {
    0: (
        "drhd",
        {
            **FLAGGED,
            "Length": with_scopes(16),
            "Register Base Address": lambda unit: unit.register_base,
            "Reserved": lambda unit: unit.size.bit_length() - 13,
            "Size": lambda unit: unit.size.bit_length() - 13,
        },
    ),
    1: (
        "rmrr",
        {
            **SEGMENT,
            "Length": with_scopes(24),
            "Base Address": lambda region: region.first,
            "End Address (limit)": lambda region: region.last,
        },
    ),
    2: ("atsr", FLAGGED),
    3: (
        "rhsa",
        {
            **SEGMENT,
            "Length": lambda _: 20,
            "Base Address": lambda found: found.register_base,
            "Proximity Domain": lambda found: found.proximity_domain,
        },
    ),
    4: (
        "andd",
        {
            "Subtable Type": skip,
            "Length": skip,
            "Reserved": skip,
            "Device Number": lambda found: found.device_number,
            "Device Name": lambda found: found.name,
        },
    ),
    5: ("satc", FLAGGED),
    6: ("sidp", FLAGGED),
}
UNKNOWN: tuple[str, dict[str, Getter]] = (
    "unknown",
    {
        "Subtable Type": lambda found: found.type,
        "Length": lambda found: found.length,
        "Flags": skip,  # as iasl takes the head of any block of an IVRS table
        "DeviceId": skip,
    },
)
IVHD: dict[str, Getter] = {
    "Subtable Type": lambda block: block.type,
    "Flags": lambda block: block.flags,
    "Length": lambda block: (24 if block.type == 0x10 else 40) + sum(map(entry_length, block.entries)),
    "DeviceId": lambda block: device_id(block.device),
    "Capability Offset": lambda block: block.capability_offset,
    "Base Address": lambda block: block.base_address,
    "PCI Segment Group": lambda block: block.segment,
    "Virtualization Info": lambda block: block.info,
    "Feature Reporting": lambda block: block.features,
    "Attributes": lambda block: block.features,
    "Reserved/4": lambda block: block.features,  # as iasl before 2020 calls them
    "EFR Image": lambda block: block.efr,
    "Reserved/8": lambda block: block.efr2,
}
ENTRY: dict[str, Getter] = {
    "Subtable Type": lambda entry: entry.type,
    "Entry Type": lambda entry: entry.type,
    "Device ID": lambda entry: entry.device_id,
    "Data Setting": lambda entry: entry.settings,
    "Source Used Device ID": lambda entry: device_id(entry.source),
    "Handle": lambda entry: entry.handle,
    "Variety": lambda entry: entry.variety_code,
    "Extended Data": lambda entry: entry.extended,
    "ACPI HID": lambda entry: entry.hid or 0,
    "ACPI CID": lambda entry: entry.cid or 0,
    "UID Format": lambda entry: entry.uid_format,
    "UID Length": lambda entry: entry_length(entry) - 22,
    "UID": lambda entry: entry.uid,
    "Reserved": skip,
}
IVMD: dict[str, Getter] = {
    "Subtable Type": lambda block: block.type,
    "Flags": lambda block: block.flags,
    "Length": lambda _: 32,
    "DeviceId": lambda block: skip(block) if block.device is None else device_id(block.device),
    "Auxiliary Data": lambda block: block.aux,
    "Reserved": lambda block: block.segment,
    "Start Address": lambda block: block.first,
    "Memory Length": lambda block: block.length,
}
IVRS_BLOCKS = dict.fromkeys((0x10, 0x11, 0x40), ("ivhd", IVHD)) | dict.fromkeys((0x20, 0x21, 0x22), ("ivmd", IVMD))


def entry_length(entry: IvhdEntry) -> int:
    """Return the bytes of an entry; integers that name a device have two or eight."""
    if entry.type != 0xF0:
        return 4 << (entry.type >> 6)
    return 22 + (len(entry.uid) if entry.uid_format == 2 else 0 if entry.uid_format == 0 else 2)


def compare_header(name: str, lines: list[Printed], found: Dmar | Ivrs, unknown: set[int]) -> Iterator[Row]:
    """Yield the rows of all that stands before the structures."""
    yield from compare(name, [line for line in lines if line.offset < 0x24], found.table, HEADER)
    fields = DMAR_FIELDS if isinstance(found, Dmar) else IVRS_FIELDS
    yield from compare(name, [line for line in lines if 0x24 <= line.offset < _BODY], found, fields)
    names = [str(line.value) for line in lines if line.label in {"Oem ID", "Oem Table ID"}]
    yield f"{name} makers", found.table.oem, " ".join(text.strip() for text in names if text.strip())
    yield f"{name} checksum", found.table.checksum_valid, True
    yield f"{name} types that iasl knows", [item for item in found.unknown if item.type not in unknown], []
    yield f"{name} problems", [text for text in found.problems if "registers at address 0" not in text], []


def compare_dmar(name: str, lines: list[Printed], dmar: Dmar, *, stopped: bool) -> Iterator[Row]:
    """Yield the rows of a DMAR table's structures; where iasl stopped, the rest of ours has no truth."""
    left = {attribute: list(getattr(dmar, attribute)) for attribute, _ in (*DMAR_STRUCTURES.values(), UNKNOWN)}
    for group in split([line for line in lines if line.offset >= _BODY], "Subtable Type"):
        if not group:
            continue
        attribute, getters = DMAR_STRUCTURES.get(int(str(group[0].value)), UNKNOWN)
        found = left[attribute].pop(0)
        head, *scopes = split(group, "Device Scope Type")
        yield from compare(name, head, found, getters)
        if "Unknown" in group[0].text:  # iasl stops before the scopes that it would have printed
            continue
        for printed, scope in zip(scopes, getattr(found, "scopes", ()), strict=True):
            yield from compare(name, [line for line in printed if line.label != "PCI Path"], scope, SCOPE)
            steps = [str(line.value).split(",") for line in printed if line.label == "PCI Path"]
            path = "/".join(f"{int(device, 16):02x}.{int(function, 16):x}" for device, function in steps)
            yield f"{name} {printed[0].offset:#x} path", scope.path, path
    if not stopped:
        yield f"{name} beyond iasl's", [item for items in left.values() for item in items], []


def compare_ivrs(name: str, lines: list[Printed], ivrs: Ivrs, *, stopped: bool) -> Iterator[Row]:
    """Yield the rows of an IVRS table's blocks and entries; where iasl stopped, the rest of ours has no truth."""
    left = {attribute: list(getattr(ivrs, attribute)) for attribute in ("ivhd", "ivmd", "unknown")}
    entries: list[IvhdEntry] = []
    for group in split([line for line in lines if line.offset >= _BODY], "Subtable Type", "Entry Type"):
        if not group:
            continue
        if "Device ID" in {line.label for line in group}:
            yield from compare(name, group, entries.pop(0), ENTRY)
            continue
        yield f"{name} {group[0].offset:#x} entries beyond iasl's", entries, []
        attribute, getters = IVRS_BLOCKS.get(int(str(group[0].value)), UNKNOWN)
        block = left[attribute].pop(0)
        # An older iasl knows of a later block no more than its head.
        entries = list(getattr(block, "entries", ())) if "Unknown" not in group[0].text else []
        yield from compare(name, group, block, getters)
    if not stopped:
        yield f"{name} beyond iasl's", [*(item for items in left.values() for item in items), *entries], []


def decode(path: Path) -> Dmar | Ivrs:
    """Decode a table as it lies in a capture, printed."""
    kind = path.name.split(".")[-2]
    facts = read_acpi(make_capture({f"sys/firmware/acpi/tables/{kind.upper()}": path.read_bytes()}))
    return facts.dmar if kind == "dmar" else facts.ivrs


def tables() -> Iterator[tuple[str, Dmar | Ivrs, str, str]]:
    """Yield each table's name, its decoding, iasl's text and the index's."""
    for piece in pieces("acpi"):
        path = Path(str(piece.path).partition(".hex")[0] + ".hex")  # the index names the text beside it as well
        printed = path.with_suffix(".dsl").read_text("utf-8", "replace")
        yield path.name, decode(path), printed, piece.said


def test_corpus_acpi_agrees_with_iasl(record_property: Callable[[str, object], None]) -> None:
    """Every field that iasl prints of a real host's table is what we decode."""
    rows: list[Row] = []
    for name, found, text, _ in tables():
        lines = read_printed(text)
        unknown = {int(kind, 16) for kind in _UNKNOWN.findall(text)}
        stopped = bool(unknown) or _EARLY in text
        rows += compare_header(name, lines, found, unknown)
        if isinstance(found, Dmar):
            rows += compare_dmar(name, lines, found, stopped=stopped)
        else:
            rows += compare_ivrs(name, lines, found, stopped=stopped)
    score(record_property, "acpi fields", rows)


def test_corpus_acpi_agrees_with_the_index(record_property: Callable[[str, object], None]) -> None:
    """Units, their devices and reserved memory are those that were read off each table for the index."""
    rows: list[Row] = []
    for name, found, _, said in tables():
        if isinstance(found, Dmar):
            rows.append((name, describe_dmar(found), re.sub(r" \([^)]*=[^)]*\)", "", said)))
        else:
            rows.append((name, describe_ivrs(found), said.rpartition(";")[0]))  # the last is how much iasl did not know
    score(record_property, "acpi tables", rows)


def describe_dmar(dmar: Dmar) -> str:
    """Return a table in the words of the index."""
    units = [describe_unit(unit) for unit in dmar.drhd]
    regions = [f"{region.first:x}-{region.last:x}[{join_scopes(region.scopes)}]" for region in dmar.rmrr]
    others = {"ATSR": dmar.atsr, "RHSA": dmar.rhsa, "ANDD": dmar.andd, "SATC": dmar.satc, "SIDP": dmar.sidp}
    counts = {name: len(items) for name, items in others.items() if items}
    parts = [
        f"DMAR flags={dmar.flags:#04x}",
        f"haw={dmar.host_address_width}",
        f"drhd={len(units)}: {' '.join(units)}",
        f"rmrr={len(regions)}: {' '.join(regions) or '-'}",
        f"other={counts or '-'}",
    ]
    return "; ".join(parts)


def describe_unit(unit: Drhd) -> str:
    """Return a unit in the words of the index, which leaves out registers at address 0."""
    base = f"{unit.register_base:x}" if unit.register_base else ""
    owns = ",ALL" if unit.include_all else ""
    return f"{base}(seg{unit.segment}{owns}{';' if unit.scopes else ''}{join_scopes(unit.scopes)})"


def join_scopes(scopes: tuple[DeviceScope, ...]) -> str:
    """Return scopes in the words of the index."""
    kinds = {"pci-endpoint": "ep", "pci-bridge": "br"}
    return "+".join(f"{kinds.get(scope.kind, scope.kind)}:{scope.start_bus:02x}:{scope.path}" for scope in scopes)


def describe_ivrs(ivrs: Ivrs) -> str:
    """Return a table in the words of the index."""
    kinds = [f"{block.type:x}" for block in ivrs.ivhd]
    reserved = [f"{block.type:x}" for block in ivrs.ivmd]
    blocks = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    return f"IVRS ivhd_blocks={blocks}; ivmd(reserved)={len(reserved)} types {reserved or '-'}"
