"""A controller that is taken on a board which outlives the runner: killed wherever it is, one restore puts all back."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from harness.actions.binding import Binding
from harness.actions.journal import Journal, read_journals, taken, write_journal
from harness.actions.lending import FIRST_USER, LAST_USER
from harness.core.errors import BoardError
from harness.facts.host import read_facts
from harness.facts.probe import take_sections
from harness.machine.guest import MEMORY_MIB
from harness.machine.privileges import SPARE_MIB
from harness.transport.protocol import check
from tests.custody import THROUGHPASS, Board, board_of, kill_at, taker
from tests.qualification import qualify, started, wait_for_line
from tests.sights import CAPABILITIES, NOT_ROOTS, look
from tests.taker import BEGUN, GO

pytestmark = [pytest.mark.bench, pytest.mark.xdist_group("custody")]

NAME = "custody"
SEED = 20261122


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """Hold a board whose stick is plugged in."""
    with board_of(NAME, tmp_path_factory.mktemp("custody")) as made:
        yield made


@pytest.mark.parametrize(("way", "step"), [*(("bind", step) for step in range(7)), *(("return", step) for step in range(4))])
def test_restore_after_a_kill_at_each_step(board: Board, way: str, step: int) -> None:
    """A runner that is killed before any step of the way there or back: what it began ends, and one restore puts all back."""
    kill_at(board, way, step)

    done = board.restore()

    assert (done.returncode, board.changes()) == (0, []), done.stdout + done.stderr
    assert "put back: 0000:" in done.stdout


WAITING = """
device=/sys/bus/pci/devices/0000:01:00.0
(exec 7>>$device/rescan; flock 7; cat /run/tp-go) >/dev/null 2>&1 &
while (exec 7>>$device/rescan; flock -n 7); do sleep 0.1; done
"""
"""Stands for an older plan that has not ended, so that the next one waits."""

QUEUED = """until grep -alz '^7$' /proc/[0-9]*/cmdline 2>/dev/null | grep -q .; do sleep 0.1; done"""


def test_plan_that_has_not_begun_never_begins(board: Board) -> None:
    """A runner is killed while its plan still waits for an older one: once somebody puts back, that plan writes nothing."""
    check(board.ssh, WAITING)
    with taker(board, "run") as process:
        check(board.ssh, QUEUED)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    (journal,) = read_journals(board.ssh).journals.values()
    with ThreadPoolExecutor(1) as pool:
        restoring = pool.submit(board.restore)
        check(board.ssh, f"while [ -e {journal.path} ]; do sleep 0.1; done")
        check(board.ssh, f"echo >{GO}")
        done = restoring.result()

    assert (done.returncode, board.changes()) == (0, []), done.stdout + done.stderr


def test_sleep_that_somebody_has_set_is_put_back(board: Board) -> None:
    """How the controller, its root hubs and the stick may sleep is as somebody has set it, after a run and after a restore."""
    paths = check(board.ssh, SLEEPERS).text.split()

    def values() -> list[str]:
        return check(board.ssh, f"cat {' '.join(paths)}").text.split()

    def choose(chosen: list[str]) -> None:
        check(board.ssh, "\n".join(f"echo {value} >{path}" for path, value in zip(paths, chosen, strict=True)))

    before = values()
    wanted = ["on" if value == "auto" else "auto" for value in before]
    choose(wanted)
    try:
        with taker(board, "run") as process:
            assert process.wait(60) == 0
        after_run = values()
        kill_at(board, "bind", 6)
        done = board.restore()
        after_restore = values()
    finally:
        choose(before)

    assert len(paths) == 4, paths
    assert (after_run, after_restore) == (wanted, wanted), done.stdout + done.stderr
    assert board.changes() == []


SLEEPERS = """
cd -P /sys/bus/pci/devices/0000:01:00.0
ls -d $PWD/power/control $PWD/usb*/power/control $PWD/usb*/*-*/power/control | grep -v :1.0
"""


@pytest.mark.parametrize("number", range(9))
def test_restore_after_a_kill_at_any_moment(board: Board, number: int) -> None:
    """Whenever a runner is killed, before the first write or after the last: after one restore the host is as it was."""
    delay_s = random.Random(SEED + number).uniform(0.0, 2.0)  # noqa: S311 (a test's moments)
    with taker(board, "again") as process:
        wait_for_line(process, "begin")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(delay_s)
        process.kill()

    done = board.restore()

    assert (done.returncode, board.changes()) == (0, []), f"after {delay_s:.2f} s: " + done.stdout + done.stderr


def test_restore_twice_at_once(board: Board) -> None:
    """Two that restore at the same time do not disturb one another: one puts back, the other finds nothing left to do."""
    kill_at(board, "bind", 5)

    with ThreadPoolExecutor(2) as pool:
        both = [run.result() for run in [pool.submit(board.restore), pool.submit(board.restore)]]

    said = "".join(sorted(done.stdout for done in both))
    assert [done.returncode for done in both] == [0, 0], said + both[0].stderr + both[1].stderr
    assert said.count("put back: 0000:") == 1
    assert board.changes() == []


def test_restore_leaves_a_living_run_alone(board: Board) -> None:
    """Of a controller that a living runner holds, restore says who has it, and touches nothing; the run ends well."""
    with taker(board, "bind", "5") as process:
        check(board.ssh, f"cat {BEGUN}")
        argv: list[str | Path] = [THROUGHPASS, "restore", board.bench]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=100)
        check(board.ssh, f"echo >{GO}")
        assert process.wait(60) == 0

    assert done.returncode != 0
    assert f"is in use by {os.environ.get('USER', 'root')}@" in done.stderr
    assert f"process {process.pid}" in done.stderr
    assert board.changes() == []


def test_second_runner_is_told_who_holds(board: Board) -> None:
    """Two runners cannot take one controller: the second learns who has it, and changes nothing."""
    with taker(board, "bind", "5") as first:
        check(board.ssh, f"cat {BEGUN}")
        with taker(board, "run") as second:
            assert second.wait(60) != 0
            assert second.stdout is not None
            assert "bound" not in second.stdout.read()
        check(board.ssh, f"echo >{GO}")
        assert first.wait(60) == 0

    assert board.changes() == []


def test_journal_of_another_boot_is_tidied(board: Board) -> None:
    """After the host's next boot its devices are as its kernel found them: only files are tidied, and no driver is touched."""
    kill_at(board, "bind", 0)
    (journal,) = read_journals(board.ssh).journals.values()
    write_journal(board.ssh, msgspec.structs.replace(journal, boot_id="an older one"))

    done = board.restore()

    assert done.returncode == 0
    assert "has booted since" in done.stdout
    driver = check(board.ssh, f"readlink /sys/bus/pci/devices/{journal.name}/driver").text
    assert driver.endswith("/vfio-pci"), "the controller stays where the dead run's plan brought it"
    write_journal(board.ssh, journal)
    assert (board.restore().returncode, board.changes()) == (0, [])


