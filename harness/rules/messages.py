"""What QEMU, libvirt and the kernel print when a passthrough fails, and the rule that explains it."""

from __future__ import annotations

import re
from typing import NamedTuple


class Explanation(NamedTuple):
    """A line of what was printed, what it means, and the rule that says why and what to do."""

    line: str
    meaning: str
    rule: str


class _Message(NamedTuple):
    pattern: re.Pattern[str]
    meaning: str
    rule: str


def _message(pattern: str, meaning: str, rule: str) -> _Message:
    return _Message(re.compile(pattern, re.IGNORECASE), meaning, rule)


# The wording of QEMU 1.2 to 10, of Linux 3.x to 6.x, of libvirt and of Xen's libxl; the first that fits a line explains it.
_MESSAGES = (
    _message(
        r"group \d+ is not viable|all devices within the iommu_group are bound",
        "another device of the IOMMU group is still with a driver of the host",
        "GRP001",
    ),
    _message(
        r"ineligible for IOMMU domain attach|device have a 1:1 IOMMU mapping",
        "the firmware reserves memory for the device (an RMRR), and the kernel does not give it away",
        "RES001",
    ),
    _message(
        r"(?:vfio_dma_map|VFIO_MAP_DMA).*(?:-22|Invalid argument)",
        "the guest's memory lies where the group has a reserved region",
        "RES001",
    ),
    _message(
        r"(?:vfio_dma_map|VFIO_MAP_DMA).*(?:-12|Cannot allocate memory)|RLIMIT_MEMLOCK",
        "the user may not lock as much memory as the guest has",
        "MEM001",
    ),
    _message(r"no available reset mechanism|no FLR, PM reset or bus reset", "the device cannot be reset", "RST001"),
    _message(
        r"vfio_bar_restore|not ready \d+ms after|Unable to change power state|Refused to change power state",
        "the device did not come back from a reset or from sleep",
        "RST002",
    ),
    _message(
        r"vfio.*probe of \S+ failed with error -22|no iommu_group found|cannot be assigned - no IOMMU",
        "the device is in no IOMMU group: DMA is not remapped for it",
        "IOM001",
    ),
    _message(
        r"AMD-Vi: (?:Error initialization|Failed to allocate)|Parse DMAR table failure|returns all ones",
        "the kernel gave the IOMMU up",
        "IOM004",
    ),
    _message(
        r"No interrupt remapping support|platform does not support interrupt remapping",
        "interrupts are not remapped, and VFIO refuses the device",
        "IRQ001",
    ),
    _message(r"(?:Could not open|open of) '?/dev/vfio/\S*?'?:? .*Permission denied", "the user may not open the group", "VFI003"),
    _message(
        r"(?:Could not open|open of) '?/dev/vfio/\d+|is occupying your device",
        "the device is not with the driver that passes it",
        "PCI002",
    ),
)


def explain_messages(text: str) -> tuple[Explanation, ...]:
    """Return an explanation of each line that is known, in the text's order, each meaning once."""
    found: dict[str, Explanation] = {}
    for line in text.replace("\\n", "\n").splitlines():  # libvirt quotes what QEMU said
        known = next((message for message in _MESSAGES if message.pattern.search(line)), None)
        if known:
            found.setdefault(known.meaning, Explanation(line.strip(), known.meaning, known.rule))
    return tuple(found.values())
