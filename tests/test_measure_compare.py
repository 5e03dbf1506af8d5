"""Two records become one comparison: what may be compared, what every figure says, and how often it is wrong."""

from __future__ import annotations

import math
import random
import statistics

import msgspec
import pytest
from scipy.special import stdtr, stdtrit

from harness.core.comparison import Effect, Shift
from harness.core.errors import UsageError
from harness.core.record import Record
from harness.core.series import Sample, Series
from harness.measure.compare import compare_records, emulation_of
from harness.measure.effects import find_effects
from tests.comparing import RATES, drawn_series, measured_record, with_environment, with_run
from tests.records import CELL, empty_record, sample_record

NAMES = ("a.json", "b.json")


def with_series(record: Record, *series: Series) -> Record:
    """Return a record with other series."""
    return msgspec.structs.replace(record, series=series)


def effect_of(effects: tuple[Effect, ...], arm: str, base: str = "", cell: str = CELL) -> Effect:
    """Return the one effect of a figure."""
    (found,) = (each for each in effects if (each.cell, each.arm, each.base) == (cell, arm, base))
    return found


def changed(record: Record, arm: str, cell: str = CELL, **confounders: str) -> Record:
    """Return a record in which one arm was measured under other conditions."""
    series = [
        msgspec.structs.replace(one, confounders={**one.confounders, **confounders})
        if (one.cell, one.arm) == (cell, arm)
        else one
        for one in record.series
    ]
    return with_series(record, *series)


def test_slower_arm_is_called() -> None:
    """An arm that lost a tenth is slower, its ratios are lower, and what did not change is equivalent."""
    effects = find_effects(measured_record(1), measured_record(2, rates={**RATES, "pci": 356.0}))

    assert effect_of(effects, "pci").shift is Shift.SLOWER
    assert effect_of(effects, "pci", "usb-host").shift is Shift.LOWER
    assert effect_of(effects, "native").shift is Shift.EQUIVALENT
    assert effect_of(effects, "usb-host", "native").shift is Shift.EQUIVALENT
    assert "PCI passthrough reads 0.897x as fast as before [0.886, 0.908], 8 and 8 blocks" in effect_of(effects, "pci").sentence
    assert len(effects) == 4 * 6


def test_faster_base_lowers_a_ratio_and_slows_nothing() -> None:
    """Where usb-host became faster, it is faster and the ratio over it lower: nothing is called slower."""
    effects = find_effects(measured_record(1), measured_record(2, rates={**RATES, "usb-host": 310.0}))

    assert effect_of(effects, "usb-host").shift is Shift.FASTER
    assert effect_of(effects, "pci", "usb-host").shift is Shift.LOWER
    assert Shift.SLOWER not in {effect.shift for effect in effects}


def test_interval_is_that_of_welch() -> None:
    """The interval is Welch's on the logarithms: his formula, with his degrees of freedom, gives the same."""
    logs = (2.04, 2.42, 1.54, 2.14, 2.02, 1.85, 2.15), (2.02, 1.69, 1.85, 1.73, 2.05)
    sides = [
        with_series(measured_record(), Series(CELL, "pci", tuple(_sample(n, math.exp(value)) for n, value in enumerate(each))))
        for each in logs
    ]

    effect = effect_of(find_effects(sides[0], sides[1]), "pci")

    shares = [statistics.variance(each) / len(each) for each in logs]
    freedom = sum(shares) ** 2 / sum(share**2 / (len(each) - 1) for share, each in zip(shares, logs, strict=True))
    middle, reach = statistics.fmean(logs[1]) - statistics.fmean(logs[0]), stdtrit(freedom, 0.975) * math.sqrt(sum(shares))
    ends = (math.exp(middle - reach), math.exp(middle), math.exp(middle + reach))
    assert (effect.low, effect.ratio, effect.high) == pytest.approx(ends)
    assert effect.p == pytest.approx(2 * stdtr(freedom, -abs(middle) / math.sqrt(sum(shares))))


