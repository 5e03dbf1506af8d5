"""From what the kernel newly said to findings: whose fault a line is, and how much it weighs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from harness.core.finding import Evidence, Finding, Severity
from harness.facts.faults import parse_faults
from harness.facts.pci import PciDevice
from harness.rules.message import Message
from harness.rules.messages import find_known
from harness.rules.registry import RULES
from harness.rules.rule import HOST

_ADDRESS = re.compile(r"\b[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]\b", re.IGNORECASE)
_SUPPRESSED = re.compile(r"^(?!kauditd|audit)\w+: (\d{1,9}) callbacks suppressed")
_ANNOUNCED = "handling fault status"
_USB = {"USB001", "USB002"}
_RANK = (Severity.PASS, Severity.INFORMATION, Severity.CONDITION, Severity.UNKNOWN, Severity.REFUSAL, Severity.FAILURE)
_SHOWN = 5


def worse(one: Severity, other: Severity) -> bool:
    """Return whether one severity weighs more than another."""
    return _RANK.index(one) > _RANK.index(other)


def way_to(controller: PciDevice) -> frozenset[str]:
    """Return the addresses whose errors are the controller's: its own, and those of the bridges above it."""
    return frozenset((controller.address, *_ADDRESS.findall(controller.path)))


def judge_lines(lines: Sequence[str], own: frozenset[str] | None) -> tuple[Finding, ...]:
    """Return a finding for each rule and device that the kernel's new lines speak of, the worst first.

    ``own`` are the addresses of the controller and of what is above it; None: all is ours, as in a guest that has nothing else.
    Another device's trouble only informs; where a line names none, an IOMMU's fault is a condition, since it may be ours.
    """
    found: dict[tuple[str, str], list[tuple[Severity, str, Message]]] = {}
    known = [(lines[at], message) for at, message in find_known(list(lines)) if message.severity is not None]
    named = any(message.rule == "IOM005" and _ANNOUNCED not in line for line, message in known)
    for line, message in known:
        if (named and _ANNOUNCED in line) or message.rule == "LOG001":
            continue  # the line after it says which device it was
        device = _device_of(line, message)
        ours = own is None or device in own
        severity = _weigh(message, device, ours=ours)
        found.setdefault((message.rule, device or HOST), []).append((severity, line, message))
    findings = [_finding(rule, subject, said) for (rule, subject), said in found.items()]
    return tuple(sorted([*findings, *_count_suppressed(lines)], key=lambda each: -_RANK.index(each.severity)))


def _weigh(message: Message, device: str, *, ours: bool) -> Severity:
    """Return what a line weighs: all if it is the controller's or the kernel's own, less if it is another's or nobody's."""
    severity = message.severity or Severity.INFORMATION
    if ours:
        return severity
    if device or message.rule in _USB:
        return Severity.INFORMATION
    return Severity.CONDITION if message.rule == "IOM005" else severity


def _device_of(line: str, message: Message) -> str:
    """Return the address of the device that a line is about, or nothing; a port names itself before the one that it speaks of."""
    if message.rule == "IOM005":
        return next((fault.device for fault in parse_faults((line,))), "")
    addresses = _ADDRESS.findall(line)
    return addresses[-1].lower() if addresses else ""


def _finding(rule: str, subject: str, said: Sequence[tuple[Severity, str, Message]]) -> Finding:
    worst = max(said, key=lambda each: _RANK.index(each[0]))
    severity, line, message = worst
    more = f" ({len(said)} lines)" if len(said) > 1 else ""
    remedy = "" if severity is Severity.INFORMATION else message.remedy or "; ".join(RULES[rule].remedies)
    evidence = tuple(Evidence("dmesg", each) for _, each, _ in said[:_SHOWN])
    return Finding(rule, severity, subject, f"{message.meaning}: {line}{more}", evidence, remedy)


def _count_suppressed(lines: Iterable[str]) -> tuple[Finding, ...]:
    """Count what the kernel's rate limit swallowed; what audit leaves out is no device's."""
    counts = [(line, int(match[1])) for line in lines if (match := _SUPPRESSED.match(line))]
    if not counts:
        return ()
    total = sum(count for _, count in counts)
    evidence = tuple(Evidence("dmesg", line) for line, _ in counts[:_SHOWN])
    return (Finding("LOG001", Severity.INFORMATION, HOST, f"the kernel suppressed {total} more messages", evidence),)
