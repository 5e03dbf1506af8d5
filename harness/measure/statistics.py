"""From two series to a ratio with an interval: pairs of a block, logarithms, Student's t."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from harness.core.errors import BenchError
from harness.core.series import Series

CONFIDENCE = 0.95
METHOD = "paired t on the blocks' log ratios, never narrower than half a read of each arm"
"""The one method of verdicts. On 6 to 8 blocks BCa intervals are too narrow, and Wilcoxon's smallest p cannot survive Holm."""
LEAST_PAIRS = 2
_LARGEST_LOG = 700.0


TREND_CONFIDENCE = 0.99
UNSTEADY = 0.25
"""A run that found no steady state is left out; an arm with a larger share of them is compared with nothing."""


@dataclass(frozen=True)
class Interval:
    """The geometric mean of the blocks' ratios, and between which ratios the truth lies at ``CONFIDENCE``."""

    ratio: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Return half of its width, relative to the ratio: 0.02 is +-2 %."""
        return math.sqrt(self.high / self.low) - 1 if self.low else math.inf

    def at_least(self, resolution: float) -> Interval:
        """Return the same interval, on either side no nearer to the ratio than what the counts tell (``resolution_of``)."""
        factor = 1 + resolution
        return Interval(self.ratio, min(self.low, self.ratio / factor), max(self.high, min(self.ratio * factor, _exp(math.inf))))


def log_ratios(arm: Series, base: Series) -> tuple[float, ...]:
    """Return log(rate of arm / rate of base) of each block that both measured, in the order of the blocks.

    A block's drift, heat and cache cancel out in its ratio. Raises BenchError for a rate that has no logarithm (0, negative, not
    a number) and for a block measured twice in one series.
    """
    rates, base_rates = _rates(arm), _rates(base)
    return tuple(math.log(rates[block] / base_rates[block]) for block in sorted(rates.keys() & base_rates.keys()))


def steady_part(series: Series) -> Series:
    """Return the series without the runs that found no steady state; BenchError if those are too many: then it has no rate."""
    kept = tuple(sample for sample in series.samples if sample.steady is not False)
    missing = len(series.samples) - len(kept)
    if missing > UNSTEADY * len(series.samples):
        raise BenchError(f"{series.arm} found no steady state in {missing} of {len(series.samples)} runs, {series.cell}")
    return msgspec.structs.replace(series, samples=kept) if missing else series


def _rates(series: Series) -> dict[int, float]:
    rates: dict[int, float] = {}
    for sample in series.samples:
        where = f"block {sample.block} of {series.arm} in {series.cell}"
        if not (math.isfinite(sample.rate_mib_s) and sample.rate_mib_s > 0):
            raise BenchError(f"{where} has a rate of {sample.rate_mib_s} MiB/s, which no ratio can be made of")
        if sample.block in rates:
            raise BenchError(f"{where} was measured twice")
        rates[sample.block] = sample.rate_mib_s
    return rates


def load_statistics() -> None:
    """Load the library behind these figures: a second or two that a caller may have left while it waits for something else."""
    import scipy.stats  # noqa: F401, PLC0415 (for its effect, and not when somebody only collects)


def resolution_of(*series: Series) -> float:
    """Return within which part a ratio of these is known by the counts alone.

    The looks at a run count whole reads. On a slow disk whose runs all begin alike that is the same error in every block, which
    no number of them would show.
    """
    return math.hypot(*(statistics.fmean(sample.resolution for sample in one.samples) for one in series if one.samples))


def ratio_interval(logs: Sequence[float]) -> Interval:
    """Return the interval of the ratio from at least ``LEAST_PAIRS`` log ratios; fewer are a ValueError.

    It is that of scipy.stats.t.interval: around the mean, scaled by the standard error (n - 1 degrees of freedom).
    """
    if len(logs) < LEAST_PAIRS:
        raise ValueError(f"an interval needs {LEAST_PAIRS} pairs, not {len(logs)}")
    from scipy.special import stdtrit  # noqa: PLC0415 (half a second, scipy.stats more than one: not needed to collect)

    mean, error = statistics.fmean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
    reach = error * float(stdtrit(len(logs) - 1, (1 + CONFIDENCE) / 2))
    return Interval(math.exp(mean), _exp(mean - reach), _exp(mean + reach))


def difference_p(logs: Sequence[float]) -> float:
    """Return the two-sided p of a true ratio of 1 from at least ``LEAST_PAIRS`` log ratios, by the same t as the interval.

    It is that of scipy.stats.ttest_1samp.
    """
    from scipy.special import stdtr  # noqa: PLC0415 (as in ratio_interval)

    mean, error = statistics.fmean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
    if not error:
        return 0.0 if mean else 1.0
    return 2 * float(stdtr(len(logs) - 1, -abs(mean / error)))


def holm(values: Sequence[float]) -> tuple[float, ...]:
    """Return the p values of a family, each adjusted after Holm (1979), in the order given.

    scipy adjusts for the rate of false discoveries only (Benjamini and Hochberg, Yekutieli); statsmodels has Holm, and would
    bring pandas with it for these lines.
    """
    adjusted, largest = [1.0] * len(values), 0.0
    for rank, at in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, values[at] * (len(values) - rank)))
        adjusted[at] = largest
    return tuple(adjusted)


def total_trend(logs: Sequence[float]) -> Interval:
    """Return by which factor the ratio changed from the first block to the last: Theil and Sen's slope at TREND_CONFIDENCE."""
    from scipy.stats import theilslopes  # noqa: PLC0415 (as in ratio_interval)

    found, steps = theilslopes(logs, alpha=TREND_CONFIDENCE), len(logs) - 1
    return Interval(*(_exp(float(slope) * steps) for slope in (found.slope, found.low_slope, found.high_slope)))


def _exp(log: float) -> float:
    """Return e**log; two blocks that differ wildly have an upper end beyond any float, and a record has no infinity."""
    return math.exp(min(log, _LARGEST_LOG))
