"""What is measured, how often and in which order: cells, profiles and blocks, as data.

A *cell* is one access pattern, an *arm* one way in which the disk reaches the system that measures it, a *block* one pass over
all arms. Arms are plain names here: what it takes to attach one is known elsewhere.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from harness.core.errors import UsageError

NATIVE = "native"
"""The host itself, no guest."""
PCI = "pci"
"""The whole controller, through vfio-pci."""
USB_HOST = "usb-host"
"""One device, through QEMU's emulated xHCI."""

VIRTIO_BLK = "virtio-blk"
"""The host's block device, handed to the guest as a paravirtual disk."""

AGAIN = "-again"
"""Ends the name of an arm that is another one over again, for the noise floor."""

KINDS = (NATIVE, PCI, USB_HOST, VIRTIO_BLK)
"""Every kind of arm that there is."""
PAIRS = ((PCI, USB_HOST), (PCI, NATIVE), (USB_HOST, NATIVE), (PCI, VIRTIO_BLK), (VIRTIO_BLK, NATIVE))
"""Kinds of arm and base that are compared on one stick, the pair that decides first."""

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

    @property
    def volume_mib(self) -> int:
        """Return how much one run writes at most: flash wears. What only reads has no bound."""
        return (512 if self.block_bytes >= _MIB else 64) if self.writes else 0


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
"""The same grid, writing. In no profile by itself: a bench file permits it, for one disk that is marked."""
PRIMARY_CELL = READ_CELLS[0]
"""The one cell that decides; chosen before any run."""


@dataclass(frozen=True)
class Way:
    """An arm by its name: which kind of way, to which stick (a serial; empty: the one stick that data flows from)."""

    name: str
    kind: str
    stick: str = ""

    def is_twin_of(self, other: Way) -> bool:
        """Return whether both are the same way to the same stick: what differs between them is noise."""
        return (self.kind, self.stick) == (other.kind, other.stick)


@dataclass(frozen=True)
class Comparison:
    """Two arms by name. ``native`` is the host's own arm on the same stick, empty without one; ``twins`` show the noise floor."""

    arm: str
    base: str
    native: str = ""
    twins: bool = False


def known_ways(*kinds: str) -> tuple[Way, ...]:
    """Return one arm of each kind, called like it."""
    return tuple(Way(kind, kind) for kind in kinds)


def find_comparisons(ways: Sequence[Way]) -> tuple[Comparison, ...]:
    """Return what is compared, the comparison that decides first, twins last.

    On one stick the kinds are compared, each by its first arm; two sticks are compared through the same kind of arm, the later
    one with the first.
    """
    first: dict[tuple[str, str], Way] = {}
    for way in ways:
        first.setdefault((way.kind, way.stick), way)
    sticks = dict.fromkeys(way.stick for way in ways)
    across = [
        Comparison(first[arm, stick].name, first[base, stick].name, _native(first, stick))
        for arm, base in PAIRS
        for stick in sticks
        if (arm, stick) in first and (base, stick) in first
    ]
    alike = [
        Comparison(way.name, base.name)
        for way in first.values()
        for base in [next(each for each in first.values() if each.kind == way.kind)]
        if base is not way
    ]
    twins = [
        Comparison(way.name, first[way.kind, way.stick].name, twins=True) for way in ways if first[way.kind, way.stick] is not way
    ]
    return (*across, *alike, *twins)


def _native(first: Mapping[tuple[str, str], Way], stick: str) -> str:
    found = first.get((NATIVE, stick))
    return found.name if found else ""


@dataclass(frozen=True)
class Profile:
    """How much is measured, and whether that is enough for a verdict; ``dataclasses.replace`` makes variants.

    All arms read the same window of the disk: ``window_mib`` from ``offset_mib``. ``blocks`` are measured whatever they say, and
    up to ``most_blocks`` while the primary comparison is less certain than ``judge.PRECISION``. With ``steady_s`` a run lasts
    until its rate was steady for so long, and ``runtime_s`` at most.
    """

    name: str
    blocks: int
    cells: tuple[Cell, ...]
    runtime_s: float
    ramp_s: float
    window_mib: int
    verdict: bool
    ways: tuple[Way, ...] = known_ways(NATIVE, PCI, USB_HOST)
    offset_mib: int = 0
    most_blocks: int = 0  # 0: never more than ``blocks``
    steady_s: int = 0  # 0: not asked for
    write_offset_mib: int = 0  # behind the marker, and what other checks compare; 0: nothing may be written
    write_window_mib: int = 0

    @property
    def arms(self) -> tuple[str, ...]:
        """Return the names of the arms."""
        return tuple(way.name for way in self.ways)

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Return what is compared in each cell, the comparison that decides first."""
        return find_comparisons(self.ways)

    def fitted(self, disk_bytes: int) -> Profile:
        """Return this profile with its windows cut to a disk of that size.

        What is written lies behind what is read: freshly written flash reads faster. Raises UsageError if fewer MiB are left than
        the deepest queue of the grid spans: such reads would only meet each other.
        """
        if any(cell.writes for cell in self.cells):
            return self._split(disk_bytes // _MIB)
        return self._cut(self.window_mib, disk_bytes // _MIB)

    def _split(self, disk_mib: int) -> Profile:
        """Return this profile with a window to write behind the one to read, both as large as they can be."""
        write_mib = min(self.window_mib, (disk_mib - self.write_offset_mib) // 2)
        offset_mib = max(self.write_offset_mib, min(self.offset_mib + self.window_mib, disk_mib - write_mib))
        if write_mib < self._least_mib:
            self._raise_small(disk_mib, self.write_offset_mib, 2 * self._least_mib)
        placed = replace(self, write_offset_mib=offset_mib, write_window_mib=write_mib)
        return placed._cut(offset_mib - self.offset_mib, disk_mib)  # noqa: SLF001 (of the same class)

    def _cut(self, most_mib: int, disk_mib: int) -> Profile:
        window_mib = min(self.window_mib, most_mib, disk_mib - self.offset_mib)
        if window_mib < self._least_mib:
            self._raise_small(disk_mib, self.offset_mib, self._least_mib)
        return replace(self, window_mib=window_mib)

    @property
    def _least_mib(self) -> int:
        return max(-(-cell.block_bytes * cell.iodepth * cell.numjobs // _MIB) for cell in self.cells)

    def _raise_small(self, disk_mib: int, first_mib: int, least_mib: int) -> NoReturn:
        raise UsageError(
            f"a disk of {disk_mib} MiB is too small for profile {self.name}, "
            f"which needs at least {least_mib} MiB from {first_mib} MiB on: use a larger stick"
        )


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("smoke", 2, (PRIMARY_CELL,), runtime_s=1.0, ramp_s=0.3, window_mib=128, verdict=False),
        Profile("quick", 6, (PRIMARY_CELL,), runtime_s=3.0, ramp_s=0.5, window_mib=128, verdict=True),
        Profile(
            "standard",
            8,
            READ_CELLS,
            runtime_s=15.0,
            ramp_s=1.0,
            window_mib=1024,
            verdict=True,
            ways=(*known_ways(*KINDS), Way(USB_HOST + AGAIN, USB_HOST)),
            most_blocks=20,
            steady_s=5,
        ),
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
