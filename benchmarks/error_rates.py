"""How often the judgement errs: simulated experiments of a truth that is known, judged by the code that judges real ones.

    python -m benchmarks.error_rates [--experiments N] [--seed N]

Each experiment is the profile ``standard``: its arms, its cells, its order of arms, its rule of extension, its A/A arm. The rate
of a run is a product of factors: of its arm; of a disk that slows down (by a tenth over 20 blocks) and of heat that comes in the
first runs (5 %); of the attachment, which all cells of it share; of noise that remembers the run before it (AR(1)); and now and
then of an outlier (one run in 50 loses 5 to 15 %). Without outliers a block's log ratio deviates by ``deviation``.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from harness.core.judgement import Call, Judgement
from harness.core.series import Sample, Series
from harness.measure.design import PCI, PROFILES, Profile, plan_blocks
from harness.measure.judge import judge_all, needs_more

DIFFERENT = {Call.FASTER, Call.SLOWER}
BASE_MIB_S = 100.0
ATTACHMENT_SHARE = 0.3
"""Of the noise's variance, what all cells of one attachment share."""


@dataclass(frozen=True)
class Truth:
    """What is true in a simulated experiment: the ratio of each arm to the others, and the noise around it."""

    name: str
    ratios: Mapping[str, float] = field(default_factory=dict)
    deviation: float = 0.02  # of a block's log ratio
    memory: float = 0.5  # AR(1) from run to run
    drift: float = -0.1  # over 20 blocks, in all arms
    heat: float = -0.05
    outliers: float = 0.02  # share of runs


TRUTHS = (
    Truth("A/A, plain noise", memory=0.0, drift=0.0, heat=0.0, outliers=0.0),
    Truth("A/A, drift, heat, memory, outliers"),
    Truth("A/A, the same, 10 % deviation", deviation=0.10),
    Truth("A/A, memory 0.8", memory=0.8),
    Truth("pci 5 % faster, plain noise", {PCI: 1.05}, memory=0.0, drift=0.0, heat=0.0, outliers=0.0),
    Truth("pci 5 % faster, drift, heat, memory, outliers", {PCI: 1.05}),
)


def simulate(truth: Truth, profile: Profile, seed: int) -> tuple[tuple[Series, ...], int]:
    """Return the series of one experiment, extended as its rule wants, and how many blocks it took."""
    most = max(profile.most_blocks, profile.blocks)
    measured = make_series(truth, profile, plan_blocks(profile.arms, most, seed), seed)
    blocks = profile.blocks
    while needs_more(shortened(measured, blocks), profile):
        blocks += 2
    return shortened(measured, blocks), blocks


def shortened(series: tuple[Series, ...], blocks: int) -> tuple[Series, ...]:
    """Return what was known after so many blocks."""
    return tuple(Series(one.cell, one.arm, one.samples[:blocks]) for one in series)


def make_series(truth: Truth, profile: Profile, plan: tuple[tuple[str, ...], ...], seed: int) -> tuple[Series, ...]:
    """Return what all blocks would give."""
    source = np.random.default_rng(seed)
    rates: dict[tuple[str, str], list[float]] = {}
    runs = len(plan) * len(profile.arms) * len(profile.cells)
    own = truth.deviation / math.sqrt(2)
    noise = np.array(memory_noise(source, runs, truth.memory)) * own * math.sqrt(1 - ATTACHMENT_SHARE)
    lost = (source.random(runs) < truth.outliers) * source.uniform(0.05, 0.15, runs)
    number = 0
    for order in plan:
        for arm in order:
            attached = source.normal(0, own * math.sqrt(ATTACHMENT_SHARE))
            for cell in profile.cells:
                common = truth.drift * number / runs + truth.heat * (1 - math.exp(-8 * number / runs))
                log = common + attached + noise[number] - lost[number]
                rates.setdefault((cell.name, arm), []).append(BASE_MIB_S * truth.ratios.get(arm, 1.0) * math.exp(log))
                number += 1
    return tuple(
        Series(cell, arm, tuple(Sample(block, 0, rate, 1.0) for block, rate in enumerate(each)))
        for (cell, arm), each in rates.items()
    )


def memory_noise(source: np.random.Generator, count: int, memory: float) -> list[float]:
    """Return noise of variance 1 in which each value keeps so much of the one before it."""
    fresh = source.normal(0, 1, count)
    kept = [float(fresh[0])]
    for each in fresh[1:]:
        kept.append(memory * kept[-1] + math.sqrt(1 - memory**2) * float(each))
    return kept


@dataclass(frozen=True)
class Rates:
    """What became of many experiments, as shares of them; ``blocks`` is the mean."""

    name: str
    any_false: float  # an arm called faster or slower although the truth says otherwise
    primary: Mapping[str, float]
    held: float  # the primary 95 % interval holds the truth
    blocks: float


def find_rates(truth: Truth, profile: Profile, seeds: range) -> Rates:
    """Judge so many experiments of one truth."""
    false = held = blocks = 0
    calls: Counter[str] = Counter()
    for seed in seeds:
        series, took = simulate(truth, profile, seed)
        judgements = judge_all(series, profile)
        primary = next(each for each in judgements if each.primary)
        false += any(is_false(each, truth) for each in judgements)
        held += (primary.low or 0) <= truth_of(primary, truth) <= (primary.high or 0)
        calls[primary.call.value] += 1
        blocks += took
    count = len(seeds)
    shares = {name: number / count for name, number in calls.most_common()}
    return Rates(truth.name, false / count, shares, held / count, blocks / count)


def truth_of(judgement: Judgement, truth: Truth) -> float:
    """Return the true ratio that a judgement speaks of."""
    return truth.ratios.get(judgement.arm, 1.0) / truth.ratios.get(judgement.base, 1.0)


def is_false(judgement: Judgement, truth: Truth) -> bool:
    """Return whether an arm is called faster that is not, or slower."""
    ratio = truth_of(judgement, truth)
    return (judgement.call is Call.FASTER and ratio <= 1) or (judgement.call is Call.SLOWER and ratio >= 1)


def report(rates: Rates) -> Iterator[str]:
    """Yield the lines of a table's row in Markdown."""
    calls = ", ".join(f"{name} {share:.1%}" for name, share in rates.primary.items())
    yield f"| {rates.name} | {rates.any_false:.1%} | {calls} | {rates.held:.1%} | {rates.blocks:.1f} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    print("| truth | any false faster or slower | primary comparison | interval holds the truth | blocks |")
    print("|---|---|---|---|---|")
    for truth in TRUTHS:
        seeds = range(asked.seed, asked.seed + asked.experiments)
        print(*report(find_rates(truth, PROFILES["standard"], seeds)), sep="\n", flush=True)


if __name__ == "__main__":
    main()
