"""The page's section on throughput: the grid, what weakens a figure, what it cost, under which conditions; and its size."""

from __future__ import annotations

import re

import msgspec
import pytest

from harness.core.judgement import Call
from harness.core.record import Record
from harness.core.series import Sample, Series
from reports.cliffs import find_caveats
from reports.conditions import CLOCK, find_differences, view_conditions
from reports.costs import view_costs
from reports.page import render_report
from reports.spelling import spell_cost, spell_interval, spell_latency, spell_ratio
from reports.throughput import primary_caveats, view_grid
from tests.grids import grid_record, with_sample
from tests.records import CELL, HOSTILE, SENTENCE, empty_record, sample_judgement, sample_record, sample_series
from tests.test_reports_page import Page

MOST_BYTES = 2_000_000
OTHER = "RND4K Q1T1 read"
WARNING = "virtual bench: figures are not hardware figures"


def unlike(series: Series, **confounders: str) -> Series:
    """Return a series measured under other conditions."""
    return msgspec.structs.replace(series, confounders=series.confounders | confounders)


@pytest.fixture(scope="module")
def standard() -> Record:
    """Return the record of a standard run on a virtual bench, with a cliff, a stall and a run that was not steady."""
    record = grid_record(blocks=8, emulated=True)
    record = with_sample(record, CELL, "usb-host", 2, seconds_mib_s=(400.0, 402.0, 120.0, 121.0, 119.0), cliff_at=2)
    record = with_sample(record, CELL, "pci", 1, stalls=(1, 3))
    return with_sample(record, OTHER, "pci", 1, steady=False)


@pytest.fixture(scope="module")
def html(standard: Record) -> str:
    """Return the page of that record."""
    return render_report(standard)


def test_largest_standard_report_is_small() -> None:
    """Twenty blocks, five arms and four cells with every second, and evidence in eighty checks, stay under 2 MB."""
    html = render_report(grid_record(emulated=True))

    assert len(html.encode()) < MOST_BYTES
    assert Page(html).count("svg", role="img") == 16
    assert Page(html).faults == []


def test_page_opens_with_the_sentence_on_speed() -> None:
    """The sentence stands below the verdict's word, before every reason and every other figure, and once."""
    text = Page(render_report(sample_record())).text

    assert text.index("QUALIFIED This board") < text.index(SENTENCE) < text.index("Stages readiness")
    assert "MiB/s" not in text[: text.index(SENTENCE)]
    assert text.count(SENTENCE) == 2  # as text, and as what the chart of ratios says to the ear


def test_page_without_a_primary_comparison_says_so() -> None:
    """Where arms were measured that are not the two that decide, the page opens with that."""
    page = Page(render_report(sample_record(judgements=())))

    assert "was measured, without the comparison that decides" in page.text[: page.text.index("Stages readiness")]


def test_grid_has_a_row_for_each_cell_and_a_column_for_each_arm(standard: Record, html: str) -> None:
    """Rows are the four cells, the primary one first, columns the five arms, with the ratio and call of the pair that decides."""
    grid = view_grid(standard)

    assert grid is not None
    assert [row.cell for row in grid.rows] == [CELL, "SEQ1M Q1T1 read", "RND4K Q32T1 read", OTHER]
    assert [name for name, _ in grid.arms] == ["native", "pci", "usb-host", "virtio-blk", "usb-host-again"]
    assert all(row.judgement is not None and (row.judgement.arm, row.judgement.base) == ("pci", "usb-host") for row in grid.rows)
    assert re.search(r"SEQ1M Q1T1 read 1\.4\d× \[1\.\d\d, 1\.\d\d\] faster( \d{3}\.\d){5} RND4K", Page(html).text)


def test_grid_is_only_where_more_than_one_cell_was_measured() -> None:
    """One cell has its own table; a cell that is only judged was not measured; what an arm lacks is no zero."""
    judged = (sample_judgement(), sample_judgement(cell=OTHER, primary=False))
    partial = sample_record(series=(*sample_record().series, sample_series("pci", 30.0, cell=OTHER)), judgements=judged[:1])
    grid = view_grid(partial)

    assert view_grid(sample_record(judgements=judged)) is None
    assert view_grid(empty_record()) is None
    assert grid is not None
    assert grid.rows[1].judgement is None
    assert [median is None for median in grid.rows[1].medians] == [True, False, True]
    assert "– no ratio not judged – no rate 29.8 – no rate" in Page(render_report(partial)).text


