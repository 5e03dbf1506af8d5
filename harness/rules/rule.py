"""What a rule is: a sentence that should hold, why, what to do where it does not, and a pure function that judges it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from harness.core.finding import Evidence, Finding, Severity
from harness.facts.host import HostFacts, find_controllers
from harness.facts.pci import PciDevice

HOST = "host"
"""The subject of findings that are about no device."""

UNDETERMINED = "not judged: the controller is not determined (PCI001)"
"""The message of every controller rule's finding where the bench file does not name exactly one."""


@dataclass(frozen=True)
class Target:
    """What is to be passed: the controller, if exactly one fits, and what the bench file asked for. Made by ``find_target``."""

    controller: PciDevice | None = None
    id: str | None = None
    address: str | None = None
    subsystem: str | None = None
    driver: str = "vfio-pci"

    @property
    def wish(self) -> str:
        """Return what was asked for, in words: ``id 1033:0194, address 0000:05:00.0``."""
        asked = {"id": self.id, "address": self.address, "subsystem": self.subsystem}
        return ", ".join(f"{key} {value}" for key, value in asked.items() if value) or "any xHCI controller"


Judge = Callable[[HostFacts, Target], Finding]


@dataclass(frozen=True)
class Rule:
    """One rule: ``judge`` gives exactly one finding, also where the rule holds or cannot be judged."""

    id: str
    title: str
    why: str
    remedy: str
    source: str
    judge: Judge


class Opinion(NamedTuple):
    """A finding without what is the same for every finding of its rule; an empty remedy means the rule's."""

    severity: Severity
    message: str
    evidence: tuple[Evidence, ...] = ()
    remedy: str = ""


HostOpinion = Callable[[HostFacts, Target], Opinion]
ControllerOpinion = Callable[[HostFacts, Target, PciDevice], Opinion]

# Where a rule holds there is nothing to do.
_NEEDS_NO_REMEDY = {Severity.PASS, Severity.INFORMATION}


def find_target(
    facts: HostFacts,
    *,
    id: str | None = None,  # noqa: A002 (the bench file's key)
    address: str | None = None,
    subsystem: str | None = None,
    driver: str = "vfio-pci",
) -> Target:
    """Return the target that a bench file asks for; its controller is None unless exactly one xHCI controller fits.

    Raises ValueError for an address that is none.
    """
    fitting = find_controllers(facts, id=id, address=address, subsystem=subsystem)
    return Target(fitting[0] if len(fitting) == 1 else None, id, address, subsystem, driver)


def host_rule(id: str, *, title: str, why: str, remedy: str, source: str) -> Callable[[HostOpinion], Rule]:  # noqa: A002
    """Make a rule about the host of a function that gives an opinion."""

    def make(opinion: HostOpinion) -> Rule:
        def judge(facts: HostFacts, target: Target) -> Finding:
            return _finding(id, remedy, HOST, opinion(facts, target))

        return Rule(id, title, why, remedy, source, judge)

    return make


def controller_rule(id: str, *, title: str, why: str, remedy: str, source: str) -> Callable[[ControllerOpinion], Rule]:  # noqa: A002
    """Make a rule about the controller; without one it cannot be judged, and PCI001 says why there is none."""

    def make(opinion: ControllerOpinion) -> Rule:
        def judge(facts: HostFacts, target: Target) -> Finding:
            if target.controller is None:
                return Finding(id, Severity.UNKNOWN, HOST, UNDETERMINED)
            return _finding(id, remedy, target.controller.address, opinion(facts, target, target.controller))

        return Rule(id, title, why, remedy, source, judge)

    return make


def _finding(rule: str, remedy: str, subject: str, opinion: Opinion) -> Finding:
    default = "" if opinion.severity in _NEEDS_NO_REMEDY else remedy
    return Finding(rule, opinion.severity, subject, opinion.message, opinion.evidence, opinion.remedy or default)
