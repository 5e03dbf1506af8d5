"""The lock of a controller, held by real processes: on this machine, and over SSH."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from harness.actions import lock as lock_module
from harness.actions.lock import BusyError, holding
from harness.core.errors import BenchError
from harness.transport.local import LocalTransport

_DOMAIN = f"{os.getpid() & 0xFFFF:04x}"
ONE, OTHER = f"{_DOMAIN}:01:00.0", f"{_DOMAIN}:02:00.0"
"""Their holders show among the processes of this machine: each process of tests has devices of its own."""

HOLDER = """
import sys
from harness.actions import lock
from harness.transport.local import LocalTransport
lock.BUS = sys.argv[1]
with lock.holding(LocalTransport(), sys.argv[2], who="alice@runner, process 7, since noon", progress=print):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let a folder stand for the PCI bus, with two devices."""
    for address in (ONE, OTHER):
        (tmp_path / "devices" / address).mkdir(parents=True)
    monkeypatch.setattr(lock_module, "BUS", str(tmp_path))
    return tmp_path


@contextmanager
def other_runner(bus: Path, address: str) -> Iterator[subprocess.Popen[str]]:
    """Hold a controller in another process."""
    argv = [sys.executable, "-c", HOLDER, str(bus), address]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def holders(address: str) -> list[int]:
    """Return the processes of this machine that hold a controller."""
    mark = f"\0throughpass-lock holds {address} in ".encode()
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if mark in path.read_bytes()]


@contextmanager
def _flocked(folder: Path) -> Iterator[int]:
    """Hold a folder as anybody can who may read it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def wait_until_named(name: str) -> None:
    """Wait until a process that was just started has its own command line."""
    mark = b"\0" + name.encode() + b"\0"
    limit_s = time.monotonic() + 20
    while not any(mark in _cmdline(path) for path in Path("/proc").glob("[0-9]*/cmdline")):
        assert time.monotonic() < limit_s


