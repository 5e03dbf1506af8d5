"""What lies on a disk, from what the host printed: whatever is missing or strange in it is no permission."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.marker import MARKER_BYTES, Marker, encode_marker
from harness.facts.content import Signature, parse_content

MARKER = Marker("TP0001", 256 << 20, 512, "2026-01-01T00:00:00+00:00", "somebody@example")
HEAD = encode_marker(MARKER).hex()
TEXT = f"""block 512
node /dev/sda
wipefs 0
    0x1fe dos
blkid 0
    DEVNAME=/dev/sda
    PTTYPE=dos
node /dev/sda1
wipefs 0
blkid 2
head {HEAD}
start cd18ebfe
end
whole 0123abcd
"""
LINES = TEXT.splitlines()


def test_content_of_a_marked_disk() -> None:
    """A whole answer is read: the marker, its own MBR apart nothing, and the partition."""
    content = parse_content(TEXT)

    assert content.unread == ()
    assert (content.marker, content.foreign, content.spoilt, content.unknown_data) == (MARKER, (), "", "")
    assert content.partitions == ("/dev/sda1",)
    assert content.fingerprint == "0123abcd"


@given(st.integers(0, len(LINES) - 1))
def test_content_that_lacks_a_line_is_unread(number: int) -> None:
    """An answer that lacks any line that must be there is not whole; a line of what was found is missed by the marker's own."""
    content = parse_content("\n".join(LINES[:number] + LINES[number + 1 :]))

    must = not LINES[number].startswith(("    ", "block", "start", "end", "node /dev/sda1"))
    assert bool(content.unread) or not must


@given(st.integers(0, len(TEXT) - len("0123abcd\n")))
def test_content_that_was_cut_short_is_unread(length: int) -> None:
    """An answer that ends early, wherever, is not whole."""
    assert parse_content(TEXT[:length]).unread


@given(st.text())
def test_content_of_anything_is_unread(text: str) -> None:
    """Whatever else is printed is no answer, and no crash."""
    assert parse_content(text).unread


def test_content_names_what_blkid_alone_sees() -> None:
    """What blkid names and wipefs does not is recognised all the same."""
    content = parse_content(TEXT.replace("PTTYPE=dos", "PTTYPE=dos\n    TYPE=novelfs"))

    assert content.foreign == (Signature("novelfs", "/dev/sda"),)
    assert content.foreign[0].words == "novelfs on /dev/sda"


def test_content_of_a_partition_is_foreign() -> None:
    """A table of partitions inside the marker's partition is somebody's, though at the place of the marker's own."""
    content = parse_content(TEXT.replace("node /dev/sda1\nwipefs 0\n", "node /dev/sda1\nwipefs 0\n    0x1fe dos\n"))

    assert content.foreign == (Signature("dos", "/dev/sda1", 0x1FE),)


@pytest.mark.parametrize("line", ["wipefs 1", "blkid 4", "blkid 127"])
def test_content_of_a_tool_that_failed_is_unread(line: str) -> None:
    """A tool that ends with another status than that of an answer has said nothing."""
    tool = line.split(" ", maxsplit=1)[0]

    content = parse_content(TEXT.replace(f"{tool} 0", line, 1))

    assert content.unread[0].startswith(f"{tool} of /dev/sda: status")


def test_content_with_a_head_of_another_length_is_unread() -> None:
    """A first block that is not whole is none."""
    assert parse_content(TEXT.replace(HEAD, HEAD[: MARKER_BYTES // 2])).unread == ("the first 4096 bytes",)
