"""The way to a host: jump hosts, proxy commands, certificates, agents, slow and dumb servers; real ones where there are."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import paramiko
import pytest

from harness.core.deadline import Deadline
from harness.core.errors import BenchError, DeadlineError, HostLostError, ThroughpassError, UsageError
from harness.facts.probe import take_sections
from harness.transport import ssh
from harness.transport.keys import make_key
from harness.transport.route import open_target
from harness.transport.sshconfig import Algorithms, SshTarget
from tests.openssh import NEEDS_SSHD, openssh
from tests.sshd import Sshd, serving, target_of


@pytest.fixture
def sshd() -> Iterator[Sshd]:
    """Serve SSH."""
    with serving() as server:
        yield server


@pytest.fixture
def key(sshd: Sshd, tmp_path: Path) -> Path:
    """Return the file of the private key that the server lets in."""
    return written(sshd, tmp_path / "key")


def written(server: Sshd, path: Path) -> Path:
    """Write the key that a server lets in."""
    path.write_text(server.client_key.private, encoding="utf-8")
    return path


def said_by(target: SshTarget, command: str = "echo in", limit_s: float = 20) -> str:
    """Run a command at a target and return what it said."""
    with open_target(target, Deadline.after(limit_s, "connecting")) as transport:
        return transport.run(command).text


def refused(target: SshTarget, limit_s: float = 20) -> ThroughpassError:
    """Return the error of a target that cannot be connected to."""
    with pytest.raises(ThroughpassError) as caught, open_target(target, Deadline.after(limit_s, "connecting")):
        pass
    return caught.value


@contextmanager
def answering(answer: bytes | None) -> Iterator[int]:
    """Listen on a port and send each caller these bytes and the end; with None, never say a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        callers: list[socket.socket] = []

        def serve() -> None:
            with suppress(OSError):
                while True:
                    callers.append(listener.accept()[0])
                    if answer is not None:
                        callers[-1].sendall(answer)
                        callers[-1].close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for caller in callers:
            caller.close()


@contextmanager
def slow_link(port: int, *, bytes_each: int, every_s: float) -> Iterator[int]:
    """Relay a port at a few bytes at a time."""

    def copy(source: socket.socket, sink: socket.socket) -> None:
        pause = threading.Event()
        with suppress(OSError):
            while data := source.recv(bytes_each):
                pause.wait(every_s)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            near = listener.accept()[0]
            with near, socket.create_connection(("127.0.0.1", port)) as far:
                back = threading.Thread(target=copy, args=(far, near), daemon=True)
                back.start()
                copy(near, far)
                back.join()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_route_over_a_jump_host(sshd: Sshd, key: Path, tmp_path: Path) -> None:
    """A host behind a jump host is reached through it, each with its own key and host key."""
    with serving() as jump:
        jump.forwarding = True
        way = target_of(jump, written(jump, tmp_path / "jump"))

        assert said_by(target_of(sshd, key, jump=way)) == "in"
        assert len(jump.connections) == 1


def test_route_over_a_jump_host_with_another_key_is_refused(sshd: Sshd, key: Path, tmp_path: Path) -> None:
    """A jump host whose key is not the known one is not used, and neither is what lies behind it."""
    with serving() as jump:
        jump.forwarding = True
        way = target_of(jump, written(jump, tmp_path / "jump"), host_key=make_key().public.strip())

        assert "presented another SSH host key" in refused(target_of(sshd, key, jump=way)).message
    assert not sshd.connections


def test_route_over_a_jump_host_that_forwards_nothing(sshd: Sshd, key: Path, tmp_path: Path) -> None:
    """A jump host that does not let us on is named, with where we wanted to go."""
    with serving() as jump:
        way = target_of(jump, written(jump, tmp_path / "jump"))

        error = refused(target_of(sshd, key, jump=way))

    assert f"{way.name} failed when it was to connect to 127.0.0.1 at port {sshd.port}" in error.message


