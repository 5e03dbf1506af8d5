"""Rules about what the IOMMU's units do with what the firmware says of them, and what they stopped."""

from __future__ import annotations

import re

from harness.core.finding import Evidence, Severity
from harness.facts.faults import Fault
from harness.facts.host import HostFacts
from harness.facts.pci import PciDevice
from harness.rules.rule import Opinion, Target, controller_rule, host_rule, no_sign

# A unit, or all of them, is given up. Spelled as intel/dmar.c and amd/init.c print it; "dmar:" in small letters up to Linux 4.1.
_GIVEN_UP = re.compile(
    r"returns all ones|parse DMAR table failure|no DMAR devices found|AMD-Vi: Error initialization|IVRS invalid checksum"
    r"|(?:DMAR|IOMMU|AMD-Vi): (?:.{0,200}initialization failed|failed to (?:initialize|init|enable|allocate|map|find|set))"
    r"|Disabling IOMMU\b(?! for)",
    re.IGNORECASE,
)
_BLAMED = re.compile(
    r"^(?=.*(?:DMAR|IVRS|IVHD|IVMD|AMD-Vi|RMRR|IOMMU|DRHD))(?=.*(?:firmware bug|firmware warn|your BIOS is broken|BIOS bug"
    r"|EFR mismatch|IVMD: no IOMMU for device))",
    re.IGNORECASE,
)
_SNP = re.compile(r"AMD-Vi: .{0,200}SNP (?:support )?enabled|SEV-SNP enabled", re.IGNORECASE)
_SHOWN = 5


@host_rule(
    "ACP002",
    title="The kernel has no complaint about what the firmware says of the IOMMU",
    why="Where entries of the table are wrong, the kernel guesses, or leaves out units and reserved memory.",
    remedy="update the firmware; report the line to the board's maker",
    source="QubesOS/qubes-issues#10931, slimbootloader/slimbootloader#786",
)
def sound_entries(facts: HostFacts, _: Target) -> Opinion:
    """Look for the kernel's complaints, and for what is wrong in the tables themselves."""
    found = (*_damaged_tables(facts), *facts.log.find(_BLAMED))
    if not found:
        return no_sign(facts, "faults of the firmware's in the IOMMU's table")
    severity = Severity.INFORMATION if facts.iommu.dma_remapping == "yes" else Severity.CONDITION
    return Opinion(severity, f"the firmware describes the IOMMU wrongly: {found[0].text}", found)


@host_rule(
    "IOM004",
    title="The kernel brought up the IOMMU units that the firmware describes",
    why="The table may be there and its unit dead: not initialised by firmware, or its registers read all ones.",
    remedy="update the firmware; power the host off and on; look whether a setting of the firmware's locks or hides VT-d",
    source="Dasharo/dasharo-issues#14, slimbootloader/slimbootloader#786",
)
def units_work(facts: HostFacts, _: Target) -> Opinion:
    """Look for units that the kernel gave up, and for a table without any unit in use."""
    found = facts.log.find(_GIVEN_UP)
    if found and facts.iommu.dma_remapping == "yes":
        return Opinion(Severity.CONDITION, f"an IOMMU unit is not used: {found[0].text}", found)
    if found:
        return Opinion(Severity.FAILURE, f"the kernel gave the IOMMU up: {found[0].text}", found)
    if facts.iommu.dma_remapping == "yes":
        there = " ".join(facts.iommu.units) or "in use"
        return Opinion(Severity.PASS, "no unit is known to be given up", (Evidence("/sys/class/iommu", there),))
    return no_sign(facts, "IOMMU units that were given up")


@controller_rule(
    "IOM005",
    title="The IOMMU stopped no access of the controller's",
    why="A fault is a DMA that went astray: by a broken driver, firmware or card. It shows under load only, and is rate-limited.",
    remedy="update the card's and the board's firmware; compare the log before and after a load",
    source="patmagauran/i915ovmfPkg#23, Dasharo/dasharo-issues#641",
)
def faults(facts: HostFacts, _: Target, controller: PciDevice) -> Opinion:
    """Tell the controller's faults from those of others."""
    found = facts.iommu.faults
    own = [fault for fault in found if _is_at(fault.device, controller.address)]
    if own:
        message = f"the IOMMU stopped accesses of the controller ({len(own)} logged{_suppressed(own)})"
        return Opinion(Severity.CONDITION, message, _quote(own))
    if found:
        devices = ", ".join(dict.fromkeys(fault.device or "a device that is not named" for fault in found))
        return Opinion(Severity.INFORMATION, f"the IOMMU stopped accesses, none of the controller's: {devices}", _quote(found))
    return no_sign(facts, "accesses that the IOMMU stopped")


@host_rule(
    "IOM006",
    title="The kernel may choose how the IOMMU's domains work",
    why="With SEV-SNP no group can be switched to the domain type identity; and with iommu=pt there is no SEV-SNP.",
    remedy="",
    source="https://github.com/avocado-framework-tests/avocado-misc-tests, admin-guide/kernel-parameters.html",
    informs=True,
)
def fixed_domains(facts: HostFacts, _: Target) -> Opinion:
    """Look for the lines by which the kernel tells of SNP; VFIO works under it."""
    if facts.iommu.vendor in {"intel", "arm"}:
        evidence = (Evidence("IOMMU", facts.iommu.vendor),)
        return Opinion(Severity.PASS, "the IOMMU is none of AMD's, which alone has SNP", evidence)
    if found := facts.log.find(_SNP):
        return Opinion(Severity.INFORMATION, "SEV-SNP is on: no IOMMU group can be switched to the domain type identity", found)
    return no_sign(facts, "SEV-SNP")


def _is_at(device: str, address: str) -> bool:
    """Return whether a fault's device, which may come without its domain, is the one at an address of sysfs."""
    return bool(device) and device.lower() in {address, address.partition(":")[2]}


def _suppressed(found: list[Fault]) -> str:
    count = sum(fault.suppressed for fault in found)
    return f", {count} more suppressed" if count else ""


def _quote(found: list[Fault] | tuple[Fault, ...]) -> tuple[Evidence, ...]:
    return tuple(Evidence("dmesg", fault.line or f"{fault.unit}: {fault.device}") for fault in found[:_SHOWN])


def _damaged_tables(facts: HostFacts) -> tuple[Evidence, ...]:
    """Return what is damaged or makes no sense in the tables, and tables that describe no unit."""
    said = []
    for name, table in (("DMAR", facts.acpi.dmar), ("IVRS", facts.acpi.ivrs)):
        if table.table.status == "present" and table.table.checksum_valid and not table.units:
            said.append((name, "describes no unit"))
        said += [(name, problem) for problem in table.problems]
    return tuple(Evidence(f"/sys/firmware/acpi/tables/{name}", text) for name, text in said)
