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


def test_everything_is_asked_for_by_default() -> None:
    """In a capture without a scope, what is absent is absent from the host."""
    assert CAPTURE.asked("sys/class/iommu")
    assert CAPTURE.asked(f"{CARD}/vendor")


def test_asked_is_what_is_held_or_in_scope() -> None:
    """With a scope, only what the capture holds and what lies in the scope was asked for; nobody knows of the rest."""
    capture = Capture({"proc/cmdline": Item(Status.READ), "proc/x": Item(Status.DENIED)}, scope=("sys/class/iommu", "dev/kvm"))

    assert [capture.asked(name) for name in ("proc/cmdline", "proc/x", "sys/class/iommu/dmar0", "dev/kvm")] == [True] * 4
    assert not capture.asked("sys/class/iommu2")
    assert not capture.asked("sys/kernel/iommu_groups")


def test_asked_and_not_answered_in_time_is_unknown() -> None:
    """Neither an item that timed out nor anything else in a section that did was answered."""
    capture = Capture({"sections/iommu": Item(Status.TIMED_OUT), "commands/dmesg": Item(Status.TIMED_OUT, b"half")})

    assert not capture.asked("sys/kernel/iommu_groups/3")
    assert not capture.asked("commands/dmesg")
    assert capture.asked("sys/bus/pci/devices")


def test_asked_sections() -> None:
    """A section counts as asked for when one of its subjects was, or is held."""
    capture = Capture({"proc/cpuinfo": Item(Status.READ)}, scope=("dev/kvm",))

    assert [capture.asked_section(name) for name in ("cpu", "devices", "iommu")] == [True, True, False]


REAL = "sys/devices/pci0000:00/0000:00:01.0/0000:05:00.0"
TREE = Capture(
    {
        CARD: Item(Status.READ, b"../../../devices/pci0000:00/0000:00:01.0/0000:05:00.0"),
        f"{REAL}/vendor": Item(Status.READ, b"0x1033\n"),
        f"{REAL}/driver": Item(Status.READ, b"../../../../bus/pci/drivers/xhci_hcd\n"),
        "sys/bus/pci/drivers/xhci_hcd/module": Item(Status.READ, b"../../../../module/xhci_pci"),
        f"{REAL}/loop": Item(Status.READ, b"../0000:05:00.0/loop/loop"),
    }
)


def test_items_are_found_through_links() -> None:
    """In a copy of sysfs an attribute lies in the device's own folder, and is found by the name that the probe uses."""
    assert TREE.text(f"{CARD}/vendor") == "0x1033"
    assert TREE.text(f"{CARD}/driver") == "../../../../bus/pci/drivers/xhci_hcd"
    assert TREE.text(f"{CARD}/driver/module") == "../../../../module/xhci_pci"
    assert TREE.get(f"{CARD}/device") is ABSENT
    assert list(TREE.children(CARD)) == ["driver", "loop", "vendor"]
    assert list(TREE.children(f"{CARD}/driver")) == ["module"]


def test_links_in_a_circle_lead_nowhere() -> None:
    """A link that leads through itself is given up."""
    assert TREE.get(f"{CARD}/loop/x") is ABSENT
