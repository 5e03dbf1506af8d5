"""Scratch disks: which USB disks a host has, and which of them may be written over."""
# ruff: noqa: PLC0415 (imports of weight stand within the verbs: a listing must not wait for what only a boot needs)

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.app import PLAIN, app
from harness.cli.custody import LOCAL, WaitOption, open_host
from harness.cli.terminal import interruptible, say, tell
from harness.core.errors import RefusedError, UsageError
from reports.spelling import visible

if TYPE_CHECKING:
    from harness.facts.content import NamedDisk
    from harness.facts.host import HostFacts
    from harness.facts.storage import Disk
    from harness.transport.protocol import Transport

storage_app = typer.Typer(help="Scratch disks: show, mark, unmark what a run may write over.", **PLAIN)
app.add_typer(storage_app, name="storage")

SerialArgument = Annotated[str, typer.Argument(metavar="SERIAL", help="the disk's serial number, as `storage show` lists it")]
BenchOption = Annotated[str, typer.Option("--bench", metavar="BENCH", help="the host's bench file; without it, this machine")]
OverwriteOption = Annotated[
    list[str] | None,
    typer.Option("--overwrite", metavar="TYPE", help="what may be lost: ext4, gpt, ...; may come more than once"),
]


@storage_app.command("show")
def show(
    serial: Annotated[str, typer.Argument(metavar="[SERIAL]", help="one disk; without it, every USB disk")] = "",
    bench: BenchOption = LOCAL,
) -> None:
    """Say which USB disks a host has, what is on them, and whether they are marked as scratch. Reads only."""
    from harness.machine.scratch import look_at_disk, read_uses

    with interruptible(), _host(bench) as host:
        facts = read_uses(host)
        serials = [serial] if serial else sorted({disk.serial for disk in _usb_disks(facts) if disk.serial})
        for each in serials:
            _describe(look_at_disk(host, each, facts), facts)
        for disk in _usb_disks(facts):
            if not serial and not disk.serial:
                say(f"/dev/{disk.name}  {_title(disk)}: has no serial number, so it can never be named")
        if not serial and not _usb_disks(facts):
            say(f"{host.name} has no USB disk")


@storage_app.command("mark")
def mark(serial: SerialArgument, bench: BenchOption = LOCAL, overwrite: OverwriteOption = None, wait: WaitOption = 0) -> None:
    """Mark a disk as scratch, so that runs may write over it, after showing what is on it and asking for its serial.

    Refused: a disk in use, one of several with that serial, one on which anything is recognised that --overwrite does not name.
    """
    from harness.actions.custody import Claim
    from harness.core.marker import Marker
    from harness.machine.scratch import look_at_disk, put_marker, read_uses
    from harness.rules.scratch import judge_marking, judge_writing, require_allowed

    _require_terminal()
    with interruptible(), _held(bench, serial, wait) as host:
        facts = read_uses(host)
        named = look_at_disk(host, serial, facts)
        _describe(named, facts)
        require_allowed(judge_marking(named, overwrite or ()))
        assert named.disk is not None
        assert named.content is not None
        if named.content.marker and not named.content.foreign:
            say("it is marked already: nothing was done")
            return
        _ask(serial)
        made = datetime.now(UTC).isoformat(timespec="seconds")
        by = Claim(bench).who.partition(",")[0]
        marker = Marker(serial, named.disk.size_bytes, named.content.block_bytes, made, by)
        put_marker(host, named, marker, overwrite or ())
        require_allowed(judge_writing(look_at_disk(host, serial)))
        say(
            f"marked: a run whose bench file names {visible(serial)} and has [storage] write = true may write over it from now on"
        )


@storage_app.command("unmark")
def unmark(serial: SerialArgument, bench: BenchOption = LOCAL, wait: WaitOption = 0) -> None:
    """Take the marker from a disk: its first 4096 bytes become zeros, and no run writes to it any more."""
    from harness.machine.scratch import look_at_disk, read_uses, remove_marker
    from harness.rules.scratch import judge_writing, require_allowed

    with interruptible(), _held(bench, serial, wait) as host:
        facts = read_uses(host)
        named = look_at_disk(host, serial, facts)
        _describe(named, facts)
        require_allowed(judge_writing(named))
        remove_marker(host, named)
        say(f"{visible(serial)} is marked no more")


@contextmanager
def _host(bench: str) -> Iterator[Transport]:
    from harness.bench.config import load_bench

    with open_host(None if bench == LOCAL else load_bench(bench)) as host:
        yield host


@contextmanager
def _held(bench: str, serial: str, wait: int) -> Iterator[Transport]:
    """Hold the way to a host, and the controller that the disk hangs on: no run has it meanwhile."""
    from harness.actions.custody import Claim, locking
    from harness.machine.scratch import read_uses

    with _host(bench) as host:
        found = [disk for disk in _usb_disks(read_uses(host)) if disk.serial == serial]
        if not found:
            raise UsageError(
                f"no USB disk of {host.name} has the serial {serial}: `throughpass storage show` lists those there are"
            )
        if len(found) > 1:
            names = ", ".join(disk.name for disk in found)
            raise RefusedError(
                f"{len(found)} USB disks of {host.name} have the serial {serial}: {names}",
                remedy="leave one of them in; a disk that cannot be told from another is never written",
            )
        if not found[0].pci_addresses:
            raise RefusedError(f"{host.name} does not show on which controller {found[0].name} hangs: nothing was written")
        with locking(host, found[0].pci_addresses[-1], Claim(f"storage {serial}", wait_s=wait), tell):
            yield host


def _usb_disks(facts: HostFacts) -> list[Disk]:
    """Return the USB disks; a card reader without a card is none."""
    return [disk for disk in facts.disks if disk.usb_device and disk.size_bytes]


def _describe(named: NamedDisk, facts: HostFacts) -> None:
    """Say what a disk is, where it hangs, what is on it, what the host does with it, and whether it is marked."""
    from harness.rules.scratch import judge_writing

    for disk in _usb_disks(facts):
        if disk.serial == named.serial:
            where = f"on {disk.pci_addresses[-1]}, port {disk.usb_device}" if disk.pci_addresses else f"port {disk.usb_device}"
            say(f"/dev/{disk.name}  {visible(disk.serial)}  {_title(disk)}, {where}")
    if named.disk is not None and named.disk.used_for:
        say(f"    the host uses it: {visible(', '.join(named.disk.used_for))}")
    if (content := named.content) is not None:
        say(f"    partitions: {visible(', '.join(content.partitions)) or 'none'}")
        say(f"    recognised on it: {visible(', '.join(each.words for each in content.foreign)) or 'nothing'}")
        if content.unknown_data:
            say(f"    data that nobody recognises, perhaps encrypted: {content.unknown_data}")
    say(f"    {visible(judge_writing(named).message)}")


def _title(disk: Disk) -> str:
    model = " ".join(filter(None, (disk.vendor, disk.model))) or "unknown model"
    return f"{visible(model)}, {disk.size_bytes >> 20} MiB"


def _require_terminal() -> None:
    if not sys.stdin.isatty():
        raise UsageError("marking a disk asks a person for its serial, and standard input is no terminal: run it from one")


def _ask(serial: str) -> None:
    """Have the serial typed; anything else ends it."""
    tell("everything on this disk will be lost. To go on, type its serial:")
    if sys.stdin.readline().strip() != serial.strip():
        raise UsageError("that is not the serial: nothing was written")
