"""lsusb's texts of real hosts: lists and trees of all versions, some with pieces missing."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from harness.core.capture import Capture, Item, Status
from harness.facts.lsusb import parse_lsusb, parse_lsusb_tree
from harness.facts.usb import read_usb
from harness.facts.usb_bus import UsbBus, storage_on
from harness.facts.usb_tree import LIST, TREE, read_usb_tree
from tests.corpus import Piece, pieces, score

BETTER: dict[tuple[str, str], object] = {
    # The only device on bus 3 has a line without a class, but driven by usb-storage, which drives nothing but storage.
    ("lsusb/lsusb-t-old-e7713466-p0-0.txt", "storage"): ["bus3/dev2 if0 usb-storage 480M"],
    # Device 9 has no interface, and so neither number, class nor driver in its line: the index's counter passed it over.
    ("lsusb/lsusb-t-new-v-556433ca-p0-3.txt", "downstream_devices"): 2,
    # Devices 6 and 7 have a line without the space before the speed: the index's counter passed them over.
    ("lsusb/lsusb-t-old-9ce37dbf-p0-1.txt", "downstream_devices"): 4,
    ("lsusb/lsusb-t-old-9ce37dbf-p0-1.txt", "drivers"): {"cdc_ether", "hub/7p", "usbhid"},
}
"""Where the index was counted wrongly, what stands in the file."""


def of_kind(kind: str) -> list[Piece]:
    """Return the pieces of one kind."""
    return [piece for piece in pieces("lsusb") if piece.kind == kind]


def read(piece: Piece) -> str:
    """Return a piece as text."""
    return piece.read().decode("utf-8", "replace")


def speed(mbit: int) -> str:
    """Return a speed as lsusb prints it."""
    return "1.5M" if mbit == 1 else f"{mbit}M"


def list_root_hubs(tree: tuple[UsbBus, ...]) -> set[str]:
    """Return number, driver and lanes of each root hub, as the index has them."""
    return {f"{bus.number}:{bus.driver}" + (f"/x{bus.lanes}" if bus.lanes > 1 else "") for bus in tree if bus.number}


def list_storage(tree: tuple[UsbBus, ...]) -> list[str]:
    """Return every storage interface, as the index has them."""
    return sorted(
        f"bus{bus.number}/dev{node.device_number} if{interface.number} {interface.driver or '(empty)'} {speed(node.speed_mbit)}"
        for bus in tree
        for node in storage_on(bus)
        for interface in node.interfaces
        if interface.storage
    )


def list_drivers(tree: tuple[UsbBus, ...]) -> set[str]:
    """Return the drivers of all interfaces, as the index has them; none is ``(empty)``."""
    return {
        f"{interface.driver}/{node.ports}p" if interface.driver == "hub" else interface.driver or "(empty)"
        for bus in tree
        for node in bus.devices
        for interface in node.interfaces
    }


def test_corpus_lsusb_lists(record_property: Callable[[str, object], None]) -> None:
    """Every line of a plain list is read, and the root hubs among them are known."""
    judged: list[tuple[str, object, object]] = []
    for piece in of_kind("lsusb"):
        lines = parse_lsusb(read(piece))
        super_speed = [line for line in lines if line.id == "1d6b:0003"]
        found = (len(lines), sum(line.is_root_hub for line in lines), len(super_speed))
        truth = tuple(int(piece.truth[key]) for key in ("lines", "root_hub_lines(1d6b)", "usb3_root_hubs(1d6b:0003)"))
        judged.append((piece.name, found, truth))
    score(record_property, "lsusb, lines", judged)


def test_corpus_lsusb_lists_as_devices(record_property: Callable[[str, object], None]) -> None:
    """A capture with nothing but a plain list has every device of it, root hubs apart, each with its id."""
    judged: list[tuple[str, object, object]] = []
    for piece in of_kind("lsusb"):
        rows = set(re.findall(r"^Bus (\d+) Device (\d+): ID (\S+)", read(piece), re.MULTILINE))
        truth = sorted((int(bus), int(device), pair) for bus, device, pair in rows if not pair.startswith("1d6b:000"))
        devices = read_usb(Capture({LIST: Item(Status.READ, piece.read())}))
        judged.append((piece.name, sorted((device.bus, device.device_number, device.id) for device in devices), truth))
    score(record_property, "lsusb, devices", judged)


def truth_of(piece: Piece, what: str) -> object:
    """Return what the index says, in the form of the lists above."""
    said = piece.truth[what]
    if (better := BETTER.get((piece.name, what))) is not None:
        return better
    if what == "root_hubs":  # of 2:xhci_hcd/4p@20000M/x2 a mask has hidden ports and speed, as if they were an address
        return set(said.partition(": ")[2].replace("/builder@host", "").split())
    if what == "drivers":
        return set() if said == "-" else set(said.replace("[none]", "(empty)").split(","))
    if what == "storage":
        return [] if said.startswith("0") else sorted(said.partition(": ")[2].split(" | "))
    return int(said)


FOUND: dict[str, Callable[[tuple[UsbBus, ...]], object]] = {
    "root_hubs": list_root_hubs,
    "downstream_devices": lambda tree: sum(len(bus.devices) for bus in tree),
    "drivers": list_drivers,
    "storage": list_storage,
}


@pytest.mark.parametrize("what", sorted(FOUND))
def test_corpus_lsusb_trees(what: str, record_property: Callable[[str, object], None]) -> None:
    """Root hubs, devices, drivers and storage of a tree are those that the index has."""
    judged: list[tuple[str, object, object]] = []
    for piece in of_kind("lsusb -t"):
        tree = read_usb_tree(Capture({TREE: Item(Status.READ, piece.read())}))
        judged.append((piece.name, FOUND[what](tree), truth_of(piece, what)))
    score(record_property, f"lsusb -t, {what}", judged)


def test_corpus_lsusb_ports_are_read(record_property: Callable[[str, object], None]) -> None:
    """Every device of a tree has the port that its line ends with, below as many hubs as its line is indented."""
    judged: list[tuple[str, object, object]] = []
    for piece in of_kind("lsusb -t"):
        text = read(piece).replace("\xa0", " ")
        rows = re.findall(r"^( *)\|__ Port (\d+): Dev (\d+),", text, re.MULTILINE)
        truth = sorted({(int(device), int(port), (len(indent) + 1) // 4) for indent, port, device in rows})
        nodes = [node for bus in parse_lsusb_tree(text) for node in bus.devices]
        found = {(node.device_number, int(node.port.split(".")[-1]), node.port.count(".") + 1) for node in nodes}
        judged.append((piece.name, sorted(found), truth))
    score(record_property, "lsusb -t, ports", judged)
