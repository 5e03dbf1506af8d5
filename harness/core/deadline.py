"""A point in time by which something must be done; waits take a Deadline, never a bare number of seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from harness.core.errors import DeadlineError


@dataclass(frozen=True)
class Deadline:
    """An instant of the monotonic clock, with the length it was made from and what it is for.

    ``cut`` tells of a part's deadline that it is the whole's: that it passes proves nothing against who was to do the part.
    """

    at_s: float
    length_s: float
    purpose: str
    cut: bool = False

    @classmethod
    def after(cls, length_s: float, purpose: str) -> Deadline:
        """Return the deadline ``length_s`` seconds from now; ``purpose`` completes "... took longer than N s"."""
        return cls(time.monotonic() + length_s, length_s, purpose)

    @property
    def left_s(self) -> float:
        """Return the seconds that are left, never below 0."""
        return max(0.0, self.at_s - time.monotonic())

    @property
    def expired(self) -> bool:
        """Return whether the instant has passed."""
        return self.left_s <= 0.0

    def within(self, length_s: float, purpose: str) -> Deadline:
        """Return a deadline for a part of the work: ``length_s`` from now, but never later than this one."""
        part = Deadline.after(length_s, purpose)
        return part if part.at_s <= self.at_s else replace(self, cut=True)

    def error(self, evidence: str = "") -> DeadlineError:
        """Return the error to raise when this deadline has passed."""
        return DeadlineError(f"{self.purpose} took longer than {self.length_s:g} s", evidence=evidence)

    def check(self, evidence: str = "") -> None:
        """Raise DeadlineError if the instant has passed."""
        if self.expired:
            raise self.error(evidence)
