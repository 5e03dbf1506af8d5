"""The steps of a long command, told as they come."""

from __future__ import annotations

import os
import threading
from io import FileIO
from pathlib import Path

import pytest

from harness.bench import steps
from harness.bench.steps import Steps, follow
from harness.core.deadline import Deadline
from harness.core.errors import DeadlineError

SAID = b"""I: automatically chosen mode: root
I: running special hook: upload a b
I: running --customize-hook in shell: sh -c 'set -eu
echo "I: not yet"'
I: running apt-get update...
Get:1 something
I: fetching the k"""


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_steps_are_told_as_they_are_announced(size: int) -> None:
    """A step is told when its line is whole; hooks and what they print are not steps."""
    heard: list[str] = []
    told = Steps(heard.append)

    for start in range(0, len(SAID), size):
        told.hear(SAID[start : start + size])
    assert heard == ["automatically chosen mode: root", "running apt-get update..."]

    told.hear(b"ernel\n")
    assert heard[2:] == ["fetching the kernel"]


def test_follow_keeps_what_was_said(tmp_path: Path) -> None:
    """All that a command says is kept, up to the end of its output."""
    heard: list[str] = []
    ours, theirs = os.pipe()
    with FileIO(ours) as output:
        os.write(theirs, SAID)
        os.close(theirs)
        follow(output, tmp_path / "log", Deadline.after(20, "following"), heard.append, lambda: False)

    assert (tmp_path / "log").read_bytes() == SAID
    assert len(heard) == 2


def test_follow_tells_that_a_step_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a command is silent or chatters without a new step, the user hears that the last one goes on."""
    monkeypatch.setattr(steps, "QUIET_S", 0.05)
    heard: list[str] = []
    reminded = threading.Event()
    ours, theirs = os.pipe()

    def hear(line: str) -> None:
        heard.append(line)
        if len(heard) == 3:
            reminded.set()

    with FileIO(ours) as output:
        os.write(theirs, b"I: unpacking\n")
        args = (output, tmp_path / "log", Deadline.after(20, "following"), hear, lambda: False)
        follower = threading.Thread(target=follow, args=args)
        follower.start()
        while not reminded.wait(0.01):
            os.write(theirs, b"chatter\n")
        os.close(theirs)
        follower.join(20)

    assert heard[:3] == ["unpacking", "unpacking (0 s so far)", "unpacking (0 s so far)"]


def test_follow_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that takes too long is a deadline, with its last words; one that left its output to a child has ended."""
    monkeypatch.setattr(steps, "QUIET_S", 0.05)
    ours, theirs = os.pipe()
    with FileIO(ours) as output, FileIO(theirs):
        os.write(theirs, b"last words")
        with pytest.raises(DeadlineError, match="following took longer") as caught:
            follow(output, tmp_path / "log", Deadline.after(0.2, "following"), lambda _: None, lambda: False)
        follow(output, tmp_path / "log", Deadline.after(20, "following"), lambda _: None, lambda: True)

    assert caught.value.evidence == "last words"
