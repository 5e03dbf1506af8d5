"""Rules about where the kernel runs: in a container, in a virtual machine, under Xen; and whether its texts agree with sysfs."""

from __future__ import annotations

from harness.core.finding import Evidence, Severity
from harness.facts.disagreement import Disagreement
from harness.facts.host import HostFacts
from harness.rules.rule import Opinion, Target, host_rule

_SIGNS = "/.dockerenv, /run/.containerenv, /run/systemd/container"


@host_rule(
    "HST003",
    title="The host is looked at from outside of a container",
    why="A container hides /sys/firmware, modules and device nodes: what is absent there may well be on the host.",
    remedy="",
    source="openshift/sriov-network-operator#498",
    informs=True,
)
def container(facts: HostFacts, _: Target) -> Opinion:
    """Tell a container by the files that its maker leaves; ACPI's tables, which containers hide, speak against one."""
    if facts.kernel.container:
        message = "what was read is what a container shows: what is absent may be hidden"
        return Opinion(Severity.INFORMATION, message, (Evidence(_SIGNS, "one of them exists"),))
    if facts.acpi.names:
        return Opinion(Severity.PASS, "there is no sign of a container", (Evidence("/sys/firmware/acpi/tables", "is shown"),))
    return Opinion(Severity.UNKNOWN, "the host does not show whether this is a container")


@host_rule(
    "HST004",
    title="The host is a machine of its own",
    why="In a virtual machine the board is what its hypervisor makes of it: a result says nothing about the hardware below.",
    remedy="",
    source="cloud-hypervisor/cloud-hypervisor#6109",
    informs=True,
)
def virtual_machine(facts: HostFacts, _: Target) -> Opinion:
    """Look for the hypervisor's flag: worth knowing, since nested passthrough works."""
    if facts.kernel.xen == "domU":
        evidence = (Evidence("/sys/hypervisor", "Xen, domU"),)
        return Opinion(Severity.INFORMATION, "the host is a guest of Xen: the board is what Xen makes of it", evidence)
    if facts.cpu.hypervisor and facts.kernel.xen != "dom0":
        evidence = (Evidence("/proc/cpuinfo", "flags: hypervisor"),)
        return Opinion(
            Severity.INFORMATION, "the host is a virtual machine: the board is what its hypervisor makes of it", evidence
        )
    if facts.log.hypervisor and facts.kernel.xen != "dom0":
        evidence = (Evidence("dmesg", f"Hypervisor detected: {facts.log.hypervisor}"),)
        return Opinion(Severity.INFORMATION, f"the host is a virtual machine of {facts.log.hypervisor}", evidence)
    if facts.cpu.features_known:
        return Opinion(Severity.PASS, "the host is no virtual machine", (Evidence("/proc/cpuinfo", "flags: no hypervisor"),))
    return Opinion(Severity.UNKNOWN, "the host does not show whether it is a virtual machine")


@host_rule(
    "HST005",
    title="The kernel is not the dom0 of Xen",
    why="Under Xen the IOMMU belongs to Xen: dom0 has no IOMMU groups, neither KVM nor VFIO, and passes devices by other means.",
    remedy="boot the entry without Xen; to stay with Xen use `xl pci-assignable-add`, which this suite does not judge",
    source="QubesOS/qubes-issues#3684, https://xenbits.xen.org/docs/unstable/misc/xen-command-line.html",
    required=True,
    tried=True,
)
def xen(facts: HostFacts, _: Target) -> Opinion:
    """Look for Xen's signs."""
    if facts.kernel.xen == "dom0":
        message = "the kernel is the dom0 of Xen: KVM and VFIO cannot be used under it"
        return Opinion(Severity.FAILURE, message, (Evidence("/sys/hypervisor, /proc/xen", "Xen, dom0"),))
    if facts.iommu.dma_remapping == "yes":
        return Opinion(Severity.PASS, "the kernel uses the IOMMU itself, which Xen would keep from it", facts.iommu.dma_evidence)
    if facts.log.silence_counts or (facts.taken and facts.kernel.release):
        return Opinion(Severity.PASS, "the kernel runs under no Xen of its own", (Evidence("kernel", "no sign of a dom0"),))
    return Opinion(Severity.UNKNOWN, "the host does not show whether it is the dom0 of Xen")


@host_rule(
    "HST006",
    title="What commands print agrees with sysfs",
    why="A text of another day or another host tells of what is no more; where both are there, sysfs is believed.",
    remedy="",
    source="harvester/harvester#9799, https://www.kernel.org/doc/Documentation/ABI/testing/sysfs-bus-pci",
    informs=True,
)
def agreement(facts: HostFacts, _: Target) -> Opinion:
    """Name each thing of which a command's text says something else."""
    if facts.disagreements:
        subjects = ", ".join(dict.fromkeys(item.subject for item in facts.disagreements))
        message = f"sysfs and a command's text disagree, and sysfs is believed: {subjects}"
        return Opinion(Severity.INFORMATION, message, tuple(map(_quote, facts.disagreements)))
    if facts.pci or facts.usb or facts.iommu.groups:
        sources = sorted({device.source for device in facts.pci}) or ["sysfs"]
        return Opinion(Severity.PASS, "nothing that was read contradicts sysfs", (Evidence("sources", ", ".join(sources)),))
    return Opinion(Severity.UNKNOWN, "nothing was read that could be compared")


def _quote(item: Disagreement) -> Evidence:
    said = f"{item.subject}: {item.what} is {item.sysfs or '(nothing)'} in sysfs, {item.said or '(nothing)'} here"
    return Evidence(item.command.removeprefix("commands/"), said)