def test_bind_without_its_module_changes_nothing(board: Board) -> None:
    """Where vfio-pci cannot be loaded the controller keeps its driver, and neither a journal nor a lock is left."""
    check(board.ssh, "echo 'install vfio-pci /bin/false' >/etc/modprobe.d/tp-test.conf")
    try:
        with taker(board, "run") as process:
            assert process.wait(60) != 0
    finally:
        check(board.ssh, "rm /etc/modprobe.d/tp-test.conf")

    assert board.changes() == []
    assert "nothing to put back" in board.restore().stdout


def test_bind_whose_probe_finds_nobody(board: Board) -> None:
    """Where somebody else writes the override before the probe, nobody is bound by it: the driver that was found is, again."""
    with taker(board, "bind", "5") as process:
        check(board.ssh, f"cat {BEGUN}")
        check(board.ssh, f"echo nobody >/sys/bus/pci/devices/0000:01:00.0/driver_override; echo >{GO}")
        assert process.wait(60) != 0
        assert process.stdout is not None
        assert "bound" not in process.stdout.read()

    assert board.changes() == []
    assert "nothing to put back" in board.restore().stdout


STUB = """
cd /sys/bus/pci/drivers
[ -d pci-stub ] || modprobe pci-stub || exit
echo '1033 0194' >pci-stub/new_id
echo 0000:01:00.0 >xhci_hcd/unbind
echo 0000:01:00.0 >pci-stub/bind
"""
"""The seed's sequence: every card of the model is for pci-stub from now on."""

