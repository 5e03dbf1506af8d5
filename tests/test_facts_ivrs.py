"""The IVRS table, decoded from bytes that are put together here."""

from __future__ import annotations

import struct

import pytest

from harness.facts.acpi_table import UnknownStructure
from harness.facts.ivhd_entries import IvhdEntry
from harness.facts.ivrs import ivmd_of, parse_ivrs
from tests.captures import acpi_table, ivrs
from tests.tables import entry, hid_entry, ivhd, ivmd


def table(*structures: bytes, ivinfo: int = 0x00203043) -> bytes:
    """Return a table of these structures."""
    return acpi_table(b"IVRS", struct.pack("<I8x", ivinfo) + b"".join(structures))


def entries_of(*entries: bytes) -> tuple[IvhdEntry, ...]:
    """Return what is read off a block's device entries."""
    return parse_ivrs(table(ivhd(0x11, *entries, segment=1))).ivhd[0].entries


def test_ivrs_virtualization_info() -> None:
    """Address sizes and the flags are read off the fixed field."""
    found = parse_ivrs(table(ivinfo=0x00603043))

    assert (found.ivinfo, found.efr_supported, found.dma_remap, found.ht_ats_reserved) == (0x00603043, True, True, True)
    assert (found.physical_address_bits, found.virtual_address_bits) == (48, 64)
    assert (found.gva_size, found.guest_virtual_address_bits) == (2, 48)
    assert not parse_ivrs(table(ivinfo=0x00203043)).ht_ats_reserved


def test_ivrs_units_are_counted_once() -> None:
    """One unit that is described in two kinds of blocks is counted once."""
    found = parse_ivrs(ivrs(ivinfo=0x00203040))

    assert ([block.type for block in found.ivhd], found.units) == ([0x10, 0x11], 1)
    assert parse_ivrs(table(ivhd(0x10), ivhd(0x10, device=0x42), ivhd(0x11), ivhd(0x11, device=0x42))).units == 2


def test_ivrs_old_block() -> None:
    """A block of type 10h has its features in a field of its own."""
    (block,) = parse_ivrs(
        table(ivhd(0x10, flags=0xB0, features=0x80048F6F, device=0x4002, segment=3, info=0x1305), ivinfo=0)
    ).ivhd

    assert (block.type, block.device, block.segment, block.base_address) == (0x10, "0003:40:00.2", 3, 0xFD000000)
    assert (block.capability_offset, block.info, block.msi_number, block.unit_id) == (0x40, 0x1305, 5, 0x13)
    assert (block.flags, block.flag_names) == (0xB0, ("iotlb", "coherent", "ppr"))
    assert (block.features, block.efr, block.efr2) == (0x80048F6F, None, None)
    assert (block.x2apic, block.guest_translation, block.guest_apic) == (True, True, True)
    assert [parse_ivrs(table(ivhd(0x10, features=bits))).ivhd[0].x2apic for bits in (0, 2)] == [None, False]


@pytest.mark.parametrize(("ivinfo", "told"), [(0x00203041, (True, False, True)), (0x00203040, (None, None, None))])
@pytest.mark.parametrize("kind", [0x11, 0x40])
def test_ivrs_later_blocks(kind: int, ivinfo: int, told: tuple[bool | None, ...]) -> None:
    """Later blocks have register images, which tell of features only where the table says that they are filled in."""
    (block,) = parse_ivrs(table(ivhd(kind, features=0x40200, efr=0b10000100, efr2=7), ivinfo=ivinfo)).ivhd

    assert (block.features, block.efr, block.efr2) == (0x40200, 0b10000100, 7)
    assert (block.x2apic, block.guest_translation, block.guest_apic) == told


