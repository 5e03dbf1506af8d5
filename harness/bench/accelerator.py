"""KVM or emulation? Decided by a real boot, since a /dev/kvm may open, answer, and then hang (seen with para-virtual KVM)."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness.bench.cache import Progress, cache_folder, silent, write_whole
from harness.bench.images import Image
from harness.core.deadline import Deadline
from harness.machine.spec import (
    ROOT_NODE,
    Accelerator,
    Drive,
    MachineSpec,
    base_args,
    cpu_args,
    drive_args,
    kernel_args,
    root_args,
)
from harness.transport.local import LocalProcess

QEMU = "qemu-system-x86_64"
PROBE_LIMIT_S = 20
_NESTS, _BOOTS = 33, 35
"""Exit statuses that isa-debug-exit makes of what the probe's init writes: (0x10 << 1) | 1 and (0x11 << 1) | 1."""


@dataclass(frozen=True)
class KvmAnswer:
    """Whether KVM serves the bench here, and the sentence that says why."""

    usable: bool
    reason: str


def choose_accelerator(image: Image, progress: Progress = silent) -> Accelerator:
    """Return kvm where it boots a board that can run KVM itself, else tcg; the answer is cached for this kernel, QEMU and CPU."""
    return "kvm" if probe_kvm(image, progress).usable else "tcg"


def probe_kvm(image: Image, progress: Progress = silent, *, fresh: bool = False) -> KvmAnswer:
    """Say whether KVM is usable: a node that can be opened, a probe that boots in time, and a /dev/kvm on the board in turn."""
    if refused := _cannot_open():
        return KvmAnswer(usable=False, reason=refused)
    kept = cache_folder() / f"kvm-{situation()}.json"
    if not fresh and (known := _kept_answer(kept)):
        return known
    progress(f"probing KVM by a real boot, {PROBE_LIMIT_S} s at most")
    answer = _boot_probe(image)
    write_whole(kept, [msgspec.json.encode(answer)])
    return answer


def _kept_answer(path: Path) -> KvmAnswer | None:
    """Return what was found out before, or None: a file that cannot be read, or holds something else, is no answer."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=KvmAnswer)
    except (OSError, msgspec.MsgspecError):
        return None


def _cannot_open() -> str:
    """Return why /dev/kvm cannot be opened, or nothing."""
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return "there is no /dev/kvm, using emulation"
    except PermissionError:
        return "/dev/kvm may not be opened by this user (is he in the group kvm?), using emulation"
    except OSError as error:
        return f"/dev/kvm cannot be opened ({error.strerror}), using emulation"
    return ""


def probe_argv(image: Image) -> list[str]:
    """Return the command line of the probe: a board without network whose init answers by its exit status."""
    spec = MachineSpec(
        name="probe",
        role="probe",
        kernel=str(image.kernel),
        initrd=str(image.initrd),
        drives=(Drive(ROOT_NODE, str(image.root)),),
        accelerator="kvm",
        machine="q35,kernel-irqchip=split",
    )
    parts = (base_args(spec), cpu_args(spec), kernel_args(spec), drive_args(spec), root_args(spec))
    return [QEMU, *(word for part in parts for word in part), "-device", "isa-debug-exit", "-serial", "none"]


def _boot_probe(image: Image) -> KvmAnswer:
    with tempfile.TemporaryDirectory(prefix="throughpass-probe-") as folder:
        process = LocalProcess(probe_argv(image), Path(folder) / "log")
        try:
            status = process.try_wait(PROBE_LIMIT_S)
        finally:
            process.kill()
            process.wait(Deadline.after(10, "ending the KVM probe"))
        return _answer(status, process.stderr_text().splitlines()[-1:])


def _answer(status: int | None, words: list[str]) -> KvmAnswer:
    """Put the probe's end into words; ``status`` is None if it had to be ended."""
    if status is None:
        hung = f"/dev/kvm opens, but nothing had booted after {PROBE_LIMIT_S} s: unusable, using emulation"
        return KvmAnswer(usable=False, reason=hung)
    if status == _NESTS:
        return KvmAnswer(usable=True, reason="KVM boots a board, and the board can run guests with KVM")
    if status == _BOOTS:
        return KvmAnswer(
            usable=False, reason="KVM boots, but does not nest (kvm_intel/kvm_amd nested=0?): unusable, using emulation"
        )
    said = words[0] if words else "no message"
    return KvmAnswer(usable=False, reason=f"QEMU with KVM ended with status {status} ({said}): unusable, using emulation")


@functools.cache
def qemu_version() -> str:
    """Return all that QEMU says of its version."""
    return subprocess.run([QEMU, "--version"], capture_output=True, check=False).stdout.decode("utf-8", "replace")


@functools.cache
def situation() -> str:
    """Return a name for what QEMU does here depends on: kernel, QEMU's version, CPU, and whether KVM's module nests."""
    cpu = [line for line in _read("/proc/cpuinfo").splitlines() if line.startswith(("model name", "flags"))][:2]
    nested = [_read(f"/sys/module/{module}/parameters/nested") for module in ("kvm_intel", "kvm_amd")]
    text = "\n".join([platform.release(), qemu_version(), *cpu, *nested])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