RELAY = """
import os, pathlib, select, socket, sys
pathlib.Path(sys.argv[0] + ".pid").write_text(str(os.getpid()))
there = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
while True:
    for ready in select.select([there, 0], [], [])[0]:
        data = there.recv(65536) if ready is there else os.read(0, 65536)
        if not data:
            sys.exit()
        if ready is there:
            os.write(1, data)
        else:
            there.sendall(data)
"""


def test_route_over_a_proxy_command(sshd: Sshd, key: Path, tmp_path: Path) -> None:
    """A proxy command carries the connection, and has ended when that has."""
    script = tmp_path / "relay.py"
    script.write_text(RELAY, encoding="utf-8")

    assert said_by(target_of(sshd, key, address="nowhere.invalid", proxy_command=f"python3 {script} {sshd.port}")) == "in"
    assert not Path("/proc", Path(f"{script}.pid").read_text(encoding="utf-8")).exists()


def test_route_over_a_proxy_command_that_fails(sshd: Sshd, key: Path) -> None:
    """What a proxy command complained of is shown."""
    error = refused(target_of(sshd, key, proxy_command="sh -c 'echo no tunnel today >&2; exit 1'"))

    assert isinstance(error, HostLostError)
    assert error.evidence == "no tunnel today"


def test_route_keeps_to_the_algorithms(sshd: Sshd, key: Path) -> None:
    """What the configuration allows is used; where that is nothing that we have, the option is named."""
    only = Algorithms(ciphers=("aes256-ctr",), kex=("curve25519-sha256",), macs=("hmac-sha2-512",))
    with open_target(target_of(sshd, key, algorithms=only), Deadline.after(20, "connecting")) as transport:
        connection: Any = transport._connection
        assert connection.remote_cipher == "aes256-ctr"
        assert connection.remote_mac == "hmac-sha2-512"

    error = refused(target_of(sshd, key, algorithms=Algorithms(ciphers=("chacha20-poly1305@openssh.com",))))
    assert "Ciphers in ssh's configuration for root@127" in error.message


def test_route_changed_key_is_explained(sshd: Sshd, key: Path, tmp_path: Path) -> None:
    """A changed key is refused with both fingerprints, the place of the old one and what removes it."""
    known, old = tmp_path / "known", make_key()
    known.write_text(f"\n[127.0.0.1]:{sshd.port} {old.public}", encoding="utf-8")

    error = refused(target_of(sshd, key, host_key="", known_hosts=(known,)))

    assert f"{old.key.fingerprint}, in {known}:2" in error.message
    assert sshd.host_key.key.fingerprint in error.message
    assert f"ssh-keygen -R '[127.0.0.1]:{sshd.port}' -f {known}" in error.remedy


def test_route_revoked_key_is_refused(sshd: Sshd, key: Path, tmp_path: Path) -> None:
    """A key that RevokedHostKeys lists is refused though it is known."""
    (tmp_path / "known").write_text(f"[127.0.0.1]:{sshd.port} {sshd.host_key_line}\n", encoding="utf-8")
    (tmp_path / "revoked").write_text(f"{sshd.host_key_line}\n", encoding="utf-8")

    error = refused(target_of(sshd, key, host_key="", known_hosts=(tmp_path / "known",), revoked=tmp_path / "revoked"))

    assert f"{tmp_path}/revoked:1 revokes" in error.message


def test_route_host_without_the_known_kind_of_key(sshd: Sshd, key: Path) -> None:
    """A host that has no key of the kind that is known is told as that."""
    other = paramiko.ECDSAKey.generate()
    error = refused(target_of(sshd, key, host_key=f"{other.get_name()} {other.get_base64()}"))

    assert "no host key of a kind that is known (ecdsa-sha2-nistp256)" in error.message


def test_route_files_are_tried_as_ssh_does(sshd: Sshd, key: Path, tmp_path: Path) -> None:
    """Of several files those that can be read are offered; what was left out is told where none is accepted."""
    other = tmp_path / "other"
    other.write_text(make_key().private, encoding="utf-8")
    (tmp_path / "noise").write_bytes(b"noise")
    files = (tmp_path / "absent", tmp_path / "noise", other)

    assert said_by(target_of(sshd, None, identities=(*files, key), identities_named=True)) == "in"
    error = refused(target_of(sshd, None, identities=files, identities_named=True))
    assert "accepts none of the keys" in error.message
    assert "not offered: " in error.message
    assert f"{tmp_path}/absent is not there" in error.message
    assert f"{tmp_path}/noise is no private key" in error.message


