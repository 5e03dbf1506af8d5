"""Tests of fio's argv and of the reading of its output."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import BenchError, BoardError, RefusedError
from harness.measure.design import PRIMARY_CELL, PROFILES, READ_CELLS, WRITE_CELLS, Cell
from harness.measure.fio import fio_args
from harness.measure.fio_output import FioResult, parse_fio

QUICK = PROFILES["quick"]
STICK = "/dev/disk/by-id/usb-QEMU_QEMU_HARDDISK_TP0001-0:0"


def output(
    *,
    error: int = 0,
    bw_bytes: float = 40 * 1024 * 1024,
    runtime: int = 2003,
    reads: int = 80,
    io_mib: int = 80,
    jobs: int = 1,
    percentiles: bool = True,
) -> dict[str, Any]:
    """Return the part of a fio 3.33 document that matters, as a run of ``fio_args`` prints it."""
    figures = {"50.000000": 4882432, "99.000000": 6586368, "99.900000": 7569408}
    job = {
        "jobname": "SEQ1M-Q8T1-read",
        "groupid": 0,
        "error": error,
        "job options": {"name": "SEQ1M-Q8T1-read", "rw": "read", "bs": "1048576", "iodepth": "8", "direct": "1"},
        "read": {
            "io_bytes": io_mib * 1024 * 1024,
            "bw_bytes": bw_bytes,
            "bw": 40960,
            "runtime": runtime,
            "total_ios": reads,
            "clat_ns": {"min": 4387318, "max": 7565201, "N": reads, **({"percentile": figures} if percentiles else {})},
        },
        "write": {"io_bytes": 0, "bw_bytes": 0, "runtime": 0},
        "usr_cpu": 0.5,
        "sys_cpu": 8.366534,
    }
    return {"fio version": "fio-3.33", "timestamp": 1795345303, "jobs": [job] * jobs, "disk_util": []}


def encoded(**changes: Any) -> bytes:
    """Return ``output`` as fio prints it."""
    return json.dumps(output(**changes), indent=2).encode()


def test_args_name_every_choice() -> None:
    """The argv of the primary cell is the one that the specification asks for."""
    assert fio_args(PRIMARY_CELL, "/dev/sdb", QUICK) == [
        "fio",
        "--name=SEQ1M-Q8T1-read",
        "--readonly",
        "--allow_file_create=0",
        "--filename=/dev/sdb",
        "--direct=1",
        "--invalidate=1",
        "--ioengine=libaio",
        "--offset=0M",
        "--size=128M",
        "--rw=read",
        "--bs=1048576",
        "--iodepth=8",
        "--numjobs=1",
        "--randseed=1",
        "--time_based",
        "--runtime=3000ms",
        "--ramp_time=500ms",
        "--group_reporting",
        "--percentile_list=50:99:99.9",
        "--eta=never",
        "--status-interval=250ms",
        "--output-format=json",
    ]


@pytest.mark.parametrize("cell", READ_CELLS, ids=lambda cell: cell.name.replace(" ", "-"))
def test_args_are_read_only_in_every_cell(cell: Cell) -> None:
    """Every cell that reads forbids fio to write or to make a file."""
    assert {"--readonly", "--allow_file_create=0", f"--rw={cell.rw}"} <= set(fio_args(cell, STICK, QUICK))


@pytest.mark.parametrize("cell", WRITE_CELLS, ids=lambda cell: cell.name.replace(" ", "-"))
def test_args_refuse_a_cell_that_writes(cell: Cell) -> None:
    """There is no argv for a cell that writes where nothing says where it may."""
    with pytest.raises(RefusedError, match="nothing says where it may write"):
        fio_args(cell, STICK, QUICK)


@pytest.mark.parametrize("cell", WRITE_CELLS, ids=lambda cell: cell.name.replace(" ", "-"))
def test_args_of_a_write_have_their_bounds(cell: Cell) -> None:
    """A cell that writes has its own window, a volume and a time that it ends at, new content, and all of it reaches the disk."""
    args = fio_args(cell, STICK, replace(QUICK, write_offset_mib=32, write_window_mib=600))

    assert {"--offset=32M", "--size=600M", f"--io_size={cell.volume_mib}M", "--end_fsync=1", "--refill_buffers"} <= set(args)
    assert {"--runtime=3000ms", "--allow_file_create=0", f"--rw={cell.rw}", "--direct=1"} <= set(args)
    assert not {"--readonly", "--time_based"} & set(args)
    assert not [each for each in args if each.startswith(("--ramp_time", "--startdelay"))], (
        "the guard looks just before it begins"
    )
    assert 0 < cell.volume_mib <= 512


def test_args_escape_the_colon_of_a_usb_disk() -> None:
    """The colon in a by-id name is escaped: fio would take it for a separator of names."""
    assert rf"--filename={STICK[:-2]}\:0" in fio_args(PRIMARY_CELL, STICK, QUICK)


def test_args_refuse_a_relative_path() -> None:
    """A disk is an absolute path, never ``-`` or ``sdb``."""
    with pytest.raises(ValueError, match="'sdb' is not an absolute path"):
        fio_args(PRIMARY_CELL, "sdb", QUICK)


def test_args_follow_the_profile() -> None:
    """Times and window are those of the profile, times in milliseconds."""
    args = fio_args(PRIMARY_CELL, "/dev/sdb", replace(QUICK, runtime_s=0.25, ramp_s=0, offset_mib=16, window_mib=64), seed=7)
    assert {"--runtime=250ms", "--ramp_time=0ms", "--offset=16M", "--size=64M", "--randseed=7"} <= set(args)


def test_parse_gives_units_of_the_names() -> None:
    """Rate is in MiB/s, run time in seconds, latency in microseconds."""
    assert parse_fio(encoded()) == FioResult(
        rate_mib_s=40.0,
        runtime_s=2.003,
        total_bytes=83886080,
        latency_p50_us=4882.432,
        latency_p99_us=6586.368,
        latency_p999_us=7569.408,
        cpu_user_percent=0.5,
        cpu_system_percent=8.366534,
        version="fio-3.33",
        resolution=8 / 2 / 80,
    )


def test_parse_ignores_warnings_around_the_json() -> None:
    """Lines before and after the document do not disturb it, braces in them included."""
    noisy = b"fio: cache invalidation of {t} failed: Bad file descriptor\n" + encoded() + b"\nfio: bye {\n"
    assert parse_fio(noisy) == parse_fio(encoded())


def test_parse_blames_the_disk_for_an_io_error() -> None:
    """EIO is the board's failure, and fio's own line is the evidence."""
    line = "fio: pid=20091, err=5/file:backend.c:471, func=full resid, error=Input/output error"
    with pytest.raises(BoardError, match=r"disk failed.*EIO \(5, Input/output error\)") as caught:
        parse_fio(line.encode() + b"\n" + encoded(error=errno.EIO, bw_bytes=0, runtime=0))
    assert caught.value.evidence == line


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EINVAL], ids=errno.errorcode.get)
def test_parse_blames_the_bench_for_what_the_disk_never_saw(number: int) -> None:
    """A wrong path, a missing right or a bad option is not the board's fault."""
    with pytest.raises(BenchError, match=errno.errorcode[number]):
        parse_fio(encoded(error=number))


