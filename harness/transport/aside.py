"""Work that no signal may cut in two."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

from harness.transport.waiting import next_item

T = TypeVar("T")


def aside(work: Callable[[], T], *, to_the_end: bool = False) -> T:
    """Do work in a thread of its own and return what it returns, or raise what it raises.

    Signals raise in the main thread alone. One that raised in the middle of a packet would leave a connection on which nothing
    can be said any more, the way back included; here it ends the waiting, and the work comes to its end. SimpleQueue waits
    without a Condition, which a signal may leave broken (Python 3.11). With ``to_the_end`` the signal raises only when the work
    has ended: for what must not go on beside its own undoing.
    """
    results: list[T] = []
    errors: SimpleQueue[BaseException | None] = SimpleQueue()

    def do() -> None:
        try:
            results.append(work())
            errors.put(None)
        except BaseException as error:  # noqa: BLE001 (it is raised where it is waited for)
            errors.put(error)

    threading.Thread(target=do, daemon=True, name="aside").start()
    try:
        error = next_item(errors)
    except BaseException:
        if to_the_end:
            next_item(errors)
        raise
    if error is not None:
        raise error
    return results[0]
