"""What keeps a guest from being run on a host: looked for before anything is changed, and said in a sentence each."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.core.deadline import Deadline
from harness.core.errors import HostLostError
from harness.machine.batch import Part, run_batch
from harness.machine.guest import MEMORY_MIB
from harness.transport.protocol import Transport

QEMU_MEMORY_MIB = 128
"""What QEMU itself takes beside the guest's memory."""

OLDEST_QEMU = (6, 2)
"""The first that takes devices as JSON."""

PROGRAMS = ("dmesg", "find", "modprobe", "prlimit", "setpriv", "setsid", "stat")
"""What our scripts run on every host, beside what rule HST002 looks for."""

BY_SSH = ("find", "mktemp", "mv", "perl|python3", "sha256sum", "stat", "sync", "tar")
"""What they run to receive the guest's files and to relay its sockets; of names joined by a bar, one is enough."""

DEVICES = ("pcie-root-port", "qemu-xhci", "usb-host", "vfio-pci", "virtio-blk-pci", "virtio-net-pci")
"""What a guest of ours is made of."""

_PROHIBITED = "Administratively prohibited"  # RFC 4254: the server forwards nothing, whatever listens there
_CLOSED_PORT = 9
_MISSING = 127


@dataclass(frozen=True)
class Obstacle:
    """What is in the way, in a sentence, and what to do about it."""

    sentence: str
    remedy: str


@dataclass(frozen=True)
class Delivery:
    """What a host must have room for: ``size_bytes`` in ``workdir``, unless the folder ``name`` lies there already."""

    workdir: str
    size_bytes: int
    name: str = ""


def find_obstacles(transport: Transport, qemu: str = "", delivery: Delivery | None = None) -> tuple[Obstacle, ...]:
    """Return what is in the way of a guest; reads, and changes nothing.

    ``qemu`` is looked at unless it is empty. With a delivery the guest's files come to the host, and we to the guest, by SSH.
    """
    looks = {"memory": _look_at_memory(), "programs": _look_for((*PROGRAMS, *(BY_SSH if delivery else ())))}
    if qemu:
        looks |= {"qemu": f"{shlex.quote(qemu)} --version", "devices": f"{shlex.quote(qemu)} -device help"}
        looks |= {"networks": f"{shlex.quote(qemu)} -netdev help"}
    if delivery:
        looks["room"] = _look_at_room(delivery)
    seen = run_batch(transport, looks)
    found = [*_memory(seen["memory"]), *_programs(seen["programs"])]
    if qemu:
        found += _qemu(qemu, seen)
    if delivery:
        found += [*_room(seen["room"], delivery), *_forwarding(transport)]
    return tuple(found)


def _look_at_memory() -> str:
    return 'while read -r key value _; do [ "$key" != MemAvailable: ] || echo "$value"; done </proc/meminfo'


def _look_for(programs: Sequence[str]) -> str:
    """Print the programs that are missing, each on a line."""
    return "\n".join(
        " || ".join([*(f"command -v {name} >/dev/null" for name in program.split("|")), f"echo {shlex.quote(program)}"])
        for program in programs
    )


def _look_at_room(delivery: Delivery) -> str:
    """Print whether the files are there, whose and how open the work folder is, and the free KiB where it is or would be."""
    return f"""
workdir={shlex.quote(delivery.workdir)} name={shlex.quote(delivery.name)} there={shlex.quote(delivery.workdir)}
until [ -d "$there" ] || [ "$there" = / ]; do
    there=${{there%/*}}
    there=${{there:-/}}
done
if [ -n "$name" ] && [ -d "$workdir/$name" ]; then echo there; fi
if [ -L "$workdir" ]; then
    echo open
elif [ -e "$workdir" ] && [ "$(stat -c '%u %a' "$workdir")" != "$(id -u) 700" ]; then
    echo open
fi
df -Pk "$there" | while read -r _ _ _ free _; do echo "$free"; done
"""


def _memory(part: Part) -> Iterator[Obstacle]:
    """A kernel before 3.14 does not say what is available: then QEMU will."""
    needed = MEMORY_MIB + QEMU_MEMORY_MIB
    if part.text.isdigit() and (free := int(part.text) >> 10) < needed:
        sentence = f"the host has {free} MiB of memory available, the guest needs {needed} MiB, all of it pinned"
        yield Obstacle(sentence, "end what uses the memory, or give the host more")


def _programs(part: Part) -> Iterator[Obstacle]:
    if missing := part.text.split():
        remedy = "install them on the host (Debian: coreutils, findutils, kmod, perl-base, tar, util-linux)"
        yield Obstacle(f"the host lacks {', '.join(missing).replace('|', ' or ')}, which our scripts run there", remedy)


def _qemu(qemu: str, seen: dict[str, Part]) -> Iterator[Obstacle]:
    """Say what is wrong with the QEMU that the bench file names."""
    said = seen["qemu"]
    if said.status == _MISSING:
        remedy = "install QEMU on the host (Debian: qemu-system-x86), or name its program by host.qemu in the bench file"
        yield Obstacle(f"there is no program {qemu} on the host: no guest can be started", remedy)
        return
    version = re.search(r"version (\d+)\.(\d+)", said.text)
    if version is None or said.status != 0:
        yield Obstacle(f"{qemu} on the host does not say its version: {said.error_text or said.text}", "reinstall it")
        return
    if (int(version[1]), int(version[2])) < OLDEST_QEMU:
        oldest = ".".join(map(str, OLDEST_QEMU))
        yield Obstacle(
            f"QEMU on the host is {version[1]}.{version[2]}, {oldest} is the oldest that serves", "install a newer QEMU"
        )
        return
    missing = [device for device in DEVICES if f'"{device}"' not in seen["devices"].text]
    missing += [] if re.search(r"^user$", seen["networks"].text, re.MULTILINE) else ["user networking (-netdev user)"]
    if missing:
        yield Obstacle(f"{qemu} on the host was built without {', '.join(missing)}", "install the distribution's full QEMU")


def _room(part: Part, delivery: Delivery) -> Iterator[Obstacle]:
    words = part.text.split()
    if "open" in words:
        sentence = f"the folder {delivery.workdir} on the host is not a folder of this user alone (mode 0700)"
        yield Obstacle(sentence, "remove it, or name another by host.workdir in the bench file")
    free_kib = words[-1] if words and words[-1].isdigit() else ""
    if free_kib and "there" not in words and int(free_kib) << 10 < delivery.size_bytes:
        needed, free = delivery.size_bytes // 1_000_000, (int(free_kib) << 10) // 1_000_000
        sentence = f"the guest's files need {needed} MB under {delivery.workdir} on the host, {free} MB are free"
        yield Obstacle(sentence, "free some space there, or name another folder by host.workdir in the bench file")


def _forwarding(transport: Transport) -> Iterator[Obstacle]:
    """Ask the host's sshd for a port where nothing listens: one that forwards nothing refuses in another way."""
    try:
        with transport.connect(_CLOSED_PORT, Deadline.after(20, "asking the host's sshd to forward a port")):
            pass
    except HostLostError as error:
        if _PROHIBITED in error.message:
            remedy = "set AllowTcpForwarding local in the host's sshd_config; only its own loopback is used"
            yield Obstacle("the host's sshd forwards no ports: the guest could not be reached", remedy)
