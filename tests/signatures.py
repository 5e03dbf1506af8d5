"""Disks with somebody's data: images that hold the signature of one kind each, as its own tools would leave it.

Where the tool is part of what the suite needs anyway it makes the image. The others' bytes are put together here, only as far as
libblkid looks; whether it recognises them is for the tests to see.
"""

from __future__ import annotations

import struct
import subprocess
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

SIZE_BYTES = 64 << 20
"""The least of which libblkid takes a ZFS seriously."""
_SECTOR = 512
_MD_MAGIC = 0xA92B4EFC


def patched(*parts: tuple[int, bytes]) -> Callable[[Path], None]:
    """Return what writes these bytes at these offsets into an image."""

    def write(path: Path) -> None:
        with path.open("r+b") as file:
            for offset, data in parts:
                file.seek(offset)
                file.write(data)

    return write


def made_by(*argv: str) -> Callable[[Path], None]:
    """Return what runs a program on an image."""

    def write(path: Path) -> None:
        subprocess.run([*argv, str(path)], check=True, capture_output=True)

    return write


def mbr(kind: int = 0x83) -> bytes:
    """Return an MBR with one partition."""
    entry = struct.pack("<B3sB3sII", 0, b"\0\2\0", kind, b"\xfe\xff\xff", 1 if kind == 0xEE else 2048, 16384)
    return bytes(446) + entry + bytes(48) + b"\x55\xaa"


def gpt(own: int, other: int, entries_at: int) -> bytes:
    """Return the header of a GPT at one sector, whose other copy is at another one."""
    entries = bytes(128 * 128)
    last = SIZE_BYTES // _SECTOR - 1
    fields = (
        b"EFI PART",
        0x10000,
        92,
        0,
        0,
        own,
        other,
        34,
        last - 33,
        bytes(range(16)),
        entries_at,
        128,
        128,
        zlib.crc32(entries),
    )
    layout = "<8sIIIIQQQQ16sQIII"
    header = struct.pack(layout, *fields)
    return struct.pack(layout, *fields[:3], zlib.crc32(header), *fields[4:])


def md1(offset: int) -> bytes:
    """Return the superblock of an array's member, version 1.x, that lies at an offset."""
    block = bytearray(256)
    struct.pack_into("<IIII", block, 0, _MD_MAGIC, 1, 0, 0)
    struct.pack_into("<QQQQ", block, 128, 0, SIZE_BYTES // _SECTOR - 64, offset // _SECTOR, 0)
    struct.pack_into("<I", block, 216, _sum(block))
    return bytes(block)


def md0() -> bytes:
    """Return the superblock of an array's member, version 0.90."""
    block = bytearray(4096)
    struct.pack_into("<IIII", block, 0, _MD_MAGIC, 0, 90, 0)
    return bytes(block)


def zfs_label() -> tuple[tuple[int, bytes], ...]:
    """Return the uberblocks of the four labels: two at the start of a disk, two at its end."""
    label = 256 << 10
    uberblock = struct.pack("<QQQ", 0x00BAB10C, 5000, 7)
    starts = (0, label, SIZE_BYTES - 2 * label, SIZE_BYTES - label)
    return tuple((start + (128 << 10) + 1024 * number, uberblock) for start in starts for number in range(8))


def xfs() -> bytes:
    """Return the superblock of an XFS of 4096 blocks of 4 KiB."""
    head = struct.pack(">4sIQQQ16sQ", b"XFSB", 4096, 4096, 0, 0, bytes(range(16)), 2052)
    head += struct.pack(">QQQIIIII", 128, 129, 130, 1, 1024, 4, 0, 1368)
    head += struct.pack(">HHHH12s", 0xB4A4, 512, 512, 8, b"")
    return head + struct.pack(">BBBBBBBB", 12, 9, 9, 3, 10, 0, 0, 25)


def vfat() -> bytes:
    """Return the boot sector of a FAT16."""
    head = struct.pack("<3s8sHBHBHHBHHHII", b"\xeb\x3c\x90", b"mkfs.fat", 512, 4, 4, 2, 512, 32768, 0xF8, 32, 32, 2, 0, 0)
    head += struct.pack("<BBBI11s8s", 0x80, 0, 0x29, 0x12345678, b"SOMEBODY   ", b"FAT16   ")
    return head.ljust(510, b"\0") + b"\x55\xaa"


def lvm() -> bytes:
    """Return the label of an LVM physical volume."""
    return struct.pack("<8sQII8s32s", b"LABELONE", 1, 0, 32, b"LVM2 001", b"A" * 32).ljust(_SECTOR, b"\0")


def luks(version: int) -> bytes:
    """Return the start of a LUKS header."""
    return struct.pack(">6sH", b"LUKS\xba\xbe", version).ljust(4096, b"\0")


def bcache() -> bytes:
    """Return the superblock of a bcache backing device."""
    magic = bytes.fromhex("c68573f64e1a45ca8265f57f48ba6d81")
    return struct.pack("<QQQ16s16s", 0, 8, 1, magic, b"B" * 16).ljust(4096, b"\0")


def btrfs() -> bytes:
    """Return the superblock of a btrfs."""
    block = bytearray(4096)
    struct.pack_into("<16sQQ8s", block, 32, b"F" * 16, 65536, 1, b"_BHRfS_M")
    struct.pack_into("<I", block, 144, 4096)
    return bytes(block)


def _sum(block: bytearray) -> int:
    total: int = sum(struct.unpack("<64I", bytes(block)))
    return (total & 0xFFFFFFFF) + (total >> 32)


_LAST = SIZE_BYTES // _SECTOR - 1
_GPT_BACKUP = (_LAST * _SECTOR, gpt(_LAST, 1, _LAST - 32))

DISKS: Mapping[str, tuple[str, Callable[[Path], None]]] = {
    "mbr": ("dos", patched((0, mbr()))),
    "gpt": ("gpt", patched((0, mbr(0xEE)), (_SECTOR, gpt(1, _LAST, 2)), _GPT_BACKUP)),
    "gpt-backup-alone": ("gpt", patched(_GPT_BACKUP)),
    "ext4": ("ext4", made_by("mkfs.ext4", "-q", "-F")),
    "swap": ("swap", made_by("mkswap", "-q")),
    "vfat": ("vfat", patched((0, vfat()))),
    "xfs": ("xfs", patched((0, xfs()))),
    "btrfs": ("btrfs", patched((64 << 10, btrfs()))),
    "iso9660": ("iso9660", patched((32768, b"\1CD001\1\0".ljust(2048, b" ")))),
    "lvm": ("LVM2_member", patched((_SECTOR, lvm()))),
    "md-0.90": ("linux_raid_member", patched((SIZE_BYTES - (64 << 10), md0()))),
    "md-1.0": ("linux_raid_member", patched((SIZE_BYTES - 8192, md1(SIZE_BYTES - 8192)))),
    "md-1.1": ("linux_raid_member", patched((0, md1(0)))),
    "md-1.2": ("linux_raid_member", patched((4096, md1(4096)))),
    "zfs": ("zfs_member", patched(*zfs_label())),
    "luks1": ("crypto_LUKS", patched((0, luks(1)))),
    "luks2": ("crypto_LUKS", patched((0, luks(2)))),
    "bcache": ("bcache", patched((4096, bcache()))),
}
"""What libblkid calls each kind, and what makes an image of it."""


def make_disk(path: Path, kind: str) -> None:
    """Make an image of a disk of one kind; ``blank`` is one of zeros."""
    with path.open("wb") as file:
        file.truncate(SIZE_BYTES)
    if kind != "blank":
        DISKS[kind][1](path)
