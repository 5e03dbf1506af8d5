"""Many records over time: what is read, what is skipped, lines, change points, and where each board stands."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import msgspec
import pytest

from harness.core.history import History, Line
from harness.core.record import SCHEMA, BoardVerdict, Outcome, encode
from harness.measure import history
from harness.measure.history import LEAST_POINTS, make_history
from harness.measure.outline import read_outlines
from tests.comparing import RATES, measured_record, with_environment, with_run, write_run
from tests.records import CELL, empty_record, failed_record, sample_record

NEEDS_OTAVA = pytest.mark.skipif(importlib.util.find_spec("otava") is None, reason="the extra history is not installed")


def history_of(root: Path) -> History:
    """Return the history of a folder."""
    entries, skipped = read_outlines(root)
    return make_history(entries, skipped, root)


def line_of(made: History, arm: str, base: str = "", cell: str = CELL) -> Line:
    """Return the one line of a figure."""
    (found,) = (each for each in made.lines if (each.cell, each.arm, each.base) == (cell, arm, base))
    return found


def test_history_has_a_line_for_each_figure(tmp_path: Path) -> None:
    """Every rate and every ratio of every cell has a line, with a point for each run in the order of time."""
    for number in (2, 0, 1):
        write_run(tmp_path, measured_record(number, rates={**RATES, "pci": 300.0 + number}, spread=0.0001), number)
    made = history_of(tmp_path)
    line = line_of(made, "pci")

    assert len(made.lines) == 4 * 6
    assert [round(point.value) for point in line.points] == [300, 301, 302]
    assert [point.start[:10] for point in line.points] == ["2026-03-01", "2026-03-02", "2026-03-03"]
    assert all((point.low or 0) < point.value < (point.high or 0) for point in line.points)
    assert line_of(made, "pci", "usb-host").points[0].value == pytest.approx(300 / 281, rel=1e-3)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(b"", "is not a throughpass record", id="empty"),
        pytest.param(encode(sample_record())[:3000], "is not a throughpass record", id="cut-short"),
        pytest.param(json.dumps({"schema": SCHEMA + 1}).encode(), "use a newer throughpass", id="future"),
        pytest.param(b'{"schema": 1, "run": 7}', "run", id="edited"),
        pytest.param(b"\xff\xfe\x00", "is not a throughpass record", id="binary"),
        pytest.param(encode(empty_record()), "does not say when its run began", id="no-start"),
    ],
)
def test_what_is_no_record_is_named_and_skipped(tmp_path: Path, content: bytes, why: str) -> None:
    """A file that is no record, cut short, or of a newer form is named with its reason, and the others are read."""
    write_run(tmp_path, measured_record(1))
    bad = tmp_path / "rack-7" / "bad"
    bad.mkdir()
    (bad / "record.json").write_bytes(content)
    made = history_of(tmp_path)

    assert made.records == 1
    assert [each.name for each in made.skipped] == [str(bad / "record.json")]
    assert why in made.skipped[0].why


def test_record_of_a_newer_suite_is_read(tmp_path: Path) -> None:
    """Fields and stages that this version does not know are read past; an unknown stage stands last on the wall."""
    path = write_run(tmp_path, measured_record(1))
    document = json.loads(path.read_bytes())
    document["novelty"] = {"a": 1}
    document["series"][0]["samples"][0]["novelty"] = [1]
    document["checks"][0]["stage"] = "firmware"
    path.write_text(json.dumps(document), encoding="utf-8")
    made = history_of(tmp_path)

    assert made.skipped == ()
    assert made.boards[0].stages[-1].stage == "firmware"


def test_emulated_and_real_never_share_a_line(tmp_path: Path) -> None:
    """Runs of one bench's name on emulated and real hardware have lines and rows of their own, also if only the CPU tells."""
    write_run(tmp_path, measured_record(1), 0)
    write_run(tmp_path, with_environment(measured_record(2), emulated=True), 1)
    write_run(tmp_path, measured_record(3, facts={"host": {"cpu": {"hypervisor": True}}}), 2)
    made = history_of(tmp_path)

    assert [(row.emulated, row.runs) for row in made.boards] == [(False, 1), (True, 2)]
    assert {(line.emulated, len(line.points)) for line in made.lines} == {(False, 1), (True, 2)}


