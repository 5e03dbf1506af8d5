"""The whole family of an experiment, its extension and its A/A arm, on simulated noise: how often the judgement errs."""

from __future__ import annotations

import pytest

from benchmarks.error_rates import TRUTHS, Truth, find_rates
from harness.measure.design import PCI, PROFILES

SEEDS = range(1, 201)
"""So many keep the tests fast; `python -m benchmarks.error_rates` judges 1,000 of each, as docs/measuring.md tells."""


@pytest.mark.parametrize("truth", [truth for truth in TRUTHS if not truth.ratios], ids=lambda truth: truth.name)
def test_equal_arms_are_seldom_called_different(truth: Truth) -> None:
    """Of 200 experiments with equal arms at most 5 % call any arm faster or slower in any of their 24 comparisons."""
    rates = find_rates(truth, PROFILES["standard"], SEEDS)

    assert rates.any_false <= 0.05
    assert rates.held >= 0.91
    assert 8 <= rates.blocks <= 20


@pytest.mark.parametrize("truth", [truth for truth in TRUTHS if truth.ratios], ids=lambda truth: truth.name)
def test_small_effect_in_the_primary_cell_is_found(truth: Truth) -> None:
    """An arm that is 5 % faster is called so in at least 95 % of the experiments, noise floor and drift's alarm included."""
    rates = find_rates(truth, PROFILES["standard"], SEEDS)

    assert truth.ratios == {PCI: 1.05}
    assert rates.primary["faster"] >= 0.95
    assert rates.any_false <= 0.05
