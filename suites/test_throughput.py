"""Stage 6: how fast each way is. Performance holds no limits: it gives series, and a comparison with its interval."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fixtures.outcomes import require
from fixtures.run import BenchRun
from fixtures.storage import NoStick, Stick
from harness.core.errors import BlockedError
from harness.core.judgement import Call, Judgement

_UNDECIDED = {Call.INCONCLUSIVE, Call.NOT_JUDGED, Call.UNFIT_BENCH}


def test_arms_measured(run: BenchRun, found_stick: Stick | NoStick, request: pytest.FixtureRequest) -> None:
    """Every way to the stick was measured in every block: on the host, through PCI passthrough, through USB passthrough."""
    if isinstance(found_stick, NoStick):
        remedy = "put one stick on the controller before the run, or name one of several by storage.serial in the bench file"
        run.condition(f"throughput was not measured: {found_stick.reason}", remedy)
        return
    measured = request.getfixturevalue("measured")
    for series in measured:
        rates = " ".join(f"{rate:.0f}" for rate in series.rates_mib_s)
        run.note(f"{series.cell}, {series.arm}", f"{rates} MiB/s; {series.confounders}")

    counts = {series.arm: len(series.samples) for series in measured}
    require(len(set(counts.values())) == 1, f"not every arm has a value in every block: {counts}")


def test_comparison(run: BenchRun, found_stick: Stick | NoStick, request: pytest.FixtureRequest) -> None:
    """PCI passthrough against USB-level passthrough: the ratio is known with its interval."""
    if isinstance(found_stick, NoStick):
        pytest.skip(found_stick.reason)
    request.getfixturevalue("measured")
    judgement = primary_judgement(run)
    kinds = {series.kind for series in run.series if series.arm in {judgement.arm, judgement.base}}
    if void := kinds & set(run.void_arms):
        raise BlockedError(f"blocked by integrity (ways-agree): data by {' and '.join(sorted(void))} were wrong: no speed counts")
    run.note(f"{judgement.arm} against {judgement.base}", f"{judgement.sentence}\n{judgement.method}")
    if judgement.call in _UNDECIDED:
        run.condition(
            f"speed was not judged: {judgement.sentence}", "run the profile quick or standard; more blocks narrow the interval"
        )


def test_kernel_stays_calm(calm: Callable[[], None]) -> None:
    """While the ways are measured, neither kernel tells of a fault of the controller's."""
    calm()


def primary_judgement(run: BenchRun) -> Judgement:
    """Return the judgement in the primary cell."""
    found = [judgement for judgement in run.judgements if judgement.primary]
    if not found:
        raise BlockedError("there is nothing to compare: no block was measured in full")
    return found[0]
