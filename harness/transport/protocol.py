"""What every transport offers: run a command, start a process, listen and connect."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol, Self

from harness.core.deadline import Deadline
from harness.core.errors import BenchError

COMMAND_TIMEOUT_S = 60.0
"""Enough for any small command, on an emulated machine too."""


_PIECE = 4096


@dataclass(frozen=True)
class Result:
    """What a command gave: exit status, and both outputs as bytes."""

    host: str
    command: str
    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Return the standard output as text, without the final line end."""
        return self.stdout.decode("utf-8", "replace").rstrip("\n")

    @property
    def error_text(self) -> str:
        """Return the standard error as text, without surrounding white space."""
        return self.stderr.decode("utf-8", "replace").strip()

    def require(self) -> Self:
        """Return the result; raise BenchError with its standard error if the command failed."""
        if self.status != 0:
            raise BenchError(
                f"{first_line(self.command, 200)!r} on {self.host} ended with status {self.status}",
                evidence=self.error_text or self.text,
            )
        return self


class Process(Protocol):
    """A process that runs until told otherwise, and dies when whoever started it dies.

    Whoever asks for the exit status of a process whose host is gone gets a HostLostError: nobody knows.
    """

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""

    def wait(self, deadline: Deadline) -> int:
        """Return the exit status; raise DeadlineError if it does not come in time."""

    def join(self) -> int:
        """Return the exit status, however long it takes: for whoever holds a process on behalf of others."""

    def kill(self) -> None:
        """End the process now; returns at once."""

    def stderr_text(self) -> str:
        """Return what the process has written to its standard error so far."""


class Listener(Protocol):
    """A UNIX socket on the host that waits for one connection."""

    path: PurePosixPath

    def accept(self, process: Process, deadline: Deadline) -> socket.socket:
        """Return the connection made by ``process``; raise BenchError if that ends first, DeadlineError if it takes too long."""


class Transport(Protocol):
    """A way to a host. Commands are POSIX shell text or an argv, which is quoted."""

    name: str

    def run(
        self,
        command: str | Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float = COMMAND_TIMEOUT_S,
        deadline: Deadline | None = None,
    ) -> Result:
        """Run a command to its end and return its result, whatever the exit status; DeadlineError after ``timeout_s``."""

    def start(self, argv: Sequence[str], *, log: Path, folder: PurePosixPath | None = None) -> Process:
        """Start a process whose standard error goes to ``log`` (a file of the runner).

        ``folder`` is removed when it ends, even if the runner was killed meanwhile.
        """

    def listen(self, path: PurePosixPath) -> AbstractContextManager[Listener]:
        """Listen on a UNIX socket at ``path`` of the host, which only the user there can open."""

    def connect(self, port: int, deadline: Deadline) -> AbstractContextManager[SocketLike]:
        """Connect to a TCP port on the host's own loopback."""

    def converse(self, command: str, deadline: Deadline) -> AbstractContextManager[Conversation]:
        """Hold a command that stays, to talk to; its standard input ends with the context, and with us."""


class SocketLike(Protocol):
    """What SSH needs of a connection: a socket, or a channel that behaves as one."""

    def send(self, data: bytes, /) -> int:
        """Send some of ``data`` and return how many bytes."""

    def recv(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes; b"" at the end."""

    def close(self) -> None:
        """Close the connection."""

    def settimeout(self, value: float | None, /) -> None:
        """Set how long send and recv may block."""


class Conversation:
    """A command's standard input and output, line by line; ``name`` is for messages."""

    def __init__(self, connection: SocketLike, name: str) -> None:
        self._connection = connection
        self._name = name
        self._heard = bytearray()

    def send(self, data: bytes) -> None:
        """Send all of ``data``."""
        while data:
            data = data[self._connection.send(data) :]

    def read_line(self, deadline: Deadline) -> str:
        """Return the next line without its end; raise BenchError if the command ends first."""
        while b"\n" not in self._heard:
            self._connection.settimeout(max(0.01, deadline.left_s))
            try:
                data = self._connection.recv(_PIECE)
            except TimeoutError:
                raise deadline.error(self._heard.decode("utf-8", "replace")) from None
            if not data:
                raise BenchError(f"a command on {self._name} ended early", evidence=self._heard.decode("utf-8", "replace"))
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode("utf-8", "replace")


def first_line(text: str, length: int = 80) -> str:
    """Return what a message names a command by."""
    return text.strip().splitlines()[0][:length]


def command_text(command: str | Sequence[str]) -> str:
    """Return a command as shell text."""
    return command if isinstance(command, str) else shlex.join(command)


def check(
    transport: Transport, command: str | Sequence[str], *, stdin: bytes = b"", timeout_s: float = COMMAND_TIMEOUT_S
) -> Result:
    """Run a command that must succeed; raise BenchError with its standard error otherwise."""
    return transport.run(command, stdin=stdin, timeout_s=timeout_s).require()


def succeeds(transport: Transport, command: str | Sequence[str]) -> bool:
    """Return whether a command ends with status 0."""
    return transport.run(command).status == 0


DIES_WITH_ME = """
exec 3<&0
folder=$1
shift
setsid "$@" </dev/null &
process=$!
{
    read -r _ <&3
    trap 'kill "$nap"; exit' TERM
    kill -TERM "-$process" || kill -TERM "$process"
    sleep 30 &
    nap=$!
    wait "$nap"
    kill -KILL "-$process"
} 2>/dev/null >&2 &
watcher=$!
wait "$process"
status=$?
kill "$watcher" 2>/dev/null
[ -z "$folder" ] || rm -rf "$folder"
exit "$status"
"""
"""Runs a command until it ends or until standard input closes, as it does when the runner or the connection is gone.

The first argument is a folder that goes with the process, the rest is the command.

PR_SET_PDEATHSIG follows the thread that spawned and does not cross SSH; an end of file does both. The process leads a session of
its own, so that its children end with it (if it is told to end before it does, it has none yet); half a minute is for those that
tidy up when they are told to end, and nobody waits through it for one that has ended.
"""


def dying_argv(argv: Sequence[str], folder: PurePosixPath | None = None) -> list[str]:
    """Return the argv that runs ``argv`` under DIES_WITH_ME, and removes ``folder`` when that has ended."""
    return ["sh", "-c", DIES_WITH_ME, "throughpass", str(folder or ""), *argv]
