"""A person at the terminal, who plugs sticks where no machine does.

Enter is an answer, not a proof: whoever asks waits for the kernel's event afterwards.
"""

from __future__ import annotations

import os
import select
import termios
from collections.abc import Iterator
from contextlib import contextmanager

from harness.core.deadline import Deadline
from harness.core.errors import BenchError, UsageError

TERMINAL = "/dev/tty"
"""The terminal itself: pytest takes standard input and both outputs."""

ANSWER_LIMIT_S = 900.0
"""For a person to walk to the host and back."""


class Operator:
    """Asks on the terminal. UsageError where there is none: it is better said before anything has been touched."""

    def __init__(self) -> None:
        with _terminal():
            pass

    def plug(self, serial: str, controller: str) -> None:
        """Ask for a stick, an empty serial meaning any, and wait for Enter."""
        self._ask(f"plug {_stick(serial)} into the controller {controller}, then press Enter")

    def unplug(self, serial: str, controller: str) -> None:
        """Ask for a stick to be pulled out, and wait for Enter."""
        self._ask(f"pull {_stick(serial)} out of the controller {controller}, then press Enter")

    def _ask(self, request: str) -> None:
        """Show a request and wait until it is answered. What was typed before is no answer to it."""
        limit = Deadline.after(ANSWER_LIMIT_S, f"the operator's answer to {request!r}")
        with _terminal() as terminal:
            termios.tcflush(terminal, termios.TCIFLUSH)
            os.write(terminal, f"\n>>> {request}: ".encode())
            if not select.select([terminal], [], [], limit.left_s)[0]:
                raise limit.error()
            if not os.read(terminal, 4096):
                raise BenchError(f"the terminal was closed before anybody could {request.partition(',')[0]}")


def _stick(serial: str) -> str:
    """Name a stick; what a device calls itself must not steer the terminal."""
    return f"the stick {serial if serial.isprintable() else ascii(serial)}" if serial else "a stick (any)"


@contextmanager
def _terminal() -> Iterator[int]:
    try:
        descriptor = os.open(TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(
            "--operator asks a person on the terminal, and this process has none: start it from a terminal, or leave it out "
            "and plug the stick in beforehand"
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)
