"""What the guest's QEMU may do on the host, as the host's kernel shows it while a guest has the controller."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.actions.lending import FIRST_USER, LAST_USER
from harness.core.record import Outcome
from harness.machine.guest import MEMORY_MIB
from harness.machine.privileges import SPARE_MIB
from harness.transport.protocol import check
from harness.transport.ssh import SshTransport
from tests.custody import Board, board_of
from tests.qualification import LIMIT_S, Qualification, qualify, started, wait_for_line

pytestmark = [pytest.mark.bench, pytest.mark.xdist_group("privileges")]

LOOK = r"""
for file in $(grep -al '[/]tmp/throughpass-guest' /proc/[0-9]*/cmdline); do
    process=${file%/cmdline}
    read -r name <"$process/comm"
    case $name in qemu*) break ;; esac
done
grep -E '^(Uid|Gid|Groups|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' "$process/status"
grep '^Max locked memory' "$process/limits"
echo @nodes; ls -ln /dev/kvm /dev/vfio /dev/bus/usb/*
echo @folder; ls -lnd /tmp/throughpass-guest*; ls -ln /tmp/throughpass-guest*
echo @open; ls -l "$process/fd"
echo @children; cat "$process/task/${process#/proc/}/children"
"""


CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


@dataclass(frozen=True)
class Look:
    """What the host's kernel says of QEMU: the lines of its status by name, and the parts of the rest by theirs."""

    status: dict[str, list[str]]
    locked: list[str]
    parts: dict[str, list[str]]


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """Hold a board whose stick is plugged in."""
    with board_of("privileges", tmp_path_factory.mktemp("privileges")) as made:
        yield made


def look(ssh: SshTransport) -> Look:
    """Look at the guest's QEMU."""
    head, *rest = check(ssh, LOOK).text.split("\n@")
    status = {name: words.split() for name, _, words in (line.partition(":") for line in head.splitlines())}
    locked = next(line for line in head.splitlines() if line.startswith("Max locked")).split()[3:5]
    return Look(status, locked, {part.split("\n")[0]: part.splitlines()[1:] for part in rest})


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


@dataclass(frozen=True)
class Sight:
    """A moment on the host: whether a guest's QEMU lives, the stick's node, and whose each node of USB is."""

    guest: bool
    stick: str
    owners: dict[str, int]

    @property
    def lent(self) -> list[str]:
        """Return the nodes that are not root's."""
        return [node for node, user in self.owners.items() if user]


def sights_of(text: str) -> list[Sight]:
    """Return what WATCH has printed."""
    made = []
    for line in text.splitlines():
        guest, bus, device, *nodes = line.split(" ")
        stick = f"/dev/bus/usb/{int(bus):03}/{int(device):03}" if device else ""
        owners = (node.split(":") for node in nodes if node)
        made.append(Sight(guest == "guest", stick, {node: int(user) for user, node in owners}))
    return made


CLOSED = "modprobe vfio && chmod 600 /dev/vfio/vfio"
"""VFIO's container as a host has it whose udev does not open it to everybody, as systemd's does."""


@pytest.fixture
def measured(board: Board, tmp_path: Path) -> tuple[Qualification, list[Sight]]:
    """Return a run that measured every way, on a host whose container of VFIO is closed, and what was seen on it meanwhile."""
    chosen = "not integrity and not cycles and not reloads and not reboots"
    check(board.ssh, CLOSED)
    try:
        with ThreadPoolExecutor(1) as pool:
            watching = pool.submit(check, board.ssh, WATCH, timeout_s=LIMIT_S)
            try:
                done = qualify(board.bench, tmp_path / "runs", "--profile", "smoke", "-k", chosen)
            finally:
                check(board.ssh, f"touch {SEEN_ENOUGH}")
            sights = sights_of(watching.result().text)
        nodes = check(board.ssh, "stat -c '%u %a %n' /dev/vfio/*").text
    finally:
        check(board.ssh, f"rm {SEEN_ENOUGH}; rmmod vfio_iommu_type1 vfio")  # the former comes with the latter, after it
    assert nodes == "0 600 /dev/vfio/vfio"
    return done, sights


def test_nodes_are_lent_as_long_as_they_are_needed(board: Board, measured: tuple[Qualification, list[Sight]]) -> None:
    """QEMU gets the stick's node alone, which is root's again while the guest lives on, and keeps what it opens anew later."""
    done, sights = measured
    lent = [number for number, sight in enumerate(sights) if sight.lent]

    assert done.status == 0, done.output
    assert done.check("throughput/arms-measured").outcome is Outcome.PASS, "QEMU opens VFIO's container at each attachment"
    assert lent, "USB-level passthrough was measured"
    assert [sights[number] for number in lent if sights[number].lent != [sights[number].stick]] == []
    assert [sights[number] for number in lent if not sights[number].guest] == []
    later = sights[lent[0] :]
    assert [sight for sight in later if sight.guest and sight.owners.get(sight.stick) == 0], later
    assert check(board.ssh, NOT_ROOTS).text == ""
    assert board.changes() == []


SEEN_ENOUGH = "/tmp/seen-enough"  # noqa: S108 (on the board)

# Builtins, but for find: the host is emulated, and the guest shall go on meanwhile.
WATCH = f"""
qemu= before=
until [ -e {SEEN_ENOUGH} ]; do
    [ -n "$qemu" ] && [ -d "/proc/$qemu" ] || {{
        qemu=
        for file in /proc/[0-9]*/comm; do
            read -r name <"$file" || continue
            case $name in qemu*) qemu=${{file%/comm}} qemu=${{qemu#/proc/}} ;; esac
        done
    }}
    bus= number=
    for device in /sys/bus/usb/devices/*; do
        [ -e "$device/serial" ] && read -r serial <"$device/serial" && [ "$serial" = TP0001 ] || continue
        read -r bus <"$device/busnum" && read -r number <"$device/devnum"
    done
    now="${{qemu:+guest}} $bus $number $(find /dev/bus/usb -mindepth 2 -type c -printf '%U:%p ')"
    [ "$now" = "$before" ] || echo "$now"
    before=$now
    sleep 0.1
done 2>/dev/null
"""
"""Prints, whenever it changes: whether a QEMU runs, bus and device of the stick, and each node of USB behind its owner."""

NOT_ROOTS = "find /dev/kvm /dev/vfio /dev/bus/usb ! -user 0 2>/dev/null; true"
