"""From series to judgements: what may be compared, what the interval says, and a sentence that says no more than that.

An experiment calls an arm faster or slower where there is no difference in at most 5 % of all cases, all its comparisons taken
together: half of that belongs to the primary one, half to the others, shared out after Holm. The interval that is shown is the
plain one of 95 %. Equivalence is no matter of that share: it is claimed where the whole interval lies within +-3 %.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import msgspec

from harness.core.errors import BenchError
from harness.core.judgement import Call, Judgement
from harness.core.series import Series
from harness.measure.design import NATIVE, PCI, PRIMARY_CELL, USB_HOST, Comparison, Profile
from harness.measure.sentence import Subject, arm_name, judgement_sentence
from harness.measure.statistics import (
    CONFIDENCE,
    LEAST_PAIRS,
    METHOD,
    Interval,
    difference_p,
    holm,
    log_ratios,
    ratio_interval,
    resolution_of,
    steady_part,
    total_trend,
)

EQUIVALENCE = 1.03
"""Arms are equivalent if the interval lies within this factor, either way: swapping the arms does not change the call."""
LEVEL = 0.025
"""The share of experiments without any difference in which the primary comparison may be called, and again all the others."""
PRECISION = 0.02
"""An experiment is extended while the primary interval's half-width is above this, which asks nothing of where it lies."""
UNFIT_HALF_WIDTH = 0.25
"""Beyond it the blocks do not say how much, and which way only if every one says the same."""
CLOCK_GAP = 0.02
"""A system whose clock differs more from the runner's is told: its fio counts other seconds."""
LEAST_FOR_TREND = 6
"""Fewer blocks show no trend at 99 %: of all orders of five, 1 in 60 rises or falls throughout."""
DECISIVE_CONFOUNDERS = ("driver", "speed")
"""Arms that differ in one of these are not compared: BOT against UAS, or 480M against 5000M, says nothing of the passthrough."""


@dataclass(frozen=True)
class _Pair:
    """Two series that may be compared, and the log ratio of each block that both have (at least one)."""

    cell: str
    arm: Series
    base: Series
    logs: tuple[float, ...]
    resolution: float

    @property
    def interval(self) -> Interval:
        """Return the ratio with its interval; at least ``LEAST_PAIRS`` blocks have one."""
        return ratio_interval(self.logs).at_least(self.resolution)

    @property
    def subject(self) -> Subject:
        """Return what a sentence says of the pair."""
        measured = {sample.block for series in (self.arm, self.base) for sample in series.samples}
        return Subject(self.cell, self.arm.arm, self.base.arm, len(self.logs), len(measured))


@dataclass(frozen=True)
class _Compared:
    """A comparison with what the figures say of it; ``p`` is not yet adjusted."""

    pair: _Pair
    comparison: Comparison
    interval: Interval
    p: float
    primary: bool

    @property
    def key(self) -> tuple[str, str, str]:
        """Return which comparison of the experiment it is."""
        return self.pair.cell, self.comparison.arm, self.comparison.base


def judge_all(series: Sequence[Series], profile: Profile, *, unlike: Collection[str] = ()) -> tuple[Judgement, ...]:
    """Judge every comparison of the profile, cell by cell. The first in ``PRIMARY_CELL`` is primary, and alone decides.

    ``unlike`` names what may differ between arms that are compared nevertheless: ``driver``, ``speed``. Equivalent arms that
    both equal the host's own are "device-limited". What cannot be compared raises nothing: it is "not judged", and says why.
    """
    wanted = [(cell.name, each) for cell in profile.cells for each in profile.comparisons]
    decisive = [key for key in DECISIVE_CONFOUNDERS if key not in unlike]
    prepared = [_compare(series, cell, each, decisive, primary=_is_primary(cell, each, profile)) for cell, each in wanted]
    compared = [one for one in prepared if isinstance(one, _Compared)]
    floors, twins = _floors(compared), any(each.twins for each in profile.comparisons)
    adjusted = _adjusted(compared)
    return tuple(
        one
        if isinstance(one, Judgement)
        else _judge(series, one, adjusted[one.key], floors.get(one.pair.cell), verdict=profile.verdict, twins=twins)
        for one in prepared
    )


