"""The SSH transport against a server that really speaks it: commands, streams, processes, and whom it refuses."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from harness.core.deadline import Deadline
from harness.core.errors import BenchError, DeadlineError, HostLostError, UsageError
from harness.transport import alive
from harness.transport.channels import KILLED
from harness.transport.keys import make_key
from harness.transport.protocol import check, succeeds
from harness.transport.route import open_target
from harness.transport.ssh import SshTransport
from harness.transport.sshconfig import SshTarget
from tests.sshd import Sshd, fake_sudo, serving, target_of


@pytest.fixture
def sshd() -> Iterator[Sshd]:
    """Serve SSH."""
    with serving() as server:
        yield server


@pytest.fixture
def identity(sshd: Sshd, tmp_path: Path) -> Path:
    """Return the file of the private key that the server lets in."""
    path = tmp_path / "key"
    path.write_text(sshd.client_key.private, encoding="utf-8")
    return path


def opened(sshd: Sshd, identity: Path | None, **changes: Any) -> AbstractContextManager[SshTransport]:
    """Return a connection to the server, to be entered."""
    return open_target(target_of(sshd, identity, **changes), Deadline.after(20, "connecting"))


@pytest.fixture
def host(sshd: Sshd, identity: Path) -> Iterator[SshTransport]:
    """Connect to the server."""
    with opened(sshd, identity) as transport:
        yield transport


def test_ssh_run_gives_status_and_both_outputs(host: SshTransport) -> None:
    """A command's status and its two outputs come back apart, and an argv is quoted."""
    result = host.run("echo out; echo err >&2; exit 3")

    assert (result.status, result.text, result.error_text) == (3, "out", "err")
    assert host.run(["printf", "%s|", "a b", "$HOME", "'"]).text == "a b|$HOME|'|"


def test_ssh_run_large_streams_do_not_block(host: SshTransport) -> None:
    """More than a window goes both ways at once, and on standard error as well."""
    data = os.urandom(5 << 20)

    result = host.run("tee /dev/stderr", stdin=data, timeout_s=60)

    assert result.stdout == result.stderr == data


def test_ssh_run_fed_sends_piece_by_piece(host: SshTransport) -> None:
    """What is too large for memory is written in pieces."""

    def feed(write: Callable[[bytes], None]) -> None:
        for _ in range(50):
            write(b"x" * 70_000)

    result = host.run_fed("wc -c", feed, Deadline.after(30, "counting"))

    assert result.text == "3500000"


def test_ssh_run_too_long_is_a_deadline(host: SshTransport) -> None:
    """A command that does not end in time raises, with what it had said so far, and the connection serves on."""
    with pytest.raises(DeadlineError, match="'echo so far; sleep 20'") as caught:
        host.run("echo so far; sleep 20", timeout_s=0.5)

    assert "so far" in caught.value.evidence
    assert host.run("true").status == 0


def test_ssh_run_killed_is_not_a_lost_host(host: SshTransport) -> None:
    """A command that a signal ended has a status of its own; the host is still there."""
    assert host.run("kill -9 $$").status == KILLED


def test_ssh_run_on_a_host_that_dies(sshd: Sshd, host: SshTransport) -> None:
    """When the connection ends, whoever waits is told that the host is lost; so is whoever comes later."""
    process = host.start(["sleep", "30"], log=Path(os.devnull))
    sshd.drop()

    with pytest.raises(HostLostError, match="root@127"):
        host.run("true")
    for ask in (process.poll, process.join, lambda: process.wait(Deadline.after(5, "ending"))):
        with pytest.raises(HostLostError, match=r"before the exit status of sleep on root@127\.0\.0\.1:\d+ came"):
            ask()


def test_ssh_process_killed_has_a_status(sshd: Sshd, host: SshTransport) -> None:
    """A process that a signal ended has a status of its own: the host is there and says so."""
    sshd.without_status = True
    process = host.start(["true"], log=Path(os.devnull))

    assert process.wait(Deadline.after(10, "ending")) == process.poll() == process.join() == KILLED


def test_ssh_host_that_never_answers_is_a_deadline(sshd: Sshd, host: SshTransport) -> None:
    """A host that takes a command and says neither yes nor no ends the wait at the deadline."""
    sshd.answering.clear()
    try:
        with pytest.raises(DeadlineError, match="'true' on root@127"):
            host.run("true", timeout_s=0.5)
    finally:
        sshd.answering.set()


def test_ssh_host_that_is_gone_when_the_deadline_comes(sshd: Sshd, host: SshTransport) -> None:
    """A connection that cannot even be told that the wait is over is a host that did not answer, and nothing else."""
    connection: Any = host._connection
    sshd.answering.clear()
    try:
        connection.packetizer.send_message = _Broken(connection.packetizer.send_message)
        with pytest.raises(DeadlineError, match="'true' on root@127"):
            host.run("true", timeout_s=0.5)
    finally:
        sshd.answering.set()


class _Broken:
    """A way to send that serves twice (a channel is opened, a command is asked for), and then is broken."""

    def __init__(self, send: Callable[[Any], None]) -> None:
        self._send = send
        self._left = 2

    def __call__(self, message: Any) -> None:
        """Send, or fail as a broken connection does."""
        if not self._left:
            raise EOFError
        self._left -= 1
        self._send(message)


