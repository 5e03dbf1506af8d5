"""The verbs about facts and rules: survey, collect, explain, rules; what they say, and how they end."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from harness.cli import main
from harness.cli.app import CHECKOUT
from harness.core.capture import Capture, Item, Status
from harness.facts.archive import write_archive
from harness.rules.registry import RULES
from harness.rules.screen import show_survey
from harness.rules.survey import Fleet, Source, Survey, survey_of
from harness.rules.verdict import Readiness

THROUGHPASS = Path(sys.executable).with_name("throughpass")
CAPTURES = CHECKOUT / "fixtures" / "captures"
SHIPPED = {
    "seed-i7-860": {"0000:00:1a.0": "unknown", "0000:00:1d.0": "unknown", "0000:05:00.0": "unknown"},
    "virtual-vtd.tar.gz": {"0000:01:00.0": "ready"},
    "virtual-amdvi.tar.gz": {"0000:00:04.0": "conditional"},
    "no-iommu.tar.gz": {"0000:01:00.0": "not ready"},
    "root-on-card.tar.gz": {"0000:01:00.0": "not ready"},
    "twin-cards.tar.gz": {"0000:01:00.0": "ready", "0000:02:00.0": "ready"},
}


class Done(NamedTuple):
    """How a command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


def throughpass(*arguments: str, columns: int = 100) -> Done:
    """Run the command in this process, in a terminal of this width."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setenv("COLUMNS", str(columns))
        patch.setattr(sys, "argv", ["throughpass", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
    return Done(int(end.value.code or 0), out.getvalue(), err.getvalue())


def survey(*arguments: str) -> Survey:
    """Return the document that the command prints, as its type."""
    return msgspec.json.decode(throughpass("survey", "--json", *arguments).stdout, type=Survey)


def strip_source(made: Survey) -> Survey:
    """Return a survey without what tells one taking from another: where, and when."""
    findings = tuple(finding for finding in made.findings if finding.rule != "HST001")
    return msgspec.structs.replace(made, source=Source("local", ""), taken="", findings=findings)


@contextmanager
def written(path: Path, *members: tuple[str, bytes | str]) -> Iterator[str]:
    """Write a tar.gz of files, and of links where a member's content is text."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
            else:
                member.size = len(content)
            archive.addfile(member, None if isinstance(content, str) else io.BytesIO(content))
    yield str(path)


@pytest.mark.parametrize("name", SHIPPED)
def test_survey_judges_each_shipped_capture(name: str) -> None:
    """The verdicts on a shipped capture's controllers are those that its notes promise."""
    made = survey("--from", str(CAPTURES / name))

    assert {address: verdict.value for address, verdict in made.verdict.items()} == SHIPPED[name]
    assert made.source.kind == "capture"


def test_survey_names_the_disk_that_holds_the_root() -> None:
    """The blast radius of a card with the root disk on it names that, and it is the reason."""
    done = throughpass("survey", "--from", str(CAPTURES / "root-on-card.tar.gz"))

    assert done.returncode == 0
    assert "STO001 the host uses a disk on the controller" in done.stdout
    assert "giving 01:00.0 away takes: the disk that holds /media/lower and /" in done.stdout


@pytest.mark.parametrize("columns", [60, 80, 100])
@pytest.mark.parametrize("name", SHIPPED)
def test_survey_fits_the_terminal(name: str, columns: int) -> None:
    """No line of a shipped capture's screen is wider than the terminal."""
    lines = throughpass("survey", "--from", str(CAPTURES / name), columns=columns).stdout.splitlines()

    assert len(lines) > 5
    assert [line for line in lines if len(line) > columns] == []


def test_survey_of_no_iommu_does_not_speak_of_translation() -> None:
    """What the kernel announces as its default is no claim about a host without an IOMMU."""
    assert "the host's own DMA" not in throughpass("survey", "--from", str(CAPTURES / "no-iommu.tar.gz")).stdout
    assert "the host's own DMA is translated" in " ".join(
        throughpass("survey", "--from", str(CAPTURES / "virtual-vtd.tar.gz")).stdout.split()
    )


def test_screen_says_unknown_where_nothing_was_shown() -> None:
    """Groups and drivers that a capture does not show are not known, and never none."""
    item = Item(Status.READ, b"05:00.0 USB controller [0c03]: NEC uPD720200 [1033:0194] (prog-if 30 [XHCI])\n")
    made = survey_of(Capture({"commands/lspci": item}, scope=()), Source("capture", "one"))
    text = "\n".join(line.text for line in show_survey(made))

    assert "groups not known" in text
    assert "driver unknown" in text


