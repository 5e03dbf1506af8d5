"""fio: a cell becomes an argv, and fio's output a result. Others run it.

Source of options and of the JSON: fio 3.33, fio(1) and https://fio.readthedocs.io/en/latest/fio_doc.html.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from harness.core.errors import BenchError, BoardError, RefusedError
from harness.core.series import Sample
from harness.measure.design import Cell, Profile

ENGINE = "libaio"
"""The same in every arm. Not io_uring: hosts and containers switch it off (kernel.io_uring_disabled), and the arms must agree."""

_MIB = 1024 * 1024
_GIB = 1024 * _MIB
_LEAST_SECOND_MS = 500
"""A shorter piece of a second at a run's end says too little of its rate."""
_TAIL_CHARACTERS = 2000
_PERCENTILES = ("50", "99", "99.9")
_OURS = frozenset({errno.EPERM, errno.ENOENT, errno.EACCES, errno.EBUSY, errno.EINVAL, errno.ENOMEM, errno.ENOSYS})
"""Errors of a wrong path, right or option; all others (EIO, ENODEV, EREMOTEIO, ETIMEDOUT ...) come from the disk."""


@dataclass(frozen=True)
class FioResult:
    """What one fio run gave, its ramp excluded. Latencies are those of completion; percents are of one CPU."""

    rate_mib_s: float
    runtime_s: float
    total_bytes: int
    latency_p50_us: float
    latency_p99_us: float
    latency_p999_us: float
    cpu_user_percent: float
    cpu_system_percent: float
    version: str  # "fio-3.33"
    seconds_mib_s: tuple[float, ...] = ()

    def sample(self, block: int, position: int, *, attach_s: float = 0.0, attachment: str = "") -> Sample:
        """Return the result as the sample of a series: which block, at which place in its order."""
        cpu_s = (self.cpu_user_percent + self.cpu_system_percent) / 100 * self.runtime_s
        return Sample(
            block,
            position,
            self.rate_mib_s,
            self.runtime_s,
            attach_s,
            attachment,
            self.latency_p50_us,
            self.latency_p99_us,
            self.latency_p999_us,
            fio_cpu_s_per_gib=cpu_s / (self.total_bytes / _GIB) if self.total_bytes else None,
            seconds_mib_s=self.seconds_mib_s,
        )


def fio_args(cell: Cell, device: str, profile: Profile, *, seed: int = 1) -> list[str]:
    """Return the argv, ``fio`` first, that measures ``cell`` on ``device`` (an absolute path) for the times of ``profile``.

    ``seed`` gives the random offsets: the same in all arms, so that all read the same blocks in the same order.
    Raises RefusedError for a cell that writes, ValueError for a path that is not absolute.
    """
    if cell.writes:
        raise RefusedError(f"{cell.name} on {device} was not started: throughpass only reads")
    return [
        "fio",
        f"--name={cell.name.replace(' ', '-')}",  # first: what follows are this job's options, and come back in the output
        *safety_args(),
        *device_args(device),
        *window_args(profile),
        *pattern_args(cell, seed),
        *time_args(profile),
        *output_args(),
    ]


def fio_command(cell: Cell, profile: Profile) -> str:
    """Return shell text that measures ``cell`` on the disk whose node is in ``$disk`` (which has no colon in it)."""
    stand_in = "/dev/disk"
    words = [shlex.quote(word) for word in fio_args(cell, stand_in, profile)]
    return " ".join('--filename="$disk"' if word == f"--filename={stand_in}" else word for word in words)


def safety_args() -> list[str]:
    """Return what keeps fio from writing, and from making a file where a device node has vanished."""
    return ["--readonly", "--allow_file_create=0"]


def device_args(device: str) -> list[str]:
    """Return the disk and how it is opened: past the page cache.

    fio takes a colon for a separator of names, and every USB disk in /dev/disk/by-id has one (``-0:0``): unescaped, fio would
    open something else (openshift/assisted-installer-agent, MGMT-11885).
    """
    if not device.startswith("/"):
        raise ValueError(f"{device!r} is not an absolute path of a disk")
    escaped = device.replace("\\", "\\\\").replace(":", "\\:")
    return [f"--filename={escaped}", "--direct=1", "--invalidate=1", f"--ioengine={ENGINE}"]


def window_args(profile: Profile) -> list[str]:
    """Return the part of the disk that is read."""
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
    """Return the times in milliseconds: fio reads a bare number as whole seconds."""
    return ["--time_based", f"--runtime={profile.runtime_s * 1000:.0f}ms", f"--ramp_time={profile.ramp_s * 1000:.0f}ms"]


def output_args() -> list[str]:
    """Return the form of the output: a JSON document a second of what was done so far, all jobs of the cell as one."""
    return [
        "--group_reporting",
        f"--percentile_list={':'.join(_PERCENTILES)}",
        "--eta=never",
        "--status-interval=1",
        "--output-format=json",
    ]


