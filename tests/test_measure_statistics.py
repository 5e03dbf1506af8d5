"""Tests of log ratios and of the interval, by hand-computed values and by simulation."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from harness.core.errors import BenchError
from harness.core.series import Sample, Series
from harness.measure.statistics import difference_p, holm, log_ratios, ratio_interval, total_trend

CELL = "SEQ1M Q8T1 read"
RATES = st.floats(1e-3, 1e6)


def series(arm: str, rates: Sequence[float], blocks: Sequence[int] | None = None) -> Series:
    """Return a series of those rates in blocks 0, 1, ... or in the given ones."""
    numbers = range(len(rates)) if blocks is None else blocks
    return Series(CELL, arm, tuple(Sample(block, 0, rate, 2.0) for block, rate in zip(numbers, rates, strict=True)))


def test_log_ratios_pair_by_block() -> None:
    """Samples are paired by the number of their block, whatever their order; a block that one arm lacks is left out."""
    logs = log_ratios(series("pci", [20, 30, 99], [1, 0, 7]), series("usb-host", [10, 10, 1], [0, 1, 2]))
    assert logs == pytest.approx((math.log(3), math.log(2)))


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_log_ratios_refuse_a_rate_without_logarithm(rate: float) -> None:
    """A rate of 0, below 0 or not a number is refused with its block, arm and cell."""
    with pytest.raises(BenchError, match=r"block 1 of pci in SEQ1M Q8T1 read has a rate of"):
        log_ratios(series("pci", [1.0, rate]), series("usb-host", [1.0, 1.0]))


def test_log_ratios_refuse_a_block_measured_twice() -> None:
    """Two samples of one block in one series cannot be paired."""
    with pytest.raises(BenchError, match=r"block 4 of pci .* was measured twice"):
        log_ratios(series("pci", [1, 2], [4, 4]), series("usb-host", [1], [4]))


def test_interval_is_students() -> None:
    """The interval of logs -0.1, 0 and 0.1 is 0 +- t(0.975, 2) * 0.1 / sqrt(3), with t = 4.30265 from a table."""
    interval = ratio_interval([-0.1, 0.0, 0.1])
    half = 4.30265 * 0.1 / math.sqrt(3)
    assert interval.ratio == pytest.approx(1.0)
    assert (interval.low, interval.high) == pytest.approx((math.exp(-half), math.exp(half)), rel=1e-5)


def test_interval_of_equal_ratios_is_a_point() -> None:
    """Without any spread the interval is the ratio itself, never nan."""
    interval = ratio_interval([math.log(2)] * 4)
    assert (interval.low, interval.high) == (interval.ratio, interval.ratio)
    assert interval.ratio == pytest.approx(2)


@pytest.mark.parametrize("count", [0, 1])
def test_interval_needs_two_pairs(count: int) -> None:
    """Fewer than two pairs have no interval."""
    with pytest.raises(ValueError, match="needs 2 pairs"):
        ratio_interval([0.1] * count)


@given(st.lists(st.tuples(RATES, RATES), min_size=2, max_size=20))
def test_interval_is_finite_and_holds_the_ratio(pairs: list[tuple[float, float]]) -> None:
    """Any positive rates give a finite interval round the ratio."""
    interval = ratio_interval(log_ratios(series("pci", [a for a, _ in pairs]), series("usb-host", [b for _, b in pairs])))
    assert 0 <= interval.low <= interval.ratio <= interval.high < math.inf


def test_interval_beyond_any_float_is_finite() -> None:
    """An upper end too large for a float is cut, because a record cannot hold infinity."""
    interval = ratio_interval([-300.0, 300.0])
    assert (interval.ratio, interval.low) == (1.0, 0.0)
    assert 1e300 < interval.high < math.inf


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=20))
def test_interval_turns_over_with_the_arms(logs: list[float]) -> None:
    """Exchanging arm and base gives the reciprocal ratio and interval."""
    there, back = ratio_interval(logs), ratio_interval([-log for log in logs])
    assert back.ratio == pytest.approx(1 / there.ratio)
    assert (back.low, back.high) == pytest.approx((1 / there.high, 1 / there.low))


LOGS = st.lists(st.floats(-1, 1), min_size=3, max_size=20).filter(lambda logs: len({round(log, 6) for log in logs}) > 1)


@given(LOGS)
def test_p_is_that_of_scipy(logs: list[float]) -> None:
    """The p of a difference is that of scipy's one-sample t test."""
    assert difference_p(logs) == pytest.approx(ttest_1samp(logs, 0).pvalue, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(("log", "p"), [(0.0, 1.0), (0.1, 0.0)])
def test_p_of_equal_ratios_is_certain(log: float, p: float) -> None:
    """Without any spread a ratio of 1 is certain, and so is any other."""
    assert difference_p([log] * 4) == p


def test_holm_adjusts_as_statsmodels_does() -> None:
    """Adjusted values keep their order and never exceed 1: those of statsmodels 0.14, multipletests(method="holm")."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.4, 0.9]) == pytest.approx((0.8, 0.9))
    assert holm([]) == ()


def test_trend_is_from_the_first_block_to_the_last() -> None:
    """A ratio that grows by 1 % a block has grown by 7 of them after eight, and its interval leaves 1 out."""
    trend = total_trend([0.01 * block for block in range(8)])
    assert trend.ratio == pytest.approx(math.exp(0.07))
    assert trend.low > 1


def test_trend_of_noise_holds_one() -> None:
    """A ratio that only goes up and down has no trend."""
    trend = total_trend([0.01, -0.01] * 4)
    assert trend.low < 1 < trend.high


def test_package_imports_without_scipy() -> None:
    """Importing the package leaves scipy alone: a session that only collects tests stays fast."""
    program = "import sys, harness.measure.judge, harness.measure.fio; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
