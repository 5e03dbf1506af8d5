"""The pages of comparisons and histories: whole, static, safe against hostile strings, readable without colour and scripts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from harness.core.comparison import Comparison, Shift
from harness.core.finding import Finding, Severity
from harness.core.history import ChangePoint, History
from harness.core.record import Outcome, Record
from harness.measure.compare import compare_records
from harness.measure.history import make_history
from harness.measure.outline import read_outlines
from reports.comparison import CHANGES, SHIFTS, comparison_text, render_comparison
from reports.history import history_text, render_history
from tests.comparing import RATES, measured_record, with_environment, with_run, write_run
from tests.records import HOSTILE, empty_record, hostile_record, sample_record
from tests.test_reports_page import Page

NAMES = ("a.json", "b.json")


def worse_record() -> Record:
    """Return a record that lost something of each kind."""
    record = with_environment(measured_record(2, rates={**RATES, "pci": 356.0}), kernel="6.17.2", firmware="AMI 2.14")
    checks = (msgspec.structs.replace(record.checks[0], outcome=Outcome.FAIL, reason="no DMA remapping"), *record.checks[1:])
    findings = (*record.findings, Finding("LCK001", Severity.CONDITION, "host", "the kernel is locked down"))
    return msgspec.structs.replace(record, checks=checks, findings=findings, facts={"host": {"cpu": {"flags": ["svm"]}}})


def comparison() -> Comparison:
    """Return a comparison that fills every part of the page."""
    return compare_records(measured_record(1), worse_record(), NAMES)


def hostile_comparison() -> Comparison:
    """Return a comparison in which every free text is hostile."""
    return compare_records(hostile_record(), hostile_record("</svg><script>alert(1)</script>"), (HOSTILE, HOSTILE))


def history(folder: Path) -> History:
    """Return a history of two benches, one emulated, with a change point and a file that was skipped."""
    for number in range(3):
        write_run(folder, measured_record(number), number)
    write_run(folder, sample_record())
    (folder / "bad").mkdir(parents=True)
    (folder / "bad" / "record.json").write_text("{")
    entries, skipped = read_outlines(folder)
    made = make_history(entries, skipped, folder)
    last = made.lines[0].points[-1]
    change = ChangePoint(last.run, last.start, 402.0, 390.0, 1e-5, ("kernel 6.12 -> 6.17",))
    lines = (msgspec.structs.replace(made.lines[0], changes=(change,)), *made.lines[1:])
    return msgspec.structs.replace(made, lines=lines, unsought="")


def hostile_history(folder: Path) -> History:
    """Return a history in which bench, board, kernel, run and file have hostile names."""
    for number in range(2):
        record = with_environment(
            with_run(measured_record(number), suite_version=HOSTILE), board=HOSTILE, kernel=HOSTILE, qemu=HOSTILE
        )
        series = tuple(msgspec.structs.replace(one, cell=HOSTILE, arm=one.arm + HOSTILE) for one in record.series)
        write_run(folder, msgspec.structs.replace(record, series=series), number)
    entries, skipped = read_outlines(folder)
    made = make_history(entries, skipped, Path(HOSTILE))
    rows = tuple(msgspec.structs.replace(row, bench=HOSTILE) for row in made.boards)
    return msgspec.structs.replace(made, boards=rows, unsought=HOSTILE)


_PAGES: dict[str, Callable[[Path], str]] = {
    "comparison": lambda _: render_comparison(comparison()),
    "same": lambda _: render_comparison(compare_records(sample_record(), sample_record(), NAMES)),
    "nothing": lambda _: render_comparison(compare_records(empty_record(), empty_record(), NAMES)),
    "hostile-comparison": lambda _: render_comparison(hostile_comparison()),
    "history": lambda folder: render_history(history(folder)),
    "hostile-history": lambda folder: render_history(hostile_history(folder)),
}


@pytest.mark.parametrize("name", _PAGES)
def test_records_page_is_well_formed_and_static(tmp_path: Path, name: str) -> None:
    """Tags balance, ids are unique, inner links lead somewhere, nothing is fetched or run, and no control code is left."""
    html = _PAGES[name](tmp_path)
    page = Page(html)
    ids = page.values("id")

    assert page.faults == []
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in page.values("href") if link.startswith("#")} <= set(ids)
    assert page.count("script") == page.count("img") == page.count("iframe") == 0
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    assert page.values("content")[0].startswith("default-src 'none'")
    assert "\x1b" not in html


@pytest.mark.parametrize("name", _PAGES)
def test_records_page_can_be_heard(tmp_path: Path, name: str) -> None:
    """The language is named, there is one main heading, each header cell has a scope, each chart a title and a description."""
    page = Page(_PAGES[name](tmp_path))
    charts = [attributes for tag, attributes in page.tags if tag == "svg" and attributes.get("role") == "img"]

    assert page.count("html", lang="en") == 1
    assert page.count("h1") == 1
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    assert all(set((chart["aria-labelledby"] or "").split()) <= set(page.values("id")) for chart in charts)


@pytest.mark.parametrize("name", ["comparison", "hostile-comparison"])
def test_comparison_page_is_the_same_each_time(tmp_path: Path, name: str) -> None:
    """The same comparison gives the same bytes."""
    assert _PAGES[name](tmp_path) == _PAGES[name](tmp_path)


def test_comparison_page_tells_what_changed() -> None:
    """The page opens with what fell, and holds each figure with its interval, the lost check, the finding and the facts."""
    page = Page(render_comparison(comparison()))
    opening = page.text[: page.text.index("The two records")]

    assert "4 slower, 8 lower, 12 equivalent" in opening
    assert "1 lost" in opening
    for part in ("0.897×", "[0.886, 0.908]", "no DMA remapping", "LCK001", "environment.firmware", "AMI 2.14", "p by Holm"):
        assert part in page.text
    assert page.count("svg", role="img") == 4


def test_comparison_of_a_virtual_bench_warns_beside_figures() -> None:
    """Two emulated records are compared, and the page, its charts, its tables and the text say what they are."""
    made = compare_records(sample_record(), sample_record(), NAMES)
    warning = "virtual bench: figures are not hardware figures"

    assert Page(render_comparison(made)).text.count(warning) >= 3
    assert warning in comparison_text(made)
    assert warning not in render_comparison(comparison())


def test_comparison_text_has_a_line_for_each_thing() -> None:
    """The terminal shows each figure, check, finding and fact on a line of its own, and nothing that steers it."""
    lines = comparison_text(comparison()).splitlines()
    hostile = comparison_text(hostile_comparison())

    assert sum("-> " in line and ("slower" in line or "equivalent" in line or "lower" in line) for line in lines) == 24
    assert any(line.startswith("✘  lost") and "passed -> failed" in line for line in lines)
    assert "environment.kernel: 6.12.48+deb13-amd64 -> 6.17.2" in lines
    assert "\x1b" not in hostile


def test_every_answer_has_a_mark_of_its_own_word() -> None:
    """Each answer and each change is told by a word, not by a colour."""
    assert set(SHIFTS) == set(Shift)
    assert len({mark.word for mark in SHIFTS.values()}) == len(SHIFTS)
    assert len({mark.word for mark in CHANGES.values()}) == len(CHANGES)


def test_history_page_is_a_wall_and_a_chart_for_each_cell(tmp_path: Path) -> None:
    """The page opens with a row for each bench, has one chart a cell, names the change, and what it did not read."""
    page = Page(render_history(history(tmp_path)))

    assert "2 boards, 4 records" in page.text
    assert page.count("svg", role="img") == 4 + 1
    assert "native changed with rack-7/20260303T140512Z" in page.text
    assert "New in it: kernel 6.12 -> 6.17" in page.text
    assert "Not read" in page.text
    assert "(emulated)" in page.text
    assert "virtual bench: figures are not hardware figures" in page.text


def test_history_text_has_a_line_for_each_thing(tmp_path: Path) -> None:
    """The terminal shows boards, figures, changes and what was skipped; hostile names do not steer it."""
    text = history_text(history(tmp_path / "a"))

    assert "changed: rack-7 SEQ1M Q8T1 read native at rack-7/20260303T140512Z: 402.0 -> 390.0 (kernel 6.12 -> 6.17)" in text
    assert "skipped: " in text
    assert "\x1b" not in history_text(hostile_history(tmp_path / "b"))


def test_history_of_many_runs_stays_small(tmp_path: Path) -> None:
    """Two hundred runs have a page of less than half a megabyte: one drawing a cell, however many runs there are."""
    for number in range(200):
        write_run(tmp_path, measured_record(number % 7), number)
    entries, skipped = read_outlines(tmp_path)
    html = render_history(make_history(entries, skipped, tmp_path))

    assert Page(html).count("svg", role="img") == 4
    assert len(html) < 500_000
