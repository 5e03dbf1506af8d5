"""report, compare and history as a user calls them: what they print, write and refuse, and their exit status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from harness.cli.records import FAIL_WORDS
from harness.core.comparison import Change, Comparison, Shift
from harness.core.history import History
from harness.core.record import SCHEMA, Outcome, Record, encode
from reports.page import write_report
from tests.comparing import RATES, measured_record, with_environment, write_run
from tests.records import sample_record
from tests.test_cli import throughpass


def write(path: Path, record: Record) -> str:
    """Write a record, and return its path as a user types it."""
    path.write_bytes(encode(record))
    return str(path)


def pair(folder: Path, rates: Mapping[str, float] = RATES) -> tuple[str, str]:
    """Write two records of one bench, the second with these rates."""
    return write(folder / "a.json", measured_record(1)), write(folder / "b.json", measured_record(2, rates=rates))


def test_cli_report_is_the_page_of_the_run(tmp_path: Path) -> None:
    """The page that is made anew, by another process, has the bytes of the one that the run wrote."""
    for number, record in enumerate((sample_record(), measured_record(1))):
        path = write_run(tmp_path, record, number)
        written = write_report(path).read_bytes()
        path.with_name("report.html").unlink()

        assert throughpass("report", str(path.parent)).returncode == 0
        assert path.with_name("report.html").read_bytes() == written


def test_cli_report_goes_where_it_is_asked_to(tmp_path: Path) -> None:
    """--output names a folder or a file; a page away from its record says that its links lead there."""
    record = write(tmp_path / "record.json", sample_record())
    (tmp_path / "out").mkdir()

    folder = throughpass("report", record, "--output", str(tmp_path / "out"))
    file = throughpass("report", record, "--output", str(tmp_path / "x.html"))
    nowhere = throughpass("report", record, "--output", str(tmp_path / "none" / "x.html"))

    assert (folder.stdout, file.stdout) == (f"{tmp_path}/out/report.html\n", f"{tmp_path}/x.html\n")
    assert (tmp_path / "out" / "report.html").read_bytes() == (tmp_path / "x.html").read_bytes()
    assert "links lead to files beside" in folder.stderr
    assert file.stderr == ""
    assert (nowhere.returncode, nowhere.stderr.count("\n")) == (2, 1)
    assert "cannot be written: No such file" in nowhere.stderr


def test_cli_compare_says_what_changed(tmp_path: Path) -> None:
    """Two equal runs end with 0 and nothing slower; one that lost a tenth says which figures, with 0 unless asked to fail."""
    same = throughpass("compare", *pair(tmp_path), "--fail-on", ",".join(FAIL_WORDS))
    slower = throughpass("compare", *pair(tmp_path, {**RATES, "pci": 356.0}))

    assert (same.returncode, slower.returncode) == (0, 0)
    assert "Of 24 figures: 24 equivalent." in same.stdout
    assert "4 slower" in slower.stdout
    assert "▼  slower" in slower.stdout


def test_cli_compare_fails_on_what_was_asked(tmp_path: Path) -> None:
    """--fail-on ends with 1 where there is such a thing, and names it; other words end with 0, unknown ones with 2."""
    files = pair(tmp_path, {**RATES, "pci": 356.0})

    slower = throughpass("compare", *files, "--fail-on", "lost, slower")
    others = throughpass("compare", *files, "--fail-on", "lost,came,gone")
    unknown = throughpass("compare", *files, "--fail-on", "slow")

    assert (slower.returncode, others.returncode, unknown.returncode) == (1, 0, 2)
    assert "--fail-on slower: pci SEQ1M Q8T1 read" in slower.stderr
    assert "--fail-on does not know 'slow': there are slower, lower, lost" in unknown.stderr


def test_cli_compare_fails_on_a_lost_check(tmp_path: Path) -> None:
    """A check that passed and does not any more is lost, and one that has become a condition is weaker."""
    record = measured_record(2)
    checks = [
        msgspec.structs.replace(check, outcome=outcome) if check.id == name else check
        for check in record.checks
        for name, outcome in [("usb/data", Outcome.FAIL)]
    ]
    before, _ = pair(tmp_path)
    after = write(tmp_path / "c.json", msgspec.structs.replace(record, checks=tuple(checks)))

    done = throughpass("compare", before, after, "--fail-on", "lost")

    assert (done.returncode, "--fail-on lost: usb/data" in done.stderr) == (1, True)


def test_cli_compare_prints_json(tmp_path: Path) -> None:
    """--json prints one document, which is the comparison, and takes the folder of a run for its record."""
    paths = [write_run(tmp_path, measured_record(number), number).parent for number in (1, 2)]

    done = throughpass("compare", *map(str, paths), "--json")
    made = msgspec.json.decode(done.stdout, type=Comparison)

    assert (done.returncode, made.schema, len(made.effects)) == (0, 1, 24)
    assert made.before.name == str(paths[0] / "record.json")


def test_cli_compare_refuses_emulated_with_real(tmp_path: Path) -> None:
    """A record that looks real and one that is emulated are refused with a sentence, and no page is written."""
    before, _ = pair(tmp_path)
    emulated = write(tmp_path / "e.json", with_environment(measured_record(2), emulated=True))

    done = throughpass("compare", before, emulated, "--html", str(tmp_path / "c.html"))

    assert (done.returncode, done.stdout) == (2, "")
    assert "e.json is of emulated hardware (its bench is virtual)" in done.stderr
    assert not (tmp_path / "c.html").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(encode(sample_record())[:2000], "is not a throughpass record", id="cut-short"),
        pytest.param(json.dumps({"schema": SCHEMA + 1}).encode(), "use a newer throughpass", id="future"),
        pytest.param(b'{"schema": "one"}', "is not a throughpass record", id="edited"),
        pytest.param(None, "cannot be read: No such file", id="missing"),
    ],
)
@pytest.mark.parametrize("verb", ["compare", "report"])
def test_cli_bad_record_is_a_sentence_and_two(tmp_path: Path, verb: str, content: bytes | None, said: str) -> None:
    """A record that is cut short, of a future version or edited beyond reading ends with 2 and one line that names it."""
    bad = tmp_path / "bad.json"
    if content is not None:
        bad.write_bytes(content)
    good = [pair(tmp_path)[0]] if verb == "compare" else []

    done = throughpass(verb, *good, str(bad))

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"throughpass: {bad}")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_cli_history_shows_benches_and_names_what_it_skipped(tmp_path: Path) -> None:
    """Without a name all benches of --runs are shown, with one that bench alone, as a folder too; a bad file costs nothing."""
    for number in range(3):
        write_run(tmp_path / "runs", measured_record(number), number)
    write_run(tmp_path / "runs", sample_record())
    (tmp_path / "runs" / "rack-7" / "bad").mkdir()
    (tmp_path / "runs" / "rack-7" / "bad" / "record.json").write_text("{")
    page = tmp_path / "wall.html"

    everything = throughpass("history", "--runs", str(tmp_path / "runs"), "--html", str(page))
    bench = throughpass("history", "rack-7", "--runs", str(tmp_path / "runs"), "--json")
    folder = throughpass("history", str(tmp_path / "runs" / "rack-7"), "--json")

    assert everything.returncode == 0
    assert "rack-7" in everything.stdout
    assert "virtual-vtd" in everything.stdout
    assert f"skipped: {tmp_path}/runs/rack-7/bad/record.json is not a throughpass record" in everything.stdout
    assert "rack-7" in page.read_text(encoding="utf-8")
    assert [row.runs for row in msgspec.json.decode(bench.stdout, type=History).boards] == [3]
    assert folder.stdout == bench.stdout


def test_cli_history_without_records_is_two(tmp_path: Path) -> None:
    """A bench without runs, and a folder without a record, end with 2 and a sentence."""
    unknown = throughpass("history", "rack-9", "--runs", str(tmp_path))
    empty = throughpass("history", "--runs", str(tmp_path))

    assert (unknown.returncode, empty.returncode) == (2, 2)
    assert "there are no runs of rack-9" in unknown.stderr
    assert "there is no record that can be read below" in empty.stderr


def test_cli_every_word_of_fail_on_means_something() -> None:
    """Each word is one of the answers that a comparison gives."""
    words = {shift.value for shift in Shift} | {change.value for change in Change} | {"incomparable"}

    assert set(FAIL_WORDS) <= words
