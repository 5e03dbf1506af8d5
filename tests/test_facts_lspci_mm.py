"""PCI functions as lspci prints them for programs: -mm, with -v, -k, -n, -nn or without."""

from __future__ import annotations

import pytest
from hypothesis import given

from harness.facts.lspci_mm import parse_lspci_mm
from harness.facts.told import Told, find_address
from tests.texts import damaged

RECORDS = """\
Slot:\t00:1c.0
Class:\tPCI bridge [0604]
Vendor:\tExample Corp. [a0a0]
Device:\tRoot Port [0010]
Rev:\tf0
Driver:\tpcieport
IOMMUGroup:\t3

Slot:\t0000:05:00.0
Class:\tUSB controller [0c03]
Vendor:\tCards Ltd. [c0c0]
Device:\tFour Port Card [0194]
SVendor:\tCards Ltd. [c0c0]
SDevice:\tDevice [0001]
PhySlot:\t4
Rev:\t04
ProgIf:\t30
Driver:\txhci_hcd
Module:\txhci_pci
NUMANode:\t1
IOMMUGroup:\t12
"""


def one(text: str) -> Told:
    """Return the only function of a text."""
    (told,) = parse_lspci_mm(text)
    return told


def test_mm_records_are_read() -> None:
    """All lines of a record are read."""
    bridge, card = parse_lspci_mm(RECORDS)

    assert (bridge.address, bridge.kind, bridge.driver, bridge.group) == ("0000:00:1c.0", 0x0604, "pcieport", "3")
    assert card == Told(
        "0000:05:00.0",
        id="c0c0:0194",
        kind=0x0C03,
        prog_if=0x30,
        name="Cards Ltd. Four Port Card",
        subsystem="c0c0:0001",
        revision=4,
        driver="xhci_hcd",
        modules=("xhci_pci",),
        group="12",
        numa_node=1,
        slot="4",
    )


def test_mm_form_of_the_text_does_not_matter() -> None:
    """Spaces instead of tabs, another system's line ends, no blank lines: the functions are the same."""
    for text in (RECORDS.replace("\t", "  "), RECORDS.replace("\n", "\r\n"), RECORDS.replace("\n\n", "\n")):
        assert parse_lspci_mm(text) == parse_lspci_mm(RECORDS)


def test_mm_record_of_the_obsolete_form() -> None:
    """With a single -m a record begins with Device and an address."""
    told = one("Device:\t05:00.0\nClass:\tUSB controller\nVendor:\tCards Ltd.\nDevice:\tFour Port Card\nProgIf:\t20\n")

    assert (told.address, told.kind, told.prog_if, told.name) == ("0000:05:00.0", 0x0C03, 0x20, "Cards Ltd. Four Port Card")


@pytest.mark.parametrize(
    ("line", "kind", "pair", "name", "prog_if"),
    [
        (
            '05:00.0 "USB controller" "Cards Ltd." "A \\"Card\\"" -r04 -p30 "Cards Ltd." "Card"',
            0x0C03,
            "",
            'Cards Ltd. A "Card"',
            0x30,
        ),
        ('05:00.0 "0c03" "c0c0" "0194" -r04 -p20 "" ""', 0x0C03, "c0c0:0194", "", 0x20),
        ('05:00.0 "USB controller [0c03]" "Cards Ltd. [c0c0]" "Card [0194]" "" ""', 0x0C03, "c0c0:0194", "Cards Ltd. Card", None),
        ('05:00.0 "Class 0c03" "c0c0" "0194" "c0c0" "0001"', 0x0C03, "c0c0:0194", "", None),
    ],
    ids=["names", "numbers", "both", "busybox"],
)
def test_mm_lines(line: str, kind: int, pair: str, name: str, prog_if: int | None) -> None:
    """A line of quoted words is read, with names, numbers or both."""
    told = one(line)

    assert (told.address, told.kind, told.id, told.name, told.prog_if) == ("0000:05:00.0", kind, pair, name, prog_if)


def test_mm_busybox_driver() -> None:
    """Busybox adds the driver as a sixth word."""
    assert one('05:00.0 "Class 0c03" "c0c0" "0194" "c0c0" "0001" "xhci_hcd"').driver == "xhci_hcd"


def test_mm_dead_function_tells_no_interface() -> None:
    """A function that reads as ones tells neither interface nor revision."""
    told = one('05:00.0 "0c03" "c0c0" "0194" -rff -pff "" ""')

    assert (told.prog_if, told.revision) == (None, None)


@pytest.mark.parametrize("text", ["", "Slot:\n", "Slot:\t99:99.9\nClass:\tBridge\n", '05:00.0 "', "Class:\tBridge\n"])
def test_mm_nothing_is_no_function(text: str) -> None:
    """Records without an address and broken lines give no function."""
    assert parse_lspci_mm(text) == ()


@given(damaged(RECORDS + '05:00.1 "0c03" "c0c0" "0194" -r04 -p20 "" ""\n'))
def test_mm_survives_damage(text: str) -> None:
    """A text cut off anywhere, with other characters in it, is read without an error."""
    assert all(find_address(told.address) == told.address for told in parse_lspci_mm(text))


def test_mm_class_of_six_digits() -> None:
    """A class with its interface, as toybox prints it with -e and -m, tells both."""
    told = one('05:00.0 "Class 0c0330" "c0c0" "0194" "c1c1" "0002"')

    assert (told.kind, told.prog_if) == (0x0C03, 0x30)
