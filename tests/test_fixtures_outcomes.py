"""A check that went wrong is shown with what the words in its evidence mean."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from fixtures.outcomes import explained
from harness.core.finding import Evidence
from harness.core.record import Check, Outcome
from harness.rules.registry import RULES

FAILED = Check(
    "guest/guest-boots",
    "QEMU starts",
    "guest",
    Outcome.FAIL,
    "QEMU ended at once",
    evidence=(Evidence("what was seen", "qemu: x\nvfio 0000:05:00.0: group 12 is not viable\n"),),
)


def test_failure_is_explained() -> None:
    """The reason names meaning and rule; the remedy is the rule's, and the words with their meaning are evidence."""
    check = explained(FAILED)

    assert check.reason.startswith("QEMU ended at once (another device of the IOMMU group")
    assert check.reason.endswith(": GRP001)")
    assert check.rule == "GRP001"
    assert RULES["GRP001"].remedy in check.remedy
    assert check.evidence[0] == FAILED.evidence[0]
    assert check.evidence[1].source == "what it means"
    assert "vfio 0000:05:00.0: group 12 is not viable\nmeans: another" in check.evidence[1].text


def test_failure_keeps_its_own_remedy() -> None:
    """What a check itself says to do is not replaced."""
    assert explained(replace(FAILED, remedy="look at it")).remedy == "look at it"


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(replace(FAILED, outcome=Outcome.PASS), id="passed"),
        pytest.param(replace(FAILED, outcome=Outcome.BLOCKED), id="blocked"),
        pytest.param(replace(FAILED, rule="STO001"), id="judged-by-a-rule"),
        pytest.param(replace(FAILED, evidence=(Evidence("dmesg", "usb 1-1: new device"),)), id="nothing-known"),
        pytest.param(replace(FAILED, evidence=(Evidence("traceback", "group 12 is not viable"),)), id="our-own-words"),
    ],
)
def test_what_needs_no_explanation(check: Check) -> None:
    """What did not fail, what a rule judged and what nobody knows stays as it is; a traceback holds our own words."""
    assert explained(check) == check


def test_failure_with_words_that_only_inform() -> None:
    """Words that are worth knowing are explained, but are no reason for the failure."""
    check = explained(replace(FAILED, evidence=(Evidence("dmesg", "dmar_fault: 3 callbacks suppressed"),)))

    assert (check.reason, check.rule, check.remedy) == (FAILED.reason, "", "")
    assert "LOG001" in check.evidence[-1].text
