"""A board that outlives the runner, what a restore must bring back on it, and runners that are killed there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness.bench.cache import silent
from harness.bench.config import load_bench
from harness.bench.real import connection_to
from harness.core.deadline import Deadline
from harness.transport.protocol import check
from harness.transport.ssh import SshTransport
from tests.qualification import CHECKOUT
from tests.taker import BEGUN, GO
from tests.test_bench_up import held

THROUGHPASS = Path(sys.executable).with_name("throughpass")
SHIPPED = CHECKOUT / "fixtures" / "boards" / "virtual-vtd.toml"

STATE = r"""
for device in /sys/bus/pci/devices/*; do
    driver=none
    [ -e "$device/driver" ] && driver=$(readlink "$device/driver")
    echo "${device##*/} ${driver##*/} $(cat "$device/driver_override")"
done
cut -d ' ' -f 1 /proc/modules | sort
find /tmp /run /var/lib/throughpass -xdev -not -name sshd.log -not -path '/run/tp-*' 2>/dev/null | sort
grep -alz "[t]hroughpass-" /proc/[0-9]*/cmdline 2>/dev/null
ls -l /dev/vfio 2>/dev/null
stat -c '%A %u:%g %n' /dev/kvm /dev/sd? /dev/vda
find /dev/bus/usb /dev/vfio ! -user 0 2>/dev/null
grep -H '' /sys/bus/pci/devices/*/power/control /sys/bus/pci/devices/*/d3cold_allowed
grep -H '' /sys/bus/pci/devices/*/usb*/power/control /sys/bus/pci/devices/*/usb*/*-*/power/control |
    sed 's,/usb[0-9]*,/usb,; s,/[0-9]*-,/,g'
grep -aH '' /sys/module/vfio*/parameters/* /sys/module/xhci*/parameters/* /sys/module/usb*/parameters/* \
    /sys/module/kvm*/parameters/* 2>/dev/null
for disk in /dev/sd?; do head -c 4194304 "$disk" | sha256sum; done
"""
"""Prints what a restore must bring back.

Drivers, overrides, modules and their parameters, files, our processes, nodes and their owners, power, the stick's data.
Buses have other numbers where two controllers come back the other way round.
"""


@dataclass
class Board:
    """The host: its bench file, a connection that is none of the runner's, and what it was like before."""

    bench: Path
    ssh: SshTransport
    before: list[str] = field(default_factory=list)
    _session: ExitStack = field(default_factory=ExitStack)

    def changes(self) -> list[str]:
        """Return what the host has now and had not before, and what it had and has no more."""
        now = settled(self.ssh)
        return [f"+ {line}" for line in now if line not in self.before] + [f"- {line}" for line in self.before if line not in now]

    def restore(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run ``throughpass restore``."""
        return self.throughpass("restore", "--wait", "60", *options)

    def throughpass(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a verb on the board to its end."""
        argv: list[str | Path] = [THROUGHPASS, words[0], self.bench, *words[1:]]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=200)

    def connect_again(self, limit_s: float) -> None:
        """Connect anew, as soon as the board's sshd is there again."""
        self._session.close()
        self.ssh = self._session.enter_context(connected(self.bench, limit_s))


def settled(ssh: SshTransport) -> list[str]:
    """Return the state once the stick is up: it takes a moment after its controller is back."""
    wait = "left=100; until [ -b /dev/sda ] || [ $left -eq 0 ]; do sleep 0.1; left=$((left - 1)); done"
    return check(ssh, f"{wait}\n{STATE}").text.splitlines()


@contextmanager
def connected(bench: Path, limit_s: float = 60) -> Iterator[SshTransport]:
    """Hold a connection to the host of a bench file."""
    host = load_bench(str(bench)).host
    assert host is not None
    with connection_to(host, Deadline.after(limit_s, "connecting"), silent) as ssh:
        yield ssh


@contextmanager
def board_of(name: str, folder: Path, *, text: str = "") -> Iterator[Board]:
    """Hold a board like the shipped VT-d one, or of another bench file, under a name of its own; its stick is plugged in."""
    file = folder / "board.toml"
    file.write_text((text or SHIPPED.read_text(encoding="utf-8")).replace('"virtual-vtd"', f'"{name}"'), encoding="utf-8")
    with held(file, folder / "held.toml"), ExitStack() as session:
        ssh = session.enter_context(connected(folder / "held.toml"))
        check(ssh, f"mkfifo {BEGUN} {GO}")
        yield Board(folder / "held.toml", ssh, settled(ssh), session)


@contextmanager
def taker(board: Board, *moment: str) -> Iterator[subprocess.Popen[str]]:
    """Start a runner that takes the controller; it does not outlive the test."""
    argv = [sys.executable, "-m", "tests.taker", str(board.bench), *moment]
    with subprocess.Popen(argv, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def kill_at(board: Board, way: str, step: int) -> None:
    """Kill a runner whose plan has come to a step, and let the plan go on."""
    with taker(board, way, str(step)) as process:
        check(board.ssh, f"cat {BEGUN}")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    check(board.ssh, f"echo >{GO}")
