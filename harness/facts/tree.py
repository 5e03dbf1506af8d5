"""A folder or a tar archive as a Capture: one made by ``throughpass collect``, by hand, or an sosreport.

Nothing is extracted, and no link is followed: where it leads is an item's text, as in sysfs.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from harness.core.capture import ABSENT, SECTION_FOLDER, SECTION_PATHS, SELF, Capture, Item, Status, is_plain
from harness.core.errors import UsageError
from harness.facts.layout import LISTINGS, Position, find_position, find_scope
from harness.facts.manifest import MANIFEST, parse_manifest
from harness.facts.unpack import MAX_MEMBER_BYTES, MAX_MEMBERS, Archive, Member

MAX_KEPT_BYTES = 64 << 20
EXPECTED = "proc/cpuinfo, sys/kernel/iommu_groups/..., commands/dmesg, commands/lspci (docs/captures.md)"
_STAND_IN = 30  # from this rank on, a place is not one of the capture's own
_FIRMWARE = "sys/firmware/"
_REFUSAL = re.compile(rb"\A[\w./ -]{1,80}: [^\n]*(operation not permitted|permission denied)\s*\Z", re.IGNORECASE)


class _Found(NamedTuple):
    rank: int
    item: Item


@dataclass
class _Tree:
    """What was found so far, by the folders above a tree's top: an archive may hold several."""

    source: Path
    found: dict[str, dict[str, _Found]] = field(default_factory=lambda: defaultdict(dict))
    listed: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    seen: int = 0
    kept_bytes: int = 0

    def count(self) -> None:
        """Count a member. Raises UsageError for too many."""
        self.seen += 1
        if self.seen > MAX_MEMBERS:
            raise UsageError(f"{self.source} has more than {MAX_MEMBERS} members: that is no capture")

    def wants(self, path: str, *, link: bool = False) -> bool:
        """Return whether the file at a path is something of a capture; of links those in sysfs are."""
        position = _find(path)
        return position is not None and (not link or position.place.name.startswith("sys/"))

    def add(self, path: str, item: Item) -> None:
        """Keep an item that is wanted, unless there is a better source of it. Raises UsageError above the bound."""
        position = _find(path)
        if position is None:
            return
        name, rank = position.place
        before = self.found[position.above].get(name)
        if before is None or rank <= before.rank:
            self.found[position.above][name] = _Found(rank, item)
        self.kept_bytes += len(item.data)
        if self.kept_bytes > MAX_KEPT_BYTES:
            raise UsageError(f"{self.source} holds more than {MAX_KEPT_BYTES >> 20} MiB of what a capture is made of")

    def add_large(self, path: str) -> None:
        """Note a file above the bound: one of the capture's own must be made shorter, a log of many that may stand in is left."""
        position = _find(path)
        if position is not None and position.place.rank < _STAND_IN:
            raise UsageError(f"{path} in {self.source} is larger than {MAX_MEMBER_BYTES >> 20} MiB: shorten it")
        self.add(path, Item(Status.TIMED_OUT))

    def add_folder(self, path: str) -> None:
        """Note a folder whose entries tell what there is."""
        for listing in LISTINGS:
            if f"/{path}".endswith(f"/{listing}"):
                self.listed[path[: -len(listing)].rstrip("/")].add(listing)

    def finish(self, *, cut: bool) -> Capture:
        """Return the tree whose top lies highest. Raises UsageError if there is none, or several side by side."""
        tops = {*self.found, *self.listed}
        highest = sorted(top for top in tops if not any(_is_above(other, top) for other in tops))
        if not highest:
            raise UsageError(f"{self.source} holds nothing of a capture, such as {EXPECTED}")
        if len(highest) > 1:
            raise UsageError(f"{self.source} holds several captures: {', '.join(highest)}", remedy="give one of them")
        return _make_capture(self.found[highest[0]], self.listed[highest[0]], cut=cut)


def read_capture(path: Path) -> Capture:
    """Read a folder or an archive. Raises UsageError for what is neither, or holds nothing of a capture."""
    return read_folder(path) if path.is_dir() else read_archive(path)


