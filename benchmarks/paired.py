"""The frame of every benchmark: sides run in turns in one go, compared round by round, written as JSON.

A script opens a Comparison, a few named sides: callables that do the work once and return how many seconds it took. The first
side is the one that the claim is about. All run in each round, and each round goes the other way round than the one before
(A B, B A, A B ...), so that a machine that slows down, warms up or is shared burdens them alike. A first round is thrown away.
What counts is the ratio within a round; the median of the rounds and an interval for it are printed.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import math
import os
import signal
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.surroundings import describe_machine
from harness.bench.cache import write_whole
from harness.core.errors import BenchError, ThroughpassError, UsageError

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
WARM_UP = 0
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Took:
    """How long a side took once, and how long named parts of it took."""

    total_s: float
    parts_s: Mapping[str, float] = field(default_factory=dict)


Side = Callable[[], Took | float]
"""Does the work once and returns the seconds that it took; raises ThroughpassError where it did not do it."""


@dataclass(frozen=True)
class Comparison:
    """What a script compares. ``sides`` begins with the one that the claim is about: ratios are its seconds by another's."""

    claim: str
    sides: Mapping[str, Side]
    accelerator: str
    versions: Mapping[str, str]
    details: Mapping[str, Any] = field(default_factory=dict)
    """What else a reader must know to repeat it, such as command lines."""
    figures: Callable[[Sequence[Run]], Mapping[str, Sequence[float]]] | None = None
    """Where the claim is not a ratio of sides: named figures, one of each a round."""


@dataclass(frozen=True)
class Run:
    """One run of one side. Round 0 is the warm-up."""

    round: int
    side: str
    took: Took


@dataclass(frozen=True)
class Spread:
    """A median, and between which values it lies with ``confidence``."""

    median: float
    low: float
    high: float
    confidence: float


def turns(sides: Sequence[str], rounds: int) -> list[tuple[int, str]]:
    """Return who runs when, the warm-up first; every round goes the other way than the one before."""
    return [(number, side) for number in range(rounds + 1) for side in (sides if number % 2 else sides[::-1])]


def measure(sides: Mapping[str, Side], rounds: int, tell: Callable[[str], None]) -> Iterator[Run]:
    """Run the sides in turns and yield each run as it ends; raise BenchError with the side and the round where one fails."""
    for number, name in turns(list(sides), rounds):
        where = f"round {number} of {rounds}" if number != WARM_UP else "the warm-up"
        try:
            took = sides[name]()
        except ThroughpassError as error:
            raise BenchError(f"{name} failed in {where}: {error.message}", evidence=error.evidence) from error
        took = took if isinstance(took, Took) else Took(took)
        if not (math.isfinite(took.total_s) and took.total_s > 0):
            raise BenchError(f"{name} says in {where} that it took {took.total_s} s, of which no ratio can be made")
        tell(f"{where}: {name} {took.total_s:.2f} s")
        yield Run(number, name, took)


def took_by_round(runs: Sequence[Run], side: str) -> dict[int, Took]:
    """Return what a side took by round, without the warm-up."""
    return {run.round: run.took for run in runs if run.side == side and run.round != WARM_UP}


def seconds(runs: Sequence[Run], side: str) -> dict[int, float]:
    """Return a side's seconds by round, without the warm-up."""
    return {number: took.total_s for number, took in took_by_round(runs, side).items()}


def parts(runs: Sequence[Run], side: str) -> dict[str, list[float]]:
    """Return the seconds of each part of a side, in the order of the rounds, without the warm-up."""
    found: dict[str, list[float]] = {}
    for run in runs:
        if run.side == side and run.round != WARM_UP:
            for name, part_s in run.took.parts_s.items():
                found.setdefault(name, []).append(part_s)
    return found


def pair_ratios(runs: Sequence[Run], side: str, other: str) -> list[float]:
    """Return side / other of each round that has both."""
    mine, others = seconds(runs, side), seconds(runs, other)
    return [mine[number] / others[number] for number in sorted(mine.keys() & others.keys())]


