"""Real hosts' IOMMU groups: as sysfs paths, as scripts and mails print them, and as the kernel logged them."""

from __future__ import annotations

import re
from collections.abc import Callable

from harness.core.capture import Capture, Item, Status
from harness.facts.host import read_facts
from harness.facts.iommu import LISTING, Iommu, group_of
from harness.facts.log import LOG
from tests.corpus import Piece, pieces, score

Record = Callable[[str, object], None]

IN_LOG = 'iommu_groups (dmesg "Adding to iommu group" lines)'
IN_PATHS = "iommu_groups (sysfs paths)"


def read(piece: Piece, item: str) -> Iommu:
    """Read the groups of a host that gave one text."""
    return read_facts(Capture({item: Item(Status.READ, piece.read())}), {}).iommu


def pci_members(members: tuple[str, ...]) -> list[str]:
    """Return those with a PCI address of four digits of domain: the index overlooks VMD's ``10000:e0:06.0``."""
    return [member for member in members if re.fullmatch(r"[0-9a-f]{4}:[0-9a-f:]+\.[0-7]", member)]


def test_corpus_groups_in_log(record_property: Record) -> None:
    """The groups of PCI devices that the kernel logged are all found, with all devices in them."""
    judged: list[tuple[str, object, object]] = []
    for piece in (piece for piece in pieces("iommu_groups") if piece.kind == IN_LOG):
        sizes = [len(found) for members in read(piece, LOG).groups.values() if (found := pci_members(members))]
        judged.append((piece.name, len(sizes), int(piece.truth["groups"])))
        judged.append((piece.name, sum(sizes), int(piece.truth["pci_devices"])))

    score(record_property, "iommu_groups in a log", judged)


def test_corpus_groups_of_controllers(record_property: Record) -> None:
    """Each xHCI controller of a real host is in the group that its log names, beside as many others.

    The index counts lines: a device that was unplugged and plugged in again, or logged by two boots, is one member all the same.
    """
    judged: list[tuple[str, object, object]] = []
    for piece in (piece for piece in pieces("iommu_groups") if piece.kind == IN_LOG):
        iommu = read(piece, LOG)
        for address, group, members in re.findall(r"(\S+) group (\d+) \(members (\d+)\)", piece.said):
            lines = re.findall(
                rf"([0-9a-f:]+\.\d)(?:: Adding to iommu| to) group {group}\s*$", piece.read().decode(), re.MULTILINE
            )
            assert len(lines) == int(members)
            found = group_of(iommu, address) or ""
            judged.append((f"{piece.name} {address}", (found, set(iommu.groups.get(found, ()))), (group, set(lines))))

    score(record_property, "iommu_groups of controllers", judged)


def test_corpus_groups_in_paths(record_property: Record) -> None:
    """A list of sysfs paths gives the same groups, devices and largest group as a reader counts."""
    judged: list[tuple[str, object, object]] = []
    for piece in (piece for piece in pieces("iommu_groups") if piece.kind == IN_PATHS):
        groups = read(piece, LISTING).groups
        sizes = [len(members) for members in groups.values()]
        truth = {key: int(value) for key, value in piece.truth.items() if value.isdecimal()}
        if truth:
            judged.append((piece.name, {"groups": len(sizes), "devices": sum(sizes), "largest": max(sizes)}, truth))
        else:  # platform devices alone
            judged.append((piece.name, (len(sizes), [pci_members(members) for members in groups.values()]), (2, [[], []])))

    score(record_property, "iommu_groups in paths", judged)


def test_corpus_groups_in_prose(record_property: Record) -> None:
    """Listings of scripts, whole or in a mail that broke their lines, put each device into the group that the index names.

    Of two listings in one mail the later one counts.
    """
    judged: list[tuple[str, object, object]] = []
    for piece in pieces("iommu_groups"):
        iommu = read(piece, LISTING)
        named = re.findall(r"USB (\S+) \[.*? shares group (\d+)(?: .*\((\d+) members\)| with NIC (\S+), SATA (\S+))", piece.said)
        for usb, group, members, *others in named:
            judged.extend((piece.name, group_of(iommu, f"0000:{device}"), group) for device in (usb, *filter(None, others)))
            judged.extend((piece.name, len(iommu.groups[group]), int(number)) for number in [members] if number)
        for group, bus, functions in re.findall(r"group (\d+) = (\S+?)\.(\S+?);", piece.said):
            truth = tuple(f"0000:{bus}.{function}" for function in functions.split(",."))
            judged.append((piece.name, iommu.groups.get(group), truth))
        if shared := re.search(r"same device shares group (\d+)", piece.said):
            usb = re.findall(r"USB (\S+) \[", piece.said)[0]
            judged.append((piece.name, group_of(iommu, f"0000:{usb}"), shared[1]))

    score(record_property, "iommu_groups in prose", judged)
