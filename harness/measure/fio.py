"""fio: a cell becomes an argv. Others run it, and ``fio_output`` reads what it prints.

Source of the options: fio 3.33, fio(1) and https://fio.readthedocs.io/en/latest/fio_doc.html.
"""

from __future__ import annotations

import shlex

from harness.core.errors import RefusedError
from harness.measure.design import Cell, Profile

ENGINE = "libaio"
"""The same in every arm. Not io_uring: hosts and containers switch it off (kernel.io_uring_disabled), and the arms must agree."""

PERCENTILES = ("50", "99", "99.9")
STEADY = "bw_slope:2%"
"""fio's criterion: the slope of the rates of the last seconds, a second, of their mean. Over five seconds that is the tenth that
SNIA's Performance Test Specification allows a steady state."""

REST = "sleep 1"
"""What a disk has before each write: it tidies up then."""

SHORT_S = 4.0
"""A shorter run is looked at four times a second: its rate is that between two looks."""


def fio_args(cell: Cell, device: str, profile: Profile, *, seed: int = 1) -> list[str]:
    """Return the argv, ``fio`` first, that measures ``cell`` on ``device`` (an absolute path) for the times of ``profile``.

    ``seed`` gives the random offsets: the same in all arms, so that all read the same blocks in the same order.
    Raises RefusedError for a cell that writes where the profile permits nothing, ValueError for a path that is not absolute.
    """
    if cell.writes and not (profile.write_offset_mib and profile.write_window_mib):
        raise RefusedError(f"{cell.name} on {device} was not started: nothing says where it may write")
    return [
        "fio",
        f"--name={cell.name.replace(' ', '-')}",  # first: what follows are this job's options, and come back in the output
        *safety_args(cell),
        *device_args(device),
        *window_args(cell, profile),
        *pattern_args(cell, seed),
        *(write_args(cell, profile) if cell.writes else time_args(profile)),
        *output_args(cell, profile),
    ]


def fio_command(cell: Cell, profile: Profile) -> str:
    """Return shell text that measures ``cell`` on the disk whose node is in ``$disk`` (which has no colon in it)."""
    stand_in = "/dev/disk"
    words = [shlex.quote(word) for word in fio_args(cell, stand_in, profile)]
    return " ".join('--filename="$disk"' if word == f"--filename={stand_in}" else word for word in words)


def safety_args(cell: Cell) -> list[str]:
    """Return what keeps fio from writing where it must not, and from making a file where a device node has vanished."""
    return [*([] if cell.writes else ["--readonly"]), "--allow_file_create=0"]


def device_args(device: str) -> list[str]:
    """Return the disk and how it is opened: past the page cache.

    fio takes a colon for a separator of names, and every USB disk in /dev/disk/by-id has one (``-0:0``): unescaped, fio would
    open something else (openshift/assisted-installer-agent, MGMT-11885).
    """
    if not device.startswith("/"):
        raise ValueError(f"{device!r} is not an absolute path of a disk")
    escaped = device.replace("\\", "\\\\").replace(":", "\\:")
    return [f"--filename={escaped}", "--direct=1", "--invalidate=1", f"--ioengine={ENGINE}"]


def window_args(cell: Cell, profile: Profile) -> list[str]:
    """Return the part of the disk that is read, or written."""
    if cell.writes:
        return [f"--offset={profile.write_offset_mib}M", f"--size={profile.write_window_mib}M"]
    return [f"--offset={profile.offset_mib}M", f"--size={profile.window_mib}M"]


def pattern_args(cell: Cell, seed: int) -> list[str]:
    """Return the access pattern."""
    return [
        f"--rw={cell.rw}",
        f"--bs={cell.block_bytes}",
        f"--iodepth={cell.iodepth}",
        f"--numjobs={cell.numjobs}",
        f"--randseed={seed}",
    ]


def time_args(profile: Profile) -> list[str]:
    """Return the times in milliseconds: fio reads a bare number as whole seconds. A steady state ends the run before its time."""
    times = ["--time_based", f"--runtime={profile.runtime_s * 1000:.0f}ms", f"--ramp_time={profile.ramp_s * 1000:.0f}ms"]
    steady = [f"--steadystate={STEADY}", f"--steadystate_duration={profile.steady_s}s"] if profile.steady_s else []
    return times + steady


def write_args(cell: Cell, profile: Profile) -> list[str]:
    """Return how much is written: so much, or for so long, whichever is less, since flash wears.

    It goes over the window once, and in the end all is on the disk: fio counts the flush (3.33), and there is one. So there is no
    ramp, whose writes would count for nothing. The content is new each time: disks compress, and know zeros.
    """
    return [
        f"--io_size={min(cell.volume_mib, profile.write_window_mib)}M",
        f"--runtime={profile.runtime_s * 1000:.0f}ms",
        "--end_fsync=1",
        "--refill_buffers",
    ]


def ramp_s(cell: Cell, profile: Profile) -> float:
    """Return how long fio runs before it measures."""
    return 0.0 if cell.writes else profile.ramp_s


def output_args(cell: Cell, profile: Profile) -> list[str]:
    """Return the form of the output: a JSON document now and then of what was done so far, all jobs of the cell as one."""
    return [
        "--group_reporting",
        f"--percentile_list={':'.join(PERCENTILES)}",
        "--eta=never",
        f"--status-interval={250 if cell.writes or profile.runtime_s < SHORT_S else 1000}ms",
        "--output-format=json",
    ]
