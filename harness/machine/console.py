"""A serial console: pexpect on its socket, the whole transcript kept, death strings that end any wait at once."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import IO, Any

import pexpect
from pexpect.socket_pexpect import SocketSpawn

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


class _LoggedSocket(SocketSpawn):  # type: ignore[type-arg] # generic in its stubs only
    """A socket whose every byte goes to the log: pexpect 4.9's SocketSpawn has a log file and never writes to it."""

    transcript: IO[bytes]

    def read_nonblocking(self, size: int = 1, timeout: float | None = -1) -> Any:
        """Read at most ``size`` bytes, and log them."""
        data = super().read_nonblocking(size, timeout)
        self.transcript.write(data)
        return data


class Console:
    """The console of one machine; ``log`` receives every byte."""

    def __init__(self, connection: socket.socket, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self._file = log.open("wb")
        # Bytes: pexpect 4.9's SocketSpawn does not decode, whatever encoding it is given.
        self._spawn = _LoggedSocket(connection, timeout=None)
        self._spawn.transcript = self._file

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

    def drain(self, wait_s: float = 0.0) -> None:
        """Copy what has arrived to the transcript; with ``wait_s``, until the end or until so long nothing came."""
        try:
            while True:
                self._spawn.read_nonblocking(65536, timeout=wait_s)
        except (pexpect.TIMEOUT, pexpect.EOF, OSError):
            self._file.flush()

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
        self.drain()
        self._spawn.close()
        self._file.close()

    def _error(self, what: str) -> BoardError:
        return BoardError(f"the console of {self.name} {what}; the whole transcript: {self.log.name}", evidence=self.tail())


def plain(text: str) -> str:
    """Return console text without colours, cursor movements and carriage returns."""
    return _CONTROL.sub("", text.replace("\r\n", "\n"))
