"""A host at the end of one SSH connection, kept open: a handshake with an emulated machine costs seconds, a channel does not."""

from __future__ import annotations

import contextlib
import logging
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from queue import Empty, SimpleQueue

from harness.core.deadline import Deadline
from harness.core.errors import BenchError, HostLostError
from harness.transport.alive import SILENCE_S, Watch, end
from harness.transport.aside import aside
from harness.transport.channels import CHUNK, SshListener, SshProcess, execute, exit_status
from harness.transport.handshake import Trust, explain, log_in, narrow, require_host_key
from harness.transport.library import paramiko
from harness.transport.protocol import (
    COMMAND_TIMEOUT_S,
    Conversation,
    Listener,
    Process,
    Result,
    SocketLike,
    command_text,
    dying_argv,
    first_line,
)
from harness.transport.relay import relay_argv
from harness.transport.waiting import next_item

OUTPUT_LIMIT = 64 << 20
"""More than this on one stream is no answer to anything that is asked here."""

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # else it writes tracebacks of what we report in a sentence

AS_ROOT = 'exec sudo -n env SSH_CONNECTION="$SSH_CONNECTION" sh -c '
"""How a user who is not root becomes it for one command. sudo drops what tells which way we came: whom a bind would cut off."""

_BEGUN = "throughpass: begun"


class SshTransport:
    """One authenticated connection, many channels. ``prefix`` is shell text that runs its last word, a command."""

    def __init__(self, connection: paramiko.Transport, name: str, watch: Watch, prefix: str = "") -> None:
        self.name = name
        self._connection = connection
        self._watch = watch
        self._prefix = prefix

    def as_root(self) -> SshTransport:
        """Return a transport over the same connection whose commands run by ``sudo -n``."""
        return SshTransport(self._connection, self.name, self._watch, AS_ROOT)

    def execute(self, channel: paramiko.Channel, command: str, deadline: Deadline) -> None:
        """Start a command on a channel of this connection, as whom this transport is."""
        execute(channel, f"{self._prefix}{shlex.quote(command)}" if self._prefix else command, deadline)

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
            self.execute(channel, self.announced(text), limit)
            sender = threading.Thread(target=_send_all, args=(channel, stdin), daemon=True)
            sender.start()
            stdout, stderr = _read_both(channel, limit)
            status = _status(channel, limit)
        return Result(self.name, text, status, stdout, self.heard(stderr, text))

    def announced(self, command: str) -> str:
        """Return a command that says on its standard error that it has begun, if sudo is to run it; see ``heard``."""
        return f"echo '{_BEGUN}' >&2\n{command}" if self._prefix else command

    def heard(self, errors: bytes, command: str) -> bytes:
        """Return what an announced command said itself; raise BenchError with sudo's words if it never began.

        Of a command that began sudo may tell as well: that the host cannot resolve its own name, say. That is no word of it.
        """
        if not self._prefix:
            return errors
        before, begun, said = errors.partition(f"{_BEGUN}\n".encode())
        if not begun:
            raise BenchError(
                f"sudo does not run {first_line(command)!r} on {self.name}",
                evidence=before.decode("utf-8", "replace").strip(),
                remedy="see that `sudo -n` asks this login for nothing, for as long as a run takes",
            )
        return said

    def start(self, argv: Sequence[str], *, log: Path, folder: PurePosixPath | None = None) -> Process:
        """Start a process on the host that dies with this connection."""
        limit = Deadline.after(COMMAND_TIMEOUT_S, f"starting {argv[0]} on {self.name}")
        with self._lost_means("when a process was to be started"):
            channel = aside(lambda: self._connection.open_session(timeout=limit.left_s))
            channel.set_combine_stderr(combine=True)
            try:
                self.execute(channel, shlex.join(dying_argv(argv, folder)), limit)
            except BaseException:
                aside(channel.close)  # what was started ends with it, and nobody would know of it
                raise
        return SshProcess(channel, log, f"{argv[0]} on {self.name}")

    @contextmanager
    def listen(self, path: PurePosixPath) -> Iterator[Listener]:
        """Listen on a UNIX socket of the host through a relay that runs there (SSH itself cannot be asked for it by paramiko)."""
        limit = Deadline.after(COMMAND_TIMEOUT_S, f"starting a relay on {self.name}")
        with self._lost_means("when a relay was to be started"), self._channel(limit) as channel:
            self.execute(channel, shlex.join(relay_argv(str(path))), limit)
            yield SshListener(path, channel, self.name)

    def connect(self, port: int, deadline: Deadline) -> AbstractContextManager[SocketLike]:
        """Connect to a TCP port of the host's loopback."""
        return self.forward("127.0.0.1", port, deadline)

    @contextmanager
    def converse(self, command: str, deadline: Deadline) -> Iterator[Conversation]:
        """Hold a command that stays, to talk to."""
        with self.session() as channel:
            channel.set_combine_stderr(combine=True)
            with self._lost_means("when a command was to be started"):
                self.execute(channel, command, deadline)
            yield Conversation(channel, self.name)

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
            self.execute(channel, command, deadline)
            sender = threading.Thread(target=_send_fed, args=(channel, feed), daemon=True)
            sender.start()
            stdout, stderr = _read_both(channel, deadline)
            return Result(self.name, command, _status(channel, deadline), stdout, stderr)

    @contextmanager
    def forward(self, address: str, port: int, deadline: Deadline) -> Iterator[SocketLike]:
        """Connect to an address that this host reaches, by a direct-tcpip channel; raise HostLostError if it does not."""
        with self._lost_means(f"when it was to connect to {address} at port {port}"):
            there, here = (address, port), ("127.0.0.1", 0)
            channel = aside(
                lambda: self._connection.open_channel("direct-tcpip", there, here, timeout=max(0.01, deadline.left_s))
            )
        try:
            yield channel
        finally:
            aside(channel.close)

    def close(self) -> None:
        """End the connection, whoever still waits on it."""
        end(self._connection)

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
            why = f"it had not answered for {SILENCE_S:.0f} s" if self._watch.silent else str(error) or type(error).__name__
            raise HostLostError(f"the SSH connection to {self.name} failed {when}: {why}") from error


