"""A timeline: the stretches of a run in which it waited for something else than itself."""

from __future__ import annotations

import enum
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec


class SpanKind(enum.Enum):
    """What was waited for. What is in no span is the harness's own time."""

    BOOT = "boot"  # the board: it starts, or is reached
    GUEST = "guest"  # the guest boots
    FIO = "fio"  # fio's process, from its start to its end
    SETTLE = "settle"  # QEMU and the kernels in a hot-plug: from the command until the disk is there or the guest has let go


class Span(msgspec.Struct, frozen=True):
    """One stretch; ``start_s`` counts from the run's start."""

    kind: SpanKind
    stage: str
    start_s: float
    duration_s: float
    reported_s: float = 0.0  # of fio: the run time that it reports, and its ramp


class Timeline:
    """Collects spans. Instants are those of ``time.monotonic``; ``stage`` is the stage that the next span belongs to."""

    def __init__(self) -> None:
        self.stage = ""
        self.spans: list[Span] = []
        self._origin_s = time.monotonic()

    def add(self, kind: SpanKind, start_s: float, end_s: float, *, reported_s: float = 0.0) -> None:
        """Keep the span between two instants."""
        start, duration = start_s - self._origin_s, max(0.0, end_s - start_s)
        self.spans.append(Span(kind, self.stage, round(start, 3), round(duration, 3), round(reported_s, 3)))

    @contextmanager
    def during(self, kind: SpanKind) -> Iterator[None]:
        """Keep the span of a with-block, however that ends."""
        start_s = time.monotonic()
        try:
            yield
        finally:
            self.add(kind, start_s, time.monotonic())
