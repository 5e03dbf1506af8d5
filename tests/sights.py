"""What the guest's QEMU may do on a host, as the host's kernel shows it while a guest has the controller."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from harness.transport.protocol import check
from harness.transport.ssh import SshTransport
from tests.qualification import LIMIT_S

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


def look(ssh: SshTransport) -> Look:
    """Look at the guest's QEMU."""
    head, *rest = check(ssh, LOOK).text.split("\n@")
    status = {name: words.split() for name, _, words in (line.partition(":") for line in head.splitlines())}
    locked = next(line for line in head.splitlines() if line.startswith("Max locked")).split()[3:5]
    return Look(status, locked, {part.split("\n")[0]: part.splitlines()[1:] for part in rest})


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


@contextmanager
def watched(ssh: SshTransport) -> Iterator[list[Sight]]:
    """Watch a host whose container of VFIO is closed; what was seen is in the list once the context has ended."""
    check(ssh, CLOSED)
    seen: list[Sight] = []
    try:
        with ThreadPoolExecutor(1) as pool:
            watching = pool.submit(check, ssh, WATCH, timeout_s=LIMIT_S)
            try:
                yield seen
            finally:
                check(ssh, f"touch {SEEN_ENOUGH}")
            seen += sights_of(watching.result().text)
        nodes = check(ssh, "stat -c '%u %a %n' /dev/vfio/*").text
    finally:
        check(ssh, f"rm {SEEN_ENOUGH}; rmmod vfio_iommu_type1 vfio")  # the former comes with the latter, after it
    assert nodes == "0 600 /dev/vfio/vfio"
