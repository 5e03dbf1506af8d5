"""What a kernel has newly said: by the position in its log, whatever its clock does, and never with a loss unsaid."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from harness.facts.log_watch import LOOK, LOOK_AT_TEXT, LogLook, News, new_lines, parse_look
from harness.machine.kernel_log import take_look
from harness.transport.protocol import Result

BOOT = "8c1e"


def kmsg(*records: str, boot: str = BOOT) -> LogLook:
    """Return a look at /dev/kmsg."""
    return parse_look(f"boot {boot}\nkmsg\n" + "".join(f"{record}\n" for record in records) + "end\n")


def dmesg(*lines: str, boot: str = BOOT) -> LogLook:
    """Return a look at the text of dmesg."""
    return parse_look(f"boot {boot}\ndmesg\n" + "".join(f"{line}\n" for line in lines) + "end\n")


def record(number: int, text: str = "", level: int = 6) -> str:
    """Return a record of /dev/kmsg."""
    return f"{level},{number},{number * 1000},-;{text or f'line {number}'}"


def test_news_by_number() -> None:
    """What has a higher number than the last one is new; what a record says of its device is no line of its own."""
    before = kmsg(record(7), record(8))
    now = kmsg(record(7), record(8), record(9), " SUBSYSTEM=pci", " DEVICE=+pci:0000:05:00.0", record(10, r"two\x0alines"))

    assert new_lines(before, now) == News(("line 9", "two", "lines"))
    assert new_lines(now, now) == News()


def test_news_by_number_counts_what_the_ring_lost() -> None:
    """A ring that turned over has lost as many messages as there are numbers between."""
    news = new_lines(kmsg(record(7), record(8)), kmsg(record(40), record(41)))

    assert (news.lines, news.lost) == (("line 40", "line 41"), "31 messages were lost: the log's ring is too small")


def test_news_by_number_after_the_first_lines_were_dropped() -> None:
    """A ring that dropped only what was known already has lost nothing."""
    assert new_lines(kmsg(record(7), record(8)), kmsg(record(8), record(9))) == News(("line 9",))
    assert new_lines(kmsg(record(7), record(8)), kmsg(record(9))) == News(("line 9",))


def test_news_by_number_leaves_programs_out() -> None:
    """What a program wrote there is not the kernel's, and its number is not missed."""
    news = new_lines(kmsg(record(7)), kmsg(record(8, "systemd[1]: HC died", level=30), record(9)))

    assert news == News(("line 9",))


def test_news_that_was_overwritten_while_it_was_read() -> None:
    """A look that came to its end too early says so."""
    news = new_lines(kmsg(record(7), record(8)), kmsg())

    assert (news.lines, news.lost) == ((), "the kernel's log was overwritten while it was read")


STAMPED = ("[    1.000000] one of these", "[    2.000000] two of these", "[    3.000000] two of these")
BARE = tuple(line[15:] for line in STAMPED)
DATED = tuple(f"[Sun Nov 22 21:00:0{at} 2026] {line}" for at, line in enumerate(BARE))


@pytest.mark.parametrize(
    "lines", [pytest.param(STAMPED, id="stamps"), pytest.param(BARE, id="none"), pytest.param(DATED, id="dates")]
)
def test_news_by_text(lines: tuple[str, ...]) -> None:
    """With stamps, with dates or with none, what follows the old text is new; a line said once more is new, too."""
    again = (*lines, lines[-1].replace("3.0", "4.0").replace("21:00:02", "20:59:00"))

    assert new_lines(dmesg(*lines), dmesg(*again)) == News(("two of these",))
    assert new_lines(dmesg(*lines), dmesg(*lines)) == News()


def test_news_by_text_after_the_first_lines_were_dropped() -> None:
    """A ring that dropped lines still begins with the rest of the old text."""
    assert new_lines(dmesg(*STAMPED), dmesg(*STAMPED[1:], "[    4.000000] three of these")) == News(("three of these",))


