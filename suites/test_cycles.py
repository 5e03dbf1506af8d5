"""Stage 8: the round trip again and again, since many a board works once and fails the second time."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from fixtures.run import BenchRun, Cycle
from fixtures.trips import RoundTrip
from harness.core.errors import BlockedError
from harness.core.record import Check, Outcome

FIRST = ("binding", "guest", "usb", "return")
"""The stages that make the first round trip."""

_FAILED = {Outcome.FAIL, Outcome.REFUSED, Outcome.BLOCKED, Outcome.ERROR}


def test_cycle(run: BenchRun, cycle: Cycle, round_trip: RoundTrip, calm: Callable[[], None]) -> None:
    """Host, vfio, guest boot, driver reload, guest reboot, end of the guest, host: the stick is read at each stop."""
    if cycle.number == 1:
        judge_first(run)
        return
    earlier = (check for check in run.checks if check.id.startswith("cycles/cycle-"))
    if failed := first_failed(earlier):
        raise BlockedError(f"blocked by {failed.id}, the first cycle that failed")
    round_trip.make(cycle)
    calm()


def test_kernel_stays_calm(calm: Callable[[], None]) -> None:
    """After the round trips neither kernel tells of a fault of the controller's that no cycle has told."""
    calm()


def judge_first(run: BenchRun) -> None:
    """Judge the first round trip by the checks that it was made of; each failure is told there, and counts once."""
    checks = [check for check in run.checks if check.stage in FIRST]
    if left_out := [stage for stage in FIRST if stage not in {check.stage for check in checks}]:
        pytest.skip(f"the first round trip was not asked for in whole: without {', '.join(left_out)}")
    run.note("the checks that it was made of", "\n".join(f"{check.id}: {check.outcome.value}" for check in checks))
    if failed := first_failed(checks):
        raise BlockedError(f"blocked by {failed.id}, where the first cycle failed: {failed.reason or failed.title}")
    if unknown := [check.id for check in checks if check.outcome is Outcome.NOT_MEASURABLE]:
        run.condition(f"not known of the first cycle: {', '.join(unknown)}")


def first_failed(checks: Iterable[Check]) -> Check | None:
    """Return the first check that failed, or could not be made."""
    return next((check for check in checks if check.outcome in _FAILED), None)
