"""A shell that stays on a host: a command costs a fork there, not a process of sshd's and a login shell of its own.

On an emulated host that is a hundredth of a second instead of a tenth.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path, PurePosixPath

from harness.core.deadline import Deadline
from harness.core.errors import HostLostError
from harness.transport.aside import aside
from harness.transport.channels import CHUNK
from harness.transport.library import paramiko
from harness.transport.protocol import (
    COMMAND_TIMEOUT_S,
    Conversation,
    Listener,
    Process,
    Result,
    SocketLike,
    Transport,
    command_text,
    first_line,
)
from harness.transport.ssh import SshTransport

# In a subshell: what a command changes of its shell goes with it, and an `exit` ends it alone.
_COMMAND = """(eval {text}) </dev/null
printf '\\n{token} %s\\n' "$?"
printf '\\n{token} %s\\n' 0 >&2
"""
_TAIL_BYTES = 2000
_LAST_WORDS_S = 2.0


@contextmanager
def resident(below: Transport) -> Iterator[Transport]:
    """Hold a transport that runs small commands in one shell that stays; one that is not SSH's is returned as it is."""
    if not isinstance(below, SshTransport):
        yield below
        return
    transport = ResidentTransport(below)
    try:
        yield transport
    finally:
        transport.give_up()


class ResidentTransport:
    """Runs commands without input in the shell that stays; all else is left to the transport below.

    A shell in which something went wrong is given up, and the next command starts another. What a command leaves running in the
    background must not write: it would speak in the next one's name.
    """

    def __init__(self, below: SshTransport) -> None:
        self.name = below.name
        self._below = below
        self._shell: paramiko.Channel | None = None
        self._held = ExitStack()
        self._offered = True
        self._fresh = False  # sudo may have said something when the shell was started
        self._free = threading.Lock()

    def run(
        self,
        command: str | Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float = COMMAND_TIMEOUT_S,
        deadline: Deadline | None = None,
    ) -> Result:
        """Run a command to its end and return its result."""
        text = command_text(command)
        limit = deadline or Deadline.after(timeout_s, f"{first_line(text)!r} on {self.name}")
        if not stdin and self._free.acquire(blocking=False):
            try:
                if shell := self._open(limit):
                    return self._run(shell, text, limit)
            except BaseException:
                self.give_up()
                raise
            finally:
                self._free.release()
        return self._below.run(text, stdin=stdin, deadline=limit)

    def start(self, argv: Sequence[str], *, log: Path, folder: PurePosixPath | None = None) -> Process:
        """Start a process on the host that dies with the connection, and its folder with it."""
        return self._below.start(argv, log=log, folder=folder)

    def listen(self, path: PurePosixPath) -> AbstractContextManager[Listener]:
        """Listen on a UNIX socket of the host."""
        return self._below.listen(path)

    def connect(self, port: int, deadline: Deadline) -> AbstractContextManager[SocketLike]:
        """Connect to a TCP port of the host's loopback."""
        return self._below.connect(port, deadline)

    def converse(self, command: str, deadline: Deadline) -> AbstractContextManager[Conversation]:
        """Hold a command that stays, to talk to."""
        return self._below.converse(command, deadline)

    def give_up(self) -> None:
        """Leave the shell, which ends when it has nothing more to read."""
        self._shell = None
        self._held.close()

    def _open(self, limit: Deadline) -> paramiko.Channel | None:
        """Return the shell, started if need be; None where the host offers none beside its other sessions."""
        if self._shell is not None and (self._shell.closed or self._shell.exit_status_ready()):
            self.give_up()  # somebody on the host has ended it
        if self._shell is None and self._offered:
            try:
                shell = self._held.enter_context(self._below.session())
                self._below.execute(shell, self._below.announced("exec sh"), limit)
                self._shell, self._fresh = shell, True
            except (HostLostError, paramiko.SSHException, EOFError, OSError):
                self.give_up()
                self._offered = False  # if the connection is gone, the transport below will say so
        return self._shell

    def _run(self, shell: paramiko.Channel, text: str, limit: Deadline) -> Result:
        token = f"@tp-{secrets.token_hex(8)}"
        output, errors = _Stream(shell, shell.recv, token), _Stream(shell, shell.recv_stderr, token)
        # Both outputs share one window: neither may be left unread.
        reader = threading.Thread(target=errors.read_quietly, args=(limit,), daemon=True)
        try:
            shell.settimeout(max(0.01, limit.left_s))
            reader.start()
            aside(lambda: shell.sendall(_COMMAND.format(text=shlex.quote(text), token=token).encode()))
            aside(lambda: output.read(limit))
            reader.join(limit.left_s)
        except TimeoutError:
            raise limit.error(output.tail) from None
        except (paramiko.SSHException, EOFError, OSError) as error:
            self._hear_sudo(errors, reader, text)
            why = str(error) or type(error).__name__
            raise HostLostError(f"the shell on {self.name} failed while it ran {first_line(text)!r}: {why}") from error
        if errors.found is None or output.found is None:
            self._hear_sudo(errors, reader, text)
            raise HostLostError(f"the shell on {self.name} ended while it ran {first_line(text)!r}")
        said = self._below.heard(errors.found[1], text) if self._fresh else errors.found[1]
        self._fresh = False
        return Result(self.name, text, int(output.found[2]), output.found[1], said)

    def _hear_sudo(self, errors: _Stream, reader: threading.Thread, text: str) -> None:
        """Raise BenchError if the shell has ended since sudo did not start it: then the host is not lost."""
        reader.join(_LAST_WORDS_S)
        if self._fresh and errors.ended:
            self._below.heard(errors.data, text)


class _Stream:
    """One output of the shell, read up to a mark. ``found`` is the match: what came before the mark, and its number."""

    def __init__(self, shell: paramiko.Channel, receive: Callable[[int], bytes], token: str) -> None:
        self._shell = shell
        self._receive = receive
        self._mark = re.compile(rb"(?s)(.*)\n" + token.encode() + rb" (\d+)\n")
        self._data = bytearray()
        self.ended = False
        self.found: re.Match[bytes] | None = None

    @property
    def data(self) -> bytes:
        """Return all that has come so far."""
        return bytes(self._data)

    @property
    def tail(self) -> str:
        """Return the end of what has come so far."""
        return self._data[-_TAIL_BYTES:].decode("utf-8", "replace")

    def read(self, limit: Deadline) -> None:
        """Read up to the mark, or to the end of the stream; TimeoutError if the deadline passes."""
        while self.found is None:
            self._shell.settimeout(max(0.01, limit.left_s))
            piece = self._receive(CHUNK)
            if not piece:
                self.ended = True
                return
            self._data += piece
            if piece.endswith(b"\n"):
                self.found = self._mark.fullmatch(self._data)

    def read_quietly(self, limit: Deadline) -> None:
        """Do the same in a thread of its own; whoever reads the other stream has the word."""
        with contextlib.suppress(OSError, EOFError):
            self.read(limit)