def judge_arms(series: Sequence[Series], cell: str, arm: str, base: str, *, verdict: bool, native: str = NATIVE) -> Judgement:
    """Judge ``arm`` against ``base`` in ``cell`` (names of series) alone, as if nothing else had been compared."""
    comparison = Comparison(arm, base, "" if native in {arm, base} else native)
    primary = (cell, arm, base) == (PRIMARY_CELL.name, PCI, USB_HOST)
    one = _compare(series, cell, comparison, DECISIVE_CONFOUNDERS, primary=primary)
    return one if isinstance(one, Judgement) else _judge(series, one, one.p, None, verdict=verdict)


def needs_more(series: Sequence[Series], profile: Profile) -> bool:
    """Return whether the experiment is extended by two blocks: its rule, fixed before it begins.

    It looks at the width of the primary interval alone, never at the ratio: whoever stops when the answer pleases finds too much.
    """
    blocks = len({sample.block for one in series for sample in one.samples})
    if not profile.comparisons or blocks + 2 > profile.most_blocks:
        return False
    first = _compare(series, PRIMARY_CELL.name, profile.comparisons[0], (), primary=True)
    return isinstance(first, _Compared) and ratio_interval(first.pair.logs).half_width > PRECISION  # more blocks count no finer


def _is_primary(cell: str, comparison: Comparison, profile: Profile) -> bool:
    return cell == PRIMARY_CELL.name and comparison == profile.comparisons[0] and not comparison.twins


def _compare(
    series: Sequence[Series], cell: str, comparison: Comparison, decisive: Sequence[str], *, primary: bool
) -> _Compared | Judgement:
    """Return the figures of a comparison, or a judgement that says why there are none."""
    arm, base = comparison.arm, comparison.base
    blank = Judgement(cell, arm, base, 0, None, None, None, CONFIDENCE, METHOD, Call.NOT_JUDGED, "", primary=primary)
    try:
        pair = _pair(series, cell, arm, base, decisive)
    except BenchError as error:
        return msgspec.structs.replace(blank, sentence=f"not judged: {error.message}")
    if len(pair.logs) < LEAST_PAIRS:
        return _judge_single(pair, blank)
    return _Compared(pair, comparison, pair.interval, difference_p(pair.logs), primary)


def _adjusted(compared: Sequence[_Compared]) -> dict[tuple[str, str, str], float]:
    """Return the p values, those of the family that is not primary adjusted; twins are no question, and in no family."""
    family = [one for one in compared if not (one.primary or one.comparison.twins)]
    plain = {one.key: one.p for one in compared}
    return plain | dict(zip((one.key for one in family), holm([one.p for one in family]), strict=True))


def _floors(compared: Sequence[_Compared]) -> dict[str, float]:
    """Return by which factor the twins of each cell came out different from each other, the largest of several."""
    floors: dict[str, float] = {}
    for one in compared:
        if one.comparison.twins:
            ratio = one.interval.ratio
            floors[one.pair.cell] = max(ratio, 1 / ratio, floors.get(one.pair.cell, 1.0))
    return floors


def _judge(
    series: Sequence[Series], one: _Compared, p: float, floor: float | None, *, verdict: bool, twins: bool = False
) -> Judgement:
    """Return the judgement of a comparison; where ``twins`` should have shown the noise floor and did not, that is said."""
    pair, interval = one.pair, one.interval
    call, caveat = _decide(series, one, p, floor or 1.0) if verdict else (Call.NOT_JUDGED, "")
    if twins and floor is None and call in {Call.FASTER, Call.SLOWER}:
        caveat += "; the noise floor is not known, since no arm was measured twice here"
    sentence = judgement_sentence(pair.subject, interval, call, one.comparison.native or NATIVE) + _differences(pair) + caveat
    return Judgement(
        pair.cell,
        pair.arm.arm,
        pair.base.arm,
        len(pair.logs),
        interval.ratio,
        interval.low,
        interval.high,
        CONFIDENCE,
        METHOD,
        call,
        sentence,
        one.primary,
        p,
        LEVEL,
        floor,
    )


def _pair(series: Sequence[Series], cell: str, arm: str, base: str, decisive: Sequence[str] = DECISIVE_CONFOUNDERS) -> _Pair:
    """Return the two series with their log ratios; what forbids to compare them is a BenchError."""
    ours, theirs = _find(series, cell, arm), _find(series, cell, base)
    for key in decisive:
        values = ours.confounders.get(key), theirs.confounders.get(key)
        if None not in values and values[0] != values[1]:
            raise BenchError(f"the {key} differs, {values[0]} in {arm_name(arm)} and {values[1]} in {arm_name(base)}, {cell}")
    kept = steady_part(ours), steady_part(theirs)
    logs = log_ratios(*kept)
    if not logs:
        raise BenchError(f"{arm_name(arm)} and {arm_name(base)} have no block in common, {cell}")
    return _Pair(cell, ours, theirs, logs, resolution_of(*kept))


