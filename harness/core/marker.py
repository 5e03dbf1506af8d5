"""The scratch marker: a block at the start of a disk that says its content is nobody's, and may be written over.

It begins with an MBR whose one partition, of type 0xDA (data without a file system), covers the rest of the disk: installers
and desktops see a disk that is taken, not free space to format. Behind the MBR stands what the marker says, in words. Whoever
writes a partition table, a file system or a header of LVM, LUKS or swap at the start spoils the block: it is no marker any more.
"""

from __future__ import annotations

import hashlib
import struct

import msgspec

MARKER_BYTES = 4096
"""One block of the largest kind that disks have."""
FIRST_MIB = 1
"""Where the partition begins: what lies before it is not written to, the marker apart."""
VERSION = 1

_MIB = 1 << 20
_MBR_BYTES = 512
_MAGIC = b"throughpass scratch disk\n"
_TYPE_DATA = 0xDA
_MOST_SECTORS = 0xFFFFFFFF
# int 0x18, then a loop: firmware that takes the disk for a bootable one goes on to the next, and no board hangs at a reboot.
_BOOT_CODE = bytes.fromhex("cd18ebfe")
_NO_CYLINDERS = bytes.fromhex("feffff")


class Marker(msgspec.Struct, frozen=True):
    """What a marker says: whose it is (serial and size of the disk), when it was put there and by whom."""

    serial: str
    size_bytes: int
    block_bytes: int  # of the disk's logical blocks, in which an MBR counts
    made: str  # ISO 8601, UTC
    by: str
    version: int = VERSION


class SpoiltMarkerError(ValueError):
    """The block says that it is a marker, and is not as one was written."""


def encode_marker(marker: Marker) -> bytes:
    """Return the block. Raises ValueError for a disk that is too small, or a text that does not fit."""
    mbr = _mbr(marker)
    text = _MAGIC + msgspec.json.encode(marker) + b"\n"
    text += hashlib.sha256(mbr + text).hexdigest().encode() + b"\n"
    if len(text) > MARKER_BYTES - _MBR_BYTES:
        raise ValueError(f"a marker of {len(text)} bytes does not fit into its block")
    return (mbr + text).ljust(MARKER_BYTES, b"\0")


def decode_marker(block: bytes) -> Marker | None:
    """Return the marker that a block holds, None where there is none; raise SpoiltMarkerError for one that is not whole.

    Every byte counts: the block must be the one that its words give again.
    """
    text = block[_MBR_BYTES:MARKER_BYTES]
    if not text.startswith(_MAGIC):
        return None
    words = text.removeprefix(_MAGIC).partition(b"\n")[0]
    try:
        version = msgspec.json.decode(words, type=_Version).version
        if version > VERSION:
            raise SpoiltMarkerError(f"the marker is of version {version}, this throughpass knows {VERSION}: use a newer one")
        marker = msgspec.json.decode(words, type=Marker)
        whole = encode_marker(marker) == block[:MARKER_BYTES]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SpoiltMarkerError("the marker's words cannot be read") from error
    if not whole:
        raise SpoiltMarkerError("the marker is not as it was written: somebody has written to the start of the disk")
    return marker


def _mbr(marker: Marker) -> bytes:
    """Return the first 512 bytes: boot code that leaves, an identity of the disk, one partition, the sign of an MBR."""
    start = FIRST_MIB * _MIB // marker.block_bytes
    sectors = min(marker.size_bytes // marker.block_bytes - start, _MOST_SECTORS)
    if sectors <= 0:
        raise ValueError(f"a disk of {marker.size_bytes} bytes has no room behind a marker")
    identity = hashlib.sha256(f"{marker.serial} {marker.made}".encode()).digest()[:4]
    entry = struct.pack("<B3sB3sII", 0, _NO_CYLINDERS, _TYPE_DATA, _NO_CYLINDERS, start, sectors)
    return _BOOT_CODE.ljust(440, b"\0") + identity + b"\0\0" + entry.ljust(64, b"\0") + b"\x55\xaa"


class _Version(msgspec.Struct):
    version: int
