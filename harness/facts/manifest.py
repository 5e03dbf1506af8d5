"""The file ``throughpass-capture`` at the top of a tree: what files alone cannot say of a capture.

Its first line is the name and the format's version; then one line a thing, in any order::

    taken 2026-01-01T00:00:00Z
    asked everything            the host was asked for all that a probe asks for
    asked sys/class/iommu       or for this folder and what is in it
    denied commands/dmesg       there is such a thing, and it may not be read
    timed-out sections/usb      it did not come, or not whole
    absent dev/kvm              it was looked for and is not there
    read sections/cpu           it came, and is empty
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from harness.core.capture import SECTION_FOLDER, Capture, Status, is_plain
from harness.core.errors import UsageError

MANIFEST = "throughpass-capture"
VERSION = 1
_EVERYTHING = "everything"
_STATUSES = {status.value.replace(" ", "-"): status for status in Status}


class Manifest(msgspec.Struct, frozen=True):
    """What the file says; ``scope`` as in a Capture."""

    taken: str = ""
    scope: tuple[str, ...] | None = ()
    statuses: dict[str, Status] = {}


def parse_manifest(text: str) -> Manifest | None:
    """Read the file; None if it is another one. Lines that are not known are left out. Raises UsageError for a later version."""
    first, *lines = text.split("\n")
    magic, _, version = first.strip().partition(" ")
    if magic != MANIFEST or not version.isdecimal():
        return None
    if int(version) > VERSION:
        raise UsageError(f"the capture is of format {version}, and this throughpass reads formats up to {VERSION}: update it")
    pairs = [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]
    asked = tuple(rest for word, rest in pairs if word == "asked")
    return Manifest(
        taken=next((" ".join(rest.split()) for word, rest in pairs if word == "taken"), ""),
        scope=None if _EVERYTHING in asked else asked,
        statuses={name: _STATUSES[word] for word, name in pairs if word in _STATUSES and is_plain(name)},
    )


def format_manifest(capture: Capture) -> str:
    """Return the file for a capture; what was read and is a file of its own is not in it."""
    asked = (_EVERYTHING,) if capture.scope is None else capture.scope
    lines = [
        f"{MANIFEST} {VERSION}",
        f"taken {' '.join(capture.taken.split())}",
        *(f"asked {path}" for path in asked),
        *_status_lines(capture),
    ]
    return "\n".join(lines) + "\n"


def is_file(name: str, status: Status, data: bytes) -> bool:
    """Return whether an item is a file in a tree; others are only lines of the manifest."""
    return bool(data) or (status is Status.READ and not name.startswith(f"{SECTION_FOLDER}/"))


def _status_lines(capture: Capture) -> Iterator[str]:
    for name, item in sorted(capture.items.items()):
        if item.status is not Status.READ or not is_file(name, item.status, item.data):
            yield f"{item.status.value.replace(' ', '-')} {name}"
