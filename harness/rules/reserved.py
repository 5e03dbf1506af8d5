"""Rules about memory that firmware keeps for a device (RMRR, IVMD): where Linux honours it, the device cannot be given away."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.core.finding import Evidence, Severity
from harness.facts.dmar import Dmar, rmrr_of, rmrr_unresolved
from harness.facts.host import GROUPS, HostFacts
from harness.facts.ivrs import Ivmd, Ivrs, ivmd_of
from harness.facts.members import find_group
from harness.facts.pci import PciDevice
from harness.rules.bootloader import explain_replacement
from harness.rules.rule import Opinion, Target, controller_rule, host_rule, no_sign

_DIRECT, _RELAXABLE = "direct", "direct-relaxable"
# Which RMRRs matter is told by reserved_regions since Linux 5.3; AMD's are honoured since 6.6.
_RELAXED_SINCE, _AMD_SINCE = (5, 3), (6, 6)
_REFUSED = re.compile(r"ineligible for IOMMU domain attach due to platform RMRR|requested this device have a 1:1 IOMMU mapping")
_MAPPED = re.compile(r"Setting identity map\b", re.IGNORECASE)
_PATCHED = re.compile(r"assuming all RMRRs are relaxable", re.IGNORECASE)
_NONE = re.compile(r"No RMRR found", re.IGNORECASE)
_TABLE = "/sys/firmware/acpi/tables"


@controller_rule(
    "RES001",
    title="Firmware keeps no memory mapped for the controller's group",
    why="Linux refuses to give a device with a reserved region of type direct (an RMRR) to a guest, when that starts.",
    remedy="switch off legacy USB support (USB keyboard emulation) in the firmware's setup, or update the firmware",
    source="harvester/harvester#7340, harvester/harvester#8702, QubesOS/qubes-issues#2530, void-linux/void-docs#217",
    required=True,
    tried=True,
)
def reserved_regions(facts: HostFacts, _: Target, controller: PciDevice) -> Opinion:
    """Judge the regions by their type (msi and reserved ones are in every group); without them, by the log and the table."""
    if refused := _about(facts, _REFUSED, controller):
        return Opinion(Severity.REFUSAL, "Linux refused to give the controller to a guest: firmware keeps memory for it", refused)
    name = find_group(facts, controller)
    if name is None and facts.iommu.dma_remapping == "no":
        evidence = (Evidence(f"/sys/bus/pci/devices/{controller.address}/iommu_group", "does not exist"),)
        return Opinion(Severity.INFORMATION, "the controller is in no IOMMU group, which has its own rule (GRP001)", evidence)
    if regions := facts.iommu.reserved_regions.get(name or "", ()):
        return _judge_regions(facts, Evidence(f"{GROUPS}/{name}/reserved_regions", "\n".join(regions)))
    return _judge_texts(facts, controller)


@host_rule(
    "RES002",
    title="The kernel is not patched to ignore what firmware reserves",
    why="A patch (relax_rmrr) lets devices go whose memory the firmware still uses: that may harm the host.",
    remedy="boot a kernel without the patch, and take the argument away:",
    source="harvester/harvester#7340, https://github.com/kiler129/relax-intel-rmrr",
    removal="intel_iommu=relax_rmrr",
)
def relaxed(facts: HostFacts, _: Target) -> Opinion:
    """Look for the patch's argument and its line in the log."""
    evidence = (Evidence("/proc/cmdline", facts.kernel.cmdline or "(not read)"), *facts.log.find(_PATCHED))
    given = next((word for word in facts.kernel.arguments if re.match(r"intel_iommu=.*\brelax_rmrr\b", word)), "")
    if given or len(evidence) > 1:
        remedy = explain_replacement(facts.kernel, given, "relax_rmrr") if given else ""
        return Opinion(Severity.CONDITION, "a patched kernel ignores what firmware reserves for devices", evidence, remedy)
    if facts.kernel.cmdline:
        return Opinion(Severity.PASS, "the kernel is not told to ignore what firmware reserves", evidence)
    return no_sign(facts, "a kernel that ignores what firmware reserves")


def honours_direct(facts: HostFacts) -> bool:
    """Return whether this kernel refuses a USB controller for a region of type direct; an unknown kernel is taken for one.

    Linux 4.11 to 5.2 calls every RMRR direct, and yet lets USB controllers go; AMD's regions stop nothing before 6.6.
    """
    match = re.match(r"(\d+)\.(\d+)", facts.kernel.release)
    version = (int(match[1]), int(match[2])) if match else (99, 0)
    return version >= (_AMD_SINCE if facts.iommu.vendor == "amd" else _RELAXED_SINCE)