def _find(series: Sequence[Series], cell: str, arm: str) -> Series:
    found = [one for one in series if (one.cell, one.arm) == (cell, arm)]
    if not found:
        raise BenchError(f"{arm_name(arm)} was not measured, {cell}")
    if len(found) > 1:
        raise BenchError(f"{arm_name(arm)} has {len(found)} series where there must be one, {cell}")
    return found[0]


def _decide(series: Sequence[Series], one: _Compared, p: float, floor: float) -> tuple[Call, str]:
    """Return the call, and what must be added to its sentence."""
    why, call = _find_unfit(one), _call(one.interval)
    if why and not _is_clear(one, call):
        return Call.UNFIT_BENCH, f"; {why}"
    if one.comparison.twins:
        return (call if call is Call.EQUIVALENT else Call.INCONCLUSIVE), "; this is the same way twice: the bench's noise floor"
    if call in {Call.FASTER, Call.SLOWER}:
        weighed, caveat = _weigh(one.interval, call, p, floor)
        return weighed, caveat + (f"; {why}" if why else "")
    if (
        call is not Call.EQUIVALENT
        or not one.comparison.native
        or one.comparison.native in {one.comparison.arm, one.comparison.base}
    ):
        return call, ""
    limited = _is_limited(series, one.pair, one.comparison.native)
    if limited is None:
        return call, f"; {arm_name(one.comparison.native)} was not shown to be faster: the disk may be the limit"
    return (Call.DEVICE_LIMITED if limited else call), ""


def _is_clear(one: _Compared, call: Call) -> bool:
    """Return whether every single block says the same, beyond equivalence: then noise hides how much, and not which way."""
    side = {Call.FASTER: 1, Call.SLOWER: -1}.get(call, 0)
    return not one.comparison.twins and all(side * log > math.log(EQUIVALENCE) for log in one.pair.logs)


def _find_unfit(one: _Compared) -> str:
    """Return why the bench cannot answer; empty if it can."""
    width, logs = one.interval.half_width, one.pair.logs
    if width > UNFIT_HALF_WIDTH:
        return f"the blocks scatter too much: the interval is +-{width:.0%} wide, beyond +-{UNFIT_HALF_WIDTH:.0%} it is no figure"
    if one.comparison.twins and (one.interval.low > EQUIVALENCE or one.interval.high < 1 / EQUIVALENCE):
        return "the same way twice gave two rates"
    if len(logs) >= LEAST_FOR_TREND:
        trend = total_trend(logs)
        if not trend.low <= 1 <= trend.high and max(trend.ratio, 1 / trend.ratio) > EQUIVALENCE:
            return f"the ratio drifts: from the first block to the last it changed by {trend.ratio - 1:+.0%}"
    return ""


def _weigh(interval: Interval, call: Call, p: float, floor: float) -> tuple[Call, str]:
    """Return the call if it stands beside the other comparisons and above the noise floor."""
    if p > LEVEL:
        return Call.INCONCLUSIVE, f"; p is {p:.2g} among all comparisons, and a call needs {LEVEL}"
    if interval.low <= floor and interval.high >= 1 / floor:
        return Call.INCONCLUSIVE, f"; one arm, measured twice, differed from itself by {floor - 1:.1%}"
    return call, ""


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
        pairs = [_pair(series, pair.cell, arm, native) for arm in (pair.arm.arm, pair.base.arm)]
    except BenchError:
        return None
    if min(len(each.logs) for each in pairs) < LEAST_PAIRS:
        return None
    calls = {_call(each.interval) for each in pairs}
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
    words = [f"; {key} differs ({ours[key]}, {theirs[key]})" for key in keys]
    words += [
        f"; the clock of {arm_name(series.arm)} ran {series.clock - 1:+.1%} against ours, and its rates with it"
        for series in (pair.arm, pair.base)
        if series.clock is not None and abs(series.clock - 1) > CLOCK_GAP
    ]
    return "".join(words)
