"""The course of a run as a page tells it: reasons with their cure, and stages with their checks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from harness.core.record import STAGES, Check, Outcome, Record
from reports.marks import NOT_RUN, OPEN, OUTCOMES, WORST_FIRST, Mark

QUESTIONS = {
    "readiness": "Can this host pass a PCI device through?",
    "binding": "Does the host let go of the controller?",
    "guest": "Does the controller come up in the guest?",
    "usb": "Does a USB stick work on it there?",
    "integrity": "Do data stay the same, whichever way they go?",
    "throughput": "How fast is it, compared with USB-level passthrough?",
    "return": "Does the host get everything back as it was?",
    "cycles": "Does the round trip work each time?",
}
"""What each stage asks."""


@dataclass(frozen=True)
class CheckView:
    """A check, the place of it in the page, and whether its evidence is shown unasked."""

    check: Check
    anchor: str
    mark: Mark

    @property
    def open(self) -> bool:
        """Return whether somebody has to act on it."""
        return self.check.outcome in OPEN

    @property
    def is_brief(self) -> bool:
        """Return whether a line says it all: it holds, and there is nothing to add."""
        return self.check.outcome is Outcome.PASS and not self.check.reason


@dataclass(frozen=True)
class StageView:
    """A stage with its checks; ``mark`` is the worst of them, ``duration_s`` None where the record has no time."""

    stage: str
    question: str
    anchor: str
    mark: Mark
    checks: tuple[CheckView, ...]
    duration_s: float | None

    @property
    def title(self) -> str:
        """Return the stage's name as a heading."""
        return "USB" if self.stage == "usb" else self.stage

    @property
    def counts(self) -> tuple[tuple[Mark, int], ...]:
        """Return how many checks ended how, the worst first."""
        counter = Counter(view.check.outcome for view in self.checks)
        return tuple((OUTCOMES[outcome], counter[outcome]) for outcome in WORST_FIRST if counter[outcome])


@dataclass(frozen=True)
class ReasonView:
    """A reason of the verdict, what to do about it (may be empty), and the check it came from (may be None)."""

    text: str
    remedy: str
    source: CheckView | None


def view_stages(record: Record) -> tuple[StageView, ...]:
    """Return the stages in their order, and after them any other that a check names; none if there are no checks."""
    if not record.checks:
        return ()
    anchors = _anchors(check.id for check in record.checks)
    checks = [CheckView(check, anchor, OUTCOMES[check.outcome]) for check, anchor in zip(record.checks, anchors, strict=True)]
    times = {time.stage: time.duration_s for time in record.run.stages}
    names = dict.fromkeys([*STAGES, *(check.stage for check in record.checks)])
    return tuple(
        _stage(name, number, [view for view in checks if view.check.stage == name], times.get(name))
        for number, name in enumerate(names, 1)
    )


def view_reasons(record: Record, stages: Iterable[StageView]) -> tuple[ReasonView, ...]:
    """Return the verdict's reasons, each with the first check that gave it."""
    sources: dict[str, CheckView] = {}
    for stage in stages:
        for view in stage.checks:
            if view.check.outcome not in {Outcome.PASS, Outcome.NOT_APPLICABLE}:
                sources.setdefault(view.check.reason or view.check.title, view)
    return tuple(
        ReasonView(reason, source.check.remedy if (source := sources.get(reason)) else "", source)
        for reason in record.verdict.reasons
    )


def _stage(name: str, number: int, checks: list[CheckView], duration_s: float | None) -> StageView:
    outcomes = {view.check.outcome for view in checks}
    worst = next((OUTCOMES[outcome] for outcome in WORST_FIRST if outcome in outcomes), NOT_RUN)
    return StageView(name, QUESTIONS.get(name, ""), f"stage-{number}", worst, tuple(checks), duration_s)


def _anchors(identities: Iterable[str]) -> list[str]:
    """Return a distinct anchor for each id, readable and stable from run to run."""
    seen: Counter[str] = Counter()
    anchors = []
    for identity in identities:
        slug = "check-" + re.sub(r"[^a-z0-9]+", "-", identity.lower()).strip("-")
        seen[slug] += 1
        anchors.append(slug if seen[slug] == 1 else f"{slug}--{seen[slug]}")  # a slug itself never has two hyphens
    return anchors