def test_ivrs_ranges() -> None:
    """The start of a range knows where it ends, also where another entry stands between; one without an end says None."""
    plain, _, end, alias, last, lonely = entries_of(
        entry(3, 0x0008),
        entry(2, 0x00A0, 0xD7),
        entry(4, 0xFFFE),
        entry(0x43, 0xFF00, 0, b"\0\xa5\0\0"),
        entry(4, 0xFFFF),
        entry(0x47, 0x0100, 0, b"\0\0\0\x80"),
    )

    assert (plain.kind, plain.device, plain.end) == ("range-start", "0001:00:01.0", "0001:ff:1f.6")
    assert (end.kind, end.device, last.end) == ("range-end", "0001:ff:1f.6", None)
    assert (alias.kind, alias.device, alias.end) == ("alias-range-start", "0001:ff:00.0", "0001:ff:1f.7")
    assert alias.source == "0001:00:14.5"
    assert entries_of(entry(0x47, 0x0100, 0, bytes(4)), entry(4, 0x0107))[0].end == "0001:01:00.7"
    assert (lonely.kind, lonely.extended, lonely.end) == ("extended-range-start", 0x80000000, None)


def test_ivrs_single_entries() -> None:
    """All, select, alias, extended and special entries are told apart, with their settings."""
    everything, select, alias, extended, ioapic, hpet, odd = entries_of(
        entry(1, 0, 0x40),
        entry(2, 0x00A0, 0xD7),
        entry(0x42, 0x0100, 0, b"\0\xa4\0\0"),
        entry(0x46, 0x0200, 0, b"\1\0\0\0"),
        entry(0x48, 0, 0xD7, b"\x21\xa0\0\1"),
        entry(0x48, 0, 0, b"\0\xa0\0\2"),
        entry(0x48, 0, 0, b"\0\xa0\0\7"),
    )

    assert (everything.kind, everything.device, everything.settings) == ("all", None, 0x40)
    assert (select.kind, select.device, select.device_id, select.settings) == ("select", "0001:00:14.0", 0xA0, 0xD7)
    assert (alias.kind, alias.device, alias.source) == ("alias-select", "0001:01:00.0", "0001:00:14.4")
    assert (extended.kind, extended.device, extended.extended) == ("extended-select", "0001:02:00.0", 1)
    assert (ioapic.kind, ioapic.variety, ioapic.handle, ioapic.source) == ("special", "ioapic", 0x21, "0001:00:14.0")
    assert (hpet.variety, hpet.device, odd.variety, odd.variety_code) == ("hpet", None, "variety-7", 7)


def test_ivrs_named_entries() -> None:
    """An entry for a device of ACPI's namespace has its names, and the length of one says where the next begins."""
    text, number, none = entries_of(
        hid_entry(0xA5, b"EXMP0020", b"\\_SB.FUR0"),
        hid_entry(0xA6, b"EXMP1", b"\2\1", uid_format=1),
        hid_entry(0xA7, b"", b"", uid_format=0),
    )

    assert (text.kind, text.hid, text.cid, text.uid_format, text.uid) == ("acpi-hid", "EXMP0020", "", 2, "\\_SB.FUR0")
    assert (number.hid, number.uid, number.device) == ("EXMP1", "258", "0001:00:14.6")
    assert (none.hid, none.uid_format, none.uid) == ("", 0, "")


def test_ivrs_padding_and_reserved_entries() -> None:
    """Entries without a meaning are listed, and passed by the length that their type gives them."""
    kinds = entries_of(
        entry(0, 0),
        entry(0x40, 0, 0, bytes(4)),
        entry(0x05, 0),
        entry(0x80, 0, 0, bytes(12)),
        entry(0xC0, 0, 0, bytes(28)),
        entry(2, 8),
    )

    assert [one.kind for one in kinds] == ["pad", "pad", "type-5", "type-128", "type-192", "select"]


