"""PCI functions as lspci shows them on real hosts, against the truth that was read off each text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from harness.core.capture import Capture
from harness.facts.lspci_tree import parse_lspci_tree
from harness.facts.pci import PciDevice, read_pci
from tests.captures import make_capture
from tests.corpus import Piece, pieces, score

Record = Callable[[str, object], None]
Judged = Iterator[tuple[str, object, object]]

_USB = re.compile(
    r"^(?P<address>\S+)(?: id=(?P<id>\S+))?(?: name='(?P<name>[^']*)')?.*? prog-?if=(?P<prog_if>\w\w|-)"
    r"(?:.*drv=(?P<driver>\S+))?(?:.*group=(?P<group>\d+))?"
)
_NAME_ENDS = re.compile(r" \((?:r|re|rev.*)?$")  # the index cuts names, in the midst of (rev 10) too

GROUPS_IN_FLAGS = {"lspci/lspci-v-a78def5d-p1.txt": 30, "lspci/lspci-v-9b925dc9-p1.txt": 22}
"""Texts of lspci -v, which has the group at the end of the line Flags: the index counted the lines ``IOMMU group:`` of -vv."""

ROOTS = {"lspci/lspci-t-3c5633be-p1.txt": 4}
"""A tree of four roots, each drawn with its domain; the index counted its lines that are indented."""


def read(piece: Piece, command: str) -> tuple[PciDevice, ...]:
    """Return the functions of a host of which nothing but this text is known."""
    capture: Capture = make_capture({f"commands/{command}": piece.read()})
    return read_pci(capture, {})


def describe(device: PciDevice, said: re.Match[str]) -> tuple[object, ...]:
    """Return of a controller what the index tells of it, in the index' order."""
    name = _NAME_ENDS.sub("", said["name"] or "")
    return (
        device.address.removeprefix("0000:"),
        device.id if said["id"] else None,
        name if device.name.startswith(name) else device.name,
        f"{device.class_code & 0xFF:02x}" if device.prog_if_known else "-",
        device.driver,
        device.group if said["group"] else None,
    )


def truth_of(said: re.Match[str]) -> tuple[object, ...]:
    """Return a controller's truth, so that it compares."""
    name = _NAME_ENDS.sub("", said["name"] or "")
    return (said["address"], said["id"], name, said["prog_if"], said["driver"], said["group"])


def judge(piece: Piece, devices: tuple[PciDevice, ...]) -> Judged:
    """Yield what is known of one text: how many functions, and each USB controller."""
    count = re.search(r"(?:functions|slots)=(\d+)", piece.said)
    listed = re.search(r"usb_controllers=(\d+): (.*?)(?:; |$)", piece.said)
    assert count, piece.said
    assert listed, piece.said
    yield f"{piece.name} functions", len(devices), int(count[1])
    usb = {device.address.removeprefix("0000:"): device for device in devices if device.is_usb}
    yield f"{piece.name} USB controllers", len(usb), int(listed[1])
    for part in listed[2].split(" | "):
        if said := _USB.match(part):
            found = usb.get(said["address"])
            yield f"{piece.name} {said['address']}", found and describe(found, said), truth_of(said)
    if groups := re.search(r"iommu_groups_shown=(\d+)", piece.said):
        truth = GROUPS_IN_FLAGS.get(piece.name, int(groups[1]))
        yield f"{piece.name} groups", len({device.group for device in devices} - {None}), truth


def test_corpus_lspci(record_property: Record) -> None:
    """Functions, USB controllers, drivers and groups of every text are those that were read off it."""
    texts = [
        piece for piece in pieces("lspci") if piece.kind.startswith("lspci") and "-t" not in piece.kind and "mm" not in piece.kind
    ]

    score(record_property, "lspci", [row for piece in texts for row in judge(piece, read(piece, "lspci"))])


def test_corpus_lspci_mm(record_property: Record) -> None:
    """Functions and USB controllers of what was printed for programs are those that were read off it."""
    texts = [piece for piece in pieces("lspci") if "mm" in piece.kind]

    score(record_property, "lspci-mm", [row for piece in texts for row in judge(piece, read(piece, "lspci-mm"))])


def test_corpus_lspci_tree(record_property: Record) -> None:
    """The roots of every tree are those that are drawn, and so many functions hang on them as the drawing has addresses."""
    judged: list[tuple[str, object, object]] = []
    for piece in (piece for piece in pieces("lspci") if "-t" in piece.kind):
        text = piece.read().decode()
        found = parse_lspci_tree(text)
        drawn = re.findall(r"-([01][0-9a-f]\.[0-7])(?![\w.])", text)
        roots = {told.path.split("/")[3] for told in found if told.path}
        judged += [
            (f"{piece.name} functions", len(found), len(drawn)),
            (f"{piece.name} root buses", len(roots), ROOTS.get(piece.name, int(piece.truth["root_buses"]))),
        ]

    score(record_property, "lspci-tree", judged)
