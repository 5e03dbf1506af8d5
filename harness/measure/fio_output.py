"""fio's output: the JSON documents of a run become a result.

Source of the JSON: fio 3.33, https://fio.readthedocs.io/en/latest/fio_doc.html.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from harness.core.errors import BenchError, BoardError
from harness.core.series import Sample
from harness.measure.course import find_cliff, find_stalls
from harness.measure.fio import PERCENTILES, SHORT_S

_MIB = 1024 * 1024
_GIB = 1024 * _MIB
_LEAST_SECOND_MS = 500
"""A shorter piece of a run says too little of its rate."""
_SECOND_MS = 950
"""fio's looks come a little early or late."""
_LATE_MS = 10
_TAIL_CHARACTERS = 2000
_WRONG = (errno.EPERM, errno.ENOENT, errno.EACCES, errno.EBUSY, errno.EINVAL, errno.EROFS)
_SHORT = (errno.ENOMEM, errno.ENOSYS, errno.ENOSPC)
_OURS = frozenset({*_WRONG, *_SHORT})
"""Errors of a wrong path, right or option; all others (EIO, ENODEV, EREMOTEIO, ETIMEDOUT ...) come from the disk."""


@dataclass(frozen=True)
class FioResult:
    """What one fio run gave, its ramp excluded. Latencies are those of completion; percents are of one CPU.

    ``rate_mib_s`` of reads is the slope of what was done over the looks at the run, ``total_bytes`` all that fio counts: at the
    ramp's end a queue is under way whose reads count in whole, and at the run's end another one is waited for. On a stick of
    10 MiB/s, which QEMU held to that, fio 3.33's own rate was 11 to 12 MiB/s with a queue of 8 reads of 1 MiB. Where a steady
    state was asked for and attained, it is the rate of its seconds alone; where it was not, the mean. Of writes it is fio's own:
    all that was written, until it was on the disk.
    """

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
    steady: bool | None = None  # None: not asked for
    resolution: float = 0.0  # half a read, of all that the rate was made of

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
            steady=self.steady,
            cliff_at=find_cliff(self.seconds_mib_s),
            stalls=find_stalls(self.seconds_mib_s),
            resolution=round(self.resolution, 6),
        )


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
        raise _job_error(job.error, _warnings(text) or tail, "write" if job.options.rw.endswith("write") else "read")
    if not job.moved.runtime or not job.moved.bw_bytes:
        did = "wrote" if job.moved is job.write else "read"
        raise BenchError(f"fio ended without an error but {did} nothing: its run time is too short for this disk", evidence=tail)
    # Up to a queue of reads is under way at either end of the measured time.
    if job.moved is job.read and _short_reads(job) > job.options.iodepth:
        raise BenchError("fio's reads came back short: its window reaches beyond the end of the disk", evidence=tail)
    return _result(job, report.version, tail, _looks([one.jobs[0] for one in earlier if one.jobs], job))


class _Options(msgspec.Struct):
    bs: int
    iodepth: int
    rw: str = "read"
    runtime: str = ""

    @property
    def runtime_ms(self) -> float:
        """Return for how long reads were begun: as it stands in ``fio_args``."""
        return int(self.runtime[:-2]) if re.fullmatch(r"\d{1,9}ms", self.runtime) else math.inf


class _Latency(msgspec.Struct):
    reads: int = msgspec.field(name="N", default=0)
    percentile: dict[str, float] = {}


class _Moved(msgspec.Struct):
    io_bytes: int
    bw_bytes: int
    runtime: int  # milliseconds
    clat_ns: _Latency = msgspec.field(default_factory=_Latency)


class _Steady(msgspec.Struct):
    attained: int
    duration: int  # seconds


class _Job(msgspec.Struct):
    error: int  # an errno
    read: _Moved
    usr_cpu: float
    sys_cpu: float
    options: _Options = msgspec.field(name="job options")
    steadystate: _Steady | None = None
    write: _Moved | None = None

    @property
    def moved(self) -> _Moved:
        """Return what it did: a job of ours reads or writes."""
        return self.write if self.write is not None and self.options.rw.endswith("write") else self.read


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


@dataclass(frozen=True)
class _Look:
    """What was done when fio looked: milliseconds since the ramp's end, and bytes."""

    at_ms: int
    done: int

    def rate_since(self, earlier: _Look) -> float:
        """Return the MiB/s since an earlier look."""
        return (self.done - earlier.done) / _MIB / (self.at_ms - earlier.at_ms) * 1000