def read_archive(path: Path) -> Capture:
    """Read a tar archive, packed or not, without extracting it; after a damage, what was whole is kept and the rest unknown."""
    tree, archive = _Tree(path), Archive(path)
    kept: dict[str, Item] = {}  # for hard links, which name an earlier member
    for member in archive.members():
        tree.count()
        name = _normalise(member.name, path)
        item = _item_of(member, kept, path)
        if member.large:
            tree.add_large(name)
        elif item is None:
            tree.add_folder(name)
        elif tree.wants(name, link=member.target is not None and not member.hard):
            kept[name] = item
            tree.add(name, item)
    return tree.finish(cut=archive.cut)


def read_folder(path: Path) -> Capture:
    """Read a folder. Raises UsageError for the root of a system that runs: its files are no photograph, and some never end."""
    if os.path.ismount(path / "proc"):
        raise UsageError(f"{path} is a running system, not a capture", remedy="leave --from out to read the host itself")
    tree = _Tree(path)
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        tree.add_folder(folder)
        try:
            with os.scandir(path / folder) as entries:
                present = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            tree.add(f"{folder}/{SELF}", Item(Status.DENIED))
            continue
        for entry in present:
            tree.count()
            name = f"{folder}/{entry.name}".lstrip("/")
            if entry.is_dir(follow_symlinks=False):
                waiting.append(name)
            elif tree.wants(name, link=entry.is_symlink()):
                _add_entry(tree, name, entry)
    return tree.finish(cut=False)


def _add_entry(tree: _Tree, name: str, entry: os.DirEntry[str]) -> None:
    if entry.is_symlink():
        tree.add(name, Item(Status.READ, os.fsencode(Path(entry.path).readlink())))
    elif entry.is_file(follow_symlinks=False):
        data = _read_file(entry.path)
        if data is not None and len(data) > MAX_MEMBER_BYTES:
            tree.add_large(name)
        else:
            tree.add(name, Item(Status.DENIED) if data is None else Item(Status.READ, data))


def _read_file(path: str) -> bytes | None:
    """Return a file's bytes, one more than the bound at most; None if it cannot be read."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            return file.read(MAX_MEMBER_BYTES + 1)
    except OSError:
        return None


def _find(path: str) -> Position | None:
    inner = path.removesuffix(f"/{SELF}")
    return find_position(inner) if is_plain(inner) else None


def _normalise(name: str, source: Path) -> str:
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise UsageError(f"{source} has a member named {name!r}: a name with .. may lead anywhere and is refused")
    return "/".join(parts)


def _item_of(member: Member, kept: Mapping[str, Item], source: Path) -> Item | None:
    """Return what a member is, None for a folder. A hard link is the file that it names; a lost one is unknown."""
    if member.target is None:
        return None if member.data is None else Item(Status.READ, member.data)
    if member.hard:
        return kept.get(_normalise(member.target, source), Item(Status.TIMED_OUT))
    return Item(Status.READ, member.target.encode("utf-8", "surrogateescape"))


def _is_above(one: str, other: str) -> bool:
    return one != other and (one == "" or other.startswith(f"{one}/"))


def _make_capture(found: Mapping[str, _Found], listed: Iterable[str], *, cut: bool) -> Capture:
    items = {name: entry.item for name, entry in found.items()}
    manifest = parse_manifest(items.pop(MANIFEST, ABSENT).text)
    if manifest is None:
        items = dict(_clean(items))
        items |= {name: Item(Status.READ) for name in listed if not any(other.startswith(f"{name}/") for other in items)}
    else:
        items |= {name: Item(status, items.get(name, ABSENT).data) for name, status in manifest.statuses.items()}
    scope = find_scope(items) if manifest is None else manifest.scope
    if cut:
        # Whatever did not come may have been in the rest.
        scope = ()
        items |= {f"{SECTION_FOLDER}/{section}": Item(Status.TIMED_OUT) for section in SECTION_PATHS}
    return Capture(items, manifest.taken if manifest else "", scope)


def _clean(items: Mapping[str, Item]) -> Iterator[tuple[str, Item]]:
    """Yield the items that say something, of a tree in which nobody noted what could not be read."""
    for name, item in items.items():
        data = item.data
        if name.startswith(("proc/", "sys/")) and not name.startswith(_FIRMWARE):
            data = data.rstrip(b"\0")  # tar fills up to the 4096 bytes that sysfs claims for every file
        if item.status is Status.READ and not data and name.startswith(("proc/", "commands/")):
            continue  # tar takes the files of /proc for empty; and a program that is not there leaves an empty file
        refused = name.startswith("commands/") and _REFUSAL.match(data)
        yield name, Item(Status.DENIED if refused else item.status, data)
