"""Sticks of a known speed on the virtual bench: what is measured, and what is concluded of it, is what is true."""

from __future__ import annotations

import pytest

from harness.core.judgement import Call, Judgement
from harness.core.record import Record
from tests.qualification import BOARDS, Qualification, leftovers, qualify

pytestmark = pytest.mark.bench

TRUE_MIB_S = {"native": 10, "pci": 10, "usb-host": 10, "virtio-blk": 10, "same": 10, "tenth-more": 11, "usb-host-again": 10}


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Qualification:
    """Return the whole qualification of the board with throttled sticks."""
    return qualify(BOARDS / "calibration.toml", tmp_path_factory.mktemp("calibration"))


def judgement_of(record: Record, arm: str, base: str) -> Judgement:
    """Return the judgement of one comparison."""
    (found,) = [each for each in record.judgements if (each.arm, each.base) == (arm, base)]
    return found


def test_known_rates_are_measured(calibrated: Qualification) -> None:
    """In every arm, in every block, the rate is that of the throttle within 2 %."""
    rates = {series.arm: series.rates_mib_s for series in calibrated.record.series}

    assert {arm: len(each) for arm, each in rates.items()} == dict.fromkeys(TRUE_MIB_S, 6), calibrated.output
    for arm, each in rates.items():
        assert each == pytest.approx([TRUE_MIB_S[arm]] * 6, rel=0.02), arm


@pytest.mark.parametrize(
    ("arm", "base"),
    [("pci", "usb-host"), ("pci", "virtio-blk")],
)
def test_one_slow_stick_cannot_separate_the_arms(calibrated: Qualification, arm: str, base: str) -> None:
    """A stick that is the limit in all arms comes out device-limited, which is no word on the arms."""
    assert judgement_of(calibrated.record, arm, base).call is Call.DEVICE_LIMITED


def test_sticks_of_one_speed_are_equivalent(calibrated: Qualification) -> None:
    """Two sticks of the same speed through the same kind of arm are equivalent."""
    assert judgement_of(calibrated.record, "same", "usb-host").call is Call.EQUIVALENT


def test_sticks_of_two_speeds_are_told_apart(calibrated: Qualification) -> None:
    """A stick that is faster by a tenth is called faster, and the interval is near 1.10 and holds it within the 2 % of a rate."""
    judgement = judgement_of(calibrated.record, "tenth-more", "usb-host")

    assert judgement.call is Call.FASTER
    assert judgement.low is not None
    assert judgement.high is not None
    assert judgement.low <= 1.10 <= judgement.high


def test_noise_floor_is_known(calibrated: Qualification) -> None:
    """The arm that comes twice is equivalent to itself, and every judgement has the floor that it shows."""
    record = calibrated.record

    assert judgement_of(record, "usb-host-again", "usb-host").call is Call.EQUIVALENT
    assert all(each.floor is not None and 1 <= each.floor < 1.02 for each in record.judgements)


def test_costs_are_recorded(calibrated: Qualification) -> None:
    """Latencies, the rate of each second and the CPU time of host, QEMU and its main thread stand beside each rate."""
    samples = {series.arm: series.samples for series in calibrated.record.series}

    for sample in samples["usb-host"]:
        assert sample.latency_p50_us is not None
        assert sample.latency_p999_us is not None
        assert 0 < sample.latency_p50_us <= sample.latency_p999_us
        assert sample.seconds_mib_s[0] == pytest.approx(10, rel=0.1)
        assert sample.qemu_main_cpu_s_per_gib is not None
        assert sample.qemu_cpu_s_per_gib is not None
        assert 0 < sample.qemu_main_cpu_s_per_gib <= sample.qemu_cpu_s_per_gib
    assert all(sample.host_cpu_s_per_gib for each in samples.values() for sample in each)


def test_clocks_agree(calibrated: Qualification) -> None:
    """Every system's clock runs as ours within 2 %, over the experiment."""
    clocks = {series.arm: series.clock for series in calibrated.record.series}

    assert clocks == pytest.approx(dict.fromkeys(TRUE_MIB_S, 1.0), abs=0.02)


def test_progress_is_told(calibrated: Qualification) -> None:
    """The output names block, arm, rate and the time left."""
    assert "block 3 of 6, " in calibrated.output
    assert "MiB/s (SEQ1M Q8T1 read), about " in calibrated.output


def test_nothing_is_left(calibrated: Qualification) -> None:
    """No process of the board is left, and all that was lent is root's again: the board's own checks say so."""
    assert {check.outcome.value for check in calibrated.record.checks if check.stage == "return"} == {"pass"}
    assert not leftovers("calibration")
