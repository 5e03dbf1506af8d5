"""A Capture: what was read from a host, and what could not be.

The only input of facts. A probe over a connection makes one, and so can anything else that holds files of a host.
"""

from __future__ import annotations

import enum
import functools
import posixpath
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from harness.core.text import decode_text

SECTION_FOLDER = "sections"
"""Items below it say how each section of the probe ended: READ (complete) or TIMED_OUT."""

SECTION_PATHS: Mapping[str, tuple[str, ...]] = {
    "kernel": (
        "proc/cmdline",
        "proc/version",
        "proc/consoles",
        "proc/meminfo",
        "proc/self/status",
        "proc/self/limits",
        "proc/sys/kernel",
        "proc/xen",
        "sys/hypervisor",
        "sys/kernel/security",
        "sys/class/dmi",
        "sys/class/tty/console",
        "etc/os-release",
        "run/ostree-booted",
        "run/systemd/container",
        "run/.containerenv",
        ".dockerenv",
        "commands/ssh-connection",
    ),
    "cpu": ("proc/cpuinfo", "proc/interrupts"),
    "iommu": ("sys/class/iommu", "sys/kernel/iommu_groups"),
    "acpi": ("sys/firmware/acpi",),
    "pci": ("sys/bus/pci",),
    "links": (),  # attributes of what pci asks for
    "usb": ("sys/bus/usb", "sys/class/tty"),
    "seat": ("proc/bus/input", "run/systemd/sessions"),
    "block": (
        "sys/class/block",
        "sys/fs/ext4",
        "sys/fs/xfs",
        "sys/fs/f2fs",
        "sys/fs/erofs",
        "sys/fs/btrfs",
        "commands/zpool",
        "commands/udev-filesystems",
    ),
    "mounts": ("proc/self/mountinfo", "proc/swaps"),
    "net": ("sys/class/net", "proc/net"),
    "modules": ("proc/modules", "sys/module", "etc/modprobe.d", "lib/modprobe.d", "commands/vfio-modules"),
    "devices": ("dev/kvm", "dev/vfio"),
    "holders": ("commands/holders",),
    "log": ("commands/dmesg",),
    "qemu": ("commands/qemu",),
    "tools": ("commands/tools",),
}
"""What each section of the probe asks for: names, and folders with all that is below them."""

SELF = ".self"
"""In a tree, the file that holds what belongs to its folder itself: a list, or where a link leads."""

_SYSFS = "sys/"
_REAL_DEVICES = "sys/devices"
_LINK_STARTS = (b"../", b"./", b"/sys/")
_MAX_HOPS = 40  # as the kernel's own limit on links in one path


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

    @cached_property
    def text(self) -> str:
        """Return the content as plain text without surrounding white space (see ``decode_text``)."""
        return decode_text(self.data).strip()


ABSENT = Item(Status.ABSENT)


@dataclass(frozen=True)
class Capture:
    """Items by name: a path without its leading slash (``proc/cmdline``), or ``commands/NAME``.

    ``scope`` holds the names and folders that the host was asked for, beside what the capture holds; None: whatever a probe asks.
    A tree made by hand was seldom asked for everything: there, most of what is not in it is unknown.
    """

    items: Mapping[str, Item] = field(default_factory=dict)
    taken: str = ""
    scope: tuple[str, ...] | None = None

    def get(self, name: str) -> Item:
        """Return the item of that name, found through links as well; what the capture does not hold is absent."""
        item = self.items.get(name)
        if item is None and self._is_real_tree:
            item = self.items.get(self._resolve(name))
        return item or ABSENT

    def text(self, name: str) -> str | None:
        """Return an item's text, or None if it was not read."""
        item = self.get(name)
        return item.text if item.status is Status.READ else None

    def asked(self, name: str) -> bool:
        """Return whether the host was asked for ``name`` and answered in time: only then does its absence mean "no".

        ``capture.get(name).status is Status.ABSENT and capture.asked(name)`` is "there is none";
        ABSENT and not asked is "unknown".
        """
        item = self.get(name)
        if item.status is not Status.ABSENT or name in self.items:
            return item.status is not Status.TIMED_OUT
        if self.scope is not None and not covers(self.scope, name):
            return False
        return not covers(self._unanswered, name)

    def children(self, folder: str) -> Iterator[str]:
        """Yield the sorted names directly below ``folder``."""
        folder = folder.rstrip("/")
        below = self._index.get(folder, ())
        if self._is_real_tree:
            below = (*below, *self._index.get(posixpath.dirname(self._resolve(f"{folder}/*")), ()))
        yield from sorted(set(below))

    def has(self, folder: str) -> bool:
        """Return whether the capture holds ``folder`` itself or anything below it."""
        return self.get(folder).status is Status.READ or any(True for _ in self.children(folder))

    def asked_section(self, section: str) -> bool:
        """Return whether any of a section's subjects was asked for, or is held."""
        paths = SECTION_PATHS[section]
        if not paths:
            return True
        return any(covers(paths, name) for name in self.scope or ()) or any(self.asked(path) or self.has(path) for path in paths)

    @cached_property
    def _index(self) -> Mapping[str, tuple[str, ...]]:
        """What lies directly below each folder; made once, for a host has thousands of items."""
        below: dict[str, dict[str, None]] = defaultdict(dict)
        for name in self.items:
            folder, _, last = name.rpartition("/")
            while folder and last not in below[folder]:
                below[folder][last] = None
                folder, _, last = folder.rpartition("/")
        return {folder: tuple(names) for folder, names in below.items()}

    @cached_property
    def _unanswered(self) -> tuple[str, ...]:
        """What the sections ask for that did not end in time."""
        sections = (name for name in SECTION_PATHS if self.get(f"{SECTION_FOLDER}/{name}").status is Status.TIMED_OUT)
        return tuple(path for section in sections for path in SECTION_PATHS[section])

    @cached_property
    def _is_real_tree(self) -> bool:
        """Whether attributes lie where they really are, and not under the name by which the probe finds them."""
        return _REAL_DEVICES in self._index

    def _resolve(self, name: str) -> str:
        """Return where a name in sysfs leads when the links on its way are followed; what is no link stays as it is."""
        done, rest, hops = "", name.split("/"), 0
        while rest:
            done = posixpath.join(done, rest.pop(0))
            item = self.items.get(done) if rest and done.startswith(_SYSFS) else None
            if item is not None and item.data.startswith(_LINK_STARTS) and hops < _MAX_HOPS:
                target = posixpath.normpath(posixpath.join("/", posixpath.dirname(done), item.text))
                done, rest, hops = "", [*target.strip("/").split("/"), *rest], hops + 1
        return done


def covers(paths: Iterable[str], name: str) -> bool:
    """Return whether one of the paths is ``name`` or a folder above it; ``folder/*`` is a folder and its entries alone."""
    whole, flat = _told_apart(tuple(paths))
    above = name.rpartition("/")[0]
    if name in whole or name in flat or above in flat:
        return True
    while above and above not in whole:
        above = above.rpartition("/")[0]
    return bool(above)


@functools.lru_cache
def _told_apart(paths: tuple[str, ...]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the paths that cover all that is below them, and the folders that cover their entries alone."""
    whole = frozenset(path for path in paths if not path.endswith("/*"))
    return whole, frozenset(path[:-2] for path in paths if path.endswith("/*"))


def is_plain(name: str) -> bool:
    """Return whether a name can be a file in a tree: relative, printable, and every part of it a name."""
    return name.isprintable() and name == name.strip() and not {"", ".", "..", SELF} & set(name.split("/"))
