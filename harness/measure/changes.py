"""Which checks and findings came, went or changed between two records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.core.comparison import Change, CheckChange, FindingChange
from harness.core.finding import Finding, Severity
from harness.core.record import Check, Outcome, Record
from harness.measure.differences import CONTROLLER, controller_address

_PASSED = frozenset({Outcome.PASS, Outcome.CONDITION})
_NOT_ASKED = frozenset({None, Outcome.NOT_APPLICABLE})
_ORDER = (
    Change.LOST,
    Change.CAME,
    Change.WEAKER,
    Change.GONE,
    Change.CHANGED,
    Change.REGAINED,
    Change.WENT,
    Change.NEW,
)
"""What a reader must see first."""
_WEIGHT = (Severity.PASS, Severity.INFORMATION, Severity.CONDITION, Severity.UNKNOWN, Severity.REFUSAL, Severity.FAILURE)
_GRAVE = _WEIGHT.index(Severity.CONDITION)
_WORST_LAST = (
    Outcome.NOT_APPLICABLE,
    Outcome.PASS,
    Outcome.CONDITION,
    Outcome.BLOCKED,
    Outcome.NOT_MEASURABLE,
    Outcome.REFUSED,
    Outcome.ERROR,
    Outcome.FAIL,
)


def find_check_changes(before: Record, after: Record) -> tuple[CheckChange, ...]:
    """Return the checks whose outcome differs, those that were lost first."""
    ours, theirs = _by_id(before.checks), _by_id(after.checks)
    changes = []
    for name in dict.fromkeys([*ours, *theirs]):
        one, other = ours.get(name), theirs.get(name)
        known = other or one
        outcomes = one.outcome if one else None, other.outcome if other else None
        if known is not None and outcomes[0] is not outcomes[1]:
            reason = other.reason if other else ""
            changes.append(CheckChange(name, known.title, *outcomes, _change_of(*outcomes), reason))
    return tuple(sorted(changes, key=lambda each: _ORDER.index(each.change)))


def _by_id(checks: Iterable[Check]) -> dict[str, Check]:
    """Return the checks by id; of two with one id the worse."""
    found: dict[str, Check] = {}
    for check in sorted(checks, key=lambda each: _WORST_LAST.index(each.outcome)):
        found[check.id] = check
    return {check.id: found[check.id] for check in checks}


def _change_of(before: Outcome | None, after: Outcome | None) -> Change:
    """Return what became of a check; what the host would not say any more is lost too, since it is no pass."""
    if before in _PASSED:
        if after in _PASSED:
            return Change.WEAKER if after is Outcome.CONDITION else Change.REGAINED
        return Change.GONE if after in _NOT_ASKED else Change.LOST
    if before in _NOT_ASKED:
        return Change.NEW
    return Change.REGAINED if after in _PASSED else Change.CHANGED


def find_finding_changes(before: Record, after: Record) -> tuple[FindingChange, ...]:
    """Return the findings that only one record has, or that weigh differently, the gravest first.

    What holds in the one record and was not asked in the other is no finding. The controller is the same subject in any slot.
    """
    ours, theirs = _by_subject(before), _by_subject(after)
    changes = []
    for rule, subject in dict.fromkeys([*ours, *theirs]):
        one, other = ours.get((rule, subject)), theirs.get((rule, subject))
        weights = _WEIGHT.index(one.severity) if one else 0, _WEIGHT.index(other.severity) if other else 0
        known = other or one
        if known is not None and weights[0] != weights[1]:
            change = Change.CAME if weights[1] > weights[0] else Change.WENT
            severities = one.severity if one else None, other.severity if other else None
            changes.append((max(weights), FindingChange(rule, subject, *severities, change, known.message)))
    return tuple(each for _, each in sorted(changes, key=lambda pair: (_ORDER.index(pair[1].change), -pair[0])))


def is_grave(change: FindingChange) -> bool:
    """Return whether a finding that came costs a board something: information does not."""
    return change.change is Change.CAME and change.after is not None and _WEIGHT.index(change.after) >= _GRAVE


def _by_subject(record: Record) -> dict[tuple[str, str], Finding]:
    address = controller_address(record)
    return _gravest(record.findings, address)


def _gravest(findings: Sequence[Finding], address: str) -> dict[tuple[str, str], Finding]:
    found: dict[tuple[str, str], Finding] = {}
    for finding in sorted(findings, key=lambda each: _WEIGHT.index(each.severity)):
        subject = CONTROLLER if address and finding.subject == address else finding.subject
        found[finding.rule, subject] = finding
    return found
