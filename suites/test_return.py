"""Stage 6: the controller goes back to the host as it was found, and works there."""

from __future__ import annotations

import pytest

from fixtures.guest import find_guests
from fixtures.outcomes import require
from fixtures.run import BenchRun
from fixtures.storage import Stick
from harness.actions.binding import Binding
from harness.actions.modules import left_by_vfio
from harness.bench.host import Host
from harness.facts.host import HostFacts
from harness.machine.disks import hash_window, wait_for_disk


@pytest.mark.usefixtures("returned")
def test_driver_is_back(run: BenchRun, host: Host, binding: Binding) -> None:
    """The controller is pulled from the guest and bound to the driver that it was found with; driver_override is as before."""
    found = binding.found
    driver = binding.current_driver()
    run.note(f"/sys/bus/pci/devices/{found.address}/driver", driver)
    override = host.transport.run(f"cat /sys/bus/pci/devices/{found.address}/driver_override").text
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


@pytest.mark.usefixtures("returned")
def test_stick_is_back(run: BenchRun, host: Host, stick: Stick, plugged_stick: Stick) -> None:
    """The stick enumerates on the host again, and its content is the same."""
    device = wait_for_disk(host.transport, stick.serial, run.deadline.within(60, "the stick's return to the host"))
    digest = hash_window(host.transport, device, stick.window_mib)
    run.note(f"SHA-256 of the first {stick.window_mib} MiB of {device} on the host", digest)

    require(
        digest == plugged_stick.sha256,
        f"data differ: the host reads {digest[:16]}..., the stick held {plugged_stick.sha256[:16]}...",
        "do not trust this board with data: look at the host's log for xhci_hcd and I/O errors",
    )


@pytest.mark.usefixtures("returned")
def test_no_vfio_left(run: BenchRun, host: Host, host_facts: HostFacts, modules_before: frozenset[str]) -> None:
    """No device is on vfio-pci that was not before, and the modules that were loaded for it are gone."""
    before = {device.address for device in host_facts.pci if device.driver == "vfio-pci"}
    now = host.transport.run("cd /sys/bus/pci/drivers/vfio-pci 2>/dev/null && ls -d *:*").text.split()
    modules = sorted(left_by_vfio(host.transport, modules_before))
    run.note("devices on vfio-pci", ", ".join(now) or "none")
    run.note("VFIO modules that were not there before", ", ".join(modules) or "none")

    left = sorted(set(now) - before)
    require(not left, f"left on vfio-pci: {', '.join(left)}", "as root: unbind it there, and probe again by drivers_probe")
    require(not modules, f"modules left: {', '.join(modules)}", "as root: modprobe -r vfio-pci, once nothing uses it")


@pytest.mark.usefixtures("returned")
def test_no_guest_left(run: BenchRun, host: Host, guests_before: frozenset[str]) -> None:
    """No process of a guest of ours and none of its files are on the host that were not before."""
    left = sorted(find_guests(host.transport) - guests_before)
    run.note("folders of guests, there or named by a process, that were not before", ", ".join(left) or "none")

    require(not left, f"a guest left {', '.join(left)}", "end the QEMU whose command line names it, then remove the folder")


@pytest.mark.usefixtures("returned")
def test_facts_are_as_before(run: BenchRun, host: Host, binding: Binding) -> None:
    """The host's facts of the controller are the same as before: driver, group, override, reset methods."""
    now = host.facts().find_pci(binding.found.address)
    run.note("before", str(binding.found))
    run.note("now", str(now))
    kept = ("id", "subsystem", "class_code", "driver", "driver_override", "group", "reset_methods")
    changed = [key for key in kept if now is None or getattr(now, key) != getattr(binding.found, key)]

    require(not changed, f"the controller came back changed: {', '.join(changed)}", "power the host off and on")
