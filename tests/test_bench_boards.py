"""Whole qualifications on the virtual bench: the shipped boards, and boards with one fault each."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from harness.core.judgement import Call
from harness.core.record import STAGES, BoardVerdict, Outcome
from tests.qualification import BOARDS, CHECKOUT, Qualification, leftovers, qualify

pytestmark = pytest.mark.bench

PASSED, FAILED = 0, 1


@pytest.fixture(scope="module")
def vtd(tmp_path_factory: pytest.TempPathFactory) -> Qualification:
    """Return the whole qualification of the shipped VT-d board, at the default profile."""
    return qualify("virtual-vtd", tmp_path_factory.mktemp("vtd"))


@pytest.mark.xdist_group("vtd")
class TestVtdBoard:
    """The shipped VT-d board."""

    def test_is_qualified(self, vtd: Qualification) -> None:
        """The VT-d board comes out QUALIFIED, every stage run, every check passed."""
        record = vtd.record

        assert vtd.status == PASSED, vtd.output
        assert record.verdict.board is BoardVerdict.QUALIFIED
        assert not record.verdict.reasons
        assert {check.stage for check in record.checks} == set(STAGES)
        assert {check.outcome for check in record.checks} == {Outcome.PASS}

    def test_names_the_seeds_card(self, vtd: Qualification) -> None:
        """The record says which card it was, which driver it had, and that the figures are emulated."""
        environment = vtd.record.environment

        assert environment.emulated
        assert "[1033:0194]" in environment.controller
        assert environment.controller_driver == "xhci_hcd"
        assert environment.iommu == "Intel VT-d"
        assert environment.guest_kernel == environment.kernel != ""
        assert vtd.record.facts["host"]["iommu"]["dma_remapping"] == "yes"

    def test_measures_three_arms_in_six_blocks(self, vtd: Qualification) -> None:
        """The primary cell has six blocks of each arm, every raw output is kept, and PCI passthrough is the faster way."""
        series = {each.arm: each for each in vtd.record.series}
        primary = next(judgement for judgement in vtd.record.judgements if judgement.primary)

        assert {arm: len(each.samples) for arm, each in series.items()} == {"native": 6, "pci": 6, "usb-host": 6}
        assert {each.confounders["driver"] for each in series.values()} == {"usb-storage"}
        assert {each.confounders["speed"] for each in series.values()} == {"5000M"}
        raw = json.loads((vtd.folder / series["pci"].samples[0].attachment).read_text())
        assert raw["jobs"][0]["read"]["bw_bytes"] / (1 << 20) == pytest.approx(series["pci"].samples[0].rate_mib_s)
        assert primary.call is Call.FASTER
        assert primary.low is not None
        assert primary.low > 1

    def test_leaves_its_results(self, vtd: Qualification) -> None:
        """Record, report, pytest-html's page, JUnit, transcripts and raw outputs lie in the run's folder."""
        names = {path.name for path in vtd.folder.iterdir()}
        junit = ET.parse(vtd.folder / "junit.xml").getroot().find("testsuite")  # noqa: S314 (our own file)

        assert {"record.json", "report.html", "tests.html", "junit.xml", "guest-console.log", "virtual-vtd-console.log"} <= names
        assert "throughpass: ready" in (vtd.folder / "guest-console.log").read_text()
        assert "QUALIFIED" in (vtd.folder / "tests.html").read_text()
        assert "virtual bench: figures are not hardware figures" in (vtd.folder / "report.html").read_text()
        assert junit is not None
        assert (junit.get("failures"), junit.get("errors")) == ("0", "0")

    def test_shows_its_stages(self, vtd: Qualification) -> None:
        """The output names every stage in its order, and ends with the verdict and the report's path."""
        stages = re.findall(r"^\[(\w+)\]$", vtd.output, re.MULTILINE)

        assert stages == ["boot", *STAGES]
        assert "virtual-vtd: QUALIFIED" in vtd.output
        assert f"report: {vtd.folder / 'report.html'}" in vtd.output

    def test_report_is_made_anew(self, vtd: Qualification) -> None:
        """The report comes from the record alone: made again it is the same, byte for byte."""
        page = vtd.folder / "report.html"
        before = page.read_bytes()
        page.unlink()
        verb = [str(Path(sys.executable).with_name("throughpass")), "report", str(vtd.folder / "record.json")]
        subprocess.run(verb, cwd=CHECKOUT, check=True, capture_output=True)

        assert page.read_bytes() == before

    def test_leaves_nothing_behind(self, vtd: Qualification) -> None:
        """No process of the board is left."""
        assert vtd.status == PASSED
        assert not leftovers("virtual-vtd")


@pytest.mark.xdist_group("amdvi")
def test_amdvi_board_is_conditional(tmp_path: Path) -> None:
    """The AMD-Vi board works; what is weak is its missing reset method, and that this short profile judges no speed."""
    done = qualify("virtual-amdvi", tmp_path, "--profile", "smoke")
    weak = {check.id for check in done.record.checks if check.outcome is Outcome.CONDITION}

    assert done.status == PASSED, done.output
    assert done.record.verdict.board is BoardVerdict.CONDITIONAL
    assert done.record.environment.iommu == "AMD-Vi"
    assert weak == {"readiness/reset-method", "throughput/comparison"}
    assert {check.outcome for check in done.record.checks} == {Outcome.PASS, Outcome.CONDITION}