def spread(values: Sequence[float]) -> Spread:
    """Return the median with an interval of order statistics, which holds whatever the distribution.

    The k-th value from each end leaves the median out with a chance of 2 * P(Binomial(n, 1/2) < k). The innermost pair with
    95 % is taken; up to 5 values have none, and the whole range stands with what confidence it has.
    """
    ordered, count = sorted(values), len(values)

    def missed(k: int) -> float:
        return 2 * sum(math.comb(count, i) for i in range(k)) / (1 << count)

    k = max((k for k in range(1, count // 2 + 1) if missed(k) <= 1 - _CONFIDENCE), default=1)
    return Spread(statistics.median(ordered), ordered[k - 1], ordered[-k], 1 - missed(k))


def document(comparison: Comparison, rounds: int, runs: Sequence[Run], ended: str = "") -> dict[str, Any]:
    """Return what is written as JSON: raw values in the order in which they came, and what was made of them.

    ``ended`` says why fewer rounds were run than were asked for.
    """
    return {
        "schema": 1,
        "claim": comparison.claim,
        "rounds_asked": rounds,
        "ended_early": ended,
        "order": [{"round": run.round, "side": run.side, "total_s": run.took.total_s, **_parts(run)} for run in runs],
        "sides": {name: _side(runs, name) for name in comparison.sides},
        "ratios": {other: _summed(pair_ratios(runs, first(comparison), other)) for other in others(comparison)},
        "figures": {name: _summed(found) for name, found in figures(comparison, runs).items()},
        "versions": dict(comparison.versions),
        "details": dict(comparison.details),
    }


def first(comparison: Comparison) -> str:
    """Return the side that the claim is about."""
    return next(iter(comparison.sides))


def others(comparison: Comparison) -> list[str]:
    """Return the sides that it is compared with."""
    return list(comparison.sides)[1:]


def _parts(run: Run) -> dict[str, dict[str, float]]:
    return {"parts_s": dict(run.took.parts_s)} if run.took.parts_s else {}


def _side(runs: Sequence[Run], name: str) -> dict[str, Any]:
    values = list(seconds(runs, name).values())
    return {
        "seconds": values,
        "median_s": statistics.median(values) if values else None,
        "parts_median_s": {part: statistics.median(found) for part, found in parts(runs, name).items()},
    }


def figures(comparison: Comparison, runs: Sequence[Run]) -> Mapping[str, Sequence[float]]:
    """Return the figures of a comparison that has its own, by name, one of each a round."""
    return comparison.figures(runs) if comparison.figures else {}


def _summed(rounds: Sequence[float]) -> dict[str, Any]:
    if not rounds:
        return {"pairs": []}
    found = spread(rounds)
    return {"pairs": list(rounds), "median": found.median, "low": found.low, "high": found.high, "confidence": found.confidence}


def summary(comparison: Comparison, runs: Sequence[Run]) -> list[str]:
    """Return the lines that a reader wants: medians, their parts, ratios."""
    lines = [comparison.claim]
    for name in comparison.sides:
        values = list(seconds(runs, name).values())
        if values:
            lines.append(f"  {name}: {statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f})")
        lines += [f"    {part}: {statistics.median(found):.2f} s" for part, found in parts(runs, name).items()]
    named = {f"{first(comparison)} / {other}": pair_ratios(runs, first(comparison), other) for other in others(comparison)}
    for name, rounds in {**named, **figures(comparison, runs)}.items():
        if rounds:
            found = spread(rounds)
            sure = f"{found.confidence:.0%} sure, rounds: {len(rounds)}"
            lines.append(f"  {name}: {found.median:.3f} ({found.low:.3f} to {found.high:.3f}, {sure})")
    return lines


def make_parser(module: str, text: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has; ``text`` is the script's docstring."""
    parser = _Parser(
        prog=f"python -m {module}", description=text, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--rounds", type=_count, default=5, metavar="N", help="how often each side runs (default 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write raw values, order, versions and ratios there")
    return parser


class _Parser(argparse.ArgumentParser):
    """argparse with one sentence for bad input, and no usage before it."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and end with status 2."""
        self.exit(BAD_INPUT, f"{self.prog}: {message} (see --help)\n")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rounds: give 1 or more")
    return int(text)


def tell(line: str) -> None:
    """Write a line of progress to standard error."""
    print(line, file=sys.stderr, flush=True)


def run(opening: AbstractContextManager[Comparison], options: argparse.Namespace) -> int:
    """Run a comparison, print its summary, write its JSON, and return the exit status.

    What has been measured is printed and written however it ends: a failing side, Ctrl-C, SIGTERM.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, so that no machine stays behind
    try:
        _require_place(options.json)
        with opening as comparison:
            _run(comparison, options.rounds, options.json)
    except KeyboardInterrupt:
        tell("interrupted")
        return INTERRUPTED
    except ThroughpassError as error:
        tell("\n".join([error.message, *(f"    {line}" for line in error.evidence.strip().splitlines())]))
        return BAD_INPUT if isinstance(error, UsageError) else FAILED
    finally:
        signal.signal(signal.SIGTERM, before)
    return DONE


def _run(comparison: Comparison, rounds: int, file: Path | None) -> None:
    surroundings = {
        "machine": describe_machine(comparison.accelerator),
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }
    runs: list[Run] = []
    ended = ""
    try:
        for each in measure(comparison.sides, rounds, tell):
            runs.append(each)  # noqa: PERF402 (one by one: what is there must be kept when the next is interrupted)
    except BaseException as error:
        ended = str(error) or type(error).__name__
        raise
    finally:
        with contextlib.suppress(BrokenPipeError):
            print("\n".join(summary(comparison, runs)), flush=True)
        if file:
            text = json.dumps({**document(comparison, rounds, runs, ended), **surroundings}, indent=2) + "\n"
            write_whole(file, [text.encode()])


def _require_place(file: Path | None) -> None:
    """Raise UsageError where the JSON could not be written: after half an hour it would be too late."""
    if file and not (file.parent.is_dir() and os.access(file.parent, os.W_OK) and not file.is_dir()):
        raise UsageError(f"{file} cannot be written: --json takes a file in a folder that is there and may be written to")
