"""Which facts of two records differ: documents as flat paths, without what differs between any two runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from harness.core.comparison import Difference
from harness.core.record import Record

LEFT_OUT = {
    ("schema",): "the form of the document, no fact",
    ("suite_version",): "stands at the head of the comparison",
    ("source",): "how the host was reached",
    ("taken",): "the time",
    ("findings",): "compared as findings, by their rules",
    ("verdict",): "drawn from the findings",
    ("kernel", "boot_id"): "new at each boot",
    ("usb_controllers", "*", "verdict"): "drawn from the findings",
    ("usb_controllers", "*", "reasons"): "drawn from the findings",
    ("usb_controllers", "*", "unknowns"): "drawn from the findings",
    ("usb_controllers", "*", "blast_radius"): "a sentence on the losses, which are compared",
}
"""Paths inside the document of a host or guest that are noise, or told elsewhere, and why."""

IDENTITIES = ("address", "interface", "serial", "id", "name", "number", "path")
"""Keys by which an element of a list is known again, the best first: one more PCI device must not move all that follow."""

CONTROLLER = "the controller"
"""How the controller under test is called in paths: its address says only in which slot it sits."""

_DEEPEST = 40
"""No fact lies deeper; a record that was edited by hand may nest beyond what a recursion bears."""
_LONGEST = 300


@dataclass(frozen=True)
class _Missing:
    """Stands for what a document does not have; None is a value."""


@dataclass(frozen=True)
class _Found:
    """A difference below one document; ``untold``: the other document has no such field at all."""

    path: tuple[str, ...]
    before: object
    after: object
    untold: bool = False

    def spelled(self) -> Difference:
        """Return it as the comparison keeps it."""
        return Difference(_spell_path(self.path), _spell(self.before), _spell(self.after))


_MISSING = _Missing()


@dataclass(frozen=True)
class Differences:
    """The facts that differ, and the names of those that only one record has a field for, in the order of the documents."""

    facts: tuple[Difference, ...]
    told_before: tuple[str, ...]
    told_after: tuple[str, ...]


def find_differences(before: Record, after: Record) -> Differences:
    """Return what differs in the environments and facts of two records."""
    found: list[_Found] = []
    names = controller_address(before), controller_address(after)
    for place in dict.fromkeys([*before.facts, *after.facts]):
        ours, theirs = before.facts.get(place, _MISSING), after.facts.get(place, _MISSING)
        found += _walk(ours, theirs, (place,), names)
    environment = _compare_environments(before, after)
    told = tuple(one.spelled() for one in found if not one.untold)
    untold = [(one, _spell_path(one.path, elements=False)) for one in found if one.untold]
    return Differences(
        (*environment, *told),
        tuple(dict.fromkeys(name for one, name in untold if one.after is _MISSING)),
        tuple(dict.fromkeys(name for one, name in untold if one.before is _MISSING)),
    )


def controller_address(record: Record) -> str:
    """Return the address of the controller under test; empty if the record does not tell it."""
    return record.environment.controller.partition(" ")[0]


def _compare_environments(before: Record, after: Record) -> Iterator[Difference]:
    """Yield what the heads of the two pages say differently; an empty text there is unknown."""
    for name in msgspec.structs.fields(before.environment):
        ours, theirs = getattr(before.environment, name.name), getattr(after.environment, name.name)
        if ours != theirs:
            yield Difference(f"environment.{name.name}", _spell(ours), _spell(theirs))


def _walk(before: Any, after: Any, path: tuple[str, ...], names: tuple[str, str]) -> Iterator[_Found]:
    """Yield the differences of two values at a path; ``names`` are the controllers' addresses."""
    if before == after or _is_left_out(path):
        return
    if len(path) > _DEEPEST:
        yield _Found(path, before, after)
    elif isinstance(before, Mapping) and isinstance(after, Mapping):
        yield from _walk_fields(before, after, path, names)
    elif isinstance(before, Sequence) and isinstance(after, Sequence) and not isinstance(before, str | bytes):
        yield from _walk_lists(before, after, path, names)
    else:
        yield _Found(path, before, after)


