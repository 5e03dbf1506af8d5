"""What the ACPI tables have in common: a header with a checksum, and structures that tell their own type and length."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

BODY_OFFSET = 48
"""DMAR and IVRS alike: 12 bytes of fixed fields follow the header."""

LARGEST_TABLE = 256 * 1024
"""No real DMAR or IVRS has a tenth of this; what follows is not looked at, so that junk is done with quickly."""

_HEADER = struct.Struct("<4sIBB6s8sI4sI")

Measure = Callable[[bytes, int], tuple[int, int]]
"""Returns the type and the length of what begins at a position."""


class Table(msgspec.Struct, frozen=True):
    """One table: ``status`` is ``present``, ``absent``, ``denied``, ``broken`` (not a table) or ``unknown``; lengths in bytes.

    ``source`` is ``sysfs``, or the capture's item that told of the table (``commands/acpidump``); empty without one.
    """

    status: str = "unknown"
    length: int = 0  # as its header says
    length_read: int = 0
    truncated: bool = False  # less was read than the header says
    checksum_valid: bool = False
    revision: int = 0
    oem: str = ""
    oem_revision: int = 0
    creator: str = ""
    creator_revision: int = 0
    source: str = ""

    @property
    def has_body(self) -> bool:
        """Return whether the fixed fields are there, so that there is something to decode."""
        return self.status == "present" and self.length_read >= BODY_OFFSET


class UnknownStructure(msgspec.Struct, frozen=True):
    """A structure of a type that has no meaning here; ``length`` in bytes, with its own head."""

    type: int
    length: int


class Span(NamedTuple):
    """A structure, and where it lies in its table."""

    type: int
    start: int
    end: int

    @property
    def length(self) -> int:
        """Return its length in bytes."""
        return self.end - self.start


def parse_table(data: bytes, signatures: tuple[bytes, ...], status: str = "present", source: str = "") -> Table:
    """Read a table's header; data that has none of the signatures is ``broken``."""
    if status != "present":
        return Table(status)
    if len(data) < _HEADER.size or data[:4] not in signatures:
        return Table("broken", length_read=len(data), source=source)
    _, length, revision, _, oem, model, oem_revision, creator, creator_revision = _HEADER.unpack_from(data)
    return Table(
        "present",
        length=length,
        length_read=len(data),
        truncated=len(data) < length,
        checksum_valid=len(data) >= length >= _HEADER.size and sum(data[:length]) % 256 == 0,
        revision=revision,
        oem=" ".join(filter(None, (read_text(oem), read_text(model)))),
        oem_revision=oem_revision,
        creator=read_text(creator),
        creator_revision=creator_revision,
        source=source,
    )


def find_end(data: bytes, table: Table, problems: list[str]) -> int:
    """Return where a table's structures end; adds to ``problems`` what its length makes unreadable."""
    if table.truncated:
        problems.append(f"{table.length_read} of {table.length} bytes were read")
    if table.length < BODY_OFFSET:
        problems.append(f"a length of {table.length} bytes leaves no room for structures")
    if min(table.length, len(data)) > LARGEST_TABLE:
        problems.append(f"only {LARGEST_TABLE} bytes were looked at")
    return min(len(data), table.length, LARGEST_TABLE)


def walk(data: bytes, start: int, end: int, *, head: int, measure: Measure, what: str, problems: list[str]) -> Iterator[Span]:
    """Yield the structures between two positions; one that is shorter than its head, or passes the end, ends the walk."""
    position = start
    while position < end:
        if position + head > end:
            problems.append(f"{end - position} bytes at {position:#x} are no whole {what}")
            return
        kind, length = measure(data, position)
        if length < head:
            problems.append(f"the {what} at {position:#x} (type {kind}) has a length of {length}")
            return
        if position + length > end:
            problems.append(f"the {what} at {position:#x} (type {kind}) passes the end")
            return
        yield Span(kind, position, position + length)
        position += length


def is_whole(span: Span, fixed: int, name: str, problems: list[str]) -> bool:
    """Return whether a structure has its ``fixed`` bytes; adds to ``problems`` if not."""
    if span.length < fixed:
        problems.append(f"the {name} at {span.start:#x} has {span.length} of {fixed} bytes")
    return span.length >= fixed


def read_text(data: bytes) -> str:
    """Return a name of fixed width, without what fills it up; what is no ASCII is replaced."""
    return data.partition(b"\0")[0].decode("ascii", "replace").strip()


def name_bits(value: int, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the bits that are set, the lowest first; an empty name is a reserved bit."""
    return tuple(name for bit, name in enumerate(names) if name and value >> bit & 1)
