"""What the kernel has newly said: found by the position in its log, never by the clock, which jumps.

/dev/kmsg numbers its records, so that a loss is counted. Where nobody may read it, or dd cannot read without waiting (busybox),
the whole text of ``dmesg`` is compared with the one before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from harness.facts.log_lines import parse_boot_log

_BOOT = 'read -r boot </proc/sys/kernel/random/boot_id && echo "boot $boot"\n'
_TEXT = """if text=$(dmesg 2>/dev/null) || text=$(sudo -n dmesg 2>/dev/null); then
    printf 'dmesg\\n%s\\nend\\n' "$text"
else
    echo denied
fi
"""
LOOK_AT_TEXT = _BOOT + _TEXT
"""Prints the boot's id and the kernel's log as text."""

LOOK = f"""{_BOOT}if {{ true </dev/kmsg; }} 2>/dev/null; then
    echo kmsg
    dd if=/dev/kmsg iflag=nonblock ibs=8192 obs=65536 2>/dev/null
    echo end
else
{_TEXT}fi
"""
"""Prints the boot's id and the kernel's log, in one go and without waiting for what the kernel may say next.

A record is a read of its own, for which 8192 bytes are enough; dd ends where there is no more (EAGAIN). It writes in large pieces
and is the only process: on an emulated host each costs a twentieth of a second. One that reads nothing is not GNU's.
"""

_RECORD = re.compile(r"(\d+),(\d+),\d+,[^;]*;(.*)")
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
_STAMP = re.compile(r"\[(\s*\d+\.\d+|[^\[\]]*\d\d:\d\d:\d\d[^\[\]]*)\](?: ?\[\s*[TC]\d+\])? ?")
_KERNEL = 0


class LogLook(msgspec.Struct, frozen=True):
    """The kernel's log at one moment. ``form`` is ``kmsg``, ``dmesg`` or ``denied``; ``numbers`` are those of kmsg's lines."""

    boot: str = ""
    form: str = "denied"
    lines: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()


LogMark = LogLook
"""Where a log ended: all of what was in it then, since a ring keeps nothing to find a place by but its lines."""


class News(msgspec.Struct, frozen=True):
    """What the kernel has said since a mark, without stamps; ``lost`` says in words what is not known of it, and is empty else.

    ``rebooted``: another kernel runs than the one that was looked at before.
    """

    lines: tuple[str, ...] = ()
    lost: str = ""
    rebooted: bool = False


def parse_look(text: str) -> LogLook:
    """Return what LOOK printed."""
    lines = text.strip("\n").split("\n")
    boot = lines.pop(0).removeprefix("boot ").strip() if lines[0].startswith("boot ") else ""
    form, said = "".join(lines[:1]), lines[1:-1]
    if form not in {"kmsg", "dmesg"} or lines[-1] != "end":
        return LogLook(boot)
    if form == "dmesg":
        return LogLook(boot, form, tuple(line for line in said if line.strip()))
    return _parse_records(boot, said)


def new_lines(before: LogMark | None, now: LogLook) -> News:
    """Return what is in a log that was not in it at the mark; all of it where nobody has looked before."""
    if now.form == "denied":
        return News(lost="the kernel's log may not be read")
    if before is None:
        return News(_messages(now))
    if before.boot and now.boot and before.boot != now.boot:
        return News(_messages(now), "the host rebooted in between: what its last kernel said at the end is lost", rebooted=True)
    if before.form == "denied":
        return News(_messages(now), "the kernel's log could not be read before: what is old and what is new is not known")
    if before.form != now.form:
        return News(_messages(now), "the kernel's log was read in another way before: what is old and what is new is not known")
    return _by_number(before, now) if now.form == "kmsg" else _by_text(before, now)


def _by_number(before: LogMark, now: LogLook) -> News:
    if not before.numbers:
        return News(_messages(now))
    last = before.numbers[-1]
    if not now.numbers or now.numbers[-1] < last:
        return News(lost="the kernel's log was overwritten while it was read")
    at = next((at for at, number in enumerate(now.numbers) if number > last), len(now.numbers))
    missing = now.numbers[0] - last - 1
    return News(_messages(now, at), f"{missing} messages were lost: the log's ring is too small" if missing > 0 else "")


def _by_text(before: LogMark, now: LogLook) -> News:
    """Compare two texts of a ring: the old one without its first lines, if the ring dropped some, begins the new one."""
    old, new = before.lines, now.lines
    dropped = _find_dropped(old, new)
    if not dropped and (_form(old) != _form(new) or _form(old) == "date"):
        old, new = _unstamped(old), _unstamped(new)
        dropped = _find_dropped(old, new)
    if not old:
        return News(_messages(now))
    if not dropped:
        return News(_messages(now), "the log's ring turned over, or was emptied: lines were lost, nobody knows how many")
    ambiguous = len(dropped) > 1 and dropped[0] > 0
    lost = "lines of the log repeat without a stamp: how many of them are new is not known" if ambiguous else ""
    at = len(old) - (dropped[-1] if ambiguous else dropped[0])
    return News(_messages(now, at), lost)


def _find_dropped(old: Sequence[str], new: Sequence[str]) -> list[int]:
    """Return how many lines the ring may have dropped from the old text: each number with which the rest begins the new one."""
    if not old or not new:
        return []
    found = []
    for at in (at for at, line in enumerate(old) if line == new[0]):
        rest = len(old) - at
        if rest <= len(new) and old[at:] == new[:rest]:
            found.append(at)
            if at == 0 or len(found) > 1:
                break
    return found


def _form(lines: Sequence[str]) -> str:
    """Return what stamps a text has: none, the seconds since the boot, or dates, which move with the host's clock."""
    match = _STAMP.match(lines[0]) if lines else None
    return "none" if match is None else "date" if ":" in match[1] else "seconds"


def _unstamped(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(line[match.end() :] if (match := _STAMP.match(line)) else line for line in lines)


def _messages(look: LogLook, first: int = 0) -> tuple[str, ...]:
    """Return the kernel's own lines from a place on, without stamps."""
    lines = look.lines[first:]
    return tuple(filter(None, lines)) if look.form == "kmsg" else parse_boot_log("\n".join(lines)).lines


def _parse_records(boot: str, said: Sequence[str]) -> LogLook:
    """Read records of /dev/kmsg: level, number, time, flags; the text. What begins with a blank describes the one before."""
    lines: list[str] = []
    numbers: list[int] = []
    for line in said:
        record = _RECORD.fullmatch(line)
        if record is None:
            continue
        kernel = int(record[1]) >> 3 == _KERNEL
        for part in _ESCAPE.sub(lambda match: chr(int(match[1], 16)), record[3]).split("\n"):
            lines.append(part if kernel else "")
            numbers.append(int(record[2]))
    return LogLook(boot, "kmsg", tuple(lines), tuple(numbers))
