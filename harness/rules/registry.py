"""All rules, in the order in which a board is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from harness.core.finding import Finding
from harness.facts.host import HostFacts
from harness.rules import (
    controller,
    drivers,
    groups,
    holders,
    interrupts,
    iommu,
    kernel_log,
    keyboards,
    limits,
    losses,
    probing,
    processor,
    reserved,
    scratch,
    surroundings,
    units,
    usb,
)
from harness.rules.rule import Rule, Target

_IN_ORDER = (
    probing.answers,
    probing.tools,
    surroundings.container,
    surroundings.virtual_machine,
    surroundings.xen,
    surroundings.agreement,
    processor.virtualization_flag,
    processor.firmware_lock,
    processor.kvm_device,
    processor.qemu,
    limits.memory_lock,
    iommu.acpi_table,
    units.sound_entries,
    iommu.dma_remapping,
    iommu.kernel_argument,
    iommu.host_passthrough,
    units.units_work,
    units.fixed_domains,
    interrupts.interrupt_remapping,
    interrupts.firmware_remapping,
    interrupts.remapping_argument,
    interrupts.x2apic,
    interrupts.unsafe_interrupts,
    drivers.vfio_pci,
    drivers.noiommu_mode,
    drivers.reserving_driver,
    limits.vfio_node,
    groups.acs_override,
    reserved.relaxed,
    controller.one_controller,
    usb.is_xhci,
    drivers.present_driver,
    drivers.claimed_by_id,
    usb.renesas_firmware,
    controller.reset_method,
    usb.reset_trouble,
    kernel_log.dead_controller,
    kernel_log.bus_errors,
    kernel_log.usb_trouble,
    kernel_log.usb_claims,
    units.faults,
    groups.group_members,
    reserved.reserved_regions,
    losses.disks,
    scratch.scratch_disk,
    losses.network,
    keyboards.keyboards,
    losses.consoles,
    holders.vfio_holders,
    holders.usb_holders,
    probing.lockdown,
    kernel_log.kernel_errors,
    kernel_log.left_out,
)

GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "HST": "the host, and what it says of itself",
        "CPU": "the processor",
        "KVM": "KVM",
        "QEM": "QEMU",
        "MEM": "memory that is locked",
        "ACP": "the firmware's tables",
        "IOM": "DMA remapping",
        "IRQ": "interrupt remapping",
        "VFI": "VFIO",
        "GRP": "IOMMU groups",
        "RES": "memory that firmware reserves",
        "PCI": "the controller",
        "RST": "resets",
        "XHC": "the controller's driver",
        "AER": "the PCIe link",
        "USB": "USB devices",
        "STO": "disks that the host would lose, or that would be written",
        "NET": "the network that the host would lose",
        "INP": "keyboards that the host would lose",
        "CON": "consoles that the host would lose",
        "HLD": "who else has the controller",
        "LCK": "lockdown",
        "LOG": "the kernel's log",
    }
)
"""What each group of letters is about, in reading order."""

RULES: Mapping[str, Rule] = MappingProxyType({rule.id: rule for rule in _IN_ORDER})
"""Every rule by its id."""


def judge(rule_id: str, facts: HostFacts, target: Target) -> Finding:
    """Judge by one rule. Raises KeyError for an id that is none."""
    return RULES[rule_id].judge(facts, target)


def judge_all(facts: HostFacts, target: Target) -> tuple[Finding, ...]:
    """Judge by every rule: one finding each, in the rules' order."""
    return tuple(rule.judge(facts, target) for rule in RULES.values())
