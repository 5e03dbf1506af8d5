"""The course of one run, second by second: where its rate fell for good, and where hardly anything came."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

CLIFF = 1.3
"""A cliff is where every second before it was so many times as fast as every second after it, stalls apart."""
_LEAST_AFTER = 2
"""Fewer seconds after it are not "for good"."""
STALL = 0.1
"""A stall is a second with less than this share of the median of all in which anything came."""


def find_stalls(seconds_mib_s: Sequence[float]) -> tuple[int, ...]:
    """Return the seconds, from 0, in which hardly anything came."""
    moving = [rate for rate in seconds_mib_s if rate > 0]
    if not moving:
        return ()
    least = STALL * statistics.median(moving)
    return tuple(number for number, rate in enumerate(seconds_mib_s) if rate < least)


def find_cliff(seconds_mib_s: Sequence[float]) -> int | None:
    """Return the second from which on the rate was lower for good (a cache that is full, a disk that is hot), None without one.

    Of several steps down it is the deepest.
    """
    stalls = find_stalls(seconds_mib_s)
    known = [(number, rate) for number, rate in enumerate(seconds_mib_s) if number not in stalls]
    depths = {
        known[at][0]: min(rate for _, rate in known[:at]) / after
        for at in range(1, len(known) - _LEAST_AFTER + 1)
        if (after := max(rate for _, rate in known[at:]))
    }
    deepest = max(depths, key=depths.__getitem__, default=None)
    return deepest if deepest is not None and depths[deepest] >= CLIFF else None
