"""Stage 6: the controller goes back to the host as it was found, and works there."""

from __future__ import annotations

import pytest

from fixtures.guest import GuestStay
from fixtures.run import BenchRun
from fixtures.storage import Stick
from harness.actions.binding import Binding
from harness.actions.modules import VFIO, loaded_modules
from harness.bench.host import Host
from harness.machine.disks import hash_window, wait_for_disk


@pytest.mark.usefixtures("returned")
def test_driver_is_back(run: BenchRun, host: Host, binding: Binding) -> None:
    """The controller is pulled from the guest and bound to the driver that it was found with; driver_override is as before."""
    found = binding.found
    driver = binding.current_driver()
    run.note(f"/sys/bus/pci/devices/{found.address}/driver", driver)
    override = host.transport.run(f"cat /sys/bus/pci/devices/{found.address}/driver_override").text
    run.note("driver_override", override)

    assert driver == (found.driver or "")
    assert override.replace("(null)", "") == (found.driver_override or "")


@pytest.mark.usefixtures("returned")
def test_stick_is_back(run: BenchRun, host: Host, stick: Stick, plugged_stick: Stick) -> None:
    """The stick enumerates on the host again, and its content is the same."""
    device = wait_for_disk(host.transport, stick.serial, run.deadline.within(60, "the stick's return to the host"))
    digest = hash_window(host.transport, device, stick.window_mib)
    run.note(f"SHA-256 of the first {stick.window_mib} MiB of {device} on the host", digest)

    assert digest == plugged_stick.sha256


@pytest.mark.usefixtures("returned")
def test_no_vfio_left(run: BenchRun, host: Host, modules_before: frozenset[str]) -> None:
    """No device is left on vfio-pci, and the modules that were loaded for it are gone."""
    bound = host.transport.run("ls -d /sys/bus/pci/drivers/vfio-pci/*:*").text
    modules = sorted((loaded_modules(host.transport) - modules_before) & set(VFIO))
    run.note("devices on vfio-pci", bound or "none")
    run.note("VFIO modules that were not there before", ", ".join(modules) or "none")

    assert not bound
    assert not modules


@pytest.mark.usefixtures("returned")
def test_no_guest_left(run: BenchRun, host: Host, stays: list[GuestStay]) -> None:
    """No process of the guest and none of its files are left on the host."""
    for stay in stays:
        folder = stay.machine.workdir
        pattern = f"[/]{str(folder)[1:]}/"  # does not match its own spelling, in this very command line
        processes = host.transport.run(f"grep -l '{pattern}' /proc/[0-9]*/cmdline 2>/dev/null").text
        files = host.transport.run(["ls", "-d", str(folder)]).text
        run.note("processes of the guest on the host", processes or "none")
        run.note("files of the guest on the host", files or "none")

        assert not processes
        assert not files


@pytest.mark.usefixtures("returned")
def test_facts_are_as_before(run: BenchRun, host: Host, binding: Binding) -> None:
    """The host's facts of the controller are the same as before: driver, group, override, reset methods."""
    now = host.facts().find_pci(binding.found.address)
    run.note("before", str(binding.found))
    run.note("now", str(now))

    assert now == binding.found