def _judge_regions(facts: HostFacts, regions: Evidence) -> Opinion:
    evidence = (regions,)
    kinds = {region.split()[-1] for region in regions.text.splitlines() if region.split()}
    if _DIRECT in kinds and honours_direct(facts):
        message = "a region of type direct is reserved for the group: Linux refuses to give the controller to a guest"
        return Opinion(Severity.REFUSAL, message, evidence)
    if _DIRECT in kinds:
        message = f"a region of type direct is reserved for the group; Linux {facts.kernel.release} does not stop at it"
        return Opinion(Severity.CONDITION, message, evidence)
    if _RELAXABLE in kinds:
        message = "a region of type direct-relaxable is reserved for the group: Linux ignores the firmware's claim on it"
        return Opinion(Severity.CONDITION, message, evidence)
    return Opinion(Severity.PASS, "no memory is mapped for firmware in the controller's group", evidence)


def _judge_texts(facts: HostFacts, controller: PciDevice) -> Opinion:
    """Judge by the log's mappings and the firmware's table where the group's regions were not read."""
    if ranges := facts.iommu.rmrr_devices.get(controller.address):
        text = ", ".join(f"{item.first:#x}-{item.last:#x}" for item in ranges)
        mapped = _about(facts, _MAPPED, controller) or (Evidence("dmesg", f"identity map of {text}"),)
        message = "firmware keeps memory mapped for the controller; Linux ignores that for USB controllers"
        return Opinion(Severity.CONDITION, message, mapped)
    if own := rmrr_of(facts.acpi.dmar, controller.address, facts.pci):
        text = ", ".join(f"{item.first:#x}-{item.last:#x}" for item in own)
        message = "the firmware's table reserves memory for the controller; Linux ignores that for USB controllers"
        return Opinion(Severity.CONDITION, message, (Evidence(f"{_TABLE}/DMAR", f"RMRR of {controller.address}: {text}"),))
    if blocks := ivmd_of(facts.acpi.ivrs, controller.address):
        return _judge_blocks(facts, controller, blocks)
    if silent := _find_silent_table(facts, controller):
        return Opinion(Severity.PASS, "the firmware's table reserves no memory for the controller", silent)
    if none := facts.log.find(_NONE):
        return Opinion(Severity.PASS, "the firmware reserves no memory for any device", none)
    evidence = (Evidence(f"{GROUPS}/*/reserved_regions", "(not read)"),)
    message = "the host does not show what is reserved for the controller's group"
    return Opinion(Severity.UNKNOWN, message, evidence, "read /sys/kernel/iommu_groups/*/reserved_regions into the capture")


def _judge_blocks(facts: HostFacts, controller: PciDevice, blocks: Sequence[Ivmd]) -> Opinion:
    """Judge what AMD's table reserves: Linux makes it a region of type direct."""
    text = ", ".join(f"{block.first:#x}-{block.last:#x}" for block in blocks)
    evidence = (Evidence(f"{_TABLE}/IVRS", f"IVMD of {controller.address}: {text}"),)
    if facts.kernel.release and honours_direct(facts):
        message = "the firmware's table reserves memory for the controller: Linux refuses to give it to a guest"
        return Opinion(Severity.REFUSAL, message, evidence)
    message = "the firmware's table reserves memory for the controller, at which Linux 6.6 and newer stops"
    return Opinion(Severity.CONDITION, message, evidence)


def _find_silent_table(facts: HostFacts, controller: PciDevice) -> tuple[Evidence, ...]:
    """Return a table that is whole, and that ties all of its reserved memory to other devices that are known."""
    dmar, ivrs = facts.acpi.dmar, facts.acpi.ivrs
    if _is_whole(dmar) and not rmrr_unresolved(dmar, facts.pci):
        return (Evidence(f"{_TABLE}/DMAR", f"{len(dmar.rmrr)} RMRR, none of {controller.address}"),)
    if _is_whole(ivrs):
        return (Evidence(f"{_TABLE}/IVRS", f"{len(ivrs.ivmd)} IVMD, none of {controller.address}"),)
    return ()


def _is_whole(acpi: Dmar | Ivrs) -> bool:
    return acpi.table.status == "present" and acpi.table.checksum_valid and not acpi.problems


def _about(facts: HostFacts, pattern: re.Pattern[str], controller: PciDevice) -> tuple[Evidence, ...]:
    return tuple(item for item in facts.log.find(pattern, limit=99) if controller.address in item.text)