@pytest.mark.parametrize(
    ("bad", "kept"),
    [
        pytest.param(b"\x48\0\0\0\0", 1, id="cut-off"),
        pytest.param(hid_entry(0, b"EXMP1", b"1")[:-1], 1, id="name-passes-the-end"),
        pytest.param(hid_entry(0, b"EXMP1", b"1")[:10], 1, id="name-without-its-length"),
        pytest.param(b"\x02", 1, id="half"),
        pytest.param(entry(4, 0x10), 2, id="end-without-start"),
        pytest.param(entry(3, 0x10) + entry(4, 0x17) + entry(4, 0x1F), 4, id="second-end"),
    ],
)
def test_ivrs_broken_entries_are_told(bad: bytes, kept: int) -> None:
    """An entry that is broken is told, and the entries before it stay, as do the blocks after it."""
    found = parse_ivrs(table(ivhd(0x10, entry(2, 8), bad), ivhd(0x10)))

    assert [len(block.entries) for block in found.ivhd] == [kept, 0]
    assert len(found.problems) == 1
    assert len(parse_ivrs(table(ivhd(0x10, entry(2, 8), bad))).ivhd[0].entries) == kept


def test_ivrs_reserved_memory() -> None:
    """Reserved memory is for all devices, for one or for a range, and has access rights."""
    everything, one, some = parse_ivrs(
        table(
            ivmd(0x20, 0x1000, 0x1000, flags=0b0001, segment=1),
            ivmd(0x21, 0x71000000, 0x26000, device=0x0300, flags=0b0111),
            ivmd(0x22, 0x96000000, 1, device=0x0008, aux=0x0FFF),
        )
    ).ivmd

    assert (everything.kind, everything.segment, everything.device, everything.flag_names) == ("all", 1, None, ("unity",))
    assert (one.kind, one.device, one.first, one.last) == ("select", "0000:03:00.0", 0x71000000, 0x71025FFF)
    assert one.flag_names == ("unity", "read", "write")
    assert (some.kind, some.device, some.last_device) == ("range", "0000:00:01.0", "0000:0f:1f.7")
    assert (some.first, some.last, some.flag_names, some.malformed) == (0x96000000, 0x96000000, ("exclusion",), False)


def test_ivrs_reserved_memory_of_a_device() -> None:
    """The blocks of a device are those for all of its segment, for itself, and for a range that it is in."""
    found = parse_ivrs(
        table(
            ivmd(0x20, 0x1000, 1),
            ivmd(0x21, 0x2000, 1, device=0x0028),
            ivmd(0x22, 0x3000, 1, device=0x0028, aux=0x00FF),
            ivmd(0x20, 0x4000, 1, segment=1),
            ivmd(0x20, 0, 0),
        )
    )

    assert [block.first for block in ivmd_of(found, "0000:00:05.0")] == [0x1000, 0x2000, 0x3000]
    assert [block.first for block in ivmd_of(found, "0000:01:00.0")] == [0x1000]
    assert [block.first for block in ivmd_of(found, "0001:00:05.0")] == [0x4000]


@pytest.mark.parametrize(("first", "length"), [(0, 0x1000), (0x1000, 0), (0, 0), ((1 << 64) - 1, 2)])
def test_ivrs_malformed_memory_is_told(first: int, length: int) -> None:
    """Reserved memory that starts at 0, has no length or passes the end of memory is marked, and is a problem."""
    found = parse_ivrs(table(ivmd(0x21, first, length), ivhd(0x10)))

    assert ([block.malformed for block in found.ivmd], found.units) == ([True], 1)
    assert len(found.problems) == 1


def test_ivrs_unknown_and_short_structures() -> None:
    """A structure of an unknown type is listed; one that is too short for its type is told and left out."""
    found = parse_ivrs(table(struct.pack("<BBH4x", 0x51, 8, 8), struct.pack("<BBH4x", 0x11, 0, 8), ivhd(0x10)))

    assert (found.unknown, found.units) == ((UnknownStructure(0x51, 8),), 1)
    assert found.problems == ("the IVHD at 0x38 has 8 of 40 bytes",)


@pytest.mark.parametrize(
    "broken",
    [struct.pack("<BBH", 0x10, 0, 0), struct.pack("<BBH", 0x10, 0, 4000), b"\x10"],
    ids=["no-length", "past-the-end", "half"],
)
def test_ivrs_broken_structures_end_the_walk(broken: bytes) -> None:
    """A structure without length, or one that passes the end, neither loops nor is believed."""
    found = parse_ivrs(table(ivhd(0x10), broken))

    assert (found.units, len(found.problems)) == (1, 1)
