"""Measured values as data: a series is what one arm gave in one cell of the grid, block by block."""

from __future__ import annotations

import msgspec


class Sample(msgspec.Struct, frozen=True):
    """One value: the rate of one fio run."""

    block: int
    position: int  # place in the block's order, from 0
    rate_mib_s: float
    runtime_s: float  # fio's own run time, ramp excluded
    attach_s: float = 0.0  # from asking for the arm to a readable disk
    attachment: str = ""  # the raw fio JSON, relative to the record


class Series(msgspec.Struct, frozen=True):
    """All samples of one arm in one cell, and what may confound a comparison with another arm."""

    cell: str
    arm: str
    samples: tuple[Sample, ...]
    confounders: dict[str, str] = {}  # e.g. {"driver": "usb-storage", "speed": "5000M", "scheduler": "mq-deadline"}

    @property
    def rates_mib_s(self) -> tuple[float, ...]:
        """Return the rates in the order of the blocks."""
        return tuple(sample.rate_mib_s for sample in self.samples)
