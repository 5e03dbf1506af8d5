"""A host that can be qualified, and the bench that gives it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from harness.bench.cache import Progress
from harness.bench.config import BenchConfig, StickSection
from harness.bench.obstacles import Obstacle
from harness.core.capture import Capture, Item, Status
from harness.core.deadline import Deadline
from harness.facts.host import HostFacts, read_facts
from harness.facts.probe import take_sections
from harness.machine.guest import GuestFiles
from harness.transport.protocol import Transport

USUAL_QEMU = "qemu-system-x86_64"
"""The QEMU that the probe itself asks for its version."""


@dataclass(frozen=True)
class Host:
    """A host under test. Whether it is emulated nobody needs to ask but the report.

    ``guest_files`` brings them there if need be; ``find_obstacles`` says beforehand what would keep a guest from running.
    """

    transport: Transport
    qemu: str
    emulated: bool
    guest_files: Callable[[], GuestFiles]
    find_obstacles: Callable[[], Sequence[Obstacle]] = tuple
    bench_qemu: str = ""
    bench_accelerator: str = ""

    def capture(self) -> Capture:
        """Read everything that facts are made of, in one round trip; a QEMU of another name than usual is asked in a second."""
        capture = take_sections(self.transport)
        if self.qemu == USUAL_QEMU:
            return capture
        told = self.transport.run([self.qemu, "--version"])
        item = Item(Status.ABSENT) if told.status else Item(Status.READ, told.stdout)
        return replace(capture, items={**capture.items, "commands/qemu": item})

    def facts(self) -> HostFacts:
        """Return the host's facts as they are now: every action makes older ones stale."""
        return read_facts(self.capture())


class Bench(Protocol):
    """A maker of hosts. Virtual and real are two makers; no suite asks which."""

    config: BenchConfig

    @property
    def can_plug(self) -> bool:
        """Return whether sticks can be plugged in and out while the host runs, by whatever hand."""

    @property
    def can_plug_any(self) -> bool:
        """Return whether that holds for sticks that this bench does not know as well: a person plugs what there is."""

    def open(self, logs: Path, deadline: Deadline, progress: Progress) -> AbstractContextManager[Host]:
        """Bring the host up (or reach it) and hold it for as long as the context lasts."""

    def find_stick(self) -> StickSection | None:
        """Return the stick whose content this bench knows before anybody has read it, or None."""

    def plug(self, stick: StickSection) -> None:
        """Plug a stick in; returns when the machine has it, not when it has enumerated.

        ``stick.on`` is the card of a virtual board, or the controller's address on a host where a person plugs.
        """

    def unplug(self, stick: StickSection) -> None:
        """Pull a stick out."""
