"""Readiness: what weighs, what follows from what, and what is left unknown."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from harness.core.capture import Capture, Status
from harness.core.finding import Finding, Severity
from harness.facts.host import read_facts
from harness.facts.tree import read_capture
from harness.rules.screen import show_survey
from harness.rules.survey import Source, make_survey
from harness.rules.verdict import ControllerVerdict, Readiness, find_reasons, judge_controllers, readiness
from tests.captures import AMD_BOARD, CARD, INTEL_BOARD, Files, make_capture, pci_function, without

SEED = Path(__file__).parents[1] / "fixtures" / "captures" / "seed-i7-860"
NO_UNITS: Files = {
    **without(
        INTEL_BOARD, "sys/kernel/iommu_groups", "sys/class/iommu", "sys/firmware", f"sys/bus/pci/devices/{CARD['intel']}/iommu"
    ),
    "sys/kernel/iommu_groups": "",
    "sys/class/iommu": "",
    "sys/firmware/acpi/tables": "APIC FACP",
    "proc/interrupts": " CPU0\n 4:  1  IO-APIC  4-edge  ttyS0\n",
}
FAIL = Finding("IOM001", Severity.FAILURE, "host", "no remapping")
REFUSE = Finding("GRP001", Severity.REFUSAL, "0000:01:00.0", "shared")
WEAK = Finding("RST001", Severity.CONDITION, "0000:01:00.0", "no reset")
OPEN = Finding("IRQ001", Severity.UNKNOWN, "host", "not shown")
ASIDE = Finding("MEM001", Severity.UNKNOWN, "host", "not shown")
OURS = Finding("QEM001", Severity.UNKNOWN, "host", "no QEMU")
GOOD = Finding("VFI001", Severity.PASS, "host", "loaded")


def judge(files: Files) -> tuple[ControllerVerdict, ...]:
    """Judge all USB controllers of a host."""
    return judge_controllers(read_facts(make_capture(files), {})).controllers


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ((GOOD,), Readiness.READY),
        ((GOOD, ASIDE, OURS), Readiness.READY),
        ((GOOD, WEAK), Readiness.CONDITIONAL),
        ((WEAK, OPEN), Readiness.UNKNOWN),
        ((OPEN, REFUSE), Readiness.NOT_READY),
        ((OPEN, FAIL), Readiness.NOT_READY),
    ],
    ids=["good", "aside", "weak", "open", "refused", "failed"],
)
def test_readiness_weights(findings: tuple[Finding, ...], expected: Readiness) -> None:
    """A failure or a refusal outweighs what is not known, that outweighs a condition; what is not required weighs nothing."""
    assert readiness(findings) is expected


def test_reasons_are_ordered() -> None:
    """The weightiest reason comes first, and what decides nothing is no reason."""
    assert find_reasons((WEAK, ASIDE, OURS, OPEN, REFUSE, GOOD)) == (REFUSE, OPEN, WEAK)


def test_reasons_name_a_cause_once() -> None:
    """Without DMA remapping the interrupts, the group and the regions are no reasons of their own."""
    (verdict,) = judge(NO_UNITS)

    assert verdict.readiness is Readiness.NOT_READY
    assert [finding.rule for finding in verdict.reasons] == ["ACP001", "IOM001"]


def test_verdicts_of_the_good_boards() -> None:
    """The board with VT-d is ready; the one with AMD-Vi is conditional, for want of a reset."""
    (intel,), (amd,) = judge(INTEL_BOARD), judge(AMD_BOARD)

    assert (intel.readiness, intel.reasons) == (Readiness.READY, ())
    assert (amd.readiness, [finding.rule for finding in amd.reasons]) == (Readiness.CONDITIONAL, ["RST001"])


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("0c0300", "UHCI"),
        ("0c0310", "OHCI"),
        ("0c0320", "EHCI"),
        ("0c0340", "USB4 host interface"),
        ("0c03fe", "xDCI"),
        ("0c0380", "no kind of USB controller that is known"),
    ],
)
def test_verdict_of_what_is_no_xhci(kind: str, words: str) -> None:
    """Each other function of class 0c03 is told apart by name, and is not judged."""
    other = next(item for item in judge(INTEL_BOARD | pci_function("0000:00:14.0", "8086:a0ed", kind)) if item.readiness is None)

    assert other.controller.address == "0000:00:14.0"
    assert words in other.findings[0].message


def test_verdict_of_an_unknown_interface() -> None:
    """A USB controller whose programming interface is not told may be an xHCI: its readiness is unknown."""
    capture = make_capture(INTEL_BOARD)
    facts = read_facts(capture, {})
    device = facts.find_pci(CARD["intel"])
    assert device is not None

    (verdict,) = judge_controllers(replace(facts, pci=(replace(device, class_code=0x0C0300, prog_if_known=False),))).controllers

    assert verdict.readiness is Readiness.UNKNOWN
    assert [finding.rule for finding in verdict.reasons] == ["PCI003"]


def test_verdict_on_every_controller() -> None:
    """Each controller has a verdict of its own; the host's findings are given once."""
    second = pci_function("0000:02:00.0", "1912:0014", "0c0330", group="9")
    verdict = judge_controllers(read_facts(make_capture(INTEL_BOARD | second), {}))

    assert [item.readiness for item in verdict.controllers] == [Readiness.READY, Readiness.NOT_READY]
    assert len({finding.rule for finding in verdict.findings}) == len(verdict.findings)
    assert {finding.subject for finding in verdict.findings} == {"host"}


def test_verdict_without_facts() -> None:
    """A host that says nothing has no controller to judge, and nothing fails that was not looked at."""
    verdict = judge_controllers(read_facts(Capture(scope=()), {}))

    assert verdict.controllers == ()
    assert {finding.severity for finding in verdict.findings} <= {Severity.UNKNOWN, Severity.INFORMATION, Severity.PASS}


@pytest.mark.parametrize("missing", ["sys/kernel/iommu_groups", "sys/class/iommu", "proc/interrupts"])
def test_verdict_is_never_ready_without_the_answer(missing: str) -> None:
    """A host that does not show its groups, units or interrupts is never called ready."""
    files = without(INTEL_BOARD | {"sections/iommu": Status.TIMED_OUT}, missing, "commands/dmesg")

    assert [item.readiness for item in judge(files) if item.readiness is Readiness.READY] == []
    assert len(judge(files)) == 1


def test_verdict_of_the_first_host_is_unknown() -> None:
    """The host that this project began with shows no groups: nothing about it passes by silence, and nothing fails by it."""
    verdict = judge_controllers(read_facts(read_capture(SEED), {}))

    severities = {finding.rule: finding.severity for finding in verdict.findings}
    assert severities["KVM001"] is Severity.UNKNOWN
    assert severities["CPU001"] is Severity.PASS
    assert severities["HST001"] is Severity.INFORMATION
    assert not {Severity.FAILURE, Severity.REFUSAL} & set(severities.values())
    assert all(item.readiness in {Readiness.UNKNOWN, None} for item in verdict.controllers)


def test_screen_does_not_say_that_there_is_no_driver() -> None:
    """A controller of which no text names the driver is not shown as one without."""
    told = {"commands/lspci": "00:1a.0 USB controller [0c03]: Example [8086:3b3c] (rev 05) (prog-if 30 [XHCI])\n"}
    survey = make_survey(read_facts(Capture(make_capture(told).items, scope=()), {}), Source("capture", "x"))

    text = "\n".join(line.text for line in show_survey(survey))

    assert "driver unknown" in text
    assert "no driver" not in text