def test_parse_names_an_unknown_error_by_its_number() -> None:
    """An errno without a name is still an I/O error with its number."""
    with pytest.raises(BoardError, match=r"error \(9999"):
        parse_fio(encoded(error=9999))


@pytest.mark.parametrize("changes", [{"runtime": 0}, {"bw_bytes": 0}], ids=["no-runtime", "no-bytes"])
def test_parse_refuses_a_run_without_a_rate(changes: dict[str, int]) -> None:
    """A run that ended well but read nothing has no rate of zero: it is an error."""
    with pytest.raises(BenchError, match="read nothing"):
        parse_fio(encoded(**changes))


def test_parse_refuses_reads_that_came_back_short() -> None:
    """More reads than their bytes account for, beyond what was under way at the ends, are not a rate."""
    assert parse_fio(encoded(reads=88)).rate_mib_s == 40.0
    with pytest.raises(BenchError, match="came back short"):
        parse_fio(encoded(reads=89))


@pytest.mark.parametrize("jobs", [0, 2])
def test_parse_refuses_any_number_of_jobs_but_one(jobs: int) -> None:
    """All jobs of a cell are reported as one; anything else was not our argv."""
    with pytest.raises(BenchError, match=f"reported {jobs} jobs"):
        parse_fio(encoded(jobs=jobs))


