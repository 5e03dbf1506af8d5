"""The probe: one shell script that prints all of a host's facts in one round trip, and the reading of what it printed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import NamedTuple

from harness.core.capture import SECTION_FOLDER, SECTION_PATHS, Capture, Item, Status, is_plain
from harness.core.deadline import Deadline
from harness.core.errors import BenchError
from harness.transport.protocol import Transport

PROBE_SCRIPT: str = resources.files("harness.facts").joinpath("probe.sh").read_text(encoding="utf-8")
"""POSIX shell, read-only, for the standard input of ``sh -s``; its standard output is for ``parse_probe``."""

PROBE_TIMEOUT_S = 120.0
"""A section that hangs is left behind after seconds."""

SECTIONS: tuple[str, ...] = tuple(re.findall(r"^section_(\w+)\(\)", PROBE_SCRIPT, re.MULTILINE))
"""Its subjects; those that are not photographed are not missing in a capture, they were never asked for."""

_HEADER = re.compile(rb"@tp (read|texts|lines|hex|denied|timed-out) (\d{1,9}) ([^\n]+)\n")
_NEXT_HEADER = re.compile(rb"\n@tp (?:read|texts|lines|hex|denied|timed-out) \d{1,9} [^\n]+\n")
_HEADING = re.compile(rb"(?:\A|\n)==> ([^\n]+) <==(?:\n|\Z)")  # head's, before each of several files
_STATUS = {b"denied": Status.DENIED, b"timed-out": Status.TIMED_OUT}
_EVIDENCE_BYTES = 500


class _Printed(NamedTuple):
    items: Mapping[str, Item]
    end: int  # where what follows begins


def take_sections(transport: Transport, *sections: str, deadline: Deadline | None = None) -> Capture:
    """Read a host's facts in one round trip: the sections that are named, or all.

    Raises BenchError with what the host said instead, where it ran no shell for us.
    """
    result = transport.run(["sh", "-s", *sections], stdin=PROBE_SCRIPT.encode(), timeout_s=PROBE_TIMEOUT_S, deadline=deadline)
    if _HEADER.search(result.stdout) is None:
        said = "\n".join(filter(None, (result.stdout.decode("utf-8", "replace").strip(), result.error_text)))[-_EVIDENCE_BYTES:]
        answer = f"it said {' '.join(said.split())!r}" if said else "it said nothing"
        raise BenchError(
            f"{transport.name} let us log in and ran no POSIX shell for us (status {result.status}): {answer}",
            evidence=said if "\n" in said else "",  # one line is told by the sentence
            remedy="log in as a user who has a shell, or take a capture there by hand (docs/captures.md)",
        )
    return parse_probe(result.stdout)


def parse_probe(output: bytes) -> Capture:
    """Read what the probe printed.

    Output that was cut short gives what came: the item in which it ends and every section that is missing are TIMED_OUT,
    so that silence is never read as absence. Raises BenchError if there is no item at all.
    """
    items: dict[str, Item] = {}
    start = _HEADER.search(output)  # a login banner or a shell's complaint may come first
    if start is None:
        tail = output[-_EVIDENCE_BYTES:].decode("utf-8", "replace")
        raise BenchError("the probe printed nothing that can be read: is the remote shell a POSIX shell?", evidence=tail)
    position: int | None = start.start()
    while position is not None:
        printed = _parse_item(output, position)
        items |= {name: item for name, item in printed.items.items() if is_plain(name)}
        following = _HEADER.search(output, printed.end)
        position = following.start() if following else None
    taken = " ".join(items.pop("taken", Item(Status.ABSENT)).text.split())
    announced = items.pop("sections", Item(Status.ABSENT)).text.split()
    items.pop("end", None)
    return Capture(_with_missing_sections(items, announced), taken, _scope(announced))


def _parse_item(output: bytes, position: int) -> _Printed:
    header = _HEADER.match(output, position)
    assert header is not None  # the caller found it there
    kind, length, name = header.groups()
    end = header.end() + int(length)
    complete = output[end : end + 1] == b"\n" and (end + 1 == len(output) or _HEADER.match(output, end + 1) is not None)
    if not complete:
        # The writer was killed, the connection ended, or the shell counts characters: the data goes on to the next header.
        following = _NEXT_HEADER.search(output, header.end() - 1)
        end = following.start() if following else len(output)
    data = output[header.end() : max(end, header.end())]
    status = Status.TIMED_OUT if len(data) < int(length) else _STATUS.get(kind, Status.READ)
    if kind == b"texts":
        return _Printed(_parse_texts(data, status), max(end, header.end()))
    if kind == b"lines":
        return _Printed(_parse_lines(data, status), max(end, header.end()))
    if kind == b"hex":
        data = _parse_hex(data)
    return _Printed({name.decode("utf-8", "replace"): Item(status, data)}, max(end, header.end()))


def _parse_texts(data: bytes, last: Status) -> Mapping[str, Item]:
    """Return the files that ``head`` printed under headings; ``last`` is how the last of them ended."""
    _, *parts = _HEADING.split(data)
    found: dict[str, Item] = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        found.setdefault(name.decode("utf-8", "replace"), Item(Status.READ, text.removesuffix(b"\n")))
    if last is not Status.READ and found:
        name, item = found.popitem()
        found[name] = Item(last, item.data)
    return found


def _parse_lines(data: bytes, status: Status) -> Mapping[str, Item]:
    """Return the lines of each file that ``grep`` found something in."""
    found: dict[str, list[bytes]] = {}
    for line in data.split(b"\n"):
        name, colon, text = line.partition(b":")
        if colon:
            found.setdefault(name.decode("utf-8", "replace"), []).append(text)
    return {name: Item(status, b"\n".join(lines)) for name, lines in found.items()}


def _parse_hex(text: bytes) -> bytes:
    """Return the bytes that ``od -An -v -tx1`` or ``xxd -p`` printed, up to the first thing that is not one."""
    values = bytearray()
    for word in text.split():
        if not re.fullmatch(rb"(?:[0-9a-fA-F]{2})+", word):
            break
        values += bytes.fromhex(word.decode("ascii"))
    return bytes(values)


def _with_missing_sections(items: dict[str, Item], announced: Sequence[str]) -> dict[str, Item]:
    missing = {name for section in announced if (name := f"{SECTION_FOLDER}/{section}") not in items}
    return items | dict.fromkeys(missing, Item(Status.TIMED_OUT))


def _scope(announced: Sequence[str]) -> tuple[str, ...] | None:
    """Return what the announced sections ask for; None is everything."""
    if not announced or set(SECTIONS) <= set(announced):
        return None
    return tuple(path for section in announced for path in SECTION_PATHS.get(section, ()))
