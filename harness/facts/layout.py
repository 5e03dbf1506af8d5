"""Where a capture's items lie in trees that people make: their own names, looser ones, and those of an sosreport."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from harness.core.capture import SECTION_FOLDER, SECTION_PATHS, covers
from harness.facts.manifest import MANIFEST

COMMANDS = ("dmesg", "lspci", "lspci-tree", "lspci-mm", "lsusb", "lsusb-tree", "iommu-groups", "uname", "lsmod")
"""The commands of which a tree may hold the output, under ``commands/``; those that only the probe runs are not listed."""

LISTINGS = (
    "sys/class/iommu",
    "sys/kernel/iommu_groups",
    "sys/firmware/acpi/tables",
    "sys/bus/pci/devices",
    "sys/bus/pci/drivers",
    "sys/bus/usb/devices",
    "sys/class/block",
    "sys/class/net",
)
"""Folders whose entries tell what there is: who copied one copied its entries."""

_FADT = "sys/firmware/acpi/tables/FACP"  # ACPI demands it: a folder of tables without it was not copied whole
_ACPI_TABLES = "sys/firmware/acpi/tables"
_KEPT = (*(path for paths in SECTION_PATHS.values() for path in paths), "sys/devices", SECTION_FOLDER, "commands", MANIFEST)
_TOPS = {"proc", "sys", "etc", "dev", "run", "usr", "lib", "var", "commands", "sections", "sos_commands", ".dockerenv", MANIFEST}
_MOST_FOLDERS_ABOVE = 4
_MOVED = (  # where else the same files are: behind links, and with the number of the process that copied
    (re.compile(r"^usr/lib/(os-release)$"), r"etc/\1"),
    (re.compile(r"^usr/lib/(modprobe\.d/.*)$"), r"lib/\1"),
    (re.compile(r"^proc/(?:self|\d+)/(net/.*)$"), r"proc/\1"),
    (re.compile(r"^proc/\d+/(mountinfo|status|limits)$"), r"proc/self/\1"),
)
_SOS = re.compile(r"^sos_commands/(?:kernel|general|hardware|pci|usb|logs|devices)/([^/]+)$")
_LOGS = {"var/log/dmesg": 80, "var/log/boot.dmesg": 90}
_TEXT_SUFFIX = re.compile(r"\.(txt|log|out|text|json)$", re.IGNORECASE)
_COMMAND = re.compile(r"^(dmesg|lspci|lsusb|iommu[-_ ]?groups?|uname|lsmod|journalctl)((?:[-_ ].*)?)$", re.IGNORECASE)
_CLUSTER = re.compile(r"(?:^|[-_ ])(?:-?)([nvkDtmxqbP]{1,6})(?=$|[-_ ])")


class Place(NamedTuple):
    """What a file in a tree is: the item's name, and how good a source this is for it (0 is the item itself)."""

    name: str
    rank: int


class Position(NamedTuple):
    """A file's place, and the folders above the tree's own top."""

    above: str
    place: Place


def find_position(path: str) -> Position | None:
    """Return what the file at a path is; folders above the tree's top are split off. None: nothing of a capture."""
    parts = path.split("/")
    for count in range(min(len(parts), _MOST_FOLDERS_ABOVE + 1)):
        inner = "/".join(parts[count:])
        if parts[count] in _TOPS or count == len(parts) - 1:
            place = find_place(inner)
            return Position("/".join(parts[:count]), place) if place else None
    return None


def find_place(name: str) -> Place | None:
    """Return what a file below the tree's top is, None if it is nothing of a capture."""
    for pattern, moved in _MOVED:
        if pattern.match(name):
            name = pattern.sub(moved, name)
            return Place(name, 50) if covers(_KEPT, name) else None
    if name in _LOGS:
        return Place("commands/dmesg", _LOGS[name])
    if match := _SOS.match(name):
        return _find_command(match[1], 3)
    if "/" not in name and name not in _TOPS:
        return _find_command(name, 2)
    if name.startswith("commands/"):
        return Place(name, 0) if name[9:] in COMMANDS else _find_command(name[9:], 1) or Place(name, 0)
    return Place(name, 0) if covers(_KEPT, name) else None


def find_scope(names: Iterable[str]) -> tuple[str, ...]:
    """Return what a tree without a manifest was asked for beside what it holds: the entries of the folders that it lists."""
    held = set(names)
    whole = [folder for folder in LISTINGS if folder in held or any(name.startswith(f"{folder}/") for name in held)]
    if _FADT not in held and _ACPI_TABLES in whole:
        whole.remove(_ACPI_TABLES)
    return tuple(f"{folder}/*" for folder in whole)


def _find_command(text: str, rank: int) -> Place | None:
    """Return the item that a file's name speaks of: ``lspci_-nnvv``, ``lsusb-t.txt``, ``dmesg -T``."""
    match = _COMMAND.match(_TEXT_SUFFIX.sub("", text))
    if match is None:
        return None
    command, rest = match[1].lower(), match[2]
    options = "".join(_CLUSTER.findall(rest))
    if command == "journalctl":
        # Of all the journals that sos takes, the one of this boot; of those that people take, the kernel's.
        return Place("commands/dmesg", 10 * rank + 9) if re.search(r"--boot$|-b$|-k|--dmesg|-b_", rest) else None
    if command.startswith("iommu"):
        return Place("commands/iommu-groups", 10 * rank)
    if command in {"lspci", "lsusb"} and ("tree" in rest.lower() or "t" in options):
        return Place(f"commands/{command}-tree", 10 * rank)
    if command == "lspci":
        told = 2 * ("n" in options) + options[:2].count("v")
        return Place("commands/lspci-mm" if "m" in options else "commands/lspci", 10 * rank + 9 - told)
    return Place(f"commands/{command}", 10 * rank + bool(rest))
