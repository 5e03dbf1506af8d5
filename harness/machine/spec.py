"""What a machine is made of, and QEMU's command line for it: one small pure function a subject.

Devices and block nodes are given as JSON (QEMU 6.2 and later), so that no string of a bench file
can end one option and begin another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from harness.machine.privileges import Privileges, descriptor_args

READY = "throughpass: ready"
"""What our init prints on the console when sshd listens."""

RENEW = "throughpass: renew"
"""What our init on a board is told on the console after a restore, with the time: take new keys, randomness and clock."""

FW_CFG = "opt/org.throughpass"
"""Where our init finds the secrets of the run, in QEMU's fw_cfg."""

SECRETS = ("host_key", "authorized_keys", "seed")
"""What no image and no saved state holds: sshd's key, the key that may log in, and randomness for a restored machine."""

ROOT_NODE = "root"

# Under emulation, boot time is instructions: leave out what costs many and shows nothing of a board.
COMMON_KERNEL_ARGS = (
    "console=ttyS0",
    "quiet",
    "panic=-1",
    "oops=panic",
    "mitigations=off",
    "nowatchdog",
    "audit=0",
    "random.trust_cpu=on",
    "tsc=reliable",
    "no_timer_check",
)

Accelerator = Literal["kvm", "tcg"]
Role = Literal["board", "guest", "probe"]


@dataclass(frozen=True)
class Drive:
    """A block node: a file, by its path on the machine's host."""

    node: str
    file: str
    read_only: bool = True
    host_device: bool = False
    form: Literal["raw", "qcow2"] = "raw"
    bps: int = 0
    """Bytes a second, 0 for no throttle."""
    burst_bps: int = 0
    burst_s: int = 1
    """How long ``burst_bps`` may be taken before ``bps`` holds: a leaky bucket of their product."""


@dataclass(frozen=True)
class MachineSpec:
    """A machine of ours: kernel, initrd and root disk of a bench image, and the devices around them."""

    name: str
    role: Role
    kernel: str
    initrd: str
    drives: tuple[Drive, ...]
    qemu: str = "qemu-system-x86_64"
    accelerator: Accelerator = "tcg"
    cpu: str = "max"
    vcpus: int = 1
    memory_mib: int = 1024
    machine: str = "q35"
    kernel_args: tuple[str, ...] = ()
    root: Literal["virtio", "usb"] = "virtio"
    devices: tuple[Mapping[str, Any], ...] = ()
    extra_args: tuple[str, ...] = ()
    privileges: Privileges | None = None
    """What a QEMU that is not whoever starts it is given; None starts it as it is."""
    restored: bool = False
    """Whether it does not boot, but waits for a state that was saved from a machine with the same command line."""


@dataclass(frozen=True)
class Endpoints:
    """Where the machine meets its harness: files of one folder on the host."""

    folder: PurePosixPath

    @property
    def console(self) -> PurePosixPath:
        """Return the socket of the serial console."""
        return self.folder / "console"

    @property
    def qmp(self) -> PurePosixPath:
        """Return the socket of the monitor."""
        return self.folder / "qmp"

    def secret(self, name: str) -> PurePosixPath:
        """Return the file of one of SECRETS."""
        return self.folder / name


def qemu_argv(spec: MachineSpec, ends: Endpoints) -> list[str]:
    """Return the whole command line."""
    return [
        spec.qemu,
        *base_args(spec),
        *cpu_args(spec),
        *kernel_args(spec),
        *(descriptor_args() if spec.privileges else ()),
        *drive_args(spec),
        *root_args(spec),
        *network_args(),
        *secret_args(ends),
        *channel_args(ends),
        *device_args(spec),
        *spec.extra_args,
        *restoring_args(spec),
    ]


def base_args(spec: MachineSpec) -> list[str]:
    """Nothing but what is asked for; a reset ends the machine, so that a panic is an exit."""
    return ["-name", spec.name, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", spec.machine]


def cpu_args(spec: MachineSpec) -> list[str]:
    """Processor, memory, accelerator."""
    accelerator = "kvm" if spec.accelerator == "kvm" else "tcg"
    return ["-accel", accelerator, "-cpu", spec.cpu, "-smp", str(spec.vcpus), "-m", f"{spec.memory_mib}M"]


def kernel_args(spec: MachineSpec) -> list[str]:
    """The uncompressed kernel, booted through PVH, and its arguments."""
    words = [*COMMON_KERNEL_ARGS, f"throughpass.role={spec.role}", f"throughpass.root={spec.root}", *spec.kernel_args]
    return ["-kernel", spec.kernel, "-initrd", spec.initrd, "-append", " ".join(words)]


def drive_args(spec: MachineSpec) -> list[str]:
    """Every block node, throttled ones below their filter."""
    return [word for drive in spec.drives for word in one_drive_args(drive)]


def one_drive_args(drive: Drive) -> list[str]:
    """One node; with a throttle the filter takes the node's name."""
    file = {"driver": "host_device" if drive.host_device else "file", "filename": drive.file, "read-only": drive.read_only}
    content: dict[str, Any] = {"driver": drive.form, "read-only": drive.read_only, "file": file}
    if not drive.bps:
        return ["-blockdev", json.dumps({**content, "node-name": drive.node})]
    limits = {"bps-total": drive.bps}
    if drive.burst_bps:
        limits |= {"bps-total-max": drive.burst_bps, "bps-total-max-length": drive.burst_s}
    group = {"qom-type": "throttle-group", "id": f"throttle-{drive.node}", "limits": limits}
    filtered = {
        "driver": "throttle",
        "node-name": drive.node,
        "throttle-group": group["id"],
        "read-only": drive.read_only,
        "file": content,
    }
    return ["-object", json.dumps(group), "-blockdev", json.dumps(filtered)]


def root_args(spec: MachineSpec) -> list[str]:
    """The root disk on virtio; a root on USB is one of the devices."""
    if spec.root != "virtio":
        return []
    return ["-device", json.dumps({"driver": "virtio-blk-pci", "drive": ROOT_NODE})]


def network_args() -> list[str]:
    """User networking that reaches nothing outside; the system picks the port that leads to sshd."""
    return [
        *("-netdev", "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"),
        *("-device", json.dumps({"driver": "virtio-net-pci", "netdev": "net", "romfile": ""})),
    ]


def secret_args(ends: Endpoints) -> list[str]:
    """The run's keys and seed, read by the machine when it asks: no image holds one."""
    return [word for name in SECRETS for word in ("-fw_cfg", f"name={FW_CFG}/{name},file={escaped(ends.secret(name))}")]


def channel_args(ends: Endpoints) -> list[str]:
    """Console and QMP: QEMU connects to sockets that listen already, so neither misses a byte and nobody polls for a file."""
    return [
        *("-chardev", f"socket,id=console,path={escaped(ends.console)}"),
        *("-serial", "chardev:console"),
        *("-chardev", f"socket,id=qmp,path={escaped(ends.qmp)}"),
        *("-mon", "chardev=qmp,mode=control"),
    ]


def device_args(spec: MachineSpec) -> list[str]:
    """The devices in their order: an IOMMU must come before what it translates for."""
    return [word for device in spec.devices for word in ("-device", json.dumps(dict(device)))]


def restoring_args(spec: MachineSpec) -> list[str]:
    """Wait for a saved state, which QMP names."""
    return ["-incoming", "defer"] if spec.restored else []


def escaped(path: PurePosixPath) -> str:
    """Return a path for QEMU's key=value syntax, where a comma is doubled."""
    return str(path).replace(",", ",,")
