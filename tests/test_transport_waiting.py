"""Waiting for what another thread puts into a queue."""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue

import pytest

from harness.transport.waiting import next_item


def test_next_item_that_is_there_or_comes() -> None:
    """An item that is there is returned without any time to wait, and one that comes after some turns is waited for."""
    queue: SimpleQueue[str] = SimpleQueue()
    queue.put("there")
    threading.Timer(0.6, queue.put, ["late"]).start()

    assert next_item(queue, 0) == "there"
    assert next_item(queue) == "late"


@pytest.mark.parametrize("limit_s", [0.0, 0.1, 0.6])
def test_next_item_that_does_not_come(limit_s: float) -> None:
    """Where nothing comes, the limit is waited for and no turn beyond it."""
    began_s = time.monotonic()
    with pytest.raises(Empty):
        next_item(SimpleQueue[str](), limit_s)

    assert limit_s <= time.monotonic() - began_s < limit_s + 10
