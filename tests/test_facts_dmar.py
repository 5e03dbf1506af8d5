"""The DMAR table, decoded from bytes that are put together here."""

from __future__ import annotations

import struct

import pytest

from harness.facts.acpi_table import UnknownStructure
from harness.facts.dmar import Andd, Atsr, DeviceScope, Rhsa, Satc, Sidp, parse_dmar, resolve_scope, rmrr_of, rmrr_unresolved
from harness.facts.pci import PciDevice
from tests.captures import acpi_table, dmar
from tests.tables import BRIDGE, ENDPOINT, HPET, IOAPIC, NAMESPACE, drhd, rmrr, scope, structure

CARD = "0000:05:00.0"
PCI = (
    PciDevice("0000:00:1c.7", path="/sys/devices/pci0000:00/0000:00:1c.7"),
    PciDevice(CARD, path=f"/sys/devices/pci0000:00/0000:00:1c.7/{CARD}"),
    PciDevice("0000:00:14.0", path="/sys/devices/pci0000:00/0000:00:14.0"),
)


def table(*structures: bytes, width: int = 38, flags: int = 0) -> bytes:
    """Return a table of these structures alone."""
    return acpi_table(b"DMAR", bytes([width, flags]) + bytes(10) + b"".join(structures))


def scopes_of(*scopes: bytes, segment: int = 0) -> tuple[DeviceScope, ...]:
    """Return what is read off the device scopes of a unit."""
    return parse_dmar(table(drhd(0xFED90000, *scopes, segment=segment))).drhd[0].scopes


@pytest.mark.parametrize(
    ("flags", "told"), [(0b001, (True, False, False)), (0b010, (False, True, False)), (0b101, (True, False, True))]
)
def test_dmar_fixed_fields(flags: int, told: tuple[bool, bool, bool]) -> None:
    """The width and each flag are read off the fixed fields."""
    found = parse_dmar(table(width=45, flags=flags))

    assert (found.table.status, found.host_address_width, found.flags) == ("present", 46, flags)
    assert (found.interrupt_remapping, found.x2apic_opt_out, found.dma_opt_in) == told
    assert (found.units, found.problems) == (0, ())


def test_dmar_units() -> None:
    """Each unit has its registers, its segment and whether it has the rest; VT-d 4 tells how many pages the registers take."""
    found = parse_dmar(table(drhd(0xFED90000, scope(ENDPOINT, 0, (2, 0))), drhd(0xFED91000, flags=1, size=3, segment=1)))

    first, second = found.drhd
    assert (first.register_base, first.segment, first.include_all, first.size) == (0xFED90000, 0, False, 4096)
    assert (second.register_base, second.segment, second.include_all, second.size) == (0xFED91000, 1, True, 32768)
    assert ([one.address for one in first.scopes], second.scopes, found.units) == (["0000:00:02.0"], (), 2)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ENDPOINT, "pci-endpoint"),
        (BRIDGE, "pci-bridge"),
        (IOAPIC, "ioapic"),
        (HPET, "hpet"),
        (NAMESPACE, "namespace-device"),
        (9, "type-9"),
    ],
)
def test_dmar_scope(kind: int, name: str) -> None:
    """A scope's kind is told in words; bus, number, flags and the address stand beside it."""
    (found,) = scopes_of(scope(kind, 0xF0, (0x1F, 7), number=2, flags=0b10001), segment=2)

    assert (found.type, found.kind, found.enumeration_id, found.start_bus, found.path) == (kind, name, 2, 0xF0, "1f.7")
    assert (found.address, found.flags) == ("0002:f0:1f.7", 0b10001)
    assert found.flag_names == ("request-without-pasid-nested", "atc-required")


def test_dmar_longer_path_needs_the_bridges() -> None:
    """A path of two steps has no address in the table; it is resolved through the bridge that the host shows."""
    near, far, lost = scopes_of(
        scope(ENDPOINT, 0, (0x1C, 7), (0, 0)), scope(ENDPOINT, 0, (0x1C, 7), (0, 0), (1, 0)), scope(ENDPOINT, 0, (1, 0), (0, 0))
    )

    assert (near.path, near.address) == ("1c.7/00.0", None)
    assert resolve_scope(near, 0, PCI) == CARD
    assert resolve_scope(far, 0, PCI) is None  # nothing is known behind the card
    assert resolve_scope(lost, 0, PCI) is None
    assert resolve_scope(near, 1, PCI) is None


def test_dmar_scope_beyond_pci_has_no_address() -> None:
    """A device or a function with a number that PCI does not have, or an empty path, gives no address."""
    wild, odd, empty = scopes_of(scope(ENDPOINT, 0, (0x20, 0)), scope(ENDPOINT, 0, (0x1F, 8)), scope(ENDPOINT, 0))

    assert (odd.path, odd.address) == ("1f.8", None)
    assert (wild.path, wild.address, resolve_scope(wild, 0, PCI)) == ("20.0", None, None)
    assert (empty.path, empty.address, resolve_scope(empty, 0, PCI)) == ("", None, None)


