"""Rules about interrupt remapping: without it a guest's device can forge the host's interrupts."""

from __future__ import annotations

import re

from harness.core.finding import Evidence, Severity
from harness.facts.host import HostFacts
from harness.rules.rule import Opinion, Target, host_rule

_UNSAFE = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
_LOG_LINE = re.compile(r"DMAR-IR|interrupt.?remapping|IRQ remapping|x2apic", re.IGNORECASE)
_LOG_LINES_SHOWN = 5


@host_rule(
    "IRQ001",
    title="Interrupts are remapped",
    why="Without it VFIO refuses a device, unless allow_unsafe_interrupts (never set by us) admits forged interrupts.",
    remedy="enable interrupt remapping (or x2APIC) in the firmware's setup, remove the kernel argument intremap=off",
    source="MrChromebox/firmware#458, NixOS/nixpkgs#6264, tiiuae/ghaf#103",
)
def interrupt_remapping(facts: HostFacts, _: Target) -> Opinion:
    """Judge by the chips in /proc/interrupts; the log decides only where they do not."""
    chips = Evidence("/proc/interrupts", " ".join(facts.iommu.interrupt_chips) or "(not read)")
    log = [line for line in facts.log.lines if _LOG_LINE.search(line)][:_LOG_LINES_SHOWN]
    evidence = (chips, *(Evidence("dmesg", line) for line in log))
    state = facts.iommu.interrupt_remapping
    if state == "yes":
        return Opinion(Severity.PASS, "interrupts pass the remapping unit", evidence)
    if state == "unknown":
        return Opinion(Severity.UNKNOWN, "the host does not show whether interrupts are remapped", evidence)
    if facts.vfio.unsafe_interrupts:
        message = "interrupts are not remapped, and the host already has allow_unsafe_interrupts=Y: a guest can forge interrupts"
        return Opinion(Severity.CONDITION, message, (*evidence, Evidence(_UNSAFE, "Y")))
    return Opinion(Severity.FAILURE, "interrupts are not remapped: VFIO refuses to pass a device", evidence)
