"""Rules about interrupt remapping: without it a guest's device can forge the host's interrupts."""

from __future__ import annotations

import re

from harness.core.finding import Evidence, Severity
from harness.facts.host import HostFacts
from harness.facts.kernel import Kernel
from harness.rules.bootloader import explain_replacement
from harness.rules.rule import Opinion, Target, host_rule, no_sign

_UNSAFE = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
_LOG_LINE = re.compile(r"DMAR-IR|interrupt.?remapping|IRQ remapping|x2apic", re.IGNORECASE)
# "ioapic 2 has no mapping iommu" (Intel), "IOAPIC[0] not in IVRS table" (AMD), and what follows of them.
_FIRMWARE = re.compile(
    r"has no mapping iommu|not in IVRS table|No southbridge IOAPIC|Disabling interrupt remapping"
    r"|Not enabl(?:e|ing) interrupt remapping|Failed to enable (?:irq|interrupt)[ -]remapping|irq-injection attacks"
    r"|interrupt remapping is being disabled|broken (?:on this|.{0,200}chipset).{0,200}interrupt remapping",
    re.IGNORECASE,
)
_X2APIC = re.compile(
    r"x2apic is disabled because BIOS|x2apic opt.?out|IRQ remapping doesn't support X2APIC|x2apic not enabled|x2apic disabled",
    re.IGNORECASE,
)
_LOG_LINES_SHOWN = 5


@host_rule(
    "IRQ001",
    title="Interrupts are remapped",
    why="Without it VFIO refuses a device, unless allow_unsafe_interrupts (never set by us) admits forged interrupts.",
    remedy="enable interrupt remapping (or x2APIC) in the firmware's setup, remove the kernel argument intremap=off",
    source="MrChromebox/firmware#458, NixOS/nixpkgs#6264, tiiuae/ghaf#103",
    required=True,
)
def interrupt_remapping(facts: HostFacts, _: Target) -> Opinion:
    """Judge by the chips in /proc/interrupts; the log decides only where they do not."""
    log = [Evidence("dmesg", line) for line in facts.log.lines if _LOG_LINE.search(line)][:_LOG_LINES_SHOWN]
    shown = facts.iommu.interrupt_evidence or (Evidence("/proc/interrupts", "(not read, or without a chip that tells)"),)
    evidence = tuple(dict.fromkeys((*shown, *log)))
    state = facts.iommu.interrupt_remapping
    if state == "yes":
        return Opinion(Severity.PASS, "interrupts pass the remapping unit", evidence)
    if state == "n/a":
        return Opinion(Severity.INFORMATION, "this platform remaps no interrupts: its devices' messages go another way", evidence)
    if state == "unknown":
        return Opinion(Severity.UNKNOWN, "the host does not show whether interrupts are remapped", evidence)
    if _find_permit(facts):
        message = "interrupts are not remapped, and the host already has allow_unsafe_interrupts=Y: a guest can forge interrupts"
        return Opinion(Severity.CONDITION, message, (*evidence, *_find_permit(facts)))
    return Opinion(Severity.FAILURE, "interrupts are not remapped: VFIO refuses to pass a device", evidence)


@host_rule(
    "IRQ002",
    title="The firmware lets interrupts be remapped",
    why="The table must say that the unit remaps, and name every IOAPIC: if it forgets one, the kernel switches remapping off.",
    remedy="update the firmware; on AMD ivrs_ioapic[...]= can name the IOAPIC that the table forgets",
    source="MrChromebox/firmware#458, admin-guide/kernel-parameters.html",
    informs=True,
)
def firmware_remapping(facts: HostFacts, _: Target) -> Opinion:
    """Look for the table's flag and the log's lines: they are the cause, the effect has its own rule (IRQ001)."""
    if facts.iommu.interrupt_remapping == "yes":
        evidence = (Evidence("/proc/interrupts", " ".join(facts.iommu.interrupt_chips) or "remapped, by the log"),)
        return Opinion(Severity.PASS, "interrupts are remapped with the firmware as it is", evidence)
    dmar = facts.acpi.dmar
    flag = (Evidence("/sys/firmware/acpi/tables/DMAR", "flags: INTR_REMAP is not set"),)
    denied = flag if dmar.table.status == "present" and dmar.table.checksum_valid and not dmar.interrupt_remapping else ()
    if found := (*denied, *facts.log.find(_FIRMWARE)):
        return Opinion(Severity.INFORMATION, f"the firmware keeps interrupts from being remapped: {found[0].text}", found)
    return no_sign(facts, "firmware that keeps interrupts from being remapped")


