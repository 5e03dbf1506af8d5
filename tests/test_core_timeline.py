"""The timeline and the arithmetic of overhead: what was waited for, and what remains."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.overhead import share_run, share_stages
from harness.core.record import Run, StageTime
from harness.core.timeline import Span, SpanKind, Timeline

BOOT, GUEST, FIO, SETTLE = SpanKind.BOOT, SpanKind.GUEST, SpanKind.FIO, SpanKind.SETTLE


def run_of(*stages: StageTime, spans: tuple[Span, ...] = ()) -> Run:
    """Return a run of those stages and spans."""
    return Run("run", "", "", "", "", "bench", "virtual", "quick", 1, stages=stages, spans=spans)


def test_timeline_counts_from_its_start() -> None:
    """A span's start counts from the timeline's own, and it belongs to the stage of that moment."""
    timeline = Timeline()
    began_s = time.monotonic()
    timeline.stage = "throughput"
    timeline.add(FIO, began_s + 10, began_s + 12.5, reported_s=1.8)

    (span,) = timeline.spans
    assert span == Span(FIO, "throughput", pytest.approx(10, abs=0.1), 2.5, 1.8)  # type: ignore[arg-type]


def test_timeline_keeps_a_block_that_fails() -> None:
    """What was waited for in vain was waited for, too; a clock that seems to run backwards gives no time at all."""
    timeline = Timeline()
    with pytest.raises(ValueError, match="in vain"), timeline.during(SETTLE):
        raise ValueError("in vain")
    timeline.add(SETTLE, 2.0, 1.0)

    assert [span.kind for span in timeline.spans] == [SETTLE, SETTLE]
    assert timeline.spans[1].duration_s == 0


def test_share_of_a_stage_is_what_remains() -> None:
    """Of ten seconds, two of fio and one and a half of settling leave six and a half; fio's own half second makes it seven."""
    spans = (
        Span(SETTLE, "throughput", 100.0, 1.5),
        Span(FIO, "throughput", 102.0, 2.0, 1.5),
        Span(GUEST, "guest", 50.0, 9.0),
    )
    throughput, guest = share_stages(run_of(StageTime("throughput", 10.0), StageTime("guest", 9.5), spans=spans))

    assert (throughput.parts_s[FIO], throughput.parts_s[SETTLE], throughput.parts_s[GUEST]) == (2.0, 1.5, 0.0)
    assert throughput.harness_s == pytest.approx(6.5)
    assert throughput.strict_s == pytest.approx(7.0)
    assert guest.harness_s == pytest.approx(0.5)


def test_share_counts_a_moment_once() -> None:
    """Where spans overlap, the moment belongs to the one that began first."""
    spans = (Span(FIO, "throughput", 3.0, 4.0), Span(SETTLE, "throughput", 1.0, 3.0), Span(SETTLE, "throughput", 5.0, 1.0))
    (share,) = share_stages(run_of(StageTime("throughput", 10.0), spans=spans))

    assert (share.parts_s[SETTLE], share.parts_s[FIO]) == (3.0, 3.0)
    assert share.harness_s == pytest.approx(4.0)


def test_share_of_a_run_is_the_sum() -> None:
    """The run's share adds up the stages'; a run without stages has none."""
    spans = (Span(BOOT, "boot", 0.0, 6.0), Span(FIO, "throughput", 8.0, 3.0, 2.0))
    whole = share_run(share_stages(run_of(StageTime("boot", 6.5), StageTime("throughput", 5.0), spans=spans)))

    assert (whole.duration_s, whole.parts_s[BOOT], whole.parts_s[FIO], whole.reported_s) == (11.5, 6.0, 3.0, 2.0)
    assert whole.harness_s == pytest.approx(2.5)
    assert whole.strict_s == pytest.approx(3.5)
    assert share_run(share_stages(run_of())).harness_s == 0


SECONDS = st.floats(-1e3, 1e6)
SPANS = st.lists(st.builds(Span, st.sampled_from(SpanKind), st.just("usb"), SECONDS, SECONDS, SECONDS), max_size=6)


@given(SECONDS, SPANS)
def test_share_is_never_negative(duration_s: float, spans: list[Span]) -> None:
    """Whatever a record says, no part of a stage is less than nothing, and the strict reading is not the smaller one."""
    (share,) = share_stages(run_of(StageTime("usb", duration_s), spans=tuple(spans)))

    assert min(share.parts_s.values()) >= 0
    assert 0 <= share.harness_s <= share.strict_s
