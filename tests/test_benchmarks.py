"""The benchmarks' pure parts: order, medians, ratios, the form of the JSON, and what is left when a run ends early. No timing."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import guest_boot, kernels, loopback, paired, surroundings, survey, survey_peers, virtme
from benchmarks.paired import Comparison, Run, Side, Took
from harness.bench.images import Image
from harness.core.errors import BenchError, UsageError
from tests.openssh import NEEDS_SSH, NEEDS_SSHD

MODULES_DEP = """\
kernel/fs/netfs/netfs.ko.xz:
kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
kernel/net/9p/9pnet.ko.xz:
kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz
kernel/drivers/ata/ahci.ko.xz: kernel/drivers/ata/libahci.ko.xz
"""
BUILD = "#1 SMP PREEMPT_DYNAMIC Debian 6.12.117-1 (2026-11-12)"


def runs_of(**sides: list[float]) -> list[Run]:
    """Return runs with these seconds, from the warm-up on."""
    return [Run(number, side, Took(total_s)) for side, values in sides.items() for number, total_s in enumerate(values)]


def comparison_of(**sides: Side) -> Comparison:
    """Return a comparison of these sides."""
    return Comparison("The one is faster.", sides, "tcg", {"qemu": "7.2.22"}, {"image": "debian13"})


def run(comparison: Comparison, *words: str) -> int:
    """Run a comparison as a script with these options."""
    return paired.run(contextlib.nullcontext(comparison), paired.make_parser("benchmarks.some", "text").parse_args(words))


def interrupted_after(count: int) -> Side:
    """Return a side that takes 2 s ``count`` times, and then Ctrl-C comes."""
    left = iter(range(count))

    def side() -> float:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return 2.0

    return side


def failing() -> float:
    """Fail as a side does."""
    raise BenchError("vng ended with status 255", evidence="no busybox")


def test_benchmarks_every_round_goes_the_other_way() -> None:
    """The sides run A B B A A B, after a warm-up that goes the other way than the first round."""
    assert [side for _, side in paired.turns(["a", "b"], 3)] == ["b", "a", "a", "b", "b", "a", "a", "b"]
    assert [number for number, _ in paired.turns(["a", "b", "c"], 1)] == [0, 0, 0, 1, 1, 1]


def test_benchmarks_ratios_are_of_one_round() -> None:
    """A ratio is made of two runs of the same round; the warm-up and a round that is not whole have none."""
    runs = runs_of(ours=[50.0, 1.0, 2.0, 3.0], vng=[1.0, 4.0, 4.0])

    assert paired.pair_ratios(runs, "ours", "vng") == [0.25, 0.5]


@pytest.mark.parametrize(
    ("count", "low", "high", "percent"),
    [
        pytest.param(1, 1, 1, 0.0, id="one"),
        pytest.param(5, 1, 5, 93.8, id="five-have-no-95"),
        pytest.param(6, 1, 6, 96.9, id="six"),
        pytest.param(9, 2, 8, 96.1, id="nine"),
        pytest.param(20, 6, 15, 95.9, id="twenty"),
    ],
)
def test_benchmarks_interval_is_of_order_statistics(count: int, low: int, high: int, percent: float) -> None:
    """The median's interval is the one of the printed tables of the sign test."""
    found = paired.spread([float(value) for value in range(count, 0, -1)])

    assert (found.median, found.low, found.high) == ((count + 1) / 2, low, high)
    assert round(100 * found.confidence, 1) == percent


def test_benchmarks_json_holds_what_was_measured() -> None:
    """The JSON has the raw values in their order, the medians, the ratios and the versions."""
    sides: dict[str, Side] = {"ours": lambda: Took(1.0, {"boot": 0.5}), "vng": lambda: 4.0}
    comparison = comparison_of(**sides)
    runs = list(paired.measure(comparison.sides, 2, lambda _: None))

    found = json.loads(json.dumps(paired.document(comparison, 2, runs)))

    assert found["schema"] == 1
    assert [(each["round"], each["side"], each["total_s"]) for each in found["order"]] == [
        (0, "vng", 4.0),
        (0, "ours", 1.0),
        (1, "ours", 1.0),
        (1, "vng", 4.0),
        (2, "vng", 4.0),
        (2, "ours", 1.0),
    ]
    assert found["order"][1]["parts_s"] == {"boot": 0.5}
    assert found["sides"]["ours"] == {"seconds": [1.0, 1.0], "median_s": 1.0, "parts_median_s": {"boot": 0.5}}
    assert found["ratios"] == {"vng": {"pairs": [0.25, 0.25], "median": 0.25, "low": 0.25, "high": 0.25, "confidence": 0.5}}
    assert found["versions"] == {"qemu": "7.2.22"}
    assert found["details"] == {"image": "debian13"}


