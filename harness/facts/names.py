"""Names of PCI ids, from the runner's own hwdata: a board need not have any."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path

_PLACES = (Path("/usr/share/hwdata/pci.ids"), Path("/usr/share/misc/pci.ids"))
_VENDOR = re.compile(r"^([0-9a-f]{4})  (.+)$")
_DEVICE = re.compile(r"^\t([0-9a-f]{4})  (.+)$")


@functools.cache
def read_pci_names() -> Mapping[str, str]:
    """Return the name of each id that this machine knows; empty without hwdata."""
    for place in _PLACES:
        if place.is_file():
            return parse_pci_ids(place.read_text(encoding="utf-8", errors="replace"))
    return {}


def parse_pci_ids(text: str) -> dict[str, str]:
    """Return ``{"1033": "NEC Corporation", "1033:0194": "NEC Corporation uPD720200 ..."}`` of a pci.ids file."""
    names = {}
    vendor = ""
    for line in text.splitlines():
        if line.startswith("C "):  # classes follow, in the same shape
            break
        if match := _VENDOR.match(line):
            vendor = match[1]
            names[vendor] = match[2]
        elif vendor and (match := _DEVICE.match(line)):
            names[f"{vendor}:{match[1]}"] = f"{names[vendor]} {match[2]}"
    return names
