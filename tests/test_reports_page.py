"""report.html: complete, safe against hostile strings, the same for the same record."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from harness.core.errors import UsageError
from harness.core.record import SCHEMA, Attachment, Record, encode
from harness.core.timeline import Span, SpanKind
from reports.page import render_report, write_report
from tests.records import (
    CELL,
    HOSTILE,
    SENTENCE,
    empty_record,
    failed_record,
    failed_record_with_series,
    hostile_record,
    refused_record,
    sample_judgement,
    sample_record,
    sample_series,
)

_VOID = {"meta", "link", "br", "img", "hr", "input"}
_RECORDS = {
    "qualified": sample_record,
    "not-qualified": failed_record,
    "refused": refused_record,
    "full": failed_record_with_series,
    "empty": empty_record,
    "hostile": hostile_record,
}


class Page(HTMLParser):
    """A page as its tags, ids, links and text; ``faults`` holds what does not balance."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.faults: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        self.faults += [f"{tag} is never closed" for tag in self.stack]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the tag, and its place."""
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag that closes itself."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Leave the tag, which must be the last one opened."""
        if not self.stack or self.stack.pop() != tag:
            self.faults.append(f"{tag} at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        """Keep the text, but not the style sheet."""
        if "style" not in self.stack:
            self.words.append(data)

    @property
    def text(self) -> str:
        """Return what a reader reads, with single spaces."""
        return " ".join(" ".join(self.words).split())

    def values(self, attribute: str) -> list[str]:
        """Return every value of one attribute."""
        return [value for _, attributes in self.tags if (value := attributes.get(attribute)) is not None]

    def count(self, tag: str, **attributes: str) -> int:
        """Return how many such tags there are."""
        return sum(name == tag and attributes.items() <= found.items() for name, found in self.tags)


@pytest.mark.parametrize("name", _RECORDS)
class TestEveryPage:
    """What holds for the page of any record."""

    def test_page_is_well_formed(self, name: str) -> None:
        """Every tag is closed where it belongs, every id is unique, and every inner link has its target."""
        page = Page(render_report(_RECORDS[name]()))
        ids = page.values("id")
        inner = {link[1:] for link in page.values("href") if link.startswith("#")}

        assert page.faults == []
        assert len(ids) == len(set(ids))
        assert inner <= set(ids)

    def test_page_is_static_and_closed(self, name: str) -> None:
        """The page has no script, no handler, no image from elsewhere, and a policy that forbids all of them."""
        page = Page(render_report(_RECORDS[name]()))
        policy = page.values("content")[0]

        assert page.count("script") == page.count("img") == page.count("iframe") == 0
        assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
        assert all(link.startswith(("#", "./")) for link in page.values("href"))
        assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")

    def test_page_is_the_same_each_time(self, name: str) -> None:
        """The same record gives the same bytes."""
        assert render_report(_RECORDS[name]()) == render_report(_RECORDS[name]())

    def test_page_can_be_heard(self, name: str) -> None:
        """The page names its language, has one main heading, names each chart, and gives each header cell a scope."""
        page = Page(render_report(_RECORDS[name]()))
        headers = [attributes for tag, attributes in page.tags if tag == "th"]
        charts = [attributes for tag, attributes in page.tags if tag == "svg" and attributes.get("role") == "img"]

        assert page.count("html", lang="en") == 1
        assert page.count("h1") == 1
        assert all("scope" in header for header in headers)
        assert all((chart["aria-labelledby"] or "").split()[0] in page.values("id") for chart in charts)


def test_page_of_a_qualified_board_tells_the_result() -> None:
    """The page states the verdict, the primary sentence, each arm with driver, speed and rates, and both charts."""
    page = Page(render_report(sample_record()))

    assert "QUALIFIED This board passes" in page.text
    assert SENTENCE in page.text
    for part in ("native", "usb-host", "usb-storage", "5000M", "396.0", "virtual-vtd", "10.0.3", "2026-03-01 14:05 UTC"):
        assert part in page.text
    assert page.count("svg", role="img") == 2


def test_page_of_a_virtual_bench_warns_beside_every_figure() -> None:
    """On a virtual bench the banner, each chart and the table of rates say that figures are not hardware figures."""
    warning = "virtual bench: figures are not hardware figures"
    emulated = render_report(sample_record())
    environment = msgspec.structs.replace(sample_record().environment, emulated=False)
    real = render_report(sample_record(environment=environment))

    assert Page(emulated).text.count(warning) >= 4
    assert warning not in real


def test_page_of_a_failed_board_says_what_to_do() -> None:
    """A failure shows its reason and remedy beside the verdict, and its evidence is open where that of passed checks is not."""
    html = render_report(failed_record())
    page = Page(html)
    failed = html[html.index('id="check-readiness-dma-remapping"') :]

    assert "NOT QUALIFIED" in page.text
    assert 'Enable "VT-d" in the firmware\'s setup' in page.text[: page.text.index("Stages")]
    assert '<details class="evidence" open>' in failed
    assert '<details class="evidence" open>' not in html[: html.index('id="check-readiness-dma-remapping"')]
    assert "#check-readiness-dma-remapping" in page.values("href")
    assert "blocked" in page.text
    assert "Throughput was not measured." in page.text


def test_page_of_a_refused_run_is_undecided() -> None:
    """A refusal leaves the board undecided and names what to move; stages that were not reached say so."""
    page = Page(render_report(refused_record()))

    assert "UNDECIDED" in page.text
    assert "Move the root disk to another controller" in page.text
    assert "guest not run" in page.text


def test_page_shows_hostile_strings_as_text() -> None:
    """Markup and control codes in any string of the record appear as text, wherever they stand."""
    html = render_report(hostile_record())

    assert "<img" not in html
    assert "\x1b" not in html
    assert r"&lt;img src=x onerror=alert(1)&gt;\x1b[31m" in html


def test_page_shows_hostile_names_of_conditions_as_text() -> None:
    """The names of an arm's conditions are free text too."""
    series = msgspec.structs.replace(sample_series("pci", 1.0), confounders={HOSTILE: HOSTILE, "driver": HOSTILE})
    html = render_report(sample_record(series=(series,)))

    assert "<img" not in html
    assert "\x1b" not in html


@pytest.mark.parametrize(
    "text", ['" onload="alert(1)', "$\\frac{$", "</style></svg><script>", "\ufffe\ud800\u202e", "写真 📷", "%s{{ 7*7 }}"]
)
def test_page_survives_strange_strings(text: str) -> None:
    """Quotes, formulas, closing tags, noncharacters, surrogates and templates in strings change nothing but the text."""
    record = msgspec.convert(msgspec.to_builtins(sample_record()), type=Record)
    environment = msgspec.structs.replace(record.environment, stick=text, board=text)
    series = (sample_series(text, 100.0, cell=text), sample_series("pci", 90.0, cell=text))
    judgements = (sample_judgement(arm=text, base=text, cell=text, sentence=text),)
    html = render_report(sample_record(environment=environment, series=series, judgements=judgements))
    page = Page(html)

    assert page.faults == []
    assert page.count("script") == 0
    assert "49" not in html[html.index("<dl") : html.index("</dl>")]
    html.encode()


@pytest.mark.parametrize("name", ["javascript:alert(1)", "//host/share", "/etc/passwd", "../../other", "a/../../b", ""])
def test_attachment_that_leads_elsewhere_is_no_link(name: str) -> None:
    """An attachment's name becomes a link only to a file beside the page."""
    page = Page(render_report(sample_record(series=(), attachments=(Attachment(name, "00" * 32),))))
    links = [link for link in page.values("href") if not link.startswith("#") and link != "./record.json"]

    assert all(link.startswith("./") and ":" not in link and ".." not in link for link in links)
    assert len(links) == (1 if name.startswith("javascript") else 0)


def test_attachment_links_to_the_file_beside_the_page() -> None:
    """An attachment has a relative link and its checksum."""
    page = Page(render_report(sample_record()))

    assert "./guest-console.log" in page.values("href")
    assert "9f" * 32 in page.text


def test_page_of_an_empty_record_says_that_nothing_was_run() -> None:
    """A record without checks and series still makes a page."""
    page = Page(render_report(empty_record()))

    assert "No check was run." in page.text
    assert page.count("svg", role="img") == 0


def test_page_holds_every_cell_and_opens_with_the_primary_one() -> None:
    """The primary cell comes first though it was measured last; the others follow, folded."""
    other = sample_series("pci", 30.0, cell="RND4K Q1T1 read")
    page = Page(render_report(sample_record(series=(other, *sample_record().series))))

    assert page.text.index(f"Rates in MiB/s, {CELL}") < page.text.index("Rates in MiB/s, RND4K Q1T1 read")
    assert page.count("details", **{"class": "cell"}) == 2  # the cell, and the rules that hold


def test_arms_measured_under_different_conditions_are_flagged() -> None:
    """A driver that differs between arms is said in words beside the rates."""
    same = tuple(sample_series(arm, 100.0) for arm in ("pci", "usb-host"))

    assert "The arms were not measured alike: driver ." in Page(render_report(sample_record())).text.replace(
        "driver.", "driver ."
    )
    assert "not measured alike" not in render_report(sample_record(series=same))


def test_write_report_puts_the_page_beside_the_record(tmp_path: Path) -> None:
    """The page lies beside record.json, replaces an older one, and leaves no draft."""
    record = tmp_path / "record.json"
    record.write_bytes(encode(sample_record()))
    (tmp_path / "report.html").write_text("old")

    page = write_report(record)

    assert page == tmp_path / "report.html"
    assert page.read_text(encoding="utf-8") == render_report(sample_record())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["record.json", "report.html"]


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read"), (b"{}", "not a throughpass record"), (f'{{"schema": {SCHEMA + 1}}}'.encode(), "version")],
)
def test_write_report_refuses_what_is_no_record(tmp_path: Path, content: bytes | None, words: str) -> None:
    """A record that is missing, broken or of a newer version is a usage error, and no page is written."""
    record = tmp_path / "record.json"
    if content is not None:
        record.write_bytes(content)

    with pytest.raises(UsageError, match=words):
        write_report(record)
    assert not (tmp_path / "report.html").exists()