def test_benchmarks_run_writes_machine_and_date(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run prints medians and ratio on standard output, progress on standard error, and writes its surroundings."""
    file = tmp_path / "boot.json"
    sides: dict[str, Side] = {"ours": lambda: 1.0, "vng": lambda: 4.0}

    assert run(comparison_of(**sides), "--rounds", "2", "--json", str(file)) == 0

    written: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    assert set(written["machine"]) == {"cpu", "cores", "kernel", "accelerator", "load_before"}
    assert written["date"].endswith("+00:00")
    assert written["ended_early"] == ""
    said = capsys.readouterr()
    assert "ours / vng: 0.250 (0.250 to 0.250, 50% sure, rounds: 2)" in said.out
    assert "round 1 of 2: vng 4.00 s" in said.err


def test_benchmarks_interrupted_run_keeps_what_it_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C in the third round leaves two rounds, printed and written, and status 130."""
    file = tmp_path / "boot.json"
    sides: dict[str, Side] = {"ours": lambda: 1.0, "vng": interrupted_after(3)}

    assert run(comparison_of(**sides), "--rounds", "9", "--json", str(file)) == 130

    written: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    assert (written["ended_early"], written["rounds_asked"]) == ("KeyboardInterrupt", 9)
    assert written["ratios"]["vng"]["pairs"] == [0.5, 0.5]
    assert "ours / vng: 0.500" in capsys.readouterr().out


def test_benchmarks_failing_side_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A side that fails is no time: the run ends with one sentence, its evidence below, and status 1."""
    file = tmp_path / "boot.json"
    sides: dict[str, Side] = {"ours": lambda: 1.0, "vng": failing}

    assert run(comparison_of(**sides), "--json", str(file)) == 1

    assert capsys.readouterr().err.splitlines() == ["vng failed in the warm-up: vng ended with status 255", "    no busybox"]
    written: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    assert written["ended_early"] == "vng failed in the warm-up: vng ended with status 255"
    assert written["ratios"] == {"vng": {"pairs": []}}


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_benchmarks_refuse_impossible_seconds(seconds: float) -> None:
    """Seconds that no ratio can be made of end the run."""
    with pytest.raises(BenchError, match="no ratio"):
        list(paired.measure({"ours": lambda: seconds}, 1, lambda _: None))


@pytest.mark.parametrize("words", [["--rounds", "0"], ["--rounds", "x"], ["--round", "3"], ["--fast"]])
def test_benchmarks_bad_option_is_one_sentence(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A bad option ends with status 2 and one line that names it."""
    with pytest.raises(SystemExit) as ended:
        paired.make_parser("benchmarks.some", "text").parse_args(words)

    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words[0] in line


@pytest.mark.parametrize("place", ["missing/boot.json", "."])
def test_benchmarks_unwritable_json_is_refused_first(tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that could not be written is said before anything is measured."""
    assert run(comparison_of(ours=failing), "--json", str(tmp_path / place)) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_benchmarks_preparation_that_lacks_something_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    """What a script needs and does not find is one sentence and status 2."""

    @contextlib.contextmanager
    def opening() -> Iterator[Comparison]:
        raise UsageError("vng needs busybox-static")
        yield

    assert paired.run(opening(), paired.make_parser("benchmarks.some", "text").parse_args([])) == 2
    assert capsys.readouterr().err == "vng needs busybox-static\n"


def test_benchmarks_processor_is_read() -> None:
    """The processor's name is the first one of /proc/cpuinfo."""
    assert surroundings.parse_cpu("processor\t: 0\nmodel name\t: AMD EPYC 7763\nmodel name\t: other\n") == "AMD EPYC 7763"
    assert surroundings.parse_cpu("") == "unknown"


def test_benchmarks_kernel_builds_are_compared() -> None:
    """The packed kernel's header and the unpacked kernel's banner tell the same build."""
    header = bytearray(0x400)
    header[0x20E:0x210] = (0x100).to_bytes(2, "little")
    vmlinuz = bytes(header[:0x300]) + f"6.12.117+deb13-amd64 (debian-kernel@lists.debian.org) {BUILD}\0rest".encode()
    name = "Linux version 6.12.117+deb13-amd64 (gcc-14 (Debian 14.2.0-19) 14.2.0)"
    vmlinux = f"\0Linux version %s\0{name} # SMP PREEMPT_DYNAMIC\n\0{name} {BUILD}\n\0".encode()

    assert kernels.build_of_vmlinuz(vmlinuz) == BUILD
    assert kernels.build_of_vmlinux(vmlinux) == BUILD
    assert kernels.build_of_vmlinux(b"ELF") == ""


def test_benchmarks_pruned_modules_bring_what_they_need() -> None:
    """A pruned tree has the modules asked for and their dependencies; what is built in is no file."""
    assert kernels.needed_files(MODULES_DEP, ["9p", "9pnet_virtio", "virtio_pci"]) == [
        "kernel/fs/9p/9p.ko.xz",
        "kernel/fs/netfs/netfs.ko.xz",
        "kernel/net/9p/9pnet.ko.xz",
        "kernel/net/9p/9pnet_virtio.ko.xz",
    ]


def test_benchmarks_both_machines_are_of_one_size() -> None:
    """The peer gets the memory, processors and accelerator of our guest, which is a qualification's without the controller."""
    image = Image("debian13", Path("/images/debian13"))
    emulated, hardware = (guest_boot.guest_spec(image, accelerator) for accelerator in ("tcg", "kvm"))

    argv = virtme.vng_argv(Path("/v/vng"), Path("/k/vmlinuz"), "true", spec=emulated, virtiofs=False)
    fast = virtme.vng_argv(Path("/v/vng"), Path("/k/vmlinuz"), "true", spec=hardware, virtiofs=True)

    assert (emulated.memory_mib, emulated.vcpus, emulated.role) == (512, 1, "guest")
    assert "vfio-pci" not in {device["driver"] for device in emulated.devices}
    size = ["--memory", "512M", "--cpus", "1", "--", "true"]
    assert argv == ["/v/vng", "--run", "/k/vmlinuz", "--disable-kvm", "--force-9p", *size]
    assert fast == ["/v/vng", "--run", "/k/vmlinuz", *size]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        pytest.param("echo 12.50; echo oops >&2; exit 255", "status 255", id="status"),
        pytest.param("exit 0", "did not run", id="silent"),
        pytest.param("echo panic", "did not run", id="no-uptime"),
    ],
)
def test_benchmarks_failure_of_the_peer_is_seen(tmp_path: Path, script: str, message: str) -> None:
    """A peer that ends with another status than 0, or whose command has printed no uptime, is an error and no time."""
    with pytest.raises(BenchError, match=message):
        virtme.run_vng(["/bin/sh", "-c", script], tmp_path)


