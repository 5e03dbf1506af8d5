"""How much faster or slower one record is than another: each rate, and each ratio of two arms, with an interval.

Blocks of two runs are no pairs: nothing ties block 3 of one to block 3 of the other. So it is Welch's t on the logarithms,
which asks for neither pairs nor equal spread. What its interval knows is how blocks vary inside the two runs; what varies from
one run to the next (a guest that boots, a disk that is warm) it cannot know: that is what a history shows.
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec

from harness.core.comparison import Effect, Shift
from harness.core.errors import BenchError
from harness.core.record import Record
from harness.core.series import Series
from harness.measure.design import PAIRS, PROFILES
from harness.measure.judge import DECISIVE_CONFOUNDERS, EQUIVALENCE
from harness.measure.sentence import Subject, arm_name, ratio_text
from harness.measure.statistics import CONFIDENCE, LEAST_PAIRS, Interval, holm, log_ratios, resolution_of, steady_part

METHOD = (
    "Welch's t on the logarithms of the blocks' values, never narrower than half a read; "
    "Holm over all figures decides what is called"
)
STICK = "stick"
UNLIKE = (*DECISIVE_CONFOUNDERS, STICK)
"""What makes two figures not comparable where it differs, unless a person says otherwise."""

_LARGEST_LOG = 700.0


@dataclass(frozen=True)
class _Figure:
    """The same figure in two records: the logarithm of each block's value, and what speaks against a comparison."""

    cell: str
    arm: str
    base: str
    before: tuple[float, ...] = ()
    after: tuple[float, ...] = ()
    resolution: float = 0.0
    obstacle: str = ""
    caveats: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """Return what the figure is of, for a sentence."""
        return f"{arm_name(self.arm)} over {arm_name(self.base)}" if self.base else arm_name(self.arm)

    @property
    def scope(self) -> str:
        """Return what it rests on."""
        return f"{len(self.before)} and {len(self.after)} blocks, {self.cell}"

    @property
    def verb(self) -> str:
        """Return what the cell does."""
        return Subject(self.cell, self.arm, self.base, 0, 0).verb


@dataclass(frozen=True)
class _Test:
    """What Welch's t says of a figure: after / before with its interval, and the probability that nothing changed."""

    interval: Interval
    p: float


def find_effects(before: Record, after: Record, despite: Sequence[str] = ()) -> tuple[Effect, ...]:
    """Return every rate and every ratio that either record has, cell by cell; ``despite`` names what may differ (``UNLIKE``)."""
    figures = [_figure(before, after, key, despite) for key in _keys(before, after)]
    tests = [_test(figure) for figure in figures]
    judged = all(gives_verdict(record) for record in (before, after))
    adjusted = iter(holm([test.p for test in tests if test]) if judged else ())
    return tuple(
        _effect(figure, test, next(adjusted, None) if test else None) for figure, test in zip(figures, tests, strict=True)
    )


def gives_verdict(record: Record) -> bool:
    """Return whether the profile that a record was made with measures enough to judge by; one that we do not know may."""
    profile = PROFILES.get(record.run.profile)
    return profile is None or profile.verdict


def _keys(before: Record, after: Record) -> list[tuple[str, str, str]]:
    """Return cell, arm and base of every figure: in each cell the rates first, then the comparisons that somebody made."""
    records = before, after
    measured = dict.fromkeys((one.cell, one.arm, "") for record in records for one in record.series)
    judged = {(each.cell, each.arm, each.base) for record in records for each in record.judgements if each.base}
    cells = dict.fromkeys(cell for cell, _, _ in measured)
    known = [(cell, *pair) for cell in cells for pair in PAIRS]
    others = [key for key in sorted(judged - set(known)) if not any(_are_twins(record, *key) for record in records)]
    ratios = [key for key in (*known, *others) if {(key[0], arm, "") for arm in key[1:]} <= measured.keys()]
    return [key for cell in cells for key in (*measured, *ratios) if key[0] == cell]


def _are_twins(record: Record, cell: str, arm: str, base: str) -> bool:
    """Return whether the arms are the same way to the same stick: their ratio is noise, and asks nothing."""
    ours, theirs = ([one for one in record.series if (one.cell, one.arm) == (cell, name)] for name in (arm, base))
    return bool(ours and theirs and ours[0].kind) and (ours[0].kind, ours[0].stick) == (theirs[0].kind, theirs[0].stick)