def test_importing_the_page_does_not_import_matplotlib() -> None:
    """A command that may not render anything does not pay for matplotlib."""
    code = "import sys, reports.page, reports.summary; sys.exit('matplotlib' in sys.modules)"
    root = Path(__file__).parents[1]

    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_colours_of_the_page_can_be_read() -> None:
    """Light and dark: text and tones have a contrast of 4.5 on every ground they stand on, arms one of 3 (WCAG AA)."""
    css = (Path(__file__).parents[1] / "reports" / "templates" / "report.css").read_text(encoding="utf-8")
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w{6})", part)) for part in css.split("@media screen", 1)[:2])
    for colours in (light, dark):
        for tone in ("good", "weak", "bad", "unsure", "quiet"):
            grounds = [colours["paper"], colours[f"{tone}-wash"]]
            assert min(_contrast(colours[name], ground) for name in (tone, "ink", "soft") for ground in grounds) >= 4.5
            assert _contrast(colours["on-tone"], colours[tone]) >= 3
        assert min(_contrast(colours["soft"], colours[ground]) for ground in ("paper", "raised")) >= 4.5
        assert _contrast(colours["link"], colours["paper"]) >= 4.5
        assert min(_contrast(colours[f"arm-{number}"], colours["paper"]) for number in range(8)) >= 3


