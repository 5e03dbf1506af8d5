"""Configuration space as ``lspci -x`` prints it, in rows of 16 bytes: what every function tells of itself."""

from __future__ import annotations

import re

from harness.core.pci import PciId

_ROW = re.compile(r"([0-9a-f]{2,3}): ((?:[0-9a-f]{2} ){0,15}[0-9a-f]{2})", re.IGNORECASE)
_ROW_BYTES, _HEADER_BYTES = 16, 64
_REVISION, _PROG_IF, _SUBCLASS, _CLASS, _HEADER, _SECONDARY, _SUBSYSTEM = 0x08, 0x09, 0x0A, 0x0B, 0x0E, 0x19, 0x2C
_MANY_FUNCTIONS = 0x80
_DEVICE, _BRIDGE = 0, 1
_NOBODY = 0xFFFF  # the maker's id of a function that does not answer


def read_row(line: str, position: int) -> bytes:
    """Return a row's bytes; none if the line is no row, or that of another position."""
    match = _ROW.fullmatch(line.strip())
    return bytes.fromhex(match[2]) if match and int(match[1], 16) == position else b""


def read_config(data: bytes) -> dict[str, object]:
    """Return the fields of Told that the header tells; nothing without its first row, or of a function that does not answer."""
    if len(data) < _ROW_BYTES or _word(data, 0) == _NOBODY:
        return {}
    told: dict[str, object] = {
        "id": _pair(data, 0),
        "kind": data[_CLASS] << 8 | data[_SUBCLASS],
        "prog_if": data[_PROG_IF],
        "revision": data[_REVISION],
    }
    if len(data) >= _HEADER_BYTES and data[_HEADER] & ~_MANY_FUNCTIONS == _DEVICE and _word(data, _SUBSYSTEM):
        told["subsystem"] = _pair(data, _SUBSYSTEM)
    return told


def read_secondary(data: bytes) -> int | None:
    """Return the number of the bus below a bridge, None for any other function."""
    is_bridge = len(data) >= _HEADER_BYTES and data[_HEADER] & ~_MANY_FUNCTIONS == _BRIDGE
    return data[_SECONDARY] if is_bridge else None


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _pair(data: bytes, at: int) -> str:
    return str(PciId(_word(data, at), _word(data, at + 2)))
