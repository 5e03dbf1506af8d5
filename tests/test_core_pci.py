"""Tests of PCI addresses and ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.pci import PciAddress, PciId

ADDRESSES = st.builds(PciAddress, st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFF), st.integers(0, 0x1F), st.integers(0, 7))
IDS = st.builds(PciId, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))


@given(ADDRESSES)
def test_address_survives_its_text(address: PciAddress) -> None:
    """Every address is read back from its own text; a VMD domain beyond ffff too."""
    assert PciAddress.parse(str(address)) == address


@given(IDS)
def test_id_survives_its_text(pair: PciId) -> None:
    """Every id is read back from its own text."""
    assert PciId.parse(str(pair)) == pair


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("05:00.0", PciAddress(0, 5, 0, 0)),
        ("0000:05:00.0", PciAddress(0, 5, 0, 0)),
        ("10000:e1:1f.7\n", PciAddress(0x10000, 0xE1, 0x1F, 7)),
        (" 0000:0A:1D.2 ", PciAddress(0, 0x0A, 0x1D, 2)),
    ],
    ids=["short", "full", "vmd-newline", "upper-blanks"],
)
def test_address_is_read_in_each_spelling(text: str, address: PciAddress) -> None:
    """The spellings of lspci and sysfs are read, white space around them included."""
    assert PciAddress.parse(text) == address


def test_address_is_spelled_like_sysfs() -> None:
    """The text of an address is the name of its folder in sysfs."""
    assert str(PciAddress(0, 5, 0, 0)) == "0000:05:00.0"
    assert f"{PciAddress(0, 0xA, 0x1F, 7)}" == "0000:0a:1f.7"


@pytest.mark.parametrize(
    "text",
    ["", "05:00", "05:00.8", "5:00.0", "0:05:00.0", "05:00.0 extra", "0000:05:00.0:0", "g5:00.0", "05:20.0", "05:ff.0"],
    ids=[
        "empty",
        "no-function",
        "function-8",
        "one-digit",
        "one-digit-domain",
        "extra",
        "too-long",
        "not-hex",
        "device-32",
        "device-255",
    ],
)
def test_address_refuses_anything_else(text: str) -> None:
    """What no PCI function can be called is a ValueError that shows the text."""
    with pytest.raises(ValueError, match="is not a PCI address") as caught:
        PciAddress.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["", "1033", "1033:", "1033:194", "1033:01944", "0x1033:0x0194", "1033:0194:0"])
def test_id_refuses_anything_else(text: str) -> None:
    """What is not two words of four hexadecimal digits is a ValueError."""
    with pytest.raises(ValueError, match="is not an id"):
        PciId.parse(text)


@given(st.text())
def test_parsers_raise_nothing_but_value_error(text: str) -> None:
    """Any text is read or refused with a ValueError."""
    for parse in (PciAddress.parse, PciId.parse):
        try:
            parse(text)
        except ValueError:
            continue


def test_addresses_sort_as_numbers() -> None:
    """Addresses sort by domain, bus, device, function."""
    texts = ["0000:0a:00.0", "0000:05:1d.0", "0000:05:02.1", "0000:05:02.0"]
    assert [str(address) for address in sorted(map(PciAddress.parse, texts))] == texts[::-1]
