"""The tree that ``lspci -t`` draws, with any of -v, -vv, -n, -nn or none, its indents intact or lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from harness.core.pci import PciAddress
from harness.facts.told import Told, join_outputs

# What editors and web pages make of -, \, + and |, one sign for one. A Japanese font shows a backslash as a yen sign.
_AS_DRAWN = str.maketrans(
    "\u2010\u2011\u2012\u2013\u2014\u2500\u251c\u252c\u2514\u2570\u2502\u00a5\uff3c\u00a0", "------++\\\\|\\\\ "
)
_INDENT = re.compile(r"[\s|>]*")
_FILTERED = re.compile(r"\s*([0-9a-f]{4,8}):([0-9a-f]{2}):(?=[01][0-9a-f]\.[0-7]-\[)", re.IGNORECASE)
_TOKEN = re.compile(
    r"-+|(?P<fork>[+\\])|\[(?P<domain>[0-9a-f]{4,8}):(?P<bus>[0-9a-f]{2})\]|\[(?P<below>[0-9a-f]{2})(?:-[0-9a-f]{2})?\]"
    r"|(?P<device>[01][0-9a-f])\.(?P<function>[0-7])",
    re.IGNORECASE,
)
_SHIFTED = 2
_DASHES = re.compile(r"-+")
_NAME = re.compile(r"\s+(\w.*)$")
_ID = re.compile(r"(?:^(?:Device )?|\[)([0-9a-f]{4}:[0-9a-f]{4})\]?$", re.IGNORECASE)


class _Line(NamedTuple):
    raw: str
    drawn: str  # the same length, in lspci's own signs


@dataclass(frozen=True)
class _Bus:
    """A bus whose functions are drawn; ``path`` is that of what it hangs on, None where that was not drawn."""

    domain: int
    number: int
    path: str | None


@dataclass
class _Fork:
    """A list that is being drawn: the buses below a bridge or the host, or the functions on a bus."""

    column: int
    bus: _Bus | None  # of the functions; None: a list of buses
    path: str | None
    last: tuple[int, int] = (-1, -1)

    def takes(self, token: re.Match[str]) -> bool:
        """Return whether a node may be the next of this list: functions ascend, the order of buses tells nothing."""
        if token["domain"]:
            return self.bus is None
        return self.bus is not None and self.last < _function(token)


@dataclass
class _Tree:
    """One drawing: a list that was begun lasts until its last node, so that indents are needed only where lines are missing."""

    forks: list[_Fork] = field(default_factory=list)
    found: dict[str, Told] = field(default_factory=dict)

    def find_fork(self, indent: str, last: bool, token: re.Match[str]) -> _Fork | None:  # noqa: FBT001 (what the line begins with)
        """Return the list that a line goes on with, and end those inside it; with its last node it ends itself."""
        fitting = [fork for fork in self.forks if fork.takes(token)]
        if "  " in indent:  # as it was drawn, but for what was put before the first line, or before the others
            fitting = [fork for fork in fitting if abs(fork.column - len(indent)) <= _SHIFTED]
        if not fitting:
            return None
        fork = next((fork for fork in fitting if fork.column == len(indent)), fitting[-1])
        at = next(index for index, other in enumerate(self.forks) if other is fork)
        del self.forks[at if last else at + 1 :]
        fork.last = _function(token) if token["device"] else fork.last
        return fork


def parse_lspci_tree(text: str) -> tuple[Told, ...]:
    """Return the functions in the drawing, by address, with the bridges above each in ``path``; names and ids only from -v."""
    return join_outputs(_read_trees(text))


def _read_trees(text: str) -> Iterator[dict[str, Told]]:
    tree = _Tree()
    for raw in text.expandtabs().splitlines():
        line = _Line(raw, raw.translate(_AS_DRAWN))
        indent = _INDENT.match(line.drawn)
        start = indent.end() if indent else 0
        if line.drawn.startswith(("-[", "-+"), start):
            yield tree.found
            tree = _Tree()
            _read_nodes(tree, line, start, None)
        elif match := _FILTERED.match(line.drawn):
            _read_nodes(tree, line, match.end(), _Bus(int(match[1], 16), int(match[2], 16), None))
        elif line.drawn.startswith(("+-", "\\-"), start):
            _continue(tree, line, start)
    yield tree.found


def _continue(tree: _Tree, line: _Line, start: int) -> None:
    """Read a line that goes on with a list: with its last node, if it begins with a backslash."""
    dashes = _DASHES.match(line.drawn, start + 1)
    token = _TOKEN.match(line.drawn, dashes.end()) if dashes else None
    if token is None or not (token["domain"] or token["device"]):
        return
    fork = tree.find_fork(line.drawn[:start], line.drawn[start] == "\\", token)
    if fork is not None:
        _read_nodes(tree, line, token.start(), fork.bus, fork.path)


def _read_nodes(tree: _Tree, line: _Line, at: int, bus: _Bus | None, path: str | None = "") -> None:
    """Read a line's nodes from ``at`` on; ``path`` is that of what they hang on, empty for the host itself."""
    opened: int | None = None
    while token := _TOKEN.match(line.drawn, at):
        at = token.end()
        if token["fork"]:
            opened = token.start()
        elif token["domain"]:
            if opened is not None:
                tree.forks.append(_Fork(opened, None, path))
            opened = None
            root = f"/sys/devices/pci{int(token['domain'], 16):04x}:{token['bus'].lower()}"
            bus = _Bus(int(token["domain"], 16), int(token["bus"], 16), root if path == "" else path)
        elif token["below"] and bus is not None:
            bus = _Bus(bus.domain, int(token["below"], 16), path)
        elif token["device"]:
            if bus is None:
                return
            if opened is not None:
                tree.forks.append(_Fork(opened, bus, bus.path, _function(token)))
            opened = None
            address = str(PciAddress(bus.domain, bus.number, *_function(token)))
            path = bus.path and f"{bus.path}/{address}"
            tree.found.setdefault(address, _tell(address, path or "", line.raw[at:]))


def _tell(address: str, path: str, rest: str) -> Told:
    match = _NAME.match(rest)
    text = match[1].strip() if match else ""
    pair = _ID.search(text)
    return Told(address, id=pair[1].lower() if pair else "", name=text[: pair.start()].strip() if pair else text, path=path)


def _function(token: re.Match[str]) -> tuple[int, int]:
    return int(token["device"], 16), int(token["function"])