def _looks(jobs: Sequence[_Job], last: _Job) -> list[_Look]:
    """Return what fio saw while it read. During the ramp it prints nothing or zeros; after the run's end the whole again (3.33).

    When the time is up it waits for the reads that are under way, and no longer counts each as it ends.
    """
    end_ms = min(last.moved.runtime - 1, last.options.runtime_ms + _LATE_MS)
    looks = [_Look(job.moved.runtime, job.moved.io_bytes) for job in jobs if 0 < job.moved.runtime <= end_ms]
    if last.moved is last.write:  # then it waits for the disk
        looks = [look for look in looks if look.done < last.moved.io_bytes]
    return [
        look
        for before, look in zip([_Look(0, 0), *looks], looks, strict=False)
        if look.at_ms > before.at_ms and look.done >= before.done
    ]


def _seconds(looks: Sequence[_Look]) -> tuple[float, ...]:
    """Return the rate of each second, whole or half at least."""
    rates, before = [], _Look(0, 0)
    for number, look in enumerate(looks, 1):
        if look.at_ms - before.at_ms >= (_SECOND_MS if number < len(looks) else _LEAST_SECOND_MS):
            rates.append(round(look.rate_since(before), 3))
            before = look
    return tuple(rates)


def _rate(job: _Job, looks: Sequence[_Look]) -> tuple[float, float]:
    """Return the rate by the looks, those of the steady state if there is one, and its resolution.

    Where the looks are too near to each other it is fio's own, and so it is of writes, which are counted to the last byte.
    """
    whole = job.moved.bw_bytes / _MIB
    if job.moved is job.write:
        return whole, 0.0
    steady = job.steadystate
    window_ms = steady.duration * 1000 if steady and steady.attained else job.moved.runtime
    seen = [look for look in looks if look.at_ms >= max(_first_ms(job), looks[-1].at_ms - window_ms - (1000 - _SECOND_MS))]
    if (
        len(seen) > 1
        and seen[-1].at_ms - seen[0].at_ms >= max(_LEAST_SECOND_MS, min(window_ms, job.moved.runtime) / 2)
        and seen[-1].done > seen[0].done
    ):
        resolution = job.options.bs / 2 / (seen[-1].done - seen[0].done)
        return (seen[-1].rate_since(seen[0]) if steady and not steady.attained else _slope(seen)), resolution
    return whole, job.options.bs * job.options.iodepth / 2 / job.moved.io_bytes  # it counts a queue too many


def _first_ms(job: _Job) -> int:
    """Return from when on looks count: in a long run the first second's see a queue's reads late (5 of 8, fio 3.33, USB)."""
    return _SECOND_MS if job.moved.runtime >= SHORT_S * 1000 else 0


def _slope(looks: Sequence[_Look]) -> float:
    """Return the MiB/s of the line through looks (least squares): whole reads matter less than at two ends alone."""
    at_s, done_mib = [look.at_ms / 1000 for look in looks], [look.done / _MIB for look in looks]
    return statistics.linear_regression(at_s, done_mib).slope


def _short_reads(job: _Job) -> float:
    """Return how many reads gave nothing: at the end of a file libaio reads 0 bytes, which fio 3.33 counts as done."""
    return job.moved.clat_ns.reads - job.moved.io_bytes / job.options.bs


def _warnings(text: str) -> str:
    """Return fio's own lines, which name the call that failed; the JSON holds the errno alone."""
    return "\n".join(line for line in text.splitlines() if line.startswith("fio: "))


def _job_error(number: int, evidence: str, verb: str) -> BenchError | BoardError:
    name = f"{errno.errorcode.get(number, 'error')} ({number}, {os.strerror(number)})"
    if number in _OURS:
        return BenchError(f"fio could not {verb} the disk: {name}", evidence=evidence)
    return BoardError(f"the disk failed while fio {'wrote' if verb == 'write' else 'read'} it: {name}", evidence=evidence)


def _result(job: _Job, version: str, tail: str, looks: Sequence[_Look]) -> FioResult:
    try:
        p50, p99, p999 = (job.moved.clat_ns.percentile[f"{float(p):.6f}"] / 1000 for p in PERCENTILES)
    except KeyError as error:
        raise BenchError(f"fio's output lacks the latency percentile {error}", evidence=tail) from error
    rate_mib_s, resolution = _rate(job, looks)
    return FioResult(
        rate_mib_s=rate_mib_s,
        runtime_s=job.moved.runtime / 1000,
        total_bytes=job.moved.io_bytes,
        latency_p50_us=p50,
        latency_p99_us=p99,
        latency_p999_us=p999,
        cpu_user_percent=job.usr_cpu,
        cpu_system_percent=job.sys_cpu,
        version=version,
        seconds_mib_s=_seconds(looks),
        steady=bool(job.steadystate.attained) if job.steadystate else None,
        resolution=resolution,
    )
