"""Tests of text that was written for a terminal, an editor or another system."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.capture import Capture, Item, Status
from harness.core.text import decode_text
from harness.facts.host import read_facts

PLAIN = "[    0.000000] Linux version 6.1.0-demo\n[    0.100000] DMAR: Host address width 39\n"
FUNCTION = "00:14.0 USB controller [0c03]: Example xHCI [8086:a36d] (rev 10) (prog-if 30 [XHCI])\n"
COLOURED = "\x1b[01;31m\x1b[K00:14.0\x1b[m\x1b[K" + FUNCTION.removeprefix("00:14.0")
PASSWORD = "[sudo] password for someone: "


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(PLAIN.encode(), id="plain"),
        pytest.param(PLAIN.encode("utf-8-sig"), id="utf-8-mark"),
        pytest.param(PLAIN.encode("utf-16"), id="utf-16"),
        pytest.param(b"\xfe\xff" + PLAIN.encode("utf-16-be"), id="utf-16-be"),
        pytest.param(PLAIN.encode("utf-16-le"), id="utf-16-without-mark"),
        pytest.param(PLAIN.replace("[ ", "\x1b[32m[ ").replace("] ", "] \x1b[0m").encode(), id="colours"),
        pytest.param(PLAIN.replace("] ", "] \x1b(B\x1b[m").encode(), id="tput"),
        pytest.param(PLAIN.replace("[ ", "[32m[ ").replace("] ", "] [0m").encode(), id="colours-without-escape"),
        pytest.param(PLAIN.replace("[ ", "^[[32m[ ").replace("] ", "] ^[[0m").encode(), id="colours-of-cat"),
        pytest.param(f"{PASSWORD}{PLAIN}".encode(), id="sudo"),
    ],
)
def test_text_is_plain(data: bytes) -> None:
    """Marks, encodings, colours and the question for a password leave the same text."""
    assert decode_text(data) == PLAIN


@pytest.mark.parametrize(
    "text", ["memory [4m] of [16K]", "BIOS-e820: [mem 0x0000000000000000-0x000000000009efff] usable", "[KVM]"]
)
def test_text_brackets_stay(text: str) -> None:
    """Brackets with numbers or letters are no colours where none ends."""
    assert decode_text(text.encode()) == text


def test_text_keeps_memory_ranges() -> None:
    """A kernel's range of memory, "[mem 0x...", is no colour, beside colours that lost their escape sign either."""
    assert decode_text(b"[01;31mBIOS-e820[0m: [mem 0x0-0x9efff] usable") == "BIOS-e820: [mem 0x0-0x9efff] usable"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(COLOURED.encode(), id="grep-colours"),
        pytest.param(COLOURED.replace("\x1b", "").encode(), id="grep-colours-without-escape"),
        pytest.param(COLOURED.replace("\x1b", "^[").encode(), id="grep-colours-of-cat"),
        pytest.param(FUNCTION.encode("utf-8-sig"), id="utf-8-mark"),
        pytest.param(FUNCTION.encode("utf-16"), id="utf-16"),
        pytest.param(f"{PASSWORD}{FUNCTION}".encode(), id="sudo"),
    ],
)
def test_text_of_lspci_shows_controller(data: bytes) -> None:
    """A controller is found in a list from another system, and on the line that a terminal garbled."""
    facts = read_facts(Capture({"commands/lspci": Item(Status.READ, data)}, scope=()), {})

    assert [(device.address, device.class_text) for device in facts.pci] == [("0000:00:14.0", "0c0330")]


@given(st.binary(max_size=200))
def test_text_of_anything(data: bytes) -> None:
    """Whatever the bytes are, they give text."""
    assert isinstance(decode_text(data), str)
