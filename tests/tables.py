"""Pieces of DMAR and IVRS tables, put together byte by byte, and the ways in which people print them."""

from __future__ import annotations

import struct

ENDPOINT, BRIDGE, IOAPIC, HPET, NAMESPACE = 1, 2, 3, 4, 5


def scope(kind: int, bus: int, *steps: tuple[int, int], number: int = 0, flags: int = 0) -> bytes:
    """Return a device scope; ``steps`` are devices with functions, from the bus downwards."""
    path = b"".join(bytes(step) for step in steps)
    return bytes([kind, 6 + len(path), flags, 0, number, bus]) + path


def structure(kind: int, body: bytes, *scopes: bytes) -> bytes:
    """Return a structure of a DMAR table, its type and length before the body."""
    rest = body + b"".join(scopes)
    return struct.pack("<HH", kind, 4 + len(rest)) + rest


def drhd(base: int, *scopes: bytes, flags: int = 0, size: int = 0, segment: int = 0) -> bytes:
    """Return a remapping unit."""
    return structure(0, struct.pack("<BBHQ", flags, size, segment, base), *scopes)


def rmrr(first: int, last: int, *scopes: bytes, segment: int = 0) -> bytes:
    """Return a region of reserved memory."""
    return structure(1, struct.pack("<HHQQ", 0, segment, first, last), *scopes)


def ivhd(kind: int, *entries: bytes, flags: int = 0, features: int = 0, efr: int = 0, efr2: int = 0, **fields: int) -> bytes:
    """Return a block that describes a unit; ``fields`` are ``device``, ``base``, ``segment`` and ``info``."""
    names = {"device": 2, "base": 0xFD000000, "segment": 0, "info": 0} | fields
    rest = struct.pack("<HHQHHI", names["device"], 0x40, names["base"], names["segment"], names["info"], features)
    rest += b"" if kind == 0x10 else struct.pack("<QQ", efr, efr2)
    rest += b"".join(entries)
    return struct.pack("<BBH", kind, flags, 4 + len(rest)) + rest


def entry(kind: int, device: int, settings: int = 0, more: bytes = b"") -> bytes:
    """Return a device entry; ``more`` is what follows its first four bytes."""
    return struct.pack("<BHB", kind, device, settings) + more


def hid_entry(device: int, hid: bytes, uid: bytes, *, uid_format: int = 2) -> bytes:
    """Return an entry for a device of ACPI's namespace."""
    return entry(0xF0, device, 0, struct.pack("<8s8sBB", hid, b"", uid_format, len(uid)) + uid)


def ivmd(kind: int, first: int, length: int, *, device: int = 0, aux: int = 0, flags: int = 8, segment: int = 0) -> bytes:
    """Return a block of reserved memory."""
    return struct.pack("<BBHHHH6xQQ", kind, flags, 32, device, aux, segment, first, length)


def print_acpidump(name: str, data: bytes) -> str:
    """Return a table as acpidump prints it."""
    rows = [data[at : at + 16] for at in range(0, len(data), 16)]
    lines = [f"    {16 * number:04X}: {row.hex(' ').upper():47s}  {_readable(row)}" for number, row in enumerate(rows)]
    return "\n".join([f"{name} @ 0x00000000BF79E0D0", *lines, "", ""])


def print_hexdump(data: bytes) -> str:
    """Return a table as ``hexdump -C`` prints it."""
    rows = [data[at : at + 16] for at in range(0, len(data), 16)]
    halves = [f"{row[:8].hex(' '):23s}  {row[8:].hex(' '):23s}" for row in rows]
    lines = [f"{16 * at:08x}  {half}  |{_readable(row)}|" for at, (half, row) in enumerate(zip(halves, rows, strict=True))]
    return "\n".join([*lines, f"{len(data):08x}"])


def print_xxd(data: bytes) -> str:
    """Return a table as ``xxd`` prints it."""
    rows = [data[at : at + 16] for at in range(0, len(data), 16)]
    return "\n".join(f"{16 * at:08x}: {row.hex(' ', -2):39s}  {_readable(row)}" for at, row in enumerate(rows))


def print_od(data: bytes) -> str:
    """Return a table as ``od -t x1`` prints it: offsets are octal."""
    rows = [data[at : at + 16] for at in range(0, len(data), 16)]
    return "\n".join([*(f"{16 * at:07o} {row.hex(' ')}" for at, row in enumerate(rows)), f"{len(data):07o}"])


def _readable(row: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
