"""Whatever ends a run in its middle, one restore leaves the host as it was: QEMU, guest, connection, stick or host may go."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.actions.custody import Claim, custody, locking
from harness.actions.journal import FOLDER
from harness.actions.modules import loaded_modules
from harness.bench.cache import silent
from harness.bench.config import load_bench
from harness.bench.held import held_bench_file
from harness.bench.host import Host
from harness.bench.make import make_bench
from harness.bench.virtual import VirtualBench
from harness.core.deadline import Deadline
from harness.core.errors import BoardError, ThroughpassError
from harness.core.record import BoardVerdict
from harness.facts.host import read_facts
from harness.facts.probe import take_sections
from harness.machine.guest import GuestSpec, confined_guest
from harness.machine.passthrough import PASSING
from harness.machine.running import start_machine
from harness.transport.protocol import check
from tests.custody import SHIPPED, Board, connected, settled
from tests.qualification import LIMIT_S, Qualification, started, wait_for_line

pytestmark = [pytest.mark.bench, pytest.mark.xdist_group("kills")]

SEED = 20261123
ANSWERS = "PASS           The guest answers"
SMOKE = ("--profile", "smoke", "--cycles", "1")


class Holder(NamedTuple):
    """The board as its holder has it: who plugs its sticks, itself as a host, and the bench file for everybody else."""

    bench: VirtualBench
    host: Host
    file: Path


@pytest.fixture(scope="module")
def holder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Holder]:
    """Hold a board as ``throughpass bench up`` does, in this process: its sticks can be pulled. Its journals lie on a disk."""
    folder = tmp_path_factory.mktemp("kills")
    text = SHIPPED.read_text(encoding="utf-8").replace('"virtual-vtd"', '"kills"').replace("[board]", "[board]\nstate_mib = 16")
    (folder / "board.toml").write_text(text, encoding="utf-8")
    made = make_bench(load_bench(str(folder / "board.toml")))
    assert isinstance(made, VirtualBench)
    with made.open(folder, Deadline.after(300, "booting"), silent) as host:
        made.plug(made.loose_sticks()[0])
        made.let_reboot()
        with held_bench_file(made.config, made.machine.access, folder / "held.toml"):
            yield Holder(made, host, folder / "held.toml")


@pytest.fixture(scope="module")
def board(holder: Holder) -> Iterator[Board]:
    """Return the held board, as its runners reach it."""
    with ExitStack() as session:
        ssh = session.enter_context(connected(holder.file))
        yield Board(holder.file, ssh, settled(ssh), session)


def ended_by(board: Board, runs: Path, line: str, act: str, *options: str) -> Qualification:
    """Qualify, run a command on the board as soon as a line is seen, and wait for the run's own end."""
    with started(board.bench, runs, *SMOKE, *options) as process:
        seen = wait_for_line(process, line)
        check(board.ssh, act)
        output, _ = process.communicate(timeout=LIMIT_S)
    return Qualification(process.returncode, seen + output, runs)


def require_restored(board: Board) -> None:
    """One restore leaves nothing that was not there before, and nothing missing; a second one finds nothing to do."""
    done = board.restore()

    assert (done.returncode, board.changes()) == (0, []), done.stdout + done.stderr
    assert "nothing to put back" in board.restore().stdout


KILL_QEMU = """
for process in /proc/[0-9]*; do
    read -r name <"$process/comm" && case $name in qemu*) kill -9 "${process#/proc/}" ;; esac
done 2>/dev/null
true
"""


def test_restore_after_qemu_was_killed(board: Board, tmp_path: Path) -> None:
    """A QEMU that is killed in mid-run is named as the end of the guest, and the run itself gives all back."""
    done = ended_by(board, tmp_path, ANSWERS, KILL_QEMU)

    assert done.record.verdict.board is BoardVerdict.NOT_QUALIFIED, done.output
    assert "QEMU of guest ended with status 137" in done.output
    require_restored(board)