def _figure(before: Record, after: Record, key: tuple[str, str, str], despite: Sequence[str]) -> _Figure:
    try:
        (ours, known), (theirs, now_known) = _logs(before, *key), _logs(after, *key)
    except BenchError as error:
        return _Figure(*key, obstacle=error.message)
    figure = _Figure(*key, ours, theirs, math.hypot(known, now_known))
    if not (ours and theirs):
        return figure
    unlike, caveats = _conditions(before, after, key)
    refused = [text for name, text in unlike if name not in despite] + list(_void(before, after, key))
    borne = [text for name, text in unlike if name in despite]
    return replace(figure, obstacle="; ".join(refused), caveats=(*borne, *caveats))


def _logs(record: Record, cell: str, arm: str, base: str) -> tuple[tuple[float, ...], float]:
    """Return the logarithm of each block's value, and their resolution; nothing where the record does not have it."""
    ours = _find(record, cell, arm)
    theirs = _find(record, cell, base) if base else None
    if ours is None or (base and theirs is None):
        return (), 0.0
    ours = steady_part(ours)
    theirs = steady_part(theirs) if theirs else _unit(ours)
    return finite_log_ratios(ours, theirs), resolution_of(ours, theirs)


def finite_log_ratios(arm: Series, base: Series) -> tuple[float, ...]:
    """Return ``log_ratios``; rates so far apart that their ratio is no float (in an edited record) are a BenchError."""
    try:
        logs = log_ratios(arm, base)
    except ValueError:
        logs = (math.inf,)
    if not all(map(math.isfinite, logs)):
        raise BenchError(f"the rates of {arm_name(arm.arm)} are beyond what any disk has, {arm.cell}")
    return logs


def _unit(series: Series) -> Series:
    """Return the same blocks at exactly 1 MiB/s each: the ratio to it is the rate, with all the checks of a ratio."""
    samples = tuple(msgspec.structs.replace(sample, rate_mib_s=1.0, resolution=0.0) for sample in series.samples)
    return msgspec.structs.replace(series, samples=samples)


def _find(record: Record, cell: str, arm: str) -> Series | None:
    found = [one for one in record.series if (one.cell, one.arm) == (cell, arm)]
    if len(found) > 1:
        raise BenchError(f"{arm_name(arm)} has {len(found)} series where there must be one, {cell}")
    return found[0] if found else None


