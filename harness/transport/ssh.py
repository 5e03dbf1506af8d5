"""A host at the end of one SSH connection, kept open: a handshake with an emulated machine costs seconds, a channel does not."""

from __future__ import annotations

import contextlib
import select
import shlex
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import paramiko

from harness.core.deadline import Deadline
from harness.core.errors import BenchError, HostLostError
from harness.transport.protocol import (
    COMMAND_TIMEOUT_S,
    Listener,
    Process,
    Result,
    SocketLike,
    command_text,
    dying_argv,
)
from harness.transport.relay import READY, relay_argv

_CHUNK = 65536


class SshTransport:
    """One authenticated connection, many channels."""

    def __init__(self, connection: paramiko.Transport, name: str) -> None:
        self.name = name
        self._connection = connection

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
        limit = deadline or Deadline.after(timeout_s, f"{text.strip().splitlines()[0][:80]!r} on {self.name}")
        with self._lost_means(f"while it ran {text.strip().splitlines()[0][:80]!r}"), self._channel(limit) as channel:
            channel.exec_command(text)
            sender = threading.Thread(target=_send_all, args=(channel, stdin), daemon=True)
            sender.start()
            stdout, stderr = _read_both(channel, limit)
            return Result(self.name, text, _status(channel, limit), stdout, stderr)

    def start(self, argv: Sequence[str], *, log: Path) -> Process:
        """Start a process on the host that dies with this connection."""
        with self._lost_means("when a process was to be started"):
            channel = self._connection.open_session()
            channel.set_combine_stderr(combine=True)
            channel.exec_command(shlex.join(dying_argv(argv)))
        return SshProcess(channel, log)

    @contextmanager
    def listen(self, path: PurePosixPath) -> Iterator[Listener]:
        """Listen on a UNIX socket of the host through a relay that runs there (SSH itself cannot be asked for it by paramiko)."""
        limit = Deadline.after(COMMAND_TIMEOUT_S, f"starting a relay on {self.name}")
        with self._lost_means("when a relay was to be started"), self._channel(limit) as channel:
            channel.exec_command(shlex.join(relay_argv(str(path))))
            yield SshListener(path, channel, self.name)

    @contextmanager
    def connect(self, port: int, deadline: Deadline) -> Iterator[SocketLike]:
        """Connect to a TCP port of the host's loopback by a direct-tcpip channel."""
        with self._lost_means(f"when port {port} was to be reached"):
            channel = self._connection.open_channel(
                "direct-tcpip", ("127.0.0.1", port), ("127.0.0.1", 0), timeout=deadline.left_s
            )
        try:
            yield channel
        finally:
            channel.close()

    @property
    def alive(self) -> bool:
        """Return whether the connection stands."""
        return self._connection.is_active()

    @contextmanager
    def _channel(self, deadline: Deadline) -> Iterator[paramiko.Channel]:
        channel = self._connection.open_session(timeout=deadline.left_s)
        try:
            yield channel
        finally:
            channel.close()

    @contextmanager
    def _lost_means(self, when: str) -> Iterator[None]:
        """Turn paramiko's many ways to say that a connection is gone into one of ours."""
        try:
            yield
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise HostLostError(
                f"the SSH connection to {self.name} failed {when}: {str(error) or type(error).__name__}"
            ) from error


class SshProcess:
    """A process on the host; its channel carries the standard error, and closing that ends it."""

    def __init__(self, channel: paramiko.Channel, log: Path) -> None:
        self._channel = channel
        self._log = log
        log.touch()
        self._pump = threading.Thread(target=self._copy, daemon=True, name=f"stderr {log.name}")
        self._pump.start()

    def _copy(self) -> None:
        with self._log.open("ab") as log, contextlib.suppress(OSError):
            while data := self._channel.recv(_CHUNK):
                log.write(data)
                log.flush()

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""
        return self._channel.recv_exit_status() if self._channel.exit_status_ready() else None

    def wait(self, deadline: Deadline) -> int:
        """Return the exit status; raise DeadlineError if it does not come in time."""
        if not self._channel.status_event.wait(deadline.left_s):
            raise deadline.error(self.stderr_text())
        self._pump.join(1.0)
        return self._channel.recv_exit_status()

    def kill(self) -> None:
        """End the process now: the end of its standard input tells its wrapper."""
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.shutdown_write()

    def stderr_text(self) -> str:
        """Return what the process has written so far."""
        return self._log.read_text(errors="replace").strip()


