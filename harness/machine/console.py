"""A serial console: the whole transcript kept, pexpect upon it, death strings that end any wait at once."""

from __future__ import annotations

import contextlib
import math
import os
import re
import select
import socket
import threading
import time
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
    r"throughpass: not renewed[^\r\n]*",
)
"""What a kernel, or our init, prints when nothing more will come."""

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")
_TAIL = 2000
_PIECE = 65536
_LAST_WORDS_S = 0.2
_TICK_S = 1.0
_STEP_S = 0.02  # more than the thread needs from the socket to the file


class Transcript:
    """Every byte that a socket gives, in a file, as it comes: a thread reads on whether or not anybody waits.

    A machine whose console nobody reads comes to a stop once the socket's buffers are full. Who waits, waits on a pipe and takes
    no lock: a signal may raise in the main thread at any place, and a Condition that was left in the middle of a wait is broken.
    """

    def __init__(self, connection: socket.socket, log: Path) -> None:
        self._socket = connection
        self._socket.setblocking(True)
        self._file = log.open("w+b", buffering=0)
        self._size = 0  # what is in the file; only the thread writes it
        self._ended = False
        self._bell, self._rope = os.pipe()  # the thread pulls the rope when something has changed
        os.set_blocking(self._bell, False)
        os.set_blocking(self._rope, False)
        self._pump = threading.Thread(target=self._copy, daemon=True, name=f"console {log.name}")
        self._pump.start()

    def _copy(self) -> None:
        try:
            while data := self._socket.recv(_PIECE):
                self._file.write(data)
                self._size += len(data)
                self._ring()
        except OSError:
            pass  # the connection is gone, which is an end as well
        finally:
            self._ended = True
            self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError):  # a full pipe rings already
            os.write(self._rope, b".")

    def _wait(self, timeout_s: float) -> bool:
        """Return whether something changed within the time."""
        if not select.select([self._bell], [], [], max(0.0, timeout_s))[0]:
            return False
        with contextlib.suppress(BlockingIOError):
            os.read(self._bell, _PIECE)
        return True

    def read(self, start: int, size: int, timeout_s: float | None) -> bytes | None:
        """Return what follows the first ``start`` bytes, b"" at the end, None if nothing came in time."""
        until = time.monotonic() + (timeout_s if timeout_s is not None else math.inf)
        while self._size <= start:
            if self._ended and self._size <= start:
                return b""
            if not self._wait(min(until - time.monotonic(), _TICK_S)) and time.monotonic() >= until:
                return None
        return os.pread(self._file.fileno(), size, start)

    def send(self, data: bytes) -> None:
        """Send something to the other end; raise OSError if it is gone."""
        self._socket.sendall(data)

    def settle(self, quiet_s: float = 0.0) -> None:
        """Return when, for so long, nothing more came, or when the end is in the file."""
        quiet_s = max(quiet_s, _STEP_S)
        seen, until = self._size, time.monotonic() + quiet_s
        while not self._ended and self._pump.is_alive():
            waiting = bool(select.select([self._socket], [], [], 0)[0])
            if waiting or self._size != seen:  # a ring of the bell alone may be an old one
                seen, until = self._size, time.monotonic() + quiet_s
            left_s = until - time.monotonic()
            if left_s <= 0:
                return
            self._wait(left_s)

    def close(self) -> None:
        """End the reading; what has come stays. May be called twice."""
        if self._file.closed:
            return
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._pump.join()
        self._socket.close()
        self._file.close()
        os.close(self._bell)
        os.close(self._rope)


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
        """Wait until the console prints ``text``; raise BoardError if the machine dies first or the deadline passes.

        A deadline that was cut raises DeadlineError: the machine may have had no time.
        """
        patterns: list[Any] = [re.escape(text).encode(), *(death.encode() for death in DEATH), pexpect.EOF, pexpect.TIMEOUT]
        found = self._spawn.expect(patterns, timeout=deadline.left_s)
        if found == 0:
            return
        if found == len(patterns) - 1 and deadline.cut:
            raise deadline.error(self.tail())
        if found == len(patterns) - 1:
            raise self._error(f"did not print {text!r} within {deadline.length_s:.0f} s")
        if found == len(patterns) - 2:
            raise self._error(f"ended before it printed {text!r}")
        self.drain(1.0)
        raise self._error(f"died: {self.death()}")

    def watch(self) -> None:
        """Return when the machine has died, or when its console has ended, however long it takes: one that reboots goes on."""
        self._spawn.expect([*(death.encode() for death in DEATH), pexpect.EOF], timeout=None)
        self.drain(1.0)

    def send_line(self, text: str) -> None:
        """Type a line; raise BoardError if nobody is there any more."""
        try:
            self._transcript.send(text.encode() + b"\n")
        except OSError as error:
            raise self._error(f"ended before it could be told {text!r}") from error

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