def test_parse_refuses_missing_percentiles() -> None:
    """A document without the percentiles that were asked for is an error that names the first of them."""
    with pytest.raises(BenchError, match=r"lacks the latency percentile '50\.000000'"):
        parse_fio(encoded(percentiles=False))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"sh: fio: not found\n",
        b"{",
        b"{}",
        b"[]",
        b"\xff\xfe{",
        encoded()[:-40],
        b'{"fio version": "x", "jobs": 3}',
        b"{" * 9,
    ],
    ids=["empty", "no-fio", "brace", "no-jobs", "list", "binary", "cut-off", "wrong-type", "deep"],
)
def test_parse_shows_the_end_of_what_it_cannot_read(data: bytes) -> None:
    """Output without a document is the bench's error with the output's end as evidence."""
    with pytest.raises(BenchError, match="not the JSON of a run") as caught:
        parse_fio(data)
    assert caught.value.evidence == data.decode("utf-8", "replace").strip()[-2000:].strip()


@given(st.binary())
def test_parse_survives_any_bytes(data: bytes) -> None:
    """Whatever comes instead of fio's output is a BenchError, never another exception."""
    with pytest.raises(BenchError):
        parse_fio(b"{" + data)


def test_sample_carries_rate_and_place() -> None:
    """A result becomes the sample of its block, with the times that a report needs, latencies, and fio's CPU time."""
    sample = parse_fio(encoded()).sample(3, 1, attach_s=4.5, attachment="fio/pci-3.json")
    assert (sample.block, sample.position, sample.rate_mib_s, sample.runtime_s, sample.attach_s) == (3, 1, 40.0, 2.003, 4.5)
    assert sample.attachment == "fio/pci-3.json"
    assert (sample.latency_p50_us, sample.latency_p99_us, sample.latency_p999_us) == (4882.432, 6586.368, 7569.408)
    assert sample.fio_cpu_s_per_gib == pytest.approx(0.08866534 * 2.003 / (80 / 1024))
    assert sample.host_cpu_s_per_gib is None


