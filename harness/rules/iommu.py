"""Rules about DMA remapping: judged by what works, not by what is announced."""

from __future__ import annotations

import re

from harness.core.finding import Evidence, Severity
from harness.facts.acpi_table import Table
from harness.facts.host import GROUPS, HostFacts
from harness.facts.kernel import Kernel
from harness.rules.bootloader import explain_replacement, explain_setting
from harness.rules.rule import Opinion, Target, host_rule

_TABLES = "/sys/firmware/acpi/tables"
# Printed when the argument is read, before any unit was looked for; older kernels name themselves Intel-IOMMU.
_ANNOUNCEMENT = re.compile(r"(?:DMAR|Intel-IOMMU): (?:IOMMU )?enabled\s*$", re.IGNORECASE)
_TROUBLE = re.compile(r"all ones|disabl|invalid\b|firmware bug|fail|inconsistent|not map|no ?DMAR", re.IGNORECASE)
_TROUBLE_SHOWN = 5
_OFF = {
    "intel": (("intel_iommu", "off"), ("iommu", "off"), ("acpi", "off")),
    "amd": (("amd_iommu", "off"), ("iommu", "off"), ("acpi", "off")),
}
_OFF_FOR_ANY = tuple(dict.fromkeys((*_OFF["intel"], *_OFF["amd"])))
_UNSEEN = (Evidence("/sys/class/iommu", "(not read)"), Evidence(GROUPS, "(not read)"))
_PASSTHROUGH = (("iommu", "pt"), ("iommu.passthrough", "1"))


@host_rule(
    "ACP001",
    title="The firmware describes an IOMMU in a sound ACPI table (DMAR or IVRS)",
    why="The kernel finds the IOMMU only by this table; firmware leaves it out when VT-d or AMD-Vi is switched off.",
    remedy="enable VT-d (Intel) or IOMMU/AMD-Vi (AMD) in the firmware's setup; update the firmware if there is no such setting",
    source="Dasharo/dasharo-issues#14, QubesOS/qubes-issues#10931, openshift/sriov-network-operator#498",
)
def acpi_table(facts: HostFacts, _: Target) -> Opinion:
    """Look for either table and its checksum."""
    tables = {"DMAR": facts.acpi.dmar.table, "IVRS": facts.acpi.ivrs.table}
    evidence = tuple(Evidence(f"{_TABLES}/{name}", _describe(table)) for name, table in tables.items())
    remapping = facts.iommu.dma_remapping == "yes"
    for name, table in tables.items():
        if table.status == "present" and table.checksum_valid:
            return Opinion(Severity.PASS, f"the firmware has a {name} table, its checksum is right", evidence)
        if table.status in {"present", "broken"}:
            severity = Severity.CONDITION if remapping else Severity.FAILURE
            return Opinion(severity, f"the {name} table is damaged: its length or its checksum is wrong", evidence)
    if remapping:
        return Opinion(Severity.INFORMATION, "DMA is remapped; its DMAR or IVRS table was not seen", evidence)
    if facts.cpu.architecture in {"arm", "other"}:
        return Opinion(Severity.UNKNOWN, "another architecture than x86 describes its IOMMU elsewhere", evidence)
    if all(table.status == "absent" for table in tables.values()):
        return Opinion(Severity.FAILURE, "the firmware has neither a DMAR nor an IVRS table: it describes no IOMMU", evidence)
    return Opinion(Severity.UNKNOWN, "the ACPI tables could not be read", evidence, "run as root, outside of a container")


@host_rule(
    "IOM001",
    title="DMA remapping is in use",
    why="Without it a device that is given to a guest could reach all memory, and VFIO refuses to pass it.",
    remedy="enable the IOMMU in the firmware's setup and by kernel argument (ACP001, IOM002)",
    source="foxlet/macOS-Simple-KVM#143, fwupd/fwupd#2093, Dasharo/dasharo-issues#14, driver-api/vfio.html",
    required=True,
)
def dma_remapping(facts: HostFacts, _: Target) -> Opinion:
    """Ask for units and filled groups."""
    evidence = facts.iommu.dma_evidence or _UNSEEN
    if facts.iommu.dma_remapping == "yes":
        return Opinion(Severity.PASS, _explain_presence(facts), evidence)
    log = (*_announcements(facts), *[line for line in facts.log.lines if _TROUBLE.search(line)][:_TROUBLE_SHOWN])
    evidence = tuple(dict.fromkeys((*evidence, *(Evidence("dmesg", line) for line in log))))
    if facts.iommu.dma_remapping == "unknown":
        return Opinion(Severity.UNKNOWN, "the host does not show whether DMA is remapped", evidence)
    return Opinion(Severity.FAILURE, _explain_absence(facts), evidence)


