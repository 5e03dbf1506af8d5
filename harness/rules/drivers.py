"""Rules about drivers: the one that passes the controller, and the one that it is given back to."""

from __future__ import annotations

from harness.core.finding import Evidence, Severity
from harness.facts.host import HostFacts
from harness.facts.pci import PciDevice
from harness.rules.rule import Opinion, Target, controller_rule, host_rule

_NO_IOMMU = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
PASSING_DRIVERS = frozenset({"vfio-pci", "pci-stub"})
"""Drivers that reserve a device and do nothing with it."""


@host_rule(
    "VFI001",
    title="The driver vfio-pci is available",
    why="It is the driver by which QEMU receives a PCI function.",
    remedy="install the kernel's extra modules (Ubuntu: linux-modules-extra-..., Fedora: kernel-modules)",
    source="clayfreeman/gpu-passthrough#3",
)
def vfio_pci(facts: HostFacts, _: Target) -> Opinion:
    """Tell where the driver is."""
    places = {
        "loaded": Evidence("/proc/modules", "vfio_pci"),
        "builtin": Evidence("/sys/bus/pci/drivers", "vfio-pci"),
        "module": Evidence(f"/lib/modules/{facts.kernel.release}/modules.dep", "vfio-pci.ko"),
    }
    state = facts.vfio.available
    if state in places:
        return Opinion(Severity.PASS, f"vfio-pci is available ({state})", (places[state],))
    evidence = (Evidence(f"/lib/modules/{facts.kernel.release}", "no vfio-pci" if state == "missing" else "not readable"),)
    if state == "missing":
        return Opinion(Severity.FAILURE, f"kernel {facts.kernel.release} has no vfio-pci", evidence)
    return Opinion(Severity.UNKNOWN, "the host does not show whether it has vfio-pci", evidence)


@host_rule(
    "VFI002",
    title="VFIO is not switched to work without an IOMMU",
    why="enable_unsafe_noiommu_mode passes devices with no protection of memory at all, so that a pass would mean nothing.",
    remedy=f"write N to {_NO_IOMMU}, and remove the option from /etc/modprobe.d",
    source="kata-containers/kata-containers#12684",
)
def noiommu_mode(facts: HostFacts, _: Target) -> Opinion:
    """Look at the module's parameter."""
    if facts.vfio.noiommu:
        return Opinion(Severity.CONDITION, "enable_unsafe_noiommu_mode is on", (Evidence(_NO_IOMMU, "Y"),))
    return Opinion(Severity.PASS, "enable_unsafe_noiommu_mode is off", (Evidence(_NO_IOMMU, "N, or VFIO is not loaded"),))


@controller_rule(
    "PCI002",
    title="The controller's present driver is known",
    why="It is the driver that the controller is given back to; its name differs from board to board and from its module's.",
    remedy="where nobody uses it: unbind it, clear driver_override, modprobe xhci_pci, echo ADDRESS >/sys/bus/pci/drivers_probe",
    source="QubesOS/qubes-issues#5713, dracut-ng/dracut#2491",
)
def present_driver(_facts: HostFacts, _target: Target, controller: PciDevice) -> Opinion:
    """Tell the driver in sysfs; one that is already the passing driver was left behind by somebody."""
    source = f"/sys/bus/pci/devices/{controller.address}"
    evidence = (
        Evidence(f"{source}/driver", controller.driver or "(none)"),
        Evidence(f"{source}/driver_override", controller.driver_override or "(null)"),
    )
    if controller.driver is None:
        return Opinion(Severity.REFUSAL, "the controller has no driver: load xhci_pci", evidence)
    if controller.driver in PASSING_DRIVERS:
        message = (
            f"the controller is already on {controller.driver} (somebody uses it, or a former run did not end): "
            "give it back to its driver first"
        )
        return Opinion(Severity.REFUSAL, message, evidence)
    return Opinion(Severity.PASS, f"the controller's driver is {controller.driver}", evidence)
