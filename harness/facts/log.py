"""The kernel's log: the lines that speak of what this suite asks about, without their timestamps."""

from __future__ import annotations

import re

import msgspec

from harness.core.capture import Capture, Status
from harness.core.finding import Evidence

LOG = "commands/dmesg"
_LINES_KEPT = 400
_OF_INTEREST = re.compile(
    r"DMAR|IOMMU|AMD-Vi|remapping|x2apic|vfio|pci-stub|xhci|disabled by bios|vmx|kvm|\bAER\b|Renesas|firmware bug|FLR|suppressed",
    re.IGNORECASE,
)
_STAMP = re.compile(r"^\s*(?:<\d+>)?\s*(?:\[\s*\d+\.\d+\](?:\[[ TC]\d+\])?)?\s?")


class KernelLog(msgspec.Struct, frozen=True):
    """``status`` is ``read``, ``denied`` or ``unknown``.

    ``complete``: it begins with the boot, so that what is not in it was not said. ``lines`` are those of the last boot that speak
    of the IOMMU, of interrupts, virtualization, VFIO, xHCI and resets: at most 400, without timestamps.
    """

    status: str = "unknown"
    complete: bool = False
    lines: tuple[str, ...] = ()

    def find(self, pattern: re.Pattern[str], limit: int = 5) -> tuple[Evidence, ...]:
        """Return the first lines that match, as evidence."""
        return tuple(Evidence("dmesg", line) for line in self.lines if pattern.search(line))[:limit]


def read_log(capture: Capture) -> KernelLog:
    """Read the log of the kernel that runs."""
    item = capture.get(LOG)
    if item.status is not Status.READ:
        return KernelLog("denied" if item.status is Status.DENIED else "unknown")
    lines = [_STAMP.sub("", line, count=1) for line in item.text.splitlines()]
    return KernelLog(
        "read",
        complete=any(line.startswith("Linux version ") for line in lines),
        lines=tuple(line for line in lines if _OF_INTEREST.search(line))[:_LINES_KEPT],
    )