def parse_fio(data: bytes) -> FioResult:
    """Read the output (stdout, with or without stderr) of a run of ``fio_args``; lines around the JSON are warnings.

    Raises BoardError where the disk gave an I/O error, BenchError where fio could not start (a wrong path, no right), gave no
    readable JSON, or measured nothing or less than it seems; the end of the output is the evidence.
    """
    text = data.decode("utf-8", "replace")
    tail = text[-_TAIL_CHARACTERS:].strip()
    *earlier, report = _read_reports(text, tail)
    if len(report.jobs) != 1:
        raise BenchError(f"fio reported {len(report.jobs)} jobs where one was asked for", evidence=tail)
    job = report.jobs[0]
    if job.error:
        raise _job_error(job.error, _warnings(text) or tail)
    if not job.read.runtime or not job.read.bw_bytes:
        raise BenchError("fio ended without an error but read nothing: its run time is too short for this disk", evidence=tail)
    if _short_reads(job) > job.options.iodepth:  # up to a queue of reads is under way at either end of the measured time
        raise BenchError("fio's reads came back short: its window reaches beyond the end of the disk", evidence=tail)
    return _result(job, report.version, tail, _seconds([*(one.jobs[0] for one in earlier if one.jobs), job]))


class _Options(msgspec.Struct):
    bs: int
    iodepth: int


class _Latency(msgspec.Struct):
    reads: int = msgspec.field(name="N", default=0)
    percentile: dict[str, float] = {}


class _Read(msgspec.Struct):
    io_bytes: int
    bw_bytes: int
    runtime: int  # milliseconds
    clat_ns: _Latency


class _Job(msgspec.Struct):
    error: int  # an errno
    read: _Read
    usr_cpu: float
    sys_cpu: float
    options: _Options = msgspec.field(name="job options")


class _Report(msgspec.Struct):
    version: str = msgspec.field(name="fio version")
    jobs: list[_Job]


def _read_reports(text: str, tail: str) -> list[_Report]:
    """Return the documents in their order: the last one is the whole run."""
    reports: list[_Report] = []
    end = 0
    try:
        while start := re.compile(r"^\{", re.MULTILINE).search(text, end):
            document, end = json.JSONDecoder().raw_decode(text, start.start())
            reports.append(msgspec.convert(document, _Report, strict=False))  # options come back as strings
    except (json.JSONDecodeError, RecursionError, msgspec.ValidationError) as error:
        raise BenchError(f"fio's output is not the JSON of a run: {error}", evidence=tail) from error
    if not reports:
        raise BenchError("fio's output is not the JSON of a run: there is none in it", evidence=tail)
    return reports


def _seconds(jobs: Sequence[_Job]) -> tuple[float, ...]:
    """Return the rate of each second, whole or half at least; during the ramp fio prints none (seen in 3.33)."""
    counts = [(job.read.runtime, job.read.io_bytes) for job in jobs]
    steps = zip([(0, 0), *counts], counts, strict=False)
    return tuple(
        round((after[1] - before[1]) / _MIB / (after[0] - before[0]) * 1000, 3)
        for before, after in steps
        if after[0] - before[0] >= _LEAST_SECOND_MS
    )


def _short_reads(job: _Job) -> float:
    """Return how many reads gave nothing: at the end of a file libaio reads 0 bytes, which fio 3.33 counts as done."""
    return job.read.clat_ns.reads - job.read.io_bytes / job.options.bs


def _warnings(text: str) -> str:
    """Return fio's own lines, which name the call that failed; the JSON holds the errno alone."""
    return "\n".join(line for line in text.splitlines() if line.startswith("fio: "))


def _job_error(number: int, evidence: str) -> BenchError | BoardError:
    name = f"{errno.errorcode.get(number, 'error')} ({number}, {os.strerror(number)})"
    if number in _OURS:
        return BenchError(f"fio could not read the disk: {name}", evidence=evidence)
    return BoardError(f"the disk failed while fio read it: {name}", evidence=evidence)


def _result(job: _Job, version: str, tail: str, seconds: tuple[float, ...]) -> FioResult:
    try:
        p50, p99, p999 = (job.read.clat_ns.percentile[f"{float(p):.6f}"] / 1000 for p in _PERCENTILES)
    except KeyError as error:
        raise BenchError(f"fio's output lacks the latency percentile {error}", evidence=tail) from error
    return FioResult(
        rate_mib_s=job.read.bw_bytes / _MIB,
        runtime_s=job.read.runtime / 1000,
        total_bytes=job.read.io_bytes,
        latency_p50_us=p50,
        latency_p99_us=p99,
        latency_p999_us=p999,
        cpu_user_percent=job.usr_cpu,
        cpu_system_percent=job.sys_cpu,
        version=version,
        seconds_mib_s=seconds,
    )
