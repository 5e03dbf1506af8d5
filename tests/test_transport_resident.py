"""The shell that stays on a host, over a server that really speaks SSH: commands stay apart, and a broken shell is replaced."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core.deadline import Deadline
from harness.core.errors import BenchError, DeadlineError, HostLostError
from harness.transport.local import LocalTransport
from harness.transport.protocol import Transport
from harness.transport.resident import ResidentTransport, resident
from harness.transport.route import open_target
from tests.sshd import Sshd, fake_sudo, serving, target_of

OWN_SHELL = 'echo "$$"'


@pytest.fixture
def sshd() -> Iterator[Sshd]:
    """Serve SSH."""
    with serving() as server:
        yield server


@pytest.fixture
def host(sshd: Sshd, tmp_path: Path) -> Iterator[Transport]:
    """Connect to the server, and keep a shell there."""
    identity = tmp_path / "key"
    identity.write_text(sshd.client_key.private, encoding="utf-8")
    limit = Deadline.after(20, "connecting")
    with (
        open_target(target_of(sshd, identity), limit) as below,
        resident(below) as transport,
    ):
        assert isinstance(transport, ResidentTransport)
        yield transport


def test_resident_gives_status_and_both_outputs(host: Transport) -> None:
    """Status and outputs of each command come back apart, byte by byte; an argv is quoted, and the shell is the same."""
    first = host.run("printf 'a\\n\\n'; printf '\\nx' >&2; exit 3")
    second = host.run(["printf", "%s|", "a b", "$HOME", "'"])

    assert (first.status, first.stdout, first.stderr) == (3, b"a\n\n", b"\nx")
    assert (second.status, second.stdout, second.stderr) == (0, b"a b|$HOME|'|", b"")
    assert host.run(OWN_SHELL).text == host.run(OWN_SHELL).text


def test_resident_keeps_nothing_of_a_command(host: Transport) -> None:
    """A command's folder, variables, options and traps go with it, and what it cannot say is its own trouble."""
    host.run("cd /usr; disk=sda; set -- a b; set -e; trap 'echo left' EXIT; umask 077")

    left = host.run('echo "$PWD|$disk|$#"; false; umask')

    assert left.text.splitlines()[0].endswith("||0")
    assert not left.text.startswith("/usr|")
    assert host.run("if broken (").status != 0
    assert host.run("echo 'an open quote").status != 0
    assert host.run("echo on").text == "on"


def test_resident_gives_commands_no_input(host: Transport) -> None:
    """A command cannot swallow the next one, and one with input gets it, in a shell of its own."""
    assert host.run("cat").text == ""
    assert host.run("cat", stdin=b"words").text == "words"
    assert host.run("echo next").text == "next"


def test_resident_reads_large_outputs(host: Transport) -> None:
    """More than a window on both outputs is read to its end."""
    size = 5 << 20
    script = f"head -c {size} /dev/zero; head -c {size} /dev/zero >&2"

    result = host.run(script, timeout_s=60)

    assert (len(result.stdout), len(result.stderr)) == (size, size)


def test_resident_too_long_is_a_deadline(host: Transport) -> None:
    """A command that does not end in time raises, with what it had said; its shell is given up, and another serves."""
    before = host.run(OWN_SHELL).text

    with pytest.raises(DeadlineError, match=r"'echo so far; sleep 20' on .* took longer than") as caught:
        host.run("echo so far; sleep 20", timeout_s=0.5)

    assert "so far" in caught.value.evidence
    assert host.run(OWN_SHELL).text != before


def test_resident_shell_that_dies_is_replaced(host: Transport) -> None:
    """A shell that is killed under a command loses that command, and only that."""
    with pytest.raises(HostLostError, match=r"the shell on .* ended while it ran 'kill -9"):
        host.run('kill -9 "$$"')

    assert host.run("echo on").text == "on"


def test_resident_tells_a_lost_connection(host: Transport, sshd: Sshd) -> None:
    """When the host is gone, a command is a lost host, in the old shell and in any new one."""
    host.run("true")
    sshd.drop()

    for _ in range(2):
        with pytest.raises(HostLostError):
            host.run("true")


def test_resident_serves_one_at_a_time(host: Transport) -> None:
    """A command that comes while another runs has a shell of its own, and does not wait."""
    slow: list[str] = []
    thread = threading.Thread(target=lambda: slow.append(host.run("read -r _ </proc/uptime; sleep 1; echo slow").text))
    host.run("true")
    thread.start()
    while not host._free.locked():  # type: ignore[attr-defined] # until the other one has the shell
        pass

    assert host.run("echo fast").text == "fast"
    assert slow == []
    thread.join(10)
    assert slow == ["slow"]


def test_resident_ends_with_its_block(sshd: Sshd, tmp_path: Path) -> None:
    """When the block ends, the shell on the host does, too."""
    identity = tmp_path / "key"
    identity.write_text(sshd.client_key.private, encoding="utf-8")
    limit = Deadline.after(20, "connecting")
    with open_target(target_of(sshd, identity), limit) as below:
        with resident(below) as transport:
            shell = Path("/proc") / transport.run(OWN_SHELL).text
            assert shell.exists()
        end = Deadline.after(20, "the shell's end")
        while shell.exists():
            end.check()
            below.run("sleep 0.05")


def test_resident_leaves_this_machine_alone() -> None:
    """Where a command costs no session, none is kept."""
    local = LocalTransport()
    with resident(local) as transport:
        assert transport is local


@pytest.mark.parametrize("text", ["x" * 100_000, "'", '"', "$(id)`id`\\", "a\nb\n", "ä"])
def test_resident_takes_any_text(host: Transport, text: str) -> None:
    """What a command holds comes back as it was."""
    assert host.run(f"printf %s {shlex.quote(text)}").stdout == text.encode()


@pytest.fixture
def rooted(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Transport]:
    """Connect to the server, and keep a shell there that sudo starts."""
    fake_sudo(tmp_path, monkeypatch)
    identity = tmp_path / "key"
    identity.write_text(sshd.client_key.private, encoding="utf-8")
    with (
        open_target(target_of(sshd, identity), Deadline.after(20, "connecting")) as below,
        resident(below.as_root()) as transport,
    ):
        yield transport


def test_resident_by_sudo_gives_the_commands_own_words(rooted: Transport) -> None:
    """What sudo notices when it starts the shell is no word of the first command's, nor of any later one."""
    said = [rooted.run(f"echo 'sudo: {word}' >&2").error_text for word in ("first", "second")]

    assert said == ["sudo: first", "sudo: second"]
    assert rooted.run(OWN_SHELL).text == rooted.run(OWN_SHELL).text


def test_resident_that_sudo_refuses_is_no_lost_host(rooted: Transport, tmp_path: Path) -> None:
    """Where sudo starts no shell the host is not lost: it is told with sudo's words, and the next command is asked for anew."""
    refuse = tmp_path / "bin" / "refuse"
    refuse.touch()

    with pytest.raises(BenchError, match=r"^sudo does not run 'true' on root@127") as caught:
        rooted.run("true")
    refuse.unlink()

    assert type(caught.value) is BenchError
    assert "sudo: a password is required" in caught.value.evidence
    assert rooted.run("echo on").text == "on"
