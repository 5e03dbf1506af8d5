"""What a QEMU hangs on: real processes that wait in the kernel, in a QEMU's place."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

import pytest

from harness.machine import stuck
from harness.machine.stuck import describe_stuck
from harness.transport.local import LocalTransport

HOST = LocalTransport()

WAITING = """#!{python}
import os, sys
fifo = sys.argv[1]
while True:
    opening = [(os.POSIX_SPAWN_OPEN, 0, fifo, os.O_RDONLY, 0)]
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {{}}, file_actions=opening), 0)
"""
"""Waits in state D until its child has begun, as vfork(2) does, and the child waits for somebody to write into the pipe."""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again after a second."""
    monkeypatch.setattr(stuck, "_APART_S", 1)


def waits_for_a_child(process: int) -> bool:
    """Return whether a process is in state D, and has a child: before, it may wait for a disk that its program comes from."""
    stats = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended while we looked
            state, parent, *_ = entry.read_text(encoding="utf-8", errors="replace").rpartition(") ")[2].split()
            stats[int(entry.parent.name)] = (state, int(parent))
    return stats[process][0] == "D" and process in {parent for _, parent in stats.values()}


@contextmanager
def waiting(folder: Path) -> Iterator[int]:
    """Run what waits, with the folder on its command line; return its process id once it waits."""
    qemu, fifo = folder / "qemu-stand-in", folder / "fifo"
    qemu.write_text(WAITING.format(python=sys.executable), encoding="utf-8")
    qemu.chmod(0o755)
    os.mkfifo(fifo)
    with subprocess.Popen([qemu, fifo]) as process:
        try:
            until_s = time.monotonic() + 20
            while not waits_for_a_child(process.pid):
                assert time.monotonic() < until_s, "it never waits in state D"
            yield process.pid
        finally:
            process.kill()
            HOST.run(f"exec 3<>{fifo}")  # its child is free, too


@contextmanager
def moving(folder: Path) -> Iterator[None]:
    """Let what waits go on after a moment, again and again, as a disk does."""
    over = threading.Event()

    def feed() -> None:
        while not over.wait(0.05):
            os.close(os.open(folder / "fifo", os.O_WRONLY))

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield
    finally:
        over.set()
        feeder.join()


def test_qemu_that_stays_where_it_is_is_stuck(tmp_path: Path) -> None:
    """A thread that waits in the same place at both looks is told, with its state; so is one that was killed."""
    with waiting(tmp_path) as process:
        found = [describe_stuck(HOST, PurePosixPath(tmp_path), killed=killed) for killed in (False, True)]

    assert [text.splitlines()[0] for text in found] == [f"thread {process} of qemu-stand-in: D (disk sleep)"] * 2


def test_qemu_that_waits_for_moments_is_not_stuck(tmp_path: Path) -> None:
    """A thread that is in the kernel at both looks, and has run in between, reads a disk: nothing hangs."""
    with waiting(tmp_path), moving(tmp_path):
        found = describe_stuck(HOST, PurePosixPath(tmp_path))

    assert found == ""


def test_others_are_not_looked_at(tmp_path: Path) -> None:
    """The QEMU of another folder may wait for what it likes."""
    with waiting(tmp_path):
        assert describe_stuck(HOST, PurePosixPath(tmp_path / "other")) == ""