def test_grid_without_a_pair_that_decides_has_rates_alone() -> None:
    """Own arms may have no primary comparison: then there is no ratio beside the rates."""
    series = tuple(sample_series(arm, 30.0, cell=cell) for cell in (CELL, OTHER) for arm in ("a", "b"))
    page = Page(render_report(sample_record(series=series, judgements=())))

    assert f"Median rates in MiB/s ({WARNING})" in page.text
    assert "a / b" not in page.text


def test_what_weakens_a_figure_is_said_near_it(standard: Record, html: str) -> None:
    """A cliff, a stall and an unsteady run are a sentence each in their cell, and at the opening if it is of their arm."""
    text = Page(html).text
    cliff = "usb-host became slower for good in 1 of 8 blocks, after 2 seconds: burst 401.0, sustained 120.0 MiB/s."
    stall = "pci stalled in 1 of 8 blocks: for 2 seconds hardly anything came."
    unsteady = "pci was not steady in 1 of 8 blocks: fio's own criterion was not met, and no ratio counts them."

    assert primary_caveats(standard) == (cliff, stall)
    assert text.count(cliff) == text.count(stall) == 2
    assert text.count(unsteady) == text.count("a cross is one that does not count") == 1
    assert text.index(unsteady) > text.index(f"Rates in MiB/s, {OTHER}")
    assert "cliff at 2 s: burst 401.0, sustained 120.0 MiB/s" in text
    assert "stall at 1 s, 3 s" in text


def test_caveats_say_nothing_of_what_nobody_asked() -> None:
    """A run of which nobody knows whether it was steady is not called unsteady; wrong data are told."""
    series = sample_record().series

    assert find_caveats(series) == ()
    assert find_caveats(series, ("pci",)) == ("The data that pci read were wrong: its figures do not count.",)
    assert find_caveats([Series("c", "pci", (Sample(0, 0, 1.0, 1.0, cliff_at=3, seconds_mib_s=(1.0,)),))]) == ()


def test_costs_are_medians_over_the_blocks() -> None:
    """Latencies and CPU seconds are medians of what is known; what no block knows stays unknown."""
    samples = tuple(
        Sample(block, 0, 1.0, 1.0, latency_p50_us=value, host_cpu_s_per_gib=2.0)
        for block, value in enumerate((1.0, None, 9.0, 3.0))
    )
    (costs,) = view_costs([Series("c", "pci", samples)])

    assert costs.latencies_us == (3.0, None, None)
    assert costs.cpu_s_per_gib == (None, 2.0, None, None)


def test_table_of_costs_has_units_and_no_zero_for_unknown(html: str) -> None:
    """Each arm has its percentiles with a unit and its CPU seconds per GiB; the host alone has no QEMU, which is not zero."""
    text = Page(html).text

    assert "latency CPU, s/GiB Arm p50 p99 p99.9 fio host QEMU QEMU's main thread" in text
    assert re.search(r"● native [\d.]+ ms [\d.]+ ms [\d.]+ ms 0\.\d+ 0\.\d+ – unknown – unknown", text)
    assert "Latency of completion" not in render_report(sample_record())


def test_conditions_stand_in_one_table_what_differs_first() -> None:
    """All arms and cells share one table: differing rows come first by word and shape, unknown is neither alike nor different."""
    native, pci = sample_series("native", 1.0), sample_series("pci", 1.0)
    series = (unlike(native, iommu="DMA"), unlike(pci, scheduler="none"))
    conditions = view_conditions(series)
    html = render_report(sample_record(series=series))

    assert [(row.name, row.word) for row in conditions.rows] == [
        ("scheduler", "differs"),
        ("iommu", "not known of all"),
        ("driver", "alike"),
        ("speed", "alike"),
    ]
    assert conditions.rows[1].values == ("DMA", "")
    assert html.count('id="conditions"') == 1
    assert re.search(r'<tr class="unlike"><th scope="row">scheduler</th><td class="alike">\s*<svg class="icon"', html)
    assert "scheduler differs mq-deadline none iommu not known of all DMA unknown" in Page(html).text


def test_condition_that_changes_between_cells_says_both_values() -> None:
    """An arm that had another value in another cell shows each with its cells, also where the arms of a cell are alike."""
    series = [sample_series(arm, 1.0, cell=cell) for cell in (CELL, OTHER) for arm in ("native", "pci")]
    moved = [unlike(one, speed="480M") if one.cell == OTHER else one for one in series]
    (row,) = (row for row in view_conditions(moved).rows if row.name == "speed")

    assert (row.word, row.values[0]) == ("changes", f"5000M in {CELL}; 480M in {OTHER}")
    assert find_differences(moved[:2]) == find_differences(moved[2:]) == ()