@host_rule(
    "IOM002",
    title="The kernel's arguments let it use the IOMMU",
    why="Many kernels use Intel's IOMMU only with intel_iommu=on (others have it built in); AMD's is used unless switched off.",
    remedy="take intel_iommu=off, amd_iommu=off and iommu=off away, and on Intel:",
    source="foxlet/macOS-Simple-KVM#143, admin-guide/kernel-parameters.html",
    setting="intel_iommu=on",
)
def kernel_argument(facts: HostFacts, _: Target) -> Opinion:
    """Compare the command line with the IOMMU's maker."""
    kernel, vendor = facts.kernel, facts.iommu.vendor
    evidence = (Evidence("/proc/cmdline", kernel.cmdline or "(not read)"),)
    if facts.iommu.dma_remapping == "yes":
        return Opinion(Severity.PASS, "DMA is remapped with the arguments as they are", evidence)
    if not kernel.cmdline:
        return Opinion(Severity.UNKNOWN, "the kernel's command line was not read")
    if switched_off := _find_argument(kernel, _OFF.get(vendor, _OFF_FOR_ANY)):
        message = f"the kernel argument {switched_off} switches the IOMMU off"
        return Opinion(Severity.FAILURE, message, evidence, explain_replacement(kernel, switched_off, "off"))
    return _judge_setting(facts, evidence)


@host_rule(
    "IOM003",
    title="The host's own DMA is translated too",
    why="With iommu=pt the host's devices bypass translation, which is faster; devices of a guest are translated all the same.",
    remedy="",
    source="admin-guide/kernel-parameters.html",
    informs=True,
)
def host_passthrough(facts: HostFacts, _: Target) -> Opinion:
    """Tell whether the host runs in pass-through mode: no weakness, but figures depend on it."""
    evidence = (
        Evidence("/proc/cmdline", facts.kernel.cmdline or "(not read)"),
        Evidence(f"{GROUPS}/*/type", " ".join(sorted(set(facts.iommu.group_types.values()))) or "(not shown)"),
    )
    if facts.iommu.dma_remapping != "yes":
        return Opinion(Severity.INFORMATION, "DMA remapping is not known to be in use, which has its own rule (IOM001)", evidence)
    argument = _find_argument(facts.kernel, _PASSTHROUGH)
    if argument or facts.iommu.default_domain == "passthrough":
        by = argument or "by the kernel's default"
        return Opinion(Severity.INFORMATION, f"{by}: the host's own devices bypass translation", evidence)
    if not facts.kernel.cmdline and facts.iommu.default_domain != "translated":
        return Opinion(Severity.UNKNOWN, "the kernel's command line was not read", evidence)
    return Opinion(Severity.PASS, "nothing lets the host's devices bypass translation", evidence)


def _judge_setting(facts: HostFacts, evidence: tuple[Evidence, ...]) -> Opinion:
    """Judge a command line that switches nothing off, on a host that is not known to remap."""
    kernel, vendor = facts.kernel, facts.iommu.vendor
    if vendor in {"amd", "arm"}:
        return Opinion(Severity.PASS, "AMD-Vi needs no kernel argument" if vendor == "amd" else "Arm needs none", evidence)
    if "on" in (kernel.argument("intel_iommu") or "").split(","):
        return Opinion(Severity.PASS, "intel_iommu=on is given", evidence)
    if vendor != "intel":
        return Opinion(Severity.INFORMATION, "no IOMMU is known that an argument could switch on", evidence)
    if facts.iommu.dma_remapping == "unknown":
        message = "intel_iommu=on is not given; whether this kernel is built to use the IOMMU without it is not known"
        return Opinion(Severity.UNKNOWN, message, evidence, explain_setting(kernel, "intel_iommu=on"))
    message = "intel_iommu=on is not given, and the kernel does not use the IOMMU that the firmware describes"
    return Opinion(Severity.FAILURE, message, evidence, explain_setting(kernel, "intel_iommu=on"))


def _explain_presence(facts: HostFacts) -> str:
    if facts.iommu.units:
        return f"{len(facts.iommu.units)} IOMMU unit(s) translate for {len(facts.iommu.groups)} groups"
    return (
        f"the IOMMU works, for {len(facts.iommu.groups)} groups" if facts.iommu.groups else "the IOMMU works, by the kernel's log"
    )


def _describe(table: Table) -> str:
    if table.status != "present":
        return table.status
    checksum = "right" if table.checksum_valid else "wrong"
    return f"{table.length} bytes ({table.length_read} read), checksum {checksum}, {table.oem}".rstrip(", ")


def _announcements(facts: HostFacts) -> tuple[str, ...]:
    return tuple(line for line in facts.log.lines if _ANNOUNCEMENT.search(line))


def _explain_absence(facts: HostFacts) -> str:
    empty = "there is no IOMMU group and /sys/class/iommu is empty"
    if facts.iommu.units:
        empty = "units are registered, but there is no IOMMU group with a device"
    for line in _announcements(facts):
        said = re.search(_ANNOUNCEMENT, line)
        if said:
            return f'the kernel prints "{said[0].strip()}", but {empty}: that line only echoes the kernel argument'
    return f"DMA is not remapped: {empty}"


def _find_argument(kernel: Kernel, wanted: tuple[tuple[str, str], ...]) -> str:
    """Return the first argument that gives one of the values, alone or in a list (``iommu=pt,soft``); empty if none does."""
    given = ((key, value, kernel.argument(key) or "") for key, value in wanted)
    return next((f"{key}={values}" for key, value, values in given if value in values.split(",")), "")
