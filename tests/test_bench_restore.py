"""Snapshots of real boards: saved after a boot, restored later, never trusted once they are not what was saved."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from harness.bench.cache import cache_folder
from harness.bench.config import load_bench
from harness.bench.images import file_sha256, require_image
from harness.bench.upkeep import entries
from harness.bench.virtual import VirtualBench
from harness.core.deadline import Deadline
from harness.machine.running import Machine
from tests.qualification import leftovers

pytestmark = pytest.mark.bench

LIMIT_S = 400
THROUGHPASS = Path(sys.executable).with_name("throughpass")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Use a cache of the module's own that has the user's images."""
    require_image("debian13")
    folder, users = tmp_path_factory.mktemp("cache"), cache_folder()
    (folder / "images").symlink_to(users / "images")
    for answer in users.glob("kvm-*.json"):
        shutil.copy(answer, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THROUGHPASS_CACHE", str(folder))
        yield folder


@dataclass
class Opened:
    """A board that runs, and what was said until it did."""

    machine: Machine
    said: list[str] = field(default_factory=list)

    def ask(self, command: str) -> str:
        """Return what a command on the board prints."""
        return self.machine.ssh.run(command).text

    def was(self, what: str) -> bool:
        """Return whether a line began so."""
        return any(line.startswith(what) for line in self.said)


@contextmanager
def opened(logs: Path, bench: str = "virtual-vtd", *, cold: bool = False) -> Iterator[Opened]:
    """Open a board under a name of this module's own: boards of one name wait for one another."""
    made = VirtualBench(msgspec.structs.replace(load_bench(bench), name=f"restore-{bench}"), cold=cold)
    said: list[str] = []
    with made.open(logs, Deadline.after(LIMIT_S, "opening the board"), said.append):
        yield Opened(made.machine, said)


def snapshots() -> list[Path]:
    """Return the snapshots in the cache, finished or not."""
    return [entry.path for entry in entries() if entry.kind == "snapshots"]


@pytest.fixture(scope="module")
def snapshot(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the snapshot of a board, which a first run has kept."""
    with opened(tmp_path_factory.mktemp("logs")) as board:
        assert board.was("booting the board")
        assert board.was("keeping a snapshot")
    (kept,) = snapshots()
    assert kept.is_relative_to(cache)
    return kept


@pytest.mark.usefixtures("snapshot")
def test_restored_boards_are_no_twins(tmp_path: Path) -> None:
    """Two boards from one snapshot have other random numbers, boot ids and host keys, and both have the right time."""
    ask = "cat /proc/sys/kernel/random/boot_id; head -c 16 /dev/urandom | od -An -tx1; date +%s.%N"
    answers = []
    for _ in range(2):
        with opened(tmp_path) as board:
            assert board.was("restoring the board")
            assert not board.was("booting the board")
            before, lines, after = time.time(), board.ask(ask).splitlines(), time.time()
            assert before - 1 < float(lines[2]) < after + 1
            answers.append((lines[0], lines[1], board.machine.access.host_key))

    assert all(one != other for one, other in zip(*answers, strict=True))


@pytest.mark.usefixtures("snapshot")
def test_two_runs_never_share_a_snapshot(tmp_path: Path) -> None:
    """While one run has the snapshot, another boots and keeps one of its own; afterwards both are there."""
    with opened(tmp_path) as first:
        assert first.was("restoring the board")
        other = VirtualBench(msgspec.structs.replace(load_bench("virtual-vtd"), name="restore-other"))
        said: list[str] = []
        with other.open(tmp_path, Deadline.after(LIMIT_S, "opening the board"), said.append):
            assert any(line.startswith("booting the board restore-other") for line in said)

    assert len(snapshots()) == 2


def test_cold_boots_and_leaves_the_snapshot(snapshot: Path, tmp_path: Path) -> None:
    """Asked for a cold board, the bench boots, although there is a snapshot, and leaves that as it is."""
    before = (snapshot / "state").stat().st_mtime_ns
    with opened(tmp_path, cold=True) as board:
        assert board.was("booting the board")
        assert not board.was("keeping a snapshot")

    assert (snapshot / "state").stat().st_mtime_ns == before


def test_truncated_snapshot_is_made_anew(snapshot: Path, tmp_path: Path) -> None:
    """A snapshot that was cut short is discarded with a word, the board boots, and the next one is restored again."""
    whole = (snapshot / "state").stat().st_size
    os.truncate(snapshot / "state", whole // 2)
    with opened(tmp_path) as board:
        assert board.was("the snapshot of restore-virtual-vtd is discarded: its state has")
        assert board.was("booting the board")
    with opened(tmp_path) as board:
        assert board.was("restoring the board")


def test_snapshot_that_qemu_cannot_load_is_made_anew(snapshot: Path, tmp_path: Path) -> None:
    """A state that passes for what was saved, but that QEMU refuses, costs a boot and nothing else."""
    state = snapshot / "state"
    state.write_bytes(bytes(4096))
    note = msgspec.json.decode((snapshot / "snapshot.json").read_bytes())
    (snapshot / "snapshot.json").write_bytes(msgspec.json.encode({**note, "size": 4096, "sha256": file_sha256(state)}))
    with opened(tmp_path) as board:
        assert board.was("the snapshot of restore-virtual-vtd is discarded: it could not be restored")
        assert board.was("booting the board")
        assert board.ask("echo here") == "here"
    assert state.stat().st_size > 1 << 20


@pytest.mark.usefixtures("cache")
def test_board_that_cannot_be_saved_boots_and_says_why(tmp_path: Path) -> None:
    """A board that QEMU cannot migrate has no snapshot; the device that stands in the way is named (amd-iommu in QEMU 7.2)."""
    with opened(tmp_path, "virtual-amdvi") as board:
        assert board.was("booting the board")
        if board.was("keeping a snapshot"):
            pytest.skip("this QEMU can save an AMD IOMMU")
        assert any("no snapshot of restore-virtual-amdvi" in line and "amd-iommu" in line for line in board.said)


@pytest.mark.usefixtures("snapshot")
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["keeping a snapshot", "restoring the board"])
def test_end_in_the_middle_leaves_the_cache_good(moment: str, signum: signal.Signals, tmp_path: Path) -> None:
    """Killed or told to end while it saves or restores a board, a run leaves no QEMU, and the next one finds a good cache."""
    if moment.startswith("keeping"):
        for each in snapshots():
            shutil.rmtree(each)
    name = f"restore-{signum.name}-{moment[:4]}"
    bench = tmp_path / "board.toml"
    shipped = Path(__file__).parents[1] / "fixtures" / "boards" / "virtual-vtd.toml"
    bench.write_text(shipped.read_text(encoding="utf-8").replace('name = "virtual-vtd"', f'name = "{name}"'), encoding="utf-8")
    argv: list[str | Path] = [THROUGHPASS, "bench", "up", bench, "--write", tmp_path / "up.toml"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any(line.startswith(moment) for line in process.stderr)
        process.send_signal(signum)

    with opened(tmp_path) as board:
        assert board.ask("echo here") == "here"
        assert board.was("booting the board") == moment.startswith("keeping")
        assert not board.was("the snapshot")
    assert not leftovers(name)
    assert not list((cache_folder() / "snapshots").glob(".new-*"))
