"""What became of facts, checks and findings between two records."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.comparison import Change
from harness.core.finding import Finding, Severity
from harness.core.record import Check, Outcome, Record
from harness.measure.changes import find_check_changes, find_finding_changes, is_grave
from harness.measure.differences import LEFT_OUT, find_differences
from tests.comparing import with_environment
from tests.records import sample_record

CONTROLLER = "0000:01:00.0"


def checked(**outcomes: Outcome) -> Record:
    """Return a record with these checks."""
    return sample_record(checks=tuple(Check(name, f"{name} holds.", "usb", outcome) for name, outcome in outcomes.items()))


def host(**facts: Any) -> Record:
    """Return a record whose host tells this."""
    return sample_record(facts={"host": facts})


def differences(before: Record, after: Record) -> dict[str, tuple[str | None, str | None]]:
    """Return the facts that differ by path."""
    return {one.path: (one.before, one.after) for one in find_differences(before, after).facts}


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (Outcome.PASS, Outcome.FAIL, Change.LOST),
        (Outcome.PASS, Outcome.NOT_MEASURABLE, Change.LOST),
        (Outcome.CONDITION, Outcome.BLOCKED, Change.LOST),
        (Outcome.PASS, Outcome.ERROR, Change.LOST),
        (Outcome.PASS, Outcome.CONDITION, Change.WEAKER),
        (Outcome.CONDITION, Outcome.PASS, Change.REGAINED),
        (Outcome.FAIL, Outcome.CONDITION, Change.REGAINED),
        (Outcome.PASS, Outcome.NOT_APPLICABLE, Change.GONE),
        (Outcome.NOT_APPLICABLE, Outcome.FAIL, Change.NEW),
        (Outcome.FAIL, Outcome.ERROR, Change.CHANGED),
    ],
)
def test_each_pair_of_outcomes_has_its_word(before: Outcome, after: Outcome, change: Change) -> None:
    """A check that passed and does not is lost, also where the host would not say; one that is not asked any more is gone."""
    (found,) = find_check_changes(checked(a=before), checked(a=after))

    assert found.change is change


def test_checks_that_came_or_went_are_told() -> None:
    """A check that only one record has is new or gone; what was lost stands first; what is the same is left out."""
    changes = find_check_changes(
        checked(same=Outcome.PASS, gone=Outcome.PASS, lost=Outcome.PASS),
        checked(same=Outcome.PASS, new=Outcome.PASS, lost=Outcome.FAIL),
    )

    assert [(each.id, each.change) for each in changes] == [
        ("lost", Change.LOST),
        ("gone", Change.GONE),
        ("new", Change.NEW),
    ]


def test_check_that_stands_twice_counts_as_its_worse_half() -> None:
    """Of two checks with one id, as an edited record may have them, the worse speaks."""
    twice = sample_record(checks=(*checked(a=Outcome.FAIL).checks, *checked(a=Outcome.PASS).checks))

    assert [each.change for each in find_check_changes(checked(a=Outcome.PASS), twice)] == [Change.LOST]


def test_findings_come_and_go() -> None:
    """A finding that is new or graver came, one that is milder or not there went; what holds is no finding."""
    before = sample_record(
        findings=(
            Finding("A", Severity.PASS, "host", "a"),
            Finding("B", Severity.CONDITION, "host", "b"),
            Finding("C", Severity.PASS, "host", "c"),
        )
    )
    after = sample_record(
        findings=(Finding("A", Severity.FAILURE, "host", "a now"), Finding("D", Severity.INFORMATION, "host", "d"))
    )
    changes = find_finding_changes(before, after)

    assert [(each.rule, each.change, each.message) for each in changes] == [
        ("A", Change.CAME, "a now"),
        ("D", Change.CAME, "d"),
        ("B", Change.WENT, "b"),
    ]
    assert [is_grave(each) for each in changes] == [True, False, False]


def test_controller_is_the_same_in_another_slot() -> None:
    """A finding on the controller, and its facts, are compared where a board has it at another address."""
    moved = "0000:05:00.0"
    before = sample_record(
        findings=(Finding("R", Severity.CONDITION, CONTROLLER, "r"),),
        facts={"host": {"pci": [{"address": CONTROLLER, "driver": "xhci_hcd"}]}},
    )
    after = with_environment(
        sample_record(
            findings=(Finding("R", Severity.CONDITION, moved, "r"),),
            facts={"host": {"pci": [{"address": moved, "driver": "xhci-pci-renesas"}]}},
        ),
        controller=f"{moved} NEC",
    )

    assert find_finding_changes(before, after) == ()
    assert differences(before, after)["host.pci[the controller].driver"] == ("xhci_hcd", "xhci-pci-renesas")


def test_one_more_device_is_one_difference() -> None:
    """Elements of a list are known again by their address: a device that came is one line, and those after it are not."""
    devices = [{"address": f"0000:00:0{n}.0", "driver": "d"} for n in range(4)]
    found = differences(host(pci=devices[1:]), host(pci=devices))

    assert found == {"host.pci[0000:00:00.0]": (None, "address 0000:00:00.0, driver d")}


def test_lists_of_words_show_what_is_in_one_only() -> None:
    """Of many flags only those that came or went are shown; an order that changed shows both whole."""
    before = host(cpu={"flags": ["vmx", "sse", "avx"]}, reset_methods=["flr", "bus"])
    after = host(cpu={"flags": ["vmx", "sse", "avx", "smap"]}, reset_methods=["bus", "flr"])

    assert differences(before, after) == {
        "host.cpu.flags": ("without", "with smap"),
        "host.reset_methods": ("flr, bus", "bus, flr"),
    }


def test_noise_is_left_out() -> None:
    """Two boots of one host do not differ: boot ids, times, and what the rules conclude are left out."""
    noise = [{"kernel": {"boot_id": word}, "taken": word, "source": word, "findings": [word], "verdict": word} for word in "ab"]
    controllers = [[{"address": CONTROLLER, "verdict": word, "reasons": [word], "blast_radius": word}] for word in "ab"]
    before, after = (host(**facts, usb_controllers=each) for facts, each in zip(noise, controllers, strict=True))

    assert differences(before, after) == {}
    assert all(reason for reason in LEFT_OUT.values())


def test_field_that_one_suite_knows_is_no_difference() -> None:
    """A field that only one record has is named apart: nobody knows whether it changed; a list's length does not repeat it."""
    pci = [{"address": f"0000:00:0{n}.0"} for n in range(3)]
    found = find_differences(host(pci=pci), host(pci=[{**each, "flr": True} for each in pci], xen=""))

    assert (found.facts, found.told_before, found.told_after) == ((), (), ("host.pci[].flr", "host.xen"))


