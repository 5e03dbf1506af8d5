"""The peer: virtme-ng's vng, which boots a kernel in the userland of this machine and runs a command in it.

How it is run, and why (read in its version 1.42, and measured where that is said):

- The kernel is Debian's package, unpacked, as vng's own README has it; it finds the modules in the tree around the vmlinuz.
  Given the uncompressed kernel it was no faster.
- One processor and as much memory as our guest has. vng's default is every processor of the machine.
- Without KVM on both sides if it is without on one. With KVM vng takes QEMU's microvm by itself when it has virtiofsd.
- Without a virtiofsd that it can use, ``--force-9p``: it tries the one that QEMU 7 brought, cannot use it, and waits 3 s in vain.
  With one, its default. Between the two no difference was seen.
- Not ``--rw``: it spares some overlays, was no faster, and lets the guest write to this machine.
- Not ``--no-virtme-ng-init``: its init in bash is slower.
- A configuration of the user's does not count: HOME is a folder of ours.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.kernels import search_path
from benchmarks.paired import Took
from harness.bench.cache import Progress
from harness.core.deadline import Deadline
from harness.core.errors import BenchError, UsageError
from harness.machine.spec import MachineSpec
from harness.transport.local import LocalTransport

VERSION = "1.42"
MODULES = ("9p", "9pnet_virtio", "virtiofs", "overlay", "virtio_mmio", "virtio_pci", "virtio_console")
"""What vng itself needs of a kernel's modules."""

RUN_LIMIT_S = 600.0
_INSTALL_LIMIT_S = 600.0
_ENDING_S = 10.0
_VIRTIOFSD = ("/usr/libexec/virtiofsd", "/usr/lib/virtiofsd/virtiofsd", "/usr/lib/virtiofsd", "/usr/lib/qemu/virtiofsd")


@dataclass(frozen=True)
class Need:
    """Something that vng takes from this machine: programs or files, one of which must be there."""

    found_as: tuple[str, ...]
    package: str
    purpose: str


NEEDS = (
    Need(("busybox-static", "busybox.static", "busybox"), "busybox-static", "its initramfs is made of it"),
    Need(("modprobe",), "kmod", "it finds the modules"),
    Need(("file",), "file", "it tells the kernel's version"),
    Need(
        ("/usr/lib/systemd/systemd-udevd", "/lib/systemd/systemd-udevd"),
        "udev",
        "without it the guest finds no port for its exit status",
    ),
)


def require_needs() -> None:
    """Raise UsageError with the Debian packages that vng needs and this machine lacks."""
    if missing := [need for need in NEEDS if not any(_is_there(name) for name in need.found_as)]:
        packages = ", ".join(f"{need.package} ({need.purpose})" for need in missing)
        raise UsageError(f"vng needs Debian packages that are not installed: {packages}; install them and come back")


def _is_there(name: str) -> bool:
    return Path(name).exists() if name.startswith("/") else shutil.which(name, path=search_path()) is not None


def require_vng(folder: Path, tell: Progress) -> Path:
    """Return vng of the pinned version out of a virtual environment of its own, made by pip if need be."""
    place = folder / f"virtme-ng-{VERSION}"
    vng = place / "bin" / "vng"
    if not _says_version(vng):
        tell(f"installing virtme-ng {VERSION} by pip into {place}, which nothing else uses")
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for argv in ([sys.executable, "-m", "venv", "--clear", str(place)], [*pip, f"virtme-ng=={VERSION}"]):
            done = LocalTransport().run(argv, timeout_s=_INSTALL_LIMIT_S)
            if done.status != 0:
                raise UsageError(
                    f"virtme-ng {VERSION} could not be installed by pip into {place}: it needs Python's venv and a package index",
                    evidence=done.error_text[-2000:],
                )
    return vng


def _says_version(vng: Path) -> bool:
    """Return whether vng runs and is of the pinned version; one whose Python has gone does not run."""
    if not vng.is_file():
        return False
    done = LocalTransport().run([str(vng), "--version"])
    return done.status == 0 and VERSION in done.text.split()[-1:]


def usable_virtiofsd() -> bool:
    """Return whether the virtiofsd that vng picks is one it can use: that of Rust, which alone has --shared-dir."""
    for path in (shutil.which("virtiofsd"), *_VIRTIOFSD):
        if path and Path(path).is_file() and LocalTransport().run([path, "--version"]).status == 0:
            return "--shared-dir" in LocalTransport().run([path, "--help"]).text
    return False


def vng_argv(vng: Path, kernel: Path, command: str, *, spec: MachineSpec, virtiofs: bool) -> list[str]:
    """Return the command line that boots ``kernel`` on a machine as large as ``spec`` and runs ``command`` there."""
    return [
        *(str(vng), "--run", str(kernel)),
        *(["--disable-kvm"] if spec.accelerator == "tcg" else []),
        *([] if virtiofs else ["--force-9p"]),
        *("--memory", f"{spec.memory_mib}M", "--cpus", str(spec.vcpus)),
        *("--", command),
    ]


def run_vng(argv: list[str], folder: Path) -> Took:
    """Run vng and return how long it took until it ended, its guest's uptime at the command apart.

    The command must print /proc/uptime. Raises BenchError unless vng ends with 0 and the command has printed.
    """
    outputs = [folder / "out", folder / "err"]
    with outputs[0].open("wb") as out, outputs[1].open("wb") as err:  # pipes would be held open by a virtiofsd
        began_s = time.monotonic()
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=folder,
            env={**os.environ, "PATH": search_path(Path(argv[0]).parent), "HOME": str(folder), "TMPDIR": str(folder)},
            start_new_session=True,
        )
        try:
            status = _wait(child)
        finally:
            took_s = time.monotonic() - began_s
            _end(child)
    said, complained = (path.read_text(encoding="utf-8", errors="replace") for path in outputs)
    if status != 0:
        raise BenchError(f"vng ended with status {status}", evidence=complained[-2000:])
    return Took(took_s, {"guest's clock at the command": parse_uptime(said)})


def parse_uptime(text: str) -> float:
    """Return the seconds of /proc/uptime that a guest has printed."""
    try:
        return float(text.split(maxsplit=1)[0])
    except (IndexError, ValueError):
        raise BenchError("the guest has not printed its uptime, so its command did not run", evidence=text[:2000]) from None


def _wait(child: subprocess.Popen[bytes]) -> int:
    """Return the exit status as soon as it is there; Popen.wait with a timeout looks only 20 times a second."""
    limit = Deadline.after(RUN_LIMIT_S, "vng")
    handle = os.pidfd_open(child.pid)
    try:
        if not select.select([handle], [], [], limit.left_s)[0]:
            raise limit.error()
    finally:
        os.close(handle)
    return child.wait()


def _end(child: subprocess.Popen[bytes]) -> None:
    """End whatever is left of vng: QEMU and virtiofsd are its children's children, in its session."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_ENDING_S)
