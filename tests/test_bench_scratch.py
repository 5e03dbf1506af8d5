"""Disks that are written on a board: one that is named and marked, and none beside it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest

from harness.bench.cache import silent
from harness.bench.config import load_bench
from harness.bench.real import connection_to
from harness.core.deadline import Deadline
from harness.core.marker import MARKER_BYTES
from harness.core.record import BoardVerdict, Outcome
from harness.machine.disks import find_disk
from harness.transport.protocol import check
from harness.transport.ssh import SshTransport
from tests.qualification import qualify
from tests.signatures import mbr
from tests.test_bench_up import held

pytestmark = [pytest.mark.bench, pytest.mark.xdist_group("scratch")]

THROUGHPASS = Path(sys.executable).with_name("throughpass")
NAME = "scratch"
NAMED, OTHER, TWIN = "TP0001", "TP0002", "TWIN"
KEPT_MIB, WINDOW_MIB = 8, 4

STICK = '\n[[board.stick]]\nid = "{0}"\non = "card"\nserial = "{1}"\nsize_mib = 64\n'
FILE = f"""schema = 1
name = "{NAME}"
kind = "virtual"
[board]
kernel_args = ["intel_iommu=on"]
[[board.device]]
id = "card"
driver = "nec-usb-xhci"
{"".join(STICK.format(*stick) for stick in (("s1", NAMED), ("s2", OTHER), ("s3", TWIN), ("s4", TWIN)))}
[controller]
id = "1033:0194"
[storage]
serial = "{NAMED}"
write = true
window_mib = {KEPT_MIB}
"""


@dataclass(frozen=True)
class Board:
    """The host with four sticks of one model: its bench file, and a connection that is none of the runner's."""

    bench: Path
    ssh: SshTransport

    def node(self, serial: str) -> str:
        """Return the node of a stick."""
        found = find_disk(self.ssh, serial)
        assert found is not None
        return found

    def digest(self, serial: str, *, skip_mib: int = 0, count_mib: int = 64) -> str:
        """Return the SHA-256 of a part of a stick, read past the page cache."""
        part = f"bs=1M skip={skip_mib} count={count_mib}"
        return check(self.ssh, f"dd if={self.node(serial)} {part} iflag=direct status=none | sha256sum").text

    def digests(self, serial: str) -> list[str]:
        """Return the SHA-256 of each MiB of a stick."""
        parts = f"dd if={self.node(serial)} bs=1M skip=$mib count=1 iflag=direct status=none | sha256sum"
        return check(self.ssh, f"mib=0; while [ $mib -lt 64 ]; do {parts}; mib=$((mib + 1)); done").text.splitlines()

    def storage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a verb of ``throughpass storage`` without a terminal."""
        argv: list[str | Path] = [THROUGHPASS, "storage", *arguments, "--bench", self.bench]
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120)

    def mark(self, serial: str, *options: str, typed: str = "") -> tuple[int, str]:
        """Mark a stick on a terminal, and type a serial once it is asked for; return the exit status and all that was said."""
        argv = ["storage", "mark", serial, "--bench", str(self.bench), *options]
        child = pexpect.spawn(str(THROUGHPASS), argv, encoding="utf-8", timeout=120, echo=False, dimensions=(50, 400))
        asked = child.expect(["type its serial:", pexpect.EOF])
        said = str(child.before)
        if asked == 0:
            child.sendline(typed)
            child.expect(pexpect.EOF)
            said += str(child.before)
        child.close()
        return int(child.exitstatus or 0), said


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """Hold a board whose sticks are plugged in."""
    folder = tmp_path_factory.mktemp("scratch")
    (folder / "board.toml").write_text(FILE, encoding="utf-8")
    with held(folder / "board.toml", folder / "held.toml"):
        host = load_bench(str(folder / "held.toml")).host
        assert host is not None
        with connection_to(host, Deadline.after(60, "connecting"), silent) as ssh:
            check(
                ssh, "left=200; until [ -b /dev/sdd ] || [ $left -eq 0 ]; do sleep 0.1; left=$((left - 1)); done; [ -b /dev/sdd ]"
            )
            yield Board(folder / "held.toml", ssh)


def test_wrong_serial_marks_nothing(board: Board) -> None:
    """What is on the disk is shown, and whoever types another serial than the disk's has changed nothing."""
    before = board.digest(NAMED)

    status, said = board.mark(NAMED, typed=OTHER)

    assert (status, board.digest(NAMED)) == (2, before), said
    assert "that is not the serial: nothing was written" in said
    assert "0000:01:00.0, port 2-1" in said
    assert "data that nobody recognises" in said


def test_twins_are_not_marked(board: Board) -> None:
    """Of two sticks with one serial neither can be marked, and both are shown."""
    status, said = board.mark(TWIN, typed=TWIN)
    shown = board.storage("show", TWIN).stdout

    assert status == 3
    assert f"2 USB disks of {board.ssh.name} have the serial {TWIN}" in said
    assert shown.count("QEMU HARDDISK") == 2, shown


def test_unmarked_disk_stops_the_run_before_the_bind(board: Board, tmp_path: Path) -> None:
    """A bench file that permits writes to a disk without a marker is refused, with the verb that marks; nothing is touched."""
    before = board.digest(NAMED)

    run = qualify(board.bench, tmp_path / "runs", "--profile", "smoke")

    assert run.record.verdict.board is BoardVerdict.UNDECIDED, run.output
    assert run.check("binding/controller-is-taken").outcome is Outcome.REFUSED
    assert "throughpass storage mark" in run.check("binding/controller-is-taken").remedy
    assert board.digest(NAMED) == before


