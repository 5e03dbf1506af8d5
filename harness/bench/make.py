"""From a bench file to the bench it describes."""

from __future__ import annotations

from harness.bench.config import BenchConfig
from harness.bench.operator import Operator
from harness.bench.real import RealBench
from harness.bench.virtual import VirtualBench


def make_bench(config: BenchConfig, *, cold: bool = False, operator: Operator | None = None) -> VirtualBench | RealBench:
    """Return the bench of a bench file; nothing is started or reached yet.

    ``cold``: a virtual board boots, snapshot or not. ``operator`` plugs the sticks where no machine does.
    """
    return VirtualBench(config, cold=cold) if config.kind == "virtual" else RealBench(config, operator)
