"""Rules about the controller's IOMMU group: what else would be given away, and what memory is promised to firmware."""

from __future__ import annotations

import re

from harness.core.finding import Evidence, Severity
from harness.facts.host import GROUPS, HostFacts
from harness.facts.members import find_group, find_members
from harness.facts.pci import PciDevice
from harness.rules.bootloader import explain_removal
from harness.rules.controller import describe
from harness.rules.rule import Opinion, Target, bench_line, controller_rule, host_rule, was_cut_off

PASSING_DRIVERS = frozenset({"vfio-pci", "pci-stub"})
"""Drivers that reserve a device and do nothing with it."""

_OVERRIDE = re.compile(r"PCIe ACS overrides enabled", re.IGNORECASE)


@controller_rule(
    "GRP001",
    title="The controller's IOMMU group holds nothing that the host uses",
    why="A group is passed as a whole: every device in it leaves the host. Bridges stay; one without driver is no loss.",
    remedy="move the card to another slot, best one directly on the processor, or move the other device",
    source="foxlet/vmra1n#4, 64kramsystem/vga-passthrough#34, harvester/harvester#7354, PVE-Tools/PVE-Tools-9#98",
    required=True,
    guards=True,
)
def group_members(facts: HostFacts, target: Target, controller: PciDevice) -> Opinion:
    """Look for members that are neither the controller nor a bridge, and that a driver of the host's uses."""
    name = find_group(facts, controller)
    if name is None:
        return _judge_no_group(facts, controller)
    return _judge_members(facts, target, controller, name)


@host_rule(
    "GRP002",
    title="The groups are those of the hardware",
    why="pcie_acs_override= (a patch) splits groups that the hardware does not separate: the isolation is a claim.",
    remedy="take it away, and move the card to a slot whose root port separates it by itself:",
    source="lf-edge/eve#5969, Quansight/open-gpu-server#44, harvester/harvester#7340",
    removal="pcie_acs_override=...",
)
def acs_override(facts: HostFacts, _: Target) -> Opinion:
    """Look for the argument; a kernel without the patch ignores it, which its log would not say."""
    evidence = (Evidence("/proc/cmdline", facts.kernel.cmdline or "(not read)"), *facts.log.find(_OVERRIDE))
    value = facts.kernel.argument("pcie_acs_override")
    argument = f"pcie_acs_override={value or ''}"
    if value is not None:
        remedy = explain_removal(facts.kernel, argument)
        return Opinion(Severity.CONDITION, f"{argument}: the groups are not real isolation", evidence, remedy)
    if len(evidence) > 1:
        return Opinion(Severity.CONDITION, f"{evidence[1].text}: the groups are not real isolation", evidence)
    if not facts.kernel.cmdline:
        return Opinion(Severity.UNKNOWN, "the kernel's command line was not read", evidence)
    return Opinion(Severity.PASS, "no pcie_acs_override= is given", evidence)


def is_in_use(device: PciDevice) -> bool:
    """Return whether a driver of the host's works with a function, or may; VFIO takes a group of others as it is."""
    return not device.driver_known or device.driver not in {None, *PASSING_DRIVERS}


def _judge_members(facts: HostFacts, target: Target, controller: PciDevice, name: str) -> Opinion:
    members = find_members(facts, controller)
    evidence = (Evidence(f"{GROUPS}/{name}/devices", "\n".join(map(_describe_member, members.items())) or "(not read)"),)
    foreign = [device for device in members.values() if device and device.class_known and not device.is_bridge]
    foreign = [device for device in foreign if device.address not in target.addresses]
    unseen = [address for address, device in members.items() if device is None or not device.class_known]
    # What sysfs lists and does not describe counts as foreign; a text may only have left its class out.
    names = [*map(describe, filter(is_in_use, foreign)), *(unseen if facts.iommu.groups_source == "sysfs" else ())]
    if names:
        message = f"group {name} also holds {', '.join(names)}"
        return Opinion(Severity.REFUSAL, message, evidence, "" if unseen else _part_or_name(controller, foreign, target))
    if unseen or was_cut_off(facts, "pci") or not _is_whole(facts, name, controller):
        return Opinion(Severity.UNKNOWN, f"the host does not show all of what is in group {name}", evidence)
    if target.siblings or target.absent_siblings:
        return _judge_named(name, target, foreign, evidence)
    if foreign:
        return _judge_idle(name, foreign, evidence)
    return Opinion(Severity.PASS, f"group {name} holds the controller and nothing but bridges beside it", evidence)


