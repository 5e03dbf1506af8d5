"""From findings to a controller's readiness: pure, each reason once, the weightiest first."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import msgspec

from harness.core.finding import Finding, Severity
from harness.facts.host import HostFacts
from harness.facts.pci import PciDevice
from harness.rules.registry import RULES
from harness.rules.rule import Target

_UNFIT = {Severity.FAILURE, Severity.REFUSAL}
_WEIGHTS = {Severity.FAILURE: 0, Severity.REFUSAL: 1, Severity.UNKNOWN: 2, Severity.CONDITION: 3}
# What follows from what: where a cause holds a controller back, its effects are no reasons of their own.
_CAUSES = {
    "IOM001": {"HST005"},
    "IOM002": {"HST005"},
    "IOM004": {"HST005", "ACP001"},
    "ACP001": {"HST005"},
    "ACP002": {"IOM004", "IOM001", "ACP001"},
    "IRQ001": {"IOM001", "HST005", "IRQ003"},
    "IRQ005": {"IRQ001"},
    "GRP001": {"IOM001", "HST005"},
    "RES001": {"IOM001", "HST005"},
    "CPU001": {"HST005", "CPU002"},
    "KVM001": {"HST005", "CPU001", "CPU002"},
}


class Readiness(enum.Enum):
    """Whether a controller can be given to a guest, as far as facts tell."""

    READY = "ready"
    CONDITIONAL = "conditional"
    UNKNOWN = "unknown"
    NOT_READY = "not ready"


class ControllerVerdict(msgspec.Struct, frozen=True):
    """What the rules say of one function of class 0c03.

    ``readiness`` is None for what is no xHCI controller and so is not judged (EHCI, xDCI, ...). ``findings`` are those about
    it alone, ``reasons`` what its readiness rests on, ``unknowns`` what else is not known and did not decide.
    """

    controller: PciDevice
    readiness: Readiness | None
    reasons: tuple[Finding, ...] = ()
    unknowns: tuple[Finding, ...] = ()
    findings: tuple[Finding, ...] = ()


class HostVerdict(msgspec.Struct, frozen=True):
    """What the rules say of a host, once, and of each of its USB controllers, by address."""

    findings: tuple[Finding, ...]
    controllers: tuple[ControllerVerdict, ...] = ()


def readiness(findings: Sequence[Finding]) -> Readiness:
    """Judge one controller by the host's findings and its own.

    What stands against it outweighs what is not known: the one will still stand when the other is known.
    """
    about_board = [finding for finding in findings if _is_about_board(finding)]
    severities = {finding.severity for finding in about_board}
    if severities & _UNFIT:
        return Readiness.NOT_READY
    if any(finding.severity is Severity.UNKNOWN and RULES[finding.rule].required for finding in about_board):
        return Readiness.UNKNOWN
    return Readiness.CONDITIONAL if Severity.CONDITION in severities else Readiness.READY


def find_reasons(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return what keeps a controller from being ready, the weightiest first; effects of another reason are left out."""
    weighty = [finding for finding in findings if _is_about_board(finding) and _decides(finding)]
    fired = {finding.rule for finding in weighty if finding.severity is not Severity.UNKNOWN}
    causes = [finding for finding in weighty if not _follows(finding, fired)]
    return tuple(sorted(causes, key=lambda finding: _WEIGHTS[finding.severity]))


def find_unknowns(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return what is not known and did not decide."""
    return tuple(
        finding
        for finding in findings
        if finding.severity is Severity.UNKNOWN and _is_about_board(finding) and not RULES[finding.rule].required
    )


def judge_host(facts: HostFacts) -> tuple[Finding, ...]:
    """Judge by every rule about the host, the suite's tools among them."""
    return tuple(rule.judge(facts, Target()) for rule in RULES.values() if rule.scope == "host")


def judge_controllers(facts: HostFacts) -> HostVerdict:
    """Judge a host and every function of class 0c03 that it has; no bench file names one."""
    host = judge_host(facts)
    functions = [device for device in facts.pci if device.is_usb]
    return HostVerdict(host, tuple(_judge_function(facts, device, host) for device in functions))


def _judge_function(facts: HostFacts, device: PciDevice, host: tuple[Finding, ...]) -> ControllerVerdict:
    target = Target(device, device.id or None, device.address)
    if not device.is_xhci:
        kind = RULES["PCI003"].judge(facts, target)
        unclear = kind.severity is Severity.UNKNOWN
        return ControllerVerdict(device, Readiness.UNKNOWN if unclear else None, (kind,) if unclear else (), findings=(kind,))
    own = tuple(rule.judge(facts, target) for rule in RULES.values() if rule.scope == "controller")
    both = (*host, *own)
    return ControllerVerdict(device, readiness(both), find_reasons(both), find_unknowns(both), own)


def _is_about_board(finding: Finding) -> bool:
    return RULES[finding.rule].about == "board"


def _decides(finding: Finding) -> bool:
    return finding.severity in _WEIGHTS and (finding.severity is not Severity.UNKNOWN or RULES[finding.rule].required)


def _follows(finding: Finding, fired: set[str]) -> bool:
    return bool(_CAUSES.get(finding.rule, set()) & fired)
