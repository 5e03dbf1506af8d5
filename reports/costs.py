"""What a rate cost: latency and CPU time of each arm, as medians over its blocks."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from harness.core.series import Series

PERCENTILES = ("p50", "p99", "p99.9")
CONSUMERS = ("fio", "host", "QEMU", "QEMU's main thread")

_LATENCIES = ("latency_p50_us", "latency_p99_us", "latency_p999_us")
_CPU = ("fio_cpu_s_per_gib", "host_cpu_s_per_gib", "qemu_cpu_s_per_gib", "qemu_main_cpu_s_per_gib")


@dataclass(frozen=True)
class Costs:
    """One arm in one cell; in the order of ``PERCENTILES`` and ``CONSUMERS``, None where nobody could say."""

    cell: str
    arm: str
    latencies_us: tuple[float | None, ...]
    cpu_s_per_gib: tuple[float | None, ...]


def view_costs(series: Sequence[Series]) -> tuple[Costs, ...]:
    """Return what each series cost; empty where nothing is known of any."""
    costs = tuple(Costs(one.cell, one.arm, _medians(one, _LATENCIES), _medians(one, _CPU)) for one in series)
    return costs if any(value is not None for each in costs for value in (*each.latencies_us, *each.cpu_s_per_gib)) else ()


def _medians(series: Series, fields: Sequence[str]) -> tuple[float | None, ...]:
    return tuple(_median([getattr(sample, field) for sample in series.samples]) for field in fields)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.median(known) if known else None
