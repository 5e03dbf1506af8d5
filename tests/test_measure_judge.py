"""Tests of judgements: the calls, the refusals, the sentences, and the error rates by simulation."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest

from harness.core.judgement import Call, Judgement
from harness.core.series import Sample, Series
from harness.measure.design import NATIVE, PCI, PRIMARY_CELL, PROFILES, READ_CELLS, USB_HOST, Way, known_ways
from harness.measure.judge import judge_all, judge_arms, needs_more

CELL = PRIMARY_CELL.name
SPREAD = (0.995, 1.005, 1.0, 0.99, 1.01, 1.0)
"""Six blocks that scatter by 0.7 %: an interval of about +-0.7 %."""


def series(arm: str, rate: float, spread: Sequence[float] = SPREAD, cell: str = CELL, **confounders: str) -> Series:
    """Return a series with one block for each factor of ``spread``."""
    return Series(cell, arm, tuple(Sample(n, 0, rate * factor, 2.0) for n, factor in enumerate(spread)), confounders)


def judge(*measured: Series, arm: str = PCI, base: str = USB_HOST, verdict: bool = True) -> Judgement:
    """Judge the primary cell."""
    return judge_arms(measured, CELL, arm, base, verdict=verdict)


STEADY = (1.0,) * 6


def test_faster_arm_is_called_faster() -> None:
    """An interval above 1 is faster, with ratio, interval, blocks and cell in the sentence."""
    judgement = judge(series(PCI, 79), series(USB_HOST, 10, STEADY))
    assert judgement.call is Call.FASTER
    assert judgement.sentence == (
        "PCI passthrough reads 7.90x as fast as USB-level passthrough [7.84, 7.96], 6 blocks, SEQ1M Q8T1 read"
    )
    assert judgement.ratio == pytest.approx(7.9, rel=1e-3)
    assert judgement.low == pytest.approx(7.84, abs=0.005)
    assert judgement.high == pytest.approx(7.96, abs=0.005)
    assert (judgement.blocks, judgement.confidence, judgement.primary) == (6, 0.95, True)


def test_slower_arm_is_called_slower() -> None:
    """An interval below 1 is slower."""
    judgement = judge(series(PCI, 8), series(USB_HOST, 10, STEADY))
    assert judgement.call is Call.SLOWER
    assert "reads 0.800x as fast as USB-level passthrough" in judgement.sentence


def test_wide_interval_is_inconclusive() -> None:
    """An interval that holds 1 and leaves +-3 % says nothing, and the sentence admits it."""
    judgement = judge(series(PCI, 10, (0.85, 1.2, 0.9, 1.1, 1.2, 0.8)), series(USB_HOST, 10, STEADY))
    assert judgement.call is Call.INCONCLUSIVE
    assert judgement.sentence.startswith("inconclusive, PCI passthrough may be slower or faster than USB-level passthrough")


def test_narrow_interval_at_one_is_equivalent() -> None:
    """An interval wholly inside +-3 % is equivalent."""
    judgement = judge(series(PCI, 10.05), series(NATIVE, 10, STEADY), base=NATIVE)
    assert judgement.call is Call.EQUIVALENT
    assert judgement.sentence.startswith("PCI passthrough reads as fast as the host itself within 3 %: 1.00x [")


def test_small_real_difference_is_equivalent() -> None:
    """A difference that is certain but wholly below 3 % is equivalent, not faster."""
    assert judge(series(PCI, 10.1, STEADY), series(USB_HOST, 10, STEADY)).call is Call.EQUIVALENT


@pytest.mark.parametrize(
    ("ratio", "call"),
    [(1.0301, Call.FASTER), (1.0299, Call.EQUIVALENT), (1 / 1.0299, Call.EQUIVALENT), (1 / 1.0301, Call.SLOWER)],
    ids=["above", "below-upper", "above-lower", "below"],
)
def test_equivalence_ends_at_three_percent_either_way(ratio: float, call: Call) -> None:
    """Equivalence ends at a factor of 1.03, the same for an arm and its base exchanged."""
    assert judge(series(PCI, 10 * ratio, STEADY), series(USB_HOST, 10, STEADY)).call is call


def test_arms_that_equal_native_are_device_limited() -> None:
    """Two arms that equal each other and the host itself show the disk's limit, not the passthrough's."""
    judgement = judge(series(PCI, 10), series(USB_HOST, 10.02), series(NATIVE, 10.01))
    assert judgement.call is Call.DEVICE_LIMITED
    assert judgement.sentence.startswith("device-limited, this disk cannot separate the arms (both equal the host itself): ")


def test_equal_arms_slower_than_native_are_equivalent() -> None:
    """Two equal arms below the host's rate are not limited by the disk."""
    judgement = judge(series(PCI, 10), series(USB_HOST, 10), series(NATIVE, 20))
    assert judgement.call is Call.EQUIVALENT
    assert "limit" not in judgement.sentence


