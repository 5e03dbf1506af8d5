"""Where images and answers are kept between runs, and who may write there."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from harness.core.errors import BenchError, UsageError

CACHE, SCRATCH = "THROUGHPASS_CACHE", "TMPDIR"
"""The variables by which a user moves what we write."""

Progress = Callable[[str], None]
"""Takes a line for the user: what is going on."""


def silent(_: str) -> None:
    """Say nothing."""


def cache_folder() -> Path:
    """Return the cache's folder, made if need be: THROUGHPASS_CACHE, else the user's cache directory."""
    chosen = os.environ.get(CACHE)
    folder = Path(chosen) if chosen else platformdirs.user_cache_path("throughpass")
    return _made(folder)


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the cache folder {folder} cannot be made ({error.strerror}): set {CACHE} to another") from error
    return folder


@contextmanager
def locked(name: str, *, wait: bool, busy: str, progress: Progress = silent) -> Iterator[None]:
    """Hold the lock ``name`` of this cache; it dies with its holder.

    Raises UsageError with ``busy`` if it is taken and ``wait`` is off.
    """
    path = _made(cache_folder() / "locks") / f"{name}.lock"
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if not wait:
            raise UsageError(busy) from None
        progress(f"{busy}; waiting")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def full_disk_explained(folder: Path, setting: str = CACHE) -> Iterator[None]:
    """Turn "no space left" into a sentence that says where and what to do; ``setting`` is the variable that names the folder."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise BenchError(f"the disk under {folder} is full: free some space there, or set {setting} to another folder") from error


def write_whole(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file of the cache so that nobody ever finds half of it."""
    with full_disk_explained(path.parent), tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as file:
        try:
            file.writelines(pieces)
            file.flush()
            Path(file.name).rename(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def require_space(folder: Path, needed_mib: int, purpose: str, setting: str = CACHE) -> None:
    """Raise UsageError if less than ``needed_mib`` MiB are free under ``folder``."""
    free_mib = shutil.disk_usage(folder).free >> 20
    if free_mib < needed_mib:
        raise UsageError(
            f"{purpose} needs {needed_mib} MiB under {folder}, {free_mib} MiB are free: "
            f"free some space there, or set {setting} to another folder"
        )
