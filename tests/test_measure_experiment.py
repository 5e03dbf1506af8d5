"""The experiment: every arm in every block, in one round trip for each, and put back whatever happens."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from harness.core.deadline import Deadline
from harness.core.errors import BenchError, BoardError, RefusedError
from harness.core.timeline import SpanKind, Timeline
from harness.machine.guarded import Permit
from harness.measure.arms import CONFOUNDERS, parse_confounders
from harness.measure.design import PROFILES, READ_CELLS, WRITE_CELLS, known_ways
from harness.measure.experiment import Experiment, clock_ratio, time_left
from harness.measure.fio import fio_command
from harness.transport.local import LocalTransport
from harness.transport.protocol import Result, Transport

SMOKE = PROFILES["smoke"]


def fio_output(rate_mib_s: float) -> str:
    """Return what fio prints of a run of a second."""
    job = {
        "error": 0,
        "job options": {"bs": "1048576", "iodepth": "8"},
        "read": {
            "io_bytes": int(rate_mib_s * (1 << 20)),
            "bw_bytes": int(rate_mib_s * (1 << 20)),
            "runtime": 1000,
            "clat_ns": {"N": int(rate_mib_s), "percentile": {"50.000000": 1, "99.000000": 2, "99.900000": 3}},
        },
        "usr_cpu": 1.0,
        "sys_cpu": 2.0,
    }
    return json.dumps({"fio version": "fio-3.33", "jobs": [job]}, indent=2)


class System(LocalTransport):
    """A system with one disk (made up of plain files) and a fio that prints what the test says."""

    def __init__(self, root: Path, fio: str) -> None:
        super().__init__()
        self.root = root
        self.commands: list[str] = []
        device = root / "sys/usb/2-1/2-1:1.0/host0/target0:0:0/0:0:0:0"
        for folder in (device, root / "sys/block/sda/queue", root / "dev", root / "sys/drivers/uas"):
            folder.mkdir(parents=True)
        (root / "sys/block/sda/device").symlink_to(device)
        (root / "sys/usb/2-1/2-1:1.0/driver").symlink_to(root / "sys/drivers/uas")
        for name, text in {
            "sys/usb/2-1/serial": "TP0001",
            "sys/usb/2-1/speed": "5000",
            "sys/block/sda/size": "524288",
            "sys/block/sda/queue/scheduler": "none [mq-deadline] bfq",
            "sys/block/sda/queue/nr_requests": "64",
            "dev/sda": "",
        }.items():
            (root / name).write_text(f"{text}\n")
        (root / "fio").write_text(f"#!/bin/sh\n{fio}\n")
        (root / "fio").chmod(0o755)

    def run(self, command: str | Sequence[str], **keywords: Any) -> Result:
        """Run a command that looks at this system instead of the machine of the tests."""
        self.commands.append(str(command))
        text = str(command).replace("/sys/", f"{self.root}/sys/").replace("/dev/sd", f"{self.root}/dev/sd")
        text = text.replace('"/dev/$', f'"{self.root}/dev/$').replace("disk=/dev/$", f"disk={self.root}/dev/$")
        return super().run(f"PATH={self.root}:$PATH\n{text.replace('[ -b ', '[ -e ')}", **keywords)


@dataclass
class FakeArm:
    """An arm that leads to a made-up system, and remembers what was done with it."""

    name: str
    system: System
    stick: str = "TP0001"
    serial: str = "TP0001"
    writable: bool = True
    origin: Transport | None = None
    moves: list[str] = field(default_factory=list)

    def attach(self) -> System:
        """Lead to the system."""
        self.moves.append("attach")
        return self.system

    def detach(self) -> None:
        """Go back."""
        self.moves.append("detach")
        if "stuck" in self.name:
            raise BenchError("it would not go back")


def experiment(
    tmp_path: Path, *arms: FakeArm, lines: list[str] | None = None, **changes: Any
) -> tuple[Experiment, Timeline, Path]:
    """Return an experiment with those arms, its timeline and its folder."""
    folder = tmp_path / "run"
    folder.mkdir()
    profile = replace(SMOKE, ways=known_ways(*(arm.name for arm in arms)), **changes)
    timeline = Timeline()
    return (
        Experiment({arm.name: arm for arm in arms}, profile, folder, (lines if lines is not None else []).append, timeline),
        timeline,
        folder,
    )


def soon() -> Deadline:
    """Return a deadline for an experiment."""
    return Deadline.after(60, "the experiment")


def test_experiment_needs_two_commands_a_run(tmp_path: Path) -> None:
    """Waiting and conditions are one command, fio another; all are read at each attachment; raw output and times are kept."""
    arms = [FakeArm(name, System(tmp_path / name, f"cat <<'E'\n{fio_output(40)}\nE")) for name in ("native", "pci")]
    made, timeline, folder = experiment(tmp_path, *arms)

    series = made.run(seed=1, deadline=soon())

    assert {one.arm: one.rates_mib_s for one in series} == {"native": (40.0, 40.0), "pci": (40.0, 40.0)}
    assert series[0].confounders == {"speed": "5000M", "driver": "uas", "scheduler": "mq-deadline", "nr_requests": "64"}
    assert [len(arm.system.commands) for arm in arms] == [4, 4]
    assert [("scheduler" in command) for command in arms[0].system.commands] == [True, False] * 2
    assert arms[0].moves == ["attach", "detach"] * 2
    raw = folder / "fio-SEQ1M-Q8T1-read-02-pci.json"
    assert json.loads(raw.read_text())["fio version"] == "fio-3.33"
    assert series[1].samples[1].attachment == raw.name
    assert [span.kind for span in timeline.spans] == [SpanKind.FIO] * 4
    assert [span.reported_s for span in timeline.spans] == pytest.approx([1.0 + SMOKE.ramp_s] * 4)


def test_experiment_finds_the_disk_anew_for_each_cell(tmp_path: Path) -> None:
    """Each cell names the disk that is there then; the way to the arm took as long for all of them."""
    arm = FakeArm("native", System(tmp_path / "native", f"echo \"$*\" >>{tmp_path}/argv; cat <<'E'\n{fio_output(40)}\nE"))
    made, _, _ = experiment(tmp_path, arm, cells=READ_CELLS[:2], blocks=1)

    first, second = made.run(seed=1, deadline=soon())

    assert first.samples[0].attach_s == second.samples[0].attach_s >= 0
    argvs = (tmp_path / "argv").read_text().splitlines()
    assert [f"--filename={tmp_path}/native/dev/sda" in argv for argv in argvs] == [True, True]
    assert [f"--iodepth={cell.iodepth}" in argv for cell, argv in zip(READ_CELLS[:2], argvs, strict=True)] == [True, True]


def test_experiment_tells_how_far_it_is(tmp_path: Path) -> None:
    """A line for each arm of a block: which of how many, its rate in the first cell, and the time left."""
    lines: list[str] = []
    arms = [FakeArm(name, System(tmp_path / name, f"cat <<'E'\n{fio_output(37)}\nE")) for name in ("pci", "usb-host")]
    made, _, _ = experiment(tmp_path, *arms, lines=lines)

    made.run(seed=1, deadline=soon())

    assert [line.partition(":")[0] for line in lines if "block 1" in line] == ["block 1 of 2, pci", "block 1 of 2, usb-host"][
        :: 1 if "pci" in lines[0] else -1
    ]
    assert lines[0].endswith(": 37 MiB/s (SEQ1M Q8T1 read), a few seconds left")
    assert lines[-1].endswith("(SEQ1M Q8T1 read), done")


def test_experiment_goes_on_while_its_interval_is_wide(tmp_path: Path) -> None:
    """Two blocks at a time, up to the profile's last one, as long as the primary arms scatter; each extension is told."""
    lines: list[str] = []
    rates = "\n".join(f"{1 + number % 3}) cat <<'E'\n{fio_output(30 + 4 * (number % 3))}\nE\n;;" for number in range(3))
    script = f"n=$(cat {tmp_path}/n 2>/dev/null || echo 0); echo $((n + 1)) >{tmp_path}/n\ncase $((n % 3 + 1)) in\n{rates}\nesac"
    arms = [
        FakeArm("pci", System(tmp_path / "pci", script)),
        FakeArm("usb-host", System(tmp_path / "usb", f"cat <<'E'\n{fio_output(20)}\nE")),
    ]
    made, _, _ = experiment(tmp_path, *arms, lines=lines, most_blocks=7)

    series = made.run(seed=1, deadline=soon())

    assert [len(one.samples) for one in series] == [6, 6]
    assert [line for line in lines if "wider" in line] == ["the interval is wider than +-2%: two blocks more, of at most 7"] * 2
    assert "block 6 of 6" in lines[-1]


