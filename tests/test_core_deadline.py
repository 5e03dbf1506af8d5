"""Tests of deadlines, against a clock that the test moves."""

from __future__ import annotations

import pytest

from harness.core.deadline import Deadline
from harness.core.errors import BenchError, DeadlineError


class Clock:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock that deadlines read."""
    made = Clock()
    monkeypatch.setattr("time.monotonic", made)
    return made


def test_left_counts_down_to_zero(clock: Clock) -> None:
    """The seconds left fall with the clock, and never below 0."""
    deadline = Deadline.after(30, "booting the board")
    assert (deadline.left_s, deadline.expired) == (30, False)
    clock.now_s += 20
    assert (deadline.left_s, deadline.expired) == (10, False)
    clock.now_s += 20
    assert (deadline.left_s, deadline.expired) == (0, True)


def test_deadline_expires_at_its_instant(clock: Clock) -> None:
    """At the instant itself the time is up."""
    deadline = Deadline.after(30, "booting the board")
    clock.now_s += 30
    assert deadline.expired


def test_check_raises_once_the_time_is_up(clock: Clock) -> None:
    """Before the instant check is silent, after it the error says what took how long, with the evidence."""
    deadline = Deadline.after(30, "booting the board")
    deadline.check("still silent")
    clock.now_s += 31
    with pytest.raises(DeadlineError, match=r"^booting the board took longer than 30 s$") as caught:
        deadline.check("[    0.1] Linux")
    assert caught.value.evidence == "[    0.1] Linux"
    assert isinstance(caught.value, BenchError)


@pytest.mark.usefixtures("clock")
def test_part_ends_before_the_whole() -> None:
    """A short part has its own length and purpose."""
    whole = Deadline.after(30, "booting the board")
    part = whole.within(5, "waiting for GRUB")
    assert (part.left_s, part.length_s, part.purpose) == (5, 5, "waiting for GRUB")
    assert not whole.cut
    assert not part.cut


def test_part_never_outlasts_the_whole(clock: Clock) -> None:
    """A part that asks for more than is left ends with the whole, and blames the whole."""
    whole = Deadline.after(30, "booting the board")
    clock.now_s += 20
    part = whole.within(15, "waiting for a login")
    assert part.left_s == 10
    assert part.cut
    assert part.error().message == "booting the board took longer than 30 s"


@pytest.mark.usefixtures("clock")
def test_error_names_short_times() -> None:
    """A deadline below a second is named as it is, not as 0 s."""
    assert Deadline.after(0.5, "a QMP command").error().message == "a QMP command took longer than 0.5 s"
