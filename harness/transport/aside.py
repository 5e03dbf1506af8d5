"""Work that no signal may cut in two."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


def aside(work: Callable[[], T]) -> T:
    """Do work in a thread of its own and return what it returns, or raise what it raises.

    Signals raise in the main thread alone. One that raised in the middle of a packet would leave a connection on which nothing
    can be said any more, the way back included; here it ends the waiting, and the work comes to its end. SimpleQueue waits without a
    Condition, which a signal may leave broken (Python 3.11).
    """
    answers: SimpleQueue[Callable[[], T]] = SimpleQueue()

    def do() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 (it is raised where it is waited for)
            answers.put(_raising(error))
        else:
            answers.put(lambda: result)

    threading.Thread(target=do, daemon=True, name="aside").start()
    return answers.get()()


def _raising(error: BaseException) -> Callable[[], T]:
    def raise_it() -> T:
        raise error

    return raise_it
