"""Under which conditions the arms were measured: one table over all of them, what differs first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.core.series import Series
from reports.arms import ArmStyle, style_arms

CLOCK = "clock ratio"
STICK = "stick"
_CLOCK_GAP = 0.02
"""A clock that is off by more has false rates; so it is in the sentences of the judgements."""


@dataclass(frozen=True)
class Condition:
    """One condition and its value in each arm (empty: unknown); ``changes`` if an arm had another one in another cell."""

    name: str
    values: tuple[str, ...]
    differs: bool
    changes: bool = False

    @property
    def word(self) -> str:
        """Return whether the arms are alike in it; unknown is never alike."""
        if self.differs:
            return "differs"
        if self.changes:
            return "changes"
        return "alike" if all(self.values) else "not known of all"


@dataclass(frozen=True)
class Conditions:
    """The table: its arms are the columns."""

    arms: tuple[tuple[str, ArmStyle], ...]
    rows: tuple[Condition, ...]


def view_conditions(series: Sequence[Series]) -> Conditions:
    """Return the conditions of all arms in all cells, what differs first, else in their order in the record."""
    arms = tuple(dict.fromkeys(one.arm for one in series))
    names = dict.fromkeys(name for one in series for name in _conditions(one))
    rows = [_condition(series, arms, name) for name in names]
    rows.sort(key=lambda row: ("differs", "changes", "not known of all", "alike").index(row.word))
    return Conditions(tuple(style_arms(arms).items()), tuple(rows))


def find_differences(series: Sequence[Series]) -> tuple[str, ...]:
    """Return the names of the conditions in which the arms of one cell differ."""
    names = dict.fromkeys(name for one in series for name in _conditions(one))
    return tuple(name for name in names if _differ(name, [_conditions(one).get(name, "") for one in series]))


def _conditions(series: Series) -> Mapping[str, str]:
    """Return what may confound a comparison with this series, its stick and its clock among it."""
    stick = {STICK: series.stick} if series.stick else {}
    clock = {CLOCK: f"{series.clock:.4f}"} if series.clock is not None else {}
    return {name: value for name, value in series.confounders.items() if name != CLOCK} | stick | clock


def _condition(series: Sequence[Series], arms: Iterable[str], name: str) -> Condition:
    of_arms = [{one.cell: _conditions(one).get(name, "") for one in series if one.arm == arm} for arm in arms]
    cells = dict.fromkeys(one.cell for one in series)
    differs = any(_differ(name, [values[cell] for values in of_arms if cell in values]) for cell in cells)
    changes = any(_differ(name, list(values.values())) for values in of_arms)
    return Condition(name, tuple(_spell(values, changes=changes) for values in of_arms), differs, changes)


def _differ(name: str, values: Sequence[str]) -> bool:
    """Return whether known values differ; no two clocks are the same to the last digit."""
    known = {value for value in values if value}
    if name == CLOCK:
        return any(abs(float(value) - 1) > _CLOCK_GAP for value in known)
    return len(known) > 1


def _spell(values: Mapping[str, str], *, changes: bool) -> str:
    """Return an arm's value, or its values with the cells in which it had them."""
    distinct = dict.fromkeys(values.values())
    if not changes or len(distinct) == 1:
        return next((value for value in distinct if value), "")
    return "; ".join(
        f"{value or 'unknown'} in {', '.join(cell for cell in values if values[cell] == value)}" for value in distinct
    )
