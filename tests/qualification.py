"""Runs the suites as a user does, in a process of its own, and reads what came of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from harness.core.record import Check, Record, decode

CHECKOUT = Path(__file__).resolve().parents[1]
BOARDS = CHECKOUT / "tests" / "boards"
LIMIT_S = 600

BRIEF = "not throughput and not integrity and not reloads and not reboots"
"""What a qualification leaves out (``-k``) where a test asks about something else: the parts that take long."""


@dataclass(frozen=True)
class Qualification:
    """A run of the suites that has ended."""

    status: int
    output: str
    runs: Path

    @property
    def folder(self) -> Path:
        """Return the one run's folder."""
        (folder,) = self.runs.glob("*/*")
        return folder

    @property
    def record(self) -> Record:
        """Return the one run's record."""
        path = self.folder / "record.json"
        return decode(path.read_bytes(), str(path))

    def record_of(self, bench: str) -> Record:
        """Return the record of one bench of several."""
        (path,) = self.runs.glob(f"{bench}/*/record.json")
        return decode(path.read_bytes(), str(path))

    def check(self, identity: str) -> Check:
        """Return one check of the record."""
        (found,) = [check for check in self.record.checks if check.id == identity]
        return found


def suites_argv(bench: Path | str, runs: Path, *options: str) -> list[str]:
    """Return the command that qualifies a bench."""
    return [sys.executable, "-m", "pytest", "suites", "--bench", str(bench), "--runs", str(runs), *options]


def qualify(bench: Path | str, runs: Path, *options: str) -> Qualification:
    """Qualify a bench to the end."""
    with started(bench, runs, *options) as process:
        output, _ = process.communicate(timeout=LIMIT_S)
    return Qualification(process.returncode, output, runs)


def qualify_until(line: str, signum: signal.Signals, bench: Path | str, runs: Path, *options: str) -> Qualification:
    """Qualify a bench, and send a signal as soon as the output has a line that starts with ``line``."""
    with started(bench, runs, *options) as process:
        assert process.stdout is not None
        seen = []
        for text in process.stdout:
            seen.append(text)
            if text.strip().startswith(line):
                process.send_signal(signum)
                break
        rest, _ = process.communicate(timeout=LIMIT_S)
    return Qualification(process.returncode, "".join(seen) + rest, runs)


def wait_for_line(process: subprocess.Popen[str], line: str, output: IO[str] | None = None) -> str:
    """Read a run's output up to the line that starts with ``line``, and return it; the run ending first is a failure."""
    output = output or process.stdout
    assert output is not None
    for text in output:
        if text.strip().startswith(line):
            return text
    raise AssertionError(f"the run ended before it printed {line!r}")


@contextmanager
def started(bench: Path | str, runs: Path, *options: str, before: str = "") -> Iterator[subprocess.Popen[str]]:
    """Start a qualification; it does not outlive the test. ``before`` is Python that its process runs first."""
    argv = suites_argv(bench, runs, *options)
    if before:
        argv = [argv[0], "-c", f"{before}\nimport sys, pytest\nsys.exit(pytest.main(sys.argv[1:]))", *argv[3:]]
    process = subprocess.Popen(
        argv,
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def leftovers(bench: str) -> list[str]:
    """Return the command lines of processes that still play a board of that name."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue  # it ended while we looked
        if words and b"qemu" in words[0] and bench.encode() in words:
            found.append(b" ".join(words[:4]).decode())
    return found
