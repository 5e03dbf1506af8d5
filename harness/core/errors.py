"""The errors of throughpass: one root, and a leaf for each party that can be at fault.

A message is one sentence that says what happened, where, and what to do; it is shown to the user as it is.
"""

from __future__ import annotations


class ThroughpassError(Exception):
    """Root of all errors that are raised on purpose.

    ``evidence`` holds text that helps to understand the message (the end of a console, a command's stderr); it may be empty.
    """

    def __init__(self, message: str, *, evidence: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.evidence = evidence
        self.remedy = remedy


class UsageError(ThroughpassError):
    """The user's input is wrong: a bench file, an option, a record. Exit status 2."""


class BenchError(ThroughpassError):
    """Our bench or harness failed, not the board: the outcome is ERROR and the board stays undecided."""


class HostLostError(BenchError):
    """The connection to a host ended, or could not be made."""


class DeadlineError(BenchError):
    """A stage or a wait took longer than it was given."""


class BoardError(ThroughpassError):
    """The board under test, or the guest on it, did not do what it must: the outcome is FAIL."""


class RefusedError(ThroughpassError):
    """Going on would harm the host: nothing was touched, the outcome is REFUSED and the board stays undecided."""


class BlockedError(ThroughpassError):
    """An earlier failure stands in the way; ``message`` names it."""


class NotMeasurableError(ThroughpassError):
    """The host would not say; neither a pass nor a failure."""


class NotKnownError(NotMeasurableError):
    """The host would not say, and nothing that follows rests on it; the board is not QUALIFIED without it all the same."""