@pytest.mark.parametrize(
    "native",
    [[], [series(NATIVE, 10, (0.5, 2.0, 1.0, 1.3, 0.7, 1.0))], [series(NATIVE, 10, driver="uas")], [series(NATIVE, 10, (1.0,))]],
    ids=["not-measured", "inconclusive", "other-driver", "one-block"],
)
def test_equal_arms_without_native_may_be_device_limited(native: list[Series]) -> None:
    """Where the host's own rate says nothing, equivalent arms stand with a warning."""
    judgement = judge(series(PCI, 10, driver="usb-storage"), series(USB_HOST, 10, driver="usb-storage"), *native)
    assert judgement.call is Call.EQUIVALENT
    assert judgement.sentence.endswith("; the host itself was not shown to be faster: the disk may be the limit")


@pytest.mark.parametrize("key", ["driver", "speed"])
def test_arms_with_other_driver_or_speed_are_not_compared(key: str) -> None:
    """Arms with another driver or speed get no ratio, and the sentence names both values."""
    judgement = judge(series(PCI, 79, SPREAD, CELL, **{key: "this"}), series(USB_HOST, 10, SPREAD, CELL, **{key: "that"}))
    assert (judgement.call, judgement.ratio, judgement.low, judgement.blocks) == (Call.NOT_JUDGED, None, None, 0)
    assert judgement.sentence == (
        f"not judged: the {key} differs, this in PCI passthrough and that in USB-level passthrough, SEQ1M Q8T1 read"
    )


def test_confounder_known_of_one_arm_does_not_forbid() -> None:
    """A driver that only one arm could name is no reason to refuse."""
    assert judge(series(PCI, 79, driver="uas"), series(USB_HOST, 10)).call is Call.FASTER


def test_other_differences_are_said() -> None:
    """Any other confounder that differs is appended to the sentence."""
    judgement = judge(series(PCI, 79, scheduler="none"), series(USB_HOST, 10, scheduler="mq-deadline"))
    assert judgement.call is Call.FASTER
    assert judgement.sentence.endswith("; scheduler differs (none, mq-deadline)")


def test_one_common_block_gives_a_ratio_without_interval() -> None:
    """One block has a ratio but no interval and no call."""
    judgement = judge(series(PCI, 20, (1.0,)), series(USB_HOST, 10))
    assert (judgement.call, judgement.blocks, judgement.low, judgement.high) == (Call.NOT_JUDGED, 1, None, None)
    assert judgement.ratio == pytest.approx(20 / (10 * SPREAD[0]))
    assert "1 block gives no interval" in judgement.sentence


def test_no_common_block_is_not_judged() -> None:
    """Arms without a common block have nothing to say."""
    judgement = judge(series(PCI, 20, ()), series(USB_HOST, 10))
    assert (judgement.call, judgement.ratio) == (Call.NOT_JUDGED, None)
    assert "no block in common" in judgement.sentence


def test_lost_blocks_are_said() -> None:
    """A block that only one arm finished is left out, and the sentence counts it."""
    assert "4 of 6 blocks" in judge(series(PCI, 79, SPREAD[:4]), series(USB_HOST, 10)).sentence


def test_missing_series_is_not_judged() -> None:
    """An arm that was not measured is named."""
    judgement = judge(series(PCI, 79))
    assert (judgement.call, judgement.sentence) == (
        Call.NOT_JUDGED,
        "not judged: USB-level passthrough was not measured, SEQ1M Q8T1 read",
    )


def test_series_given_twice_is_not_judged() -> None:
    """Two series of one arm in one cell are ambiguous."""
    assert "has 2 series" in judge(series(PCI, 79), series(PCI, 79), series(USB_HOST, 10)).sentence


def test_rate_of_zero_is_not_judged() -> None:
    """A rate of 0 stops the comparison, not the program, and the sentence says where it was."""
    judgement = judge(series(PCI, 0.0), series(USB_HOST, 10))
    assert judgement.call is Call.NOT_JUDGED
    assert judgement.sentence.startswith("not judged: block 0 of pci in SEQ1M Q8T1 read has a rate of 0.0 MiB/s")