CUT = """
mine=$(awk '/^PPid:/ { print $2 }' /proc/$$/status)
for file in $(grep -alz '^sshd: root' /proc/[0-9]*/cmdline); do
    pid=${file#/proc/}
    pid=${pid%/cmdline}
    [ "$pid" = "$mine" ] || kill -9 "$pid"
done
true
"""
"""Ends every session of the board's sshd but the one that asks for it."""


def test_restore_after_the_connection_was_cut(board: Board, tmp_path: Path) -> None:
    """A connection that is cut in mid-run is no verdict on the board; what the run left is put back by one restore."""
    done = ended_by(board, tmp_path, ANSWERS, CUT)

    assert done.record.verdict.board is BoardVerdict.UNDECIDED, done.output
    assert "the SSH connection to" in done.output
    require_restored(board)


def test_restore_after_a_panic(holder: Holder, board: Board, tmp_path: Path) -> None:
    """A guest whose kernel panics is said to have died of that, and all is given back."""
    controller = next(device for device in read_facts(take_sections(board.ssh)).pci if device.id == "1033:0194")
    claim = Claim("panic")
    with ExitStack() as stack:
        lock = stack.enter_context(locking(board.ssh, controller.address, claim, silent))
        modules = loaded_modules(board.ssh)
        way = stack.enter_context(custody(board.ssh, lock, [controller], PASSING, claim, modules=modules, progress=silent))
        way.bind()
        spec = confined_guest(
            GuestSpec(holder.host.guest_files(), controller.address, "qemu-system-x86_64", "kvm"), controller.group or ""
        )
        limit = Deadline.after(300, "the guest's boot")
        machine = stack.enter_context(start_machine(spec, board.ssh, tmp_path, limit, mark=claim.mark))
        with pytest.raises(ThroughpassError) as lost:
            machine.ssh.run("echo c >/proc/sysrq-trigger; read -r _")
        told = machine.explain_loss(lost.value)

    assert isinstance(told, BoardError)
    assert told.message.startswith("guest died: Kernel panic")
    require_restored(board)


def test_stick_that_is_pulled_out_in_a_transfer(holder: Holder, board: Board, tmp_path: Path) -> None:
    """A stick that is pulled out while it is read ends the measurement with a sentence; plugged in again, it is as it was."""
    stick = holder.bench.loose_sticks()[0]
    with started(board.bench, tmp_path, *SMOKE) as process:
        wait_for_line(process, "block 1 of 2")
        holder.bench.unplug(stick)
        output, _ = process.communicate(timeout=LIMIT_S)
    holder.bench.plug(stick)
    done = Qualification(process.returncode, output, tmp_path)

    assert done.record.verdict.board is not BoardVerdict.QUALIFIED, output
    assert "TP0001" in " ".join(done.record.verdict.reasons), output
    require_restored(board)


@pytest.mark.parametrize("number", range(2))
def test_restore_after_a_qualification_was_killed(board: Board, tmp_path: Path, number: int) -> None:
    """Whenever a whole qualification is killed, one restore leaves the host as it was."""
    delay_s = random.Random(SEED + number).uniform(5.0, 45.0)  # noqa: S311 (a test's moments)
    with started(board.bench, tmp_path, *SMOKE) as process:
        try:
            process.communicate(timeout=delay_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()

    require_restored(board)


def test_host_that_reboots_in_the_middle(board: Board, tmp_path: Path) -> None:
    """After a reboot the journal is still there; a restore notices the new boot and only tidies."""
    with started(board.bench, tmp_path, *SMOKE) as process:
        wait_for_line(process, ANSWERS)
        journals = check(board.ssh, f"ls {FOLDER}").text
        with pytest.raises(ThroughpassError):
            board.ssh.run("echo b >/proc/sysrq-trigger; read -r _")
        output, _ = process.communicate(timeout=LIMIT_S)
    board.connect_again(120)
    kept = check(board.ssh, f"ls {FOLDER}").text
    done = board.restore()

    assert ".journal" in journals
    assert kept == journals
    assert Qualification(process.returncode, output, tmp_path).record.verdict.board is BoardVerdict.UNDECIDED, output
    assert "has booted since" in done.stdout
    assert (done.returncode, board.changes()) == (0, []), done.stdout + done.stderr
