"""A message that programs or the kernel print: how it is known, what it means, and the rule that says why and what to do."""

from __future__ import annotations

import re
from typing import NamedTuple

from harness.core.finding import Severity


class Message(NamedTuple):
    """A line that holds one of the ``hints`` (in small letters) and fits ``pattern`` has this meaning.

    ``severity`` is what such a line in the kernel's log says of the device that it names, while that is passed or used; None for
    what programs print.
    """

    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    meaning: str
    rule: str
    severity: Severity | None = None

    def fits(self, line: str, lowered: str) -> bool:
        """Return whether the line is one of these; ``lowered`` is the line in small letters."""
        return any(hint in lowered for hint in self.hints) and self.pattern.search(line) is not None


def message(hints: str, pattern: str, meaning: str, rule: str, severity: Severity | None = None) -> Message:
    """Make a message; the hints are joined by a bar: of each line that fits the pattern, one of them is a part."""
    return Message(tuple(hints.lower().split("|")), re.compile(pattern, re.IGNORECASE), meaning, rule, severity)
