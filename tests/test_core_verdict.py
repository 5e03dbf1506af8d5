"""Tests of the board's verdict and of the exit status."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from harness.core.record import BoardVerdict, Check, Outcome, Verdict
from harness.core.verdict import exit_status, judge_board

OUTCOMES = st.lists(st.sampled_from(Outcome), max_size=8)


def check(outcome: Outcome, reason: str = "", title: str = "the stick comes up in the guest") -> Check:
    """Return a check of the usb stage that ended so."""
    return Check("usb/enumerates", title, "usb", outcome, reason)


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ([Outcome.PASS], BoardVerdict.QUALIFIED),
        ([Outcome.PASS, Outcome.NOT_APPLICABLE], BoardVerdict.QUALIFIED),
        ([Outcome.PASS, Outcome.CONDITION], BoardVerdict.CONDITIONAL),
        ([Outcome.PASS, Outcome.FAIL], BoardVerdict.NOT_QUALIFIED),
        ([Outcome.PASS, Outcome.ERROR], BoardVerdict.UNDECIDED),
        ([Outcome.PASS, Outcome.REFUSED], BoardVerdict.UNDECIDED),
        ([Outcome.PASS, Outcome.BLOCKED], BoardVerdict.UNDECIDED),
        ([Outcome.PASS, Outcome.NOT_MEASURABLE], BoardVerdict.UNDECIDED),
        ([Outcome.CONDITION, Outcome.NOT_MEASURABLE], BoardVerdict.UNDECIDED),
        ([Outcome.FAIL, Outcome.ERROR, Outcome.REFUSED, Outcome.CONDITION], BoardVerdict.NOT_QUALIFIED),
        ([], BoardVerdict.UNDECIDED),
    ],
    ids=lambda value: (
        value.name.lower() if isinstance(value, BoardVerdict) else "-".join(o.name.lower() for o in value) or "none"
    ),
)
def test_verdict_follows_the_table(outcomes: list[Outcome], verdict: BoardVerdict) -> None:
    """The outcomes of the checks give the verdict of the specification's table."""
    assert judge_board([check(outcome) for outcome in outcomes]).board is verdict


def test_verdict_of_what_is_not_known_and_not_required() -> None:
    """What the host would not say, where nothing rests on it, is a condition: the board works, and is not QUALIFIED."""
    unknown = replace(check(Outcome.NOT_MEASURABLE, "the log is not whole"), required=False)

    assert judge_board([check(Outcome.PASS), unknown]) == Verdict(BoardVerdict.CONDITIONAL, ("the log is not whole",))
    assert judge_board([unknown, check(Outcome.ERROR)]).board is BoardVerdict.UNDECIDED


@given(OUTCOMES)
def test_qualified_means_nothing_but_passes(outcomes: list[Outcome]) -> None:
    """A board is QUALIFIED exactly if there were checks and each passed or did not apply, and then there is no reason."""
    verdict = judge_board([check(outcome) for outcome in outcomes])
    clean = bool(outcomes) and set(outcomes) <= {Outcome.PASS, Outcome.NOT_APPLICABLE}
    assert (verdict.board is BoardVerdict.QUALIFIED) == clean
    assert not (clean and verdict.reasons)


@given(OUTCOMES)
def test_order_of_checks_does_not_matter(outcomes: list[Outcome]) -> None:
    """The verdict depends on which outcomes there were, not on their order."""
    there, back = ([check(outcome) for outcome in order] for order in (outcomes, outcomes[::-1]))
    assert judge_board(there) == judge_board(back)


@given(OUTCOMES)
def test_partial_run_has_no_verdict(outcomes: list[Outcome]) -> None:
    """Stages that were left out make every verdict PARTIAL, with the selection as its first reason."""
    verdict = judge_board([check(outcome) for outcome in outcomes], partial="only stage usb was run")
    assert (verdict.board, verdict.reasons[0]) == (BoardVerdict.PARTIAL, "only stage usb was run")


@given(OUTCOMES)
def test_interrupted_run_is_undecided(outcomes: list[Outcome]) -> None:
    """A run that was ended early is UNDECIDED, even if it was partial."""
    verdict = judge_board([check(outcome) for outcome in outcomes], partial="only usb", interrupted="interrupted by Ctrl-C")
    assert (verdict.board, verdict.reasons[0]) == (BoardVerdict.UNDECIDED, "interrupted by Ctrl-C")


def test_reasons_come_weightiest_first_and_once() -> None:
    """Failures come first, then refusals, errors, unknowns, conditions, each reason once; a blocked check has none."""
    checks = [
        check(Outcome.CONDITION, "no KVM"),
        check(Outcome.NOT_MEASURABLE, "no dmesg"),
        check(Outcome.BLOCKED, "no stick"),
        check(Outcome.ERROR, "fio is missing"),
        check(Outcome.FAIL, "no stick"),
        check(Outcome.REFUSED, "root disk on the controller"),
        check(Outcome.FAIL, "no stick"),
        check(Outcome.PASS, "fine"),
    ]
    expected = ("no stick", "root disk on the controller", "fio is missing", "no dmesg", "no KVM")
    assert judge_board(checks).reasons == expected


def test_check_without_reason_is_named_by_its_title() -> None:
    """A failure without a reason is listed under the title of its check."""
    assert judge_board([check(Outcome.FAIL)]).reasons == ("the stick comes up in the guest",)


def test_undecided_always_has_a_reason() -> None:
    """A run without checks says so."""
    assert judge_board([]).reasons == ("no check was run",)


@pytest.mark.parametrize(
    ("verdict", "status", "strict"),
    [
        (BoardVerdict.QUALIFIED, 0, 0),
        (BoardVerdict.CONDITIONAL, 0, 1),
        (BoardVerdict.NOT_QUALIFIED, 1, 1),
        (BoardVerdict.UNDECIDED, 3, 3),
        (BoardVerdict.PARTIAL, 3, 3),
    ],
    ids=lambda value: value.name.lower() if isinstance(value, BoardVerdict) else None,
)
def test_exit_status_follows_the_table(verdict: BoardVerdict, status: int, strict: int) -> None:
    """Each verdict has its exit status, and --strict changes CONDITIONAL alone."""
    assert exit_status(verdict) == status
    assert exit_status(verdict, strict=True) == strict