def test_experiment_sees_a_disk_that_came_back_otherwise(tmp_path: Path) -> None:
    """A driver that changes between two blocks is told with both values; what the host knows of the stick counts beside it."""
    system = System(tmp_path / "guest", f"cat <<'E'\n{fio_output(40)}\nE")
    host = System(tmp_path / "host", "exit 1")
    (host.root / "sys/usb/2-1/iommu_group").mkdir()
    (host.root / "sys/usb/2-1/iommu_group/type").write_text("DMA-FQ\n")

    class Falling(FakeArm):
        """An arm whose stick loses its better driver on the way back."""

        def detach(self) -> None:
            """Let another driver have it from now on."""
            driver = system.root / "sys/usb/2-1/2-1:1.0/driver"
            driver.unlink()
            driver.symlink_to(system.root / "sys/drivers/usb-storage")
            (system.root / "sys/drivers/usb-storage").mkdir(exist_ok=True)

    made, _, _ = experiment(tmp_path, Falling("usb-host", system, origin=host))

    (series,) = made.run(seed=1, deadline=soon())

    assert series.confounders["driver"] == "uas, then usb-storage"
    assert series.confounders["iommu_domain"] == "DMA-FQ"
    assert (series.kind, series.stick) == ("usb-host", "TP0001")