def _conditions(before: Record, after: Record, key: tuple[str, str, str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Return what differs between the two measurements: by its name what decides, and in words the rest."""
    unlike, caveats = list(_sticks(before, after)), []
    cell, arm, base = key
    for name, text in [found for each in filter(None, (arm, base)) for found in _confounders(before, after, cell, each)]:
        if name in DECISIVE_CONFOUNDERS:
            unlike.append((name, text))
        else:
            caveats.append(text)
    if base:
        unlike += dict.fromkeys([*_unlike_arms(before, key), *_unlike_arms(after, key)])
    return unlike, caveats


def _void(before: Record, after: Record, key: tuple[str, str, str]) -> Iterator[str]:
    """Yield why an arm's figures do not count; nobody may allow that."""
    for word, record in (("before", before), ("now", after)):
        for arm in key[1:]:
            if (found := _find(record, key[0], arm)) and found.way in record.void_arms:
                yield f"the data of {arm_name(arm)} were wrong {word}, so that no figure of it counts"


def _sticks(before: Record, after: Record) -> Iterator[tuple[str, str]]:
    ours, theirs = before.environment.stick, after.environment.stick
    if ours and theirs and ours != theirs:
        yield STICK, f"the stick differs ({ours}; now {theirs})"


def _confounders(before: Record, after: Record, cell: str, arm: str) -> Iterator[tuple[str, str]]:
    """Yield what was not the same for one arm; what only one record tells is unknown, and no difference."""
    ours, theirs = _find(before, cell, arm), _find(after, cell, arm)
    if ours is None or theirs is None:
        return
    for name, value in ours.confounders.items():
        now = theirs.confounders.get(name, value)
        if now != value:
            yield name, f"the {name} of {arm_name(arm)} differs ({value}, now {now})"


def _unlike_arms(record: Record, key: tuple[str, str, str]) -> Iterator[tuple[str, str]]:
    """Yield what makes two arms of one record unlike: their ratio says nothing of the passthrough, before and now."""
    cell, arm, base = key
    ours, theirs = _find(record, cell, arm), _find(record, cell, base)
    for name in DECISIVE_CONFOUNDERS if ours and theirs else ():
        values = ours.confounders.get(name) if ours else None, theirs.confounders.get(name) if theirs else None
        if None not in values and values[0] != values[1]:
            yield name, f"the {name} differs between the arms ({values[0]}, {values[1]})"


def _test(figure: _Figure) -> _Test | None:
    """Return Welch's test of a figure; None where it must not or cannot be made."""
    if figure.obstacle or min(len(figure.before), len(figure.after)) < LEAST_PAIRS:
        return None
    from scipy.stats import ttest_ind  # noqa: PLC0415 (a second and more: only where something is compared)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # blocks without any spread: the result is no number, and seen below
        found = ttest_ind(figure.after, figure.before, equal_var=False)
        ends = found.confidence_interval(CONFIDENCE)
    low, high, p = float(ends.low), float(ends.high), float(found.pvalue)
    if not all(map(math.isfinite, (low, high, p))):
        return None
    middle = statistics.fmean(figure.after) - statistics.fmean(figure.before)
    return _Test(Interval(_exp(middle), _exp(low), _exp(high)).at_least(figure.resolution), p)


def _exp(log: float) -> float:
    """Return e**log, within what a float holds: a comparison has no infinity."""
    return math.exp(max(-_LARGEST_LOG, min(log, _LARGEST_LOG)))


def _effect(figure: _Figure, test: _Test | None, adjusted: float | None) -> Effect:
    """Return the figure as the comparison keeps it, with its call and a sentence that says no more than that."""
    before, after = _mean(figure.before), _mean(figure.after)
    shift, sentence = _unanswered(figure) if test is None else _answer(figure, test, adjusted)
    interval = test.interval if test else None
    return Effect(
        cell=figure.cell,
        arm=figure.arm,
        base=figure.base,
        before=before,
        after=after,
        blocks_before=len(figure.before),
        blocks_after=len(figure.after),
        ratio=interval.ratio if interval else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        shift=shift,
        sentence=sentence,
        p=test.p if test else None,
        adjusted_p=adjusted,
        caveats=figure.caveats,
    )


def _mean(logs: Sequence[float]) -> float | None:
    return _exp(statistics.fmean(logs)) if logs else None


def _unanswered(figure: _Figure) -> tuple[Shift, str]:
    """Return why there is no interval."""
    what = f"{figure.subject}, {figure.cell}"
    if figure.obstacle:
        return Shift.NOT_COMPARABLE, f"not comparable: {figure.obstacle}, {figure.cell}"
    if not (figure.before and figure.after):
        which = "before" if figure.before else "now" if figure.after else "with no block in common"
        return Shift.ONLY_ONE, f"measured only {which}: {what}"
    if min(len(figure.before), len(figure.after)) < LEAST_PAIRS:
        return Shift.NOT_JUDGED, f"not judged: 1 block has no spread, at least {LEAST_PAIRS} have, {figure.cell}"
    return Shift.NOT_JUDGED, f"not judged: the blocks do not differ at all, which gives no interval: {what}"


def _answer(figure: _Figure, test: _Test, adjusted: float | None) -> tuple[Shift, str]:
    """Return the call and its sentence; no adjusted probability means that nobody asked for a verdict."""
    interval = test.interval
    ratio, ends = ratio_text(interval)
    plain = f"{figure.subject} {figure.verb} {ratio}x as fast as before {ends}, {figure.scope}"
    if figure.base:
        plain = f"{figure.subject} is {ratio}x what it was {ends}, {figure.scope}"
    if adjusted is None:
        return Shift.NOT_JUDGED, f"not judged, a profile of the two gives no verdict: {plain}"
    if interval.low >= 1 / EQUIVALENCE and interval.high <= EQUIVALENCE:
        return Shift.EQUIVALENT, f"the same within 3 %: {plain}"
    up, down = (Shift.HIGHER, Shift.LOWER) if figure.base else (Shift.FASTER, Shift.SLOWER)
    alone = up if interval.low > 1 else down if interval.high < 1 else Shift.INCONCLUSIVE
    if alone is Shift.INCONCLUSIVE:
        return alone, f"inconclusive: {plain}"
    if adjusted >= 1 - CONFIDENCE:
        return (
            Shift.INCONCLUSIVE,
            f"inconclusive, {alone.value} by itself, but one of so many may be so by chance: {plain}",
        )
    return alone, plain
