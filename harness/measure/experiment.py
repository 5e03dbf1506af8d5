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
from harness.machine.guarded import Permit, write_on_disk
from harness.machine.passthrough import MOVE_TIMEOUT_S
from harness.measure.arms import CONFOUNDERS, Arm, parse_confounders
from harness.measure.cost import Meter, Usage, with_cost
from harness.measure.design import Cell, Profile, plan_blocks
from harness.measure.fio import REST, fio_command, ramp_s
from harness.measure.fio_output import parse_fio
from harness.measure.judge import PRECISION, needs_more
from harness.transport.protocol import Transport

_FIO_START_S = 60.0
"""What fio may need beside its run time, on an emulated machine."""
_LEAST_CLOCK_S = 10.0
"""A clock is compared over no less: a command's way to us and back is a tenth of a second now and a hundredth then."""
_CLOCK = "read -r now _ </proc/uptime && echo $now"


@dataclass(frozen=True)
class _Place:
    """Where a sample belongs: arm and block, the place in the block's order, and how long the disk's way to the arm was."""

    arm: str
    block: int
    position: int
    attach_s: float


class Experiment:
    """One experiment on one board. ``folder`` receives fio's raw JSON, ``progress`` a line for each arm of a block.

    ``meter`` reads what a run costs the host; without one nobody knows. Cells that write need a ``permission``, and are left out
    on other disks and where nothing can be written.
    """

    def __init__(
        self,
        arms: Mapping[str, Arm],
        profile: Profile,
        folder: Path,
        progress: Callable[[str], None],
        timeline: Timeline,
        *,
        meter: Meter | None = None,
        permission: Permit | None = None,
    ) -> None:
        self._arms = arms
        self._profile = profile
        self._folder = folder
        self._progress = progress
        self._timeline = timeline
        self._meter = meter
        self._permission = permission
        self._samples: dict[tuple[str, str], list[Sample]] = {}
        self._confounders: dict[str, dict[str, str]] = {}
        self._clocks: dict[str, list[tuple[float, float]]] = {}  # instants of the arm's system and of ours

    def run(self, seed: int, deadline: Deadline) -> tuple[Series, ...]:
        """Measure every block, and more where the rule says so; an arm that is attached is detached again whatever happens."""
        profile = self._profile
        plan = plan_blocks(profile.arms, max(profile.blocks, profile.most_blocks), seed)
        wanted, began_s, done = profile.blocks, time.monotonic(), 0
        for block, order in enumerate(plan):
            if block == wanted:
                if not needs_more(self.series(), profile):
                    break
                wanted += 2
                self._progress(f"the interval is wider than +-{PRECISION:.0%}: two blocks more, of at most {len(plan)}")
            for position, name in enumerate(order):
                deadline.check()
                self._run_arm(self._arms[name], block, position)
                done += 1
                left_s = (time.monotonic() - began_s) / done * (wanted * len(order) - done)
                self._progress(f"block {block + 1} of {wanted}, {self._told(name)}, {time_left(left_s)}")
        return self.series()

    def series(self) -> tuple[Series, ...]:
        """Return what was measured so far."""
        return tuple(
            Series(
                cell.name,
                way.name,
                tuple(self._samples[cell.name, way.name]),
                self._confounders.get(way.name, {}),
                way.kind,
                self._arms[way.name].stick,
                clock_ratio(self._clocks.get(way.name, [])),
            )
            for cell in self._profile.cells
            for way in self._profile.ways
            if (cell.name, way.name) in self._samples
        )

    def _told(self, arm: str) -> str:
        """Return the last rate of an arm in the first cell, for people."""
        cell = next((cell.name for cell in self._profile.cells if (cell.name, arm) in self._samples), "")
        return f"{arm}: {self._samples[cell, arm][-1].rate_mib_s:.0f} MiB/s ({cell})" if cell else f"{arm}: nothing to measure"

    def _run_arm(self, arm: Arm, block: int, position: int) -> None:
        known = self._look(arm.origin, arm.stick) if arm.origin is not None else {}
        began_s = time.monotonic()
        transport = arm.attach()
        try:
            self._learn(arm.name, known | self._look(transport, arm.serial))
            place = _Place(arm.name, block, position, time.monotonic() - began_s)
            used = self._usage()
            for cell in self._cells_of(arm):
                fio = self._run_cell(arm, transport, cell)
                before, used = used, self._usage()
                self._keep(place, cell, fio, used.since(before))
        except BaseException:
            with contextlib.suppress(ThroughpassError):  # what went wrong first is what counts
                arm.detach()
            raise
        arm.detach()

    def _cells_of(self, arm: Arm) -> tuple[Cell, ...]:
        may_write = self._permission is not None and arm.writable and arm.stick == self._permission.serial
        return tuple(cell for cell in self._profile.cells if may_write or not cell.writes)

    def _look(self, transport: Transport, serial: str) -> dict[str, str]:
        """Wait for the disk, and return what may confound a comparison: at each attachment, since it may come back otherwise."""
        limit = Deadline.after(MOVE_TIMEOUT_S, f"the way of the stick {serial} to {transport.name}")
        parts = work_on_disk(transport, serial, {"conditions": CONFOUNDERS}, limit, timeline=self._timeline)
        return parse_confounders(parts["conditions"].text)

    def _learn(self, arm: str, found: Mapping[str, str]) -> None:
        """Keep an arm's conditions; one that changes between blocks has all its values."""
        known = self._confounders.setdefault(arm, {})
        for key, value in found.items():
            earlier = known.setdefault(key, value)
            if value not in earlier.split(", then "):
                known[key] = f"{earlier}, then {value}"

    def _usage(self) -> Usage:
        return self._meter.read() if self._meter else Usage(None, None, None)

    def _run_cell(self, arm: Arm, transport: Transport, cell: Cell) -> Part:
        """Find the disk and run fio in one round trip, and look at the clock."""
        profile = self._profile
        work = {"fio": fio_command(cell, profile), "clock": _CLOCK}
        limit = Deadline.after(MOVE_TIMEOUT_S, f"the stick's way to the arm {arm.name}")
        work_s = profile.runtime_s + profile.ramp_s + _FIO_START_S
        if cell.writes:
            work = {"rest": REST, **work}  # before fio's own guard: between that and its first write nothing shall come
        if cell.writes and self._permission is not None:
            parts = write_on_disk(transport, self._permission, work, limit, work_s=work_s, timeline=self._timeline)
        else:
            parts = work_on_disk(transport, arm.serial, work, limit, work_s=work_s, timeline=self._timeline)
        if parts["clock"].status == 0:
            self._clocks.setdefault(arm.name, []).append((float(parts["clock"].text), time.monotonic()))
        return parts["fio"]

    def _keep(self, place: _Place, cell: Cell, fio: Part, used: Usage) -> None:
        name = f"fio-{cell.name.replace(' ', '-')}-{place.block + 1:02}-{place.arm}.json"
        (self._folder / name).write_bytes(fio.stdout)
        reported_s = 0.0
        try:
            found = parse_fio(fio.stdout + fio.stderr)
            reported_s = found.runtime_s + ramp_s(cell, self._profile)
        finally:
            self._timeline.add(SpanKind.FIO, fio.start_s, fio.end_s, reported_s=reported_s)
        sample = found.sample(place.block, place.position, attach_s=round(place.attach_s, 3), attachment=name)
        self._samples.setdefault((cell.name, place.arm), []).append(with_cost(sample, used, ramp_s(cell, self._profile)))


def clock_ratio(instants: list[tuple[float, float]]) -> float | None:
    """Return how long a second of ours was by a system's clock, from the first look to the last; None if that is too short."""
    if not instants or (ours := instants[-1][1] - instants[0][1]) < _LEAST_CLOCK_S:
        return None
    return round((instants[-1][0] - instants[0][0]) / ours, 4)


def time_left(seconds: float) -> str:
    """Return ``about 2 min left``."""
    minute, second = 60, 10
    if seconds < second:
        return "a few seconds left" if seconds > 0 else "done"
    return f"about {seconds / minute:.0f} min left" if seconds >= 1.5 * minute else f"about {seconds:.0f} s left"
