"""A host on which vfio-pci's probe fails, for it has no IOMMU: the write succeeds, and the kernel's log alone tells why."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from harness.transport.protocol import check
from tests.custody import SHIPPED, Board, board_of
from tests.qualification import CHECKOUT

pytestmark = [pytest.mark.bench, pytest.mark.xdist_group("probe")]


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """Hold a board like the shipped one, but without an IOMMU."""
    text = SHIPPED.read_text(encoding="utf-8").replace('iommu = "intel"', 'iommu = "none"')
    with board_of("probe", tmp_path_factory.mktemp("probe"), text=text) as made:
        yield made


def test_bind_whose_probe_fails(board: Board) -> None:
    """A controller that vfio-pci refuses is back with its own driver, and override, modules and journal are as before."""
    argv = [sys.executable, "-m", "tests.taker", str(board.bench), "run"]
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=100)

    assert done.returncode != 0
    assert "0000:01:00.0 is bound to no driver, not to vfio-pci" in done.stderr
    assert "vfio-pci 0000:01:00.0: probe with driver vfio-pci failed with error -22" in check(board.ssh, "dmesg").text
    assert board.changes() == []
    assert "nothing to put back" in board.restore().stdout