def test_wall_shows_the_newest_record_of_each_bench(tmp_path: Path) -> None:
    """A board's row is its newest run's: verdict, outcomes a stage, kernel, and the ratio that decides."""
    write_run(tmp_path, measured_record(1), 0)
    newest = with_run(failed_record(), bench="rack-7", kind="ssh")
    write_run(tmp_path, with_environment(newest, emulated=False, bench_qemu="", bench_accelerator="", kernel="6.17"), 5)
    write_run(tmp_path, with_run(measured_record(2), bench="rack-1"), 3)
    made = history_of(tmp_path)
    first, last = made.boards
    stages = {each.stage: set(each.outcomes) for each in last.stages}

    assert (first.bench, last.bench, last.verdict, last.kernel) == ("rack-1", "rack-7", BoardVerdict.NOT_QUALIFIED, "6.17")
    assert Outcome.FAIL in stages["readiness"]
    assert stages["return"] == set()
    assert (last.ratio, last.ratio_of) == (None, "")
    assert first.ratio == pytest.approx(396 / 281, rel=0.02)
    assert first.ratio_of == f"pci / usb-host, {CELL}"


@pytest.mark.parametrize("rate", [0.0, -1.0, 1e308, 5e-324])
def test_edited_rates_end_in_no_error(tmp_path: Path, rate: float) -> None:
    """A rate that no disk has costs its own point at most, and the history can be written as JSON and read again."""
    record = measured_record(1)
    samples = (msgspec.structs.replace(record.series[1].samples[0], rate_mib_s=rate), *record.series[1].samples[1:])
    series = (record.series[0], msgspec.structs.replace(record.series[1], samples=samples), *record.series[2:])
    write_run(tmp_path, msgspec.structs.replace(record, series=series))
    made = history_of(tmp_path)

    assert line_of(made, "native").points
    assert msgspec.json.decode(msgspec.json.encode(made), type=History) == made


def test_without_the_extra_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the library for change points is not installed, no line has any, and the history says how to get it."""
    monkeypatch.setattr(history, "can_find_changes", lambda: False)
    write_run(tmp_path, measured_record(1))
    made = history_of(tmp_path)

    assert "pip install" in made.unsought
    assert all(line.changes == () for line in made.lines)


@NEEDS_OTAVA
def test_lasting_change_is_found(tmp_path: Path) -> None:
    """An arm that lost a tenth for good has one change point, at its first such run, with what was new; others have none."""
    for number in range(3 * LEAST_POINTS):
        slow = number >= 2 * LEAST_POINTS
        record = measured_record(number, rates={**RATES, "pci": 356.0 if slow else 396.0})
        write_run(tmp_path, with_environment(record, kernel="6.17" if slow else "6.12"), number)
    made = history_of(tmp_path)
    (change,) = line_of(made, "pci").changes

    assert made.unsought == ""
    assert change.start.startswith("2026-03-13")
    assert [change.before, change.after] == pytest.approx([396, 356], rel=0.01)
    assert change.new == ("kernel 6.12 -> 6.17",)
    assert line_of(made, "native").changes == line_of(made, "usb-host").changes == ()


def test_arm_with_wrong_data_has_no_point(tmp_path: Path) -> None:
    """Where a run's data were wrong in an arm, neither its lines nor the wall have a figure of it; the others have theirs."""
    write_run(tmp_path, msgspec.structs.replace(measured_record(1), void_arms=("pci",)))
    made = history_of(tmp_path)

    assert {line.arm for line in made.lines} == {"native", "usb-host"}
    assert made.boards[0].ratio is None


def test_records_beside_a_run_are_not_its_own(tmp_path: Path) -> None:
    """Only files called record.json are read, at any depth; a folder of that name is none."""
    path = write_run(tmp_path / "a" / "b", measured_record(1))
    path.with_name("other.json").write_text("{}")
    (tmp_path / "record.json").mkdir()

    assert history_of(tmp_path).records == 1


def test_record_without_figures_has_a_row(tmp_path: Path) -> None:
    """A record that measured nothing still has its place on the wall."""
    write_run(tmp_path, sample_record(series=(), judgements=()))
    made = history_of(tmp_path)

    assert (made.lines, [row.bench for row in made.boards]) == ((), ["virtual-vtd"])
