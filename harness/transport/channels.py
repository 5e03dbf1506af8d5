"""What runs at the far end of a channel: a command, a process, a relayed socket."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from pathlib import Path, PurePosixPath

from harness.core.deadline import Deadline
from harness.core.errors import BenchError, HostLostError
from harness.transport.aside import aside
from harness.transport.library import paramiko
from harness.transport.protocol import COMMAND_TIMEOUT_S, Process
from harness.transport.relay import READY

CHUNK = 65536

KILLED = 255
"""The exit status of a command that a signal ended: paramiko does not tell which."""


def execute(channel: paramiko.Channel, command: str, deadline: Deadline) -> None:
    """Start a command. paramiko waits for the host's answer without end: a clock closes the channel, which ends the wait."""
    clock = threading.Timer(deadline.left_s, _close_quietly, (channel,))
    clock.daemon = True
    clock.start()
    try:
        aside(lambda: channel.exec_command(command))
    except (paramiko.SSHException, EOFError):
        deadline.check("the host did not answer when the command was to be started")
        raise
    finally:
        clock.cancel()


def _close_quietly(channel: paramiko.Channel) -> None:
    """Close a channel whose connection may be gone as well."""
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        channel.close()


def exit_status(channel: paramiko.Channel) -> int:
    """Return the exit status once it is there or the channel has ended; raise EOFError if its connection ended first."""
    status = channel.recv_exit_status()
    if status >= 0:
        return status
    if channel.eof_received:  # the host closed it properly, without a status
        return KILLED
    raise EOFError("the connection ended before the command's exit status came")


class SshProcess:
    """A process on the host; its channel carries the standard error, and closing that ends it."""

    def __init__(self, channel: paramiko.Channel, log: Path, name: str) -> None:
        self.name = name
        self._channel = channel
        self._log = log
        log.touch()
        self._pump = threading.Thread(target=self._copy, daemon=True, name=f"stderr {log.name}")
        self._pump.start()

    def _copy(self) -> None:
        with self._log.open("ab") as log, contextlib.suppress(OSError):
            while data := self._channel.recv(CHUNK):
                log.write(data)
                log.flush()

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs; raise HostLostError if the connection is gone."""
        return self._status() if self._channel.exit_status_ready() else None

    def wait(self, deadline: Deadline) -> int:
        """Return the exit status; raise DeadlineError if it does not come in time."""
        if not self._channel.status_event.wait(deadline.left_s):
            raise deadline.error(self.stderr_text())
        self._pump.join(1.0)
        return self._status()

    def join(self) -> int:
        """Return the exit status, however long it takes."""
        self._channel.status_event.wait()
        return self._status()

    def kill(self) -> None:
        """End the process now: the end of its standard input tells its wrapper."""
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            aside(self._channel.shutdown_write)

    def stderr_text(self) -> str:
        """Return what the process has written so far."""
        return self._log.read_text(errors="replace").strip()

    def _status(self) -> int:
        """Return the status that came."""
        try:
            return exit_status(self._channel)
        except EOFError:
            raise HostLostError(f"the SSH connection ended before the exit status of {self.name} came") from None


class SshListener:
    """A UNIX socket of the host, relayed over a channel."""

    def __init__(self, path: PurePosixPath, channel: paramiko.Channel, host: str) -> None:
        self.path = path
        self._channel = channel
        limit = Deadline.after(COMMAND_TIMEOUT_S, f"starting a relay on {host}")
        channel.settimeout(limit.left_s)
        if channel.recv(len(READY)) != READY:
            errors = channel.recv_stderr(CHUNK).decode("utf-8", "replace").strip()
            raise BenchError(
                f"no relay for UNIX sockets could be started on {host}: install perl or python3 there", evidence=errors
            )

    def accept(self, process: Process, deadline: Deadline) -> socket.socket:
        """Return one end of a pair whose other end is the relayed connection."""
        self._channel.settimeout(0.2)
        while not (greeting := self._try_greeting()):
            if (status := process.poll()) is not None:
                raise BenchError(f"QEMU ended at once with status {status}", evidence=process.stderr_text())
            deadline.check(process.stderr_text())
        if greeting != READY:
            raise BenchError("the relay on the host ended before QEMU connected", evidence=process.stderr_text())
        ours, theirs = socket.socketpair()
        threading.Thread(target=_pump, args=(self._channel, theirs), daemon=True, name=f"relay {self.path.name}").start()
        return ours

    def _try_greeting(self) -> bytes | None:
        try:
            return self._channel.recv(len(READY)) or b"end"
        except TimeoutError:
            return None


def _pump(channel: paramiko.Channel, peer: socket.socket) -> None:
    """Copy both ways until either side ends."""
    channel.settimeout(None)
    with contextlib.suppress(OSError, EOFError), channel, peer:
        while True:
            readable = select.select([channel.fileno(), peer.fileno()], [], [])[0]
            if channel.fileno() in readable:
                if not (data := channel.recv(CHUNK)):
                    return
                peer.sendall(data)
            if peer.fileno() in readable:
                if not (data := peer.recv(CHUNK)):
                    return
                channel.sendall(data)
