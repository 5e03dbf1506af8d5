"""The way to a host: directly, through jump hosts, or through a command that carries the bytes."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import IO

from harness.core.deadline import Deadline
from harness.core.errors import BenchError, HostLostError, UsageError
from harness.transport.aside import aside
from harness.transport.handshake import Trust
from harness.transport.identity import Credentials, credentials
from harness.transport.known_hosts import look_up, read_revoked, require_known
from harness.transport.protocol import SocketLike
from harness.transport.ssh import SshTransport, open_ssh
from harness.transport.sshconfig import SshTarget

_EVIDENCE_BYTES = 2000

_ALIVE_S = 5.0
"""How long a host of which no key is known may take to accept a connection."""

_HANDSHAKES = 8
"""How many connections at a time we begin with one server: sshd drops some from its tenth on (MaxStartups 10:30:100), and a
fleet behind one jump host would be a crowd there."""

_turns: defaultdict[tuple[str, int, SshTarget | None], threading.Semaphore] = defaultdict(
    lambda: threading.Semaphore(_HANDSHAKES)
)


@contextmanager
def open_target(target: SshTarget, deadline: Deadline) -> Iterator[SshTransport]:
    """Hold an SSH connection to a host, and to each host on the way there; every one must present a key that is known.

    Raises UsageError where keys or known hosts do not suffice, HostLostError where the host cannot be reached or refuses.
    """
    trust = _trust_of_living(target, deadline)
    with ExitStack() as stack:
        offered = stack.enter_context(credentials(target))
        with _turn(target, deadline):
            connection = stack.enter_context(_connected(target, deadline))
            transport = stack.enter_context(_handshaken(target, connection, trust, offered, deadline))
        yield transport


def _handshaken(
    target: SshTarget, connection: SocketLike, trust: Trust, offered: Credentials, deadline: Deadline
) -> AbstractContextManager[SshTransport]:
    return open_ssh(
        connection,
        name=target.name,
        user=target.user,
        keys=offered.keys,
        trust=trust,
        deadline=deadline,
        left_out=offered.left_out,
    )


@contextmanager
def _turn(target: SshTarget, deadline: Deadline) -> Iterator[None]:
    """Wait until few enough connections are being made to a server."""
    turn = _turns[target.address, target.port, target.jump]
    if not turn.acquire(timeout=deadline.left_s):
        raise deadline.error(f"{target.name} was still busy with other connections of ours")
    try:
        yield
    finally:
        turn.release()


def _trust_of_living(target: SshTarget, deadline: Deadline) -> Trust:
    """Return which keys a host may present. A host that is not there is told so first."""
    try:
        return trust_of(target)
    except UsageError:
        if target.jump is None and not target.proxy_command:
            with _dialled(target, deadline.within(_ALIVE_S, f"connecting to {target.name}")):
                pass
        raise


def trust_of(target: SshTarget) -> Trust:
    """Return which keys a host may present; raise UsageError if none is known."""
    if target.host_key:
        return Trust.pinned(target.host_key, target.algorithms)
    known = look_up(target.known_name, target.known_hosts)
    revoked = (*known.revoked, *(read_revoked(target.revoked) if target.revoked else ()))
    return Trust(
        tuple(require_known(known, target.address, target.port, target.ssh_command)),
        target.known_name,
        revoked,
        target.algorithms,
    )


@contextmanager
def _connected(target: SshTarget, deadline: Deadline) -> Iterator[SocketLike]:
    """Hold a connection to a host's SSH port."""
    limit = deadline
    if target.connect_timeout_s:
        limit = deadline.within(target.connect_timeout_s, f"connecting to {target.name} (ConnectTimeout)")
    if target.jump is not None:
        with open_target(target.jump, deadline) as jump, jump.forward(target.address, target.port, limit) as channel:
            yield channel
    elif target.proxy_command:
        with _proxied(target) as connection:
            yield connection
    else:
        with _dialled(target, limit) as connection:
            yield connection


@contextmanager
def _dialled(target: SshTarget, deadline: Deadline) -> Iterator[socket.socket]:
    """Connect by TCP to the first address that answers."""
    deadline.check(f"{target.address} was to be reached")
    try:
        connection = _dial(target, deadline)
    except OSError as error:
        raise HostLostError(f"{target.address} cannot be reached at port {target.port}: {error.strerror or error}") from error
    with connection:
        yield connection


def _dial(target: SshTarget, deadline: Deadline) -> socket.socket:
    last: OSError | None = None
    for family, kind, protocol, _, address in socket.getaddrinfo(target.address, target.port, target.family, socket.SOCK_STREAM):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(max(0.01, deadline.left_s))
            if target.bind_address:
                connection.bind((target.bind_address, 0))
            connection.connect(address)
            # else a small packet waits for the acknowledgement of the last one, and the host takes 40 ms for that
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            connection.close()
            last = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise last or OSError("it has no address")


@contextmanager
def _proxied(target: SshTarget) -> Iterator[socket.socket]:
    """Run a ProxyCommand on a socket. It ends with us: its input ends when our end closes, and its process group is told."""
    ours, theirs = socket.socketpair()
    with ours, tempfile.TemporaryFile() as errors:
        with theirs:
            argv, end = ["/bin/sh", "-c", f"exec {target.proxy_command}"], theirs.fileno()
            with _starting:
                child = subprocess.Popen(argv, stdin=end, stdout=end, stderr=errors.fileno(), start_new_session=True)
                _proxies.add(child.pid)
        try:
            yield ours
        except BenchError as error:
            error.evidence = error.evidence or _said(errors)
            raise
        finally:
            ours.close()
            aside(lambda: _end(child))
            _proxies.discard(child.pid)


_proxies: set[int] = set()
_starting = threading.Lock()


@atexit.register
def _end_proxies() -> None:
    """End the proxies of connections that nobody waits for any more; one that never reads would not see its input end."""
    _starting.acquire()  # for good: a thread that is left may not start another now
    for group in tuple(_proxies):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGTERM)


def _end(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(2.0)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _said(errors: IO[bytes]) -> str:
    errors.seek(0)
    return errors.read()[-_EVIDENCE_BYTES:].decode("utf-8", "replace").strip()
