"""The serial console: what ends a wait, and what is kept."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.core.deadline import Deadline
from harness.core.errors import BoardError, DeadlineError
from harness.machine.console import Console, plain


@dataclass
class Line:
    """A serial line: the machine's end, and the console on the other."""

    machine: socket.socket
    console: Console


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    """Return a line whose transcript is ``log``."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        console = Console(ours, "board", tmp_path / "log")
        yield Line(theirs, console)
        console.close()


def soon(length_s: float = 10.0) -> Deadline:
    """Return a deadline for a wait."""
    return Deadline.after(length_s, "waiting")


def test_console_finds_text_that_comes_in_pieces(line: Line, tmp_path: Path) -> None:
    """The awaited text is found across two pieces, and every byte is in the transcript."""
    line.machine.sendall(b"\x1b[0mLinux\r\nthroughpass: re")
    line.machine.sendall(b"ady\r\n\xff")

    line.console.wait_for("throughpass: ready", soon())
    line.console.drain()

    assert (tmp_path / "log").read_bytes() == b"\x1b[0mLinux\r\nthroughpass: ready\r\n\xff"


@pytest.mark.parametrize(
    "death",
    [
        "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
        "Oops: int3: 0000 [#1] PREEMPT SMP NOPTI",
        "BUG: unable to handle page fault for address: ffffc90000000000",
        "throughpass: no disk labelled throughpass on virtio",
    ],
)
def test_console_death_ends_a_wait_at_once(line: Line, death: str) -> None:
    """What a kernel prints when nothing more will come ends the wait, and the error tells it and what stood around it."""
    line.machine.sendall(f"booting\r\n[    1.2] {death}\r\n[    1.3] and more\r\n".encode())

    with pytest.raises(BoardError, match="console of board died: ") as caught:
        line.console.wait_for("never", soon(60))

    assert death in caught.value.message
    assert "booting\n" in caught.value.evidence
    assert "and more" in caught.value.evidence
    assert line.console.death() == death


def test_console_deadline_tells_the_end_of_the_transcript(line: Line) -> None:
    """A text that does not come in time is named, with the last lines and where the whole is."""
    line.machine.sendall(b"\x1b[31mstill here\r\n")

    with pytest.raises(BoardError, match=r"did not print 'ready' within 1 s") as caught:
        line.console.wait_for("ready", soon(0.6))

    assert caught.value.evidence == "still here\n"
    assert caught.value.message.endswith("transcript: log")
    assert line.console.death() == ""


def test_console_deadline_that_was_cut_is_the_stages(line: Line) -> None:
    """A machine that had not its own time to print a text is not to blame: the stage took too long, and that is said."""
    line.machine.sendall(b"still here\r\n")

    with pytest.raises(DeadlineError, match=r"^waiting took longer than 0.6 s$") as caught:
        line.console.wait_for("ready", soon(0.6).within(60, "the second boot"))

    assert caught.value.evidence == "still here\n"


def test_console_end_is_told(line: Line) -> None:
    """A line that closes before the text came ends the wait."""
    line.machine.sendall(b"last words\r\n")
    line.machine.close()

    with pytest.raises(BoardError, match="ended before it printed 'ready'") as caught:
        line.console.wait_for("ready", soon())

    assert "last words" in caught.value.evidence


def test_console_is_read_while_nobody_waits(line: Line, tmp_path: Path) -> None:
    """A machine that talks on after it was ready is never held up, and every byte of it is kept."""
    line.machine.sendall(b"ready\r\n")
    line.console.wait_for("ready", soon())
    line.machine.settimeout(10)

    for number in range(64):
        line.machine.sendall(b"%d" % (number % 10) * (1 << 16))
    line.machine.sendall(b"Kernel panic - not syncing: at last\r\n")

    assert line.console.death() == "Kernel panic - not syncing: at last"
    assert (tmp_path / "log").stat().st_size == 7 + (64 << 16) + 37


def test_console_waits_go_on_where_the_last_one_ended(line: Line) -> None:
    """What came between two waits is not lost for the second."""
    line.machine.sendall(b"one two")
    line.console.wait_for("one", soon())
    line.console.drain()

    line.console.wait_for("two", soon())

    with pytest.raises(BoardError, match="did not print 'one'"):
        line.console.wait_for("one", soon(0.2))


def test_console_hears_the_last_words(tmp_path: Path) -> None:
    """What comes right before the end is in the transcript when the console is closed; closing twice does no harm."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        console = Console(ours, "board", tmp_path / "log")
        theirs.sendall(b"last words" * 10_000)
        theirs.close()
        console.close()
        console.close()

    assert (tmp_path / "log").read_bytes() == b"last words" * 10_000
    assert console.tail().endswith("last words")
    assert console.death() == ""


def test_console_pattern_signs_are_text(line: Line) -> None:
    """The awaited text is text: signs of a pattern mean themselves."""
    line.machine.sendall(b"root@board:~# [x]")

    line.console.wait_for("~# [x]", soon())


def test_plain_has_no_control_codes() -> None:
    """Colours, cursor movements, bells and carriage returns are left out, tabs and lines stay."""
    assert plain("\x1b[1;31mred\x1b[0m\x07\ttab\r\nnext\x1b[?25l\x7f") == "red\ttab\nnext"


@pytest.mark.parametrize("last", [b"Kernel panic - not syncing: sysrq triggered crash\r\n", b""], ids=["death", "end"])
def test_console_is_watched_to_the_death_of_its_machine(line: Line, last: bytes) -> None:
    """Who watches hears of a panic although the machine boots again after it, and of a console that ends."""
    line.machine.sendall(b"throughpass: ready\r\n" + last)
    if last:
        line.machine.sendall(b"throughpass: ready\r\n")
    else:
        line.machine.shutdown(socket.SHUT_WR)

    line.console.watch()

    assert line.console.death() == last.decode().strip()