def _cmdline(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # it has ended


def quiet(_: str) -> None:
    """Say nothing."""


def hold(address: str, *, alone: bool = False, wait_s: int = 0, told: list[str] | None = None) -> None:
    """Take a lock and leave it."""
    progress = quiet if told is None else told.append
    with holding(LocalTransport(), address, who="bob", alone=alone, wait_s=wait_s, progress=progress) as lock:
        lock.require()


def test_lock_tells_who_holds(bus: Path) -> None:
    """The second is told who has the controller, since when, and how to wait for it."""
    with other_runner(bus, ONE), pytest.raises(BenchError) as caught:
        hold(ONE)

    assert caught.value.message == f"{ONE} on this machine is in use by alice@runner, process 7, since noon"
    assert "--wait SECONDS" in caught.value.remedy


def test_lock_dies_with_its_holder(bus: Path) -> None:
    """A holder that is killed holds nothing: whoever waits has the controller as soon as the kernel has noticed."""
    told: list[str] = []
    with other_runner(bus, ONE) as process:
        os.kill(process.pid, signal.SIGKILL)
        hold(ONE, wait_s=20, told=told)

    assert len(told) <= 1


def test_lock_waits_so_long_and_no_longer(bus: Path) -> None:
    """A wait ends with a sentence that names who is in the way, and how long it was."""
    told: list[str] = []
    with other_runner(bus, ONE), pytest.raises(BenchError, match=r"alice@runner.* it was not free within 1 s"):
        hold(ONE, wait_s=1, told=told)

    assert told == [f"{ONE} on this machine is in use by alice@runner, process 7, since noon; waiting at most 1 s"]


def test_lock_waits_once_for_both(bus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Host and controller are two locks with one wait: what the first took is not waited for again."""
    monkeypatch.setattr(lock_module, "_ANSWER_LIMIT_S", 5.0)
    with _flocked(bus) as host, _flocked(bus / "devices" / ONE):
        threading.Timer(2.0, lambda: fcntl.flock(host, fcntl.LOCK_UN)).start()
        began_s = time.monotonic()
        with pytest.raises(BusyError, match="it was not free within 4 s"):
            hold(ONE, wait_s=4)

    assert time.monotonic() - began_s < 7


def test_lock_names_everybody_in_the_way(bus: Path) -> None:
    """Who wants the host alone is told of each controller that is held there."""
    third = f"{_DOMAIN}:03:00.0"
    (bus / "devices" / third).mkdir()
    with (
        holding(LocalTransport(), OTHER, who="carol", progress=quiet),
        other_runner(bus, ONE),
        pytest.raises(BusyError) as caught,
    ):
        hold(third, alone=True)

    assert "carol" in caught.value.message
    assert "alice@runner" in caught.value.message


def test_lock_believes_no_names(bus: Path) -> None:
    """What holders call themselves is text: it grants nothing, and steers no terminal."""
    names = ["eve", "held", "0123456789abcdef held 1", "\x1b[2J\nheld"]
    pretended = [["sh", "-c", "read -r _", "throughpass-lock holds x in y", name] for name in names]
    with ExitStack() as stack:
        stack.enter_context(_flocked(bus))
        for argv in pretended:
            process = stack.enter_context(subprocess.Popen(argv, stdin=subprocess.PIPE))
            stack.callback(process.kill)
        for argv in pretended:
            wait_until_named(argv[-1])
        with pytest.raises(BusyError, match=r"is in use by .*eve") as caught:
            hold(ONE)

    assert "\x1b" not in caught.value.message


def test_lock_proves_that_its_holder_lives() -> None:
    """The proof succeeds on the host as long as the holder is there, whatever the runner has noticed."""
    with holding(LocalTransport(), ONE, who="bob", progress=quiet, beat_s=3600) as lock:
        there = LocalTransport().run(lock.proof).status
        for pid in holders(ONE):
            os.kill(pid, signal.SIGKILL)
        hold(ONE, wait_s=20)
        gone = LocalTransport().run(lock.proof).status
        lock.require()  # which knows only what a beat has told

    assert there == 0
    assert gone != 0


def test_lock_is_one_for_each_controller(bus: Path) -> None:
    """Two controllers of a host are held at once, unless one wants the host for itself."""
    with other_runner(bus, ONE):
        hold(OTHER)
        with pytest.raises(BenchError, match=r"is in use by alice@runner"):
            hold(OTHER, alone=True)
    hold(OTHER, alone=True, wait_s=20)  # until the kernel has noticed that the other is dead


def test_lock_holds_the_whole_group(bus: Path) -> None:
    """What shares the controller's group is held with it: no part of a group can be somebody else's."""
    group = bus / "groups" / "7"
    group.mkdir(parents=True)
    for address in (ONE, OTHER):
        (bus / "devices" / address / "iommu_group").symlink_to(group)

    with other_runner(bus, ONE), pytest.raises(BenchError, match=f"{OTHER} on this machine is in use by alice@runner"):
        hold(OTHER)


def test_lock_is_free_again() -> None:
    """What was held once is free at once, and no process is left."""
    for _ in range(3):
        hold(ONE, alone=True)

    assert holders(ONE) == []


def test_lock_of_a_device_that_is_not_there() -> None:
    """A device that is not there cannot be held."""
    with pytest.raises(BenchError, match=r"0000:07:00\.0 on this machine is not there"):
        hold("0000:07:00.0")


def test_lock_needs_flock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A host without flock is told what it lacks."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sh").symlink_to("/bin/sh")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    with pytest.raises(BenchError, match=r"flock \(of util-linux\) is missing"):
        hold(ONE)


def test_lock_that_was_lost_is_no_permission(bus: Path) -> None:
    """A holder that somebody ended on the host is noticed at the next beat, before the next write."""
    with (
        holding(LocalTransport(), ONE, who="bob", progress=quiet, beat_s=0.05) as lock,
    ):
        for pid in holders(ONE):
            os.kill(pid, signal.SIGKILL)
        assert lock.wait_until_lost(10)
        with pytest.raises(BenchError, match=f"the lock of {ONE} on this machine was lost"):
            lock.require()
        hold(ONE)
    assert bus.is_dir()
