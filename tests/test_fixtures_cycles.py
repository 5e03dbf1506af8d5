"""Cycles: how many there are on which bench, what their rows are called, and what the first one is judged by."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.run import BenchRun, Cycle
from harness.bench.config import load_bench
from harness.core.errors import BlockedError
from harness.core.record import Check, Outcome
from suites.test_cycles import FIRST, judge_first
from tests.qualification import CHECKOUT

REAL = """
schema = 1
name = "rack-7"
kind = "ssh"
[host]
address = "192.0.2.7"
[controller]
id = "1033:0194"
"""


def collected(*options: str) -> subprocess.CompletedProcess[str]:
    """Collect the suites, as a user may ask what would be run."""
    argv = [sys.executable, "-m", "pytest", "suites", "--collect-only", "-q", *options]
    return subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=60)


def cycle_rows(listing: str) -> list[str]:
    """Return the ids of the rows of cycles."""
    return [line.rpartition("[")[2].rstrip("]") for line in listing.splitlines() if "::test_cycle[" in line]


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """Return the bench file of a real board."""
    path = tmp_path / "rack-7.toml"
    path.write_text(REAL, encoding="utf-8")
    return path


def test_cycles_are_two_on_a_real_board_and_one_on_a_virtual_one(real: Path) -> None:
    """Each bench of a session has rows for its own cycles, in their order, before the next bench begins."""
    done = collected("--bench", str(real), "--bench", "virtual-vtd")

    assert cycle_rows(done.stdout) == ["rack-7-cycle-1", "rack-7-cycle-2", "virtual-vtd-cycle-1"]


def test_cycles_are_as_many_as_are_asked_for() -> None:
    """What the command line says holds for every kind of bench, and the rows come in their order."""
    done = collected("--cycles", "11")

    assert cycle_rows(done.stdout) == [f"virtual-vtd-cycle-{number}" for number in range(1, 12)]


@pytest.mark.parametrize("count", ["0", "-1", "two", "1.5", "²"])
def test_no_number_of_cycles_is_told(count: str) -> None:
    """What is no number of round trips is refused in a sentence, before anything is started."""
    done = collected(f"--cycles={count}")

    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"{count!r} is no number of round trips: give 1 or more" in done.stdout + done.stderr


def quiet(line: str, *, heading: bool = False) -> None:
    """Show nothing."""


@pytest.fixture
def run(tmp_path: Path) -> BenchRun:
    """Return a run whose first round trip was made in whole."""
    made = BenchRun(load_bench("virtual-vtd"), "smoke", tmp_path, quiet, cycles=2)
    made.checks = [Check(f"{stage}/works", "It works.", stage, Outcome.PASS) for stage in FIRST]
    return made


def test_first_cycle_is_judged_by_its_checks(run: BenchRun) -> None:
    """The first cycle holds where no check of its stages failed; checks of other stages are no part of it."""
    run.checks.append(Check("throughput/comparison", "Fast.", "throughput", Outcome.ERROR))

    judge_first(run)

    assert not run.notes.conditions
    assert run.notes.evidence[0].text.splitlines() == [f"{stage}/works: pass" for stage in FIRST]


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.ERROR, Outcome.BLOCKED, Outcome.REFUSED])
def test_first_cycle_names_the_first_failing_check(run: BenchRun, outcome: Outcome) -> None:
    """A cycle that failed names where it did so first."""
    run.checks[2:2] = [
        Check("usb/guest-reboots", "Reboots.", "usb", outcome, "the card hangs"),
        Check("usb/later", "Later.", "usb", Outcome.FAIL, "too"),
    ]

    with pytest.raises(BlockedError, match=r"usb/guest-reboots, where the first cycle failed: the card hangs"):
        judge_first(run)


def test_first_cycle_with_something_unknown_is_weak(run: BenchRun) -> None:
    """What the host would not say is no failure of the cycle, and no pass."""
    run.checks.append(Check("usb/interrupts-move", "Move.", "usb", Outcome.NOT_MEASURABLE, "not said"))

    judge_first(run)

    assert run.notes.conditions == [("not known of the first cycle: usb/interrupts-move", "")]


def test_first_cycle_that_was_not_asked_for(run: BenchRun) -> None:
    """Where stages were left out there is no first cycle to judge, and that is said."""
    run.checks = [check for check in run.checks if check.stage != "usb"]

    with pytest.raises(pytest.skip.Exception, match="without usb"):
        judge_first(run)


def test_each_cycle_has_its_own_time(run: BenchRun) -> None:
    """A cycle begins with the whole time of the stage, whatever the ones before it needed."""
    run.enter_stage("cycles")
    first = run.deadline
    run.begin_cycle(Cycle(1, 2))

    assert run.deadline.at_s > first.at_s
    assert run.deadline.purpose == "cycle 1 of 2"
