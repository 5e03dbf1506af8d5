"""Whatever ends a run in its middle, one restore leaves the host as it was: QEMU, guest, connection, stick or host may go."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.actions.custody import Claim, custody, find_modules_before, locking
from harness.actions.journal import FOLDER
from harness.bench.cache import silent
from harness.bench.config import load_bench
from harness.bench.held import held_bench_file
from harness.bench.make import make_bench
from harness.bench.virtual import VirtualBench
from harness.core.deadline import Deadline
from harness.core.errors import BenchError, BoardError, ThroughpassError
from harness.core.record import BoardVerdict, Outcome
from harness.facts.host import read_facts
from harness.facts.probe import take_sections
from harness.machine import running
from harness.machine.guest import GuestFiles, GuestSpec, confined_guest
from harness.machine.passthrough import PASSING
from harness.machine.running import Machine, start_machine
from harness.transport.protocol import check
from tests.custody import SHIPPED, THROUGHPASS, Board, connected, kill_at, settled
from tests.qualification import LIMIT_S, Qualification, started, wait_for_line
from tests.taker import BEGUN, GO

pytestmark = [pytest.mark.bench, pytest.mark.xdist_group("kills")]

SEED = 20261123
TAKEN = "PASS           The controller is bound to the reserving driver"
ANSWERS = "PASS           The guest answers"
SMOKE = ("--profile", "smoke", "--cycles", "1")


class Holder(NamedTuple):
    """The board as its holder has it: who plugs its sticks, the guest's files, and the bench file for everybody else."""

    bench: VirtualBench
    files: GuestFiles
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
            yield Holder(made, host.guest_files(), folder / "held.toml")


@pytest.fixture(scope="module")
def board(holder: Holder) -> Iterator[Board]:
    """Return the held board, as its runners reach it."""
    with ExitStack() as session:
        ssh = session.enter_context(connected(holder.file))
        check(ssh, f"mkfifo {BEGUN} {GO}")
        yield Board(holder.file, ssh, settled(ssh), session)


def ended_by(board: Board, runs: Path, line: str, act: str, *options: str, before: str = "") -> Qualification:
    """Qualify, run a command on the board as soon as a line is seen, and wait for the run's own end."""
    with started(board.bench, runs, *SMOKE, *options, before=before) as process:
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
mine= next=$$
while [ "$next" -gt 1 ]; do
    mine="$mine $next "
    next=$(awk '/^PPid:/ { print $2 }' "/proc/$next/status")
done
for file in $(grep -alzE '^sshd(-session)?: root' /proc/[0-9]*/cmdline); do
    pid=${file#/proc/}
    pid=${pid%/cmdline}
    case $mine in *" $pid "*) ;; *) kill -9 "$pid" ;; esac
done
true
"""
"""Ends every session of the board's sshd but the one that asks (OpenSSH 9.8 and later call their processes sshd-session)."""


def test_restore_after_the_connection_was_cut(board: Board, tmp_path: Path) -> None:
    """A connection that is cut in mid-run is no verdict on the board; what the run left is put back by one restore."""
    done = ended_by(board, tmp_path, ANSWERS, CUT)

    assert done.record.verdict.board is BoardVerdict.UNDECIDED, done.output
    assert "the SSH connection to" in done.output
    require_restored(board)


def test_restore_after_the_host_fell_silent(board: Board, tmp_path: Path) -> None:
    """A host that answers nothing, but whose connection stays open, is lost after a while; one restore need not wait for it."""
    patient = "from harness.transport import alive; alive.ASK_S, alive.SILENCE_S = 2.0, 15.0\n"
    patient += "from harness.actions import lock; lock.SILENCE_S = 30"
    done = ended_by(board, tmp_path, ANSWERS, CUT.replace("kill -9", "kill -STOP"), before=patient)
    restored = board.restore()
    check(board.ssh, CUT)  # what was stopped is no process of the run's

    assert done.record.verdict.board is BoardVerdict.UNDECIDED, done.output
    assert "it had not answered for 15 s" in done.output
    assert restored.returncode == 0, restored.stdout + restored.stderr
    require_restored(board)


@contextmanager
def guest_on(holder: Holder, board: Board, logs: Path) -> Iterator[Machine]:
    """Take the controller, and hold a guest that has it; the controller is given back."""
    controller = next(device for device in read_facts(take_sections(board.ssh)).pci if device.id == "1033:0194")
    claim, modules = Claim("kills"), find_modules_before(board.ssh)
    spec = confined_guest(GuestSpec(holder.files, controller.address, "qemu-system-x86_64", "kvm"), controller.group or "")
    with (
        locking(board.ssh, controller.address, claim, silent) as lock,
        custody(board.ssh, lock, [controller], PASSING, claim, modules=modules, progress=silent) as way,
    ):
        way.bind()
        with start_machine(spec, board.ssh, logs, Deadline.after(300, "the guest's boot"), mark=claim.mark) as machine:
            yield machine


