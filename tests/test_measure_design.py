"""Tests of the experiment's design: the grid, the profiles, the order of the arms."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import UsageError
from harness.measure.design import (
    NATIVE,
    PCI,
    PRIMARY_CELL,
    PROFILES,
    READ_CELLS,
    USB_HOST,
    VIRTIO_BLK,
    WRITE_CELLS,
    Cell,
    Comparison,
    Way,
    find_comparisons,
    plan_blocks,
)

MIB = 1024 * 1024


@pytest.mark.parametrize("cell", READ_CELLS + WRITE_CELLS, ids=lambda cell: cell.name.replace(" ", "-"))
def test_cell_name_says_what_the_cell_does(cell: Cell) -> None:
    """A cell's pattern, block size, depth, jobs and direction are those of its name."""
    match = re.fullmatch(r"(SEQ|RND)(1M|4K) Q(\d+)T(\d+) (read|write)", cell.name)
    assert match is not None
    assert cell.rw == {"SEQ": "", "RND": "rand"}[match[1]] + match[5]
    assert cell.block_bytes == {"1M": MIB, "4K": 4096}[match[2]]
    assert (cell.iodepth, cell.numjobs) == (int(match[3]), int(match[4]))
    assert cell.writes == (match[5] == "write")


def test_primary_cell_is_sequential_read_at_depth_eight() -> None:
    """The cell that decides is SEQ1M Q8T1 read."""
    assert PRIMARY_CELL.name == "SEQ1M Q8T1 read"


def test_profiles_only_read() -> None:
    """No profile holds a cell that writes."""
    assert not [cell.name for profile in PROFILES.values() for cell in profile.cells if cell.writes]


def test_profiles_hold_what_the_specification_says() -> None:
    """Smoke, quick and standard have 2, 6 and 8 to 20 blocks, only smoke gives no verdict, and standard has an arm twice."""
    assert {name: (profile.blocks, profile.verdict) for name, profile in PROFILES.items()} == {
        "smoke": (2, False),
        "quick": (6, True),
        "standard": (8, True),
    }
    assert PROFILES["quick"].cells == PROFILES["smoke"].cells == (PRIMARY_CELL,)
    assert PROFILES["standard"].cells == READ_CELLS
    assert PROFILES["smoke"].arms == PROFILES["quick"].arms == (NATIVE, PCI, USB_HOST)
    assert PROFILES["standard"].arms == (NATIVE, PCI, USB_HOST, VIRTIO_BLK, "usb-host-again")
    assert {name: profile.most_blocks for name, profile in PROFILES.items()} == {"smoke": 0, "quick": 0, "standard": 20}


def test_comparisons_of_standard() -> None:
    """PCI against USB-level passthrough decides; the host's block device stands beside; the arm that comes twice is last."""
    assert [(each.arm, each.base, each.native, each.twins) for each in PROFILES["standard"].comparisons] == [
        (PCI, USB_HOST, NATIVE, False),
        (PCI, NATIVE, NATIVE, False),
        (USB_HOST, NATIVE, NATIVE, False),
        (PCI, VIRTIO_BLK, NATIVE, False),
        (VIRTIO_BLK, NATIVE, NATIVE, False),
        ("usb-host-again", USB_HOST, "", True),
    ]


def test_comparisons_of_two_sticks() -> None:
    """Two sticks are compared through the same kind of arm, the later with the first; a third is not a second one's base."""
    ways = [Way(f"slow-{serial}", USB_HOST, serial) for serial in ("A", "B", "C")]

    assert find_comparisons(ways) == (Comparison("slow-B", "slow-A"), Comparison("slow-C", "slow-A"))


def test_comparisons_on_each_stick() -> None:
    """Kinds are compared on the same stick only, with that stick's own native arm."""
    ways = [Way("pci", PCI, "A"), Way("usb-host", USB_HOST, "A"), Way("other", USB_HOST, "B"), Way("here", NATIVE, "A")]

    assert find_comparisons(ways) == (
        Comparison("pci", "usb-host", "here"),
        Comparison("pci", "here", "here"),
        Comparison("usb-host", "here", "here"),
        Comparison("other", "usb-host"),
    )