def test_benchmarks_peer_is_timed_to_its_end(tmp_path: Path) -> None:
    """The peer's run has its guest's uptime as a part, and what it leaves running is ended."""
    took = virtme.run_vng(["/bin/sh", "-c", "sleep 1000 & echo 12.50 3.00"], tmp_path)

    assert took.parts_s == {"guest's clock at the command": 12.5}
    assert 0 < took.total_s < 900


def test_benchmarks_survey_needs_all_that_was_asked() -> None:
    """A side that ends well and has not done all of its work is a failure, and so is one that says so itself."""
    assert survey_peers.timed(["sh", "-c", "echo SUCCESS SUCCESS"], each="SUCCESS", count=2).total_s > 0
    for script in ("echo SUCCESS", "echo SUCCESS SUCCESS; exit 3"):
        with pytest.raises(BenchError, match="without all that was asked"):
            survey_peers.timed(["sh", "-c", script], each="SUCCESS", count=2)


@NEEDS_SSH
@NEEDS_SSHD
def test_benchmarks_survey_ours_visits_every_host(tmp_path: Path) -> None:
    """Our side takes the facts of every host of the loopback, each known by its own name."""
    with loopback.serving_hosts(2, tmp_path) as hosts:
        assert hosts.addresses == ["127.0.0.2", "127.0.0.3"]
        assert survey.run_ours(hosts).total_s > 0
        hosts.known_hosts.write_text("", encoding="utf-8")
        with pytest.raises(BenchError) as caught:
            survey.run_ours(hosts)

    assert caught.value.evidence.count("is not known") == 2


def test_benchmarks_survey_number_of_hosts() -> None:
    """A fleet has from one host to as many as there are addresses for."""
    assert survey._hosts("40") == 40
    for text in ("0", "201", "-1", "many"):
        with pytest.raises(argparse.ArgumentTypeError, match="no number of hosts"):
            survey._hosts(text)
