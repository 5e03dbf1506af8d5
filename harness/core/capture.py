"""A Capture: what was read from a host, and what could not be.

The only input of facts. A probe over a connection makes one, and so can anything else that holds files of a host.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


class Status(enum.Enum):
    """How reading one item ended."""

    READ = "read"
    ABSENT = "absent"
    DENIED = "denied"
    TIMED_OUT = "timed out"


@dataclass(frozen=True)
class Item:
    """The content of one path or command (links: their target), or why there is none."""

    status: Status
    data: bytes = b""

    @property
    def text(self) -> str:
        """Return the content as text without surrounding white space; undecodable bytes are replaced."""
        return self.data.decode("utf-8", "replace").strip()


ABSENT = Item(Status.ABSENT)


@dataclass(frozen=True)
class Capture:
    """Items by name: a path without its leading slash (``proc/cmdline``), or ``commands/NAME``."""

    items: Mapping[str, Item] = field(default_factory=dict)
    taken: str = ""

    def get(self, name: str) -> Item:
        """Return the item of that name; what was never asked for is absent."""
        return self.items.get(name, ABSENT)

    def text(self, name: str) -> str | None:
        """Return an item's text, or None if it was not read."""
        item = self.get(name)
        return item.text if item.status is Status.READ else None

    def children(self, folder: str) -> Iterator[str]:
        """Yield the sorted names directly below ``folder``."""
        prefix = folder.rstrip("/") + "/"
        seen = {name[len(prefix) :].split("/", 1)[0] for name in self.items if name.startswith(prefix)}
        yield from sorted(seen)

    def has(self, folder: str) -> bool:
        """Return whether the capture holds ``folder`` itself or anything below it."""
        return self.get(folder).status is Status.READ or any(True for _ in self.children(folder))
