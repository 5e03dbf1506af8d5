"""The experiment: blocks over arms, one fio run for each cell, every raw output kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from harness.core.deadline import Deadline
from harness.core.series import Sample, Series
from harness.measure.arms import Arm, read_confounders
from harness.measure.design import Cell, Profile, plan_blocks
from harness.measure.fio import fio_args, parse_fio
from harness.transport.protocol import Transport

_FIO_START_S = 60.0
"""What fio may need beside its run time, on an emulated machine."""


class Experiment:
    """One experiment on one board. ``folder`` receives fio's raw JSON, ``progress`` a line for each run."""

    def __init__(self, arms: Mapping[str, Arm], profile: Profile, folder: Path, progress: Callable[[str], None]) -> None:
        self._arms = arms
        self._profile = profile
        self._folder = folder
        self._progress = progress
        self._samples: dict[tuple[str, str], list[Sample]] = {}
        self._confounders: dict[str, dict[str, str]] = {}

    def run(self, seed: int, deadline: Deadline) -> tuple[Series, ...]:
        """Measure every block; the arm that is attached is detached again whatever happens."""
        plan = plan_blocks(self._profile.arms, self._profile.blocks, seed)
        for block, order in enumerate(plan):
            for position, name in enumerate(order):
                deadline.check()
                self._run_arm(self._arms[name], block, position)
        return self.series()

    def series(self) -> tuple[Series, ...]:
        """Return what was measured so far."""
        return tuple(
            Series(cell.name, arm, tuple(self._samples[cell.name, arm]), self._confounders.get(arm, {}))
            for cell in self._profile.cells
            for arm in self._profile.arms
            if (cell.name, arm) in self._samples
        )

    def _run_arm(self, arm: Arm, block: int, position: int) -> None:
        started = time.monotonic()
        transport, device = arm.attach()
        attach_s = time.monotonic() - started
        try:
            if arm.name not in self._confounders:
                self._confounders[arm.name] = read_confounders(transport, device)
            for cell in self._profile.cells:
                self._run_cell(transport, device, cell, arm.name, (block, position, attach_s))
        finally:
            arm.detach()

    def _run_cell(self, transport: Transport, device: str, cell: Cell, arm: str, place: tuple[int, int, float]) -> None:
        block, position, attach_s = place
        profile = self._profile
        argv = fio_args(cell, device, profile)
        result = transport.run(argv, timeout_s=profile.runtime_s + profile.ramp_s + _FIO_START_S)
        name = f"fio-{cell.name.replace(' ', '-')}-{block + 1:02}-{arm}.json"
        (self._folder / name).write_bytes(result.stdout)
        found = parse_fio(result.stdout + result.stderr)
        self._samples.setdefault((cell.name, arm), []).append(found.sample(block, position, attach_s=attach_s, attachment=name))
        self._progress(f"block {block + 1} of {profile.blocks}, {arm}: {found.rate_mib_s:.0f} MiB/s ({cell.name})")