def test_profile_without_verdict_shows_the_interval() -> None:
    """Without a verdict the figures are there, the call is not."""
    judgement = judge(series(PCI, 79), series(USB_HOST, 10), verdict=False)
    assert judgement.call is Call.NOT_JUDGED
    assert judgement.low is not None
    assert judgement.sentence.startswith("not judged, this profile gives no verdict: PCI passthrough reads 7.90x as fast")


def test_two_blocks_that_disagree_are_written_short() -> None:
    """The huge interval of two blocks that disagree is shortened in the sentence and finite in the record."""
    judgement = judge(series(PCI, 10, (0.1, 10.0)), series(USB_HOST, 10, (1.0, 1.0)), verdict=False)
    assert "[<0.001, >1000]" in judgement.sentence
    assert judgement.high is not None
    assert math.isfinite(judgement.high)


def test_writing_cell_is_said_to_write() -> None:
    """In a cell that writes, the sentence says so."""
    cell = "SEQ1M Q8T1 write"
    judgement = judge_arms([series(PCI, 79, cell=cell), series(USB_HOST, 10, cell=cell)], cell, PCI, USB_HOST, verdict=True)
    assert judgement.sentence.startswith("PCI passthrough writes 7.")
    assert not judgement.primary


def test_unknown_arm_keeps_its_name() -> None:
    """An arm that only a bench file knows is called by its own name."""
    assert judge(series("s2", 79), series(USB_HOST, 10), arm="s2").sentence.startswith("s2 reads 7.90x as fast")


def test_judge_all_puts_the_primary_comparison_first() -> None:
    """The order is pci against usb-host, pci against native, usb-host against native, and only the first is primary."""
    judgements = judge_all([series(PCI, 79), series(USB_HOST, 10), series(NATIVE, 80)], PROFILES["quick"])
    assert [(j.arm, j.base, j.call, j.primary) for j in judgements] == [
        (PCI, USB_HOST, Call.FASTER, True),
        (PCI, NATIVE, Call.EQUIVALENT, False),
        (USB_HOST, NATIVE, Call.SLOWER, False),
    ]


def test_judge_all_goes_through_all_cells() -> None:
    """The standard profile has six comparisons in each of its four cells, one of them primary."""
    measured = [series(arm, 10, cell=cell.name) for cell in READ_CELLS for arm in PROFILES["standard"].arms]
    judgements = judge_all(measured, PROFILES["standard"])
    assert [j.cell for j in judgements] == [cell.name for cell in READ_CELLS for _ in range(6)]
    assert [j.primary for j in judgements] == [True] + [False] * 23


def test_judge_all_leaves_out_arms_that_the_profile_does_not_measure() -> None:
    """A profile of two arms has one comparison."""
    profile = replace(PROFILES["quick"], ways=known_ways(PCI, USB_HOST))
    assert [(j.arm, j.base) for j in judge_all([], profile)] == [(PCI, USB_HOST)]


def test_judge_all_of_smoke_gives_no_call() -> None:
    """The smoke profile judges nothing, however clear the figures."""
    measured = [series(PCI, 79, STEADY[:2]), series(USB_HOST, 10, STEADY[:2]), series(NATIVE, 80, STEADY[:2])]
    assert {j.call for j in judge_all(measured, PROFILES["smoke"])} == {Call.NOT_JUDGED}


TWICE = replace(PROFILES["quick"], ways=(*known_ways(PCI, USB_HOST), Way("usb-host-again", USB_HOST)))
"""A profile whose base comes twice."""


def test_wide_interval_is_an_unfit_bench() -> None:
    """An interval wider than +-25 % says nothing where the blocks do not agree, and the sentence says how wide it is."""
    judgement = judge(series(PCI, 14, (0.6, 1.9, 0.8, 1.7, 1.9, 0.6)), series(USB_HOST, 10, STEADY))
    assert judgement.call is Call.UNFIT_BENCH
    assert judgement.sentence.startswith("unfit bench, nothing is said of PCI passthrough against USB-level passthrough: ")
    assert "the blocks scatter too much: the interval is +-" in judgement.sentence


