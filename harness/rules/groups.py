"""Rules about the controller's IOMMU group: what else would be given away, and what memory is promised to firmware."""

from __future__ import annotations

from harness.core.finding import Evidence, Severity
from harness.facts.host import GROUPS, HostFacts
from harness.facts.pci import PciDevice
from harness.rules.bootloader import explain_removal
from harness.rules.controller import describe
from harness.rules.rule import Opinion, Target, controller_rule, host_rule

_DIRECT, _RELAXABLE = "direct", "direct-relaxable"


@controller_rule(
    "GRP001",
    title="The controller's IOMMU group holds nothing foreign",
    why="A group is passed as a whole: every other device in it would leave the host too.",
    remedy="move the card to another slot, best one directly on the processor, or move the other device",
    source="foxlet/vmra1n#4, 64kramsystem/vga-passthrough#34, PVE-Tools/PVE-Tools-9#98",
)
def group_members(facts: HostFacts, _: Target, controller: PciDevice) -> Opinion:
    """Look for members that are neither the controller nor a bridge."""
    source = f"/sys/bus/pci/devices/{controller.address}/iommu_group"
    if controller.group is None:
        if facts.iommu.dma_remapping == "unknown" or facts.section_timed_out("pci"):
            return Opinion(Severity.UNKNOWN, "the controller's group is not shown", (Evidence(source, "does not exist"),))
        if facts.iommu.dma_remapping == "no":
            cause = "there are no groups where DMA remapping is not in use, which has its own rule (IOM001)"
            return Opinion(Severity.INFORMATION, cause, (Evidence(source, "does not exist"),))
        return Opinion(
            Severity.FAILURE, "the controller is in no IOMMU group", (Evidence(source, "does not exist"),), "see IOM001"
        )
    members = facts.group_members(controller.address)
    folder = f"{GROUPS}/{controller.group}/devices"
    unseen = set(facts.iommu.groups.get(controller.group, ())) - {device.address for device in members}
    evidence = (Evidence(folder, "\n".join([*(_describe_member(device) for device in members), *sorted(unseen)])),)
    foreign = [device for device in members if device.address != controller.address and not device.is_bridge]
    names = [*map(describe, foreign), *sorted(unseen)]
    shown = controller.address in facts.iommu.groups.get(controller.group, ()) and GROUPS not in facts.unread
    if not names and (facts.section_timed_out("pci") or not shown):
        return Opinion(Severity.UNKNOWN, f"the host does not show all of what is in group {controller.group}", evidence)
    if not names:
        return Opinion(
            Severity.PASS, f"group {controller.group} holds the controller and nothing but bridges beside it", evidence
        )
    message = f"group {controller.group} also holds {', '.join(names)}"
    return Opinion(Severity.REFUSAL, message, evidence)


@host_rule(
    "GRP002",
    title="The groups are those of the hardware",
    why="pcie_acs_override= (a patch) splits groups that the hardware does not separate: the isolation is a claim.",
    remedy="",
    source="lf-edge/eve#5969, Quansight/open-gpu-server#44",
)
def acs_override(facts: HostFacts, _: Target) -> Opinion:
    """Look for the argument; a kernel without the patch ignores it, which its log would not say."""
    evidence = (Evidence("/proc/cmdline", facts.kernel.cmdline),)
    if not facts.kernel.cmdline:
        return Opinion(Severity.UNKNOWN, "the kernel's command line was not read")
    value = facts.kernel.argument("pcie_acs_override")
    if value is None:
        return Opinion(Severity.PASS, "no pcie_acs_override= is given", evidence)
    argument = f"pcie_acs_override={value}"
    return Opinion(
        Severity.CONDITION, f"{argument}: the groups are not real isolation", evidence, explain_removal(facts.kernel, argument)
    )


@controller_rule(
    "RES001",
    title="Firmware keeps no memory mapped for the controller's group",
    why="Linux refuses to give a device with a reserved region of type direct (an RMRR) to a guest, when that starts.",
    remedy="switch off legacy USB support (USB keyboard emulation) in the firmware's setup, or update the firmware",
    source="harvester/harvester#7340, harvester/harvester#8702, QubesOS/qubes-issues#2530",
)
def reserved_regions(facts: HostFacts, _: Target, controller: PciDevice) -> Opinion:
    """Judge the regions by their type; msi and reserved ones are in every group."""
    if controller.group is None:
        return Opinion(Severity.INFORMATION, "the controller is in no IOMMU group, which has its own rule (GRP001)")
    source = f"{GROUPS}/{controller.group}/reserved_regions"
    regions = facts.iommu.reserved_regions.get(controller.group, ())
    evidence = (Evidence(source, "\n".join(regions) or "(none shown)"),)
    kinds = {region.split()[-1] for region in regions if region.split()}
    if _DIRECT in kinds:
        message = "a region of type direct is reserved for the group: Linux refuses to give the controller to a guest"
        return Opinion(Severity.FAILURE, message, evidence)
    if _RELAXABLE in kinds:
        message = "a region of type direct-relaxable is reserved for the group: Linux ignores the firmware's claim on it"
        return Opinion(Severity.CONDITION, message, evidence)
    if facts.section_timed_out("iommu"):
        return Opinion(Severity.UNKNOWN, "the group's reserved regions could not be read in time", evidence)
    return Opinion(Severity.PASS, "no memory is mapped for firmware in the controller's group", evidence)


def _describe_member(device: PciDevice) -> str:
    return f"{describe(device)} class {device.class_text} driver {device.driver or 'none'}"