def test_profile_name_is_its_key() -> None:
    """Each profile is found under its own name."""
    assert all(profile.name == name for name, profile in PROFILES.items())


def test_fitted_cuts_the_window_to_the_disk() -> None:
    """A window that is larger than the disk ends where the disk ends, offset included."""
    profile = replace(PROFILES["standard"], offset_mib=16)
    assert profile.fitted(256 * MIB).window_mib == 240


@pytest.mark.parametrize(
    ("disk_mib", "read_mib", "write"),
    [(4096, 128, (128, 128)), (64, 36, (36, 28)), (200, 104, (104, 96)), (40, 24, (24, 16))],
)
def test_fitted_writes_behind_what_is_read(disk_mib: int, read_mib: int, write: tuple[int, int]) -> None:
    """Where something is written it lies behind what is kept and behind what is read, and ends with the disk at the latest."""
    writing = replace(PROFILES["quick"], cells=(PRIMARY_CELL, WRITE_CELLS[0]), write_offset_mib=8)
    made = writing.fitted(disk_mib * MIB)

    assert (made.offset_mib, made.window_mib) == (0, read_mib)
    assert (made.write_offset_mib, made.write_window_mib) == write
    assert made.write_offset_mib + made.write_window_mib <= disk_mib


def test_fitted_refuses_a_disk_without_room_to_write() -> None:
    """A disk with no room for both windows is refused, with how much is needed."""
    writing = replace(PROFILES["quick"], cells=(PRIMARY_CELL, WRITE_CELLS[0]), write_offset_mib=32)

    with pytest.raises(UsageError, match="at least 16 MiB from 32 MiB on"):
        writing.fitted(47 * MIB)


def test_fitted_leaves_a_window_that_fits() -> None:
    """A disk with room enough changes nothing."""
    assert PROFILES["quick"].fitted(1 << 40) == PROFILES["quick"]


def test_fitted_refuses_a_disk_smaller_than_the_queue() -> None:
    """A disk that cannot hold the eight requests in flight is refused with its size and the remedy."""
    with pytest.raises(UsageError, match=r"7 MiB is too small for profile quick.*at least 8 MiB.*larger stick"):
        PROFILES["quick"].fitted(7 * MIB)


ARMS = st.lists(st.text(min_size=1), min_size=1, max_size=6, unique=True)


@given(ARMS, st.integers(1, 20), st.integers())
def test_plan_holds_every_arm_once_in_each_block(arms: list[str], blocks: int, seed: int) -> None:
    """Each of the planned blocks is a permutation of the arms."""
    plan = plan_blocks(arms, blocks, seed)
    assert len(plan) == blocks
    assert all(sorted(block) == sorted(arms) for block in plan)


@given(ARMS, st.integers(1, 20), st.integers())
def test_plan_mirrors_every_second_block(arms: list[str], blocks: int, seed: int) -> None:
    """A block with an odd number is the reverse of the one before it."""
    plan = plan_blocks(arms, blocks, seed)
    assert all(plan[number] == plan[number - 1][::-1] for number in range(1, blocks, 2))


def test_plan_is_the_same_for_the_same_seed() -> None:
    """A seed names one plan, and other seeds give other plans."""
    plans = [plan_blocks(("a", "b", "c"), 6, seed) for seed in range(20)]
    assert plans == [plan_blocks(("a", "b", "c"), 6, seed) for seed in range(20)]
    assert len(set(plans)) > 10


def test_plan_puts_each_order_first_equally_often() -> None:
    """Over many seeds all six orders of three arms open a plan about equally often."""
    first = Counter(plan_blocks(("a", "b", "c"), 1, seed)[0] for seed in range(1200))
    assert len(first) == 6
    assert min(first.values()) > 150


@pytest.mark.parametrize(
    ("arms", "blocks"), [((), 2), (("a", "a"), 2), (("a", "b"), 0)], ids=["no-arms", "arm-twice", "no-blocks"]
)
def test_plan_refuses_what_cannot_be_paired(arms: tuple[str, ...], blocks: int) -> None:
    """No arms, an arm named twice or no blocks are a ValueError."""
    with pytest.raises(ValueError, match="cannot plan"):
        plan_blocks(arms, blocks, 1)