UNSTUB = """
cd /sys/bus/pci/drivers
echo '1033 0194' >pci-stub/remove_id
echo 0000:01:00.0 >pci-stub/unbind
echo 0000:01:00.0 >/sys/bus/pci/drivers_probe
[ ! -e /sys/module/pci_stub/refcnt ] || rmmod pci_stub
"""


def test_device_found_on_the_stub_goes_back_to_it(board: Board) -> None:
    """A controller that somebody has reserved by pci-stub is taken over, and returned to that, without an override."""
    check(board.ssh, STUB)
    try:
        with taker(board, "run") as process:
            status = process.wait(60)
        device = "/sys/bus/pci/devices/0000:01:00.0"
        after = check(board.ssh, f"readlink {device}/driver; cat {device}/driver_override").text.splitlines()
    finally:
        check(board.ssh, UNSTUB)

    assert status == 0
    assert [after[0].rpartition("/")[2], after[1]] == ["pci-stub", "(null)"]
    assert board.changes() == []


STUCK_GUEST = "qemu-system-x86_64 -nodefaults -no-user-config -display none -machine q35 -accel tcg -m 64M -S"


def test_unbind_from_a_wedged_driver_is_a_verdict(board: Board) -> None:
    """An unbind that waits for a stopped process which holds the device is left behind in time, with the kernel's stack of it.

    What lives on is told to every later attempt; once the process is gone, one restore puts all back.
    """
    facts = read_facts(take_sections(board.ssh), {})
    (controller,) = [device for device in facts.pci if device.id == "1033:0194"]
    journal = Journal("feedface", "a dead run", "x", facts.kernel.boot_id, (taken(controller),))
    write_journal(board.ssh, journal)
    binding = Binding(board.ssh, [controller], "vfio-pci", limit_s=3)
    binding.bind()
    device = f"-device vfio-pci,host={controller.address}"
    start = f"{STUCK_GUEST} {device} -qmp unix:/run/tp-qmp,server,nowait >/run/tp-qemu 2>&1 & echo $!"
    pid = int(check(board.ssh, start).text)
    held_by = f"until ls -l /proc/{pid}/fd 2>/dev/null | grep -q anon_inode:.vfio-device; do kill -0 {pid} || exit; done"
    check(board.ssh, f"{held_by}; kill -STOP {pid}")

    with pytest.raises(BoardError, match=r"unbind .* from vfio-pci' did not return in 3 s") as caught:
        binding.give_back()
    with pytest.raises(BoardError, match=r"an older plan for .* has not ended in 3 s"):
        binding.give_back()
    check(board.ssh, f"kill -KILL {pid}; rm -f /run/tp-*mp /run/tp-qemu")
    done = board.restore()

    assert "vfio" in caught.value.evidence
    assert (done.returncode, board.changes()) == (0, []), done.stdout + done.stderr


def test_qemu_is_not_root_and_gives_back_what_it_was_lent(board: Board, tmp_path: Path) -> None:
    """QEMU has a user of its own, no capability, a filter, its memory and nodes; a dead run's restore takes all of it back."""
    with started(board.bench, tmp_path / "runs", "--profile", "smoke", "--cycles", "1") as run:
        wait_for_line(run, "PASS           The guest answers")
        seen = look(board.ssh)
        mine = seen.status["Uid"][0]
        other = board.ssh.run(f"setpriv --reuid {int(mine) ^ 1} --clear-groups ls {seen.parts['folder'][0].split()[-1]}")
        run.kill()
        run.communicate()
    done = board.restore()

    assert run.returncode == -signal.SIGKILL
    assert FIRST_USER <= int(mine) <= LAST_USER
    assert set(seen.status["Uid"]) == set(seen.status["Gid"]) == {mine}
    assert seen.status["Groups"] == []
    assert {digit for name in CAPABILITIES for digit in seen.status[name][0]} == {"0"}
    assert (seen.status["NoNewPrivs"], seen.status["Seccomp"]) == (["1"], ["2"])
    assert seen.locked == [str((MEMORY_MIB + SPARE_MIB) << 20)] * 2
    lent = {line.split()[-1] for line in seen.parts["nodes"] if line.split()[2:3] == [mine]}
    assert "/dev/kvm" in lent
    assert len(lent) == 2, "KVM and one group of VFIO, and no device of USB"
    assert {line.split()[2] for line in seen.parts["folder"] if line[:1] in "-ds"} == {mine}
    assert all(line[4:10] == "------" for line in seen.parts["folder"] if line[:1] in "-ds"), "sockets and keys are its own"
    assert not [line for line in seen.parts["open"] if "/dev/sd" in line or "/dev/mem" in line]
    assert seen.parts["children"] in ([], [""])
    assert other.status != 0
    assert (done.returncode, board.changes()) == (0, []), done.stdout + done.stderr
    assert check(board.ssh, NOT_ROOTS).text == ""