def test_wide_interval_is_no_doubt_where_every_block_agrees() -> None:
    """Where each block is faster beyond 3 % the arm is, however wide the interval; that it is wide is added."""
    judgement = judge(series(PCI, 90, (0.6, 1.5, 0.8, 1.3, 1.5, 0.6)), series(USB_HOST, 10, STEADY))
    assert judgement.call is Call.FASTER
    assert "; the blocks scatter too much: the interval is +-5" in judgement.sentence


def test_drifting_ratio_is_an_unfit_bench() -> None:
    """A ratio that falls to the base's from block to block is no ratio; one that all arms share is, and one that stays above."""
    falling = [0.97**block for block in range(8)]
    base = series(USB_HOST, 10, (1.0,) * 8)
    told = "; the ratio drifts: from the first block to the last it changed by -19%"
    judgement, above = judge(series(PCI, 12, falling), base), judge(series(PCI, 20, falling), base)
    assert judgement.call is Call.UNFIT_BENCH
    assert judgement.sentence.endswith(told)
    assert (above.call, above.sentence.endswith(told)) == (Call.FASTER, True)
    assert judge(series(PCI, 20, falling), series(USB_HOST, 10, falling)).call is Call.FASTER


def unsteady(measured: Series, blocks: int) -> Series:
    """Return the series with a first few runs that found no steady state, and read ten times as fast."""
    samples = tuple(
        msgspec.structs.replace(
            each, steady=each.block >= blocks, rate_mib_s=each.rate_mib_s * (10 if each.block < blocks else 1)
        )
        for each in measured.samples
    )
    return msgspec.structs.replace(measured, samples=samples)


def test_run_without_a_steady_state_is_left_out() -> None:
    """A block whose run found no steady state is no pair; the others are judged, and the sentence counts them."""
    judgement = judge(unsteady(series(PCI, 79), 1), series(USB_HOST, 10, STEADY))

    assert (judgement.call, judgement.blocks) == (Call.FASTER, 5)
    assert judgement.ratio == pytest.approx(7.9, rel=0.01)


def test_arm_without_a_steady_state_is_not_judged() -> None:
    """An arm of which more than a quarter of the runs found no steady state has no rate to compare, and that is said."""
    judgement = judge(unsteady(series(PCI, 79), 2), series(USB_HOST, 10, STEADY))

    assert judgement.call is Call.NOT_JUDGED
    assert judgement.sentence == "not judged: pci found no steady state in 2 of 6 runs, SEQ1M Q8T1 read"


def test_arm_that_comes_twice_is_the_noise_floor() -> None:
    """An effect whose interval reaches into what one arm differed from itself is inconclusive; one beyond it is called."""
    twin = series("usb-host-again", 10.25, STEADY)
    small = [series(PCI, 10.2, (1.0, 1.03, 1.02, 1.0, 1.04, 1.01)), series(USB_HOST, 10, STEADY)]
    first, last = judge_all([*small, twin], TWICE)
    alone = judge_all(small, TWICE)[0]
    assert (alone.call, alone.floor, first.call) == (Call.FASTER, None, Call.INCONCLUSIVE)
    assert first.sentence.endswith("; one arm, measured twice, differed from itself by 2.5%")
    assert first.floor == pytest.approx(1.025)
    assert last.call is Call.EQUIVALENT
    assert last.sentence.endswith("; this is the same way twice: the bench's noise floor")
    assert judge_all([series(PCI, 20), small[1], twin], TWICE)[0].call is Call.FASTER


def test_arm_that_differs_from_itself_shows_an_unfit_bench() -> None:
    """Twins are never faster or slower than each other: such a bench is unfit."""
    _, twins = judge_all([series(PCI, 20), series(USB_HOST, 10), series("usb-host-again", 11)], TWICE)
    assert twins.call is Call.UNFIT_BENCH
    assert twins.sentence.startswith("unfit bench, nothing is said of USB-level passthrough again against USB-level passthrough")


def test_comparisons_beside_the_primary_one_share_a_level() -> None:
    """A p of 0.02 is a call alone; among the other comparisons of an experiment it is adjusted, and is none."""
    spread = (1.0, 1.07, 1.01, 1.09, 1.04, 1.06)
    alone = judge(series(USB_HOST, 10, spread), series(NATIVE, 10, STEADY), arm=USB_HOST, base=NATIVE)
    measured = [series(PCI, 10), series(USB_HOST, 10, spread), series(NATIVE, 10, STEADY)]
    among = judge_all(measured, PROFILES["quick"])[2]
    assert alone.call is Call.FASTER
    assert alone.p is not None
    assert (among.call, among.low) == (Call.INCONCLUSIVE, alone.low)
    assert among.p == pytest.approx(2 * alone.p)
    assert among.sentence.endswith("among all comparisons, and a call needs 0.025")


