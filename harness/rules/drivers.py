"""Rules about drivers: the one that passes the controller, and the one that it is given back to."""

from __future__ import annotations

import re

from harness.core.finding import Evidence, Severity
from harness.facts.host import HostFacts
from harness.facts.pci import PciDevice
from harness.rules.groups import PASSING_DRIVERS
from harness.rules.rule import Opinion, Target, controller_rule, host_rule

_NO_IOMMU = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
_STUB = "pci-stub"
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
def vfio_pci(facts: HostFacts, target: Target) -> Opinion:
    """Tell where the driver is; a controller that is only reserved, by pci-stub, does not need it."""
    places = {
        "loaded": Evidence("/proc/modules", "vfio_pci"),
        "builtin": Evidence("/sys/bus/pci/drivers", "vfio-pci"),
        "module": Evidence(f"/lib/modules/{facts.kernel.release}/modules.dep", "vfio-pci.ko"),
    }
    state = facts.vfio.available
    if state in places:
        return Opinion(Severity.PASS, f"vfio-pci is available ({state})", (places[state],))
    evidence = (Evidence(f"/lib/modules/{facts.kernel.release}", "no vfio-pci" if state == "missing" else "not readable"),)
    if state == "missing" and target.driver == _STUB:
        message = f"kernel {facts.kernel.release} has no vfio-pci: {_STUB} reserves the controller all the same, no guest gets it"
        return Opinion(Severity.INFORMATION, message, evidence)
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
    "VFI004",
    title="The driver that the bench file names hands the controller to a guest",
    why="pci-stub only keeps the host's own driver away; a guest gets a PCI function from vfio-pci.",
    remedy="",
    source="driver-api/vfio.html, https://wiki.xenproject.org/wiki/Xen_PCI_Passthrough",
    informs=True,
    about="suite",
)
def reserving_driver(_facts: HostFacts, target: Target, _controller: PciDevice) -> Opinion:
    """Tell what the driver of the bench file can do: for information, since to reserve may be all that is wanted."""
    evidence = (Evidence("bench file", f'[controller] driver = "{target.driver}"'),)
    if target.driver == _STUB:
        return Opinion(Severity.INFORMATION, f"{_STUB} only reserves the controller: a guest needs vfio-pci", evidence)
    return Opinion(Severity.PASS, f"{target.driver} hands the controller to a guest", evidence)


@controller_rule(
    "PCI002",
    title="The controller's present driver is known",
    why="It is the driver that the controller is given back to; its name differs from board to board and from its module's.",
    remedy="where nobody uses it: clear driver_override, modprobe xhci_pci, echo ADDRESS >/sys/bus/pci/drivers_probe",
    source="QubesOS/qubes-issues#5713, QubesOS/qubes-issues#5843, dracut-ng/dracut#2491, balena-os/balena-raspberrypi#1361",
    required=True,
    guards=True,
)
def present_driver(_facts: HostFacts, _target: Target, controller: PciDevice) -> Opinion:
    """Tell the driver in sysfs. One that reserves is given back to as well; HLD001 asks who uses the controller through it."""
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
        message = f"the controller is already on {driver}, which reserves it: it is taken over, and given back to that"
        return Opinion(Severity.INFORMATION, message, evidence)
    return Opinion(Severity.PASS, f"the controller's driver is {driver}", evidence)
