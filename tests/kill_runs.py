"""Kills runners at random moments on a board that outlives them, puts back, counts: ``python -m tests.kill_runs --kills 100``.

Three of four are runners that take the controller and give it back (tests/taker.py); the fourth is a whole qualification with a
guest. A long run can be made in parts: ``--first 40`` goes on where forty were done; Ctrl-C ends it early. Prints a table; exit
status 1 if, after one restore, anything on the host was not as before.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.custody import Board, board_of, taker
from tests.qualification import started

TAKERS, WHOLE = "a runner that binds and returns", "a whole qualification"
LIMITS_S = {TAKERS: 2.5, WHOLE: 60.0}
"""Between the runner's start and its kill: as long as it takes at most, on an emulated board."""


@dataclass
class Tally:
    """What came of the kills of one kind."""

    killed: int = 0
    ended: int = 0
    restored: int = 0
    nothing: int = 0
    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def kill_taker(board: Board, delay_s: float) -> bool:
    """Kill a runner that takes the controller; return whether it was still alive."""
    with taker(board, "again") as process:
        assert process.stdout is not None
        process.stdout.readline()
        return _killed(process, delay_s)


def kill_whole(board: Board, delay_s: float) -> bool:
    """Kill a whole qualification; return whether it was still alive."""
    with (
        tempfile.TemporaryDirectory() as runs,
        started(board.bench, Path(runs), "--profile", "smoke", "--cycles", "1") as process,
    ):
        return _killed(process, delay_s)


def _killed(process: subprocess.Popen[str], delay_s: float) -> bool:
    try:
        process.communicate(timeout=delay_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return True
    return False


def kill_once(board: Board, number: int, seed: int, tallies: dict[str, Tally]) -> None:
    """Kill one runner at a moment that its number and the seed decide, put back, and compare."""
    moments = random.Random(f"{seed} {number}")  # noqa: S311 (repeatable, not secret)
    kind = WHOLE if number % 4 == 3 else TAKERS
    delay_s = moments.uniform(0.0, LIMITS_S[kind])
    tally = tallies[kind]
    alive = (kill_whole if kind == WHOLE else kill_taker)(board, delay_s)
    tally.killed += alive
    tally.ended += not alive
    begun_s = time.monotonic()
    done = board.restore()
    tally.seconds.append(time.monotonic() - begun_s)
    changes = board.changes()
    tally.nothing += "nothing to put back" in done.stdout
    if done.returncode or changes:
        tally.wrong.append(f"kill {number} after {delay_s:.2f} s: {changes} {done.stdout} {done.stderr}")
    else:
        tally.restored += 1


def print_table(tallies: dict[str, Tally]) -> None:
    """Print what came of all, as the table of docs/kills.md."""
    sys.stdout.write(
        "| killed | kills | ended before | something to put back | as before after one restore | restore, median |\n"
    )
    sys.stdout.write("|---|---|---|---|---|---|\n")
    for kind, tally in tallies.items():
        tried = tally.killed + tally.ended
        sys.stdout.write(
            f"| {kind} | {tally.killed} | {tally.ended} | {tried - tally.nothing} "
            f"| {tally.restored} of {tried} | {statistics.median(tally.seconds or [0.0]):.1f} s |\n"
        )


def main() -> int:
    """Kill, restore, compare; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the number of the first: a long run in parts")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    tallies: dict[str, Tally] = defaultdict(Tally)
    with (
        suppress(KeyboardInterrupt),  # what was done until then is worth its table
        tempfile.TemporaryDirectory() as folder,
        board_of("kill-runs", Path(folder)) as board,
    ):
        for number in range(options.first, options.first + options.kills):
            kill_once(board, number, options.seed, tallies)
            sys.stderr.write(f"{number + 1 - options.first} of {options.kills}\n")
    print_table(tallies)
    wrong = [line for tally in tallies.values() for line in tally.wrong]
    sys.stdout.writelines(f"{line}\n" for line in wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
