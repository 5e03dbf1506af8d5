"""A whole qualification of the shipped VT-d board on the virtual bench."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from harness.core.judgement import Call
from harness.core.record import STAGES, BoardVerdict, Outcome
from harness.measure.fio_output import parse_fio
from tests.qualification import CHECKOUT, Qualification, leftovers, qualify

pytestmark = pytest.mark.bench

PASSED = 0


@pytest.fixture(scope="module")
def vtd(tmp_path_factory: pytest.TempPathFactory) -> Qualification:
    """Return the whole qualification of the shipped VT-d board, at the default profile."""
    return qualify("virtual-vtd", tmp_path_factory.mktemp("vtd"))


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
        raw = (vtd.folder / series["pci"].samples[0].attachment).read_bytes()
        assert parse_fio(raw).rate_mib_s == series["pci"].samples[0].rate_mib_s
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