def _sample(block: int, rate_mib_s: float) -> Sample:
    return msgspec.structs.replace(measured_record().series[0].samples[0], block=block, rate_mib_s=rate_mib_s)


def test_what_is_called_alone_may_be_inconclusive_among_many() -> None:
    """A figure whose own interval excludes 1 is inconclusive where Holm's step does not bear it, and says so."""
    found = []
    for seed in range(60):
        effects = find_effects(measured_record(2 * seed, spread=0.08), measured_record(2 * seed + 1, spread=0.08))
        found += [each for each in effects if each.shift is Shift.INCONCLUSIVE and each.low is not None and each.low > 1]

    assert found
    assert all(each.adjusted_p is not None and each.adjusted_p >= 0.05 for each in found)
    assert "by chance" in found[0].sentence


def test_false_calls_are_rare_and_effects_are_found() -> None:
    """Of pairs of equal runs at most 5 % hold any false call; a tenth less is found in at least 95 % of pairs."""
    draw = random.Random(20260301)  # noqa: S311 (a simulation)
    record = measured_record()

    def pair(rate: float) -> set[Shift]:
        sides = [
            with_series(record, *(drawn_series(draw, CELL, arm, at, blocks=8, spread=0.04) for arm, at in rates.items()))
            for rates in (RATES, {**RATES, "pci": RATES["pci"] * rate})
        ]
        return {effect.shift for effect in find_effects(sides[0], sides[1])}

    calls = {Shift.FASTER, Shift.SLOWER, Shift.HIGHER, Shift.LOWER}
    assert sum(bool(pair(1.0) & calls) for _ in range(200)) <= 10 + 6  # 5 %, and what 200 draws may add to it (2 in 1,000)
    assert sum(Shift.SLOWER in pair(0.9) for _ in range(100)) >= 95


@pytest.mark.parametrize(("name", "value"), [("driver", "usb-storage"), ("speed", "480M")])
def test_unlike_conditions_are_not_comparable(name: str, value: str) -> None:
    """An arm under another driver or at another speed is not compared, nor its ratios; a person may allow it by name."""
    before, after = measured_record(1), changed(measured_record(2), "usb-host", **{name: value})
    effects = find_effects(before, after)
    allowed = find_effects(before, after, (name,))

    assert effect_of(effects, "usb-host").shift is Shift.NOT_COMPARABLE
    assert effect_of(effects, "pci", "usb-host").shift is Shift.NOT_COMPARABLE
    assert effect_of(effects, "pci", "native").shift is Shift.EQUIVALENT
    assert f"the {name} of USB-level passthrough differs" in effect_of(effects, "usb-host").sentence
    assert effect_of(effects, "usb-host").ratio is None
    assert effect_of(allowed, "usb-host").shift is Shift.EQUIVALENT
    assert name in "".join(effect_of(allowed, "usb-host").caveats)


def test_other_stick_is_not_comparable() -> None:
    """Another stick makes every figure incomparable, and one that is unknown none."""
    before, other = measured_record(1), with_environment(measured_record(2), stick="0781:5581 serial X, 32 GiB")
    unknown = with_environment(measured_record(2), stick="")

    assert {each.shift for each in find_effects(before, other)} == {Shift.NOT_COMPARABLE}
    assert Shift.NOT_COMPARABLE not in {each.shift for each in find_effects(before, unknown)}
    assert Shift.NOT_COMPARABLE not in {each.shift for each in find_effects(before, other, ("stick",))}


def test_arm_with_wrong_data_is_not_comparable() -> None:
    """An arm whose data were wrong in one record has no figure that counts, whatever is allowed; the others are compared."""
    void = msgspec.structs.replace(measured_record(2), void_arms=("pci",))
    effects = find_effects(measured_record(1), void, ("driver", "speed", "stick"))

    assert effect_of(effects, "pci").shift is effect_of(effects, "pci", "native").shift is Shift.NOT_COMPARABLE
    assert "the data of PCI passthrough were wrong now" in effect_of(effects, "pci").sentence
    assert effect_of(effects, "usb-host", "native").shift is Shift.EQUIVALENT


