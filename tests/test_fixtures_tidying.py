"""The end of a run that a signal interrupts."""

from __future__ import annotations

import sys
from types import TracebackType

import pytest

from fixtures.tidying import pytest_keyboard_interrupt


def test_interrupt_where_no_line_is_known_can_be_shown() -> None:
    """A signal that raised at an instruction without a line ends the session as any other does."""
    frame = sys._getframe()
    behind_the_end = TracebackType(None, frame, len(frame.f_code.co_code) + 2, -1)
    trace = TracebackType(behind_the_end, frame, frame.f_lasti, frame.f_lineno)
    found = pytest.ExceptionInfo.from_exception(KeyboardInterrupt("SIGTERM").with_traceback(trace))

    pytest_keyboard_interrupt(found)

    assert "KeyboardInterrupt: SIGTERM" in str(found.getrepr(funcargs=True))