def test_restore_after_a_panic(holder: Holder, board: Board, tmp_path: Path) -> None:
    """A guest whose kernel panics is said to have died of that, and all is given back."""
    with guest_on(holder, board, tmp_path) as machine:
        with pytest.raises(ThroughpassError) as lost:
            machine.ssh.run("echo c >/proc/sysrq-trigger; read -r _")
        told = machine.explain_loss(lost.value)

    assert isinstance(told, BoardError)
    assert told.message.startswith("guest died: Kernel panic")
    require_restored(board)


FREEZE = """
mkdir -p /run/tp-freezer && mount -t cgroup -o freezer none /run/tp-freezer && mkdir /run/tp-freezer/guest || exit
for process in /proc/[0-9]*; do
    read -r name <"$process/comm" && case $name in qemu*) echo "${process#/proc/}" >/run/tp-freezer/guest/cgroup.procs ;; esac
done 2>/dev/null
echo FROZEN >/run/tp-freezer/guest/freezer.state
until grep -q FROZEN /run/tp-freezer/guest/freezer.state; do :; done
"""
"""No signal reaches a process in a frozen group of the first version of cgroups: it waits in the kernel, state D."""

THAW = """
[ -d /run/tp-freezer/guest ] || exit 0
echo THAWED >/run/tp-freezer/guest/freezer.state
until rmdir /run/tp-freezer/guest 2>/dev/null; do :; done
umount /run/tp-freezer && rmdir /run/tp-freezer
rm -rf /run/mount # of mount itself
"""


def test_qemu_that_no_signal_ends(holder: Holder, board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A QEMU that hangs in the kernel is a verdict with its stack; a restore says so too, and puts back once it is gone."""
    monkeypatch.setattr(running, "_END_S", 5.0)
    told: list[ThroughpassError] = []

    def hang() -> None:
        with guest_on(holder, board, tmp_path) as machine:
            check(board.ssh, FREEZE)
            told.append(machine.explain_loss(BenchError("no answer")))

    try:
        with pytest.raises(BoardError, match="did not return in 30 s") as last:
            hang()
        stuck = board.restore()
    finally:
        check(board.ssh, THAW)

    assert "hangs on" in told[0].message
    assert "__refrigerator" in told[0].evidence
    assert isinstance(last.value.__context__, BoardError)
    assert "does not end in 5 s" in last.value.__context__.message
    assert stuck.returncode != 0
    assert "does not end" in stuck.stderr
    assert "__refrigerator" in stuck.stderr
    require_restored(board)


def test_stick_that_is_pulled_out_in_a_transfer(holder: Holder, board: Board, tmp_path: Path) -> None:
    """A stick that is pulled out while it is read ends the measurement with a sentence; plugged in again, it is as it was."""
    stick, chosen = holder.bench.loose_sticks()[0], "not integrity and not cycles and not reloads and not reboots"
    impatient = "from harness.machine import passthrough; passthrough.MOVE_TIMEOUT_S = 20.0"
    with started(board.bench, tmp_path, *SMOKE, "-k", chosen, before=impatient) as process:
        wait_for_line(process, "block 1 of 2")
        holder.bench.unplug(stick)
        told = wait_for_line(process, "FAIL           Every way to the stick was measured")
        holder.bench.plug(stick)
        output, _ = process.communicate(timeout=LIMIT_S)
    done = Qualification(process.returncode, told + output, tmp_path)

    assert done.check("throughput/arms-measured").outcome is Outcome.FAIL, output
    assert done.record.verdict.board is BoardVerdict.PARTIAL  # some stages were left out
    assert "TP0001" in " ".join(done.record.verdict.reasons), output
    assert done.check("return/stick-is-back").outcome is Outcome.PASS
    require_restored(board)


def test_restore_after_a_qualification_was_killed(board: Board, tmp_path: Path) -> None:
    """Whenever a whole qualification is killed that has taken the controller, one restore leaves the host as it was."""
    delay_s = random.Random(SEED).uniform(0.0, 20.0)  # noqa: S311 (a test's moments)
    with started(board.bench, tmp_path, *SMOKE) as process:
        wait_for_line(process, TAKEN)
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=delay_s)
        process.kill()
        process.communicate()

    require_restored(board)


def test_restore_after_a_restore_was_killed(board: Board) -> None:
    """A restore may itself be killed at any moment of its work: the next one goes on from there."""
    delay_s = random.Random(SEED).uniform(0.0, 0.8)  # noqa: S311 (a test's moments)
    kill_at(board, "bind", 6)
    argv: list[str | Path] = [THROUGHPASS, "restore", board.bench, "--wait", "60"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as first:
        wait_for_line(first, "putting back", first.stderr)
        with pytest.raises(subprocess.TimeoutExpired):
            first.wait(delay_s)
        first.kill()

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
