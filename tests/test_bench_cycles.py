"""Round trips on a board that outlives the runner: each is a row, the first that fails is named, and all is given back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.bench.cache import silent
from harness.bench.config import load_bench
from harness.bench.make import make_bench
from harness.bench.virtual import VirtualBench
from harness.core.deadline import Deadline
from harness.core.errors import BoardError, HostLostError
from harness.core.record import BoardVerdict, Outcome
from harness.machine.power import power_off, reboot
from harness.transport.protocol import check
from tests.custody import SHIPPED, Board, board_of
from tests.qualification import LIMIT_S, Qualification, qualify, started, wait_for_line

pytestmark = [pytest.mark.bench, pytest.mark.xdist_group("cycles")]

PASSED, FAILED = 0, 1

KILL_GUEST = """
for process in /proc/[0-9]*; do
    read -r name <"$process/comm" && [ "$name" = qemu-system-x86 ] && kill -KILL "${process#/proc/}"
done 2>/dev/null
true
"""
"""On the board no QEMU runs but the guest's."""


def board_file(name: str, folder: Path) -> Path:
    """Return a bench file like the shipped VT-d board's, under a name of its own."""
    path = folder / "board.toml"
    path.write_text(SHIPPED.read_text(encoding="utf-8").replace('"virtual-vtd"', f'"{name}"'), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """Hold a board, which the suites reach as a host over SSH."""
    with board_of("cycles", tmp_path_factory.mktemp("cycles")) as made:
        yield made


def rows(done: Qualification) -> dict[str, Outcome]:
    """Return how each cycle of a run ended."""
    return {check.id: check.outcome for check in done.record.checks if check.id.startswith("cycles/cycle-")}


def test_real_host_makes_two_round_trips(board: Board, tmp_path: Path) -> None:
    """A host over SSH makes two cycles unless told otherwise; each is a row, the report counts them, and all is given back."""
    done = qualify(board.bench, tmp_path, "--profile", "smoke", "-k", "not throughput and not integrity")
    second = done.check("cycles/cycle-2")

    assert done.status == PASSED, done.output
    assert rows(done) == {"cycles/cycle-1": Outcome.PASS, "cycles/cycle-2": Outcome.PASS}
    assert second.title.startswith("Cycle 2 of 2: ")
    assert len({note.text for note in second.evidence if note.source.startswith("SHA-256")}) == 1
    assert len([note for note in second.evidence if note.source.startswith("SHA-256")]) == 4
    assert done.check("usb/driver-reloads").outcome is Outcome.PASS
    assert done.check("usb/guest-reboots").outcome is Outcome.PASS
    assert done.record.run.cycles == 2
    assert "2 cycles" in (done.folder / "report.html").read_text("utf-8")
    assert {"guest-console.log", "guest-2-console.log"} <= {each.name for each in done.record.attachments}
    assert (done.folder / "guest-2-console.log").read_text("utf-8", "replace").count("throughpass: ready") == 2
    assert board.changes() == []


def test_first_failing_cycle_is_named(board: Board, tmp_path: Path) -> None:
    """A guest that dies in the second of three cycles: that row fails and says where, the third is blocked, all is given back."""
    with started(board.bench, tmp_path, "--cycles", "3", "-k", "not throughput and not integrity") as process:
        wait_for_line(process, "cycle 2 of 3, the guest reloads its driver")
        check(board.ssh, KILL_GUEST)
        output, _ = process.communicate(timeout=LIMIT_S)
    done = Qualification(process.returncode, output, tmp_path)
    second, third = done.check("cycles/cycle-2"), done.check("cycles/cycle-3")

    assert rows(done) == {
        "cycles/cycle-1": Outcome.PASS,
        "cycles/cycle-2": Outcome.FAIL,
        "cycles/cycle-3": Outcome.BLOCKED,
    }, output
    assert second.reason.startswith("cycle 2 of 3, the guest reloads its driver: QEMU of guest-2 ended with status")
    assert third.reason == "blocked by cycles/cycle-2, the first cycle that failed"
    assert second.reason in done.record.verdict.reasons
    assert board.changes() == []


def test_guest_that_does_not_reboot_ends_there(board: Board, tmp_path: Path) -> None:
    """A guest that dies when it is to reboot is ended: its check fails, what would work in it is blocked, all is given back."""
    with started(board.bench, tmp_path, "--profile", "smoke") as process:
        wait_for_line(process, "rebooting the guest")
        check(board.ssh, KILL_GUEST)
        output, _ = process.communicate(timeout=LIMIT_S)
    done = Qualification(process.returncode, output, tmp_path)
    outcomes = {each.id: each.outcome for each in done.record.checks}

    assert done.status == FAILED, output
    assert done.record.verdict.board is BoardVerdict.NOT_QUALIFIED
    assert outcomes["usb/guest-reboots"] is Outcome.FAIL
    assert outcomes["throughput/arms-measured"] is Outcome.BLOCKED
    assert rows(done) == {"cycles/cycle-1": Outcome.BLOCKED, "cycles/cycle-2": Outcome.BLOCKED}
    assert done.check("cycles/cycle-1").reason.startswith("blocked by usb/guest-reboots, where the first cycle failed: ")
    assert {each.outcome for each in done.record.checks if each.stage == "return"} == {Outcome.PASS}
    assert board.changes() == []


def test_machine_reboots_and_a_panic_is_an_end_again(tmp_path: Path) -> None:
    """A machine that reboots by itself is another boot of the same QEMU; after that a panic ends it, as before."""
    bench = make_bench(load_bench(str(board_file("rebooting", tmp_path))), cold=True)
    assert isinstance(bench, VirtualBench)
    with bench.open(tmp_path, Deadline.after(300, "booting"), silent) as host:
        machine = bench.machine
        before = check(host.transport, "cat /proc/sys/kernel/random/boot_id").text
        reboot(machine, Deadline.after(120, "rebooting"))
        after = check(machine.ssh, "cat /proc/sys/kernel/random/boot_id").text
        with pytest.raises(HostLostError) as lost:
            machine.ssh.run("echo c >/proc/sysrq-trigger; read -r _")

        assert before != after
        assert machine.explain_loss(lost.value).message.startswith("rebooting died: Kernel panic")
        assert machine.process.wait(Deadline.after(30, "QEMU's end")) == 0


def test_machine_powers_off(tmp_path: Path) -> None:
    """A machine that powers off by itself ends its QEMU, and one that is gone cannot be told to."""
    bench = make_bench(load_bench(str(board_file("powered-off", tmp_path))), cold=True)
    assert isinstance(bench, VirtualBench)
    with bench.open(tmp_path, Deadline.after(300, "booting"), silent):
        power_off(bench.machine, Deadline.after(60, "powering off"))

        assert bench.machine.process.poll() == 0
        with pytest.raises((BoardError, HostLostError)):
            power_off(bench.machine, Deadline.after(60, "powering off"))
