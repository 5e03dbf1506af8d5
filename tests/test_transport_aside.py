"""Work that no signal may cut in two."""

from __future__ import annotations

import os
import signal
import threading
import time

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


def test_aside_signal_that_does_not_wake_the_wait_counts() -> None:
    """A signal that does not interrupt the waiting itself, since another thread got it, ends it all the same."""
    may_end = threading.Event()

    def work() -> None:
        may_end.wait(0.5)  # by then the main thread waits
        signal.raise_signal(signal.SIGINT)  # this very thread gets it; Python notes it for the main thread, and nobody wakes that
        may_end.wait(20)

    began_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        aside(work)
    may_end.set()

    assert time.monotonic() - began_s < 15