def _walk_fields(
    before: Mapping[str, Any], after: Mapping[str, Any], path: tuple[str, ...], names: tuple[str, str]
) -> Iterator[_Found]:
    for key in dict.fromkeys([*before, *after]):
        below = (*path, key)
        if key in before and key in after:
            yield from _walk(before[key], after[key], below, names)
        elif not _is_left_out(below):
            # a group's number or a table's name is a key that a host brings, a field's name one that a suite knows or not
            untold = key.isidentifier() and key.islower()
            yield _Found(below, before.get(key, _MISSING), after.get(key, _MISSING), untold=untold)


def _walk_lists(before: Sequence[Any], after: Sequence[Any], path: tuple[str, ...], names: tuple[str, str]) -> Iterator[_Found]:
    """Yield the differences of two lists: elements are known again by an identity; of plain values only those not in both."""
    if not any(isinstance(each, Mapping | list) for each in (*before, *after)):
        yield _Found(path, *_without_common(before, after))
        return
    key = next((key for key in IDENTITIES if _identifies(key, before) and _identifies(key, after)), None)
    ours, theirs = _by_identity(before, key, names[0]), _by_identity(after, key, names[1])
    for name in dict.fromkeys([*ours, *theirs]):
        yield from _walk(ours.get(name, _MISSING), theirs.get(name, _MISSING), (*path, name), names)


def _identifies(key: str, elements: Sequence[Any]) -> bool:
    """Return whether each element has a value of its own for a key."""
    values = [each.get(key) if isinstance(each, Mapping) else None for each in elements]
    return all(isinstance(value, str | int) and value != "" for value in values) and len(set(values)) == len(values)


def _by_identity(elements: Sequence[Any], key: str | None, controller: str) -> dict[str, Any]:
    if key is None:
        return {str(number): each for number, each in enumerate(elements)}
    return {CONTROLLER if controller and each[key] == controller else str(each[key]): each for each in elements}


def _without_common(before: Sequence[Any], after: Sequence[Any]) -> tuple[Any, Any]:
    """Return what stands in one list only; both whole where only the order or the number differs."""
    ours, theirs = [each for each in before if each not in after], [each for each in after if each not in before]
    if (ours and theirs) or ours == theirs or not (before and after):
        return (ours, theirs) if ours or theirs else (list(before), list(after))
    return (f"with {_spell(ours)}", "without") if ours else ("without", f"with {_spell(theirs)}")


def _is_left_out(path: tuple[str, ...]) -> bool:
    inner = path[1:]
    return any(
        len(inner) == len(pattern) and all(want in {"*", name} for want, name in zip(pattern, inner, strict=True))
        for pattern in LEFT_OUT
    )


def _spell_path(path: tuple[str, ...], *, elements: bool = True) -> str:
    """Return ``host.pci[0000:01:00.0].driver``: what is no plain name stands in brackets, which may stay empty."""
    return path[0] + "".join(f".{name}" if name.isidentifier() else f"[{name if elements else ''}]" for name in path[1:])


def _spell(value: object) -> str | None:
    """Return a value as a reader takes it in; None for one that is not there."""
    if isinstance(value, _Missing):
        return None
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ("", [], {}):
        return "unknown" if value in (None, "") else "none"
    text = value if isinstance(value, str) else _spell_many(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _spell_many(value: object) -> str:
    if isinstance(value, list) and not any(isinstance(each, Mapping | list) for each in value):
        return ", ".join(str(each) for each in value)
    if isinstance(value, Mapping):
        plain = {key: each for key, each in value.items() if isinstance(each, str | int | float) and each not in ("", False)}
        return ", ".join(f"{key} {each}" for key, each in plain.items()) or f"{len(value)} values"
    return str(value) if isinstance(value, int | float) else json.dumps(value)[: _LONGEST + 1]