def test_ssh_check_tells_what_failed(host: SshTransport) -> None:
    """A command that must succeed raises with its first line, the host, the status and its standard error."""
    with pytest.raises(BenchError, match=r"'false_friend' on root@127\.0\.0\.1:\d+ ended with status 127") as caught:
        check(host, "false_friend\n# and more")

    assert "not found" in caught.value.evidence


def test_ssh_process_dies_when_killed(host: SshTransport, tmp_path: Path) -> None:
    """A process is ended by closing its input, and its output is in the log."""
    process = host.start(["sh", "-c", "echo here; exec sleep 60"], log=tmp_path / "log")
    while not process.stderr_text():
        assert process.poll() is None

    process.kill()

    assert process.wait(Deadline.after(10, "ending")) != 0
    assert process.stderr_text().startswith("here")


def test_ssh_listen_relays_a_socket(host: SshTransport, tmp_path: Path) -> None:
    """A socket of the host, opened by a process there, is a socket here."""
    path = tmp_path / "s"
    script = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(s.recv(99).upper())"
    with host.listen(PurePosixPath(path)) as listener:
        process = host.start(["python3", "-c", script, str(path)], log=tmp_path / "log")
        with listener.accept(process, Deadline.after(20, "accepting")) as connection:
            connection.sendall(b"hello")
            assert connection.recv(99) == b"HELLO"


def test_ssh_listen_notices_a_process_that_ends(host: SshTransport, tmp_path: Path) -> None:
    """Whoever waits for a process that is gone is told its status and its words, at once."""
    with host.listen(PurePosixPath(tmp_path / "s")) as listener:
        process = host.start(["sh", "-c", "echo no such device >&2; exit 4"], log=tmp_path / "log")
        with pytest.raises(BenchError, match="ended at once with status 4") as caught:
            listener.accept(process, Deadline.after(20, "accepting"))

    assert "no such device" in caught.value.evidence


def test_ssh_other_host_key_is_refused(sshd: Sshd, identity: Path) -> None:
    """A host that presents another key than the pinned one is not spoken to, and both the key and the way out are told."""
    with (
        pytest.raises(HostLostError, match=r"presented another SSH host key .*SHA256:") as caught,
        opened(sshd, identity, host_key=make_key().public.strip()),
    ):
        pass

    assert "host.host_key" in caught.value.remedy


def test_ssh_unknown_host_is_refused(sshd: Sshd, identity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a pinned key and without an entry in known_hosts nothing is said to the host, but that it is there is known."""
    monkeypatch.setenv("HOME", str(tmp_path))

    with (
        pytest.raises(UsageError, match=rf"host key of \[127\.0\.0\.1\]:{sshd.port} is not known"),
        opened(sshd, identity, host_key=""),
    ):
        pass

    assert not any(connection.remote_version for connection in sshd.connections)


def test_ssh_known_host_is_let_in(sshd: Sshd, identity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry of known_hosts serves as well as a pinned key."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{sshd.port} {sshd.host_key_line}\n", encoding="utf-8")

    with opened(sshd, identity, host_key="") as transport:
        assert transport.run("echo in").text == "in"


def test_ssh_other_client_key_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    """A host that does not know our key says so, and the key is named by its fingerprint."""
    path = tmp_path / "other"
    path.write_text(make_key().private, encoding="utf-8")

    with (
        pytest.raises(HostLostError, match="accepts none of the keys that were offered: ssh-ed25519 SHA256:"),
        opened(sshd, path),
    ):
        pass


def test_ssh_nobody_listens(identity: Path) -> None:
    """A port where nothing listens is told as an address that cannot be reached."""
    limit = Deadline.after(5, "connecting")
    key = make_key().public

    with (
        pytest.raises(HostLostError, match=r"127\.0\.0\.1 cannot be reached at port 1: "),
        open_target(SshTarget("127.0.0.1", port=1, identity=identity, host_key=key), limit),
    ):
        pass


def test_ssh_that_does_not_answer_is_lost(sshd: Sshd, identity: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that says nothing any more while its connection stays open is lost after a while, to whoever waits for it."""
    monkeypatch.setattr(alive, "ASK_S", 0.1)
    monkeypatch.setattr(alive, "SILENCE_S", 1.0)
    with opened(sshd, identity) as host:
        assert host.run("sleep 2; echo there").text == "there"
        sshd.answering.clear()
        try:
            with pytest.raises(HostLostError, match=r"failed while it ran 'echo': it had not answered for"):
                host.run("echo")
            with pytest.raises(HostLostError, match="it had not answered for"):
                host.run("echo")
        finally:
            sshd.answering.set()


def test_ssh_by_sudo_gives_the_commands_own_words(host: SshTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What sudo notices on its own is no word of the command's, and what the command says of another sudo is."""
    fake_sudo(tmp_path, monkeypatch)

    result = host.as_root().run("echo out; echo 'sudo: err' >&2; exit 3")

    assert (result.status, result.text, result.error_text) == (3, "out", "sudo: err")


def test_ssh_sudo_that_refuses_is_no_answer(host: SshTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that sudo does not run has neither succeeded nor failed: that is told with sudo's words."""
    (fake_sudo(tmp_path, monkeypatch) / "refuse").touch()

    with pytest.raises(BenchError, match=r"^sudo does not run 'true' on root@127\.0\.0\.1:\d+$") as caught:
        succeeds(host.as_root(), "true")

    assert caught.value.evidence.splitlines()[-1] == "sudo: a password is required"
    assert host.run("true").status == 0
