"""Charts: static SVG that shows every value, reads in light and dark, and survives any value."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import msgspec
import pytest

from harness.core.judgement import Call
from harness.core.series import Sample, Series
from reports.arms import STYLES, style_arms
from reports.charts import block_ratios, rates_chart, ratio_chart
from reports.costs import view_costs
from reports.latency_chart import latency_chart
from reports.seconds_chart import seconds_chart
from tests.records import sample_judgement, sample_record, sample_series

_SVG = "{http://www.w3.org/2000/svg}"


def _series(*rates_mib_s: float) -> Series:
    return Series("c", "pci", tuple(Sample(block, 0, rate, 1.0) for block, rate in enumerate(rates_mib_s)))


def _timed(*seconds_mib_s: tuple[float, ...], cliff_at: int | None = None, stalls: tuple[int, ...] = ()) -> Series:
    """Return a series with the seconds of each block; a cliff and stalls are those of the first."""
    samples = [Sample(block, 0, 100.0, 5.0, seconds_mib_s=seconds) for block, seconds in enumerate(seconds_mib_s)]
    samples[0] = msgspec.structs.replace(samples[0], cliff_at=cliff_at, stalls=stalls)
    return Series("c", "pci", tuple(samples))


def _slow(*latencies_us: float | None) -> Series:
    p50, p99, p999 = latencies_us
    return Series("c", "pci", (Sample(0, 0, 1.0, 1.0, latency_p50_us=p50, latency_p99_us=p99, latency_p999_us=p999),))


def _coordinates(svg: str) -> str:
    return re.sub(r"<(text|desc|title).*?</\1>", "", svg)


def _lines(svg: str) -> int:
    """Return how many thin lines of an arm's colour there are."""
    paths = [element.get("style", "") for element in _parse(svg).iter(f"{_SVG}path")]
    return sum("--arm-" in style and "stroke-opacity: 0.75" in style for style in paths)


def _parse(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 (our own drawing)


def _marks(svg: str) -> int:
    return sum("--arm-" in element.get("style", "") for element in _parse(svg).iter(f"{_SVG}use"))


def _texts(svg: str) -> list[str]:
    return [element.text or "" for element in _parse(svg).iter(f"{_SVG}text")]


def test_rates_chart_shows_every_block_of_every_arm() -> None:
    """Three arms of six blocks are eighteen marks; an arm without blocks keeps its row and says so."""
    empty = tuple(sample_series(arm, 1.0, blocks=0) for arm in ("native", "pci", "usb-host"))

    assert _marks(rates_chart(sample_record().series, emulated=False)) == 18
    assert {"native", "pci", "usb-host"} <= set(_texts(rates_chart(sample_record().series, emulated=False)))
    assert _texts(rates_chart(empty, emulated=False)).count("no rate") == 3


@pytest.mark.parametrize(
    "rates",
    [(), (100.0,), (0.0, 0.0), (1e300, 1.0), (1e14, 1e-9), (float("nan"), 5.0), (float("inf"),), (-3.0, 2.0)],
    ids=["none", "one", "zero", "too-huge", "huge", "nan", "infinite", "negative"],
)
def test_rates_chart_survives_any_rate(rates: tuple[float, ...]) -> None:
    """A chart is made of any rates, without a warning and with no coordinate that is no number."""
    svg = rates_chart([_series(*rates)], emulated=False)

    assert not re.search(r"\b(nan|inf)\b", re.sub(r"<(text|desc|title).*?</\1>", "", svg))


def test_charts_without_data_say_so() -> None:
    """No series and no judgement still make a chart, which says that there is nothing."""
    assert "nothing was measured" in _texts(rates_chart([], emulated=False))
    assert "nothing was measured" in _texts(ratio_chart([]))


@pytest.mark.parametrize(
    ("ratio", "low", "high"),
    [
        (None, None, None),
        (1.0, 1.0, 1.0),
        (0.0, 0.0, 0.0),
        (1e30, 1.0, 1e40),
        (1e-5, 1e-6, 1e5),
        (-1.0, -2.0, 3.0),
        (2.0, None, None),
    ],
)
def test_ratio_chart_survives_any_ratio(ratio: float | None, low: float | None, high: float | None) -> None:
    """A chart is made of any ratio and interval, without a warning and with no coordinate that is no number."""
    judgement = sample_judgement(primary=True)
    svg = ratio_chart([type(judgement)("c", "pci", "native", 1, ratio, low, high, 0.95, "t", Call.NOT_JUDGED, "")])

    assert not re.search(r"\b(nan|inf)\b", re.sub(r"<(text|desc|title).*?</\1>", "", svg))


def test_ratio_chart_names_both_arms_and_the_answer() -> None:
    """A row says what was compared with what, and what came out; 1 is on the axis."""
    texts = _texts(ratio_chart([sample_judgement()]))

    assert "pci / usb-host" in texts
    assert "1.41×, faster" in texts
    assert "1×" in texts


def test_chart_of_a_virtual_bench_carries_the_warning() -> None:
    """The warning is part of the drawing, so that it stays with a chart that is cut out."""
    warning = "virtual bench: figures are not hardware figures"

    assert warning in _texts(rates_chart([_series(1.0)], emulated=True))
    assert warning in _texts(ratio_chart([sample_judgement()], emulated=True))
    assert warning not in _texts(rates_chart([_series(1.0)], emulated=False))


def test_chart_is_ready_for_a_page() -> None:
    """A chart has no prolog, date or style sheet, takes its colours from the page, and is named for those who do not see it."""
    svg = rates_chart(sample_record().series, emulated=True)
    root = _parse(svg)

    assert svg.startswith("<svg ")
    assert "<metadata" not in svg
    assert "<style" not in svg
    assert set(re.findall(r"(?:fill|stroke): (#[0-9a-f]+)", svg)) <= {"#ffffff"}
    assert root.get("role") == "img"
    assert [child.tag for child in root][:2] == [f"{_SVG}title", f"{_SVG}desc"]
    assert "pci: median" in (root[1].text or "")


def test_charts_of_one_page_share_no_id() -> None:
    """Two charts with different names have different ids, and each refers to its own only."""
    charts = [rates_chart(sample_record().series, emulated=True, name=name) for name in ("a", "b")]
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in charts]
    used = [set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg)) for svg in charts]

    assert not ids[0] & ids[1]
    assert used[0] <= ids[0]
    assert used[1] <= ids[1]


