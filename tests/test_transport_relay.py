"""The relay for UNIX sockets: both languages behave the same."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.transport.relay import _PERL, _PYTHON, READY, relay_argv

ARGVS = {"perl": ["perl", "-e", _PERL], "python3": ["python3", "-c", _PYTHON]}


@pytest.fixture(params=ARGVS)
def relay(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a relay for the socket ``s`` and wait until it listens."""
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    pipe = subprocess.PIPE
    with subprocess.Popen([*ARGVS[request.param], str(tmp_path / "s")], stdin=pipe, stdout=pipe, bufsize=0) as process:
        assert process.stdout is not None
        assert process.stdout.read(len(READY)) == READY
        yield process
        process.kill()


def connected(relay: subprocess.Popen[bytes], path: Path) -> socket.socket:
    """Return the peer's end, once the relay has said that it is there."""
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(str(path))
    assert relay.stdout is not None
    assert relay.stdout.read(len(READY)) == READY
    return peer


def test_relay_carries_both_ways(relay: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """What comes in on one side comes out on the other, unchanged, more than a buffer of it."""
    assert relay.stdin is not None
    assert relay.stdout is not None
    data = os.urandom(300_000)
    with connected(relay, tmp_path / "s") as peer:
        relay.stdin.write(b"to the peer\n")
        assert peer.recv(99) == b"to the peer\n"
        peer.sendall(data[:50_000])
        assert _read(relay, 50_000) == data[:50_000]


def test_relay_socket_is_private_and_goes(relay: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Nobody else may open the socket, and when the peer is there nobody can."""
    assert (tmp_path / "s").stat().st_mode & 0o077 == 0
    with connected(relay, tmp_path / "s"):
        assert not (tmp_path / "s").exists()


def test_relay_ends_with_the_peer(relay: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """When the peer closes, the relay ends, and so does its output."""
    connected(relay, tmp_path / "s").close()

    assert relay.stdout is not None
    assert relay.stdout.read() == b""
    assert relay.wait(10) == 0


def test_relay_ends_with_the_connection(relay: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """When its input ends (the runner or the connection is gone), the relay lets the peer go."""
    assert relay.stdin is not None
    with connected(relay, tmp_path / "s") as peer:
        relay.stdin.close()

        assert peer.recv(99) == b""
    assert relay.wait(10) == 0


def test_relay_nobody_came(relay: subprocess.Popen[bytes]) -> None:
    """A relay that nobody connects to ends with its input."""
    assert relay.stdin is not None
    relay.stdin.close()

    assert relay.wait(10) == 0


def test_relay_without_either_language_says_so(tmp_path: Path) -> None:
    """On a host with neither perl nor python3 the relay ends with a sentence."""
    sh = shutil.which("sh")
    assert sh is not None

    done = subprocess.run([sh, *relay_argv("s")[1:]], env={"PATH": str(tmp_path)}, capture_output=True, check=False)

    assert (done.returncode, done.stderr) == (127, b"neither perl nor python3 here\n")


def _read(relay: subprocess.Popen[bytes], size: int) -> bytes:
    assert relay.stdout is not None
    found = b""
    while len(found) < size:
        found += relay.stdout.read(size - len(found))
    return found
