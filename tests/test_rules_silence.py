"""Nothing that is left out of a capture makes its controller ready: what could stand against it must be known."""

from __future__ import annotations

import re

import pytest

from harness.core.capture import Capture, Item, Status
from harness.facts.host import read_facts
from harness.facts.layout import find_scope
from harness.rules.verdict import Readiness, judge_controllers
from tests.captures import CARD, INTEL_BOARD, WHOLE_LOGS, Files, group, make_capture, pci_function, usb_stick, without

FOLDER = f"sys/bus/pci/devices/{CARD['intel']}"
BEHIND = f"/sys/devices/pci0000:00/0000:00:01.0/{CARD['intel']}"
HOLDERS: Files = {f"sys/class/block/{name}/holders": "" for name in ("sda", "sda1", "vda", "vda1")}
BOARD: Files = INTEL_BOARD | WHOLE_LOGS["intel"] | usb_stick(CARD["intel"]) | HOLDERS
ROUTES = "Iface Destination Gateway Flags RefCnt Use Metric Mask\n"
SPOILED: dict[str, Files] = {
    "root": BOARD | {"proc/self/mountinfo": "22 1 8:1 / / rw - ext4 /dev/sda1 rw"},
    "swap": BOARD | {"proc/swaps": "Filename Type Size Used Priority\n/dev/sda1 partition 1 0 -2\n"},
    "array": BOARD | {"sys/class/block/sda/holders": "md0"},
    "interrupts": BOARD | {"proc/interrupts": " CPU0\n 4: 1 IO-APIC 4-edge x\n", "commands/dmesg": ""},
    "group": BOARD
    | group("2", CARD["intel"], "0000:01:00.1")
    | pci_function("0000:01:00.1", "10de:0fb9", "040300", driver="snd"),
    "memory": BOARD
    | group("2", CARD["intel"], regions="0x6c000000 0x707fffff direct")
    | {"sys/firmware/acpi/tables/DMAR": Status.DENIED},
    "session": BOARD
    | {
        "sys/class/net/enx0": f"{BEHIND}/usb1/1-3/1-3:1.0/net/enx0",
        "proc/net/route": f"{ROUTES}eth0 00000000 0 0003 0 0 0 00000000\nenx0 0002000A 0 0001 0 0 0 00FFFFFF\n",
    },
    "held": BOARD
    | {f"{FOLDER}/driver": "/sys/bus/pci/drivers/vfio-pci", "commands/holders": "812 /dev/vfio/2\tqemu-system-x86\n"},
    "idle": without(BOARD, f"{FOLDER}/driver"),
    "no-vfio": BOARD
    | {"proc/modules": "xhci_pci 1 1 - Live 0x0", "sys/bus/pci/drivers": "xhci_hcd", "commands/vfio-modules": ""},
    "no-unit": without(BOARD, "sys/kernel/iommu_groups", "sys/class/iommu")
    | {"sys/kernel/iommu_groups": "", "sys/class/iommu": ""},
}

GOOD = (Readiness.READY, Readiness.CONDITIONAL)
OTHERS = re.compile(r"0000:00:0|iommu_groups/[01]|vda|eth0|class/dmi|01:00.1/driver|driver_override|numa|os-release")


def judge(capture: Capture) -> Readiness | None:
    """Judge the card; None if it is not known to be an xHCI controller."""
    found = judge_controllers(read_facts(capture, {})).controllers
    return next((each.readiness for each in found if each.controller.address == CARD["intel"]), None)


def by_hand(files: Files) -> Capture:
    """Return the files as a tree that somebody made: what is not in it was seldom asked for."""
    items = make_capture(files).items
    return Capture(items, scope=find_scope(items))


def parts_of(files: Files) -> list[str]:
    """Return every file and every folder above one, less those that tell of other functions, disks and boards."""
    words = [name.split("/") for name in files if not OTHERS.search(name)]
    return sorted({"/".join(parts[:count]) for parts in words for count in range(1, len(parts) + 1)})


def test_whole_boards_are_ready() -> None:
    """The board that the others are made of is ready, read by a probe and copied by hand."""
    assert [judge(capture) for capture in (make_capture(BOARD), by_hand(BOARD))] == [Readiness.READY] * 2


@pytest.mark.parametrize("name", SPOILED)
def test_silence_never_makes_ready(name: str) -> None:
    """A board that is not ready becomes neither ready nor conditional by any file or folder that a copy left out."""
    files = SPOILED[name]

    verdicts = {gone: judge(by_hand(without(files, gone))) for gone in parts_of(files)}

    assert judge(by_hand(files)) is Readiness.NOT_READY
    assert [gone for gone, verdict in verdicts.items() if verdict in GOOD] == []


@pytest.mark.parametrize("name", SPOILED)
def test_refusal_never_makes_ready(name: str) -> None:
    """Nor does it by anything that the host would not let the probe read."""
    whole = make_capture(SPOILED[name])

    verdicts = {
        gone: judge(Capture({**whole.items, gone: Item(Status.DENIED)}, whole.taken))
        for gone in whole.items
        if not OTHERS.search(gone)
    }

    assert judge(whole) is Readiness.NOT_READY
    assert [gone for gone, verdict in verdicts.items() if verdict in GOOD] == []
