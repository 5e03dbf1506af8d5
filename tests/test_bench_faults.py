"""Boards with a fault on the virtual bench, and the shipped AMD-Vi board with its missing reset method."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.record import BoardVerdict, Outcome
from tests.qualification import BOARDS, qualify

pytestmark = pytest.mark.bench

PASSED, FAILED = 0, 1


def test_amdvi_board_is_conditional(tmp_path: Path) -> None:
    """The AMD-Vi board works; what is weak is its missing reset method, and that this short profile judges no speed."""
    done = qualify("virtual-amdvi", tmp_path, "--profile", "smoke")
    weak = {check.id for check in done.record.checks if check.outcome is Outcome.CONDITION}

    assert done.status == PASSED, done.output
    assert done.record.verdict.board is BoardVerdict.CONDITIONAL
    assert done.record.environment.iommu == "AMD-Vi"
    assert weak == {"readiness/reset-method", "throughput/comparison"}
    assert {check.outcome for check in done.record.checks} == {Outcome.PASS, Outcome.CONDITION}


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

    def test_two_benches_in_one_session(self, tmp_path: Path) -> None:
        """Two benches in one session: one record each, the first ended before the second begins, each with its own reasons."""
        two = (str(BOARDS / "no-interrupt-remapping.toml"), "--bench", str(BOARDS / "twin-cards.toml"))
        done = qualify(two[0], tmp_path, *two[1:])
        first, second = (done.record_of(name) for name in ("no-interrupt-remapping", "twin-cards"))
        found = next(check for check in second.checks if check.id == "readiness/controller-found")

        assert done.status == FAILED, done.output
        assert first.verdict.board is BoardVerdict.NOT_QUALIFIED
        assert {check.id for check in first.checks if check.outcome is Outcome.FAIL} == {"readiness/interrupt-remapping"}
        assert second.verdict.board is BoardVerdict.UNDECIDED
        assert found.outcome is Outcome.REFUSED
        assert "0000:01:00.0" in found.reason
        assert "0000:02:00.0" in found.reason
        assert len(first.checks) == len(second.checks)
        assert first.run.end <= second.run.start
        assert all((tmp_path / name).glob("*/tests.html") for name in ("no-interrupt-remapping", "twin-cards"))

    def test_shared_group(self, tmp_path: Path) -> None:
        """A foreign device in the controller's group is refused by name."""
        done = qualify(BOARDS / "shared-group.toml", tmp_path)
        group = done.check("readiness/group-is-own")

        assert done.record.verdict.board is BoardVerdict.UNDECIDED
        assert group.outcome is Outcome.REFUSED
        assert "8086:100e" in group.reason
        assert done.check("binding/controller-is-taken").outcome is not Outcome.PASS

    def test_shared_group_with_its_siblings(self, tmp_path: Path) -> None:
        """Where the bench file names the other function, the whole group goes to VFIO and comes back, each to its own driver."""
        text = (BOARDS / "shared-group.toml").read_text(encoding="utf-8")
        board = tmp_path / "siblings.toml"
        named = text.replace("[controller]\n", '[controller]\nsiblings = ["0000:02:02.0"]\n').replace(
            '"shared-group"', '"siblings"'
        )
        board.write_text(named, encoding="utf-8")

        done = qualify(board, tmp_path / "runs")
        back = done.check("return/facts-are-as-before")

        assert done.record.verdict.board is BoardVerdict.CONDITIONAL, done.output  # it has no stick
        assert done.check("guest/guest-boots").outcome is Outcome.PASS
        assert back.outcome is Outcome.PASS
        assert {note.source for note in back.evidence} >= {"0000:02:00.0 now", "0000:02:02.0 now"}
        assert any("e1000" in note.text for note in back.evidence)

    def test_root_on_card(self, tmp_path: Path) -> None:
        """A root disk on the controller is refused: the disk and its use are named, and nothing is touched."""
        done = qualify(BOARDS / "root-on-card.toml", tmp_path)
        disks = done.check("binding/host-spares-its-disks")

        assert done.record.verdict.board is BoardVerdict.UNDECIDED
        assert disks.outcome is Outcome.REFUSED
        assert "sda (/media/lower, root)" in disks.reason
        assert done.check("binding/controller-is-taken").outcome is not Outcome.PASS