@host_rule(
    "IRQ003",
    title="No kernel argument switches interrupt remapping off",
    why="intremap=off (nointremap on older kernels) was a cure for broken firmware, and often outlived it.",
    remedy="take it away:",
    source="NixOS/nixpkgs#6264, admin-guide/kernel-parameters.html",
    removal="intremap=off",
)
def remapping_argument(facts: HostFacts, _: Target) -> Opinion:
    """Look for the argument."""
    evidence = (Evidence("/proc/cmdline", facts.kernel.cmdline or "(not read)"),)
    if not facts.kernel.cmdline:
        return Opinion(Severity.UNKNOWN, "the kernel's command line was not read", evidence)
    argument = _find_off(facts.kernel)
    if not argument:
        return Opinion(Severity.PASS, "no argument switches interrupt remapping off", evidence)
    remedy = explain_replacement(facts.kernel, argument, "off")
    if facts.iommu.interrupt_remapping == "yes":
        return Opinion(Severity.INFORMATION, f"{argument} is given, yet interrupts are remapped", evidence, remedy)
    severity = Severity.CONDITION if _find_permit(facts) else Severity.FAILURE
    return Opinion(severity, f"the kernel argument {argument} switches interrupt remapping off", evidence, remedy)


@host_rule(
    "IRQ004",
    title="The firmware leaves x2APIC to the kernel",
    why="Firmware may ask the kernel to stay with xAPIC: no harm to passthrough, but hosts of many cores need x2APIC.",
    remedy="",
    source="tinkerbell/hook#146, admin-guide/kernel-parameters.html",
    informs=True,
)
def x2apic(facts: HostFacts, _: Target) -> Opinion:
    """Look for the bit in DMAR and the kernel's word: for information."""
    if facts.acpi.dmar.x2apic_opt_out:
        evidence = (Evidence("/sys/firmware/acpi/tables/DMAR", "flags: X2APIC_OPT_OUT is set"),)
        return Opinion(Severity.INFORMATION, "the firmware asks the kernel not to use x2APIC", evidence)
    if found := facts.log.find(_X2APIC):
        return Opinion(Severity.INFORMATION, f"x2APIC is not used: {found[0].text}", found)
    if facts.kernel.argument("nox2apic") is not None:
        return Opinion(Severity.INFORMATION, "nox2apic: x2APIC is not used", (Evidence("/proc/cmdline", facts.kernel.cmdline),))
    if facts.acpi.dmar.table.status == "present" and facts.acpi.dmar.table.checksum_valid:
        evidence = (Evidence("/sys/firmware/acpi/tables/DMAR", "flags: X2APIC_OPT_OUT is not set"),)
        return Opinion(Severity.PASS, "the firmware does not opt out of x2APIC", evidence)
    return no_sign(facts, "x2APIC that is not used")


@host_rule(
    "IRQ005",
    title="VFIO is not told to accept unsafe interrupts",
    why="allow_unsafe_interrupts passes devices whose interrupts a guest can forge; left on, it hides a missing remapping.",
    remedy=f"write N to {_UNSAFE}, and remove the option from /etc/modprobe.d and the kernel's command line",
    source="tiiuae/ghaf#103, kata-containers/kata-containers#12684, driver-api/vfio.html",
)
def unsafe_interrupts(facts: HostFacts, _: Target) -> Opinion:
    """Look at the parameter, as it is and as the command line sets it; it has no effect where interrupts are remapped."""
    if evidence := _find_permit(facts):
        if facts.iommu.interrupt_remapping == "yes":
            message = "allow_unsafe_interrupts is on; it has no effect while interrupts are remapped"
            return Opinion(Severity.INFORMATION, message, evidence)
        return Opinion(Severity.CONDITION, "allow_unsafe_interrupts is on: VFIO accepts forged interrupts", evidence)
    if facts.vfio.unsafe_interrupts is None or facts.vfio.available == "unknown":
        return Opinion(Severity.UNKNOWN, "the host does not show VFIO's parameters")
    return Opinion(Severity.PASS, "allow_unsafe_interrupts is off", (Evidence(_UNSAFE, "N, or VFIO is not loaded"),))


def _find_permit(facts: HostFacts) -> tuple[Evidence, ...]:
    """Return what permits unsafe interrupts: the parameter as it is, or the argument that sets it when the module is loaded."""
    shown = (Evidence(_UNSAFE, "Y"),) if facts.vfio.unsafe_interrupts else ()
    given = facts.kernel.argument("vfio_iommu_type1.allow_unsafe_interrupts") in {"1", "Y", "y", "on", ""}
    return (*shown, *((Evidence("/proc/cmdline", facts.kernel.cmdline),) if given else ()))


def _find_off(kernel: Kernel) -> str:
    values = kernel.argument("intremap") or ""
    if "off" in values.split(","):
        return f"intremap={values}"
    return "nointremap" if kernel.argument("nointremap") is not None else ""