class SshListener:
    """A UNIX socket of the host, relayed over a channel."""

    def __init__(self, path: PurePosixPath, channel: paramiko.Channel, host: str) -> None:
        self.path = path
        self._channel = channel
        limit = Deadline.after(COMMAND_TIMEOUT_S, f"starting a relay on {host}")
        channel.settimeout(limit.left_s)
        if channel.recv(len(READY)) != READY:
            errors = channel.recv_stderr(_CHUNK).decode("utf-8", "replace").strip()
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


def connect_ssh(
    connection: SocketLike, *, name: str, user: str, key: paramiko.PKey, host_key: str, deadline: Deadline
) -> SshTransport:
    """Authenticate over an open connection to a host whose key is known.

    ``host_key`` is a public key line ("ssh-ed25519 AAAA..."); any other key is refused, never learned.
    Raises HostLostError where the connection or the authentication fails.
    """
    transport = paramiko.Transport(connection)  # type: ignore[arg-type] # a Channel serves as a socket
    transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = max(1.0, deadline.left_s)
    try:
        transport.start_client(timeout=deadline.left_s)
        presented = f"{transport.get_remote_server_key().get_name()} {transport.get_remote_server_key().get_base64()}"
        if presented.split() != host_key.split()[:2]:
            raise HostLostError(f"{name} presented another SSH host key than the one that is pinned: not connecting")
        transport.auth_publickey(user, key)
    except (paramiko.SSHException, EOFError, OSError) as error:
        transport.close()
        raise HostLostError(f"no SSH connection to {name}: {str(error) or type(error).__name__}") from error
    except BaseException:
        transport.close()
        raise
    return SshTransport(transport, name)


@contextmanager
def open_ssh(
    connection: SocketLike, *, name: str, user: str, key: paramiko.PKey, host_key: str, deadline: Deadline
) -> Iterator[SshTransport]:
    """Hold an SSH connection for as long as the context lasts."""
    transport = connect_ssh(connection, name=name, user=user, key=key, host_key=host_key, deadline=deadline)
    try:
        yield transport
    finally:
        transport._connection.close()  # noqa: SLF001 (made three lines above)


def _send_all(channel: paramiko.Channel, data: bytes) -> None:
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):  # the command may end before it has read all
        channel.sendall(data)
        channel.shutdown_write()


def _read_both(channel: paramiko.Channel, deadline: Deadline) -> tuple[bytes, bytes]:
    """Read both outputs to their ends: two streams share one window, so neither may be left unread."""
    errors = bytearray()
    reader = threading.Thread(target=_collect, args=(channel.recv_stderr, errors), daemon=True)
    reader.start()
    output = bytearray()
    while True:
        channel.settimeout(max(0.01, deadline.left_s))
        try:
            data = channel.recv(_CHUNK)
        except TimeoutError:
            raise deadline.error(output[-2000:].decode("utf-8", "replace")) from None
        if not data:
            break
        output += data
    reader.join(deadline.left_s)
    return bytes(output), bytes(errors)


def _collect(receive: object, into: bytearray) -> None:
    assert callable(receive)
    with contextlib.suppress(OSError):
        while data := receive(_CHUNK):
            into += data


def _status(channel: paramiko.Channel, deadline: Deadline) -> int:
    if not channel.status_event.wait(deadline.left_s):
        raise deadline.error()
    status = channel.recv_exit_status()
    if status < 0:
        raise EOFError("the connection ended before the command's exit status came")
    return status


def _pump(channel: paramiko.Channel, peer: socket.socket) -> None:
    """Copy both ways until either side ends."""
    channel.settimeout(None)
    with contextlib.suppress(OSError, EOFError), channel, peer:
        while True:
            readable = select.select([channel.fileno(), peer.fileno()], [], [])[0]
            if channel.fileno() in readable:
                if not (data := channel.recv(_CHUNK)):
                    return
                peer.sendall(data)
            if peer.fileno() in readable:
                if not (data := peer.recv(_CHUNK)):
                    return
                channel.sendall(data)
