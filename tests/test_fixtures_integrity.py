"""The round of visits, with images for disks: real fio writes and verifies, and a way that spoils data is found."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fixtures.integrity import Visitor
from fixtures.run import BenchRun
from harness.core.errors import RefusedError
from harness.core.timeline import Timeline
from harness.machine.guarded import Permit, permit
from harness.measure.integrity import READING_ORDER, WRITING_ORDER, Visit, Window, judge_visits, void_arms
from harness.transport.protocol import Transport
from tests.test_machine_disks import SERIAL
from tests.test_machine_scratch import ScratchHost, host, mark

__all__ = ["host"]  # a fixture

pytestmark = pytest.mark.skipif(not (shutil.which("fio") and shutil.which("wipefs")), reason="fio or util-linux is not installed")

WINDOW = Window(8, 4)
MIB = 1 << 20


@dataclass
class Way:
    """A way to the image, which may do something to it whenever it is attached."""

    name: str
    host: ScratchHost
    attached: Callable[[Path], None] = lambda _: None
    serial: str = SERIAL
    stick: str = SERIAL
    writable: bool = True
    origin: Transport | None = None
    steps: list[str] = field(default_factory=list)

    def attach(self) -> Transport:
        """Return the host."""
        self.steps.append("attach")
        self.attached(self.host.image)
        return self.host

    def detach(self) -> None:
        """Only take note."""
        self.steps.append("detach")


def spoil(image: Path) -> None:
    """Change one byte in the middle of the window."""
    with image.open("r+b") as file:
        file.seek(10 * MIB + 12345)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))


def unmark(image: Path) -> None:
    """Write something else where the marker is."""
    with image.open("r+b") as file:
        file.write(b"somebody's")


def go_round(ways: dict[str, Way], permission: Permit | None) -> tuple[Visit, ...]:
    """Visit every way in order."""
    run: Any = SimpleNamespace(seed=7, timeline=Timeline(), progress=lambda _: None)
    visitor = Visitor(cast("BenchRun", run), WINDOW, permission)
    order = WRITING_ORDER if permission else READING_ORDER
    return tuple(visitor.visit(ways[name], number, last=number == len(order) - 1) for number, name in enumerate(order))


def ways(host: ScratchHost, **attached: Callable[[Path], None]) -> dict[str, Way]:
    """Return the three ways; ``usb_host`` and so on do something when they are attached."""
    return {name: Way(name, host, attached.get(name.replace("-", "_"), lambda _: None)) for name in WRITING_ORDER}


def test_round_of_writes(host: ScratchHost) -> None:
    """Each way verifies what the one before it wrote, nothing beside the window changes, and the last way stays attached."""
    mark(host)
    before = host.image.read_bytes()
    made = ways(host)

    visits = go_round(made, permit(host.look()))

    after = host.image.read_bytes()
    assert judge_visits(visits) == ()
    assert [visit.wrote for visit in visits] == [True, True, True, True, False]
    assert len({visit.found for visit in visits}) == len(visits)
    assert (after[: 8 * MIB], after[12 * MIB :]) == (before[: 8 * MIB], before[12 * MIB :])
    assert made["pci"].steps == ["attach", "detach", "attach"]
    assert made["usb-host"].steps == ["attach", "detach"]


def test_round_with_a_way_that_spoils(host: ScratchHost) -> None:
    """One byte that differs when a way is attached is told by the block that fio names, and voids both ways that disagree."""
    mark(host)

    visits = go_round(ways(host, usb_host=spoil), permit(host.look()))

    (wrong,) = judge_visits(visits)
    assert void_arms([wrong]) == ("native", "usb-host")
    assert f"first at byte {10 * MIB}" in wrong.sentence


def test_round_of_readings(host: ScratchHost) -> None:
    """Without a permit nothing is written, and a way that reads otherwise than the host is void."""
    before = host.digest()

    visits = go_round(ways(host), None)
    assert judge_visits(visits) == ()
    assert host.digest() == before

    visits = go_round(ways(host, pci=spoil), None)
    assert void_arms(judge_visits(visits)) == ("pci",)


def test_round_ends_where_the_marker_is_gone(host: ScratchHost) -> None:
    """A disk that has lost its marker on the way is written to no more, and the way that met it is detached."""
    mark(host)
    permission = permit(host.look())
    made = ways(host, usb_host=unmark)

    with pytest.raises(RefusedError, match="is not the one that was marked"):
        go_round(made, permission)

    assert made["usb-host"].steps == ["attach", "detach"]
