"""How much of a warm qualification is the harness: all that is neither a machine's start nor fio nor a kernel that settles.

In each round a qualification runs, and a board and a guest are started bare (see bare.py) with the same command lines to the same
end points. What the harness took is the qualification's wall time, Python's start and the pages at its end included, without

- the bare board and the bare guest of the round,
- fio: its process from start to end; in the stricter figure only the run time and ramp that fio itself reports,
- the settling of the kernels after a hot-plug: from the hand-over until the disk is there, or until the guest has let go.

The last two are in the qualification's own record.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import paramiko

from benchmarks.bare import bare_board, run_on, time_bare_guest
from benchmarks.paired import Comparison, Run, Took, make_parser, run, tell, took_by_round
from benchmarks.restore import keep_snapshot
from benchmarks.surroundings import version_of
from harness.bench.accelerator import QEMU, choose_accelerator
from harness.bench.config import BenchConfig, load_bench
from harness.bench.images import Image, require_image
from harness.bench.snapshots import free_place
from harness.bench.virtual import board_spec, is_root, snapshot_key, stick_file
from harness.core.errors import BenchError, UsageError
from harness.core.overhead import share_run, share_stages
from harness.core.record import decode
from harness.core.timeline import SpanKind
from harness.machine.guest import GuestFiles, GuestSpec, guest_machine
from harness.machine.spec import Accelerator, MachineSpec

CLAIM = "The harness takes at most 15 % of the wall time of a warm qualification."
THROUGHPASS = Path(sys.executable).with_name("throughpass")
QUALIFICATION, BARE = "qualification", "bare"

# The controller goes to vfio-pci as by hand, so that the guest's command line can be the harness's.
_BIND = """
modprobe vfio-pci
address=$(lspci -Dn -d {id} | cut -d ' ' -f 1)
cd /sys/bus/pci/devices/$address
echo vfio-pci >driver_override
echo "$address" >driver/unbind
echo "$address" >/sys/bus/pci/drivers_probe
echo "$address"
busybox findfs LABEL=throughpass
[ ! -c /dev/kvm ] || echo kvm
"""


def qualify(bench: str, profile: str, runs: Path) -> Took:
    """Qualify a bench as a user does; raise BenchError unless it ends well and the board was restored, not booted."""
    began_s = time.monotonic()
    argv = [str(THROUGHPASS), "qualify", bench, "--profile", profile, "--runs", str(runs)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    took_s = time.monotonic() - began_s
    if done.returncode != 0 or "restoring the board" not in done.stdout:
        raise BenchError(f"the qualification ended with status {done.returncode}", evidence=done.stdout[-3000:] + done.stderr)
    (path,) = runs.glob("*/*/record.json")
    share = share_run(share_stages(decode(path.read_bytes(), path.name).run))
    shutil.rmtree(runs)
    parts = {"fio": share.parts_s[SpanKind.FIO], "fio's own figure": share.reported_s, "settling": share.parts_s[SpanKind.SETTLE]}
    return Took(took_s, parts)


def start_bare(config: BenchConfig, image: Image, accelerator: Accelerator, scratch: Path) -> Took:
    """Start board and guest bare, one after the other."""
    assert config.board is not None
    sticks = {stick.id: stick_file(stick, scratch) for stick in config.board.stick if not is_root(config.board, stick)}
    spec = board_spec(config.name, config.board, image, sticks, accelerator)
    with free_place(snapshot_key(config.board, image, accelerator), config.name) as place:
        state = place.find() if place else None
        with bare_board(spec, state) as (board, board_s):
            guest_s = time_bare_guest(board, bare_guest_spec(board, config))
    return Took(board_s + guest_s, {"board": board_s, "guest": guest_s})


def bare_guest_spec(board: paramiko.Transport, config: BenchConfig) -> MachineSpec:
    """Bind the controller on the board and return the guest that takes it."""
    address, root, *kvm = run_on(board, _BIND.format(id=config.controller.id)).split()
    folder = "/usr/lib/throughpass"
    files = GuestFiles(f"{folder}/vmlinux", f"{folder}/initrd", root, root_is_device=True)
    return guest_machine(GuestSpec(files, address, QEMU, "kvm" if kvm else "tcg"))


def overheads(runs: Sequence[Run]) -> dict[str, list[float]]:
    """Return the harness's share of each round's wall time, by both readings of fio's time."""
    wall, bare = took_by_round(runs, QUALIFICATION), took_by_round(runs, BARE)
    found: dict[str, list[float]] = {"overhead": [], "overhead, only fio's own figure taken off": []}
    for number in sorted(wall.keys() & bare.keys()):
        took = wall[number]
        rest_s = took.total_s - bare[number].total_s - took.parts_s["settling"]
        found["overhead"].append((rest_s - took.parts_s["fio"]) / took.total_s)
        found["overhead, only fio's own figure taken off"].append((rest_s - took.parts_s["fio's own figure"]) / took.total_s)
    return found


@contextmanager
def open_comparison(options: argparse.Namespace) -> Iterator[Comparison]:
    """Prepare the board's image and its snapshot."""
    config = load_bench(options.bench)
    if config.board is None:
        raise UsageError(f"the bench {config.name} is of kind {config.kind}: only a virtual board can be started bare")
    image = require_image(config.board.image, tell)
    accelerator = choose_accelerator(image, tell)
    with tempfile.TemporaryDirectory(prefix="throughpass-overhead-") as folder:
        scratch = Path(folder)
        keep_snapshot(config, scratch)
        yield Comparison(
            claim=CLAIM,
            sides={
                QUALIFICATION: lambda: qualify(options.bench, options.profile, scratch / "runs"),
                BARE: lambda: start_bare(config, image, accelerator, scratch),
            },
            accelerator=accelerator,
            versions={"qemu": version_of(QEMU)},
            details={"bench": config.name, "image": config.board.image, "profile": options.profile},
            figures=overheads,
        )


def main() -> int:
    """Read the options and run the comparison."""
    parser = make_parser("benchmarks.overhead", __doc__)
    parser.add_argument("--bench", default="virtual-vtd", metavar="NAME|FILE.toml", help="the bench (default virtual-vtd)")
    parser.add_argument("--profile", choices=["smoke", "quick", "standard"], default="quick", help="(default quick)")
    options = parser.parse_args()
    return run(open_comparison(options), options)


if __name__ == "__main__":
    sys.exit(main())
