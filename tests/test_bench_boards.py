"""Boards on the virtual bench that work, and have something special."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.record import BoardVerdict, Outcome
from tests.qualification import BOARDS, BRIEF, qualify

pytestmark = pytest.mark.bench

PASSED = 0


class TestOtherBoards:
    """Boards that work, and have something special."""

    def test_no_stick(self, tmp_path: Path) -> None:
        """A board without a stick passes the controller, twice; what was left out is said: CONDITIONAL, nothing was measured."""
        done = qualify(BOARDS / "no-stick.toml", tmp_path, "--cycles", "2")
        rows = {check.id: check.outcome for check in done.record.checks if check.id.startswith("cycles/cycle-")}

        assert done.status == PASSED, done.output
        assert done.record.verdict.board is BoardVerdict.CONDITIONAL
        assert done.record.verdict.reasons == ("throughput was not measured: there is no stick on this bench",)
        assert done.check("usb/stick-enumerates").outcome is Outcome.NOT_APPLICABLE
        assert done.check("return/driver-is-back").outcome is Outcome.PASS
        assert done.check("usb/driver-reloads").outcome is Outcome.PASS
        assert rows == {"cycles/cycle-1": Outcome.PASS, "cycles/cycle-2": Outcome.PASS}
        assert done.check("cycles/cycle-2").reason == "left out: all reading, without a stick"

    def test_pinned_twin_with_hostile_stick(self, tmp_path: Path) -> None:
        """Of two cards the named one is taken, the other stays; a serial made of markup appears as text."""
        done = qualify(BOARDS / "pinned-twin.toml", tmp_path, "-k", BRIEF)
        host = {device["address"]: device for device in done.record.facts["host"]["pci"]}
        hubs = next(each.text for each in done.check("binding/buses-are-gone").evidence if each.source == "USB buses in sysfs")

        assert done.status == PASSED, done.output
        assert host["0000:01:00.0"]["id"] == host["0000:02:00.0"]["id"] == "1033:0194"
        assert done.record.environment.controller.startswith("0000:02:00.0")
        assert "0000:01:00.0/usb" in hubs
        assert "<img" not in (done.folder / "report.html").read_text()
        assert "&lt;img src=x onerror=alert(1)&gt;" in (done.folder / "report.html").read_text()
        assert "<img src=x" not in (done.folder / "tests.html").read_text()

    def test_debian_12_with_uas_at_high_speed(self, tmp_path: Path) -> None:
        """The other flavour works as board and guest; a UAS stick on a USB 2 port is driven by uas at 480M."""
        done = qualify(BOARDS / "slow-port.toml", tmp_path, "-k", BRIEF)
        link = next(each.text for each in done.check("usb/stick-enumerates").evidence if each.source.startswith("/dev/"))

        assert done.status == PASSED, done.output
        assert done.record.verdict.board is BoardVerdict.PARTIAL
        assert "bookworm" in done.record.environment.distribution
        assert "driver uas" in link
        assert "480M" in link
        assert done.check("usb/content-is-right").outcome is Outcome.PASS