def documents(*looks: tuple[int, int], **changes: Any) -> bytes:
    """Return what fio prints that looked at its run at these milliseconds and MiB; the last look is the end of the run."""
    made = [output(runtime=ms, io_mib=mib, reads=mib, bw_bytes=mib * 2**20 * 1000 // max(ms, 1)) for ms, mib in looks]
    for each in made:
        each["jobs"][0] |= changes
    return b"\n".join(json.dumps(each, indent=2).encode() for each in made)


def test_parse_reads_a_document_for_each_second() -> None:
    """The last document is the run; those before it give the rate of each second, a short piece at the end none."""
    found = parse_fio(documents((1001, 40), (2001, 50), (2100, 54), (2200, 62)))
    assert (found.runtime_s, found.total_bytes >> 20) == (2.2, 62)
    assert found.seconds_mib_s == pytest.approx((39.96, 10.0))


def test_parse_reads_what_was_written() -> None:
    """Of a run that wrote, rate, latencies and looks are those of its writes."""
    document = output()
    job = document["jobs"][0]
    job["job options"] |= {"rw": "write"}
    job["write"], job["read"] = job["read"], {"io_bytes": 0, "bw_bytes": 0, "runtime": 0, "clat_ns": {}}

    found = parse_fio(json.dumps(document, indent=2).encode())

    assert (found.rate_mib_s, found.latency_p50_us) == (40.0, 4882.432)
    job["write"] = job["read"]
    with pytest.raises(BenchError, match="wrote nothing"):
        parse_fio(json.dumps(document, indent=2).encode())


def test_rate_leaves_the_queue_at_both_ends_out() -> None:
    """What fio 3.33 printed of a stick of 10 MiB/s with a queue of 8 is read as 10 MiB/s, though fio's own rate is 11.1."""
    printed = ((1002, 11), (2002, 21), (3002, 31), (4002, 41), (5002, 51), (5302, 59))
    short = ((0, 0), (261, 1), (511, 4), (855, 7), (1104, 10), (1464, 13), (1701, 21), (1701, 21))

    assert parse_fio(documents(*printed)).rate_mib_s == pytest.approx(10.0)
    assert parse_fio(documents(*short)).rate_mib_s == pytest.approx(10.0, rel=0.01)
    waiting = ((257, 1), (506, 4), (860, 7), (1109, 10), (1458, 13), (1759, 15), (1811, 22))
    asked = {"name": "SEQ1M-Q8T1-read", "bs": "1048576", "iodepth": "8", "runtime": "1500ms"}
    assert parse_fio(documents(*waiting, **{"job options": asked})).rate_mib_s == pytest.approx(10.0, rel=0.01)
    assert parse_fio(documents(*short)).seconds_mib_s == pytest.approx((10 / 1.104,), abs=0.01)


def test_rate_leaves_the_first_second_of_a_long_run_out() -> None:
    """What fio 3.33 printed first of a stick of 10 MiB/s in USB is 5 reads late, and would make a steady state too fast."""
    printed = ((847, 4), (1013, 11), (2020, 21), (3027, 31), (4034, 41), (5041, 51), (5307, 57))
    found = parse_fio(documents(*printed, steadystate={"attained": 1, "duration": 5}))

    assert found.rate_mib_s == pytest.approx(9.93, abs=0.01)
    assert found.resolution == pytest.approx(1 / 80)


def test_resolution_is_half_a_read() -> None:
    """Looks count whole reads: a rate of 40 is known within an 80th; fio's own counts a queue, and is known so much worse."""
    looks = ((1002, 11), (2002, 21), (3002, 31), (4002, 41), (5002, 51), (5302, 59))

    assert parse_fio(documents(*looks)).resolution == pytest.approx(1 / 80)
    assert parse_fio(documents(*looks)).sample(0, 0).resolution == pytest.approx(1 / 80)
    assert parse_fio(documents((1700, 10), (2000, 20))).resolution == pytest.approx(8 / 40)


def test_rate_of_a_run_that_was_hardly_looked_at_is_fios() -> None:
    """Where two looks are too near to each other, or nothing came between them, fio's own rate is the best there is."""
    assert parse_fio(documents((1700, 10), (2000, 20))).rate_mib_s == 10.0
    assert parse_fio(documents((100, 4), (200, 5), (2000, 20))).rate_mib_s == 10.0
    assert parse_fio(documents((100, 20), (1900, 20), (2000, 20))).rate_mib_s == 10.0


def test_rate_of_a_steady_state_is_that_of_its_seconds() -> None:
    """A run that began fast and became steady has the rate of its last seconds, and the fall as its cliff; else that of all."""
    looks = ((1000, 40), (2000, 80), (3000, 90), (4000, 100), (5000, 110), (6000, 120), (7000, 130), (7300, 138))
    steady = parse_fio(documents(*looks, steadystate={"attained": 1, "duration": 4}))
    unsteady = parse_fio(documents(*looks, steadystate={"attained": 0, "duration": 4}))

    assert [steady.rate_mib_s, unsteady.rate_mib_s] == pytest.approx([10.0, 15.0])
    assert [steady.steady, unsteady.steady] == [True, False]
    assert parse_fio(documents(*looks)).steady is None
    assert steady.sample(0, 0).cliff_at == 2
    assert steady.sample(0, 0).stalls == ()


def run_fio(args: list[str]) -> bytes:
    """Run fio, skipping the test where there is none; return all that it printed."""
    if shutil.which("fio") is None:
        pytest.skip("fio is not installed here")
    ended = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
    return ended.stdout


def without_direct(args: list[str], path: Path) -> list[str]:
    """Return the argv, page cache allowed where the file system has no direct I/O (tmpfs of older kernels)."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        return [arg.replace("--direct=1", "--direct=0") for arg in args]
    return args


@pytest.mark.parametrize("cell", [READ_CELLS[0], READ_CELLS[2]], ids=["sequential", "random"])
def test_real_fio_reads_a_file_with_a_colon(cell: Cell, tmp_path: Path) -> None:
    """The argv makes the real fio read a file named like a USB disk, for the time asked, and the output is understood."""
    stick = tmp_path / "usb-QEMU-0:0"
    stick.write_bytes(bytes(16 * 1024 * 1024))
    short = replace(QUICK, runtime_s=0.3, ramp_s=0.1, offset_mib=8, window_mib=8)
    result = parse_fio(run_fio(without_direct(fio_args(cell, str(stick), short), stick)))
    assert result.rate_mib_s == pytest.approx(result.total_bytes / 2**20 / result.runtime_s, rel=0.05)
    assert 0.25 < result.runtime_s < 5
    assert 0 < result.latency_p50_us <= result.latency_p99_us <= result.latency_p999_us
    assert stick.read_bytes() == bytes(16 * 1024 * 1024)


@pytest.mark.parametrize("cell", [WRITE_CELLS[0], WRITE_CELLS[2]], ids=["sequential", "random"])
def test_real_fio_writes_its_window_alone(cell: Cell, tmp_path: Path) -> None:
    """The argv of a write makes the real fio write inside of its window and nowhere else, and the output is understood."""
    stick = tmp_path / "stick"
    stick.write_bytes(bytes(32 * 1024 * 1024))
    short = replace(QUICK, runtime_s=0.5, ramp_s=0.1, write_offset_mib=8, write_window_mib=16)
    result = parse_fio(run_fio(without_direct(fio_args(cell, str(stick), short), stick)))
    content = stick.read_bytes()

    assert result.rate_mib_s > 0
    assert result.total_bytes <= cell.volume_mib << 20
    assert not any(content[: 8 << 20])
    assert not any(content[24 << 20 :])
    assert any(content[8 << 20 : 24 << 20])


def test_real_fio_makes_no_file_where_the_disk_is_gone(tmp_path: Path) -> None:
    """A device node that has vanished is reported, and no file takes its place."""
    with pytest.raises(BenchError, match="ENOENT") as caught:
        parse_fio(run_fio(fio_args(PRIMARY_CELL, str(tmp_path / "gone"), QUICK)))
    assert "func=open" in caught.value.evidence
    assert list(tmp_path.iterdir()) == []


def test_real_fio_beyond_the_end_is_not_a_rate(tmp_path: Path) -> None:
    """A window that reaches beyond the end of a file is an error, although fio itself sees none."""
    stick = tmp_path / "stick"
    stick.write_bytes(bytes(1024 * 1024))
    args = fio_args(PRIMARY_CELL, str(stick), replace(QUICK, window_mib=16, runtime_s=0.2, ramp_s=0))
    with pytest.raises((BenchError, BoardError), match=r"came back short|EIO"):  # EIO where the engine is synchronous underneath
        parse_fio(run_fio(without_direct(args, stick)))
