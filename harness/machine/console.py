"""A serial console: the whole transcript kept, pexpect upon it, death strings that end any wait at once."""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pexpect
from pexpect.spawnbase import SpawnBase

from harness.core.deadline import Deadline
from harness.core.errors import BoardError

DEATH = (
    r"Kernel panic - not syncing[^\r\n]*",
    r"\bOops: [^\r\n]*",
    r"BUG: unable to handle[^\r\n]*",
    r"Unable to mount root fs[^\r\n]*",
    r"throughpass: no disk labelled[^\r\n]*",
)
"""What a kernel prints when nothing more will come."""

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")
_TAIL = 2000
_PIECE = 65536
_LAST_WORDS_S = 0.2


class Transcript:
    """Every byte that a socket gives, in a file, as it comes: a thread reads on whether or not anybody waits.

    A machine whose console nobody reads comes to a stop once the socket's buffers are full.
    """

    def __init__(self, connection: socket.socket, log: Path) -> None:
        self._socket = connection
        self._socket.setblocking(True)
        self._file = log.open("w+b", buffering=0)
        self._size = 0
        self._ended = False
        self._changed = threading.Condition()
        self._pump = threading.Thread(target=self._copy, daemon=True, name=f"console {log.name}")
        self._pump.start()

    def _copy(self) -> None:
        with contextlib.suppress(OSError):
            while self._copy_piece():
                pass
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _copy_piece(self) -> bool:
        select.select([self._socket], [], [])
        with self._changed:  # what has left the socket is in the file before anybody looks
            if not (data := self._socket.recv(_PIECE)):
                return False
            self._file.write(data)
            self._size += len(data)
            self._changed.notify_all()
            return True

    def read(self, start: int, size: int, timeout_s: float | None) -> bytes | None:
        """Return what follows the first ``start`` bytes, b"" at the end, None if nothing came in time."""
        with self._changed:
            self._changed.wait_for(partial(self._has_more, start), timeout_s)
            if self._size > start:
                return os.pread(self._file.fileno(), size, start)
            return b"" if self._ended else None

    def settle(self, quiet_s: float = 0.0) -> None:
        """Return when all that has arrived is in the file and, so long, nothing more came."""
        with self._changed:
            while not self._ended:
                before = self._size
                waiting = bool(select.select([self._socket], [], [], 0)[0])
                self._changed.wait_for(partial(self._has_more, before), None if waiting else quiet_s)
                if self._size == before and not waiting:
                    return

    def _has_more(self, than: int) -> bool:
        return self._size > than or self._ended

    def close(self) -> None:
        """End the reading; what has come stays."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._pump.join()
        self._socket.close()
        self._file.close()


class _TranscriptSpawn(SpawnBase):  # type: ignore[type-arg] # generic in its stubs only
    """pexpect upon a transcript: it matches patterns, and reads what is there already."""

    def __init__(self, transcript: Transcript) -> None:
        super().__init__(timeout=None)
        self._transcript = transcript
        self._seen = 0

    def read_nonblocking(self, size: int = 1, timeout: float | None = None) -> Any:
        """Read at most ``size`` bytes, waiting so long for the first."""
        data = self._transcript.read(self._seen, size, timeout)
        if data is None:
            raise pexpect.TIMEOUT("nothing came in time")
        if not data:
            self.flag_eof = True
            raise pexpect.EOF("the console ended")
        self._seen += len(data)
        return data


class Console:
    """The console of one machine; ``log`` receives every byte, as long as the console is open."""

    def __init__(self, connection: socket.socket, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self._transcript = Transcript(connection, log)
        self._spawn = _TranscriptSpawn(self._transcript)  # bytes: a console may say anything

    def wait_for(self, text: str, deadline: Deadline) -> None:
        """Wait until the console prints ``text``; raise BoardError if the machine dies first or the deadline passes."""
        patterns: list[Any] = [re.escape(text).encode(), *(death.encode() for death in DEATH), pexpect.EOF, pexpect.TIMEOUT]
        found = self._spawn.expect(patterns, timeout=deadline.left_s)
        if found == 0:
            return
        if found == len(patterns) - 1:
            raise self._error(f"did not print {text!r} within {deadline.length_s:.0f} s")
        if found == len(patterns) - 2:
            raise self._error(f"ended before it printed {text!r}")
        self.drain(1.0)
        raise self._error(f"died: {self.death()}")

    def drain(self, quiet_s: float = 0.0) -> None:
        """See that the transcript holds what has arrived; with ``quiet_s``, until the end or until so long nothing came."""
        self._transcript.settle(quiet_s)

    def death(self) -> str:
        """Return the first death string that the transcript holds, or nothing."""
        self.drain()
        text = self.log.read_text(encoding="utf-8", errors="replace")
        match = re.search("|".join(DEATH), text)
        return match.group(0).strip() if match else ""

    def tail(self) -> str:
        """Return the end of the transcript without control codes."""
        self.drain()
        return plain(self.log.read_text(encoding="utf-8", errors="replace")[-_TAIL:])

    def close(self) -> None:
        """Keep the rest and close."""
        self.drain(_LAST_WORDS_S)
        self._transcript.close()

    def _error(self, what: str) -> BoardError:
        return BoardError(f"the console of {self.name} {what}; the whole transcript: {self.log.name}", evidence=self.tail())


def plain(text: str) -> str:
    """Return console text without colours, cursor movements and carriage returns."""
    return _CONTROL.sub("", text.replace("\r\n", "\n"))
