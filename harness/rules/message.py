"""A message that programs or the kernel print: how it is known, what it means, and the rule that says why and what to do."""

from __future__ import annotations

import re
from typing import NamedTuple

from harness.core.finding import Severity


class Message(NamedTuple):
    """A line that holds one of the ``hints`` (in small letters) and fits ``pattern`` has this meaning.

    ``severity`` is what such a line in the kernel's log says of the device that it names, while that is passed or used; None for
    what programs print. ``remedy`` is what to do where the rule's own remedy is no answer to these words.
    """

    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    meaning: str
    rule: str
    severity: Severity | None = None
    remedy: str = ""

    def fits(self, line: str, lowered: str) -> bool:
        """Return whether the line is one of these; ``lowered`` is the line in small letters."""
        return any(hint in lowered for hint in self.hints) and self.pattern.search(line) is not None


def message(hints: str, pattern: str, meaning: str, rule: str, severity: Severity | None = None, *, remedy: str = "") -> Message:
    """Make a message; the hints are joined by a bar: of each line that fits the pattern, one of them is a part."""
    return Message(tuple(hints.lower().split("|")), re.compile(pattern, re.IGNORECASE), meaning, rule, severity, remedy)


TAKE = (
    "as root: echo vfio-pci >/sys/bus/pci/devices/ADDRESS/driver_override, unbind the device from its driver, then echo ADDRESS "
    ">/sys/bus/pci/drivers_probe, and look at its driver's link; not by new_id, which takes identical cards too"
)
"""How a device gets to the driver that passes it."""

RELEASE = "find the program: fuser -v /dev/vfio/*, virsh list, ps; shut that guest down, then try again"
"""What to do where a program has the device."""
