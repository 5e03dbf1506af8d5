"""Charts: static SVG that shows every value, reads in light and dark, and survives any value."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from harness.core.judgement import Call
from harness.core.series import Sample, Series
from reports.arms import STYLES, style_arms
from reports.charts import rates_chart, ratio_chart
from tests.records import sample_judgement, sample_record, sample_series

_SVG = "{http://www.w3.org/2000/svg}"


def _series(*rates_mib_s: float) -> Series:
    return Series("c", "pci", tuple(Sample(block, 0, rate, 1.0) for block, rate in enumerate(rates_mib_s)))


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
    """The well-known arms always look the same, and no two of up to six arms look alike."""
    names = ("second", "pci", "native", "first", "virtio-blk", "usb-host")
    styles = style_arms(names)

    assert styles["pci"] == style_arms(["pci"])["pci"]
    assert len({style.marker for style in styles.values()}) == len({style.css for style in styles.values()}) == 6
    assert len(style_arms(f"arm{number}" for number in range(20))) == 20
    assert all(style.glyph for style in STYLES)
