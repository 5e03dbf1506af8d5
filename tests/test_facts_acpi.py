"""The ACPI tables' files: where they come from, in what form, and what is not known of them."""

from __future__ import annotations

import struct
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.capture import Status
from harness.facts.acpi import find_acpi_disagreements, read_acpi
from harness.facts.dmar import parse_dmar
from harness.facts.ivrs import parse_ivrs
from tests.captures import acpi_table, dmar, ivrs, make_capture
from tests.tables import (
    BRIDGE,
    ENDPOINT,
    drhd,
    entry,
    hid_entry,
    ivhd,
    ivmd,
    print_acpidump,
    print_hexdump,
    print_od,
    print_xxd,
    rmrr,
    scope,
)

DMAR, IVRS, DUMP = "sys/firmware/acpi/tables/DMAR", "sys/firmware/acpi/tables/IVRS", "commands/acpidump"
FULL_DMAR = dmar(
    structures=drhd(0xFED91000, scope(ENDPOINT, 0, (0x1C, 7), (0, 0)), flags=1)
    + rmrr(0x7000, 0x7FFF, scope(BRIDGE, 0, (2, 0)))
    + struct.pack("<HHBxH", 2, 8, 1, 0)
)
FULL_IVRS = acpi_table(
    b"IVRS",
    struct.pack("<I8x", 0x00203043)
    + ivhd(0x10, entry(3, 8), entry(4, 0xFFFE), entry(0x48, 0, 0, b"\x21\xa0\x00\x01"))
    + ivmd(0x21, 0x71000000, 0x1000)
    + ivhd(0x40, hid_entry(0xA5, b"EXMP0020", b"\\_SB.FUR0")),
)


def test_acpi_checksum_is_checked() -> None:
    """One wrong byte makes the checksum wrong; a table that is cut short has none that is right, and says so."""
    whole = dmar()
    cut = parse_dmar(whole[:-1])

    assert not parse_dmar(whole[:40] + b"\x55" + whole[41:]).table.checksum_valid
    assert (cut.table.checksum_valid, cut.table.truncated) == (False, True)
    assert cut.problems == ("63 of 64 bytes were read", "the structure at 0x30 (type 0) passes the end")


def test_acpi_header_is_decoded() -> None:
    """Lengths, makers and revisions are read off the header, and a file that is longer than its table harms nothing."""
    table = parse_dmar(dmar() + b"\xff" * 8, source="sysfs").table

    assert (table.status, table.length, table.length_read, table.truncated) == ("present", 64, 72, False)
    assert (table.checksum_valid, table.revision, table.source) == (True, 1, "sysfs")
    assert (table.oem, table.oem_revision, table.creator, table.creator_revision) == ("EXMPL BOARD", 1, "TEST", 1)


@pytest.mark.parametrize(
    ("files", "status"),
    [
        pytest.param({"sys/firmware/acpi/tables": "APIC"}, "absent", id="absent"),
        pytest.param({"sys/firmware/acpi/tables/FACP": b"FACP", "sys/firmware/acpi/tables/APIC": b""}, "absent", id="copied"),
        pytest.param({IVRS: ivrs()}, "unknown", id="only-another-file"),
        pytest.param({DMAR: Status.DENIED}, "denied", id="denied"),
        pytest.param({}, "unknown", id="container"),
        pytest.param({"sys/firmware/acpi/tables": "APIC DMAR"}, "unknown", id="not-read"),
        pytest.param({"sys/firmware/acpi/tables": "APIC DMAR", DMAR: b""}, "unknown", id="empty-copy"),
        pytest.param({"sys/firmware/acpi/tables": "APIC RMAD"}, "unknown", id="hidden-by-xen"),
        pytest.param({"sys/firmware/acpi/tables": "APIC", "sections/acpi": Status.TIMED_OUT}, "unknown", id="cut-off"),
        pytest.param({DMAR: b"junk"}, "broken", id="junk"),
        pytest.param({DMAR: '[000h 0000 004h]   Signature : "DMAR"\n\n    0000: 44 4D 41 52  // DMAR'}, "broken", id="iasl"),
    ],
)
def test_acpi_status(files: dict[str, str | bytes | Status], status: str) -> None:
    """Absent, denied, unknown and broken tables are told apart, and only a whole list without a name means absent."""
    assert read_acpi(make_capture(files)).dmar.table.status == status


