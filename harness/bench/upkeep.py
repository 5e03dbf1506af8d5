"""What the cache holds, how large it may become, and how it is emptied. Whatever is removed is made anew when it is wanted."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from harness.bench.cache import cache_folder, locked
from harness.core.errors import UsageError

LIMIT = "THROUGHPASS_CACHE_MIB"
"""The variable that says how large the cache may become."""

LIMIT_MIB = 4096
"""Two images, and some twenty boards."""

KINDS = ("snapshots", "sticks", "images")
"""What is kept under the limit, in the order in which it is given up: an image takes minutes to make, a snapshot seconds."""

_LOCKS = "locks"
_ALSO_OURS = ("kvm-*.json", "logs", "benchmarks")
_UNFINISHED_S = 3600.0
"""Longer than anything is in the making; what is older was left by a process that was killed."""


@dataclass(frozen=True)
class Entry:
    """One thing that is kept: a file or a folder of the cache. ``size`` is what it takes on disk, in bytes."""

    kind: str
    path: Path
    size: int
    used: float

    def remove(self) -> bool:
        """Remove it and return whether it is gone: a snapshot that a run holds stays."""
        name = snapshot_lock(self.path.name)
        held = locked(name, wait=False, busy=f"{name} is held") if self.kind == "snapshots" else nullcontext()
        try:
            with held:
                _remove(self.path)
        except UsageError:
            return False
        return True


def snapshot_lock(name: str) -> str:
    """Return the name of the lock that a run holds while a place for a snapshot is its own."""
    return f"snapshot-{name}"


def limit_bytes() -> int:
    """Return how many bytes the cache may take; raise UsageError for a limit that is no number."""
    text = os.environ.get(LIMIT, "") or str(LIMIT_MIB)
    if not text.isdecimal():
        raise UsageError(f"{LIMIT} is {text!r}: give a number of MiB")
    return int(text) << 20


def entries() -> list[Entry]:
    """Return what the cache keeps under its limit, in the order in which it is given up."""
    found = [entry for kind in KINDS for entry in _entries_of(kind)]
    return sorted(found, key=lambda entry: (KINDS.index(entry.kind), entry.used))


def keep_within_limit(spared: Collection[Path]) -> bool:
    """Remove what was not used for longest until the limit is held; return whether it is. ``spared`` stays."""
    limit, kept = limit_bytes(), entries()
    total = sum(entry.size for entry in kept)
    for entry in kept:
        if total <= limit:
            break
        if entry.path not in spared and entry.remove():
            total -= entry.size
    return total <= limit


def describe_cache() -> str:
    """Return in a line what the cache holds."""
    kept = entries()
    parts = [f"{_count(kept, kind)} of {kind}: {_mib(kept, kind)} MiB" for kind in reversed(KINDS) if _count(kept, kind)]
    total = sum(entry.size for entry in kept) >> 20
    return f"{total} MiB of at most {limit_bytes() >> 20} MiB in {cache_folder()} ({', '.join(parts) or 'nothing yet'})"


def empty_cache() -> int:
    """Remove everything that we keep and return how many bytes that was; raise UsageError while somebody uses it.

    The folder may hold other things, too: whoever was short of space may have named any.
    """
    folder = cache_folder()
    with _all_locks(folder / _LOCKS):
        ours = [path for pattern in (*KINDS, *_ALSO_OURS) for path in folder.glob(pattern)]
        freed = sum(disk_usage(path) for path in ours)
        for path in ours:
            _remove(path)
    return freed


def disk_usage(path: Path) -> int:
    """Return how many bytes of the disk a file or a folder takes; what vanishes meanwhile takes none."""
    total = 0
    for folder, folders, files in os.walk(path):
        total += sum(_blocks(Path(folder, name)) for name in (*folders, *files))
    return total + _blocks(path)


def _blocks(path: Path) -> int:
    try:
        return path.lstat().st_blocks * 512
    except FileNotFoundError:
        return 0


def _remove(path: Path) -> None:
    """Remove a file or a folder; whoever has its files open keeps them."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _all_locks(folder: Path) -> Iterator[None]:
    """Hold every lock that anybody has ever taken in this cache."""
    with ExitStack() as stack:
        for path in sorted(folder.glob("*.lock")):
            try:
                stack.enter_context(FileLock(path).acquire(blocking=False))
            except Timeout:
                raise UsageError(f"the cache is in use ({path.stem}): end that run first; nothing was removed") from None
        yield


def _entries_of(kind: str) -> Iterator[Entry]:
    folder = cache_folder() / kind
    for path in folder.iterdir() if folder.is_dir() else ():
        try:
            used = path.stat().st_mtime
        except FileNotFoundError:
            continue
        if not path.name.startswith(".") or time.time() - used > _UNFINISHED_S:  # what is being made is nobody's to remove
            yield Entry(kind, path, disk_usage(path), used)


def _count(kept: list[Entry], kind: str) -> int:
    return sum(1 for entry in kept if entry.kind == kind)


def _mib(kept: list[Entry], kind: str) -> int:
    return sum(entry.size for entry in kept if entry.kind == kind) >> 20
