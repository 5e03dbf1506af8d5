"""IOMMU groups as texts list them: the capture's own list, what people's scripts print, and the kernel's log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from harness.core.pci import PciAddress

_PCI = r"(?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[01][0-9a-fA-F]\.[0-7]"
_QUOTED = re.compile(r"^[>|\s]+")
_IN_PATH = re.compile(r"iommu_groups/(\d{1,9})/devices/(?![0-9a-f]{4}:[0-9a-f:]*\.?$)([\w.:@-]+)")
_FOLDER = re.compile(r"iommu_groups/(\d{1,9})(?:/devices)?/?:\s*$")  # ls prints a folder's name before what is in it
_LISTED = re.compile(rf"(?:^|\s)({_PCI})(?:@| ->|$)")
_PAIR = re.compile(rf"^(\d{{1,9}})\s+(?:({_PCI})\b.*|(?![0-9a-f]{{4}}:[0-9a-f:.]*$)([\w.:@-]*[a-zA-Z_][\w.:@-]*))$")
_HEADING = re.compile(r"^(?:IOMMU[ _-]?)?Group:?\s*#?(\d{1,9})\b:?(.*)$", re.IGNORECASE)
# Scripts print the id or a mark for "can be reset" before the address.
_DEVICE = re.compile(rf"^(?:[-*+]\s+)?(?:\[[^\]]*\]\s*)*({_PCI})(?:[\s,]|$)")
_ADDED = re.compile(
    r"^(?:\S+ )?(\S+): Adding to iommu group (\d{1,9})\b"
    r"|^iommu: Adding device (\S+) to group (\d{1,9})\b"  # before Linux 5.3
)
_REMOVED = re.compile(r"^(?:\S+ )?(\S+): Removing from iommu group \d|^iommu: Removing device (\S+) from group \d")


def parse_group_listing(text: str) -> dict[str, tuple[str, ...]]:
    """Return group -> members of a list of groups: ``GROUP ADDRESS`` lines, paths in sysfs, or headings with devices below.

    A device that is named twice is in the group that was named last. Lines that are neither are passed over.
    """
    group_of: dict[str, str] = {}
    current = ""
    for raw in text.splitlines():
        line = raw[quoted.end() :] if (quoted := _QUOTED.match(raw)) else raw
        if heading := _HEADING.match(line) or _FOLDER.search(line):
            current = str(int(heading[1]))
            line = heading[2].strip() if heading.re is _HEADING else ""
        if found := _IN_PATH.search(line) or _PAIR.match(line):
            member = next(group for group in found.groups()[1:] if group)
            group_of[_spell(member)] = str(int(found[1]))
        elif current and (device := _DEVICE.match(line) or _LISTED.search(line)):
            group_of[_spell(device[1])] = current
    return _by_group(group_of)


def parse_group_log(lines: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return group -> members as the kernel logged them, less those that left again."""
    group_of: dict[str, str] = {}
    for line in lines:
        if " group " not in line:
            continue
        if added := _ADDED.match(line):
            device, group = (added[1], added[2]) if added[1] else (added[3], added[4])
            group_of[_spell(device)] = group
        elif removed := _REMOVED.match(line):
            group_of.pop(_spell(removed[1] or removed[2]), None)
    return _by_group(group_of)


def find_group(groups: Mapping[str, Iterable[str]], address: str) -> str | None:
    """Return the group that lists a device."""
    return next((name for name, members in groups.items() if address in members), None)


def has_all_numbers(groups: Iterable[str]) -> bool:
    """Return whether no number is missing: the kernel counts groups from 0, so that a gap is a line that got lost."""
    numbers = {int(name) for name in groups}
    return numbers == set(range(len(numbers)))


def is_cut(text: str) -> bool:
    """Return whether a list of ``GROUP ADDRESS`` lines or paths ends in the middle of one: a member may be missing."""
    last = text.rstrip().rpartition("\n")[2]
    return bool(re.match(r"\d|/", last)) and not (_IN_PATH.search(last) or _PAIR.match(last))


def by_number(name: str) -> tuple[int, str]:
    """Return what sorts groups as people count them."""
    return (int(name), "") if name.isdecimal() else (-1, name)


def _by_group(group_of: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    names = sorted(set(group_of.values()), key=by_number)
    members: dict[str, list[str]] = {name: [] for name in names}
    for device in sorted(group_of):
        members[group_of[device]].append(device)
    return {name: tuple(devices) for name, devices in members.items()}


def _spell(device: str) -> str:
    """Return a PCI address as sysfs spells it; another device's name as it stands."""
    try:
        return str(PciAddress.parse(device))
    except ValueError:
        return device