def test_unlike_arms_are_compared_where_that_is_allowed() -> None:
    """What may differ is named; the sentence still says that it does."""
    measured = [series(PCI, 79, driver="uas"), series(USB_HOST, 10, driver="usb-storage")]
    judgement = judge_all(measured, TWICE, unlike=["driver"])[0]
    assert judgement.call is Call.FASTER
    assert "; driver differs (uas, usb-storage)" in judgement.sentence
    assert judgement.sentence.endswith("; the noise floor is not known, since no arm was measured twice here")
    assert judge_all(measured, TWICE, unlike=["speed"])[0].call is Call.NOT_JUDGED


def test_clock_that_lies_is_said() -> None:
    """A guest whose clock differs by more than 2 % from the runner's is named; 1 % is not worth a word."""
    measured = [replace_clock(series(PCI, 79), 1.03), replace_clock(series(USB_HOST, 10), 0.99)]
    assert judge(*measured).sentence.endswith("; the clock of PCI passthrough ran +3.0% against ours, and its rates with it")


def replace_clock(measured: Series, clock: float) -> Series:
    """Return a series whose system has such a clock."""
    return msgspec.structs.replace(measured, clock=clock)


@pytest.mark.parametrize(
    ("scatter", "blocks", "more"),
    [(0.01, 8, False), (0.05, 8, True), (0.05, 18, True), (0.05, 20, False)],
    ids=["narrow", "wide", "wide-to-the-last-pair", "never-beyond-20"],
)
def test_extension_asks_for_the_width_alone(scatter: float, blocks: int, more: bool) -> None:  # noqa: FBT001 (a table)
    """Standard goes on in pairs of blocks while the primary interval is wider than +-2 %, up to 20, whatever the ratio is."""
    spread = [1 + scatter * (-1) ** (block // 2) for block in range(blocks)]
    for rate in (10, 79):
        measured = [series(PCI, rate, spread), series(USB_HOST, 10, (1.0,) * blocks)]
        assert needs_more(measured, PROFILES["standard"]) is more
        assert needs_more(measured, PROFILES["quick"]) is False


def simulate(ratio: float, scatter: float, blocks: int, seed: int, drift: float = 0.0) -> Judgement:
    """Judge simulated blocks: log ratios with that standard deviation, both arms drifting alike."""
    source = random.Random(seed)  # noqa: S311 (a simulation, repeatable)
    level = [100 * math.exp(drift * block + source.gauss(0, 0.1)) for block in range(blocks)]
    arm = [rate * ratio * math.exp(source.gauss(0, scatter)) for rate in level]
    return judge(series(PCI, 1, arm), series(USB_HOST, 1, level))


def test_equal_arms_are_seldom_called_different() -> None:
    """Of 400 simulated A/A experiments of 6 blocks at most 8 % are called faster or slower (5 % are expected)."""
    calls = Counter(simulate(1.0, 0.10, 6, seed).call for seed in range(400))
    assert (calls[Call.FASTER] + calls[Call.SLOWER]) / 400 <= 0.08
    assert calls[Call.INCONCLUSIVE] > 0


def test_true_ratio_is_found_and_held() -> None:
    """A true ratio of 1.41 with 2 % scatter is faster in 99 %, and at least 90 % of the intervals hold it (95 % are expected)."""
    judgements = [simulate(1.41, 0.02, 6, seed) for seed in range(400)]
    assert sum(j.call is Call.FASTER for j in judgements) >= 396
    assert sum(j.low <= 1.41 <= j.high for j in judgements if j.low is not None and j.high is not None) >= 360


def test_small_effect_is_found_in_eight_blocks() -> None:
    """A true effect of 5 % with 2 % scatter is called faster in at least 95 % of the experiments of 8 blocks."""
    assert sum(simulate(1.05, 0.02, 8, seed).call is Call.FASTER for seed in range(400)) >= 380


def test_common_drift_does_not_disturb() -> None:
    """A rate that falls by a fifth from block to block in both arms leaves the ratio where it is."""
    judgement = simulate(1.41, 0.02, 8, 1, drift=-0.2)
    assert judgement.call is Call.FASTER
    assert judgement.ratio == pytest.approx(1.41, rel=0.03)
