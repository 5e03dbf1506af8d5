"""The scratch marker: one block, whole or nothing."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from harness.core.marker import MARKER_BYTES, VERSION, Marker, SpoiltMarkerError, decode_marker, encode_marker

MARKER = Marker("TP0001", 256 << 20, 512, "2026-01-01T00:00:00+00:00", "somebody@example")


def test_marker_comes_back() -> None:
    """What was written is read again, from a block of the size that was promised."""
    block = encode_marker(MARKER)

    assert len(block) == MARKER_BYTES
    assert decode_marker(block) == MARKER


@given(st.text(max_size=120))
def test_marker_takes_any_serial(serial: str) -> None:
    """Whatever a disk calls itself is kept as it is."""
    marker = replace(MARKER, serial=serial)

    assert decode_marker(encode_marker(marker)) == marker


@given(st.integers(0, MARKER_BYTES - 1), st.integers(1, 255))
def test_marker_with_a_changed_byte_is_none(place: int, change: int) -> None:
    """A block of which any one byte differs is no marker, in its MBR and in the empty end too."""
    block = bytearray(encode_marker(MARKER))
    block[place] ^= change

    try:
        found = decode_marker(bytes(block))
    except SpoiltMarkerError:
        found = None
    assert found is None


@pytest.mark.parametrize("block", [b"", bytes(MARKER_BYTES), b"\x55\xaa" * 2048, encode_marker(MARKER)[:512]])
def test_block_without_a_marker(block: bytes) -> None:
    """What does not say that it is a marker is none, and nothing is wrong with it."""
    assert decode_marker(block) is None


def test_marker_that_was_cut_short_is_spoilt() -> None:
    """A marker whose end is missing is told as one that is not whole."""
    with pytest.raises(SpoiltMarkerError, match="not as it was written"):
        decode_marker(encode_marker(MARKER)[:2048])


def test_marker_of_a_newer_version_says_so() -> None:
    """A marker of a version to come is not judged by what this version knows."""
    with pytest.raises(SpoiltMarkerError, match="use a newer one"):
        decode_marker(encode_marker(replace(MARKER, version=VERSION + 1)))


@pytest.mark.parametrize("block_bytes", [512, 4096])
def test_marker_leaves_no_free_space(block_bytes: int) -> None:
    """The one partition begins at 1 MiB and goes to the end of the disk, in blocks of the disk's own size."""
    block = encode_marker(replace(MARKER, block_bytes=block_bytes))
    active, kind, start, sectors = struct.unpack("<B3xB3xII", block[446:462])

    assert (active, kind, block[510:512]) == (0, 0xDA, b"\x55\xaa")
    assert start * block_bytes == 1 << 20
    assert (start + sectors) * block_bytes == MARKER.size_bytes
    assert not any(block[462:510])


@pytest.mark.parametrize("change", [{"size_bytes": 1 << 20}, {"serial": "x" * 5000}])
def test_marker_that_does_not_fit_is_not_made(change: dict[str, int | str]) -> None:
    """A disk without room behind the marker, and words without room in it, are errors."""
    with pytest.raises(ValueError, match=r"no room|does not fit"):
        encode_marker(replace(MARKER, **change))
