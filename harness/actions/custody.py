"""Custody of a controller: locked, taken with a journal on the host's disk, given back whatever happens."""

from __future__ import annotations

import getpass
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from harness.actions.attributes import read_attributes, restore_attributes, told_unrestored
from harness.actions.binding import Binding, read_drivers, require_unchanged
from harness.actions.journal import Journal, Left, read_journals, remove_journal, taken, write_journal
from harness.actions.lock import Lock, holding
from harness.actions.modules import FAMILY, loaded_modules, unload_new_vfio
from harness.actions.plan import Plan, writes_of
from harness.core.errors import BenchError
from harness.facts.pci import PciDevice
from harness.transport.protocol import Transport


@dataclass(frozen=True)
class Claim:
    """Who takes a controller, and how: ``alone`` on the host or not, waiting at most ``wait_s`` for others.

    ``mark`` is in the name of each folder and process of the run on the host.
    """

    bench: str
    alone: bool = False
    wait_s: int = 0
    mark: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def who(self) -> str:
        """Return what others are told."""
        runner = f"{_user()}@{socket.gethostname()}"
        return f"{runner}, process {os.getpid()}, bench {self.bench}, since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def _user() -> str:
    """Return who runs us; a user without a name, as in containers, is told by his number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def locking(transport: Transport, address: str, claim: Claim, progress: Callable[[str], None]) -> AbstractContextManager[Lock]:
    """Return the lock of a controller for a claim: what is read while it is held still holds when the controller is taken."""
    return holding(transport, address, who=claim.who, alone=claim.alone, wait_s=claim.wait_s, progress=progress)


@contextmanager
def custody(
    transport: Transport,
    lock: Lock,
    devices: Sequence[PciDevice],
    driver: str,
    claim: Claim,
    *,
    modules: frozenset[str],
    progress: Callable[[str], None],
) -> Iterator[Binding]:
    """Hold devices of one group, the controller first, as the facts found them; what was bound is given back in the end.

    ``modules`` are those of ``find_modules_before``. Raises BenchError if somebody else took one of them, or has changed it.
    """
    left = read_journals(transport)
    _require_as_told(transport, devices, left)
    journal = Journal(
        run=claim.mark,
        who=claim.who,
        bench=claim.bench,
        boot_id=left.boot_id,
        devices=tuple(taken(device) for device in devices),
        modules=tuple(sorted(modules & frozenset(FAMILY))),
        attributes=read_attributes(transport, [device.address for device in devices]),
    )
    keeper = _Keeper(transport, journal, lock, progress)
    binding = Binding(transport, devices, driver, before_write=keeper.permit, permit=str(journal.path))
    try:
        yield binding
    finally:
        keeper.close(binding)


def find_modules_before(transport: Transport) -> frozenset[str]:
    """Return the modules that were loaded before any run of ours, now.

    The journals are read first: a run that ends meanwhile takes out what it brought before its journal goes.
    """
    left = read_journals(transport)
    return modules_before(loaded_modules(transport), left)


def modules_before(loaded: frozenset[str], left: Left) -> frozenset[str]:
    """Return the modules that were loaded before any run of ours: what another one that lives brought goes with the last."""
    for journal in left.journals.values():
        loaded -= frozenset(FAMILY) - frozenset(journal.modules)
    return loaded


@dataclass
class _Keeper:
    """Writes the journal before the first write, and removes it when all is as it was."""

    transport: Transport
    journal: Journal
    lock: Lock
    progress: Callable[[str], None]
    written: bool = False

    def permit(self, plan: Plan) -> None:
        """Let a plan be applied: the lock is ours, and the journal lies on the disk. From then on the journal's turn decides."""
        if not self.written and plan.steps:
            self.lock.require()
            journal = msgspec.structs.replace(self.journal, plan=tuple(writes_of(plan.steps)))
            write_journal(self.transport, journal, self.lock.proof)
            self.written = True

    def close(self, binding: Binding) -> None:
        """Give back what was taken; the journal stays if that fails."""
        if binding.touched:
            binding.give_back()
        if not self.written:
            return
        if told := told_unrestored(restore_attributes(self.transport, self.journal.attributes)):
            self.progress(f"{self.journal.name} was given back{told}")
        if left := unload_new_vfio(self.transport, frozenset(self.journal.modules)):
            raise BenchError(f"modules that were not loaded before could not be removed: {', '.join(sorted(left))}")
        remove_journal(self.transport, self.journal)


def _require_as_told(transport: Transport, devices: Sequence[PciDevice], left: Left) -> None:
    """Raise BenchError if a device is no longer as the facts told before it was locked."""
    address = devices[0].address
    for journal in left.journals.values():
        if both := {device.address for device in devices} & {kept.address for kept in journal.devices}:
            remedy = (
                "`throughpass restore` puts back what a dead run left, or says why it cannot; of one that lives, wait for the end"
            )
            raise BenchError(f"{', '.join(sorted(both))} was taken by {journal.who}", remedy=remedy)
    if any(each.name.startswith(f"{address}.") for each in left.unreadable):
        raise BenchError(
            f"a journal of {address} lies on {transport.name} that cannot be followed",
            remedy="`throughpass restore` says why",
        )
    require_unchanged(devices, read_drivers(transport, devices))
