"""Clearance: whether anything stands against taking a controller, by every rule at once."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.errors import BlockedError, RefusedError
from harness.core.finding import Finding, Severity
from harness.facts.host import HostFacts
from harness.facts.pci import PciDevice
from harness.rules.registry import RULES, judge_all
from harness.rules.rule import UNDETERMINED, Target, members_to_bind


def clear(facts: HostFacts, target: Target) -> tuple[PciDevice, ...]:
    """Return what may be bound, the controller first, or raise what stands against it. Nothing is touched.

    Raises RefusedError where the host would be harmed, or nobody can say that it would not; BlockedError where it is no use.
    """
    if obstacle := find_obstacle(judge_all(facts, target)):
        raise obstacle
    members = members_to_bind(facts, target)
    if not members:
        raise BlockedError("blocked by readiness (PCI001): the controller is not determined")
    return members


def find_obstacle(findings: Sequence[Finding]) -> RefusedError | BlockedError | None:
    """Return what the findings of all rules mean for whoever wants to take the controller: refusals first, then failures."""
    by_weight = (*filter(_refuses, findings), *filter(_is_silent_guard, findings), *filter(_fails, findings))
    return _obstacle(by_weight[0]) if by_weight else None


def _obstacle(finding: Finding) -> RefusedError | BlockedError:
    if _refuses(finding):
        return RefusedError(finding.message, remedy=finding.remedy)
    if _fails(finding):
        return BlockedError(f"blocked by readiness ({finding.rule}): {finding.message}", remedy=finding.remedy)
    message = f"what the host would lose is not known ({finding.rule}): {finding.message}"
    return RefusedError(message, remedy=finding.remedy)


def _refuses(finding: Finding) -> bool:
    return finding.severity is Severity.REFUSAL


def _is_silent_guard(finding: Finding) -> bool:
    # Where the controller is not determined, only the rule that says why speaks.
    return finding.severity is Severity.UNKNOWN and RULES[finding.rule].guards and finding.message != UNDETERMINED


def _fails(finding: Finding) -> bool:
    return finding.severity is Severity.FAILURE