def test_arms_keep_their_look_whatever_stands_beside_them() -> None:
    """The well-known arms always look the same, and no two of up to eight arms look alike."""
    names = ("second", "pci", "native", "first", "virtio-blk", "usb-host", "third", "fourth")
    styles = style_arms(names)

    assert styles["pci"] == style_arms(["pci"])["pci"]
    assert len({style.marker for style in styles.values()}) == len({style.css for style in styles.values()}) == 8
    assert len(style_arms(f"arm{number}" for number in range(20))) == 20
    assert all(style.glyph for style in STYLES)


def test_ratio_chart_has_a_ring_for_each_block() -> None:
    """Beside the interval stand the ratios of the blocks that both arms measured, each of its own block."""
    arm = Series("c", "pci", tuple(Sample(block, 0, rate, 1.0) for block, rate in ((0, 4.0), (1, 6.0), (3, 9.0), (4, 0.0))))
    base = Series("c", "usb-host", tuple(Sample(block, 0, rate, 1.0) for block, rate in ((1, 2.0), (0, 4.0), (2, 5.0), (4, 1.0))))
    judgement = sample_judgement(cell="c")
    bare, whole = ratio_chart([judgement]), ratio_chart([judgement], [arm, base])

    assert block_ratios(judgement, [arm, base], steady=True) == (1.0, 3.0)
    assert _marks(whole) - _marks(bare) == 2


def test_ratio_chart_tells_blocks_that_do_not_count() -> None:
    """A block in which a run was not steady has no part in the interval: it is a cross, not a ring; unknown counts."""
    arm = Series("c", "pci", tuple(Sample(block, 0, 4.0, 1.0, steady=steady) for block, steady in enumerate((True, False, None))))
    base = Series("c", "usb-host", tuple(Sample(block, 0, 2.0 + block, 1.0) for block in range(3)))
    judgement = sample_judgement(cell="c")

    assert block_ratios(judgement, [arm, base], steady=True) == (2.0, 1.0)
    assert block_ratios(judgement, [arm, base], steady=False) == (4 / 3,)
    assert _marks(ratio_chart([judgement], [arm, base])) - _marks(ratio_chart([judgement])) == 3


def test_ratio_chart_outlines_the_noise_floor() -> None:
    """A known floor is two dashed lines and a word on the axis; an unknown or absurd one is neither."""
    known = ratio_chart([sample_judgement(floor=1.004)])

    assert "ratio (logarithmic; band: ±3 %, dashes: noise floor ±0.4 %)" in _texts(known)
    assert known.count("stroke-dasharray: 3,2") == 2
    for floor in (None, 1.0, 0.0, -2.0, 1e300):
        svg = ratio_chart([sample_judgement(floor=floor)])
        assert "noise floor" not in svg
        assert "stroke-dasharray" not in svg


