"""How long until a guest of ours has answered its first command over SSH, against virtme-ng's vng with the same kernel.

Ours is the guest that a controller is given to, without the controller, on this machine: from the making of its keys until its
first command has returned over SSH. vng's is the whole of vng, from its start until it has ended with the command's status.
Both run the same line of shell and print their guest's uptime by it, which proves that it ran. The guest's end is in vng's time
alone, keys and SSH are in ours alone.

vng runs twice: with Debian's kernel package as it is, whose drivers udev loads for all that QEMU has, and with a tree of only the
modules that vng itself needs, which nobody has without making it.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.kernels import packaged_kernel, pruned_kernel
from benchmarks.paired import Comparison, Took, make_parser, run, tell
from benchmarks.surroundings import version_of
from benchmarks.virtme import MODULES, VERSION, parse_uptime, require_needs, require_vng, run_vng, usable_virtiofsd, vng_argv
from harness.bench.accelerator import QEMU, choose_accelerator
from harness.bench.cache import cache_folder, locked
from harness.bench.images import Image, recipe_names, require_image
from harness.core.deadline import Deadline
from harness.core.errors import BenchError
from harness.machine.guest import GuestFiles, GuestSpec, guest_machine
from harness.machine.running import start_machine
from harness.machine.spec import Accelerator, MachineSpec
from harness.transport.local import LocalTransport

CLAIM = "A guest of ours answers its first command in half the time that vng takes for one, or less."
COMMAND = 'read -r up idle </proc/uptime && echo "$up"'  # no more than `true`: both words are the shell's own
BOOT_LIMIT_S = 600.0


def guest_spec(image: Image, accelerator: Accelerator) -> MachineSpec:
    """Return the guest of a qualification, without the controller."""
    files = GuestFiles(str(image.kernel), str(image.initrd), str(image.root), root_is_device=False)
    spec = guest_machine(GuestSpec(files, controller="", qemu=QEMU, accelerator=accelerator))
    return dataclasses.replace(spec, devices=tuple(device for device in spec.devices if device["driver"] != "vfio-pci"))


def boot_ours(spec: MachineSpec, logs: Path) -> Took:
    """Start our guest, run the command in it, and end it; the clock stops when the command has returned."""
    began_s = time.monotonic()
    limit = Deadline.after(BOOT_LIMIT_S, "booting our guest")
    with start_machine(spec, LocalTransport(), logs, limit) as machine:
        up_s = time.monotonic() - began_s
        result = machine.ssh.run(COMMAND)
        took_s = time.monotonic() - began_s
        if result.status != 0:
            raise BenchError(f"our guest's command ended with status {result.status}", evidence=result.error_text)
        parts = {
            "until SSH is open": up_s,
            "the command": took_s - up_s,
            "guest's clock at the command": parse_uptime(result.text),
        }
        return Took(took_s, parts)


@contextmanager
def open_comparison(options: argparse.Namespace) -> Iterator[Comparison]:
    """Prepare both sides: image, accelerator, vng and its kernel."""
    require_needs()
    image = require_image(options.image, tell)
    accelerator: Accelerator = options.accelerator or choose_accelerator(image, tell)
    kept = cache_folder() / "benchmarks"
    kept.mkdir(exist_ok=True)
    with locked("benchmark-peer", wait=True, busy="another process prepares the peer", progress=tell):
        vng, whole = require_vng(kept, tell), packaged_kernel(image, kept, tell)
        pruned = pruned_kernel(whole, MODULES)
    spec, virtiofs = guest_spec(image, accelerator), usable_virtiofsd()
    argvs = [vng_argv(vng, kernel, COMMAND, spec=spec, virtiofs=virtiofs) for kernel in (whole, pruned)]
    with tempfile.TemporaryDirectory(prefix="throughpass-guest-boot-") as scratch:
        yield Comparison(
            claim=CLAIM,
            sides={
                "ours": lambda: boot_ours(spec, Path(scratch)),
                "vng": lambda: run_vng(argvs[0], Path(scratch)),
                "vng, pruned modules": lambda: run_vng(argvs[1], Path(scratch)),
            },
            accelerator=accelerator,
            versions={
                "qemu": version_of(QEMU),
                "guest_kernel": whole.name.removeprefix("vmlinuz-"),
                "virtme-ng": VERSION,
            },
            details={"image": image.name, "vng": ["vng", *argvs[0][1:]], "vng_pruned": ["vng", *argvs[1][1:]]},
        )


def main() -> int:
    """Read the options and run the comparison."""
    parser = make_parser("benchmarks.guest_boot", __doc__)
    parser.add_argument("--image", choices=recipe_names(), default="debian13", help="the image to boot (default debian13)")
    parser.add_argument("--accelerator", choices=["kvm", "tcg"], help="instead of the one that a trial boot finds")
    options = parser.parse_args()
    return run(open_comparison(options), options)


if __name__ == "__main__":
    sys.exit(main())
