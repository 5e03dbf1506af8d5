"""What is measured, how often and in which order: cells, profiles and blocks, as data.

A *cell* is one access pattern, an *arm* one way in which the disk reaches the system that measures it, a *block* one pass over
all arms. Arms are plain names here: what it takes to attach one is known elsewhere.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.core.errors import UsageError

NATIVE = "native"
"""The host itself, no guest."""
PCI = "pci"
"""The whole controller, through vfio-pci."""
USB_HOST = "usb-host"
"""One device, through QEMU's emulated xHCI."""

ARMS = (NATIVE, PCI, USB_HOST)

_MIB = 1024 * 1024


@dataclass(frozen=True)
class Cell:
    """One access pattern; ``rw`` is fio's word for it."""

    name: str  # "SEQ1M Q8T1 read"
    block_bytes: int
    iodepth: int
    numjobs: int
    rw: str  # read, randread, write, randwrite

    @property
    def writes(self) -> bool:
        """Return whether the cell changes the disk."""
        return self.rw.endswith("write")


def _grid(direction: str) -> tuple[Cell, ...]:
    return (
        Cell(f"SEQ1M Q8T1 {direction}", _MIB, 8, 1, direction),
        Cell(f"SEQ1M Q1T1 {direction}", _MIB, 1, 1, direction),
        Cell(f"RND4K Q32T1 {direction}", 4096, 32, 1, f"rand{direction}"),
        Cell(f"RND4K Q1T1 {direction}", 4096, 1, 1, f"rand{direction}"),
    )


READ_CELLS = _grid("read")
"""The grid people know from CrystalDiskMark 8, reading."""
WRITE_CELLS = _grid("write")
"""The same grid, writing. In no profile: writes need a permission that does not exist yet."""
PRIMARY_CELL = READ_CELLS[0]
"""The one cell that decides; chosen before any run."""


@dataclass(frozen=True)
class Profile:
    """How much is measured, and whether that is enough for a verdict; ``dataclasses.replace`` makes variants.

    All arms read the same window of the disk: ``window_mib`` from ``offset_mib``.
    """

    name: str
    blocks: int
    cells: tuple[Cell, ...]
    runtime_s: float
    ramp_s: float
    window_mib: int
    verdict: bool
    arms: tuple[str, ...] = ARMS
    offset_mib: int = 0

    def fitted(self, disk_bytes: int) -> Profile:
        """Return this profile with its window cut to a disk of that size.

        Raises UsageError if fewer MiB are left than the deepest queue of the grid spans: such reads would only meet each other.
        """
        window_mib = min(self.window_mib, disk_bytes // _MIB - self.offset_mib)
        least_mib = max(-(-cell.block_bytes * cell.iodepth * cell.numjobs // _MIB) for cell in self.cells)
        if window_mib < least_mib:
            raise UsageError(
                f"a disk of {disk_bytes // _MIB} MiB is too small for profile {self.name}, "
                f"which reads at least {least_mib} MiB from {self.offset_mib} MiB on: use a larger stick"
            )
        return replace(self, window_mib=window_mib)


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("smoke", 2, (PRIMARY_CELL,), runtime_s=1.0, ramp_s=0.3, window_mib=128, verdict=False),
        Profile("quick", 6, (PRIMARY_CELL,), runtime_s=1.5, ramp_s=0.3, window_mib=128, verdict=True),
        # The extension of standard, from 8 to 20 blocks, belongs between plan_blocks and judge_all: both take any number.
        Profile("standard", 8, READ_CELLS, runtime_s=5.0, ramp_s=1.0, window_mib=1024, verdict=True),
    )
}


def plan_blocks(arms: Sequence[str], blocks: int, seed: int) -> tuple[tuple[str, ...], ...]:
    """Return the order of the arms in each block: random, and mirrored in the next block.

    Mirrored pairs cancel a linear drift (heat, a filling cache) between any two arms. The same seed gives the same plan.
    Raises ValueError for no blocks, no arms or an arm named twice (blocks could not be paired).
    """
    if blocks < 1 or not arms or len(set(arms)) != len(arms):
        raise ValueError(f"cannot plan {blocks} blocks of the arms {', '.join(arms) or '(none)'}")
    shuffled = random.Random(seed)  # noqa: S311 (a design, not a secret: it must be repeatable)
    order: list[str] = []
    plan: list[tuple[str, ...]] = []
    for block in range(blocks):
        order = order[::-1] if block % 2 else shuffled.sample(list(arms), k=len(arms))
        plan.append(tuple(order))
    return tuple(plan)
