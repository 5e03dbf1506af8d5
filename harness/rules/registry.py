"""All rules, in the order in which a board is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from harness.core.finding import Finding
from harness.facts.host import HostFacts
from harness.rules import controller, drivers, groups, interrupts, iommu, losses, probing, processor
from harness.rules.rule import Rule, Target

_IN_ORDER = (
    probing.answers,
    probing.tools,
    processor.virtualization_flag,
    processor.kvm_device,
    processor.qemu,
    iommu.acpi_table,
    iommu.dma_remapping,
    iommu.kernel_argument,
    iommu.host_passthrough,
    interrupts.interrupt_remapping,
    drivers.vfio_pci,
    drivers.noiommu_mode,
    controller.one_controller,
    drivers.present_driver,
    controller.reset_method,
    groups.group_members,
    groups.acs_override,
    groups.reserved_regions,
    losses.disks,
    losses.network,
    losses.keyboards,
    probing.lockdown,
)

RULES: Mapping[str, Rule] = MappingProxyType({rule.id: rule for rule in _IN_ORDER})
"""Every rule by its id."""


def judge(rule_id: str, facts: HostFacts, target: Target) -> Finding:
    """Judge by one rule. Raises KeyError for an id that is none."""
    return RULES[rule_id].judge(facts, target)


def judge_all(facts: HostFacts, target: Target) -> tuple[Finding, ...]:
    """Judge by every rule: one finding each, in the rules' order."""
    return tuple(rule.judge(facts, target) for rule in RULES.values())
