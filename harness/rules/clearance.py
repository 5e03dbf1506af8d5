"""Whether a controller may be taken: no rule stands against it, and no rule that guards the host was left without an answer."""

from __future__ import annotations

from collections.abc import Iterable

from harness.core.errors import BlockedError, BoardError, NotMeasurableError, RefusedError
from harness.core.finding import Finding, Severity
from harness.facts.pci import PciDevice
from harness.rules.rule import Target

GUARDS = frozenset({"HST001", "GRP001", "STO001", "NET001"})
"""Rules without whose answer nothing is taken: silence is no permission."""


def clear(target: Target, findings: Iterable[Finding]) -> PciDevice:
    """Return the controller if none of the findings of all rules stands against taking it.

    Raises RefusedError where the host would lose what it needs, or may; BlockedError where the board is not ready.
    """
    for finding in findings:
        if finding.severity is Severity.REFUSAL:
            raise_finding(finding)
        if finding.severity is Severity.UNKNOWN and finding.rule in GUARDS:
            raise RefusedError(
                f"what the host would lose is not known ({finding.rule}): {finding.message}", remedy=finding.remedy
            )
        if finding.severity is Severity.FAILURE:
            raise BlockedError(f"blocked by readiness ({finding.rule}): {finding.message}", remedy=finding.remedy)
    if target.controller is None:
        raise BlockedError("blocked by readiness (PCI001): the controller is not determined")
    return target.controller


def raise_finding(finding: Finding) -> None:
    """Raise what a finding means for a check; what passes, informs or weakens raises nothing."""
    errors = {Severity.FAILURE: BoardError, Severity.REFUSAL: RefusedError, Severity.UNKNOWN: NotMeasurableError}
    if error := errors.get(finding.severity):
        raise error(finding.message, remedy=finding.remedy)
