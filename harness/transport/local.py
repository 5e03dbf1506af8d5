"""This machine as a transport."""

from __future__ import annotations

import os
import select
import selectors
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from harness.core.deadline import Deadline
from harness.core.errors import BenchError
from harness.transport.protocol import (
    COMMAND_TIMEOUT_S,
    Conversation,
    Listener,
    Process,
    Result,
    command_text,
    dying_argv,
    first_line,
)


class LocalProcess:
    """A child of the runner; ends when its standard input is closed, by us or by our death.

    What it says goes to ``log``, or to the descriptor ``output`` for whoever wants to wait for its words; with its end ``folder``
    is removed.
    """

    def __init__(self, argv: Sequence[str], log: Path, folder: PurePosixPath | None = None, *, output: int | None = None) -> None:
        self._log = log
        with log.open("wb") as errors:
            said = errors.fileno() if output is None else output
            self._child = subprocess.Popen(
                dying_argv(argv, folder), stdin=subprocess.PIPE, stdout=said, stderr=said, start_new_session=True
            )

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""
        return self._noted(self._child.poll())

    def try_wait(self, timeout_s: float) -> int | None:
        """Return the exit status, or None if the process still runs after ``timeout_s``."""
        # Popen.wait with a timeout looks every 50 ms (Python 3.11); a pidfd (Linux 5.3) becomes readable when the process ends.
        if self._child.returncode is None:
            descriptor = os.pidfd_open(self._child.pid)
            try:
                if not select.select([descriptor], [], [], max(0.0, timeout_s))[0]:
                    return None
            finally:
                os.close(descriptor)
        return self._noted(self._child.wait())

    def join(self) -> int:
        """Return the exit status, however long it takes."""
        status = self._child.wait()
        self.kill()
        return status

    def wait(self, deadline: Deadline) -> int:
        """Return the exit status; raise DeadlineError if it does not come in time."""
        status = self.try_wait(deadline.left_s)
        if status is None:
            raise deadline.error(self.stderr_text())
        return status

    def kill(self) -> None:
        """End the process now; returns at once."""
        if self._child.stdin is not None and not self._child.stdin.closed:
            self._child.stdin.close()

    def _noted(self, status: int | None) -> int | None:
        """Close our end when the process has ended."""
        if status is not None:
            self.kill()
        return status

    def stderr_text(self) -> str:
        """Return what the process has written so far."""
        return self._log.read_text(errors="replace").strip()


class LocalListener:
    """A listening UNIX socket of this machine."""

    def __init__(self, path: PurePosixPath) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        Path(path).chmod(0o600)
        self._socket.listen(1)

    def accept(self, process: Process, deadline: Deadline) -> socket.socket:
        """Return the connection made by ``process``."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            while not selector.select(min(0.2, deadline.left_s)):
                if (status := process.poll()) is not None:
                    raise BenchError(f"QEMU ended at once with status {status}", evidence=process.stderr_text())
                deadline.check(process.stderr_text())
        return self._socket.accept()[0]

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self._socket.close()
        Path(self.path).unlink(missing_ok=True)


class LocalTransport:
    """Commands run as children of the runner."""

    name = "this machine"

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
        try:
            done = subprocess.run(["sh", "-c", text], input=stdin, capture_output=True, timeout=limit.left_s, check=False)  # noqa: S607 (sh is where PATH says)
        except subprocess.TimeoutExpired as error:
            raise limit.error((error.stderr or b"").decode("utf-8", "replace")) from None
        return Result(self.name, text, done.returncode, done.stdout, done.stderr)

    def start(self, argv: Sequence[str], *, log: Path, folder: PurePosixPath | None = None) -> Process:
        """Start a process that dies with the runner."""
        return LocalProcess(argv, log, folder)

    @contextmanager
    def listen(self, path: PurePosixPath) -> Iterator[Listener]:
        """Listen on a UNIX socket that only this user can open."""
        listener = LocalListener(path)
        try:
            yield listener
        finally:
            listener.close()

    @contextmanager
    def connect(self, port: int, deadline: Deadline) -> Iterator[socket.socket]:
        """Connect to a TCP port of the loopback."""
        deadline.check(f"port {port} was to be reached")
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=max(0.01, deadline.left_s))
        except OSError as error:
            raise BenchError(f"port {port} of {self.name} cannot be reached: {error.strerror or error}") from error
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def converse(self, command: str, deadline: Deadline) -> Iterator[Conversation]:
        """Hold a command that stays, to talk to; a signal for our process group does not reach it."""
        deadline.check(f"{first_line(command)!r} was to be started")
        ours, theirs = socket.socketpair()
        with ours, theirs:
            end = theirs.fileno()
            with subprocess.Popen(
                ["sh", "-c", command],  # noqa: S607 (sh is where PATH says)
                stdin=end,
                stdout=end,
                stderr=end,
                start_new_session=True,
            ):
                theirs.close()
                try:
                    yield Conversation(ours, self.name)
                finally:
                    ours.shutdown(socket.SHUT_RDWR)
