"""Plans of binding: facts go in, writes come out; nothing touches a host."""

from __future__ import annotations

from harness.actions.plan import Aim, Plan, guard_steps, plan_bind, plan_return
from harness.facts.pci import PciDevice

ADDRESS = "0000:01:00.0"
FOLDER = f"/sys/bus/pci/devices/{ADDRESS}"
LOAD = "[ -d /sys/bus/pci/drivers/vfio-pci ] || modprobe vfio-pci"
PROBE = f"echo {ADDRESS} >/sys/bus/pci/drivers_probe"


def override(value: str) -> str:
    """Return the write of a driver_override."""
    return f"echo '{value}' >{FOLDER}/driver_override"


UNBIND = f"echo {ADDRESS} >{FOLDER}/driver/unbind"


GUARD = guard_steps("xhci_hcd", ADDRESS)[0].command


def commands(plan: Plan) -> list[str]:
    """Return a plan's commands."""
    return [step.command for step in plan.steps]


def test_plan_bind_from_a_driver() -> None:
    """The override is written before the old driver is unbound, so that nothing else can take the device in between."""
    plan = plan_bind([PciDevice(ADDRESS, driver="xhci_hcd")], "vfio-pci")

    assert commands(plan) == [GUARD, LOAD, GUARD, override("vfio-pci"), UNBIND, PROBE]
    assert plan.aims == (Aim(ADDRESS, "xhci_hcd", "vfio-pci"),)


def test_plan_return_from_a_driver_that_was_not_found() -> None:
    """A host driver that took the device meanwhile may have disks behind it: they are looked at before it is unbound."""
    plan = plan_return([PciDevice(ADDRESS, driver="xhci-pci-renesas")], {ADDRESS: "xhci_hcd"})

    assert commands(plan) == [GUARD, UNBIND, override(""), PROBE]


def test_plan_bind_without_a_driver() -> None:
    """A device without a driver needs no unbinding."""
    assert commands(plan_bind([PciDevice(ADDRESS)], "vfio-pci")) == [LOAD, override("vfio-pci"), PROBE]


def test_plan_bind_nothing_to_do() -> None:
    """A device that has the driver already is left alone."""
    assert commands(plan_bind([PciDevice(ADDRESS, driver="vfio-pci")], "vfio-pci")) == []


def test_plan_return_to_the_driver_that_was_found() -> None:
    """The way back clears the override and lets the kernel find the usual driver."""
    plan = plan_return([PciDevice(ADDRESS, driver="xhci_hcd")], {ADDRESS: "vfio-pci"})

    assert commands(plan) == [UNBIND, override(""), PROBE]
    assert plan.aims == (Aim(ADDRESS, "vfio-pci", "xhci_hcd"),)


def test_plan_return_of_an_override_that_was_found() -> None:
    """An override that was there before comes back with its value."""
    found = PciDevice(ADDRESS, driver="vfio-pci", driver_override="vfio-pci")

    assert commands(plan_return([found], {ADDRESS: "vfio-pci"})) == [override("vfio-pci")]


def test_plan_return_to_a_driver_that_reserved_it_by_its_id() -> None:
    """A device that was found on pci-stub without an override comes back to it by one, which goes again."""
    plan = plan_return([PciDevice(ADDRESS, driver="pci-stub")], {ADDRESS: "vfio-pci"})

    assert commands(plan) == [UNBIND, override("pci-stub"), PROBE, override("")]


def test_plan_return_to_no_driver() -> None:
    """A device that was found without a driver is left without one."""
    plan = plan_return([PciDevice(ADDRESS)], {ADDRESS: "vfio-pci"})

    assert commands(plan) == [UNBIND, override("")]
    assert plan.aims == (Aim(ADDRESS, "vfio-pci", ""),)


def test_plan_bind_unbinds_all_before_it_probes_one() -> None:
    """The functions of one card leave together: none is probed while another has its old driver."""
    other = "0000:01:00.1"
    plan = plan_bind([PciDevice(ADDRESS, driver="xhci_hcd"), PciDevice(other, driver="ehci-pci")], "vfio-pci")

    writes = [command.rpartition("/")[2] for command in commands(plan) if command.startswith("echo")]
    assert writes == ["driver_override", "driver_override", "unbind", "unbind", "drivers_probe", "drivers_probe"]


def test_plan_leaves_a_device_that_is_there_already() -> None:
    """Of two devices the one that has the driver already is not written to."""
    other = "0000:01:00.1"
    plan = plan_bind([PciDevice(ADDRESS, driver="xhci_hcd"), PciDevice(other, driver="vfio-pci")], "vfio-pci")

    assert not [command for command in commands(plan) if other in command]
    assert plan.aims[1] == Aim(other, "vfio-pci", "vfio-pci")


def test_plan_bind_to_the_stub_names_one_device() -> None:
    """pci-stub takes the device by its override, too: new_id would take its twins."""
    plan = plan_bind([PciDevice(ADDRESS, driver="xhci_hcd")], "pci-stub")

    assert override("pci-stub") in commands(plan)
    assert not [command for command in commands(plan) if "new_id" in command]


def test_plan_return_when_nothing_was_changed() -> None:
    """Returning twice writes the override once more and touches no driver."""
    assert commands(plan_return([PciDevice(ADDRESS, driver="xhci_hcd")], {ADDRESS: "xhci_hcd"})) == [override("")]