@pytest.mark.parametrize(("clock", "word"), [(1.0004, "alike"), (1.031, "differs"), (None, "not known of all")])
def test_clock_is_a_condition(clock: float | None, word: str) -> None:
    """A clock's ratio is a row; it differs beyond 2 %, not in its last digit."""
    series = [
        msgspec.structs.replace(sample_series(arm, 1.0), clock=ratio) for arm, ratio in (("native", 0.9998), ("pci", clock))
    ]
    (row,) = (row for row in view_conditions(series).rows if row.name == CLOCK)

    assert (row.word, row.values[0]) == (word, "0.9998")


def test_stick_is_a_condition() -> None:
    """Arms on different sticks are not measured alike, and a condition with the name of our own rows harms nothing."""
    series = [msgspec.structs.replace(sample_series(arm, 1.0), stick=stick) for arm, stick in (("a", "TP1"), ("b", "TP2"))]

    assert find_differences(series) == ("stick",)
    assert find_differences([unlike(one, **{CLOCK: HOSTILE}) for one in series]) == ("stick",)


def test_every_chart_and_table_of_figures_of_a_virtual_bench_warns(html: str) -> None:
    """Each of the sixteen charts and each table of rates or costs says that its figures are none of hardware."""
    charts = re.findall(r'<svg xmlns[^>]*role="img".*?</svg>', html, re.DOTALL)
    captions = re.findall(r"<caption>(Median rates|Rates|Latency)(.*?)</caption>", html)

    assert len(charts) == 16
    assert all(WARNING in chart for chart in charts)
    assert len(captions) == 9
    assert all(WARNING in caption for _, caption in captions)


def test_standard_page_is_whole_and_the_same_each_time(standard: Record, html: str) -> None:
    """The page of a full record balances, has unique ids and scopes for all headers, and is the same bytes again."""
    page = Page(html)
    ids = page.values("id")

    assert page.faults == []
    assert len(ids) == len(set(ids))
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    assert html == render_report(standard)


def test_hostile_names_in_new_places_are_text() -> None:
    """Markup and control codes in arms, cells, sticks and conditions appear as text in tables, sentences and charts."""
    series = tuple(
        Series(
            cell, HOSTILE, (Sample(0, 0, 1.0, 1.0, latency_p50_us=5.0, seconds_mib_s=(9.0, 9.0, 1.0), cliff_at=2, stalls=(2,)),)
        )
        for cell in (HOSTILE, "c")
    )
    series = tuple(unlike(msgspec.structs.replace(one, stick=f"{one.cell}"), **{HOSTILE: HOSTILE}) for one in series)
    html = render_report(sample_record(series=series, judgements=(sample_judgement(cell=HOSTILE, arm=HOSTILE, base=HOSTILE),)))

    assert "<img" not in html
    assert "\x1b" not in html
    assert Page(html).faults == []


def test_judgement_without_interval_has_no_brackets() -> None:
    """A ratio of one block stands alone, and a judgement that is none says so."""
    judgements = (
        sample_judgement(low=None, high=None, call=Call.NOT_JUDGED),
        sample_judgement(cell=OTHER, ratio=None, call=Call.NOT_JUDGED),
    )
    series = tuple(sample_series(arm, 30.0, cell=cell) for cell in (CELL, OTHER) for arm in ("pci", "usb-host"))
    text = Page(render_report(sample_record(series=series, judgements=judgements))).text

    assert f"{CELL} 1.41× not judged" in text
    assert f"{OTHER} – no ratio not judged" in text


@pytest.mark.parametrize(
    ("latency_us", "spelled"),
    [(82.0, "82.0 µs"), (0.4, "0.40 µs"), (999.7, "1.00 ms"), (700_448.8, "700 ms"), (2e6, "2.00 s"), (float("nan"), "unknown")],
)
def test_latency_is_spelled_in_its_unit(latency_us: float, spelled: str) -> None:
    """A latency has three digits and the unit that suits it."""
    assert spell_latency(latency_us) == spelled


def test_costs_and_ratios_are_spelled_with_digits_that_mean_something() -> None:
    """CPU seconds and ratios have three digits; a ratio beyond all sense is a direction."""
    assert [spell_cost(cost_s) for cost_s in (0.0431, 0.31, 29.04, 696.7, float("inf"))] == [
        "0.043",
        "0.31",
        "29.0",
        "697",
        "unknown",
    ]
    assert [spell_ratio(ratio) for ratio in (1.4, 0.9874, 123.4, 5000.0, None)] == ["1.40×", "0.987×", "123×", ">1000×", ""]
    assert (spell_interval(1.4, 1.42), spell_interval(None, 1.0)) == ("[1.40, 1.42]", "")
