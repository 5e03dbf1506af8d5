"""A slow disk hands out few whole reads: what is known of its rate, in a judgement, a comparison of records and a history."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest

from harness.core.comparison import Shift
from harness.core.errors import UsageError
from harness.core.judgement import Call
from harness.core.record import Record, decode, encode
from harness.core.series import Sample, Series
from harness.measure.design import PCI, PRIMARY_CELL, PROFILES, USB_HOST
from harness.measure.effects import find_effects
from harness.measure.history import make_history
from harness.measure.judge import judge_arms, needs_more
from harness.measure.outline import read_outlines
from harness.measure.statistics import ratio_interval, resolution_of
from tests.comparing import measured_record, write_run

CELL = PRIMARY_CELL.name


def counted(arm: str, rate: float, resolution: float) -> Series:
    """Return six blocks that agree to the last digit, and are known within so much."""
    return Series(CELL, arm, tuple(Sample(block, 0, rate, 2.0, resolution=resolution) for block in range(6)))


def known_within(record: Record, resolution: float) -> Record:
    """Return a record whose rates are known within so much."""
    series = tuple(
        msgspec.structs.replace(one, samples=tuple(msgspec.structs.replace(each, resolution=resolution) for each in one.samples))
        for one in record.series
    )
    return msgspec.structs.replace(record, series=series)


def test_interval_is_no_narrower_than_the_counts() -> None:
    """Where all blocks say the same, what was counted in whole reads is known within their resolution; where not, t decides."""
    narrow = ratio_interval([0.0] * 4).at_least(resolution_of(counted(PCI, 10, 0.03), counted(USB_HOST, 10, 0.04)))
    wide = ratio_interval([-0.1, 0.0, 0.1])

    assert (narrow.low, narrow.high) == pytest.approx((1 / 1.05, 1.05))
    assert wide.at_least(0.05) == wide
    assert resolution_of(counted(PCI, 10, 0.0), counted(USB_HOST, 10, 0.0)) == 0.0


def test_slow_disk_is_known_within_its_counts() -> None:
    """Blocks that agree to the last digit are worth no more than the whole reads that they counted; more of them are no help."""
    pci, base = counted(PCI, 10.3, 0.01), counted(USB_HOST, 10, 0.01)
    judgement = judge_arms([pci, base], CELL, PCI, USB_HOST, verdict=True)
    coarse = judge_arms([pci, counted(USB_HOST, 10, 0.04)], CELL, PCI, USB_HOST, verdict=True)
    ends = 1.03 / (1 + math.hypot(0.01, 0.01)), 1.03 * (1 + math.hypot(0.01, 0.01))

    assert (judgement.low, judgement.high) == pytest.approx(ends)
    assert judgement.call is Call.FASTER
    assert coarse.call is Call.INCONCLUSIVE
    assert not needs_more([counted(PCI, 10.3, 0.05), counted(USB_HOST, 10, 0.05)], PROFILES["standard"])


def test_interval_of_a_slow_disk_is_no_narrower_than_its_counts() -> None:
    """Runs of a disk that hands out few whole reads are compared within what those tell, however little the blocks differ."""
    before, after = (measured_record(seed, rates={"pci": 10.0}, spread=1e-6) for seed in (1, 2))
    first, *_ = find_effects(before, known_within(after, 0.05))

    assert (first.low, first.high) == pytest.approx((1 / 1.05, 1.05), rel=1e-4)
    assert first.shift is Shift.INCONCLUSIVE


def test_history_of_a_slow_disk_has_the_same_intervals(tmp_path: Path) -> None:
    """A point of a history is no narrower than the judgement of its run."""
    record = known_within(measured_record(1, rates={"pci": 10.3, "usb-host": 10.0}, spread=1e-6), 0.03)
    write_run(tmp_path, record)
    lines = {(line.cell, line.arm, line.base): line.points[0] for line in make_history(*read_outlines(tmp_path), tmp_path).lines}
    rate, ratio = lines[CELL, "pci", ""], lines[CELL, "pci", "usb-host"]
    judgement = judge_arms(record.series, CELL, "pci", "usb-host", verdict=True)

    assert (rate.low, rate.high) == pytest.approx((10.3 / 1.03, 10.3 * 1.03), rel=1e-4)
    assert (ratio.low, ratio.high) == (judgement.low, judgement.high)


def test_edited_resolution_is_refused() -> None:
    """A record whose resolution was made less than nothing is no record, in a sentence that names the key."""
    with pytest.raises(UsageError, match="resolution"):
        decode(encode(known_within(measured_record(1), 0.25)).replace(b"0.25", b"-2.0"), "record.json")