def connect_ssh(
    connection: SocketLike,
    *,
    name: str,
    user: str,
    keys: Sequence[paramiko.PKey],
    trust: Trust,
    deadline: Deadline,
    left_out: Sequence[str] = (),
) -> SshTransport:
    """Authenticate over an open connection to a host whose key is known.

    Any other key is refused, never learned. ``left_out`` says of keys that are not offered why. Raises HostLostError where the
    connection or the authentication fails.
    """
    transport = paramiko.Transport(connection)  # type: ignore[arg-type] # a Channel serves as a socket
    transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = max(1.0, deadline.left_s)
    try:
        narrow(transport, trust, name)
        transport.start_client(timeout=deadline.left_s)
        require_host_key(transport.get_remote_server_key(), trust, name)
        log_in(transport, user, keys, name=name, deadline=deadline, left_out=left_out)
    except (paramiko.SSHException, EOFError, OSError) as error:
        transport.close()
        deadline.check(f"{name} was to be reached by SSH: {error}")
        raise HostLostError(f"no SSH connection to {name}: {explain(error, trust)}") from error
    except BaseException:
        transport.close()
        raise
    return SshTransport(transport, name, Watch(transport))


@contextmanager
def open_ssh(
    connection: SocketLike,
    *,
    name: str,
    user: str,
    keys: Sequence[paramiko.PKey],
    trust: Trust,
    deadline: Deadline,
    left_out: Sequence[str] = (),
) -> Iterator[SshTransport]:
    """Hold an SSH connection for as long as the context lasts; see connect_ssh."""

    def connect() -> SshTransport:
        return connect_ssh(connection, name=name, user=user, keys=keys, trust=trust, deadline=deadline, left_out=left_out)

    transport = aside(connect)
    try:
        yield transport
    finally:
        aside(transport.close)


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

    Threads do it, because reading a lot sends something, too: that there is room again. Raises BenchError where a stream is
    longer than OUTPUT_LIMIT.
    """
    output, errors = bytearray(), bytearray()
    ended: SimpleQueue[bool] = SimpleQueue()
    for receive, into in ((channel.recv, output), (channel.recv_stderr, errors)):
        threading.Thread(target=_collect, args=(receive, into, ended), daemon=True).start()
    for _ in range(2):
        try:
            whole = next_item(ended, max(0.01, deadline.left_s))
        except Empty:
            raise deadline.error(output[-2000:].decode("utf-8", "replace")) from None
        if not whole:
            evidence = (output or errors)[:2000].decode("utf-8", "replace")
            raise BenchError(f"a command printed more than {OUTPUT_LIMIT >> 20} MiB", evidence=evidence)
    return bytes(output), bytes(errors)


def _collect(receive: Callable[[int], bytes], into: bytearray, ended: SimpleQueue[bool]) -> None:
    """Read a stream to its end, or until it is too long, and tell whether it is whole."""
    with contextlib.suppress(OSError):
        while len(into) <= OUTPUT_LIMIT and (data := receive(CHUNK)):
            into += data
    ended.put(len(into) <= OUTPUT_LIMIT)


def _status(channel: paramiko.Channel, deadline: Deadline) -> int:
    if not channel.status_event.wait(deadline.left_s):
        raise deadline.error()
    return exit_status(channel)
