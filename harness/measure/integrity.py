"""Integrity: what one way wrote, the next must read. Where nothing may be written, all ways must read the same.

fio writes blocks with a header and a CRC32C and checks them afterwards (fio 3.33, fio(1), "Verification"). The content is a
pattern of each visit's own, which no version's random numbers have a part in; that it is not an older visit's, the SHA-256 of the
whole window says.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from harness.core.errors import BenchError, BoardError
from harness.core.marker import FIRST_MIB
from harness.measure.design import NATIVE, PCI, USB_HOST
from harness.measure.fio import ENGINE
from harness.transport.protocol import Result

WRITING_ORDER = (PCI, NATIVE, USB_HOST, NATIVE, PCI)
"""Each way writes what another reads, there and back; the last only reads. Both orders end in the guest."""
READING_ORDER = (NATIVE, USB_HOST, PCI)

_MIB = 1 << 20
_WINDOW_MIB = {"smoke": 4, "quick": 4, "standard": 64}
_PATTERN_BYTES = 499  # at most 512; a prime, so that no two stretches of a block are alike
_OFFSET = re.compile(r" at file .*? offset (\d+)")
_ERRNO = re.compile(r"err=\s*(\d+)/")
_OURS = {errno.EPERM, errno.ENOENT, errno.EACCES, errno.EBUSY, errno.EINVAL, errno.ENOMEM, errno.ENOSYS}


@dataclass(frozen=True)
class Window:
    """The part of the disk that is read, or written and read."""

    offset_mib: int
    size_mib: int


@dataclass(frozen=True)
class Visit:
    """What one way found in the window and left there, as SHA-256; ``complaint`` is what fio's check said of what was found."""

    arm: str
    found: str
    left: str
    complaint: str = ""
    wrote: bool = False


@dataclass(frozen=True)
class Mismatch:
    """Data that are not what they must be: the ways of which one was wrong, and in words what was seen."""

    arms: tuple[str, ...]
    sentence: str


def place_window(disk_bytes: int, profile: str, *, kept_mib: int, writes: bool) -> Window | None:
    """Return the window on a disk, None if it is too small.

    What is written lies behind the marker and the ``kept_mib`` MiB whose content other checks compare.
    """
    offset_mib = max(FIRST_MIB, kept_mib) if writes else 0
    size_mib = _WINDOW_MIB[profile]
    return Window(offset_mib, size_mib) if (offset_mib + size_mib) * _MIB <= disk_bytes else None


def pattern_of(seed: int, number: int) -> str:
    """Return the pattern of a visit, as fio takes it: the run's seed and the visit's number give it again."""
    return "0x" + random.Random(f"{seed} {number}").randbytes(_PATTERN_BYTES).hex()  # noqa: S311 (must be repeatable)


def write_command(window: Window, pattern: str) -> str:
    """Return shell text that writes the window of ``$disk`` and has it reach the disk."""
    return _fio("write", window, pattern, "--do_verify=0", "--end_fsync=1", "--refill_buffers=0")


def verify_command(window: Window, pattern: str) -> str:
    """Return shell text that reads the window of ``$disk`` and checks every block; it ends at the first that is wrong."""
    return _fio("read", window, pattern, "--do_verify=1", "--verify_fatal=1", "--readonly")


def hash_command(window: Window) -> str:
    """Return shell text that prints the SHA-256 of the window of ``$disk``, read past the page cache."""
    return f'dd if="$disk" bs=1M skip={window.offset_mib} count={window.size_mib} iflag=direct status=none | sha256sum'


def read_verify(result: Result) -> str:
    """Return what fio's check complained of, empty where all was right; raise what else went wrong."""
    if result.status == 0:
        return ""
    text = f"{result.error_text}\n{result.text}"
    if offset := _OFFSET.search(text):
        line = text[text.rfind("\n", 0, offset.start()) + 1 :].partition("\n")[0]
        return f"first at byte {offset[1]}: {line.strip()}"
    number = next((int(each) for each in _ERRNO.findall(text)), 0)
    if number == errno.EILSEQ:
        return "fio's check failed, and does not say where"
    name = f"{errno.errorcode.get(number, 'status')} {os.strerror(number) if number else result.status}"
    kind = BenchError if number in _OURS or not number else BoardError
    raise kind(f"the disk could not be written or read on {result.host}: {name}", evidence=text.strip()[-2000:])


def judge_visits(visits: Sequence[Visit]) -> tuple[Mismatch, ...]:
    """Return what is wrong: found otherwise than it was left, or complained of. Where nobody wrote, the host's reading counts."""
    if not any(visit.wrote for visit in visits):
        return tuple(_judge_readings(visits))
    wrong = []
    for before, visit in itertools.pairwise(visits):
        if visit.complaint or visit.found != before.left:
            seen = visit.complaint or f"SHA-256 {visit.found[:16]}... instead of {before.left[:16]}..."
            wrong.append(Mismatch((before.arm, visit.arm), f"what {before.arm} wrote is not what {visit.arm} reads: {seen}"))
    silent = [visit for visit in visits if visit.wrote and visit.left == visit.found]
    wrong += [Mismatch((visit.arm,), f"what {visit.arm} wrote is not on the disk: it reads as before") for visit in silent]
    return tuple(wrong)


def void_arms(mismatches: Sequence[Mismatch]) -> tuple[str, ...]:
    """Return the ways whose figures do not count: nobody can tell which of two that disagree was right."""
    return tuple(dict.fromkeys(arm for mismatch in mismatches for arm in mismatch.arms))


def _judge_readings(visits: Sequence[Visit]) -> list[Mismatch]:
    right = next((visit.found for visit in visits if visit.arm == NATIVE), "")
    return [
        Mismatch((visit.arm,), f"{visit.arm} reads {visit.found[:16]}..., {NATIVE} reads {right[:16]}...")
        for visit in visits
        if right and visit.found != right
    ]


def _fio(rw: str, window: Window, pattern: str, *options: str) -> str:
    words = [
        "fio",
        "--name=integrity",
        f"--rw={rw}",
        *options,
        "--allow_file_create=0",  # or fio makes a file where a node has vanished
        "--verify=crc32c",
        f"--verify_pattern={pattern}",
        "--verify_state_save=0",  # or fio leaves a file in the folder where it runs
        "--bs=64k",
        "--iodepth=4",
        f"--ioengine={ENGINE}",
        "--direct=1",
        f"--offset={window.offset_mib}M",
        f"--size={window.size_mib}M",
        "--eta=never",
    ]
    return f'{shlex.join(words)} --filename="$disk"'