def test_lesser_conditions_are_said() -> None:
    """Another scheduler does not forbid the comparison, and stands beside it."""
    effect = effect_of(find_effects(measured_record(1), changed(measured_record(2), "pci", scheduler="none")), "pci")

    assert effect.shift is Shift.EQUIVALENT
    assert effect.caveats == ("the scheduler of PCI passthrough differs (mq-deadline, now none)",)


def test_what_one_record_lacks_is_named() -> None:
    """A cell or an arm that only one record has is in one only, with the figure that there is."""
    less = with_series(
        measured_record(2), *(one for one in measured_record(2).series if one.arm != "usb-host" and one.cell == CELL)
    )
    effects = find_effects(measured_record(1), less)
    gone = effect_of(effects, "usb-host")

    assert (gone.shift, gone.after, gone.before is not None) == (Shift.ONLY_ONE, None, True)
    assert effect_of(effects, "pci").shift is Shift.EQUIVALENT
    assert effect_of(effects, "pci", cell="RND4K Q1T1 read").shift is Shift.ONLY_ONE


def test_profile_without_verdict_is_not_judged() -> None:
    """A smoke run has ratios and intervals, and no call, whichever side it is on."""
    smoke = measured_record(1, profile="smoke", blocks=2)
    for pair in ((smoke, measured_record(2)), (measured_record(2), smoke)):
        effects = find_effects(*pair)
        assert {each.shift for each in effects} == {Shift.NOT_JUDGED}
        assert all(each.ratio is not None and each.adjusted_p is None for each in effects)


@pytest.mark.parametrize("rate", [0.0, -3.0, 1e308, 5e-324])
def test_edited_rates_are_refused_or_borne(rate: float) -> None:
    """A rate that has no logarithm makes its figures incomparable, one beyond all reason ends in no error."""
    record = measured_record(2)
    samples = (msgspec.structs.replace(record.series[1].samples[0], rate_mib_s=rate), *record.series[1].samples[1:])
    edited = with_series(record, record.series[0], msgspec.structs.replace(record.series[1], samples=samples), *record.series[2:])
    effects = find_effects(measured_record(1), edited)

    assert effect_of(effects, "native").shift is Shift.EQUIVALENT
    assert effect_of(effects, "pci").shift in {Shift.NOT_COMPARABLE, Shift.INCONCLUSIVE}
    assert all(math.isfinite(value) for each in effects for value in (each.ratio, each.low, each.high) if value is not None)


def test_blocks_twice_and_series_twice_are_named() -> None:
    """A block that stands twice, or a series, is no figure: the sentence says which."""
    record = measured_record(2)
    twice = with_series(record, *record.series, record.series[0])
    block = msgspec.structs.replace(record.series[0], samples=(*record.series[0].samples, record.series[0].samples[0]))

    assert "2 series" in effect_of(find_effects(measured_record(1), twice), "native").sentence
    assert "measured twice" in effect_of(find_effects(measured_record(1), with_series(record, block)), "native").sentence


def test_judgement_without_a_base_is_no_figure_of_its_own() -> None:
    """A judgement that was edited to have no base, or arms that nobody measured, adds no figure twice."""
    record = measured_record(2)
    judgements = (*record.judgements, *(msgspec.structs.replace(record.judgements[0], arm=arm, base="") for arm in ("pci", "x")))
    effects = find_effects(measured_record(1), msgspec.structs.replace(record, judgements=judgements))

    assert len(effects) == len({(each.cell, each.arm, each.base) for each in effects}) == 24


def test_blocks_without_spread_give_no_interval() -> None:
    """Rates that are all the same, as nobody measures them, end in no call."""
    flat = measured_record(1, spread=0.0)

    assert effect_of(find_effects(flat, flat), "pci").shift in {Shift.NOT_JUDGED, Shift.EQUIVALENT}