def _contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG 2 defines it."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_page_tells_the_overhead() -> None:
    """The harness's seconds are what the spans leave of the stages, and the stricter figure stands beside them."""
    page = Page(render_report(sample_record()))

    assert "Harness overhead: 48.0 s of 5 min 24 s ( 14.8 % )." in page.text
    assert re.search(r"settling a hot-plug, [^0-9]*21\.8 s 6\.7 %", page.text)
    assert re.search(r"harness, strictly [^0-9]*1 min 09 s 21\.4 %", page.text)
    assert "throughput – none – none 2 min 45 s 19.8 s 28.6 s return" in page.text


def bar_pieces(page: Page) -> list[tuple[str, float, float]]:
    """Return the pieces of all bars: pattern, start and length in per cent."""
    pieces = [found for tag, found in page.tags if tag == "rect" and str(found.get("width")).endswith("%")]
    return [(str(found["class"]), float(str(found["x"])[:-1]), float(str(found["width"])[:-1])) for found in pieces]


def test_page_splits_the_bars_by_kind() -> None:
    """A bar's pieces follow one another up to the stage's time, each with a pattern of its own."""
    page = Page(render_report(sample_record()))
    throughput = bar_pieces(page)[-5:-2]

    assert [pattern for pattern, _, _ in throughput] == ["fio", "settle", "harness"]
    assert [length for _, _, length in throughput] == pytest.approx([77.38, 9.25, 13.36], abs=0.01)
    assert [start for _, start, _ in throughput] == pytest.approx([0, 77.38, 86.64], abs=0.01)
    assert all(page.count("pattern", id=f"pattern-{name}") == 1 for name in ("boot", "guest", "settle", "harness"))


def test_page_of_a_record_without_spans_splits_nothing() -> None:
    """A record from before there were spans has whole bars, and no word of overhead."""
    record = sample_record()
    page = Page(render_report(with_spans(record)))

    assert "Where the time went" in page.text
    assert "overhead" not in page.text.lower()
    assert [pattern for pattern, _, _ in bar_pieces(page)] == ["whole"] * len(record.run.stages)
    assert page.count("pattern") == 0


def test_page_survives_spans_that_contradict_the_stages() -> None:
    """Spans longer than their stage, or beyond any float, are drawn to the stage's end."""
    spans = [Span(SpanKind.FIO, "usb", start_s, 1e308) for start_s in (0.0, -1e308, 1e308)]
    page = Page(render_report(with_spans(sample_record(), *spans)))

    assert all(0 < length <= 100 for _, _, length in bar_pieces(page))


def with_spans(record: Record, *spans: Span) -> Record:
    """Return the record with those spans alone."""
    return msgspec.structs.replace(record, run=msgspec.structs.replace(record.run, spans=spans))
