"""A judgement: what a comparison of two arms says, with its interval."""

from __future__ import annotations

import enum

import msgspec


class Call(enum.Enum):
    """The answer of a comparison."""

    FASTER = "faster"
    SLOWER = "slower"
    EQUIVALENT = "equivalent"  # the interval lies wholly inside +-3 %
    INCONCLUSIVE = "inconclusive"
    DEVICE_LIMITED = "device-limited"  # the arms look equal because the disk is the bottleneck
    NOT_JUDGED = "not judged"  # too few blocks, or not comparable


class Judgement(msgspec.Struct, frozen=True):
    """The ratio ``arm / base`` in one cell: geometric mean over blocks and its confidence interval."""

    cell: str
    arm: str
    base: str
    blocks: int
    ratio: float | None
    low: float | None
    high: float | None
    confidence: float
    method: str
    call: Call
    sentence: str
    primary: bool = False