@pytest.mark.parametrize(
    ("change", "sign"),
    [
        pytest.param({"emulated": True}, "virtual", id="says-so"),
        pytest.param({"bench_qemu": "10.0.3"}, "QEMU plays", id="has-a-qemu"),
    ],
)
def test_emulated_is_never_compared_with_real(change: dict[str, object], sign: str) -> None:
    """A record with any sign of emulation is not compared with a real one, in neither order; the sentence names the sign."""
    real, emulated = measured_record(1), with_environment(measured_record(2), **change)
    for pair in ((real, emulated), (emulated, real)):
        with pytest.raises(UsageError, match=sign):
            compare_records(*pair, NAMES)
    assert compare_records(emulated, emulated, NAMES).emulated


def test_record_that_only_looks_real_is_found_out() -> None:
    """A record edited to look real is still known by its bench's kind, or by its host's own CPU."""
    by_kind = with_run(measured_record(1), kind="virtual")
    by_cpu = measured_record(1, facts={"host": {"cpu": {"hypervisor": True}}})

    assert emulation_of(by_kind) == "its bench is virtual"
    assert emulation_of(by_cpu) == "its host runs under a hypervisor"
    assert emulation_of(measured_record(1, facts={"host": {"cpu": None}})) == ""


def test_records_without_figures_compare() -> None:
    """Two records without throughput compare in the rest, and the notes say what is missing."""
    made = compare_records(empty_record(), empty_record(), NAMES)

    assert made.effects == ()
    assert "no throughput was measured before" in made.notes
    assert "the two records are the same" in made.notes


def test_profiles_and_versions_are_noted() -> None:
    """What makes two records unlike as a whole is said once."""
    older = with_run(sample_record(), suite_version="0.0.9", profile="smoke", cycles=2)
    notes = compare_records(older, sample_record(), NAMES).notes

    assert "the version of throughpass differs (0.0.9, now 0.1.0)" in notes
    assert "the profile differs (smoke, now quick)" in notes
    assert "the number of cycles differs (2, now 1)" in notes


def test_unknown_permission_is_refused() -> None:
    """A word that permits nothing is a usage error that names those that do."""
    with pytest.raises(UsageError, match="driver, speed, stick"):
        compare_records(sample_record(), sample_record(), NAMES, ("kernel",))


def test_runs_that_were_not_steady_are_not_compared() -> None:
    """A run without a steady state is left out; an arm with too many of them is not comparable."""
    before, after = measured_record(1), measured_record(2)

    def unsteady(blocks: int) -> Record:
        """Return the later record with the first runs of pci at half the rate, and not steady."""
        series = [
            msgspec.structs.replace(
                one,
                samples=tuple(
                    msgspec.structs.replace(each, rate_mib_s=each.rate_mib_s / 2, steady=False) if each.block < blocks else each
                    for each in one.samples
                ),
            )
            if one.arm == "pci"
            else one
            for one in after.series
        ]
        return msgspec.structs.replace(after, series=tuple(series))

    some = [each for each in find_effects(before, unsteady(2)) if each.arm == "pci" and not each.base]
    many = [each for each in find_effects(before, unsteady(8)) if each.arm == "pci" and not each.base]

    assert {(each.shift, each.blocks_after) for each in some} == {(Shift.EQUIVALENT, 6)}
    assert {each.shift for each in many} == {Shift.NOT_COMPARABLE}
    assert "found no steady state in 8 of 8 runs" in many[0].sentence


def test_void_way_is_void_under_each_name() -> None:
    """Where a way's data were wrong no arm of its kind is compared, whatever it is called."""
    before, after = measured_record(1), measured_record(2)
    named = [msgspec.structs.replace(one, kind=one.arm, arm="mine") if one.arm == "usb-host" else one for one in after.series]
    first = [msgspec.structs.replace(one, kind=one.arm, arm="mine") if one.arm == "usb-host" else one for one in before.series]
    void = msgspec.structs.replace(after, series=tuple(named), judgements=(), void_arms=("usb-host",))

    effects = find_effects(msgspec.structs.replace(before, series=tuple(first), judgements=()), void)

    assert {each.shift for each in effects if each.arm == "mine"} == {Shift.NOT_COMPARABLE}
