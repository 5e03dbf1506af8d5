"""Pairs and crowds of records for the tests of comparisons: runs that never were, with rates that are drawn."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from harness.core.record import Record, encode
from harness.core.series import Sample, Series
from harness.measure.design import PROFILES, READ_CELLS
from harness.measure.judge import judge_all
from tests.records import sample_record

RATES = {"native": 402.0, "pci": 396.0, "usb-host": 281.0}
SHARES = dict(zip((cell.name for cell in READ_CELLS), (1.0, 0.8, 0.12, 0.05), strict=True))
"""How fast each cell is, of the first one's rate."""
BEGIN = datetime(2026, 3, 1, 14, 5, 12, tzinfo=UTC)


def measured_record(
    seed: int = 1,
    *,
    rates: Mapping[str, float] = RATES,
    blocks: int = 8,
    spread: float = 0.01,
    profile: str = "standard",
    **changes: Any,
) -> Record:
    """Return the record of a hardware bench with drawn rates in every cell; ``changes`` are to its fields.

    ``spread`` is the standard deviation of a block's logarithm; the same seed draws the same.
    """
    draw = random.Random(seed)  # noqa: S311 (a test's rates)
    series = tuple(
        drawn_series(draw, cell, arm, rate * share, blocks=blocks, spread=spread)
        for cell, share in SHARES.items()
        for arm, rate in rates.items()
    )
    record = sample_record()
    run = msgspec.structs.replace(record.run, id=f"rack-7/{seed}", bench="rack-7", kind="ssh", profile=profile)
    environment = msgspec.structs.replace(
        record.environment, emulated=False, bench_qemu="", bench_accelerator="", accelerator="kvm", board="ASUS PRIME B650"
    )
    found: dict[str, Any] = {"run": run, "environment": environment, "series": series}
    found["judgements"] = judge_all(series, PROFILES["standard"]) if profile == "standard" else ()
    return sample_record(**{**found, **changes})


def drawn_series(draw: random.Random, cell: str, arm: str, rate_mib_s: float, *, blocks: int, spread: float) -> Series:
    """Return one arm in one cell, lognormal around a rate."""
    samples = tuple(
        Sample(block, block % 3, rate_mib_s * draw.lognormvariate(0, spread), 5.0, 1.2, f"fio/{arm}-{block}.json")
        for block in range(blocks)
    )
    return Series(cell, arm, samples, {"driver": "uas", "speed": "5000M", "scheduler": "mq-deadline"})


def with_environment(record: Record, **changes: Any) -> Record:
    """Return a record whose environment is changed."""
    return msgspec.structs.replace(record, environment=msgspec.structs.replace(record.environment, **changes))


def with_run(record: Record, **changes: Any) -> Record:
    """Return a record whose run is changed."""
    return msgspec.structs.replace(record, run=msgspec.structs.replace(record.run, **changes))


def write_run(runs: Path, record: Record, number: int = 0) -> Path:
    """Write a record as the run of a day, where a run would lie; return its path."""
    start = BEGIN + timedelta(days=number)
    folder = runs / record.run.bench / f"{start:%Y%m%dT%H%M%SZ}"
    folder.mkdir(parents=True)
    path = folder / "record.json"
    path.write_bytes(encode(with_run(record, id=f"{record.run.bench}/{folder.name}", start=start.isoformat())))
    return path
