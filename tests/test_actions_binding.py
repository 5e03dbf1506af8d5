"""Plans of binding: facts go in, writes come out; and what a plan says when the kernel refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.actions.binding import Binding, Plan, Step, apply_plan, plan_bind, plan_return, script
from harness.core.errors import BoardError, RefusedError
from harness.facts.pci import PciDevice
from harness.transport.local import LocalTransport

ADDRESS = "0000:01:00.0"
FOLDER = f"/sys/bus/pci/devices/{ADDRESS}"
LOAD = "[ -d /sys/bus/pci/drivers/vfio-pci ] || modprobe vfio-pci"
PROBE = f"echo {ADDRESS} >/sys/bus/pci/drivers_probe"


def override(value: str) -> str:
    """Return the write of a driver_override."""
    return f"echo '{value}' >{FOLDER}/driver_override"


UNBIND = f"echo {ADDRESS} >{FOLDER}/driver/unbind"


def commands(plan: Plan) -> list[str]:
    """Return a plan's commands."""
    return [step.command for step in plan.steps]


def test_plan_bind_from_a_driver() -> None:
    """The override is written before the old driver is unbound, so that nothing else can take the device in between."""
    plan = plan_bind(PciDevice(ADDRESS, driver="xhci_hcd"), "vfio-pci")

    assert commands(plan) == [LOAD, override("vfio-pci"), UNBIND, PROBE]
    assert plan.driver == "vfio-pci"


def test_plan_bind_without_a_driver() -> None:
    """A device without a driver needs no unbinding."""
    assert commands(plan_bind(PciDevice(ADDRESS), "vfio-pci")) == [LOAD, override("vfio-pci"), PROBE]


def test_plan_bind_nothing_to_do() -> None:
    """A device that has the driver already is left alone."""
    assert commands(plan_bind(PciDevice(ADDRESS, driver="vfio-pci"), "vfio-pci")) == []


def test_plan_return_to_the_driver_that_was_found() -> None:
    """The way back clears the override and lets the kernel find the usual driver."""
    plan = plan_return(PciDevice(ADDRESS, driver="xhci_hcd"), "vfio-pci")

    assert commands(plan) == [UNBIND, override(""), PROBE]
    assert plan.driver == "xhci_hcd"


def test_plan_return_of_an_override_that_was_found() -> None:
    """An override that was there before comes back with its value."""
    found = PciDevice(ADDRESS, driver="vfio-pci", driver_override="vfio-pci")

    assert commands(plan_return(found, "vfio-pci")) == [override("vfio-pci")]


def test_plan_return_to_no_driver() -> None:
    """A device that was found without a driver is left without one."""
    plan = plan_return(PciDevice(ADDRESS), "vfio-pci")

    assert commands(plan) == [UNBIND, override("")]
    assert plan.driver == ""


def test_plan_return_when_nothing_was_changed() -> None:
    """Returning twice writes the override once more and touches no driver."""
    assert commands(plan_return(PciDevice(ADDRESS, driver="xhci_hcd"), "xhci_hcd")) == [override("")]


def test_apply_names_the_step_that_failed() -> None:
    """A step that the kernel refuses ends the plan there, and its sentence is in the evidence."""
    steps = (Step("do well", "true"), Step("write the override", "echo no room >&2; false"), Step("never", "echo later >&2"))

    with pytest.raises(BoardError, match="could not be given to vfio-pci") as caught:
        apply_plan(LocalTransport(), Plan(ADDRESS, steps, "vfio-pci"))

    assert caught.value.evidence == "no room\nthroughpass: write the override failed"


def test_apply_believes_the_link_alone() -> None:
    """Writes that succeed and do nothing are found out: the driver is read back."""
    plan = Plan("ffff:ff:1f.7", (Step("pretend", "true"),), "vfio-pci")

    with pytest.raises(BoardError, match="is bound to no driver, not to vfio-pci"):
        apply_plan(LocalTransport(), plan)


def test_apply_reads_the_driver_from_the_link(tmp_path: Path) -> None:
    """What the script prints last is the driver that the device's link names."""
    (tmp_path / "device").mkdir()
    (tmp_path / "device" / "driver").symlink_to("../drivers/xhci_hcd")
    text = script(Plan(ADDRESS, (), "xhci_hcd")).replace(FOLDER, str(tmp_path / "device"))

    assert LocalTransport().run(text).text == "xhci_hcd"


def test_binding_refuses_what_somebody_else_prepares() -> None:
    """A device with an override of its own and no driver is somebody else's: nothing is written."""
    binding = Binding(LocalTransport(), PciDevice(ADDRESS, driver_override="pci-stub"), "vfio-pci")

    with pytest.raises(RefusedError, match="somebody else is at work"):
        binding.bind()

    assert not binding.touched
