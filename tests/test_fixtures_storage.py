"""Which stick is used on a host that nobody of us has plugged: named or alone, and never guessed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from fixtures.storage import NO_STICK, NoStick, choose_disk
from harness.facts.host import HostFacts
from harness.facts.storage import Disk

CARD, OTHER = "0000:05:00.0", "0000:06:00.0"
STICK = Disk(name="sda", size_bytes=1 << 28, serial="TP1", usb_device="2-1", pci_addresses=(CARD,))


def other(name: str, **changes: object) -> Disk:
    """Return another disk on the card, unlike the stick in what is given."""
    return msgspec.structs.replace(STICK, **{"name": name, "serial": name.upper(), **changes})


@pytest.mark.parametrize(
    "beside",
    [
        pytest.param([], id="alone"),
        pytest.param([other("sdb", pci_addresses=(OTHER,))], id="other-controller"),
        pytest.param([other("sdb", size_bytes=0)], id="card-reader-without-card"),
        pytest.param([other("nvme0n1", usb_device=None)], id="no-usb-disk"),
    ],
)
def test_choose_disk_that_is_alone(beside: Sequence[Disk]) -> None:
    """The only USB disk with a medium on the controller is the stick, named or not."""
    facts = HostFacts(disks=(*beside, STICK))

    assert choose_disk(facts, CARD, "") == choose_disk(facts, CARD, "TP1") == STICK


def test_choose_disk_of_several() -> None:
    """Of several sticks the named one is taken; unnamed, none is guessed, and the reason names them all."""
    facts = HostFacts(disks=(STICK, other("sdb")))
    reason = choose_disk(facts, CARD, "")

    assert choose_disk(facts, CARD, "SDB") == other("sdb")
    assert isinstance(reason, NoStick)
    assert (
        "2 disks are on the controller and it is not guessed which is meant: sda (serial TP1), sdb (serial SDB)" in reason.reason
    )


@pytest.mark.parametrize(
    ("disks", "wanted", "why"),
    [
        pytest.param([], "", NO_STICK, id="nothing"),
        pytest.param([STICK], "TP2", "the stick TP2 that the bench file names is not on the controller", id="another"),
        pytest.param([other("sda", serial="")], "", "sda on the controller has no serial number", id="no-serial"),
        pytest.param(
            [STICK, other("sdb", serial="TP1", pci_addresses=(OTHER,))],
            "TP1",
            "two disks of the host have the serial TP1",
            id="twin",
        ),
    ],
)
def test_choose_disk_that_is_none(disks: Sequence[Disk], wanted: str, why: str) -> None:
    """A stick that is not there, or could not be found again by its serial, is none, and the reason says which."""
    found = choose_disk(HostFacts(disks=tuple(disks)), CARD, wanted)

    assert isinstance(found, NoStick)
    assert why in found.reason
