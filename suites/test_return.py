"""Stage 7: the controller goes back to the host as it was found, and works there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fixtures.guest import FIND_GUESTS
from fixtures.outcomes import require
from fixtures.run import BenchRun
from fixtures.storage import Stick
from harness.actions.apply import drivers_query, parse_drivers
from harness.actions.binding import Binding
from harness.actions.custody import Claim
from harness.actions.journal import read_journals
from harness.actions.modules import LISTING, left_by_vfio, needed_for
from harness.bench.host import Host
from harness.facts.host import read_facts
from harness.facts.pci import PciDevice
from harness.facts.probe import take_sections
from harness.machine.batch import Part, run_batch
from harness.machine.disks import READING_LIMIT_S, hash_command, read_hash, work_on_disk
from harness.rules.groups import PASSING_DRIVERS


@pytest.fixture(scope="module")
def after_return(host: Host, returned: PciDevice) -> dict[str, Part]:
    """Return what the host shows once everything went back."""
    looks = {
        "driver": drivers_query((returned.address,)),
        "override": f'read -r override </sys/bus/pci/devices/{returned.address}/driver_override && echo "$override"',
        "reserved": 'cd /sys/bus/pci/drivers; for each in vfio-pci/*:* pci-stub/*:*; do [ ! -e "$each" ] || echo "$each"; done',
        "modules": LISTING,
        "guests": FIND_GUESTS,
    }
    return run_batch(host.transport, looks)


def test_driver_is_back(run: BenchRun, binding: Binding, after_return: dict[str, Part]) -> None:
    """The controller is pulled from the guest and bound to the driver that it was found with; driver_override is as before."""
    found = binding.found
    driver = parse_drivers(after_return["driver"].require().text)[found.address]
    run.note(f"/sys/bus/pci/devices/{found.address}/driver", driver)
    override = after_return["override"].require().text
    run.note("driver_override", override)

    require(
        driver == (found.driver or ""),
        f"the controller is bound to {driver or 'nothing'}, not to {found.driver or 'nothing'} as before",
        f"as root: echo {found.address} >/sys/bus/pci/drivers_probe; if that does not help, power the host off and on",
    )
    require(
        override.replace("(null)", "") == (found.driver_override or ""),
        f"driver_override is {override!r}, it was {found.driver_override or ''!r}",
        f"as root: echo >/sys/bus/pci/devices/{found.address}/driver_override",
    )


def test_stick_is_back(run: BenchRun, host: Host, returned: PciDevice, plugged_stick: Stick) -> None:
    """The stick enumerates on the host again, and its content is the same."""
    if returned.driver in PASSING_DRIVERS:
        pytest.skip(f"the controller was found on {returned.driver}: the host has no stick on it")
    limit = run.deadline.within(60, "the stick's return to the host")
    work = {"node": 'echo "$disk"', "data": hash_command('"$disk"', plugged_stick.window_mib)}
    parts = work_on_disk(host.transport, plugged_stick.serial, work, limit, work_s=READING_LIMIT_S, timeline=run.timeline)
    device = parts["node"].text
    digest = read_hash(parts["data"], device)
    run.note(f"SHA-256 of the first {plugged_stick.window_mib} MiB of {device} on the host", digest)

    require(
        digest == plugged_stick.sha256,
        f"data differ: the host reads {digest[:16]}..., the stick held {plugged_stick.sha256[:16]}...",
        "do not trust this board with data: look at the host's log for xhci_hcd and I/O errors",
    )


@pytest.fixture(scope="module")
def others(host: Host, claim: Claim, after_return: dict[str, Part]) -> dict[str, str]:  # noqa: ARG001 (read after the looks)
    """Return who else has taken a controller of this host, by the controller or by the journal that cannot be read."""
    left = read_journals(host.transport)
    runs = {journal.name: journal.who for journal in left.journals.values() if journal.run != claim.mark}
    return runs | {each.name: each.reason for each in left.unreadable}


def test_no_vfio_left(
    run: BenchRun, binding: Binding, modules_before: frozenset[str], after_return: dict[str, Part], others: dict[str, str]
) -> None:
    """What we took is reserved only if it was before; the modules that were loaded for it are gone, unless others need them."""
    ours = {device.address: device.driver for device in binding.devices}
    reserved = [entry.partition("/") for entry in after_return["reserved"].text.split()]
    kept = modules_before | needed_for([driver for driver, _, _ in reserved])
    modules = [] if others else sorted(left_by_vfio(after_return["modules"].require().text, kept))
    for name, who in others.items():
        run.note(f"{name}: the modules are in use", who)
    run.note("reserved devices", ", ".join(f"{address} by {driver}" for driver, _, address in reserved) or "none")
    run.note("VFIO modules that were not there before", ", ".join(modules) or "none")

    left = sorted(f"{address} on {driver}" for driver, _, address in reserved if ours.get(address, driver) != driver)
    require(not left, f"left reserved: {', '.join(left)}", "as root: unbind it there, and probe again by drivers_probe")
    require(not modules, f"modules left: {', '.join(modules)}", "as root: modprobe -r vfio-pci, once nothing uses it")


def test_no_guest_left(run: BenchRun, claim: Claim, after_return: dict[str, Part]) -> None:
    """No process of the run's guests and none of their files are left on the host."""
    left = sorted({folder for folder in after_return["guests"].text.split() if claim.mark in folder})
    run.note("folders of the run's guests, there or named by a process", ", ".join(left) or "none")

    require(not left, f"a guest left {', '.join(left)}", "end the QEMU whose command line names it, then remove the folder")


@pytest.mark.usefixtures("returned")
def test_facts_are_as_before(run: BenchRun, host: Host, binding: Binding) -> None:
    """The host's facts of all that was taken are the same as before: driver, group, override, reset methods."""
    facts = read_facts(take_sections(host.transport, "pci"))
    kept = ("id", "subsystem", "class_code", "driver", "driver_override", "group", "reset_methods")
    changed = []
    for before in binding.devices:
        now = facts.find_pci(before.address)
        run.note(f"{before.address} before", str(before))
        run.note(f"{before.address} now", str(now))
        changed += [f"{before.address} {key}" for key in kept if now is None or getattr(now, key) != getattr(before, key)]

    require(not changed, f"what was taken came back changed: {', '.join(changed)}", "power the host off and on")


def test_kernel_stays_calm(calm: Callable[[], None]) -> None:
    """Giving the controller back draws no complaint from the host's kernel about it."""
    calm()
