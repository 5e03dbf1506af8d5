"""A host at the end of one SSH connection, kept open: a handshake with an emulated machine costs seconds, a channel does not."""

from __future__ import annotations

import contextlib
import shlex
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from queue import Empty, SimpleQueue

import paramiko

from harness.core.deadline import Deadline
from harness.core.errors import HostLostError
from harness.transport.aside import aside
from harness.transport.channels import CHUNK, SshListener, SshProcess, execute, exit_status
from harness.transport.identity import SSH_PORT, client_keys, expected_host_keys, fingerprint
from harness.transport.protocol import (
    COMMAND_TIMEOUT_S,
    Listener,
    Process,
    Result,
    SocketLike,
    command_text,
    dying_argv,
    first_line,
)
from harness.transport.relay import relay_argv

_SIGNATURES = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}
"""Key types whose algorithms in the handshake have other names."""

KEEPALIVE_S = 15
"""A host that is gone without a word is found out by what is sent to it."""


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
        limit = deadline or Deadline.after(timeout_s, f"{first_line(text)!r} on {self.name}")
        with self._lost_means(f"while it ran {first_line(text)!r}"), self._channel(limit) as channel:
            execute(channel, text, limit)
            sender = threading.Thread(target=_send_all, args=(channel, stdin), daemon=True)
            sender.start()
            stdout, stderr = _read_both(channel, limit)
            return Result(self.name, text, _status(channel, limit), stdout, stderr)

    def start(self, argv: Sequence[str], *, log: Path, folder: PurePosixPath | None = None) -> Process:
        """Start a process on the host that dies with this connection."""
        limit = Deadline.after(COMMAND_TIMEOUT_S, f"starting {argv[0]} on {self.name}")
        with self._lost_means("when a process was to be started"):
            channel = aside(lambda: self._connection.open_session(timeout=limit.left_s))
            channel.set_combine_stderr(combine=True)
            try:
                execute(channel, shlex.join(dying_argv(argv, folder)), limit)
            except BaseException:
                aside(channel.close)  # what was started ends with it, and nobody would know of it
                raise
        return SshProcess(channel, log, f"{argv[0]} on {self.name}")

    @contextmanager
    def listen(self, path: PurePosixPath) -> Iterator[Listener]:
        """Listen on a UNIX socket of the host through a relay that runs there (SSH itself cannot be asked for it by paramiko)."""
        limit = Deadline.after(COMMAND_TIMEOUT_S, f"starting a relay on {self.name}")
        with self._lost_means("when a relay was to be started"), self._channel(limit) as channel:
            execute(channel, shlex.join(relay_argv(str(path))), limit)
            yield SshListener(path, channel, self.name)

    @contextmanager
    def connect(self, port: int, deadline: Deadline) -> Iterator[SocketLike]:
        """Connect to a TCP port of the host's loopback by a direct-tcpip channel."""
        with self._lost_means(f"when port {port} was to be reached"):
            there, here = ("127.0.0.1", port), ("127.0.0.1", 0)
            channel = aside(lambda: self._connection.open_channel("direct-tcpip", there, here, timeout=deadline.left_s))
        try:
            yield channel
        finally:
            aside(channel.close)

    @contextmanager
    def session(self) -> Iterator[paramiko.Channel]:
        """Hold a bare session channel, for what needs a terminal or streams."""
        limit = Deadline.after(COMMAND_TIMEOUT_S, f"opening a channel to {self.name}")
        with self._lost_means("when a session was to be opened"):
            channel = aside(lambda: self._connection.open_session(timeout=limit.left_s))
        try:
            yield channel
        except (paramiko.SSHException, EOFError) as error:  # not OSError: our own streams may break as well
            raise HostLostError(f"the SSH connection to {self.name} failed: {str(error) or type(error).__name__}") from error
        finally:
            aside(channel.close)

    def run_fed(self, command: str, feed: Callable[[Callable[[bytes], None]], None], deadline: Deadline) -> Result:
        """Run a command whose standard input ``feed`` writes, piece by piece; it is too much to hold in memory."""
        with self._lost_means("while data were sent"), self._channel(deadline) as channel:
            execute(channel, command, deadline)
            sender = threading.Thread(target=_send_fed, args=(channel, feed), daemon=True)
            sender.start()
            stdout, stderr = _read_both(channel, deadline)
            return Result(self.name, command, _status(channel, deadline), stdout, stderr)

    @property
    def alive(self) -> bool:
        """Return whether the connection stands."""
        return self._connection.is_active()

    @contextmanager
    def _channel(self, deadline: Deadline) -> Iterator[paramiko.Channel]:
        channel = aside(lambda: self._connection.open_session(timeout=deadline.left_s))
        try:
            yield channel
        finally:
            aside(channel.close)

    @contextmanager
    def _lost_means(self, when: str) -> Iterator[None]:
        """Turn paramiko's many ways to say that a connection is gone into one of ours."""
        try:
            yield
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise HostLostError(
                f"the SSH connection to {self.name} failed {when}: {str(error) or type(error).__name__}"
            ) from error


