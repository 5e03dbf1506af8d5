"""Measured values as data: a series is what one arm gave in one cell of the grid, block by block."""

from __future__ import annotations

from typing import Annotated

import msgspec


class Sample(msgspec.Struct, frozen=True):
    """One value: the rate of one fio run. What is None or empty nobody could say, or an older throughpass did not ask.

    CPU seconds are those of the ramp too, over the GiB that were read in it at the same rate: of fio where the disk is; of all
    that the host did, the guest included; and of the guest's QEMU, in whose one main thread USB is emulated.
    """

    block: int
    position: int  # place in the block's order, from 0
    rate_mib_s: float
    runtime_s: float  # fio's own run time, ramp excluded
    attach_s: float = 0.0  # from asking for the arm to a readable disk
    attachment: str = ""  # the raw fio JSON, relative to the record
    latency_p50_us: float | None = None  # of completion
    latency_p99_us: float | None = None
    latency_p999_us: float | None = None
    fio_cpu_s_per_gib: float | None = None
    host_cpu_s_per_gib: float | None = None
    qemu_cpu_s_per_gib: float | None = None
    qemu_main_cpu_s_per_gib: float | None = None
    seconds_mib_s: tuple[float, ...] = ()  # the rate in each second of the run
    steady: bool | None = None  # whether fio's own steady state was attained; None where it was not asked for
    cliff_at: int | None = None  # from which of the seconds on the rate was lower for good: a burst before, sustained from there
    stalls: tuple[int, ...] = ()  # the seconds in which hardly anything came
    resolution: Annotated[float, msgspec.Meta(ge=0)] = (
        0.0  # half a read, of all that the rate was made of: looks count whole reads
    )


class Series(msgspec.Struct, frozen=True):
    """All samples of one arm in one cell, and what may confound a comparison with another arm.

    ``clock`` is how long a second of the runner's was by the clock of the system that measured, over the whole experiment.
    """

    cell: str
    arm: str
    samples: tuple[Sample, ...]
    confounders: dict[str, str] = {}  # e.g. {"driver": "usb-storage", "speed": "5000M", "scheduler": "mq-deadline"}
    kind: str = ""  # of the arm, which may have a name of its own
    stick: str = ""  # serial
    clock: float | None = None

    @property
    def way(self) -> str:
        """Return which kind of way it was: what is void is void for each arm of a kind. Older records have only the name."""
        return self.kind or self.arm

    @property
    def rates_mib_s(self) -> tuple[float, ...]:
        """Return the rates in the order of the blocks."""
        return tuple(sample.rate_mib_s for sample in self.samples)
