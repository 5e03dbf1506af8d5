"""All rules on whole boards: the good ones, and what each rule says when there is nothing to judge."""

from __future__ import annotations

import re

import pytest

from harness.core.capture import Capture, Status
from harness.core.finding import Finding, Severity
from harness.facts.host import HostFacts, read_facts
from harness.rules.registry import RULES, judge, judge_all
from harness.rules.rule import Target, find_target
from tests.captures import AMD_BOARD, CARD, INTEL_BOARD, WHOLE_LOGS, Files, make_capture, usb_stick, without

QUIET = {Severity.PASS, Severity.INFORMATION}


def judge_board(files: Files) -> tuple[Finding, ...]:
    """Judge a board on which the seed's card is asked for."""
    facts = read_facts(make_capture(files), {})
    return judge_all(facts, find_target(facts, id="1033:0194"))


def test_rules_intel_board_is_clean() -> None:
    """On the board with VT-d, and a stick on the card, every rule holds."""
    findings = judge_board(INTEL_BOARD | WHOLE_LOGS["intel"] | usb_stick(CARD["intel"]))

    assert [finding for finding in findings if finding.severity is not Severity.PASS] == []


def test_rules_amd_board_has_one_condition() -> None:
    """On the board with AMD-Vi the missing reset method is the only weakness."""
    findings = judge_board(AMD_BOARD | WHOLE_LOGS["amd"] | usb_stick(CARD["amd"]))

    (weak,) = [finding for finding in findings if finding.severity not in QUIET]
    assert (weak.rule, weak.severity, weak.subject) == ("RST001", Severity.CONDITION, CARD["amd"])
    assert weak.message.startswith("the controller has no reset method")
    assert weak.evidence[0].text == "does not exist"
    assert weak.remedy


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param(read_facts(make_capture(INTEL_BOARD), {}), id="intel"),
        pytest.param(read_facts(make_capture(AMD_BOARD), {}), id="amd"),
        pytest.param(read_facts(Capture(), {}), id="nothing"),
        pytest.param(HostFacts(), id="defaults"),
    ],
)
def test_rules_each_give_one_finding(facts: HostFacts) -> None:
    """Each rule gives exactly one finding of its own; what is no pass for want of data has a message."""
    for target in (find_target(facts, id="1033:0194"), find_target(facts, address="0000:7f:00.0"), Target()):
        findings = judge_all(facts, target)

        assert [finding.rule for finding in findings] == list(RULES)
        assert all(finding.message for finding in findings)


def test_rules_pass_with_evidence() -> None:
    """What passes says where it was read and what stood there."""
    for finding in judge_board(INTEL_BOARD):
        assert finding.evidence, finding.rule
        assert all(evidence.source and evidence.text for evidence in finding.evidence), finding.rule


def test_rules_never_pass_without_an_answer() -> None:
    """A host that says nothing passes no rule but those that look for something wrong in what was said, or in what was asked."""
    facts = read_facts(Capture(), {})

    passed = {finding.rule for finding in judge_all(facts, Target()) if finding.severity is Severity.PASS}

    assert passed <= {"VFI002", "LCK001", "STO002"}


def test_rules_about_the_controller_need_one() -> None:
    """Without a controller the rules about it are unknown, which never qualifies a board."""
    facts = read_facts(make_capture(INTEL_BOARD), {})

    for rule in ("PCI002", "RST001", "GRP001", "RES001", "STO001", "NET001", "INP001"):
        assert judge(rule, facts, Target(id="dead:beef")).severity is Severity.UNKNOWN


def test_rules_are_told_apart() -> None:
    """Ids are letters and a number, and each rule says what should hold, why, and where that is from."""
    for name, rule in RULES.items():
        assert re.fullmatch(r"[A-Z]{3}\d{3}", name)
        assert rule.id == name
        assert rule.title
        assert not rule.title.endswith(".")
        assert rule.why.endswith(".")
        assert rule.source


def test_rules_unknown_id() -> None:
    """An id that is none is a KeyError."""
    with pytest.raises(KeyError):
        judge("XYZ999", HostFacts(), Target())


def test_rules_gaps_of_the_probe() -> None:
    """What was denied is information, what was cut off makes the host unknown."""
    denied = read_facts(make_capture(INTEL_BOARD, {"commands/dmesg": Status.DENIED}), {})
    late = read_facts(make_capture(INTEL_BOARD, {"sections/usb": Status.TIMED_OUT}), {})

    assert judge("HST001", denied, Target()).severity is Severity.INFORMATION
    finding = judge("HST001", late, Target())
    assert finding.severity is Severity.UNKNOWN
    assert finding.evidence[0].source == "/sections/usb"


@pytest.mark.parametrize(
    ("tools", "severity", "words"),
    [
        pytest.param("fio python3 dd timeout sha256sum lspci lsusb", Severity.PASS, "every tool", id="all-but-perl"),
        pytest.param("fio perl dd timeout sha256sum lspci", Severity.INFORMATION, "no lsusb", id="less-evidence"),
        pytest.param("perl dd timeout lspci lsusb", Severity.UNKNOWN, "lacks fio, sha256sum", id="no-fio"),
        pytest.param("fio dd timeout sha256sum", Severity.UNKNOWN, "lacks perl or python3", id="no-relay"),
        pytest.param(Status.ABSENT, Severity.UNKNOWN, "did not say", id="not-asked"),
    ],
)
def test_hst002_tools(tools: str | Status, severity: Severity, words: str) -> None:
    """A missing tool is no fault of the board's, and never lets it be qualified; the remedy is to install it."""
    finding = judge("HST002", read_facts(make_capture(INTEL_BOARD, {"commands/tools": tools}), {}), Target())

    assert finding.severity is severity
    assert words in finding.message
    assert bool(finding.remedy) is (severity is Severity.UNKNOWN)


def test_rules_lockdown_is_information() -> None:
    """Lockdown has no effect on the verdict."""
    facts = read_facts(make_capture(INTEL_BOARD, {"sys/kernel/security/lockdown": "none [integrity] confidentiality"}), {})

    finding = judge("LCK001", facts, Target())

    assert (finding.severity, finding.message) == (Severity.INFORMATION, "the kernel is locked down (integrity)")


def test_hst001_names_what_is_missing() -> None:
    """A capture that holds a part of a host says which parts are missing."""
    files: Files = without(AMD_BOARD, "proc/self", "proc/cpuinfo")
    finding = judge("HST001", read_facts(make_capture(files), {}), Target())

    assert finding.severity is Severity.INFORMATION
    assert finding.evidence[0].text == "not in it: the processor, /proc/self/mountinfo"


def test_kvm_that_was_not_asked_for_is_unknown() -> None:
    """A capture without device nodes tells nothing of KVM and VFIO's node; a probe that found none does."""
    bare = read_facts(Capture(make_capture(without(INTEL_BOARD, "dev/")).items, scope=()), {})
    asked = read_facts(make_capture(without(INTEL_BOARD, "dev/"), {"sections/devices": ""}), {})
    late = read_facts(make_capture(without(INTEL_BOARD, "dev/"), {"sections/devices": Status.TIMED_OUT}), {})

    assert [judge("KVM001", facts, Target()).severity for facts in (bare, asked, late)] == [
        Severity.UNKNOWN,
        Severity.CONDITION,
        Severity.UNKNOWN,
    ]
    assert [facts.vfio.node for facts in (bare, asked, late)] == ["unknown", "absent", "unknown"]
