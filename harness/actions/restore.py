"""Finishing what a dead run left: its processes, its devices' drivers, its modules and its files; its journal goes last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.actions.attributes import restore_attributes, told_unrestored
from harness.actions.binding import Binding
from harness.actions.journal import Journal, Left, device_of, read_journals, remove_journal, sweep, take_turn
from harness.actions.lending import guest_user, take_back_command
from harness.actions.lock import BusyError, GoneError, holding
from harness.actions.modules import unload_new_vfio
from harness.core.errors import BenchError, BoardError, ThroughpassError
from harness.facts.host import HostFacts, read_facts
from harness.facts.probe import take_sections
from harness.transport.protocol import Transport

Progress = Callable[[str], None]

_END_LIMIT_S = 20

# The pattern does not match its own spelling, which is on a command line, too. A shell has nothing to await a stranger's end by.
_TIDY = """
found() {{ grep -alE '[/]tmp/throughpass-[a-z0-9-]*[.]{mark}' /proc/[0-9]*/cmdline 2>/dev/null; }}
for file in $(found); do
    pid=${{file#/proc/}}
    kill -9 "${{pid%/cmdline}}" 2>/dev/null
done
left={turns}
while [ "$left" -gt 0 ] && [ -n "$(found)" ]; do
    sleep 0.2
    left=$((left - 1))
done
rm -rf /tmp/throughpass-*.{mark}*
{take_back}
for file in $(found); do
    pid=${{file#/proc/}}
    pid=${{pid%/cmdline}}
    echo "process $pid does not end; the kernel's stack of it:"
    cat "/proc/$pid/stack"
done
"""


@dataclass(frozen=True)
class Finished:
    """What became of one journal: a sentence for people, and the error if not all is as it was."""

    name: str
    sentence: str
    error: ThroughpassError | None = None


def restore_host(transport: Transport, *, who: str, wait_s: int, progress: Progress) -> list[Finished]:
    """Finish every run that died on a host; those that live are left alone. Safe to call twice, and by two at once.

    A journal that cannot be followed, or whose controller somebody holds, is an error among the outcomes, and nothing is touched.
    """
    left = read_journals(transport)
    done = [_unreadable(transport, name, reason) for name, reason in left.unreadable]
    for journal in left.journals.values():
        try:
            done.append(_finish_alone(transport, journal, left, who=who, wait_s=wait_s, progress=progress))
        except BusyError as error:
            done.append(Finished(journal.name, f"{journal.name} was left alone: {error.message}", error))
        except ThroughpassError as error:
            done.append(Finished(journal.name, f"{journal.name} could not be put back: {error.message}", error))
    sweep(transport)
    return done


def _unreadable(transport: Transport, name: str, reason: str) -> Finished:
    message = f"the journal {name} on {transport.name} cannot be followed: {reason}"
    remedy = "look at the device's driver and driver_override yourself, then remove the journal in /var/lib/throughpass"
    return Finished(name, message, BenchError(message, remedy=remedy))


def _finish_alone(transport: Transport, journal: Journal, left: Left, *, who: str, wait_s: int, progress: Progress) -> Finished:
    """Finish a run while nobody else can."""
    try:
        with holding(transport, journal.name, who=who, wait_s=wait_s, progress=progress):
            now = read_journals(transport)
            same = next((each for each in now.journals.values() if (each.name, each.run) == (journal.name, journal.run)), None)
            if same is None:
                return Finished(journal.name, f"{journal.name} was put back by somebody else meanwhile")
            journal = take_turn(transport, same)
            if journal.boot_id != now.boot_id:
                return _tidy_after_boot(transport, journal)
            progress(f"putting back {journal.name}, which {journal.who} had taken")
            return finish(transport, journal)
    except GoneError:
        if journal.boot_id == left.boot_id:
            raise
        return _tidy_after_boot(transport, journal)  # the card was taken out meanwhile


def _tidy_after_boot(transport: Transport, journal: Journal) -> Finished:
    _tidy(transport, journal)
    remove_journal(transport, journal)
    return Finished(journal.name, f"{transport.name} has booted since {journal.who} took {journal.name}: only files were tidied")


def finish(transport: Transport, journal: Journal) -> Finished:
    """Put back all that a journal tells of, and remove it. Raises, and keeps the journal, where something stays."""
    _tidy(transport, journal)
    facts = read_facts(take_sections(transport, "pci"), {})
    _require_same_devices(journal, facts)
    devices = [device_of(kept) for kept in journal.devices]
    Binding(transport, devices, "", believed=False, permit=str(journal.path)).give_back()
    unrestored = restore_attributes(transport, journal.attributes)
    unload_new_vfio(transport, frozenset(journal.modules))
    require_as_found(transport, journal)
    remove_journal(transport, journal)
    drivers = ", ".join(f"{kept.address} to {kept.driver or 'no driver'}" for kept in journal.devices)
    return Finished(journal.name, f"put back: {drivers}{told_unrestored(unrestored)}")


def require_as_found(transport: Transport, journal: Journal) -> None:
    """Raise BoardError unless each device has the driver and the driver_override that it was found with."""
    facts = read_facts(take_sections(transport, "pci"), {})
    for kept in journal.devices:
        device = facts.find_pci(kept.address)
        now = (device.driver or "", device.driver_override or "") if device else None
        if now != (kept.driver, kept.override):
            found = f"driver {kept.driver or 'none'}, driver_override {kept.override or 'none'}"
            raise BoardError(f"{kept.address} is not as it was found ({found}): {now}")


def _tidy(transport: Transport, journal: Journal) -> None:
    """End the run's processes and remove its folders; both have its mark in their names."""
    turns = _END_LIMIT_S * 5
    stuck = transport.run(
        _TIDY.format(mark=journal.run, turns=turns, take_back=take_back_command(guest_user(journal.run))),
        timeout_s=_END_LIMIT_S + 100.0,
    ).text
    if stuck:
        raise BoardError(
            f"a process of {journal.who} on {transport.name} does not end",
            evidence=stuck,
            remedy="power the host off and on, then `throughpass restore`",
        )


def _require_same_devices(journal: Journal, facts: HostFacts) -> None:
    for kept in journal.devices:
        device = facts.find_pci(kept.address)
        if device is None:
            raise BoardError(f"{kept.address} is no longer there", remedy="power the host off and on, then `throughpass restore`")
        if device.id != kept.id:
            raise BenchError(
                f"at {kept.address} there is {device.id} now, it was {kept.id}: left alone",
                remedy="look at the device's driver yourself, then remove the journal in /var/lib/throughpass",
            )


def errors_of(done: Sequence[Finished]) -> list[ThroughpassError]:
    """Return what could not be put back."""
    return [each.error for each in done if each.error is not None]