def test_disk_with_data_is_refused(board: Board) -> None:
    """A partition table and what is in its partition must each be named; in use it is refused in spite of that."""
    node = board.node(OTHER)
    check(board.ssh, f"dd of={node} conv=notrunc status=none; blockdev --rereadpt {node}", stdin=mbr())
    check(board.ssh, f"until [ -b {node}1 ]; do sleep 0.1; done; mkswap {node}1 && sync {node}1")
    before = board.digest(OTHER)

    refused = [board.mark(OTHER, *options, typed=OTHER) for options in ([], ["--overwrite", "dos"], ["--overwrite", "swap"])]
    check(board.ssh, f"swapon {node}1")
    in_use = board.mark(OTHER, "--overwrite", "dos", "--overwrite", "swap", typed=OTHER)
    check(board.ssh, f"swapoff {node}1")

    assert [status for status, _ in (*refused, in_use)] == [3, 3, 3, 3]
    assert "dos at 510" in refused[0][1]
    assert f"swap at 4086 of {node}1" in refused[0][1]
    assert "--overwrite dos --overwrite swap" in refused[0][1]
    assert f"the host uses the disk {OTHER}: swap" in in_use[1]
    assert board.digest(OTHER) == before


HOLD = "use Fcntl; sysopen(D, q({node}), O_RDONLY|O_EXCL) or die $!; open(F, q(>/run/tp-held)); close F; sleep 600"
"""Has a disk for itself, as a file system does that no list shows."""


def test_disk_that_somebody_has_out_of_sight_is_refused(board: Board) -> None:
    """What no list of the host shows, its kernel still refuses: a disk that somebody has for himself is not written to."""
    before = board.digest(OTHER)
    script = HOLD.format(node=board.node(OTHER))
    pid = check(board.ssh, f"perl -e '{script}' >/dev/null 2>&1 & echo $!; until [ -e /run/tp-held ]; do sleep 0.1; done").text

    status, said = board.mark(OTHER, "--overwrite", "dos", "--overwrite", "swap", typed=OTHER)
    check(board.ssh, f"kill {pid}; rm /run/tp-held")

    assert (status, board.digest(OTHER)) == (3, before), said
    assert "cannot be had for itself alone" in said


def test_named_data_are_lost_and_nothing_else(board: Board) -> None:
    """Once every kind is named and the serial typed, the disk is marked; its twin in model stays as it was."""
    before = board.digest(NAMED)

    status, said = board.mark(OTHER, "--overwrite", "dos", "--overwrite", "swap", typed=OTHER)
    again = board.storage("show", OTHER).stdout
    unmarked = board.storage("unmark", OTHER)

    assert status == 0, said
    assert "is marked as scratch, and nobody's otherwise" in again
    assert unmarked.returncode == 0, unmarked.stderr
    assert check(board.ssh, f"head -c {MARKER_BYTES} {board.node(OTHER)} | tr -d '\\000' | wc -c").text == "0"
    assert board.digest(NAMED) == before


def test_what_is_written_and_what_not(board: Board, tmp_path: Path) -> None:
    """What is written each way is verified the next way, the speed of writing measured; beside the windows nothing changes."""
    status, said = board.mark(NAMED, typed=NAMED)
    assert status == 0, said
    bench = board.bench.with_name("writing.toml")
    cells = '[throughput]\ncells = ["SEQ1M Q8T1 read", "SEQ1M Q8T1 write"]'
    bench.write_text(board.bench.read_text("utf-8").replace("[throughput]\ncells = []", cells), encoding="utf-8")
    before = board.digests(NAMED), board.digest(OTHER)

    run = qualify(bench, tmp_path / "runs", "--profile", "smoke", "-k", "integrity or throughput or stick_is_back")
    after = board.digests(NAMED), board.digest(OTHER)
    changed = {mib for mib, (was, now) in enumerate(zip(before[0], after[0], strict=True)) if was != now}
    verified = set(range(KEPT_MIB, KEPT_MIB + WINDOW_MIB))
    found = run.check("integrity/ways-agree")
    written = {series.arm: series for series in run.record.series if series.cell == "SEQ1M Q8T1 write"}

    assert found.outcome is Outcome.PASS, run.output
    assert "written and verified by fio" in found.evidence[-1].source
    assert found.evidence[-1].text.count("wrote") == 4
    assert run.record.void_arms == ()
    assert run.check("throughput/arms-measured").outcome is Outcome.PASS, run.output
    assert {arm: len(series.samples) for arm, series in written.items()} == {"native": 2, "pci": 2, "usb-host": 2}
    assert all(0 < rate < 10_000 for series in written.values() for rate in series.rates_mib_s)
    assert after[1] == before[1]
    assert changed & verified
    assert changed > verified & changed
    assert changed <= verified | window_of(run.folder / "fio-SEQ1M-Q8T1-write-01-pci.json")


def window_of(path: Path) -> set[int]:
    """Return which MiB a run of fio could write to, by its own output."""
    text = path.read_text("utf-8")
    offset, size = (int(re.findall(rf'"{key}" : "(\d+)M"', text)[0]) for key in ("offset", "size"))
    return set(range(offset, offset + size))


def test_marker_is_taken_away(board: Board) -> None:
    """Unmarking writes zeros over the marker and nothing else; after it the disk may not be written."""
    before = board.digest(NAMED, skip_mib=1, count_mib=63)

    done = board.storage("unmark", NAMED)
    again = board.storage("unmark", NAMED)

    assert done.returncode == 0, done.stderr
    assert again.returncode == 3
    assert "is not marked as scratch" in again.stderr
    assert board.digest(NAMED, skip_mib=1, count_mib=63) == before
    assert check(board.ssh, f"head -c 1048576 {board.node(NAMED)} | head -c {MARKER_BYTES} | tr -d '\\000' | wc -c").text == "0"
