"""Work that no signal may cut in two."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from harness.transport.aside import aside


def test_aside_returns_and_raises_as_the_work_does() -> None:
    """What the work returns is returned, what it raises is raised."""
    assert aside(lambda: 6 * 7) == 42
    with pytest.raises(ZeroDivisionError):
        aside(lambda: 1 // 0)


def test_aside_work_outlives_a_signal() -> None:
    """A signal ends the waiting at once, not the work."""
    began, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        os.kill(os.getpid(), signal.SIGINT)  # the main thread gets it, which waits for us
        may_end.wait(10)
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        aside(work)
    assert began.is_set()
    assert not ended.is_set()
    may_end.set()
    assert ended.wait(10)
