"""The ACPI tables DMAR and IVRS: made-up ones byte by byte, and real ones where a corpus is at hand."""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.capture import Status
from harness.facts.acpi import MemoryRange, parse_dmar, parse_ivrs, read_acpi
from tests.captures import dmar, ivrs, make_capture

RMRR = struct.pack("<HHHHQQ", 1, 24, 0, 0, 0x6C000000, 0x707FFFFF)
CORPUS = Path(os.environ.get("THROUGHPASS_CORPUS") or "/nonexistent")


def test_acpi_dmar_is_decoded() -> None:
    """Width, flags, units and reserved memory are read off a DMAR table."""
    table = parse_dmar(dmar(flags=0b011, width=38, structures=RMRR))

    assert (table.table.status, table.table.checksum_valid, table.table.oem) == ("present", True, "EXMPL BOARD")
    assert (table.host_address_width, table.units) == (39, 1)
    assert (table.interrupt_remapping, table.x2apic_opt_out, table.dma_opt_in) == (True, True, False)
    assert table.reserved == (MemoryRange(0x6C000000, 0x707FFFFF),)


def test_acpi_ivrs_is_decoded() -> None:
    """Address sizes are read off an IVRS table, and one unit in two kinds of blocks is counted once."""
    table = parse_ivrs(ivrs(ivinfo=0x00203040))

    assert (table.table.checksum_valid, table.ivinfo, table.units) == (True, 0x00203040, 1)
    assert (table.physical_address_bits, table.virtual_address_bits) == (48, 64)


def test_acpi_checksum_is_checked() -> None:
    """One wrong byte makes the checksum wrong; a table that is cut short has none that is right."""
    whole = dmar()

    assert not parse_dmar(whole[:40] + b"\x55" + whole[41:]).table.checksum_valid
    assert not parse_dmar(whole[:-1]).table.checksum_valid


@pytest.mark.parametrize(
    "structure",
    [struct.pack("<HH", 0, 0), struct.pack("<HH", 0, 3), struct.pack("<HH", 0, 4000), b"\0"],
    ids=["no-length", "too-short", "past-the-end", "half"],
)
def test_acpi_broken_structures_end_the_walk(structure: bytes) -> None:
    """A structure without length, or one that runs past the end, neither loops nor is believed."""
    assert parse_dmar(dmar(structures=structure)).units == 1


@pytest.mark.parametrize(
    ("files", "status"),
    [
        pytest.param({"sys/firmware/acpi/tables": "APIC"}, "absent", id="absent"),
        pytest.param({"sys/firmware/acpi/tables/DMAR": Status.DENIED}, "denied", id="denied"),
        pytest.param({}, "unknown", id="container"),
        pytest.param({"sys/firmware/acpi/tables": "APIC DMAR"}, "unknown", id="not-read"),
        pytest.param({"sys/firmware/acpi/tables": "APIC", "sections/acpi": Status.TIMED_OUT}, "unknown", id="cut-off"),
        pytest.param({"sys/firmware/acpi/tables/DMAR": b"junk"}, "broken", id="junk"),
    ],
)
def test_acpi_status(files: dict[str, str | bytes | Status], status: str) -> None:
    """Absent, denied, unknown and broken tables are told apart."""
    assert read_acpi(make_capture(files)).dmar.table.status == status


@given(st.binary(max_size=200))
def test_acpi_any_bytes_are_survived(noise: bytes) -> None:
    """Any bytes, also behind a right header, give a table and no exception."""
    for data in (noise, dmar()[:36] + noise, ivrs()[:48] + noise):
        parse_dmar(data)
        parse_ivrs(data)


def read_hex(path: Path) -> bytes:
    """Return the bytes of an acpidump listing."""
    rows = re.findall(r"^\s+[0-9A-F]{4}: ((?:[0-9A-F]{2} )+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return bytes.fromhex("".join(rows))


def decoded(path: Path, label: str) -> int:
    """Return a hexadecimal field of the disassembly beside a listing."""
    match = re.search(
        rf"^.*\b{label} : ([0-9A-F]+)", path.with_suffix(".dsl").read_text(encoding="utf-8", errors="replace"), re.MULTILINE
    )
    assert match is not None
    return int(match[1], 16)


@pytest.mark.skipif(not CORPUS.is_dir(), reason="THROUGHPASS_CORPUS names no folder")
def test_acpi_real_tables_agree_with_a_disassembler() -> None:
    """On real tables, all fields are those that a disassembler shows, and units are found in each."""
    intel, amd = (sorted((CORPUS / "acpi").glob(f"*.{kind}.hex")) for kind in ("dmar", "ivrs"))
    assert intel
    assert amd
    for path in intel:
        table = parse_dmar(read_hex(path))
        assert table.table.checksum_valid, path
        assert table.host_address_width == decoded(path, "Host Address Width") + 1
        assert table.units > 0
        assert len(table.reserved) == path.with_suffix(".dsl").read_text(errors="replace").count("[Reserved Memory Region]")
    for path in amd:
        virtualization = parse_ivrs(read_hex(path))
        assert virtualization.table.checksum_valid, path
        assert virtualization.ivinfo == decoded(path, "Virtualization Info")
        assert virtualization.units > 0