@pytest.mark.parametrize("name", ["RMAD", "XMAR"])
def test_acpi_xen_hides_the_table(name: str) -> None:
    """A table that Xen has renamed to hide it from dom0 is decoded all the same, and its checksum is right."""
    hidden = acpi_table(name.encode(), FULL_DMAR[36:])

    found = read_acpi(make_capture({f"sys/firmware/acpi/tables/{name}": hidden})).dmar

    assert (found.table.status, found.table.checksum_valid, found.units) == ("present", True, 2)


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(lambda data: print_acpidump("DMAR", data), id="acpidump"),
        pytest.param(lambda data: print_acpidump("DMAR", data).replace("\n", "\r\n"), id="acpidump-crlf"),
        pytest.param(lambda data: print_acpidump("DMAR", data).lower().replace("dmar @", "DMAR @"), id="acpidump-old"),
        pytest.param(lambda data: "> " + print_acpidump("DMAR", data).replace("\n", "\n> "), id="mail"),
        pytest.param(
            lambda data: "# acpidump\n" + print_acpidump("APIC", b"APIC") + print_acpidump("DMAR", data), id="all-tables"
        ),
        pytest.param(print_hexdump, id="hexdump"),
        pytest.param(print_xxd, id="xxd"),
        pytest.param(print_od, id="od"),
        pytest.param(lambda data: data.hex(" "), id="pairs"),
        pytest.param(lambda data: "\n".join(data.hex()[at : at + 60] for at in range(0, 2 * len(data), 60)), id="xxd-plain"),
    ],
)
@pytest.mark.parametrize("cut", range(12), ids=str)
def test_acpi_table_as_text(form: Callable[[bytes], str], cut: int) -> None:
    """A table that was printed in hexadecimal is the same as its bytes, however many stand in the last row."""
    data = FULL_DMAR[: len(FULL_DMAR) - cut]

    found = read_acpi(make_capture({DMAR: form(data)})).dmar

    assert found == parse_dmar(data, source="sysfs")


@pytest.mark.parametrize("length", range(1, 33))
def test_acpi_text_column_is_no_data(length: int) -> None:
    """Letters beside the bytes that look like hexadecimal are not taken for bytes, in a full row or a shorter one."""
    data = acpi_table(b"DMAR", bytes(12) + structure_of_text(b"ABCDEF00112233445566778899aabbcc"[:length]))

    for form in (print_acpidump("DMAR", data), print_hexdump(data), print_xxd(data)):
        assert read_acpi(make_capture({DMAR: form})).dmar == parse_dmar(data, source="sysfs")


def structure_of_text(text: bytes) -> bytes:
    """Return a named device of ACPI."""
    return struct.pack("<HH3xB", 4, 8 + len(text), 1) + text


def test_acpi_rows_that_are_missing_end_the_table() -> None:
    """Where rows of a dump are missing, what follows is not taken for what stood there."""
    rows = print_acpidump("DMAR", FULL_DMAR).splitlines()

    found = read_acpi(make_capture({DMAR: "\n".join(rows[:4] + rows[5:])})).dmar

    assert (found.table.length_read, found.table.truncated, found.units) == (48, True, 0)


def test_acpi_dump_is_a_second_source() -> None:
    """Without files, both tables come from acpidump's text, which shows other tables as well."""
    dump = print_acpidump("APIC", b"APIC" + bytes(40)) + print_acpidump("DMAR", FULL_DMAR) + print_acpidump("IVRS", FULL_IVRS)

    found = read_acpi(make_capture({DUMP: f"$ acpidump\n{dump}", DMAR: Status.DENIED}))

    assert found.dmar == parse_dmar(FULL_DMAR, source=DUMP)
    assert found.ivrs == parse_ivrs(FULL_IVRS, source=DUMP)
    assert found.names == ("DMAR",)
    assert read_acpi(make_capture({DUMP: dump})).names == ("APIC", "DMAR", "IVRS")


