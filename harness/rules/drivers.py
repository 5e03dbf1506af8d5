"""Rules about drivers: the one that passes the controller, and the one that it is given back to."""

from __future__ import annotations

import re

from harness.core.finding import Evidence, Severity
from harness.facts.host import HostFacts
from harness.facts.pci import PciDevice
from harness.rules.groups import PASSING_DRIVERS
from harness.rules.rule import Opinion, Target, controller_rule, host_rule

_NO_IOMMU = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
_NO_IOMMU_USED = re.compile(r"taint for vfio-noiommu|vfio-noiommu device", re.IGNORECASE)


@host_rule(
    "VFI001",
    title="The driver vfio-pci is available",
    why="It is the driver by which QEMU receives a PCI function.",
    remedy="install the kernel's extra modules (Ubuntu: linux-modules-extra-..., Fedora: kernel-modules)",
    source="clayfreeman/gpu-passthrough#3, 64kramsystem/vga-passthrough#34, driver-api/vfio.html",
    required=True,
    tried=True,
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
    source="kata-containers/kata-containers#12684, tiiuae/ghaf#103, driver-api/vfio.html",
)
def noiommu_mode(facts: HostFacts, _: Target) -> Opinion:
    """Look at the module's parameter, the command line and the taint that a device passed so leaves in the log."""
    given = facts.kernel.argument("vfio.enable_unsafe_noiommu_mode") in {"1", "Y", "y", "on", ""}
    asked = (Evidence("/proc/cmdline", facts.kernel.cmdline),) if given else ()
    shown = (Evidence(_NO_IOMMU, "Y"),) if facts.vfio.noiommu else ()
    if found := (*shown, *asked, *facts.log.find(_NO_IOMMU_USED)):
        return Opinion(Severity.CONDITION, "enable_unsafe_noiommu_mode is on, or was", found)
    if facts.vfio.noiommu is None or facts.vfio.available == "unknown":
        return Opinion(Severity.UNKNOWN, "the host does not show whether enable_unsafe_noiommu_mode is on")
    return Opinion(Severity.PASS, "enable_unsafe_noiommu_mode is off", (Evidence(_NO_IOMMU, "N, or VFIO is not loaded"),))


@controller_rule(
    "PCI002",
    title="The controller's present driver is known",
    why="It is the driver that the controller is given back to; its name differs from board to board and from its module's.",
    remedy="where nobody uses it: unbind it, clear driver_override, modprobe xhci_pci, echo ADDRESS >/sys/bus/pci/drivers_probe",
    source="QubesOS/qubes-issues#5713, QubesOS/qubes-issues#5843, dracut-ng/dracut#2491, balena-os/balena-raspberrypi#1361",
    required=True,
)
def present_driver(_facts: HostFacts, _target: Target, controller: PciDevice) -> Opinion:
    """Tell the driver in sysfs; one that is already the passing driver was left behind by somebody."""
    if controller.source != "sysfs" or not controller.driver_known:
        return _told_driver(controller)
    source = f"/sys/bus/pci/devices/{controller.address}"
    evidence: tuple[Evidence, ...] = (
        Evidence(f"{source}/driver", controller.driver or "(none)"),
        Evidence(f"{source}/driver_override", controller.driver_override or "(null)"),
    )
    if controller.driver and controller.module:
        evidence += (Evidence(f"{source}/driver/module", controller.module),)
    if controller.driver is None:
        return Opinion(Severity.REFUSAL, "the controller has no driver: load xhci_pci", evidence)
    return _judge_driver(controller.driver, evidence)


@controller_rule(
    "PCI004",
    title="Nothing claims the controller by its id",
    why="ids= of vfio-pci and pci-stub takes every card of that id, siblings too; an xHCI driver that is built in comes first.",
    remedy="",
    source="harvester/pcidevices#49, 64kramsystem/vga-passthrough#34",
    informs=True,
)
def claimed_by_id(facts: HostFacts, _: Target, controller: PciDevice) -> Opinion:
    """Look for arguments and options, and name the siblings that they take along: for information."""
    lines = [line for line in facts.vfio.options if "ids=" in line]
    evidence = (
        Evidence("/proc/cmdline", facts.kernel.cmdline or "(not read)"),
        *(Evidence("/etc/modprobe.d", line) for line in lines),
    )
    if controller.id and controller.id in facts.vfio.claimed_ids:
        siblings = [device.address for device in facts.pci if device.id == controller.id and device.address != controller.address]
        also = f", and its siblings {', '.join(siblings)}" if siblings else ""
        lost = "; but the host's xHCI driver is built in, and comes first" if facts.xhci_module == "builtin" else ""
        return Opinion(Severity.INFORMATION, f"{controller.id} is claimed for VFIO at boot{also}{lost}", evidence)
    if not facts.kernel.cmdline or not controller.id:
        return Opinion(Severity.UNKNOWN, "the kernel's command line, or the controller's id, was not read", evidence)
    return Opinion(Severity.PASS, "nothing claims the controller by its id", evidence)


def _told_driver(controller: PciDevice) -> Opinion:
    """Judge by what a command printed: a driver that it does not name may be there all the same."""
    source = controller.source.removeprefix("commands/")
    if controller.driver is None and not controller.driver_known:
        return Opinion(Severity.UNKNOWN, "the controller's driver is not told", (Evidence(source, "names no driver"),))
    if controller.driver is None:
        return Opinion(Severity.REFUSAL, "the controller has no driver: load xhci_pci", (Evidence(source, "no driver in use"),))
    return _judge_driver(controller.driver, (Evidence(source, f"Kernel driver in use: {controller.driver}"),))


def _judge_driver(driver: str, evidence: tuple[Evidence, ...]) -> Opinion:
    if driver in PASSING_DRIVERS:
        message = f"the controller is on {driver} already: it is taken over and goes back to that, and the host cannot measure it"
        return Opinion(Severity.CONDITION, message, evidence)
    return Opinion(Severity.PASS, f"the controller's driver is {driver}", evidence)
