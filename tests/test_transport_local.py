"""This machine as a transport: commands, processes that die with the runner, sockets."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from harness.core.deadline import Deadline
from harness.core.errors import BenchError, DeadlineError
from harness.transport.local import LocalTransport
from harness.transport.protocol import check, succeeds

RUNNER = """
import sys
from pathlib import Path, PurePosixPath
from harness.transport.local import LocalTransport
folder = PurePosixPath(sys.argv[2])
process = LocalTransport().start(["sh", "-c", "echo $$ $PPID; exec sleep 600"], log=Path(sys.argv[1]), folder=folder)
while len(process.stderr_text().split()) < 2:
    pass
print(process.stderr_text(), flush=True)
process.join()
"""
"""A runner that starts a process, tells its id and that of what watches over it, and waits."""


def has_ended(pid: int, limit_s: float) -> bool:
    """Return whether a process ends in time; one that is gone already has."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], limit_s)[0])
    finally:
        os.close(descriptor)


def test_local_run_gives_status_and_both_outputs() -> None:
    """A command's status and its two outputs come back apart, with what was sent to it."""
    result = LocalTransport().run("cat; echo err >&2; exit 3", stdin=b"in\n")

    assert (result.status, result.text, result.error_text) == (3, "in", "err")
    assert succeeds(LocalTransport(), ["test", "a b", "=", "a b"])


def test_local_run_too_long_is_a_deadline() -> None:
    """A command that does not end in time raises, with what it had said so far."""
    with pytest.raises(DeadlineError, match=r"on this machine took longer than 0\.2 s") as caught:
        LocalTransport().run("echo so far >&2; exec sleep 20", timeout_s=0.2)

    assert "so far" in caught.value.evidence


def test_local_check_tells_what_failed() -> None:
    """A command that must succeed raises with its status and its standard error."""
    with pytest.raises(BenchError, match="'exit_is_near' on this machine ended with status 127") as caught:
        check(LocalTransport(), "exit_is_near")

    assert "not found" in caught.value.evidence


def test_local_process_has_a_log_and_a_status(tmp_path: Path) -> None:
    """What a process says is in its log, and its exit status is its own."""
    process = LocalTransport().start(["sh", "-c", "echo out; echo err >&2; exit 5"], log=tmp_path / "log")

    assert process.wait(Deadline.after(10, "ending")) == 5
    assert process.poll() == 5
    assert process.stderr_text().split() == ["out", "err"]


def test_local_process_dies_when_killed(tmp_path: Path) -> None:
    """A process that is told to end does, and one that does not end in time is a deadline."""
    process = LocalTransport().start(["sleep", "60"], log=tmp_path / "log")
    with pytest.raises(DeadlineError, match="its end took longer"):
        process.wait(Deadline.after(0.05, "its end"))

    process.kill()

    assert process.wait(Deadline.after(10, "ending")) != 0


def test_local_process_does_not_hear_ctrl_c(tmp_path: Path) -> None:
    """A process is in a session of its own: Ctrl-C is for the runner, which ends it in order."""
    process = LocalTransport().start(["sh", "-c", "cut -d' ' -f6 /proc/$$/stat"], log=tmp_path / "log")
    process.wait(Deadline.after(10, "ending"))

    assert int(process.stderr_text()) != os.getsid(0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_local_process_dies_with_the_runner(tmp_path: Path, number: signal.Signals) -> None:
    """When the runner is killed outright, what it started ends by itself, and the folder that belongs to it goes with it."""
    folder = tmp_path / "its folder"
    folder.mkdir()
    argv = [sys.executable, "-c", RUNNER, str(tmp_path / "log"), str(folder)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as runner:
        assert runner.stdout is not None
        child, wrapper = map(int, runner.stdout.readline().split())
        assert not has_ended(child, 0)
        assert folder.is_dir()

        runner.send_signal(number)

        assert has_ended(child, 10)
        assert has_ended(wrapper, 10)
        assert not folder.exists()


def test_local_listen_is_for_this_user_alone(tmp_path: Path) -> None:
    """A socket can be opened by this user alone, is connected to by the process, and is gone afterwards."""
    path = tmp_path / "s"
    script = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(b'hello')"
    with LocalTransport().listen(PurePosixPath(path)) as listener:
        assert path.stat().st_mode & 0o777 == 0o600
        process = LocalTransport().start([sys.executable, "-c", script, str(path)], log=tmp_path / "log")
        with listener.accept(process, Deadline.after(10, "accepting")) as connection:
            assert connection.recv(99) == b"hello"
        assert process.wait(Deadline.after(10, "ending")) == 0

    assert not path.exists()


def test_local_listen_notices_a_process_that_ends(tmp_path: Path) -> None:
    """Whoever waits for a process that is gone is told its status and its words."""
    with LocalTransport().listen(PurePosixPath(tmp_path / "s")) as listener:
        process = LocalTransport().start(["sh", "-c", "echo no such device >&2; exit 4"], log=tmp_path / "log")
        with pytest.raises(BenchError, match="ended at once with status 4") as caught:
            listener.accept(process, Deadline.after(10, "accepting"))

    assert caught.value.evidence == "no such device"


def test_local_connect_to_nobody_is_a_sentence() -> None:
    """A port where nothing listens is an error of the bench that names it, and no time left is a deadline that passed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    with (
        pytest.raises(BenchError, match=rf"port {port} of this machine cannot be reached: Connection refused"),
        LocalTransport().connect(port, Deadline.after(5, "connecting")),
    ):
        pass
    with pytest.raises(DeadlineError, match="connecting"), LocalTransport().connect(port, Deadline.after(0, "connecting")):
        pass
