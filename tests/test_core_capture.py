"""Tests of captures: items by name, and what is missing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.capture import ABSENT, Capture, Item, Status

CARD = "sys/bus/pci/devices/0000:05:00.0"
CAPTURE = Capture(
    {
        f"{CARD}/vendor": Item(Status.READ, b"0x1033\n"),
        f"{CARD}/config": Item(Status.DENIED),
        f"{CARD}/driver/name": Item(Status.READ, b"xhci_hcd\n"),
        "sys/bus/pci/devices/0000:04:00.0/vendor": Item(Status.READ, b"0x8086\n"),
        "proc/cmdline": Item(Status.READ, b""),
        "commands/lspci": Item(Status.TIMED_OUT, b"half an ans"),
    }
)


def test_item_is_found_by_name() -> None:
    """An item that was read gives its content and its text without the line's end."""
    assert CAPTURE.get(f"{CARD}/vendor").data == b"0x1033\n"
    assert CAPTURE.text(f"{CARD}/vendor") == "0x1033"


def test_item_never_asked_for_is_absent() -> None:
    """A name that the capture does not know is absent, not an error."""
    assert CAPTURE.get("proc/version") is ABSENT
    assert CAPTURE.text("proc/version") is None


@pytest.mark.parametrize("name", [f"{CARD}/config", "commands/lspci"], ids=["denied", "timed-out"])
def test_text_of_what_was_not_read_is_none(name: str) -> None:
    """Neither a denied item nor half of an answer is text."""
    assert CAPTURE.text(name) is None


def test_empty_is_not_absent() -> None:
    """An empty file is read: its text is empty, not None."""
    assert CAPTURE.text("proc/cmdline") == ""


@given(st.binary())
def test_text_of_any_bytes_is_text(data: bytes) -> None:
    """Bytes that are not UTF-8 are replaced, never an error."""
    text = Item(Status.READ, data).text
    assert text == text.strip()
    assert Item(Status.READ, text.encode()).text == text


def test_children_are_sorted_and_named_once() -> None:
    """The names directly below a folder come sorted, each once, whatever lies below them."""
    assert list(CAPTURE.children("sys/bus/pci/devices")) == ["0000:04:00.0", "0000:05:00.0"]
    assert list(CAPTURE.children(f"{CARD}/")) == ["config", "driver", "vendor"]


def test_children_of_a_file_or_of_nothing_are_none() -> None:
    """Neither a file nor an unknown folder, nor one that only begins alike, has children."""
    assert list(CAPTURE.children("proc/cmdline")) == []
    assert list(CAPTURE.children("sys/bus/usb")) == []
    assert list(CAPTURE.children("sys/bus/pci/devices/0000:05:00")) == []


def test_has_knows_files_and_folders() -> None:
    """A capture has what it read and every folder above an item."""
    assert CAPTURE.has("proc/cmdline")
    assert CAPTURE.has("sys/bus/pci")
    assert not CAPTURE.has("sys/bus/usb")
    assert not CAPTURE.has(f"{CARD}/config")


def test_empty_capture_has_nothing() -> None:
    """A capture of nothing answers every question."""
    assert Capture().text("proc/cmdline") is None
    assert list(Capture().children("proc")) == []