@pytest.mark.parametrize(
    ("name", "status"), [("virtual-vtd.tar.gz", 0), ("virtual-amdvi.tar.gz", 0), ("no-iommu.tar.gz", 1), ("seed-i7-860", 3)]
)
def test_survey_strict_tells_the_verdict_by_its_status(name: str, status: int) -> None:
    """With --strict a controller that is not ready is status 1, one that is not known 3; without it a survey is 0."""
    path = str(CAPTURES / name)

    assert throughpass("survey", "--strict", "--from", path).returncode == status
    assert throughpass("survey", "--from", path).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param([""], "an empty name is given", id="empty-host"),
        pytest.param(["--bench", ""], "an empty name is given", id="empty-bench"),
        pytest.param(["--from", ""], "an empty name is given", id="empty-from"),
        pytest.param(["--hosts", ""], "an empty name is given", id="empty-hosts"),
        pytest.param(["a", ""], "an empty name is given", id="empty-second"),
        pytest.param(["--from", "no/such"], "cannot read no/such: No such file", id="no-capture"),
        pytest.param(["--from", __file__], "is no tar archive", id="no-archive"),
        pytest.param(["--from", "/"], "/ is a running system", id="root"),
        pytest.param(["--hosts", "no/such.txt"], "there is no list of hosts no/such.txt", id="no-list"),
        pytest.param(["--hosts", os.devnull + ".d/x"], "there is no list of hosts", id="no-folder"),
        pytest.param(["--bench", "virtual-vdt"], "no bench is called 'virtual-vdt'", id="no-bench"),
        pytest.param(["a", "b", "--bench", "local"], "several hosts are given, and --bench local", id="two-places"),
        pytest.param(["a", "--from", "b"], "one place at a time", id="host-and-capture"),
        pytest.param(["-oProxyCommand=x"], "No such option", id="option"),
        pytest.param(["--", "-oProxyCommand=x"], "is no SSH host", id="no-host"),
        pytest.param(["--limit", "inf"], "Invalid value for '--limit'", id="endless"),
        pytest.param(["--limit", "0"], "Invalid value for '--limit'", id="no-time"),
    ],
)
def test_survey_bad_input_is_a_sentence_and_two(arguments: Sequence[str], said: str) -> None:
    """Wrong input ends with status 2 and a sentence, and with nothing on standard output."""
    done = throughpass("survey", *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_survey_refuses_a_name_that_leads_out(tmp_path: Path) -> None:
    """An archive with .. in a name is refused, and the name is told."""
    with written(tmp_path / "x.tar.gz", ("proc/cpuinfo", b"flags : vmx\n"), ("../../etc/evil", b"x")) as path:
        done = throughpass("survey", "--from", path)

    assert done.returncode == 2
    assert "has a member named '../../etc/evil'" in done.stderr


def test_survey_follows_no_link_of_an_archive(tmp_path: Path) -> None:
    """A link in an archive brings nothing of this machine into the survey, and absolute names stay below the archive's top."""
    with written(tmp_path / "x.tar.gz", ("/proc/cpuinfo", "/proc/cpuinfo"), ("/proc/cmdline", b"quiet\n")) as path:
        made = survey("--from", path)

    assert made.cpu.model == ""
    assert made.kernel.cmdline == "quiet"


def test_survey_makes_control_characters_visible(tmp_path: Path) -> None:
    """A host's own text cannot paint on the terminal."""
    with written(tmp_path / "x.tar.gz", ("etc/os-release", b'PRETTY_NAME="\x1b[31mEvil"\n')) as path:
        done = throughpass("survey", "--from", path)

    assert "Evil" in done.stdout
    assert "\x1b" not in done.stdout


def test_survey_into_a_reader_that_goes_is_quiet() -> None:
    """A reader that takes one line and goes gets no traceback; neither does an output that is closed."""
    for tail in ("| head -1", "| true", ">&-"):
        argv = ["sh", "-c", f'"$0" survey --json --from "$1" {tail}', str(THROUGHPASS), str(CAPTURES / "virtual-vtd.tar.gz")]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)

        assert done.stderr == "", tail


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_survey_into_a_full_disk_is_a_sentence() -> None:
    """An output that takes nothing is told, and the status is not 0."""
    argv = ["sh", "-c", '"$0" survey --json --from "$1" >/dev/full', str(THROUGHPASS), str(CAPTURES / "virtual-vtd.tar.gz")]

    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 2
    assert done.stderr == "throughpass: the result cannot be written to standard output: No space left on device\n"


def test_fleet_with_nobody_home_has_a_row_for_each() -> None:
    """Each host that gives no survey has its reason, in the order in which they were named, and the status is 3."""
    done = throughpass("survey", "--json", "127.0.0.1:1", "no host", "--limit", "20")

    hosts = msgspec.json.decode(done.stdout, type=Fleet).hosts
    assert done.returncode == 3
    assert [host.target for host in hosts] == ["127.0.0.1:1", "no host"]
    assert "cannot be reached at port 1" in (hosts[0].error or "")
    assert "is no SSH host" in (hosts[1].error or "")


