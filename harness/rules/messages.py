"""What QEMU, libvirt and the kernel print when a passthrough fails, and the rule that explains it."""

from __future__ import annotations

import functools
from typing import NamedTuple

from harness.core.finding import Severity
from harness.facts.log_lines import find_lines
from harness.rules.message import Message
from harness.rules.messages_kernel import KERNEL
from harness.rules.messages_programs import PROGRAMS

MESSAGES: tuple[Message, ...] = (*KERNEL, *PROGRAMS)
_HINTS = tuple(dict.fromkeys(hint for message in MESSAGES for hint in message.hints))
_LONGEST = 400  # of a line that is shown: libvirt puts whole command lines before what QEMU said


class Explanation(NamedTuple):
    """What was printed, what it means, and the rule that says why and what to do.

    ``line`` is the first line of that meaning, ``number`` its place in the text (from 1), ``times`` how many there are;
    ``remedy`` is empty where the rule's own is the answer; one that only ``informs`` is no reason for a failure.
    """

    line: str
    meaning: str
    rule: str
    number: int = 1
    times: int = 1
    remedy: str = ""
    informs: bool = False


@functools.lru_cache(maxsize=4096)  # several rules ask about each line of a log, and hosts of a fleet say the same
def find_message(line: str) -> Message | None:
    """Return the message that a line is, if any is known."""
    lowered = line.lower()
    return next((message for message in MESSAGES if message.fits(line, lowered)), None)


def find_known(lines: list[str]) -> list[tuple[int, Message]]:
    """Return the places of the lines that are known, with what they are; quick on a hundred thousand of them."""
    places = find_lines([line.lower() for line in lines], _HINTS)
    return [(place, found) for place in places if (found := find_message(lines[place]))]


def explain_messages(text: str) -> tuple[Explanation, ...]:
    """Return an explanation of each meaning that is known, in the order in which they come first; what only informs is last."""
    found: dict[str, Explanation] = {}
    number, lines = _split(text)
    for place, message in find_known(lines):
        first = found.get(message.meaning)
        if first is None:
            found[message.meaning] = Explanation(
                _excerpt(lines[place], message),
                message.meaning,
                message.rule,
                number[place],
                remedy=message.remedy,
                informs=message.severity is Severity.INFORMATION,
            )
        else:
            found[message.meaning] = first._replace(times=first.times + 1)
    return tuple(sorted(found.values(), key=lambda each: each.informs))


def _split(text: str) -> tuple[list[int], list[str]]:
    """Return the lines, each with the number of the text's line that it is in: libvirt quotes what QEMU said, line ends too."""
    numbers: list[int] = []
    lines: list[str] = []
    for number, whole in enumerate(text.splitlines(), 1):
        parts = whole.split("\\n") if "\\n" in whole else [whole]
        numbers += [number] * len(parts)
        lines += parts
    return numbers, lines


def _excerpt(line: str, message: Message) -> str:
    """Return the line, or of a very long one what surrounds the place that is known."""
    line = line.strip()
    match = message.pattern.search(line)
    if len(line) <= _LONGEST or match is None:
        return line
    begin = max(0, min(match.start() - _LONGEST // 4, len(line) - _LONGEST))
    return f"{'...' if begin else ''}{line[begin : begin + _LONGEST]}{'...' if begin + _LONGEST < len(line) else ''}"
