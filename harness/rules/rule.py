"""What a rule is: a sentence that should hold, why, what to do where it does not, and a pure function that judges it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, NotRequired, TypedDict, Unpack

from harness.core.finding import Evidence, Finding, Severity
from harness.facts.host import HostFacts, find_controllers
from harness.facts.members import find_members
from harness.facts.pci import PciDevice
from harness.rules.bootloader import WAYS

_THREAD = re.compile(r"([\w.-]+/[\w.-]+)#(\d+)")

HOST = "host"
"""The subject of findings that are about no device."""

UNDETERMINED = "not judged: the controller is not determined (PCI001)"
"""The message of every controller rule's finding where the bench file does not name exactly one."""


@dataclass(frozen=True)
class Allowance:
    """What the bench file permits by name. What the host or the session lives by cannot be permitted.

    ``keyboards`` are ports (``1-1``) or ids (``045e:0746``), ``interfaces`` names (``enx...``) of network interfaces.
    """

    keyboards: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """What is to be passed: the controller, if exactly one fits, and what the bench file asked for. Made by ``find_target``.

    ``siblings`` are the members of its group, bridges apart, that the bench file lets us bind with it; ``absent_siblings`` are
    those of its names that fit no member.
    """

    controller: PciDevice | None = None
    id: str | None = None
    address: str | None = None
    subsystem: str | None = None
    driver: str = "vfio-pci"
    guest_memory_mib: int = 0  # 0: not known
    qemu: str = ""  # the program that starts the guest; empty: QEMU's own name
    path: str | None = None
    siblings: tuple[PciDevice, ...] = ()
    absent_siblings: tuple[str, ...] = ()
    allow: Allowance = Allowance()

    @property
    def wish(self) -> str:
        """Return what was asked for, in words: ``id 1033:0194, address 0000:05:00.0``."""
        asked = {"id": self.id, "address": self.address, "subsystem": self.subsystem, "path": self.path}
        return ", ".join(f"{key} {value}" for key, value in asked.items() if value) or "any xHCI controller"

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return the addresses of all that is to be bound, the controller's first."""
        return tuple(device.address for device in (*([self.controller] if self.controller else []), *self.siblings))


READ_MORE = "read more of the host: as root and outside of a container; or add what the capture lacks (docs/captures.md)"
"""What to do about what is not known of a board."""

Judge = Callable[[HostFacts, Target], Finding]
Scope = Literal["host", "controller"]
About = Literal["board", "suite"]


@dataclass(frozen=True)
class Rule:
    """One rule: ``judge`` gives exactly one finding, also where the rule holds or cannot be judged.

    ``scope`` tells whether the host or one controller is its subject. Where a ``required`` rule is UNKNOWN, so is the verdict;
    where it ``guards`` nothing is taken without its answer: the host might be harmed;
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
    guards: bool = False
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

_NOTHING = Allowance()
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
    path: str | None = None,
    siblings: Sequence[str] = (),
    allow: Allowance = _NOTHING,
) -> Target:
    """Return the target that a bench file asks for; its controller is None unless exactly one xHCI controller fits.

    ``siblings`` are addresses or ids of other functions of its group. Raises ValueError for an address that is none.
    """
    fitting = find_controllers(facts, id=id, address=address, subsystem=subsystem, path=path)
    controller = fitting[0] if len(fitting) == 1 else None
    named = {name: _find_siblings(facts, controller, name) for name in siblings}
    members = dict.fromkeys(device for found in named.values() for device in found if not device.is_bridge)
    absent = tuple(name for name, found in named.items() if not found)
    return Target(controller, id, address, subsystem, driver, guest_memory_mib, qemu, path, tuple(members), absent, allow)


def members_to_bind(facts: HostFacts, target: Target) -> tuple[PciDevice, ...]:
    """Return all that is to be bound, the controller first, as these facts show it.

    Nothing where there is no controller, or where one of them is gone: then the target is of another time.
    """
    found = [facts.find_pci(address) for address in target.addresses if target.controller]
    return tuple(device for device in found if device) if all(found) else ()


def _find_siblings(facts: HostFacts, controller: PciDevice | None, name: str) -> tuple[PciDevice, ...]:
    """Return the other members of a controller's group that an address or an id names."""
    if controller is None:
        return ()
    members = [device for device in find_members(facts, controller).values() if device and device.address != controller.address]
    return tuple(
        device for device in members if name.lower() in {device.id, device.address, device.address.removeprefix("0000:")}
    )


class Words(TypedDict):
    """What a rule says of itself; see ``Rule``."""

    title: str
    why: str
    remedy: str
    source: str
    scope: NotRequired[Scope]
    required: NotRequired[bool]
    guards: NotRequired[bool]
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


def bench_line(table: str, key: str, names: Iterable[str]) -> str:
    """Return the line that allows something, to be copied: ``in the bench file: [allow] keyboards = ["1-1"]``."""
    return f"in the bench file: [{table}] {key} = {json.dumps(list(dict.fromkeys(names)))}"


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
