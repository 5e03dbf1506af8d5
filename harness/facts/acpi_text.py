"""ACPI tables as people mail them: dumps in hexadecimal by acpidump, hexdump -C, xxd and od, or plain pairs."""

from __future__ import annotations

import re
from typing import NamedTuple

from harness.core.text import decode_text

_TITLE = re.compile(r"^[ \t>]*([A-Z0-9_!]{4}) @ (?:0x)?[0-9A-Fa-f]+[ \t]*$", re.MULTILINE)
_OFFSET = re.compile(r"^(?:([0-9A-Fa-f]{4,8}): ?|([0-9A-Fa-f]{6,8})[ \t]+)(?=[ \t]*[0-9A-Fa-f]{2})")
_END = re.compile(r"^[0-9A-Fa-f]{6,8}$")  # the length, alone on the last line of hexdump and od
_TEXT_COLUMN = re.compile(r"[ ]{3,}|\t|\|")
_PLAIN = re.compile(r"((?:[0-9A-Fa-f]{2}[ \t]*)+)[0-9A-Fa-f]?")  # the last pair may be cut off
_PAIRS = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_ROW_BYTES = 16
_LARGEST_DUMP = 1024 * 1024
_HEADER_BYTES = 36
# The root tables themselves, and what FACP points to: these are not in the root tables' lists.
_UNLISTED = {"RSDP", "RSDT", "XSDT", "FACS", "DSDT"}
_ROOTS = {"XSDT": 8, "RSDT": 4}


class Dump(NamedTuple):
    """What acpidump printed: each table's signature and rows, in their order."""

    tables: tuple[tuple[str, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the signatures, each once."""
        return tuple(dict.fromkeys(name for name, _ in self.tables))

    @property
    def complete(self) -> bool:
        """Return whether all is there that the root table lists: only then a table that is not there does not exist."""
        listed = sum(name not in _UNLISTED for name in (name for name, _ in self.tables))
        for root, width in _ROOTS.items():
            length = int.from_bytes(self.find(root)[4:8], "little")
            if length > _HEADER_BYTES:
                return listed >= (length - _HEADER_BYTES) // width
        return False

    def find(self, name: str) -> bytes:
        """Return the bytes of the first table of that name; empty if there is none."""
        return next((parse_hex(rows) for found, rows in self.tables if found == name), b"")


def read_printed(data: bytes, names: tuple[str, ...]) -> bytes | None:
    """Return the bytes of the table that a text shows, alone or among others; None if this is no such text."""
    text = _decode(data)
    if data[:4].decode("latin-1") in names and not _TITLE.match(text):  # acpidump's text begins with the name as well
        return None
    dump = parse_dump(data)
    if dump.tables:
        return next((found for name in names if (found := dump.find(name))), None)
    return parse_hex(text) or None


def parse_dump(data: bytes) -> Dump:
    """Read acpidump's text with any number of tables."""
    parts = _TITLE.split(_decode(data))
    return Dump(tuple(zip(parts[1::2], parts[2::2], strict=True)))


def parse_hex(text: str) -> bytes:
    """Return the bytes of a dump; a line that is no row, or a row at the wrong offset, ends it."""
    data = bytearray()
    for line in text[:_LARGEST_DUMP].splitlines():
        stripped = line.strip(" \t\r>")
        if not stripped or (not data and _TITLE.match(stripped)):
            continue
        row = _read_row(stripped, len(data))
        if not row:
            break
        data += row
    return bytes(data)


def _read_row(line: str, position: int) -> bytes:
    """Return a row's bytes; none if the line is no row, or its offset is another than ``position``."""
    offset = _OFFSET.match(line)
    if offset is None:
        # Plain pairs: as many in a line as its writer liked, and no text beside them.
        plain = None if _END.match(line) and _is_at(line, position) else _PLAIN.fullmatch(line)
        return bytes.fromhex(plain[1]) if plain else b""
    if not _is_at(offset[1] or offset[2], position):
        return b""
    row = b""
    for word in _TEXT_COLUMN.split(line[offset.end() :].lstrip(), maxsplit=1)[0].split():
        if not _PAIRS.fullmatch(word):
            break
        row += bytes.fromhex(word)
    return row[:_ROW_BYTES]


def _is_at(digits: str, position: int) -> bool:
    """Return whether an offset is the position: od counts in octal unless it is told otherwise, and may count in tens."""
    return any(int(digits, base) == position for base in (16, 10, 8) if all(int(digit, 16) < base for digit in digits))


def _decode(data: bytes) -> str:
    return decode_text(data).replace("\r\n", "\n")
