"""A running machine: what is said when it is lost, and who is to blame."""

from __future__ import annotations

import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from harness.core.deadline import Deadline
from harness.core.errors import BenchError, BoardError, HostLostError, ThroughpassError
from harness.machine.running import Machine, start_machine
from harness.machine.spec import MachineSpec, Role
from harness.transport.local import LocalTransport


class FakeProcess:
    """A process that ends as it is told to."""

    def __init__(self, status: int | None = None, *, lost: bool = False, words: str = "") -> None:
        self.status = status
        self.lost = lost
        self.words = words
        self.waited_s = 0.0

    def poll(self) -> int | None:
        """Return the status; the exit status comes a little after the sockets' ends, so that this is None."""
        if self.lost:
            raise HostLostError("the host is gone")
        return None

    def wait(self, deadline: Deadline) -> int:
        """Return the status, or raise what nobody knows."""
        self.waited_s = deadline.length_s
        if self.lost:
            raise HostLostError("the host is gone")
        if self.status is None:
            raise deadline.error()
        return self.status

    def join(self) -> int:
        """Return the status."""
        return self.wait(Deadline.after(1, "ending"))

    def kill(self) -> None:
        """Do nothing."""

    def stderr_text(self) -> str:
        """Return what it said."""
        return self.words


class FakeConsole:
    """A console with a death on it, or none."""

    def __init__(self, death: str = "") -> None:
        self._death = death

    def death(self) -> str:
        """Return the death."""
        return self._death

    def tail(self) -> str:
        """Return the end."""
        return f"... {self._death}"


GIVEN = BenchError("QMP device_add on guest failed")


def explained(process: FakeProcess, death: str = "") -> ThroughpassError:
    """Return what a machine makes of an error."""
    spec = MachineSpec("guest", "guest", "k", "i", ())
    console: Any = FakeConsole(death)
    rest: Any = None
    place, host = PurePosixPath("/tmp/x"), LocalTransport()  # noqa: S108
    return Machine(spec, [], process, console, rest, rest, rest, place, None, host, rest).explain_loss(GIVEN)


def test_loss_status_comes_after_the_sockets() -> None:
    """QEMU's sockets end before its exit status comes: that is waited for, and then QEMU is what failed."""
    process = FakeProcess(1, words="vfio: it broke")

    found = explained(process)

    assert isinstance(found, BoardError)
    assert (found.message, found.evidence) == ("QEMU of guest ended with status 1", "vfio: it broke")
    assert process.waited_s == 2.0


@pytest.mark.parametrize(
    "process",
    [
        pytest.param(FakeProcess(lost=True), id="host-gone"),
        pytest.param(FakeProcess(), id="runs-on"),
        pytest.param(FakeProcess(-9), id="holder-killed"),
    ],
)
def test_loss_that_is_not_the_boards(process: FakeProcess) -> None:
    """A connection that is gone, or a machine that runs on, proves nothing against the board: the error stays what it was."""
    assert explained(process) is GIVEN


def test_loss_death_on_the_console() -> None:
    """What the console said of a death is the best word, also when the host went with it."""
    found = explained(FakeProcess(lost=True), "Kernel panic - not syncing: x")

    assert isinstance(found, BoardError)
    assert found.message == "guest died: Kernel panic - not syncing: x"


PRINTING = """#!{python}
import json, signal, socket, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends when its monitor is closed
paths = {{}}
for word in sys.argv:
    if word.startswith("socket,id="):
        name, path = word.removeprefix("socket,id=").split(",path=")
        paths[name] = path
console, qmp = (socket.socket(socket.AF_UNIX) for _ in range(2))
console.connect(paths["console"])
console.sendall({words!r})
qmp.connect(paths["qmp"])
qmp.sendall(b'{{"QMP": {{"version": {{"qemu": {{"micro": 0, "minor": 0, "major": 9}}}}, "capabilities": []}}}}\\n')
while command := json.loads(qmp.recv(65536) or "null"):
    qmp.sendall(json.dumps({{"return": {{}}, **({{"id": command["id"]}} if "id" in command else {{}})}}).encode() + b"\\n")
    if command["execute"] == "quit":
        break
console.sendall(b"goodbye")
"""
"""What answers as QEMU does, without a machine in it."""

ENDING = "#!/bin/sh\necho '{words}' >&2\nexit 1\n"


def started(tmp_path: Path, program: str, role: Role, limit_s: float = 20.0) -> ThroughpassError:
    """Return what comes of starting a machine with a program in QEMU's place."""
    qemu = tmp_path / "qemu"
    qemu.write_text(program, encoding="utf-8")
    qemu.chmod(0o755)
    spec = MachineSpec(role, role, "k", "i", (), qemu=str(qemu))
    with (
        pytest.raises(ThroughpassError) as caught,
        start_machine(spec, LocalTransport(), tmp_path, Deadline.after(limit_s, "booting")),
    ):
        pass
    return caught.value


@pytest.mark.parametrize(
    ("role", "words", "error"),
    [
        pytest.param("guest", "-device {driver: vfio-pci}: vfio 0000:01:00.0: group 2 is not viable", BoardError, id="vfio"),
        pytest.param("guest", "could not open root.ext4", BenchError, id="guest-without-disk"),
        pytest.param("guest", "throughpass: /dev/vfio/2 is not there", BenchError, id="node-not-lent"),
        pytest.param("board", "vfio 0000:01:00.0: no such device", BenchError, id="board"),
    ],
)
def test_start_that_ends_at_once(tmp_path: Path, role: Role, words: str, error: type[ThroughpassError]) -> None:
    """A guest whose controller QEMU cannot have is the board's failure; every other end at once is the bench's, a node too."""
    found = started(tmp_path, ENDING.format(words=words), role)

    assert type(found) is error
    assert words in found.evidence


@pytest.mark.parametrize(
    ("role", "words", "error", "said"),
    [
        pytest.param("guest", b"booting", BoardError, "did not print", id="guest-is-silent"),
        pytest.param("board", b"booting", BenchError, "did not print", id="board-is-silent"),
        pytest.param("board", b"Kernel panic - not syncing: x\r\n", BoardError, "died: Kernel panic", id="board-panics"),
        pytest.param("guest", b"Kernel panic - not syncing: x\r\n", BoardError, "died: Kernel panic", id="guest-panics"),
    ],
)
def test_start_that_is_never_ready(tmp_path: Path, role: Role, words: bytes, error: type[ThroughpassError], said: str) -> None:
    """A board of our own making that is slow is the bench's fault; one that panics, and any guest, is the board's."""
    found = started(tmp_path, PRINTING.format(python=sys.executable, words=words), role, 3.0)

    assert type(found) is error
    assert f"the console of {role} {said}" in found.message
    assert words.decode().strip() in found.evidence


def test_start_keeps_what_is_said_after_it_was_ready(tmp_path: Path) -> None:
    """The transcript goes on to the machine's very end, whatever ended the use of it."""
    found = started(tmp_path, PRINTING.format(python=sys.executable, words=b"throughpass: ready\r\n"), "board")

    assert "does not say which port" in found.message
    assert (tmp_path / "board-console.log").read_bytes() == b"throughpass: ready\r\ngoodbye"