def test_news_by_text_of_a_ring_that_turned_over() -> None:
    """Where nothing of the old text is left, all is new, and lines were lost; so it is after dmesg -c."""
    news = new_lines(dmesg(*STAMPED), dmesg("[    9.000000] nine of these"))

    assert news.lines == ("nine of these",)
    assert "lines were lost" in news.lost
    assert "lines were lost" in new_lines(dmesg(*STAMPED), dmesg()).lost


def test_news_by_text_after_a_clock_jumped() -> None:
    """Dates that all moved are the same lines."""
    moved = [line.replace("21:00", "03:17") for line in DATED]

    assert new_lines(dmesg(*DATED), dmesg(*moved, "[Sun Nov 22 03:17:09 2026] three of these")) == News(("three of these",))


def test_news_by_text_when_stamps_were_switched_off() -> None:
    """A kernel that prints no stamps any more says the same lines."""
    assert new_lines(dmesg(*STAMPED), dmesg(*BARE, "three of these")) == News(("three of these",))


def test_news_by_text_that_repeats_is_not_certain() -> None:
    """Of a ring full of one line without stamps nobody can tell how many are new, and that is said."""
    news = new_lines(dmesg("old", *["again"] * 5), dmesg(*["again"] * 6))

    assert "is not known" in news.lost


def test_news_of_another_boot() -> None:
    """After a reboot all that the new kernel says is new, and what the old one said at its end is lost."""
    for look in (kmsg, dmesg):
        news = new_lines(look(record(7)), look(record(1), boot="77aa"))
        assert news.rebooted
        assert news.lines
        assert "rebooted" in news.lost


def test_news_that_nobody_may_read() -> None:
    """A log that is closed is no silent one, before or now."""
    closed = parse_look(f"boot {BOOT}\ndenied\n")

    assert new_lines(kmsg(record(7)), closed).lost
    assert new_lines(closed, kmsg(record(7))).lost
    assert new_lines(kmsg(record(7)), dmesg("[    1.000000] one")).lost
    assert new_lines(kmsg(record(7)), parse_look(f"boot {BOOT}\nkmsg\n{record(7)}")).lost  # cut off on its way


def test_news_of_the_first_look() -> None:
    """Where nobody has looked before, all is new and nothing is lost: a guest that has just booted."""
    assert new_lines(None, kmsg(record(0), record(1))) == News(("line 0", "line 1"))


def test_look_ends_by_itself() -> None:
    """The script ends on any machine without waiting for what the kernel may say next, and what it prints is understood."""
    done = subprocess.run(["/bin/sh", "-c", LOOK], capture_output=True, timeout=30, check=True)
    look = parse_look(done.stdout.decode("utf-8", "replace"))

    assert look.boot
    assert look.form in {"kmsg", "dmesg", "denied"}
    assert (look.form == "denied") == (not look.lines)


class Answers:
    """A host that answers with a text of its own to each look."""

    name = "host"

    def __init__(self, kmsg_text: str, text: str) -> None:
        self.texts = {LOOK: kmsg_text, LOOK_AT_TEXT: text}

    def run(self, command: str, **_: object) -> Result:
        """Return the answer."""
        return Result(self.name, command, 0, self.texts[command].encode(), b"")


def test_look_without_gnu_dd() -> None:
    """Where dd reads nothing from /dev/kmsg, the log is read as text."""
    host: Any = Answers("boot 8c1e\nkmsg\nend\n", "boot 8c1e\ndmesg\n[    1.000000] one\nend\n")

    assert take_look(host) == dmesg("[    1.000000] one")


def test_look_at_text_ends_by_itself() -> None:
    """The second script ends as well, and what it prints is understood."""
    done = subprocess.run(["/bin/sh", "-c", LOOK_AT_TEXT], capture_output=True, timeout=30, check=True)

    assert parse_look(done.stdout.decode("utf-8", "replace")).form in {"dmesg", "denied"}