def connect_ssh(
    connection: SocketLike,
    *,
    name: str,
    user: str,
    keys: Sequence[paramiko.PKey],
    host_keys: Sequence[str],
    deadline: Deadline,
) -> SshTransport:
    """Authenticate over an open connection to a host whose key is known.

    ``host_keys`` are public key lines ("ssh-ed25519 AAAA..."); any other key is refused, never learned.
    Raises HostLostError where the connection or the authentication fails.
    """
    transport = paramiko.Transport(connection)  # type: ignore[arg-type] # a Channel serves as a socket
    transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = max(1.0, deadline.left_s)
    try:
        _ask_for(transport, host_keys)
        transport.start_client(timeout=deadline.left_s)
        _require_known(transport.get_remote_server_key(), host_keys, name)
        _log_in(transport, user, keys, name)
    except (paramiko.SSHException, EOFError, OSError) as error:
        transport.close()
        raise HostLostError(f"no SSH connection to {name}: {str(error) or type(error).__name__}") from error
    except BaseException:
        transport.close()
        raise
    transport.set_keepalive(KEEPALIVE_S)
    return SshTransport(transport, name)


@contextmanager
def open_ssh(
    connection: SocketLike,
    *,
    name: str,
    user: str,
    keys: Sequence[paramiko.PKey],
    host_keys: Sequence[str],
    deadline: Deadline,
) -> Iterator[SshTransport]:
    """Hold an SSH connection for as long as the context lasts."""
    transport = aside(lambda: connect_ssh(connection, name=name, user=user, keys=keys, host_keys=host_keys, deadline=deadline))
    try:
        yield transport
    finally:
        aside(transport._connection.close)  # noqa: SLF001 (made three lines above)


@contextmanager
def open_tcp_ssh(
    address: str, port: int, *, user: str, identity: Path | None, host_key: str, deadline: Deadline
) -> Iterator[SshTransport]:
    """Hold an SSH connection to a host by its address; see client_keys and expected_host_keys for the two empty values."""
    name = f"{user}@{address}" + (f":{port}" if port != SSH_PORT else "")
    host_keys = expected_host_keys(address, port, host_key)
    with ExitStack() as stack:
        keys = stack.enter_context(client_keys(identity))
        deadline.check(f"{address} was to be reached")
        try:
            connection = stack.enter_context(socket.create_connection((address, port), timeout=max(0.01, deadline.left_s)))
        except OSError as error:
            raise HostLostError(f"{address} cannot be reached at port {port}: {error.strerror or error}") from error
        yield stack.enter_context(open_ssh(connection, name=name, user=user, keys=keys, host_keys=host_keys, deadline=deadline))


def _ask_for(transport: paramiko.Transport, host_keys: Sequence[str]) -> None:
    """Let the host present a key of a type that we know; it may have several."""
    options = transport.get_security_options()
    wanted = {kind for line in host_keys for kind in _SIGNATURES.get(line.split()[0], (line.split()[0],))}
    options.key_types = [kind for kind in options.key_types if kind in wanted] or options.key_types


def _require_known(presented: paramiko.PKey, host_keys: Sequence[str], name: str) -> None:
    if f"{presented.get_name()} {presented.get_base64()}" in {" ".join(line.split()[:2]) for line in host_keys}:
        return
    raise HostLostError(
        f"{name} presented another SSH host key ({fingerprint(presented)}) than the one that is known: not connecting",
        remedy="find out why it changed; if the host was installed anew, replace its key in known_hosts or host.host_key",
    )


def _log_in(transport: paramiko.Transport, user: str, keys: Sequence[paramiko.PKey], name: str) -> None:
    """Try each key in turn."""
    for key in keys:
        try:
            if further := transport.auth_publickey(user, key):
                raise HostLostError(f"{name} wants more than a key: {', '.join(further)}")
        except paramiko.AuthenticationException as error:
            if not transport.is_active():
                raise EOFError(f"it closed the connection when a key was offered ({error})") from error
            continue
        return
    raise HostLostError(
        f"{name} accepts none of the keys that were offered: {', '.join(map(fingerprint, keys))}",
        remedy=f"add the public key to ~{user}/.ssh/authorized_keys there",
    )


def _send_all(channel: paramiko.Channel, data: bytes) -> None:
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):  # the command may end before it has read all
        channel.sendall(data)
        channel.shutdown_write()


def _send_fed(channel: paramiko.Channel, feed: Callable[[Callable[[bytes], None]], None]) -> None:
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        try:
            feed(channel.sendall)
        finally:  # the command on the host finds out by itself if that was not all
            channel.shutdown_write()


def _read_both(channel: paramiko.Channel, deadline: Deadline) -> tuple[bytes, bytes]:
    """Read both outputs to their ends: two streams share one window, so neither may be left unread.

    Threads do it, because reading a lot sends something, too: that there is room again.
    """
    output, errors = bytearray(), bytearray()
    ended: SimpleQueue[None] = SimpleQueue()
    for receive, into in ((channel.recv, output), (channel.recv_stderr, errors)):
        threading.Thread(target=_collect, args=(receive, into, ended), daemon=True).start()
    try:
        for _ in range(2):
            ended.get(timeout=max(0.01, deadline.left_s))
    except Empty:
        raise deadline.error(output[-2000:].decode("utf-8", "replace")) from None
    return bytes(output), bytes(errors)


def _collect(receive: Callable[[int], bytes], into: bytearray, ended: SimpleQueue[None]) -> None:
    with contextlib.suppress(OSError):
        while data := receive(CHUNK):
            into += data
    ended.put(None)


def _status(channel: paramiko.Channel, deadline: Deadline) -> int:
    if not channel.status_event.wait(deadline.left_s):
        raise deadline.error()
    return exit_status(channel)