def test_clock_is_compared_over_the_whole_experiment() -> None:
    """A system whose clock gains 3 % is told; over a few seconds nobody can say."""
    assert clock_ratio([(100.0, 5.0), (101.0, 6.0), (203.0, 105.0)]) == 1.03
    assert clock_ratio([(100.0, 5.0), (105.0, 10.0)]) is None
    assert clock_ratio([]) is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "done"), (4, "a few seconds left"), (44, "about 44 s left"), (130, "about 2 min left")]
)
def test_time_left_is_rounded(seconds: float, text: str) -> None:
    """The time left is told as exactly as it is known."""
    assert time_left(seconds) == text


@pytest.mark.parametrize("name", ["native", "stuck"])
def test_experiment_puts_an_arm_back_that_fails(tmp_path: Path, name: str) -> None:
    """A disk that fails under fio is the board's fault; the arm is detached, and if that fails as well the first word counts."""
    failing = fio_output(40).replace('"error": 0', '"error": 5')
    arm = FakeArm(name, System(tmp_path / name, f"cat <<'E'\n{failing}\nE\necho 'fio: io_u error' >&2; exit 1"))
    made, timeline, folder = experiment(tmp_path, arm)

    with pytest.raises(BoardError, match="the disk failed while fio read it: EIO") as caught:
        made.run(seed=1, deadline=soon())

    assert caught.value.evidence == "fio: io_u error"
    assert arm.moves == ["attach", "detach"]
    assert (folder / f"fio-SEQ1M-Q8T1-read-01-{name}.json").exists()
    assert [span.kind for span in timeline.spans] == [SpanKind.FIO]


def test_command_names_the_disk_of_its_shell() -> None:
    """The shell text is the argv, with the node that is known only there."""
    words = shlex.split(fio_command(SMOKE.cells[0], SMOKE))

    assert words[:2] == ["fio", "--name=SEQ1M-Q8T1-read"]
    assert "--readonly" in words
    assert [word for word in words if word.startswith("--filename")] == ["--filename=$disk"]


def test_confounders_of_a_disk_that_left_are_none() -> None:
    """Where there is no such disk, nothing is said of it, and nothing is complained of."""
    result = LocalTransport().run(f"disk=/dev/sdnone\n{CONFOUNDERS}")

    assert parse_confounders(result.text) == {}
    assert result.error_text == ""


PERMISSION = Permit("TP0001", 524288 * 512, "0" * 64)


def writing(tmp_path: Path, *arms: FakeArm, permission: Permit | None = PERMISSION) -> Experiment:
    """Return an experiment that reads and writes."""
    folder = tmp_path / "run"
    folder.mkdir()
    cells, ways = (READ_CELLS[0], WRITE_CELLS[0]), known_ways(*(arm.name for arm in arms))
    profile = replace(SMOKE, ways=ways, cells=cells, write_offset_mib=8, write_window_mib=16)
    lines: list[str] = []
    return Experiment({arm.name: arm for arm in arms}, profile, folder, lines.append, Timeline(), permission=permission)


def writes_of(system: System) -> list[str]:
    """Return the commands that would have fio write."""
    return [command for command in system.commands if "--rw=write" in command]


def test_experiment_writes_only_behind_its_guard(tmp_path: Path) -> None:
    """Just before fio writes the marker is read; where it is not the permission's nothing is begun, and the experiment ends."""
    system = System(tmp_path / "system", f"touch {tmp_path}/wrote-$$\ncat <<'END'\n{fio_output(40)}\nEND")
    with pytest.raises(RefusedError, match="is not the one that was marked: nothing was written"):
        writing(tmp_path, FakeArm("native", system)).run(1, soon())

    (command,) = writes_of(system)
    begun = command.index("--rw=write")
    assert command.rindex("{ sleep 1\n}", 0, begun) < command.rindex("sha256sum", 0, begun), "the guard is what comes last"
    assert len(list(tmp_path.glob("wrote-*"))) == 1, "the read that came before"


@pytest.mark.parametrize(
    ("arm", "permission"),
    [
        pytest.param({"writable": False}, PERMISSION, id="not-writable"),
        pytest.param({"stick": "TP0002"}, PERMISSION, id="another-stick"),
        pytest.param({}, None, id="no-permission"),
    ],
)
def test_experiment_writes_nowhere_else(tmp_path: Path, arm: dict[str, Any], permission: Permit | None) -> None:
    """An arm that cannot write, another stick and a run without permission are read alone."""
    system = System(tmp_path / "system", f"cat <<'END'\n{fio_output(40)}\nEND")
    series = writing(tmp_path, FakeArm("native", system, **arm), permission=permission).run(1, soon())

    assert [one.cell for one in series] == [READ_CELLS[0].name]
    assert writes_of(system) == []
