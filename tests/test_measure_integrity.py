"""Integrity: what is written and verified by fio itself on a file, and what is made of what the ways found."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.core.errors import BenchError, BoardError
from harness.measure.integrity import (
    READING_ORDER,
    WRITING_ORDER,
    Visit,
    Window,
    hash_command,
    judge_visits,
    pattern_of,
    place_window,
    read_verify,
    verify_command,
    void_arms,
    write_command,
)
from harness.transport.local import LocalTransport
from harness.transport.protocol import Result

MIB = 1 << 20
WINDOW = Window(2, 4)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Return an image of 8 MiB."""
    if shutil.which("fio") is None:
        pytest.skip("fio is not installed")
    path = tmp_path / "disk"
    path.write_bytes(b"\xa5" * 8 * MIB)
    return path


def run(disk: Path, command: str) -> Result:
    """Run shell text on an image."""
    return LocalTransport().run(f"cd {disk.parent}; disk={disk}; {command}")


def test_write_stays_in_its_window(disk: Path) -> None:
    """What is written is verified as right, nothing beside the window changes, and fio leaves no file behind."""
    pattern = pattern_of(7, 0)

    wrote = run(disk, write_command(WINDOW, pattern))
    data = disk.read_bytes()

    assert read_verify(wrote) == ""
    assert read_verify(run(disk, verify_command(WINDOW, pattern))) == ""
    assert set(data[: 2 * MIB] + data[6 * MIB :]) == {0xA5}
    assert disk.read_bytes() == data
    assert [path.name for path in disk.parent.iterdir()] == ["disk"]


@pytest.mark.parametrize("place", [2 * MIB, 3 * MIB + 70000, 6 * MIB - 1])
def test_one_wrong_byte_is_found(disk: Path, place: int) -> None:
    """One byte that differs anywhere in the window fails fio's check, which names the block; the SHA-256 differs, too."""
    pattern = pattern_of(7, 0)
    run(disk, write_command(WINDOW, pattern)).require()
    before = run(disk, hash_command(WINDOW)).require().text
    data = bytearray(disk.read_bytes())
    data[place] ^= 1
    disk.write_bytes(data)

    assert read_verify(run(disk, verify_command(WINDOW, pattern))).startswith(f"first at byte {place // 65536 * 65536}: ")
    assert run(disk, hash_command(WINDOW)).require().text != before


def test_write_that_vanished_is_found(disk: Path) -> None:
    """Where nothing was written, fio's check finds no header."""
    assert "bad magic header" in read_verify(run(disk, verify_command(WINDOW, pattern_of(7, 0))))


def test_disk_that_is_gone_is_no_file(disk: Path) -> None:
    """Where a node has vanished fio makes no file: it is our error, and nothing appears."""
    gone = disk.with_name("gone")

    with pytest.raises(BenchError, match="could not be written or read"):
        read_verify(run(gone, write_command(WINDOW, pattern_of(7, 0))))
    assert not gone.exists()


def test_io_error_is_the_boards() -> None:
    """An I/O error is no mismatch but a disk that fails."""
    said = b"fio: pid=7, err=5/file:io_u.c:1845, func=io_u error, error=Input/output error"

    with pytest.raises(BoardError, match="EIO"):
        read_verify(Result("host", "fio", 1, b"", said))


def test_patterns_differ_and_can_be_made_again() -> None:
    """Each visit of each run has a pattern of its own, which seed and number give again, within fio's 512 bytes."""
    patterns = {pattern_of(seed, number) for seed in range(3) for number in range(5)}

    assert len(patterns) == 15
    assert pattern_of(1, 2) in patterns
    assert all(len(pattern) <= 2 + 2 * 512 for pattern in patterns)


@pytest.mark.parametrize(
    ("disk_mib", "writes", "expected"),
    [
        (256, True, Window(32, 4)),
        (36, True, Window(32, 4)),
        (35, True, None),
        (256, False, Window(0, 4)),
        (3, False, None),
    ],
)
def test_window_spares_what_others_compare(disk_mib: int, writes: bool, expected: Window | None) -> None:  # noqa: FBT001 (a case)
    """What is written lies behind the marker and the part that other checks hash; a disk without room for it has no window."""
    assert place_window(disk_mib * MIB, "quick", kept_mib=32, writes=writes) == expected


def test_window_is_never_before_the_marker() -> None:
    """However little others compare, the first MiB is never written to."""
    found = place_window(1 << 30, "standard", kept_mib=0, writes=True)

    assert found == Window(1, 64)


def written(*digests: str, complaint_at: int = -1) -> list[Visit]:
    """Return visits in the order of writing; each digest is what a visit finds, and the next one what it leaves."""
    pairs = zip(digests, [*digests[1:], digests[-1]], strict=True)
    last = len(digests) - 1
    return [
        Visit(arm, found, left, "bad" if number == complaint_at else "", wrote=number < last)
        for number, (arm, (found, left)) in enumerate(zip(WRITING_ORDER, pairs, strict=True))
    ]


def read(*digests: str) -> list[Visit]:
    """Return visits that only read."""
    return [Visit(arm, digest, digest) for arm, digest in zip(READING_ORDER, digests, strict=True)]


SPOILT = written("a", "b", "c", "d", "e")
SPOILT[2] = Visit("usb-host", "x", "d", "", wrote=True)


@pytest.mark.parametrize(
    ("visits", "void"),
    [
        pytest.param(written("a", "b", "c", "d", "e"), (), id="written-well"),
        pytest.param(SPOILT, ("native", "usb-host"), id="found-otherwise"),
        pytest.param(written("a", "b", "c", "d", "e", complaint_at=4), ("native", "pci"), id="fio-complains"),
        pytest.param(written("a", "a", "a", "a", "a"), ("pci", "native", "usb-host"), id="nothing-arrives"),
        pytest.param(read("a", "a", "a"), (), id="read-well"),
        pytest.param(read("a", "a", "b"), ("pci",), id="pci-reads-otherwise"),
        pytest.param(read("a", "b", "a"), ("usb-host",), id="usb-reads-otherwise"),
    ],
)
def test_ways_that_disagree_are_void(visits: Sequence[Visit], void: tuple[str, ...]) -> None:
    """Of two ways that disagree neither counts, unless only the host's reading is there to compare with."""
    wrong = judge_visits(visits)

    assert void_arms(wrong) == void
    assert all(each.sentence for each in wrong)