def test_route_address_family_and_source_are_kept(sshd: Sshd, key: Path) -> None:
    """The address family and the source address of the configuration are used."""
    with open_target(target_of(sshd, key, bind_address="127.0.0.7"), Deadline.after(20, "connecting")) as transport:
        connection: Any = transport._connection
        assert connection.sock.getsockname()[0] == "127.0.0.7"
    error = refused(target_of(sshd, key, family=socket.AF_INET6))
    assert "127.0.0.1 cannot be reached" in error.message


def test_route_server_that_closes_at_once(sshd: Sshd, key: Path) -> None:
    """A server that hangs up at once is told as that."""
    with answering(b"") as port:
        error = refused(replace(target_of(sshd, key), port=port))

    assert "closed the connection, or answered otherwise than an SSH server does" in error.message


def test_route_server_that_is_none(sshd: Sshd, key: Path) -> None:
    """A port where something else listens is told as that."""
    with answering(b"HTTP/1.0 400 Bad Request\r\n\r\n") as port:
        error = refused(replace(target_of(sshd, key), port=port))

    assert "answered otherwise than an SSH server does" in error.message


def test_route_failure_writes_nothing_of_its_own() -> None:
    """A connection that fails is told by its error alone: the SSH library writes no traceback to standard error."""
    script = (
        "import socket, threading, paramiko, harness.transport.ssh\n"
        "ours, theirs = socket.socketpair(); theirs.close()\n"
        "try: paramiko.Transport(ours).start_client(timeout=5)\n"
        "except (paramiko.SSHException, EOFError): pass\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1], capture_output=True, check=True)

    assert done.stderr == b""


def test_route_server_that_never_speaks(sshd: Sshd, key: Path) -> None:
    """A server that takes the connection and says nothing costs no more than the deadline, ConnectTimeout's if that is less."""
    with answering(None) as port:
        began_s = time.monotonic()
        error = refused(replace(target_of(sshd, key), port=port), limit_s=1)

    assert isinstance(error, DeadlineError | HostLostError)
    assert time.monotonic() - began_s < 20


def test_route_slow_link(sshd: Sshd, key: Path) -> None:
    """A link of a few kilobytes a second is slow and nothing else."""
    with slow_link(sshd.port, bytes_each=512, every_s=0.01) as port:
        assert said_by(replace(target_of(sshd, key), port=port)) == "in"


def test_route_output_without_end_is_bounded(sshd: Sshd, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that prints without end is ended at a bound, with the beginning of what it said."""
    monkeypatch.setattr(ssh, "OUTPUT_LIMIT", 1 << 20)

    with pytest.raises(BenchError, match="printed more than 1 MiB") as caught:
        said_by(target_of(sshd, key), "yes")

    assert caught.value.evidence.startswith("y\ny\n")


def test_route_agent_that_is_dead_is_told(sshd: Sshd, tmp_path: Path) -> None:
    """An agent that does not answer is named where there is no other key."""
    error = refused(target_of(sshd, None, agent=str(tmp_path / "agent")))

    assert isinstance(error, UsageError)
    assert f"the SSH agent at {tmp_path}/agent does not answer" in error.message


@contextmanager
def agent(folder: Path, *keys: Path) -> Iterator[str]:
    """Run an agent that holds these keys, and give its socket."""
    if shutil.which("ssh-agent") is None:
        pytest.skip("openssh-client is not installed")
    place = str(folder / "agent")
    with subprocess.Popen(["ssh-agent", "-D", "-a", place], stdout=subprocess.DEVNULL) as running:  # noqa: S607
        while not Path(place).exists():
            assert running.poll() is None
        for key in keys:
            key.chmod(0o600)
            argv = ["ssh-add", "-q", str(key)]
            subprocess.run(argv, env={**os.environ, "SSH_AUTH_SOCK": place}, capture_output=True, check=True)
        yield place
        running.terminate()


def test_route_agent_serves(sshd: Sshd, key: Path, tmp_path: Path) -> None:
    """The agent's keys log in; with IdentitiesOnly those alone whose public half is named."""
    other = tmp_path / "other"
    other.write_text(make_key().private, encoding="utf-8")
    (tmp_path / "chosen.pub").write_text(sshd.client_key.public, encoding="utf-8")
    (tmp_path / "wrong.pub").write_text(make_key().public, encoding="utf-8")
    with agent(tmp_path, other, key) as place:
        assert said_by(target_of(sshd, None, agent=place)) == "in"
        for name in ("chosen", "chosen.pub"):
            mine = target_of(sshd, None, agent=place, identities=(tmp_path / name,), identities_named=True, identities_only=True)
            assert said_by(mine) == "in"
        error = refused(target_of(sshd, None, agent=place, identities=(tmp_path / "wrong.pub",), identities_only=True))

    assert "there is no key to log in" in error.message


@NEEDS_SSHD
@pytest.mark.parametrize(
    ("lines", "said"),
    [
        pytest.param(["ForceCommand /usr/sbin/nologin"], "This account is currently not available", id="nologin"),
        pytest.param(
            ["ForceCommand echo fatal: unrecognized command >&2; exit 128"], "fatal: unrecognized command", id="git-shell"
        ),
        pytest.param(["ForceCommand internal-sftp", "Subsystem sftp internal-sftp"], "ran no POSIX shell", id="sftp"),
        pytest.param(["ForceCommand exit 0"], "it said nothing", id="silent"),
    ],
)
def test_route_host_without_a_shell_is_told(tmp_path: Path, lines: list[str], said: str) -> None:
    """A login that runs no shell ends in one sentence with what it said."""
    with (
        openssh(tmp_path, *lines) as host,
        open_target(host.target(), Deadline.after(20, "connecting")) as transport,
        pytest.raises(BenchError, match="let us log in and ran no POSIX shell") as caught,
    ):
        take_sections(transport, "kernel")

    assert said in caught.value.message


@NEEDS_SSHD
@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "fish", "csh", "rbash"])
def test_route_host_with_any_shell_and_chatter(tmp_path: Path, shell: str) -> None:
    """Facts come through a banner, a chatty start-up file and a login shell that is no POSIX shell."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "banner").write_text("Authorised use only.\n" * 50, encoding="utf-8")
    chatter = f'ForceCommand printf "Welcome to the lab\\nno newline"; exec {shell} -c "$SSH_ORIGINAL_COMMAND"'
    with (
        openssh(tmp_path, f"Banner {tmp_path}/banner", chatter) as host,
        open_target(host.target(), Deadline.after(20, "connecting")) as transport,
    ):
        capture = take_sections(transport, "kernel", "cpu")

    assert capture.text("proc/cmdline") == Path("/proc/cmdline").read_text(encoding="utf-8").strip()


@NEEDS_SSHD
def test_route_certificate_of_a_key_is_presented(tmp_path: Path) -> None:
    """A host that trusts an authority alone lets in the key whose certificate is named."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("openssh-client is not installed")
    authority = make_key()
    (tmp_path / "authority").write_text(authority.private, encoding="utf-8")
    (tmp_path / "authority").chmod(0o600)
    (tmp_path / "authority.pub").write_text(authority.public, encoding="utf-8")
    with openssh(tmp_path, f"TrustedUserCAKeys {tmp_path}/authority.pub", "AuthorizedKeysFile none") as host:
        (tmp_path / "mine").write_text(host.key.read_text(encoding="utf-8"), encoding="utf-8")
        (tmp_path / "signed.pub").write_text((tmp_path / "authorized_keys").read_text(encoding="utf-8"), encoding="utf-8")
        argv = ["ssh-keygen", "-q", "-s", "authority", "-I", "me", "-n", host.target().user, "signed.pub"]
        subprocess.run(argv, cwd=tmp_path, capture_output=True, check=True)

        assert "accepts none" in refused(host.target(identity=tmp_path / "mine")).message
        assert said_by(host.target(identity=tmp_path / "mine", certificates=(tmp_path / "signed-cert.pub",))) == "in"
