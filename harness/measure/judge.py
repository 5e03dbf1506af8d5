"""From series to judgements: what may be compared, what the interval says, and a sentence that says no more than that.

What comes later has its place: the noise floor of an A/A arm narrows ``_call``; Holm's adjustment of the cells that are not
primary works on the tuple of ``judge_all``. Until then each of those cells has its own, unadjusted 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from harness.core.errors import BenchError
from harness.core.judgement import Call, Judgement
from harness.core.series import Series
from harness.measure.design import NATIVE, PCI, PRIMARY_CELL, USB_HOST, Profile
from harness.measure.sentence import Subject, arm_name, judgement_sentence
from harness.measure.statistics import CONFIDENCE, LEAST_PAIRS, METHOD, Interval, log_ratios, ratio_interval

EQUIVALENCE = 1.03
"""Arms are equivalent if the interval lies within this factor, either way: swapping the arms does not change the call."""
COMPARISONS = ((PCI, USB_HOST), (PCI, NATIVE), (USB_HOST, NATIVE))
"""Arm and base, the one that decides first."""
DECISIVE_CONFOUNDERS = ("driver", "speed")
"""Arms that differ in one of these are not compared: BOT against UAS, or 480M against 5000M, says nothing of the passthrough."""


@dataclass(frozen=True)
class _Pair:
    """Two series that may be compared, and the log ratio of each block that both have (at least one)."""

    cell: str
    arm: Series
    base: Series
    logs: tuple[float, ...]

    @property
    def subject(self) -> Subject:
        """Return what a sentence says of the pair."""
        measured = {sample.block for series in (self.arm, self.base) for sample in series.samples}
        return Subject(self.cell, self.arm.arm, self.base.arm, len(self.logs), len(measured))


def judge_all(series: Sequence[Series], profile: Profile) -> tuple[Judgement, ...]:
    """Judge every comparison whose arms the profile measures, cell by cell.

    The first is the primary one (pci against usb-host in ``PRIMARY_CELL``), which alone decides.
    """
    pairs = [pair for pair in COMPARISONS if set(pair) <= set(profile.arms)]
    return tuple(
        judge_arms(series, cell.name, arm, base, verdict=profile.verdict) for cell in profile.cells for arm, base in pairs
    )


def judge_arms(series: Sequence[Series], cell: str, arm: str, base: str, *, verdict: bool, native: str = NATIVE) -> Judgement:
    """Judge ``arm`` against ``base`` in ``cell`` (names of series) by the blocks that both measured.

    ``verdict`` false gives the ratio and its interval, but no call. Equivalent arms that both equal ``native`` too are
    "device-limited". What cannot be compared raises nothing: it is "not judged", and the sentence says why.
    """
    blank = _blank(cell, arm, base)
    try:
        pair = _pair(series, cell, arm, base)
    except BenchError as error:
        return msgspec.structs.replace(blank, sentence=f"not judged: {error.message}")
    if len(pair.logs) < LEAST_PAIRS:
        return _judge_single(pair, blank)
    interval = ratio_interval(pair.logs)
    call, caveat = _decide(series, pair, interval, native) if verdict else (Call.NOT_JUDGED, "")
    sentence = judgement_sentence(pair.subject, interval, call, native) + _differences(pair) + caveat
    return msgspec.structs.replace(
        blank,
        blocks=len(pair.logs),
        ratio=interval.ratio,
        low=interval.low,
        high=interval.high,
        call=call,
        sentence=sentence,
    )


def _blank(cell: str, arm: str, base: str) -> Judgement:
    """Return a judgement that says nothing yet."""
    primary = (cell, arm, base) == (PRIMARY_CELL.name, PCI, USB_HOST)
    return Judgement(cell, arm, base, 0, None, None, None, CONFIDENCE, METHOD, Call.NOT_JUDGED, "", primary=primary)


def _pair(series: Sequence[Series], cell: str, arm: str, base: str) -> _Pair:
    """Return the two series with their log ratios; what forbids to compare them is a BenchError."""
    ours, theirs = _find(series, cell, arm), _find(series, cell, base)
    for key in DECISIVE_CONFOUNDERS:
        values = ours.confounders.get(key), theirs.confounders.get(key)
        if None not in values and values[0] != values[1]:
            raise BenchError(f"the {key} differs, {values[0]} in {arm_name(arm)} and {values[1]} in {arm_name(base)}, {cell}")
    logs = log_ratios(ours, theirs)
    if not logs:
        raise BenchError(f"{arm_name(arm)} and {arm_name(base)} have no block in common, {cell}")
    return _Pair(cell, ours, theirs, logs)


def _find(series: Sequence[Series], cell: str, arm: str) -> Series:
    found = [one for one in series if (one.cell, one.arm) == (cell, arm)]
    if not found:
        raise BenchError(f"{arm_name(arm)} was not measured, {cell}")
    if len(found) > 1:
        raise BenchError(f"{arm_name(arm)} has {len(found)} series where there must be one, {cell}")
    return found[0]


def _decide(series: Sequence[Series], pair: _Pair, interval: Interval, native: str) -> tuple[Call, str]:
    """Return the call, and what must be added to its sentence."""
    call = _call(interval)
    if call is not Call.EQUIVALENT or native in (pair.arm.arm, pair.base.arm):
        return call, ""
    limited = _is_limited(series, pair, native)
    if limited is None:
        return call, f"; {arm_name(native)} was not shown to be faster: the disk may be the limit"
    return (Call.DEVICE_LIMITED if limited else call), ""


def _call(interval: Interval) -> Call:
    """Return what the interval alone says; equivalence comes first: 1.01 [1.005, 1.015] is real, but matters to nobody."""
    if interval.low >= 1 / EQUIVALENCE and interval.high <= EQUIVALENCE:
        return Call.EQUIVALENT
    if interval.low > 1:
        return Call.FASTER
    return Call.SLOWER if interval.high < 1 else Call.INCONCLUSIVE


def _is_limited(series: Sequence[Series], pair: _Pair, native: str) -> bool | None:
    """Return whether both arms are equivalent to ``native`` as well; None where that could not be found out."""
    try:
        logs = [_pair(series, pair.cell, arm, native).logs for arm in (pair.arm.arm, pair.base.arm)]
    except BenchError:
        return None
    if min(map(len, logs)) < LEAST_PAIRS:
        return None
    calls = {_call(ratio_interval(each)) for each in logs}
    return None if Call.INCONCLUSIVE in calls else calls == {Call.EQUIVALENT}


def _judge_single(pair: _Pair, judgement: Judgement) -> Judgement:
    """Return the judgement of one common block: a ratio whose error nobody knows."""
    ratio = math.exp(pair.logs[0])
    sentence = f"not judged: 1 block gives no interval, at least {LEAST_PAIRS} do, {pair.subject.cell}"
    return msgspec.structs.replace(judgement, blocks=1, ratio=ratio, sentence=sentence)


def _differences(pair: _Pair) -> str:
    """Return the other things that differ between the arms, so that no reader takes the ratio for the passthrough's alone."""
    ours, theirs = pair.arm.confounders, pair.base.confounders
    keys = [key for key in ours if key in theirs and ours[key] != theirs[key]]
    return "".join(f"; {key} differs ({ours[key]}, {theirs[key]})" for key in keys)
