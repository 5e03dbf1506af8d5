"""Snapshots of booted boards: found by all that went into them, checked to the last byte before they are trusted.

No two runs use one at the same time: each key has a few places, and a run holds the first that is free.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness.bench.accelerator import situation
from harness.bench.cache import Progress, cache_folder, locked, silent
from harness.bench.config import BoardSection
from harness.bench.images import file_sha256
from harness.bench.upkeep import LIMIT, keep_within_limit, limit_bytes, snapshot_lock
from harness.core.deadline import Deadline
from harness.core.errors import BenchError, UsageError
from harness.machine.qmp import Qmp
from harness.machine.state import save_state, why_not_savable

FORMAT = 1
"""Of the folder, and of what a restored board is told: to be raised with either."""

PLACES = 4
"""How many runs at a time can restore one and the same board."""

SAVE_LIMIT_S = 60.0
_STATE, _NOTE = "state", "snapshot.json"
_NEW = ".new-"
_FULL_BYTES = 1 << 20
_PATH = re.compile(r"/[^\s,\"']+")


class Note(msgspec.Struct, frozen=True):
    """What a snapshot is, beside its state."""

    format: int
    key: str
    board: str  # the first one's name, for people
    size: int
    sha256: str


@dataclass(frozen=True)
class Ingredients:
    """All that a board's state depends on: what its bench file says, what is in its image, QEMU's program, its command line.

    ``argv`` names nothing that only one run has, or the key would be another each time. What a stick holds follows from its
    serial and size, which ``board`` has.
    """

    board: BoardSection
    image: str
    qemu: Path
    argv: Sequence[str]

    def key(self) -> str:
        """Return the name of the state that comes of these."""
        digest = hashlib.sha256()
        for part in (str(FORMAT), self.image, situation(), file_sha256(self.qemu)):
            digest.update(part.encode() + b"\0")
        digest.update(msgspec.json.encode(self.board) + b"\0")
        for word in self.argv:
            digest.update(word.encode() + b"\0" + "".join(_named_files(word)).encode() + b"\0")
        return digest.hexdigest()[:32]


@contextmanager
def free_place(key: str, board: str, spared: Collection[Path] = (), progress: Progress = silent) -> Iterator[Place | None]:
    """Hold a place for the snapshot of a board, or None if other runs hold them all; ``spared`` stays in the cache."""
    with ExitStack() as stack:
        for number in range(PLACES):
            name = f"{key}-{number}"
            try:
                stack.enter_context(locked(snapshot_lock(name), wait=False, busy=f"another run uses the snapshot {name}"))
            except UsageError:
                continue
            yield Place(key, cache_folder() / "snapshots" / name, board, spared, progress)
            return
        yield None


@dataclass(frozen=True)
class Place:
    """A place for one snapshot in the cache, filled or not, held by us alone."""

    key: str
    folder: Path
    board: str
    spared: Collection[Path] = ()
    progress: Progress = silent

    def find(self) -> Path | None:
        """Return the state's file, or None: there is none, or it is not what was saved, and is removed then."""
        if not self.folder.is_dir():
            return None
        if fault := self._fault():
            self.discard(fault)
            return None
        with suppress(OSError):
            self.folder.touch()  # the order in which the cache is emptied
        return self.folder / _STATE

    def discard(self, why: str) -> None:
        """Remove a snapshot that is of no use, and say why."""
        self.progress(f"the snapshot of {self.board} is discarded: {why}")
        shutil.rmtree(self.folder, ignore_errors=True)

    def save(self, qmp: Qmp) -> None:
        """Save a board that has just booted. Whatever prevents it is said, and no error: the board runs on without."""
        if why := why_not_savable(qmp):
            self.progress(f"no snapshot of {self.board}, it boots each time: {why}")
            return
        self.progress(f"keeping a snapshot of {self.board} for later runs")
        parent = self.folder.parent
        try:
            parent.mkdir(parents=True, exist_ok=True)
            for abandoned in parent.glob(f"{_NEW}{self.folder.name}-*"):  # of a run that was killed: we hold the lock
                shutil.rmtree(abandoned, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=f"{_NEW}{self.folder.name}-", dir=parent) as scratch:
                self._try_to_fill(Path(scratch) / "snapshot", qmp)
        except OSError as error:
            self.progress(f"no snapshot of {self.board} is kept: {error}")

    def _try_to_fill(self, draft: Path, qmp: Qmp) -> None:
        try:
            self._fill(draft, qmp)
        except (BenchError, OSError) as error:  # the draft still takes its space
            self.progress(f"no snapshot of {self.board} is kept: {error}{_full(draft.parent)}")

    def _fill(self, draft: Path, qmp: Qmp) -> None:
        draft.mkdir(mode=0o700)  # it holds the memory of a machine
        state = draft / _STATE
        with state.open("xb") as file:
            save_state(qmp, file, Deadline.after(SAVE_LIMIT_S, f"saving the state of {self.board}"))
        note = Note(FORMAT, self.key, self.board, state.stat().st_size, file_sha256(state))
        (draft / _NOTE).write_bytes(msgspec.json.encode(note))
        shutil.rmtree(self.folder, ignore_errors=True)
        draft.rename(self.folder)
        if not keep_within_limit({self.folder, *self.spared}):
            self.discard(f"with it the cache would hold more than {limit_bytes() >> 20} MiB ({LIMIT})")

    def _fault(self) -> str:
        """Return what is wrong with the snapshot, or nothing."""
        state = self.folder / _STATE
        try:
            note = msgspec.json.decode((self.folder / _NOTE).read_bytes(), type=Note)
            if (note.format, note.key) != (FORMAT, self.key):
                return "it is another board's or another version's"
            if state.stat().st_size != note.size:
                return f"its state has {state.stat().st_size} bytes where {note.size} were saved"
            return "" if file_sha256(state) == note.sha256 else "its state has changed since it was saved"
        except (OSError, msgspec.MsgspecError) as error:
            return f"it cannot be read ({error})"


def _full(folder: Path) -> str:
    """Return a hint if the disk is full: what QEMU says of it is "Broken pipe"."""
    free = shutil.disk_usage(folder).free
    return "" if free > _FULL_BYTES else f" (the disk under {folder} is full)"


def _named_files(word: str) -> Iterator[str]:
    """Yield, for each file that an argument names, what changes when its content does."""
    for name in _PATH.findall(word):
        with suppress(OSError, ValueError):
            found = Path(name).stat()
            yield f"{name} {found.st_size} {found.st_mtime_ns}\0"
