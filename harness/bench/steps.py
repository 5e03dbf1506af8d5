"""The steps of a long command: told as it announces them, and told again while one of them takes its time."""

from __future__ import annotations

import re
import selectors
import time
from collections.abc import Callable
from io import FileIO
from pathlib import Path

from harness.bench.cache import Progress
from harness.core.deadline import Deadline

QUIET_S = 10.0
"""After so long without a new step the user is told that the last one goes on."""

_ANNOUNCED = re.compile(rb"I: (?!running (?:special hook|--))(.*)")
_PIECE = 1 << 16
_EVIDENCE = 2000


class Steps:
    """Who tells the user; hears mmdebstrap's way of announcing, a line that begins with ``I: ``."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._rest = b""
        self._step, self._begun, self.silence = "starting", time.monotonic(), _silence()

    def hear(self, said: bytes) -> None:
        """Take what the command said, in pieces of any size, and tell each step that it announces."""
        *lines, self._rest = (self._rest + said).split(b"\n")
        for line in lines:
            if found := _ANNOUNCED.match(line):
                self._step, self._begun, self.silence = found[1].decode("utf-8", "replace"), time.monotonic(), _silence()
                self._progress(self._step)

    def remind(self) -> None:
        """Tell that the last step goes on, if nothing was told for long."""
        if self.silence.expired:
            self._progress(f"{self._step} ({time.monotonic() - self._begun:.0f} s so far)")
            self.silence = _silence()


def _silence() -> Deadline:
    return Deadline.after(QUIET_S, "a silence")


def follow(output: FileIO, log: Path, limit: Deadline, progress: Progress, ended: Callable[[], bool]) -> None:
    """Keep in ``log`` what a command says and tell its steps, until it closes its output.

    Raises DeadlineError if that takes too long. A child of the command's may keep the output open for longer than it lives
    itself: ``ended`` is asked when it is silent.
    """
    steps = Steps(progress)
    with selectors.DefaultSelector() as selector, log.open("ab", buffering=0) as kept:
        selector.register(output, selectors.EVENT_READ)
        while not limit.expired:
            if selector.select(min(steps.silence.left_s, limit.left_s)):
                if not (said := output.read(_PIECE)):
                    return
                kept.write(said)
                steps.hear(said)
            elif ended():
                return
            steps.remind()
    raise limit.error(log.read_text(errors="replace")[-_EVIDENCE:])