def test_fleet_tells_a_second_name_of_a_host() -> None:
    """Of two names of one host one is surveyed, and the other is told rather than lost."""
    done = throughpass("survey", "127.0.0.1:1", "ssh://127.0.0.1:1", "--limit", "20")

    assert done.stderr.count("another name of a host that is surveyed already") == 1


def test_collected_is_judged_as_the_host_itself(tmp_path: Path) -> None:
    """A survey of a collected archive is that of the host, the source apart."""
    path = tmp_path / "here.tar.gz"

    done = throughpass("collect", "--raw", "-o", str(path))

    assert (done.returncode, done.stdout) == (0, f"{path}\n")
    before, after = strip_source(survey()), strip_source(survey("--from", str(path)))
    assert after.verdict == before.verdict
    assert after.iommu == before.iommu
    assert after.findings == before.findings
    assert after.pci == before.pci


def test_collect_leaves_nothing_where_it_cannot_write(tmp_path: Path) -> None:
    """A folder that is not there is told before a host is asked, and nothing is written."""
    done = throughpass("collect", "-o", str(tmp_path / "no" / "x.tar.gz"))

    assert done.returncode == 2
    assert "there is no folder" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_survey_of_an_archive_of_nothing_is_unknown(tmp_path: Path) -> None:
    """A capture for which nobody asked anything gives no verdict, which --strict tells as 3."""
    path = tmp_path / "x.tar.gz"
    write_archive(Capture({}, scope=()), path)

    done = throughpass("survey", "--strict", "--from", str(path))

    assert done.returncode == 3
    assert "DMA remapping unknown" in done.stdout


def test_rules_lists_each_once_and_explain_knows_them_all() -> None:
    """The list has a line for each rule, and an id in small letters is explained as well."""
    listed = [line.split()[0] for line in throughpass("rules").stdout.splitlines()]
    told = throughpass("explain", "sto001").stdout

    assert listed == list(RULES)
    assert told.startswith("STO001: ")
    assert [part for part in ("why", "what to do", "sources") if part not in told] == []


def test_explain_of_no_rule_is_a_sentence_and_two() -> None:
    """An id that does not exist gets the near ones."""
    done = throughpass("explain", "IOM999")

    assert (done.returncode, done.stdout) == (2, "")
    assert "IOM001" in done.stderr or "IOM004" in done.stderr


def test_explain_of_a_log_tells_each_meaning_once(tmp_path: Path) -> None:
    """A pasted log gives each meaning with its first line, how often it is there, the rule and what to do."""
    log = tmp_path / "pasted.txt"
    log.write_text("hello\n" + "vfio 0000:05:00.0: group 12 is not viable\n" * 3 + "usb usb4-port1: over-current condition\n")

    told = throughpass("explain", "--text", str(log))

    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.count("is not viable") == 1
    assert "line 2, and 2 more like it" in told.stdout
    assert [rule for rule in ("GRP001", "USB001", "what to do") if rule not in told.stdout] == []


def test_explain_of_a_log_as_windows_saves_it(tmp_path: Path) -> None:
    """UTF-16 with its mark is text, too."""
    log = tmp_path / "pasted.txt"
    log.write_bytes("vfio 0000:05:00.0: group 12 is not viable".encode("utf-16"))

    assert "GRP001" in throughpass("explain", "--text", str(log)).stdout


def test_explain_of_no_log_is_one_sentence(tmp_path: Path) -> None:
    """A file that is missing, a folder, no text, empty or without a known line: one sentence each, and status 2."""
    (tmp_path / "packed.gz").write_bytes(b"\x1f\x8b\x08\x00\x00")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "other").write_text("hello\nworld\n")
    named = [tmp_path / "missing", tmp_path, tmp_path / "packed.gz", tmp_path / "empty", tmp_path / "other"]

    done = [throughpass("explain", "--text", str(path)) for path in named]

    assert [(each.returncode, each.stdout, each.stderr.count("\n")) for each in done] == [(2, "", 1)] * len(named)
    assert throughpass("explain").returncode == 2


def test_readiness_words_are_those_of_the_screen() -> None:
    """Every verdict that a controller may have stands on the screen in capitals."""
    shown = "".join(throughpass("survey", "--from", str(CAPTURES / name)).stdout for name in SHIPPED)

    assert [word.value for word in Readiness if f"  {word.value.upper()}\n" not in shown] == []


def test_readme_shows_the_screen_as_it_is() -> None:
    """The example in README is what the command prints today."""
    assert throughpass("survey", "--from", str(CAPTURES / "root-on-card.tar.gz")).stdout in (CHECKOUT / "README.md").read_text(
        "utf-8"
    )
