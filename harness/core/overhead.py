"""Where a run's time went, by stage and kind: pure, from the record's stages and spans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.core.record import Run
from harness.core.timeline import Span, SpanKind


@dataclass(frozen=True)
class Share:
    """A stage's seconds, or those of all stages: what was waited for by kind, and of fio the part that fio itself reports."""

    stage: str
    duration_s: float
    parts_s: Mapping[SpanKind, float]
    reported_s: float

    @property
    def harness_s(self) -> float:
        """Return the seconds in which nothing else was waited for."""
        return max(0.0, self.duration_s - sum(self.parts_s.values()))

    @property
    def strict_s(self) -> float:
        """Return the same, with fio's start and end counted in: of fio only its run time and ramp are left out."""
        return self.harness_s + max(0.0, self.parts_s[SpanKind.FIO] - self.reported_s)


def share_stages(run: Run) -> tuple[Share, ...]:
    """Return each stage's share, in the order of the run."""
    return tuple(
        _share(time.stage, max(time.duration_s, 0.0), [span for span in run.spans if span.stage == time.stage])
        for time in run.stages
    )


def share_run(shares: Iterable[Share]) -> Share:
    """Return the share of all stages together."""
    every = tuple(shares)
    return Share(
        stage="",
        duration_s=sum(share.duration_s for share in every),
        parts_s={kind: sum(share.parts_s[kind] for share in every) for kind in SpanKind},
        reported_s=sum(share.reported_s for share in every),
    )


def _share(stage: str, duration_s: float, spans: list[Span]) -> Share:
    parts_s = dict.fromkeys(SpanKind, 0.0)
    counted_s = float("-inf")
    for span in sorted(spans, key=lambda span: span.start_s):  # a moment counts once, for the span that began first
        end_s = span.start_s + max(span.duration_s, 0.0)
        parts_s[span.kind] += max(0.0, end_s - max(span.start_s, counted_s))
        counted_s = max(counted_s, end_s)
    return Share(stage, duration_s, parts_s, sum(max(span.reported_s, 0.0) for span in spans))