@pytest.mark.xdist_group("faults")
class TestFaultyBoards:
    """Boards with one fault each: found, named, and nothing harmed."""

    def test_no_iommu(self, tmp_path: Path) -> None:
        """A board without an IOMMU that prints "DMAR: IOMMU enabled" is NOT QUALIFIED, for that reason; the rest is blocked."""
        done = qualify(BOARDS / "no-iommu.toml", tmp_path)
        remapping = done.check("readiness/dma-remapping-in-use")

        assert done.status == FAILED, done.output
        assert done.record.verdict.board is BoardVerdict.NOT_QUALIFIED
        assert remapping.outcome is Outcome.FAIL
        assert "that line only echoes the kernel argument" in remapping.reason
        assert remapping.reason in done.record.verdict.reasons
        assert any("DMAR: IOMMU enabled" in each.text for each in remapping.evidence)
        assert {check.outcome for check in done.record.checks if check.stage == "guest"} == {Outcome.BLOCKED}

    def test_no_interrupt_remapping(self, tmp_path: Path) -> None:
        """A board without interrupt remapping is NOT QUALIFIED, and the controller is not touched."""
        done = qualify(BOARDS / "no-interrupt-remapping.toml", tmp_path)

        assert done.record.verdict.board is BoardVerdict.NOT_QUALIFIED
        assert done.check("readiness/dma-remapping-in-use").outcome is Outcome.PASS
        assert done.check("readiness/interrupt-remapping").outcome is Outcome.FAIL
        assert done.check("binding/controller-is-taken").outcome is Outcome.BLOCKED

    def test_twin_cards(self, tmp_path: Path) -> None:
        """Two cards of the named id are refused: both addresses are named, and nothing is touched."""
        done = qualify(BOARDS / "twin-cards.toml", tmp_path)
        found = done.check("readiness/controller-found")

        assert done.record.verdict.board is BoardVerdict.UNDECIDED
        assert found.outcome is Outcome.REFUSED
        assert "0000:01:00.0" in found.reason
        assert "0000:02:00.0" in found.reason
        assert done.check("binding/controller-is-taken").outcome is not Outcome.PASS

    def test_shared_group(self, tmp_path: Path) -> None:
        """A foreign device in the controller's group is refused by name."""
        done = qualify(BOARDS / "shared-group.toml", tmp_path)
        group = done.check("readiness/group-is-own")

        assert done.record.verdict.board is BoardVerdict.UNDECIDED
        assert group.outcome is Outcome.REFUSED
        assert "8086:100e" in group.reason
        assert done.check("binding/controller-is-taken").outcome is not Outcome.PASS

    def test_root_on_card(self, tmp_path: Path) -> None:
        """A root disk on the controller is refused: the disk and its use are named, and nothing is touched."""
        done = qualify(BOARDS / "root-on-card.toml", tmp_path)
        disks = done.check("binding/host-spares-its-disks")

        assert done.record.verdict.board is BoardVerdict.UNDECIDED
        assert disks.outcome is Outcome.REFUSED
        assert "sda" in disks.reason
        assert done.check("binding/controller-is-taken").outcome is not Outcome.PASS


@pytest.mark.xdist_group("boards")
class TestOtherBoards:
    """Boards that work, and have something special."""

    def test_no_stick(self, tmp_path: Path) -> None:
        """A board without a stick passes the controller: CONDITIONAL, since nothing was measured."""
        done = qualify(BOARDS / "no-stick.toml", tmp_path)

        assert done.status == PASSED, done.output
        assert done.record.verdict.board is BoardVerdict.CONDITIONAL
        assert done.record.verdict.reasons == ("throughput was not measured: there is no stick on this bench",)
        assert done.check("usb/stick-enumerates").outcome is Outcome.NOT_APPLICABLE
        assert done.check("return/driver-is-back").outcome is Outcome.PASS

    def test_pinned_twin_with_hostile_stick(self, tmp_path: Path) -> None:
        """Of two cards the named one is taken, the other stays; a serial made of markup appears as text."""
        done = qualify(BOARDS / "pinned-twin.toml", tmp_path, "--profile", "smoke")
        host = {device["address"]: device for device in done.record.facts["host"]["pci"]}
        hubs = next(each.text for each in done.check("binding/buses-are-gone").evidence if each.source == "USB buses in sysfs")

        assert done.record.verdict.board is BoardVerdict.CONDITIONAL, done.output
        assert host["0000:01:00.0"]["id"] == host["0000:02:00.0"]["id"] == "1033:0194"
        assert done.record.environment.controller.startswith("0000:02:00.0")
        assert "0000:01:00.0/usb" in hubs
        assert "<img" not in (done.folder / "report.html").read_text()
        assert "&lt;img src=x onerror=alert(1)&gt;" in (done.folder / "report.html").read_text()
        assert "<img src=x" not in (done.folder / "tests.html").read_text()

    def test_debian_12_with_uas_at_high_speed(self, tmp_path: Path) -> None:
        """The other flavour works as board and guest; a UAS stick on a USB 2 port is driven by uas at 480M."""
        done = qualify(BOARDS / "slow-port.toml", tmp_path, "-k", "not throughput")
        link = next(each.text for each in done.check("usb/stick-enumerates").evidence if each.source.startswith("/dev/"))

        assert done.status == PASSED, done.output
        assert done.record.verdict.board is BoardVerdict.PARTIAL
        assert "bookworm" in done.record.environment.distribution
        assert "driver uas" in link
        assert "480M" in link
        assert done.check("usb/content-is-right").outcome is Outcome.PASS