def test_seconds_chart_has_a_line_for_each_block() -> None:
    """Each block of an arm is a thin line with a mark at its end, dashed as the arm is; arms without seconds have no panel."""
    series = [_timed((9.0, 8.0), (7.0, 9.0), (8.0, 8.0)), sample_series("native", 100.0)]
    svg = seconds_chart(series, emulated=True)

    assert _lines(svg) == 3
    assert _marks(svg) == 3
    assert "stroke-dasharray" in svg
    assert "native" not in _texts(svg)
    assert "3 blocks" in _texts(svg)
    assert "virtual bench: figures are not hardware figures" in _texts(svg)


def test_seconds_chart_marks_cliffs_and_stalls() -> None:
    """A cliff has a bar and the rates before and after it in words, a stall a cross and a word, for the ear too."""
    seconds = (400.0, 402.0, 0.5, 120.0, 122.0)
    plain = seconds_chart([_timed(seconds)], emulated=False)
    marked = seconds_chart([_timed(seconds, cliff_at=2, stalls=(2,))], emulated=False)
    words = "burst 401.0, sustained 121.0 MiB/s, 1 stall"

    assert words in _texts(marked)
    assert words in (_parse(marked)[1].text or "")
    assert marked.count("<use") == plain.count("<use") + 1
    assert "stall" not in plain


@pytest.mark.parametrize("cliff_at", [-1, 0, 5, 10**9])
def test_seconds_chart_ignores_a_cliff_outside_of_the_run(cliff_at: int) -> None:
    """A cliff or a stall at a second that the run did not have is not drawn."""
    seconds = (400.0, 402.0, 120.0, 121.0, 122.0)

    assert seconds_chart([_timed(seconds, cliff_at=cliff_at)], emulated=False) == seconds_chart([_timed(seconds)], emulated=False)
    assert "<use" in seconds_chart([_timed(seconds, stalls=(-1, 5, 10**9))], emulated=False)


@pytest.mark.parametrize(
    "seconds",
    [(1.0,), (0.0, 0.0), (1e300, 1.0), (1e14, 1e-9), (float("nan"), 5.0), (5.0, float("inf")), (-3.0, 2.0)],
    ids=["one", "zero", "too-huge", "huge", "nan", "infinite", "negative"],
)
def test_seconds_chart_survives_any_rate(seconds: tuple[float, ...]) -> None:
    """A chart is made of any seconds, without a warning and with no coordinate that is no number."""
    svg = seconds_chart([_timed(seconds, cliff_at=1, stalls=(0, 1))], emulated=False)

    assert not re.search(r"\b(nan|inf)\b", _coordinates(svg))


def test_charts_of_what_nobody_measured_are_none() -> None:
    """Without seconds and without latencies there is no chart: what is unknown is never drawn as zero."""
    series = sample_record().series

    assert seconds_chart(series, emulated=True) == ""
    assert seconds_chart([_timed((float("nan"),))], emulated=True) == ""
    assert view_costs(series) == ()
    assert latency_chart((), emulated=True) == ""
    assert latency_chart(view_costs([_slow(0.0, None, -1.0)]), emulated=True) == ""


def test_latency_chart_has_three_marks_for_an_arm() -> None:
    """Each arm has its percentiles from left to right, their values in words, and the unit on the axis."""
    svg = latency_chart(view_costs([_slow(82.0, 1250.0, 20_000.0)]), emulated=True)
    x = [float(element.get("x", "nan")) for element in _parse(svg).iter(f"{_SVG}use") if "--arm-" in element.get("style", "")]

    assert len(x) == 3
    assert x == sorted(x)
    assert "82.0 µs, 1.25 ms, 20.0 ms" in _texts(svg)
    assert {"100 µs", "1 ms", "10 ms"} <= set(_texts(svg))
    assert "pci: p50 82.0 µs, p99 1.25 ms, p99.9 20.0 ms" in (_parse(svg)[1].text or "")


@pytest.mark.parametrize("latencies_us", [(1.0, 1.0, 1.0), (1e-300, 1e300, 5.0), (700e3, 801e3, 801e3), (1e-3, 1.0, 1e9)])
def test_latency_chart_survives_any_latency(latencies_us: tuple[float, float, float]) -> None:
    """A chart is made of any latencies, with two to seven ticks and no coordinate that is no number."""
    svg = latency_chart(view_costs([_slow(*latencies_us)]), emulated=False)
    ticks = [text for text in _texts(svg) if re.fullmatch(r"[\d.e+-]+ (µs|ms|s)", text)]

    assert 2 <= len(ticks) <= 7
    assert not re.search(r"\b(nan|inf)\b", _coordinates(svg))


def test_arms_look_the_same_where_another_was_not_measured() -> None:
    """An arm that is only judged takes no look from one that was measured."""
    missing = sample_judgement(arm="native", base="first", ratio=None, low=None, high=None, call=Call.NOT_JUDGED)
    svg = ratio_chart([missing, sample_judgement(arm="first", base="second")], arms=["first", "second"])

    assert "--arm-0" in svg
    assert "--arm-1" not in svg
