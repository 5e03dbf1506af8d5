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
    UNFIT_BENCH = "unfit bench"  # its noise or its drift hides whatever there is
    NOT_JUDGED = "not judged"  # too few blocks, or not comparable


class Judgement(msgspec.Struct, frozen=True):
    """The ratio ``arm / base`` in one cell: geometric mean over blocks and its confidence interval.

    ``p`` is that of a ratio of 1, adjusted for the other comparisons of its family; an effect is called where it is at most
    ``level``. ``floor`` is the factor by which an arm came out different from itself in this cell (1.004: by 0.4 %).
    """

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
    p: float | None = None
    level: float | None = None
    floor: float | None = None
