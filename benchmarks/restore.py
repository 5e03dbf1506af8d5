"""How long until a restored board has answered its first command over SSH, against the same board booted cold.

Both are what a qualification does: the image looked up, the stick's content laid out, the snapshot checked to its last byte, QEMU
started, keys, clock and randomness renewed in the restored one, the SSH handshake, the command `true`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.paired import Comparison, Took, make_parser, run, tell
from benchmarks.surroundings import version_of
from harness.bench.accelerator import QEMU, choose_accelerator
from harness.bench.config import BenchConfig, load_bench
from harness.bench.images import require_image
from harness.bench.virtual import VirtualBench
from harness.core.deadline import Deadline
from harness.core.errors import BenchError, UsageError
from harness.transport.protocol import check

CLAIM = "A restored board answers its first command in 0.4 of the time that a cold boot takes to the same point, or less."
LIMIT_S = 600.0


def open_board(config: BenchConfig, logs: Path, *, cold: bool) -> Took:
    """Open the board, run the command and leave; the clock stops when the command has returned."""
    bench = VirtualBench(config, cold=cold)
    said: list[str] = []
    began_s = time.monotonic()
    with bench.open(logs, Deadline.after(LIMIT_S, f"opening {config.name}"), said.append) as host:
        up_s = time.monotonic() - began_s
        check(host.transport, "true")
        took_s = time.monotonic() - began_s
    if any(line.startswith("booting") for line in said) != cold:
        raise BenchError(f"the board was to be {'booted' if cold else 'restored'}", evidence="\n".join(said))
    return Took(took_s, {"until SSH is open": up_s, "the command": took_s - up_s})


def keep_snapshot(config: BenchConfig, logs: Path) -> None:
    """Make sure that there is a snapshot; raise BenchError with QEMU's reason where there can be none."""
    said: list[str] = []
    with VirtualBench(config).open(logs, Deadline.after(LIMIT_S, f"opening {config.name}"), said.append):
        pass
    if refused := [line for line in said if line.startswith("no snapshot")]:
        raise BenchError(f"the board {config.name} cannot be restored", evidence="\n".join(refused))


@contextmanager
def open_comparison(options: argparse.Namespace) -> Iterator[Comparison]:
    """Prepare the board's image and its snapshot."""
    config = load_bench(options.bench)
    if config.board is None:
        raise UsageError(f"the bench {config.name} is of kind {config.kind}: only a virtual board is booted and restored")
    accelerator = choose_accelerator(require_image(config.board.image, tell), tell)
    with tempfile.TemporaryDirectory(prefix="throughpass-restore-") as scratch:
        logs = Path(scratch)
        keep_snapshot(config, logs)
        yield Comparison(
            claim=CLAIM,
            sides={
                "restored": lambda: open_board(config, logs, cold=False),
                "cold": lambda: open_board(config, logs, cold=True),
            },
            accelerator=accelerator,
            versions={"qemu": version_of(QEMU)},
            details={"bench": config.name, "image": config.board.image},
        )


def main() -> int:
    """Read the options and run the comparison."""
    parser = make_parser("benchmarks.restore", __doc__)
    parser.add_argument("--bench", default="virtual-vtd", metavar="NAME|FILE.toml", help="the board (default virtual-vtd)")
    options = parser.parse_args()
    return run(open_comparison(options), options)


if __name__ == "__main__":
    sys.exit(main())
