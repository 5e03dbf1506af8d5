"""An SSH server in this process, for tests of the transport: real handshakes, real commands, no mocks."""

# ruff: noqa: ARG002 (the arguments are paramiko's)

from __future__ import annotations

import os
import select
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import paramiko
import pytest
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_SUCCEEDED,
    cMSG_CHANNEL_SUCCESS,
)

from harness.transport.keys import KeyPair, make_key
from harness.transport.sshconfig import SshTarget


@dataclass
class Sshd:
    """A server that lets one key in and runs what it is asked to."""

    host_key: KeyPair = field(default_factory=make_key)
    client_key: KeyPair = field(default_factory=make_key)
    port: int = 0
    connections: list[paramiko.Transport] = field(default_factory=list)
    without_status: bool = False  # as if a signal had ended every command
    forwarding: bool = False  # as AllowTcpForwarding
    answering: threading.Event = field(default_factory=threading.Event)  # while it is not set, no command is answered

    def __post_init__(self) -> None:
        """Answer, unless told otherwise."""
        self.answering.set()

    @property
    def host_key_line(self) -> str:
        """Return the line that pins the server."""
        return self.host_key.public.strip()

    def drop(self) -> None:
        """End every connection, as a board that dies does."""
        for connection in self.connections:
            connection.close()


@contextmanager
def serving() -> Iterator[Sshd]:
    """Serve SSH on a port of the loopback that the system picks."""
    server = Sshd()
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        server.port = listener.getsockname()[1]
        thread = threading.Thread(target=_accept, args=(listener, server), daemon=True)
        thread.start()
        stack.callback(thread.join, 5)
        stack.callback(listener.shutdown, socket.SHUT_RDWR)
        stack.callback(server.drop)
        yield server


def target_of(server: Sshd, identity: Path | None, **changes: Any) -> SshTarget:
    """Return the server as a target, with its pinned key and without any agent, unless told otherwise."""
    key = server.host_key_line
    return replace(SshTarget("127.0.0.1", port=server.port, identity=identity, host_key=key, agent=""), **changes)


FAKE_SUDO = """#!/bin/sh
echo "sudo: unable to resolve host board: Name or service not known" >&2
if [ -e "{folder}/refuse" ]; then echo "sudo: a password is required" >&2; exit 1; fi
[ "$1" = -n ] && shift && exec "$@"
"""


def fake_sudo(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a sudo into the server's PATH that runs what it is told to; a file ``refuse`` in the returned folder stops that."""
    place = folder / "bin"
    place.mkdir()
    (place / "sudo").write_text(FAKE_SUDO.format(folder=place), encoding="utf-8")
    (place / "sudo").chmod(0o755)
    monkeypatch.setenv("PATH", str(place), prepend=os.pathsep)
    return place


def _accept(listener: socket.socket, server: Sshd) -> None:
    with suppress(OSError):
        while True:
            connection = _Connection(listener.accept()[0])
            connection.add_server_key(server.host_key.key)
            server.connections.append(connection)
            with suppress(paramiko.SSHException, EOFError):  # a client that does not like our key is gone already
                connection.start_server(server=_Server(server, connection))


class _Connection(paramiko.Transport):
    """Begins a command once its caller has been told so: a quick one would otherwise end first, which no sshd does."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.asked_for: SimpleQueue[threading.Thread] = SimpleQueue()

    def _send_user_message(self, data: paramiko.Message) -> None:
        super()._send_user_message(data)  # type: ignore[misc] # paramiko's types leave it out
        if data.asbytes()[:1] == cMSG_CHANNEL_SUCCESS:
            self.asked_for.get_nowait().start()


class _Server(paramiko.ServerInterface):
    def __init__(self, server: Sshd, connection: _Connection) -> None:
        self._server = server
        self._connection = connection

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        known = username == "root" and key.get_base64() == self._server.client_key.public.split()[1]
        return AUTH_SUCCESSFUL if known else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_direct_tcpip_request(self, chanid: int, origin: Any, destination: tuple[str, int]) -> int:
        if not self._server.forwarding:
            return OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        threading.Thread(target=_forward, args=(self._connection, chanid, destination), daemon=True).start()
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self._server.answering.wait(30)
        work = threading.Thread(target=_execute, args=(channel, command.decode(), self._server), daemon=True)
        self._connection.asked_for.put(work)
        return True


def _forward(connection: paramiko.Transport, chanid: int, destination: tuple[str, int]) -> None:
    """Join a direct-tcpip channel with its destination; the channel is told of when it has been opened."""
    channel = next(found for found in iter(connection.accept, None) if found.get_id() == chanid)
    with suppress(OSError, EOFError), channel, socket.create_connection(destination) as peer:
        back = threading.Thread(target=_copy, args=(peer.recv, channel.sendall), daemon=True)
        back.start()
        _copy(channel.recv, peer.sendall)
        peer.shutdown(socket.SHUT_RDWR)
        back.join()


def _copy(receive: Callable[[int], bytes], send: Callable[[bytes], Any]) -> None:
    with suppress(OSError, EOFError):
        while data := receive(65536):
            send(data)


def _execute(channel: paramiko.Channel, command: str, server: Sshd) -> None:
    """Run a command as sshd does: three streams, and a status unless a signal ended it."""
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(["sh", "-c", command], stdin=pipe, stdout=pipe, stderr=pipe) as child,  # noqa: S607
        suppress(OSError, EOFError, paramiko.SSHException),  # whoever asked may be gone
    ):
        feeder = threading.Thread(target=_feed, args=(channel, child), daemon=True)
        feeder.start()
        assert child.stdout is not None
        assert child.stderr is not None
        targets = {child.stdout: channel.sendall, child.stderr: channel.sendall_stderr}
        while targets:
            for stream in select.select(list(targets), [], [])[0]:
                if data := os.read(stream.fileno(), 65536):
                    targets[stream](data)
                else:
                    del targets[stream]
        status = child.wait()
        if status >= 0 and not server.without_status:
            channel.send_exit_status(status)
        channel.shutdown_write()
        channel.close()


def _feed(channel: paramiko.Channel, child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    with suppress(OSError, ValueError):
        while data := channel.recv(65536):
            child.stdin.write(data)
            child.stdin.flush()
    with suppress(OSError, ValueError):
        child.stdin.close()
