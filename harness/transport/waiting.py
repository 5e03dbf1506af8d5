"""Waiting for what another thread puts into a queue, so that Ctrl-C is never missed."""

from __future__ import annotations

import math
import time
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")

_TURN_S = 0.25


def next_item(queue: SimpleQueue[T], limit_s: float = math.inf) -> T:
    """Return the next item of a queue; raise Empty if there is none within ``limit_s``.

    It waits in short turns: Python acts on a signal between two instructions, and one that comes in the instant before a wait
    begins, or that another thread of ours happens to get, does not end that wait (seen with Python 3.11 on a busy machine).
    """
    end_s = time.monotonic() + limit_s
    while True:
        left_s = max(0.0, end_s - time.monotonic())
        try:
            return queue.get(timeout=min(left_s, _TURN_S))
        except Empty:
            if left_s <= _TURN_S:
                raise
