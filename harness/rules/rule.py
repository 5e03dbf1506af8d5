"""What a rule is: a sentence that should hold, why, what to do where it does not, and a pure function that judges it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, NotRequired, TypedDict, Unpack

from harness.core.finding import Evidence, Finding, Severity
from harness.core.pci import PciAddress
from harness.facts.host import HostFacts, find_controllers
from harness.facts.pci import PciDevice
from harness.rules.bootloader import WAYS

_THREAD = re.compile(r"([\w.-]+/[\w.-]+)#(\d+)")

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
    guest_memory_mib: int = 0  # 0: not known
    qemu: str = ""  # the program that starts the guest; empty: QEMU's own name
    siblings: tuple[str, ...] = ()  # addresses of functions of the group that may leave the host with the controller

    @property
    def wish(self) -> str:
        """Return what was asked for, in words: ``id 1033:0194, address 0000:05:00.0``."""
        asked = {"id": self.id, "address": self.address, "subsystem": self.subsystem}
        return ", ".join(f"{key} {value}" for key, value in asked.items() if value) or "any xHCI controller"


READ_MORE = "read more of the host: as root and outside of a container; or add what the capture lacks (docs/captures.md)"
"""What to do about what is not known of a board."""

Judge = Callable[[HostFacts, Target], Finding]
Scope = Literal["host", "controller"]
About = Literal["board", "suite"]


@dataclass(frozen=True)
class Rule:
    """One rule: ``judge`` gives exactly one finding, also where the rule holds or cannot be judged.

    ``scope`` tells whether the host or one controller is its subject. Where a ``required`` rule is UNKNOWN, so is the verdict;
    one that only ``informs`` weighs nothing, known or not; one that is ``tried`` is answered by a run later on: there its
    UNKNOWN stops nothing.
    A rule ``about`` the suite (its tools, the bench file) says nothing of the board. ``setting`` and ``removal`` are the kernel
    arguments that its remedy adds or takes away.
    """

    id: str
    title: str
    why: str
    remedy: str
    source: str
    judge: Judge
    scope: Scope = "host"
    required: bool = False
    informs: bool = False
    tried: bool = False
    about: About = "board"
    setting: str = ""
    removal: str = ""

    @property
    def group(self) -> str:
        """Return the letters of its id: what it is about."""
        return self.id.rstrip("0123456789")

    @property
    def sources(self) -> tuple[str, ...]:
        """Return where it is from, as addresses; ``owner/repo#12`` is a thread there, ``path.html`` a page of the kernel's."""
        return tuple(map(_expand, filter(None, self.source.split(", "))))

    @property
    def remedies(self) -> tuple[str, ...]:
        """Return what to do where it does not hold, on whatever host: the remedy, then one line for each boot loader."""
        setting = [f"{way.host}: {way.setting(self.setting)}" for way in WAYS] if self.setting else []
        removal = [f"{way.host}: {way.removal(self.removal)}" for way in WAYS] if self.removal else []
        return tuple(filter(None, (self.remedy, *setting, *removal)))


class Opinion(NamedTuple):
    """A finding without what is the same for every finding of its rule; an empty remedy means the rule's."""

    severity: Severity
    message: str
    evidence: tuple[Evidence, ...] = ()
    remedy: str = ""


HostOpinion = Callable[[HostFacts, Target], Opinion]
ControllerOpinion = Callable[[HostFacts, Target, PciDevice], Opinion]

# Rules that are about not knowing: their own remedy is the answer to it.
_MEND_NOT_KNOWING = {"HST001", "PCI003"}
# Where a rule holds there is nothing to do.
_NEEDS_NO_REMEDY = {Severity.PASS, Severity.INFORMATION}


def find_target(
    facts: HostFacts,
    *,
    id: str | None = None,  # noqa: A002 (the bench file's key)
    address: str | None = None,
    subsystem: str | None = None,
    driver: str = "vfio-pci",
    guest_memory_mib: int = 0,
    qemu: str = "",
    siblings: Sequence[str] = (),
) -> Target:
    """Return the target that a bench file asks for; its controller is None unless exactly one xHCI controller fits.

    Raises ValueError for an address that is none.
    """
    fitting = find_controllers(facts, id=id, address=address, subsystem=subsystem)
    named = tuple(str(PciAddress.parse(sibling)) for sibling in siblings)
    return Target(fitting[0] if len(fitting) == 1 else None, id, address, subsystem, driver, guest_memory_mib, qemu, named)


class Words(TypedDict):
    """What a rule says of itself; see ``Rule``."""

    title: str
    why: str
    remedy: str
    source: str
    scope: NotRequired[Scope]
    required: NotRequired[bool]
    informs: NotRequired[bool]
    tried: NotRequired[bool]
    about: NotRequired[About]
    setting: NotRequired[str]
    removal: NotRequired[str]


def host_rule(id: str, **words: Unpack[Words]) -> Callable[[HostOpinion], Rule]:  # noqa: A002 (a rule's name for it)
    """Make a rule about the host of a function that gives an opinion."""

    def make(opinion: HostOpinion) -> Rule:
        def judge(facts: HostFacts, target: Target) -> Finding:
            return _finding(id, words, HOST, opinion(facts, target))

        return Rule(id=id, judge=judge, **words)

    return make


def controller_rule(id: str, **words: Unpack[Words]) -> Callable[[ControllerOpinion], Rule]:  # noqa: A002 (as above)
    """Make a rule about the controller; without one it cannot be judged, and PCI001 says why there is none."""

    def make(opinion: ControllerOpinion) -> Rule:
        def judge(facts: HostFacts, target: Target) -> Finding:
            if target.controller is None:
                return Finding(id, Severity.UNKNOWN, HOST, UNDETERMINED)
            return _finding(id, words, target.controller.address, opinion(facts, target, target.controller))

        return replace(Rule(id=id, judge=judge, **words), scope="controller")

    return make


def was_cut_off(facts: HostFacts, section: str) -> bool:
    """Return whether the probe's section did not end in time; one that nobody asked for may have come as a text."""
    return facts.section_timed_out(section) and section not in facts.unasked


def no_sign(facts: HostFacts, what: str) -> Opinion:
    """Return what a log without a bad sign proves: something only if it was read from the boot on."""
    if facts.log.silence_counts:
        return Opinion(
            Severity.PASS, f"the kernel's log tells of no {what}", (Evidence("dmesg", f"whole, no line about {what}"),)
        )
    state = {"read": "is not whole", "denied": "was denied"}.get(facts.log.status, "was not read")
    message = f"the kernel's log {state}: it might tell of {what}"
    return Opinion(Severity.UNKNOWN, message, (Evidence("dmesg", state),), "read dmesg as root, soon after the boot")


def _expand(source: str) -> str:
    if thread := _THREAD.fullmatch(source):
        return f"https://github.com/{thread[1]}/issues/{thread[2]}"
    return source if "://" in source else f"https://docs.kernel.org/{source}"


def _finding(rule: str, words: Words, subject: str, opinion: Opinion) -> Finding:
    default = "" if opinion.severity in _NEEDS_NO_REMEDY else words["remedy"]
    if opinion.severity is Severity.UNKNOWN and rule not in _MEND_NOT_KNOWING and words.get("about") != "suite":
        default = READ_MORE  # what would mend a fault is no answer to not knowing
    return Finding(rule, opinion.severity, subject, opinion.message, opinion.evidence, opinion.remedy or default)
