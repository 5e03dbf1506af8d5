"""What a run costs: CPU times of a host, of a process and of its main thread."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import astuple

import pytest

from harness.core.series import Sample
from harness.measure.cost import Meter, Usage, make_meter, parse_usage, with_cost
from harness.transport.local import LocalTransport

HEAD = "cpu  100 20 3000 999999 5 6 7 8 9 10\n"
STAT = "{0} (qemu) system (x) S 1 4242 4242 0 -1 4194560 100 0 0 0 {1} {2} 0 0 20 0 5 0 1000 1 1\n"


def test_usage_is_in_seconds() -> None:
    """Idle time and time that others stole are none of it, and a name with brackets moves no field."""
    found = parse_usage(HEAD + STAT.format(4242, 500, 50) + STAT.format(4242, 40, 2))

    assert astuple(found) == pytest.approx((31.33, 5.5, 0.42))


@pytest.mark.parametrize("text", ["", "cat: no such file", HEAD[:10]], ids=["empty", "foreign", "cut"])
def test_usage_that_nobody_tells_is_unknown(text: str) -> None:
    """What cannot be read is None, never 0."""
    assert parse_usage(text) == Usage(None, None, None)


def test_usage_without_qemu_is_the_hosts() -> None:
    """Without a process there is the host's time alone; and what is unknown at either end is unknown between."""
    alone = parse_usage(HEAD)

    assert alone.qemu_s is alone.main_s is None
    used = Usage(40.0, 3.0, 1.0).since(alone)
    assert used.host_s == pytest.approx(8.67)
    assert used.qemu_s is used.main_s is None


def test_cost_is_per_gib_of_run_and_ramp() -> None:
    """Two seconds of CPU for 512 MiB in a second and a ramp of as much again are two seconds per GiB."""
    sample = with_cost(Sample(0, 0, 512.0, 1.0), Usage(2.0, 1.0, None), 1.0)

    assert (sample.host_cpu_s_per_gib, sample.qemu_cpu_s_per_gib, sample.qemu_main_cpu_s_per_gib) == (2.0, 1.0, None)
    assert with_cost(Sample(0, 0, 0.0, 1.0), Usage(2.0, 1.0, 1.0), 1.0).host_cpu_s_per_gib is None


def test_meter_reads_a_process_that_works() -> None:
    """A process that counts to a number uses time of its own and of the host; both are read on this machine."""
    busy = "import sys\nprint('go', flush=True)\ninput()\nsum(range(20_000_000))\nprint('done', flush=True)\nsys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        meter = Meter(LocalTransport(), process.pid)
        before = meter.read()
        print(file=process.stdin, flush=True)
        process.stdout.readline()
        used = meter.read().since(before)

    assert used.host_s is not None
    assert used.qemu_s is not None
    assert used.main_s is not None
    assert 0 < used.main_s <= used.qemu_s
    assert used.host_s > 0


def test_meter_without_a_qemu_knows_the_host() -> None:
    """A folder that no QEMU runs in gives no process, and the host's time all the same."""
    meter = make_meter(LocalTransport(), f"/tmp/no-such-folder-{os.getpid()}")  # noqa: S108 (it is not made)

    assert meter.process == 0
    assert meter.read().host_s is not None
    assert meter.read().qemu_s is None
