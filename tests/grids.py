"""Records of the profile standard with all that stands beside a rate, for the tests of pages: runs that never were."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from harness.core.finding import Evidence
from harness.core.record import Record
from harness.core.series import Sample, Series
from harness.measure.design import PROFILES
from harness.measure.judge import judge_all
from tests.comparing import SHARES
from tests.records import sample_record

ARMS = {"native": 402.0, "pci": 396.0, "usb-host": 281.0, "virtio-blk": 391.0, "usb-host-again": 282.0}
CPU = {"native": 0.31, "pci": 0.34, "usb-host": 2.9, "virtio-blk": 1.4, "usb-host-again": 3.0}
"""CPU seconds of the host for each GiB."""
LOG = "[    1.020755] pci 0000:01:00.0: Adding to iommu group 8\n"


def grid_record(*, blocks: int = 20, seconds: int = 5, emulated: bool = False, **changes: Any) -> Record:
    """Return the record of a standard run with all cells, five arms, evidence in every check, and ``changes`` to its fields."""
    draw = random.Random(7)  # noqa: S311 (a test's rates)
    series = tuple(
        rich_series(draw, cell, arm, rate * share, blocks=blocks, seconds=seconds)
        for cell, share in SHARES.items()
        for arm, rate in ARMS.items()
    )
    record = sample_record()
    checks = tuple(
        msgspec.structs.replace(check, id=f"{check.id}-{number}", evidence=(Evidence("dmesg", LOG * 25),))
        for check in record.checks
        for number in range(8)
    )
    run = msgspec.structs.replace(record.run, profile="standard", cycles=2)
    environment = msgspec.structs.replace(record.environment, emulated=emulated)
    judgements = judge_all(series, PROFILES["standard"])
    found = {"run": run, "environment": environment, "series": series, "judgements": judgements, "checks": checks}
    return msgspec.structs.replace(record, **{**found, **changes})


def rich_series(draw: random.Random, cell: str, arm: str, rate_mib_s: float, *, blocks: int, seconds: int) -> Series:
    """Return one arm in one cell: lognormal around a rate, with seconds, latencies and CPU time."""
    rates = [rate_mib_s * draw.lognormvariate(0, 0.01) for _ in range(blocks)]
    samples = tuple(rich_sample(draw, cell, arm, block, [rate] * seconds) for block, rate in enumerate(rates))
    driver = {"driver": "uas", "speed": "5000M", "scheduler": "mq-deadline", "nr_requests": "32"}
    iommu = {} if arm == "pci" else {"iommu_domain": "DMA-FQ"}
    return Series(cell, arm, samples, driver | iommu, arm.removesuffix("-again"), "TP0001", 1.0003 if arm == "native" else 0.9991)


def rich_sample(draw: random.Random, cell: str, arm: str, block: int, seconds_mib_s: list[float]) -> Sample:
    """Return one run with all that throughpass learns of it; its seconds scatter around those given."""
    rate = sum(seconds_mib_s) / len(seconds_mib_s)
    p50 = 8e6 / rate * (8 if "Q8" in cell else 1)
    cpu = CPU[arm] * draw.lognormvariate(0, 0.05)
    return Sample(
        block,
        block % 5,
        rate,
        float(len(seconds_mib_s)),
        1.2,
        f"fio-{cell.replace(' ', '-')}-{block + 1:02}-{arm}.json",
        latency_p50_us=p50,
        latency_p99_us=p50 * 1.7,
        latency_p999_us=p50 * 4.4,
        fio_cpu_s_per_gib=cpu / 4,
        host_cpu_s_per_gib=cpu,
        qemu_cpu_s_per_gib=None if arm == "native" else cpu * 0.8,
        qemu_main_cpu_s_per_gib=None if arm == "native" else cpu * 0.6,
        seconds_mib_s=tuple(round(each * draw.lognormvariate(0, 0.02), 3) for each in seconds_mib_s),
        steady=True,
    )


def with_sample(record: Record, cell: str, arm: str, block: int, **changes: Any) -> Record:
    """Return a record in which one sample is changed."""
    series = tuple(
        msgspec.structs.replace(
            one,
            samples=tuple(
                msgspec.structs.replace(sample, **changes) if sample.block == block else sample for sample in one.samples
            ),
        )
        if (one.cell, one.arm) == (cell, arm)
        else one
        for one in record.series
    )
    return msgspec.structs.replace(record, series=series)
