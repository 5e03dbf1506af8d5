"""A board and a guest started bare: QEMU, a socket, paramiko, and nothing of the harness but its command lines.

The end point is the harness's own: the first command over SSH has returned. No deadline, no transcript, no error that explains.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shlex
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO, Any

import paramiko

from harness.core.errors import BenchError
from harness.machine.spec import READY, RENEW, Endpoints, MachineSpec, channel_args, qemu_argv
from harness.transport.keys import KeyPair, make_key

GUEST_FOLDER = PurePosixPath("/run/bare")
GUEST_PORT = 2222
"""A port of a board that is ours alone; QEMU is not asked which one the system picked."""

_FORWARD = re.compile(r"TCP\[HOST_FORWARD\]\s+\S+\s+127\.0\.0\.1\s+(\d+)")


class _Secrets:
    """The keys of one start, and the files in which a machine finds them."""

    def __init__(self) -> None:
        self.host, self.client = make_key(), make_key()

    def files(self) -> dict[str, str]:
        """Return each file's content by its name."""
        return {"host_key": self.host.private, "authorized_keys": self.client.public, "seed": f"{secrets.token_hex(64)}\n"}


class _Monitor:
    """QMP in a dozen lines."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._lines: IO[str] = connection.makefile("r", encoding="utf-8")
        self._lines.readline()  # the greeting
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: Any) -> Any:
        """Run a command and return the answer; events before it are dropped."""
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        answer = self.wait(lambda message: "return" in message or "error" in message)
        if "error" in answer:
            raise BenchError(f"QMP {command}: {answer['error']['desc']}")
        return answer["return"]

    def give(self, name: str, descriptor: int) -> None:
        """Hand over an open file."""
        socket.send_fds(self._socket, [b" "], [descriptor])
        self.ask("getfd", fdname=name)

    def wait(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the first message that is wanted."""
        for line in self._lines:
            message: dict[str, Any] = json.loads(line)
            if wanted(message):
                return message
        raise BenchError("QEMU left")


@contextmanager
def bare_board(spec: MachineSpec, state: Path | None) -> Iterator[tuple[paramiko.Transport, float]]:
    """Start a board, from a saved state if there is one; yield the connection and how long its first command took to return."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tp-bare-", dir="/tmp")))
        began_s = time.monotonic()
        keys, ends = _Secrets(), Endpoints(PurePosixPath(folder))
        for name, text in keys.files().items():
            (folder / name).write_text(text, encoding="ascii")
        console, monitor = (stack.enter_context(_listening(path)) for path in (ends.console, ends.qmp))
        argv = qemu_argv(replace(spec, restored=state is not None), ends)
        qemu = stack.enter_context(subprocess.Popen(argv, stdin=subprocess.DEVNULL))
        stack.callback(qemu.kill)
        serial = stack.enter_context(console.accept()[0])
        qmp = _Monitor(stack.enter_context(monitor.accept()[0]))
        if state is not None:
            _restore(qmp, state)
            serial.sendall(f"{RENEW} {time.time():.3f}\n".encode())
        _read_until_ready(serial.recv)
        found = _FORWARD.search(qmp.ask("human-monitor-command", **{"command-line": "info usernet"}))
        assert found is not None
        connection = socket.create_connection(("127.0.0.1", int(found[1])))
        ssh = stack.enter_context(_logged_in(connection, keys.client))
        yield ssh, time.monotonic() - began_s


def time_bare_guest(board: paramiko.Transport, spec: MachineSpec) -> float:
    """Start a guest on a board, end it, and return how long its first command took to return.

    Its command line is the harness's but for where console and monitor lead: to the channel that QEMU runs on, and nowhere.
    """
    began_s = time.monotonic()
    keys, ends = _Secrets(), Endpoints(GUEST_FOLDER)
    files = "".join(f"printf %s {shlex.quote(text)} >{name}\n" for name, text in keys.files().items())
    run_on(board, f"mkdir -p -m 700 {GUEST_FOLDER} && cd {GUEST_FOLDER} && exec sh -s", files)
    channel = board.open_session()
    channel.exec_command(f"echo $$ >{GUEST_FOLDER}/pid; exec {shlex.join(_on_channel(spec, ends))}")
    _read_until_ready(channel.recv)
    address = ("127.0.0.1", GUEST_PORT)
    with _logged_in(board.open_channel("direct-tcpip", address, ("127.0.0.1", 0)), keys.client):
        took_s = time.monotonic() - began_s
    run_on(board, f"kill $(cat {GUEST_FOLDER}/pid)")
    channel.recv_exit_status()
    run_on(board, f"rm -r {GUEST_FOLDER}")
    return took_s


def _on_channel(spec: MachineSpec, ends: Endpoints) -> list[str]:
    """Return a guest's command line with the console on standard output."""
    argv, wired = qemu_argv(spec, ends), channel_args(ends)
    start = next(at for at in range(len(argv)) if argv[at : at + len(wired)] == wired)
    argv[start : start + len(wired)] = ["-serial", "stdio", "-monitor", "none"]
    return [word.replace("hostfwd=tcp:127.0.0.1:0-", f"hostfwd=tcp:127.0.0.1:{GUEST_PORT}-") for word in argv]


def _restore(qmp: _Monitor, state: Path) -> None:
    with state.open("rb") as file:
        qmp.ask("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
        qmp.give("state", file.fileno())
        qmp.ask("migrate-incoming", uri="fd:state")
        qmp.wait(lambda message: message.get("event") == "MIGRATION" and message["data"]["status"] == "completed")
    qmp.ask("cont")


@contextmanager
def _listening(path: PurePosixPath) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        yield listener


def _read_until_ready(receive: Callable[[int], bytes]) -> None:
    seen = b""
    while READY.encode() not in seen:
        data = receive(65536)
        if not data:
            raise BenchError("the machine ended before it was ready", evidence=seen.decode(errors="replace"))
        seen += data


@contextmanager
def _logged_in(connection: Any, key: KeyPair) -> Iterator[paramiko.Transport]:
    """Hold a connection over which a first command has returned."""
    with contextlib.closing(paramiko.Transport(connection)) as ssh:
        ssh.connect(username="root", pkey=key.key)
        run_on(ssh, "true")
        yield ssh


def run_on(ssh: paramiko.Transport, command: str, text: str = "") -> str:
    """Run a command that reads ``text``, and return what it prints."""
    channel = ssh.open_session()
    channel.exec_command(command)
    channel.sendall(text.encode())
    channel.shutdown_write()
    said = channel.makefile("rb").read()
    if (status := channel.recv_exit_status()) != 0:
        raise BenchError(f"{command!r} ended with status {status}")
    return bytes(said).decode()
