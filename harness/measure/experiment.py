"""The experiment: blocks over arms, one fio run for each cell, every raw output kept."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.core.deadline import Deadline
from harness.core.errors import ThroughpassError
from harness.core.series import Sample, Series
from harness.core.timeline import SpanKind, Timeline
from harness.machine.batch import Part
from harness.machine.disks import work_on_disk
from harness.machine.passthrough import MOVE_TIMEOUT_S
from harness.measure.arms import CONFOUNDERS, Arm, parse_confounders
from harness.measure.design import Cell, Profile, plan_blocks
from harness.measure.fio import fio_command, parse_fio
from harness.transport.protocol import Transport

_FIO_START_S = 60.0
"""What fio may need beside its run time, on an emulated machine."""


@dataclass(frozen=True)
class _Place:
    """Where a sample belongs: arm and block, the place in the block's order, and how long the disk's way to the arm was."""

    arm: str
    block: int
    position: int
    attach_s: float


class Experiment:
    """One experiment on one board. ``folder`` receives fio's raw JSON, ``progress`` a line for each run."""

    def __init__(
        self, arms: Mapping[str, Arm], profile: Profile, folder: Path, progress: Callable[[str], None], timeline: Timeline
    ) -> None:
        self._arms = arms
        self._profile = profile
        self._folder = folder
        self._progress = progress
        self._timeline = timeline
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
        began_s = time.monotonic()
        transport = arm.attach()
        try:
            there_s = 0.0
            for cell in self._profile.cells:
                parts = self._run_cell(arm, transport, cell)
                there_s = there_s or parts["wait"].end_s
                self._keep(_Place(arm.name, block, position, max(0.0, there_s - began_s)), cell, parts["fio"])
        except BaseException:
            with contextlib.suppress(ThroughpassError):  # what went wrong first is what counts
                arm.detach()
            raise
        arm.detach()

    def _run_cell(self, arm: Arm, transport: Transport, cell: Cell) -> dict[str, Part]:
        """Wait for the disk, read the conditions if they are not known yet, and run fio, in one round trip."""
        profile = self._profile
        work = {"conditions": CONFOUNDERS} if arm.name not in self._confounders else {}
        work["fio"] = fio_command(cell, profile)
        limit = Deadline.after(MOVE_TIMEOUT_S, f"the stick's way to the arm {arm.name}")
        work_s = profile.runtime_s + profile.ramp_s + _FIO_START_S
        parts = work_on_disk(transport, arm.serial, work, limit, work_s=work_s, timeline=self._timeline)
        if "conditions" in work:
            self._confounders[arm.name] = parse_confounders(parts["conditions"].text)
        return parts

    def _keep(self, place: _Place, cell: Cell, fio: Part) -> None:
        name = f"fio-{cell.name.replace(' ', '-')}-{place.block + 1:02}-{place.arm}.json"
        (self._folder / name).write_bytes(fio.stdout)
        reported_s = 0.0
        try:
            found = parse_fio(fio.stdout + fio.stderr)
            reported_s = found.runtime_s + self._profile.ramp_s
        finally:
            self._timeline.add(SpanKind.FIO, fio.start_s, fio.end_s, reported_s=reported_s)
        sample = found.sample(place.block, place.position, attach_s=round(place.attach_s, 3), attachment=name)
        self._samples.setdefault((cell.name, place.arm), []).append(sample)
        blocks = self._profile.blocks
        self._progress(f"block {place.block + 1} of {blocks}, {place.arm}: {found.rate_mib_s:.0f} MiB/s ({cell.name})")