def test_dmar_reserved_memory_of_a_device() -> None:
    """Reserved memory is found for a device that is named, by one step or more, and for all below a bridge that is named."""
    found = parse_dmar(
        table(
            rmrr(0x1000, 0x1FFF, scope(ENDPOINT, 0, (0x14, 0)), scope(ENDPOINT, 0, (0x1D, 0))),
            rmrr(0x2000, 0x2FFF, scope(ENDPOINT, 0, (0x1C, 7), (0, 0))),
            rmrr(0x3000, 0x3FFF, scope(BRIDGE, 0, (0x1C, 7))),
            rmrr(0x4000, 0x4FFF, scope(ENDPOINT, 0, (0x14, 0)), segment=1),
            rmrr(0x5000, 0x5FFF, scope(ENDPOINT, 0, (0x1C, 7))),
            rmrr(0x6000, 0x6FFF, scope(ENDPOINT, 0, (0x1C, 7), (0, 0)), segment=1),
        )
    )

    assert [region.first for region in rmrr_of(found, "0000:00:14.0", PCI)] == [0x1000]
    assert [region.first for region in rmrr_of(found, PCI[1].pci_address, PCI)] == [0x2000, 0x3000]
    assert [region.last for region in rmrr_of(found, "0000:00:1c.7", PCI)] == [0x3FFF, 0x5FFF]
    assert rmrr_of(found, "0000:00:1f.0", PCI) == ()


def test_dmar_reserved_memory_of_nobody_known() -> None:
    """Reserved memory whose device lies behind a bridge that the host does not show is not silently nobody's."""
    found = parse_dmar(
        table(
            rmrr(0x1000, 0x1FFF, scope(ENDPOINT, 0, (0x14, 0)), scope(ENDPOINT, 0, (0x1C, 7), (0, 0))),
            rmrr(0x2000, 0x2FFF, scope(ENDPOINT, 0, (0x14, 0)), scope(ENDPOINT, 0, (1, 0), (0, 0))),
        )
    )

    assert [region.first for region in rmrr_unresolved(found, PCI)] == [0x2000]
    assert [region.first for region in rmrr_unresolved(found, PCI[:1])] == [0x1000, 0x2000]


def test_dmar_all_other_structures() -> None:
    """ATSR, RHSA, ANDD, SATC and SIDP are decoded; what has another type is listed by type and length."""
    device = scope(ENDPOINT, 0, (2, 0))
    found = parse_dmar(
        table(
            structure(2, struct.pack("<BxH", 1, 1)),
            structure(3, struct.pack("<IQI", 0, 0xFED90000, 3)),
            structure(4, b"\0\0\0\x05\\_SB.I2C0\0"),
            structure(5, struct.pack("<BxH", 1, 0), device),
            structure(6, struct.pack("<HH", 0, 2), scope(ENDPOINT, 0, (0xB, 0), flags=0b11100)),
            structure(7, bytes(12)),
        )
    )

    assert (found.atsr, found.rhsa) == ((Atsr(1, 1, all_ports=True),), (Rhsa(0xFED90000, 3),))
    assert found.andd == (Andd(5, "\\_SB.I2C0"),)
    assert found.satc == (Satc(0, 1, atc_required=True, scopes=scopes_of(device)),)
    (properties,) = found.sidp
    assert (properties.segment, properties.scopes[0].flag_names) == (
        2,
        ("request-without-pasid-page-snoop", "atc-hardened", "atc-required"),
    )
    assert isinstance(properties, Sidp)
    assert (found.unknown, found.problems) == ((UnknownStructure(7, 16),), ())


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        pytest.param(struct.pack("<HH", 0, 0), "has a length of 0", id="no-length"),
        pytest.param(struct.pack("<HH", 0, 3), "has a length of 3", id="too-short"),
        pytest.param(struct.pack("<HH", 0, 4000), "passes the end", id="past-the-end"),
        pytest.param(b"\0", "1 bytes at 0x40 are no whole structure", id="half"),
        pytest.param(structure(1, bytes(8)), "the RMRR at 0x40 has 12 of 24 bytes", id="too-little-for-its-type"),
        pytest.param(rmrr(0x2000, 0x1000), "ends at 0x1000, before it starts at 0x2000", id="upside-down"),
    ],
)
def test_dmar_broken_structures_are_told(broken: bytes, problem: str) -> None:
    """A broken structure neither loops nor is believed: what stands before it is kept, and the problem is told."""
    found = parse_dmar(dmar(structures=broken))
    least = parse_dmar(table(rmrr(0x1000, 0x1000)))

    assert found.units == 1
    assert [problem in text for text in found.problems] == [True]
    assert least.problems == ()


@pytest.mark.parametrize(
    ("bad", "kept"),
    [(b"\x01\x00\0\0\0\0\x02\0", 1), (b"\x01\x20\0\0\0\0\x02\0", 1), (b"\x01", 1), (b"\x01\x09\0\0\0\0\x02\0\x07", 2)],
    ids=["no-length", "past-the-end", "half", "odd-path"],
)
def test_dmar_broken_scopes_leave_the_unit(bad: bytes, kept: int) -> None:
    """A scope that is broken is told, and ends its own structure's scopes; the units and the scopes before it stay."""
    found = parse_dmar(table(drhd(0xFED90000, scope(ENDPOINT, 0, (2, 0)), bad), drhd(0xFED91000)))

    assert [len(unit.scopes) for unit in found.drhd] == [kept, 0]
    assert len(found.problems) == 1


def test_dmar_unit_without_registers_is_told() -> None:
    """A unit whose registers lie at address 0, which the kernel refuses, is decoded and told."""
    found = parse_dmar(table(drhd(0, flags=1)))

    assert (found.units, found.problems) == (1, ("the DRHD at 0x30 has its registers at address 0",))