@pytest.mark.parametrize(("entries", "status"), [(2, "absent"), (3, "unknown")], ids=["whole", "cut-off"])
@pytest.mark.parametrize(("root", "width"), [("XSDT", 8), ("RSDT", 4)])
def test_acpi_dump_without_a_table(entries: int, status: str, root: str, width: int) -> None:
    """A dump proves that there is no table only if it has all that the root table lists."""
    tables = [(root, acpi_table(root.encode(), bytes(width * entries))), *((name, b"1234") for name in ("APIC", "FACP", "DSDT"))]

    found = read_acpi(make_capture({DUMP: "".join(print_acpidump(name, data) for name, data in tables)}))

    assert (found.dmar.table.status, found.ivrs.table.status) == (status, status)


def test_acpi_dump_does_not_deny_what_sysfs_names() -> None:
    """A table that sysfs names is there, though neither its file nor a dump that looks whole has its bytes."""
    dump = "".join(print_acpidump(name, data) for name, data in [("XSDT", acpi_table(b"XSDT", bytes(8))), ("FACP", b"FACP")])

    found = read_acpi(make_capture({DUMP: dump, "sys/firmware/acpi/tables": "DMAR"}))

    assert (found.dmar.table.status, found.ivrs.table.status) == ("unknown", "absent")


def test_acpi_sysfs_wins() -> None:
    """Where acpidump shows another table than sysfs, sysfs is believed and the difference is told."""
    other = dmar(flags=0)
    capture = make_capture({DMAR: dmar(flags=1), DUMP: print_acpidump("DMAR", other)})

    (said,) = find_acpi_disagreements(capture)

    assert read_acpi(capture).dmar.interrupt_remapping
    assert (said.subject, said.command) == ("DMAR", DUMP)
    assert said.sysfs != said.said
    assert not find_acpi_disagreements(make_capture({DMAR: other, DUMP: print_acpidump("DMAR", other)}))
    assert not find_acpi_disagreements(make_capture({DUMP: print_acpidump("DMAR", other)}))


def test_acpi_facts_become_json() -> None:
    """All that was decoded can be written as JSON and read back as the same."""
    facts = read_acpi(make_capture({DMAR: FULL_DMAR, IVRS: FULL_IVRS}))

    assert msgspec.json.decode(msgspec.json.encode(facts), type=type(facts)) == facts
    assert msgspec.to_builtins(facts)["dmar"]["rmrr"][0]["scopes"][0]["path"] == "02.0"


@given(st.binary(max_size=300))
def test_acpi_any_bytes_are_survived(noise: bytes) -> None:
    """Any bytes, also behind a right header, give a table and no exception."""
    for data in (noise, dmar()[:36] + noise, ivrs()[:48] + noise, ivrs()[:4] + b"\xff\xff\0\0" + ivrs()[8:48] + noise):
        parse_dmar(data)
        parse_ivrs(data)
        read_acpi(make_capture({DMAR: data, IVRS: data, DUMP: data}))


@given(st.data())
def test_acpi_any_damage_is_survived(drawn: st.DataObject) -> None:
    """A table or its dump, cut off anywhere and with bytes changed, gives a table and no exception."""
    sources = [FULL_DMAR, FULL_IVRS, *(print_acpidump("DMAR", FULL_DMAR + FULL_IVRS).encode(), print_xxd(FULL_DMAR).encode())]
    data = bytearray(drawn.draw(st.sampled_from(sources)))
    for place, value in drawn.draw(st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=8)):
        data[place] = value
    damaged = bytes(data[: drawn.draw(st.integers(0, len(data)))])

    found = read_acpi(make_capture({DMAR: damaged, IVRS: damaged, DUMP: damaged}))

    assert found.dmar.table.status in {"present", "broken", "unknown"}
    if found.dmar.table.truncated:
        assert found.dmar.problems


def test_acpi_large_junk_is_done_with_quickly() -> None:
    """Of a file far larger than any table, no more than the beginning is decoded."""
    junk = bytearray(dmar()[:48] + struct.pack("<HH", 99, 4) * 500_000)
    junk[4:8] = struct.pack("<I", len(junk))

    found = parse_dmar(bytes(junk))

    assert len(found.unknown) < 70_000
    assert "only 262144 bytes were looked at" in found.problems
