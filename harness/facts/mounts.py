"""Mounts and swap areas, as /proc lists them."""

from __future__ import annotations

import re
from typing import NamedTuple

_MINIMUM_WORDS = 6
_LAYERS = ("lowerdir", "datadir", "upperdir", "workdir")


class Mount(NamedTuple):
    """One line of mountinfo: ``device`` is ``8:1``, ``source`` what was mounted, ``layers`` the folders of an overlay."""

    device: str
    point: str
    filesystem: str
    source: str
    layers: tuple[str, ...] = ()

    @property
    def use(self) -> str:
        """Return what the mount is for the host: ``root``, or its mount point."""
        return "root" if self.point == "/" else self.point


def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    """Read /proc/self/mountinfo; lines that are not whole are left out."""
    mounts = []
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        left, right = before.split(" "), after.split(" ")
        if dash and len(left) >= _MINIMUM_WORDS and len(right) >= 2:  # noqa: PLR2004 (file system and source)
            options = right[2] if len(right) > 2 else ""  # noqa: PLR2004 (the options follow)
            layers = parse_layers(options) if right[0] == "overlay" else ()
            mounts.append(Mount(left[2], unescape(left[4]), right[0], unescape(right[1]), layers))
    return tuple(mounts)


def parse_layers(options: str) -> tuple[str, ...]:
    """Return the folders that an overlay's options name; several lower ones are joined by colons (``::`` before data layers)."""
    found: list[str] = []
    for option in re.split(r"(?<!\\),", options):
        key, _, value = option.partition("=")
        if key.rstrip("+") in _LAYERS:
            found.extend(unescape(part).replace("\\:", ":") for part in re.split(r"(?<!\\):+", value) if part)
    return tuple(found)


def parse_swaps(text: str) -> tuple[str, ...]:
    """Return the files and devices of /proc/swaps."""
    return tuple(unescape(line.split()[0]) for line in text.splitlines() if line.startswith("/"))


def unescape(text: str) -> str:
    r"""Return a word of mountinfo as it was: ``\040`` is a space there."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def parse_pools(text: str) -> dict[str, tuple[str, ...]]:
    """Return the disks of each pool in ``zpool status -LP``: ``rpool`` -> ``/dev/sda3``."""
    pools: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["pool:"] and len(words) > 1:
            name = words[1]
            pools[name] = []
        elif name and words and words[0].startswith("/dev/"):
            pools[name].append(words[0])
    return {pool: tuple(disks) for pool, disks in pools.items()}