def test_next_run_finishes_what_a_dead_one_left(board: Board, tmp_path: Path) -> None:
    """A later run puts back first, says so, and finds the controller with its own driver."""
    kill_at(board, "bind", 5)

    run = qualify(board.bench, tmp_path / "runs", "--profile", "smoke", "--cycles", "1", "-k", "binding or return")

    assert "putting back 0000:01:00.0" in run.output
    assert run.record.environment.controller_driver == "xhci_hcd"
    assert board.changes() == []


FILL = """
for folder in /run /tmp; do
    used=$(df -k --output=used $folder | tail -n 1)
    mount -o remount,size=$((used + 64))k $folder
    cat /dev/zero >$folder/tp-fill 2>/dev/null
done
true
"""


EMPTY = """
for folder in /run /tmp; do
    rm -f $folder/tp-fill $folder/tp-more
    mount -o remount,size=50% $folder
done
rm -rf /run/mount # of mount itself
"""


def test_restore_on_a_host_without_room(board: Board) -> None:
    """With /run and /tmp full to the last byte, one restore puts all back all the same."""
    kill_at(board, "bind", 5)
    check(board.ssh, FILL)
    try:
        full = board.ssh.run("echo x >/run/tp-more || echo x >/tmp/tp-more").status
        done = board.restore()
    finally:
        check(board.ssh, EMPTY)

    assert full != 0, "there was room left"
    assert (done.returncode, board.changes()) == (0, []), done.stdout + done.stderr


def test_bind_shows_its_plan(board: Board) -> None:
    """A dry run says what the host loses, why it is allowed, and each write there and back, and makes none of them."""
    done = board.throughpass("bind", "--dry-run")

    assert done.returncode == 0, done.stderr
    assert "giving 01:00.0 away takes: " in done.stdout
    assert re.search(r"allowed, .*\n.*  STO001  ", done.stdout, re.DOTALL)
    writes = re.findall(r"^ {7}echo .* >/sys/bus/pci/(\S+)$", done.stdout, re.MULTILINE)
    device = "devices/0000:01:00.0"
    there = [f"{device}/driver_override", f"{device}/driver/unbind", "drivers_probe"]
    back = [f"{device}/driver/unbind", f"{device}/driver_override", "drivers_probe"]
    assert writes == there + back
    assert board.changes() == []


def test_bind_holds_until_it_is_told(board: Board) -> None:
    """A controller that is taken by hand stays with its holder, whom others are told; SIGTERM gives it back."""
    with subprocess.Popen(
        [THROUGHPASS, "bind", board.bench], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as hand:
        assert hand.stderr is not None
        said = next(line for line in hand.stderr if "is bound to vfio-pci and held" in line or "throughpass:" in line)
        second = board.throughpass("bind")
        driver = check(board.ssh, "readlink /sys/bus/pci/devices/0000:01:00.0/driver").text
        hand.send_signal(signal.SIGTERM)
        assert hand.wait(60) == 0, said

    assert driver.endswith("/vfio-pci")
    assert second.returncode != 0
    assert f"process {hand.pid}" in second.stderr
    assert board.changes() == []