def _judge_idle(name: str, others: list[PciDevice], evidence: tuple[Evidence, ...]) -> Opinion:
    """Judge a group whose other members no driver of the host's uses."""
    listed = ", ".join(map(describe, others))
    if any(device.driver for device in others):
        message = f"group {name} also holds {listed}, reserved for a guest: it must be the same guest"
        return Opinion(Severity.CONDITION, message, evidence, "give all of the group to one guest")
    message = (
        f"group {name} also holds {listed}, which has no driver: VFIO lets it be, and the host can use it for nothing meanwhile"
    )
    return Opinion(Severity.INFORMATION, message, evidence)


def _is_whole(facts: HostFacts, name: str, controller: PciDevice) -> bool:
    """Return whether the group was read in whole, from sysfs or from a text."""
    shown = controller.address in facts.iommu.groups.get(name, ())
    return shown and facts.iommu.groups_complete and not was_cut_off(facts, "iommu")


def _judge_no_group(facts: HostFacts, controller: PciDevice) -> Opinion:
    evidence = (Evidence(f"/sys/bus/pci/devices/{controller.address}/iommu_group", "does not exist"),)
    if facts.iommu.dma_remapping == "no":
        cause = "there are no groups where DMA remapping is not in use, which has its own rule (IOM001)"
        return Opinion(Severity.INFORMATION, cause, evidence)
    if facts.iommu.dma_remapping == "unknown" or was_cut_off(facts, "pci") or not facts.iommu.groups_complete:
        return Opinion(Severity.UNKNOWN, "the controller's group is not shown", (Evidence(GROUPS, "not read, or not named"),))
    return Opinion(Severity.FAILURE, "the controller is in no IOMMU group", evidence, "see IOM001")


def _judge_named(name: str, target: Target, idle: list[PciDevice], evidence: tuple[Evidence, ...]) -> Opinion:
    """Judge a group of which the bench file names members: one that is not there was meant for another host, or another slot."""
    if target.absent_siblings:
        message = f"the bench file names siblings that group {name} does not hold: {', '.join(target.absent_siblings)}"
        remedy = f"take it out of [controller] siblings, or name what is there: {evidence[0].source}"
        return Opinion(Severity.REFUSAL, message, evidence, remedy)
    if any(device.driver for device in idle):
        return _judge_idle(name, idle, evidence)
    message = f"group {name} also holds {', '.join(map(describe, target.siblings))}: named in the bench file, and bound too"
    return Opinion(Severity.INFORMATION, message, evidence)


def _part_or_name(controller: PciDevice, foreign: list[PciDevice], target: Target) -> str:
    """Return the two remedies: to part the devices (no slot parts the functions of one card), or to bind them too."""
    card = controller.address.rpartition(".")[0]
    alone = all(device.address.rpartition(".")[0] == card for device in foreign)
    one = "these are functions of one card, which no other slot parts: move the other device's work to another card"
    several = "move the card to another slot, best one directly on the processor, or move the other device"
    names = [device.address for device in (*target.siblings, *filter(is_in_use, foreign))]
    return f"{one if alone else several}; or, where the host can spare it, {bench_line('controller', 'siblings', names)}"


def _describe_member(member: tuple[str, PciDevice | None]) -> str:
    address, device = member
    if device is None:
        return address
    return f"{describe(device)} class {device.class_text} driver {device.driver or 'none'}"
