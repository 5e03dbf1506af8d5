"""QMP: what is left behind when there is nobody to talk to."""

from __future__ import annotations

import socket
import threading

import pytest

from harness.core.deadline import Deadline
from harness.core.errors import BenchError, DeadlineError
from harness.machine.qmp import Qmp


def threads() -> set[str]:
    """Return the names of the threads of QMP."""
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("qmp ")}


def test_qmp_that_greets_wrongly_leaves_nothing() -> None:
    """A peer that is gone before it greeted is an error, and neither a thread nor the connection stays."""
    ours, theirs = socket.socketpair()
    theirs.close()

    with pytest.raises(BenchError, match="QMP connecting on board failed"):
        Qmp(ours, "board", Deadline.after(10, "connecting"))

    assert threads() == set()
    assert ours.fileno() == -1


def test_qmp_that_never_greets_leaves_nothing() -> None:
    """A peer that says nothing ends the wait at the deadline; neither a thread nor the connection stays."""
    ours, theirs = socket.socketpair()
    with theirs:
        with pytest.raises(DeadlineError, match="connecting took longer"):
            Qmp(ours, "board", Deadline.after(0.3, "connecting"))

        assert threads() == set()
        assert theirs.recv(1) == b""
