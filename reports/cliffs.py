"""What weakens a figure: runs that were not steady, that stalled, or that fell off a cliff. One plain sentence each."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from harness.core.series import Sample, Series
from reports.spelling import spell_count, spell_rate

_LARGEST_MIB_S = 1e15


@dataclass(frozen=True)
class Cliff:
    """From which second on a run was slower for good, and its median rate before and from there, stalls apart."""

    at_s: int
    burst_mib_s: float
    sustained_mib_s: float

    @property
    def words(self) -> str:
        """Return ``burst 402, sustained 121 MiB/s``."""
        return f"burst {spell_rate(self.burst_mib_s)}, sustained {spell_rate(self.sustained_mib_s)} MiB/s"


def find_cliff(sample: Sample) -> Cliff | None:
    """Return the cliff that a sample names; None without one, or where its seconds do not hold it."""
    at_s, seconds = sample.cliff_at, sample.seconds_mib_s
    if at_s is None or not 0 < at_s < len(seconds) or not all(0 <= rate < _LARGEST_MIB_S for rate in seconds):
        return None
    stalls = set(sample.stalls)
    flowing = [(second, rate) for second, rate in enumerate(seconds) if second not in stalls]
    burst = [rate for second, rate in flowing if second < at_s]
    sustained = [rate for second, rate in flowing if second >= at_s]
    if not (burst and sustained and statistics.median(sustained) < statistics.median(burst)):
        return None
    return Cliff(at_s, statistics.median(burst), statistics.median(sustained))


def known_stalls(sample: Sample) -> list[int]:
    """Return the seconds of the run that a sample names as stalls."""
    return sorted(second for second in set(sample.stalls) if 0 <= second < len(sample.seconds_mib_s))


def typical_cliff(samples: Sequence[Sample]) -> Cliff | None:
    """Return the medians of the cliffs that these samples have, or None if they have none."""
    cliffs = [cliff for sample in samples if (cliff := find_cliff(sample)) is not None]
    if not cliffs:
        return None
    return Cliff(
        statistics.median_low(cliff.at_s for cliff in cliffs),
        statistics.median(cliff.burst_mib_s for cliff in cliffs),
        statistics.median(cliff.sustained_mib_s for cliff in cliffs),
    )


def find_caveats(series: Sequence[Series], void_arms: Sequence[str] = ()) -> tuple[str, ...]:
    """Return a sentence for each thing that weakens the figures of these series, the weightiest first."""
    void = [f"The data that {one.arm} read were wrong: its figures do not count." for one in series if one.way in void_arms]
    return tuple(dict.fromkeys([*void, *_unsteady(series), *_cliffs(series), *_stalls(series)]))


def note_run(sample: Sample) -> str:
    """Return what is to be said of one run beside its rate; empty if nothing is."""
    words = ["not steady"] if sample.steady is False else []
    if cliff := find_cliff(sample):
        words.append(f"cliff at {cliff.at_s} s: {cliff.words}")
    if stalls := known_stalls(sample):
        words.append("stall at " + ", ".join(f"{second} s" for second in stalls))
    return "; ".join(words)


def _unsteady(series: Sequence[Series]) -> list[str]:
    """Return for each series how many of its runs fio itself did not find steady."""
    return [
        f"{one.arm} was not steady in {_share(count, one)}: fio's own criterion was not met, and no ratio counts them."
        for one in series
        if (count := sum(sample.steady is False for sample in one.samples))
    ]


def _cliffs(series: Sequence[Series]) -> list[str]:
    """Return for each series in how many runs it became slower for good, and from what to what."""
    sentences = []
    for one in series:
        count = sum(find_cliff(sample) is not None for sample in one.samples)
        if cliff := typical_cliff(one.samples):
            where = f"after {spell_count(cliff.at_s, 'second')}"
            sentences.append(f"{one.arm} became slower for good in {_share(count, one)}, {where}: {cliff.words}.")
    return sentences


def _stalls(series: Sequence[Series]) -> list[str]:
    """Return for each series in how many runs and seconds hardly anything came."""
    sentences = []
    for one in series:
        stalled = [len(known) for sample in one.samples if (known := known_stalls(sample))]
        if stalled:
            seconds = spell_count(sum(stalled), "second")
            sentences.append(f"{one.arm} stalled in {_share(len(stalled), one)}: for {seconds} hardly anything came.")
    return sentences


def _share(count: int, series: Series) -> str:
    """Return ``3 of 8 blocks``."""
    return f"{count} of {spell_count(len(series.samples), 'block')}"
