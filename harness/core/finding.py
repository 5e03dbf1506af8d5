"""A finding: what a rule concluded from facts, with the evidence."""

from __future__ import annotations

import enum

import msgspec


class Evidence(msgspec.Struct, frozen=True):
    """A text and where it was read: ``/proc/cmdline``, ``dmesg``, ``lspci -nnk (guest)``."""

    source: str
    text: str


class Severity(enum.Enum):
    """What a finding does to the board's verdict."""

    PASS = "pass"  # what the rule asks for holds; kept for its evidence  # noqa: S105 (not a password)
    INFORMATION = "information"  # worth knowing, no effect
    CONDITION = "condition"  # it works, but a named condition is weak: CONDITIONAL
    UNKNOWN = "unknown"  # the host would not say: never QUALIFIED
    REFUSAL = "refusal"  # going on would harm the host: UNDECIDED, nothing touched
    FAILURE = "failure"  # NOT QUALIFIED


class Finding(msgspec.Struct, frozen=True):
    """One conclusion about one subject (a PCI address, ``host``, a stick's serial)."""

    rule: str
    severity: Severity
    subject: str
    message: str
    evidence: tuple[Evidence, ...] = ()
    remedy: str = ""