def test_unknown_is_spelled_as_unknown() -> None:
    """An empty text and null are unknown, an empty list is none, and booleans are words."""
    found = differences(host(a="", b=None, c=[], d=True), host(a="x", b="x", c=["x"], d=False))

    assert [found[f"host.{name}"] for name in "abcd"] == [("unknown", "x"), ("unknown", "x"), ("none", "x"), ("yes", "no")]


def test_environment_is_compared_too() -> None:
    """What heads the page is compared by its own names."""
    assert differences(sample_record(), with_environment(sample_record(), kernel="6.17")) == {
        "environment.kernel": ("6.12.48+deb13-amd64", "6.17")
    }


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=5), _JSON, max_size=3), st.dictionaries(st.text(max_size=5), _JSON, max_size=3))
def test_any_facts_are_compared(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Facts of any shape are compared without an error, and are the same as themselves."""
    one, other = sample_record(facts=before), sample_record(facts=after)
    find_differences(one, other)

    assert find_differences(one, one).facts == ()


def test_deep_facts_are_compared() -> None:
    """Facts that are nested beyond all reason end in a difference, not in an error."""
    deep: Any = "x"
    for _ in range(400):
        deep = {"a": deep}
    found = find_differences(
        sample_record(facts={"host": deep}),
        sample_record(facts={"host": msgspec.json.decode(msgspec.json.encode(deep).replace(b'"x"', b'"y"'))}),
    )

    assert len(found.facts) == 1
