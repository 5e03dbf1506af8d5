"""A round trip that fails: what failed first counts, and what fails on the way back is told with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fixtures import guest, trips
from fixtures.run import BenchRun, Cycle
from fixtures.trips import RoundTrip
from harness.bench.config import load_bench
from harness.core.errors import BenchError, BoardError, HostLostError, ThroughpassError
from suites import test_usb

BACK = "cycle 2 of 3, the host takes the controller back: the connection ended"


def quiet(line: str, *, heading: bool = False) -> None:
    """Show nothing."""


def give_back() -> None:
    """Fail as over a connection that is gone."""
    raise HostLostError("the connection ended", evidence="sshd: no route")


@pytest.fixture
def run(tmp_path: Path) -> BenchRun:
    """Return a run in the stage of its cycles."""
    made = BenchRun(load_bench("virtual-vtd"), "smoke", tmp_path, quiet, cycles=3)
    made.enter_stage("cycles")
    return made


def failed(
    run: BenchRun, monkeypatch: pytest.MonkeyPatch, raising: BaseException, back: Callable[[], None] = give_back
) -> BaseException:
    """Return what a cycle ends with whose guest ends so, and whose controller is given back so."""

    @contextmanager
    def staying(*_args: object, **_options: object) -> Iterator[None]:
        raise raising
        yield

    monkeypatch.setattr(trips, "staying", staying)
    monkeypatch.setattr(trips, "unload_new_vfio", lambda *_args: None)
    binding: Any = SimpleNamespace(found=SimpleNamespace(driver="xhci_hcd"), touched=True, give_back=back)
    host: Any = SimpleNamespace(transport=None)
    with pytest.raises(BaseException) as caught:  # noqa: PT011 (whatever it is, it is what the test asks for)
        RoundTrip(run, host, binding, None, "tcg", "m", frozenset()).make(Cycle(2, 3))
    return caught.value


def test_first_failure_counts(run: BenchRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that died fails the board though giving back fails, too: both are told, and the death is the sentence."""
    error = failed(run, monkeypatch, BoardError("guest-2 died: Kernel panic", evidence="the console's end"))

    assert isinstance(error, BoardError)
    assert error.message == "cycle 2 of 3, the guest boots: guest-2 died: Kernel panic"
    assert error.evidence.splitlines() == ["the console's end", f"and then: {BACK}", "sshd: no route"]


def test_first_failure_keeps_what_explains_it(run: BenchRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a lost connection means that the guest had died, the death counts, and the loss is its cause."""
    lost = BenchError("connection lost")
    run.explain = lambda error: BoardError("guest-2 died: x") if error is lost else error

    error = failed(run, monkeypatch, lost)

    assert str(error) == "guest-2 died: x"
    assert error.__cause__ is lost
    assert isinstance(error, ThroughpassError)
    assert BACK in error.evidence


def test_failure_to_give_back_alone_counts(run: BenchRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing failed before, the way back is what failed."""
    monkeypatch.setattr(RoundTrip, "_visit_guest", lambda *_args: True)

    error = failed(run, monkeypatch, BenchError("not reached"))

    assert isinstance(error, HostLostError)
    assert error.message == BACK


def test_interruption_is_no_failure(run: BenchRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who interrupts a cycle is obeyed, be it in the guest or on the way back, whatever else fails."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    in_guest = failed(run, monkeypatch, KeyboardInterrupt())
    on_the_way_back = failed(run, monkeypatch, BoardError("x"), interrupt)

    assert isinstance(in_guest, KeyboardInterrupt)
    assert BACK in in_guest.__notes__[0]
    assert isinstance(on_the_way_back, KeyboardInterrupt)


def hanging_stay() -> Any:
    """Return a stay whose guest does not let go of the controller, and whose QEMU does not end."""

    def take() -> None:
        raise BoardError("the guest's letting go took too long", evidence="its console")

    def leave(_over: str = "") -> None:
        raise BoardError("QEMU of guest does not end in 40 s")

    process = SimpleNamespace(poll=lambda: None)
    return SimpleNamespace(
        machine=SimpleNamespace(process=process), passthrough=SimpleNamespace(take_controller=take), leave=leave
    )


def test_first_failure_counts_where_the_first_cycle_ends(run: BenchRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that does not let go is what failed, though its QEMU does not end either."""
    monkeypatch.setattr(guest, "unload_new_vfio", lambda *_args: None)
    nothing: Any = None
    returned: Any = guest.returned

    with pytest.raises(BoardError, match="letting go took too long") as caught:
        returned.__wrapped__(run, nothing, nothing, nothing, [hanging_stay()], frozenset())

    assert caught.value.evidence.splitlines() == ["its console", "and then: QEMU of guest does not end in 40 s"]


def test_first_failure_counts_in_a_reboot(run: BenchRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that dies in its reboot is what failed, though its QEMU does not end either."""
    died = BoardError("guest died: Kernel panic", evidence="its console")

    def reboot(*_args: object) -> None:
        raise died

    monkeypatch.setattr(test_usb, "reboot_guest", reboot)
    nothing: Any = None

    with pytest.raises(BoardError, match="guest died: Kernel panic") as caught:
        test_usb.test_guest_reboots(run, hanging_stay(), nothing, nothing)

    assert caught.value.evidence.splitlines() == ["its console", "and then: QEMU of guest does not end in 40 s"]
