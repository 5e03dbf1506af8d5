"""Faults: accesses and interrupts that an IOMMU stopped, as the kernel logs them."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from harness.core.pci import PciAddress

_MOST = 50
_ADDRESS = r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]"
# Quick to ask of every line of a log; what it lets through is looked at closely.
_HINT = re.compile(r"Request device|Event logged|fault|callbacks suppressed|arm-smmu|event", re.IGNORECASE)
# Linux 2.6 prints "DMAR:[DMA Read] Request device [05:00.0] fault addr", 5.0 adds "PASID ffffffff" behind the device, 5.14
# prints "[DMA Read NO_PASID]" and "[0x05:0x00.0]". Of interrupts 2.6 says "INTR-REMAP: Request device [[05:00.0] fault index".
_INTEL = re.compile(
    r"^(?:DMAR|dmar|INTR-REMAP|DMAR-IR): ?(\[INTR-REMAP\]|\[DMA \w+[^\]]*\]|(?=Request)) ?Request device "
    r"\[+(?:0x)?([0-9a-f]{1,2}):(?:0x)?([01]?[0-9a-f])\.(?:0x)?([0-7])\]"
)
_ANNOUNCEMENT = re.compile(r"^(?:DMAR: ?)?(?:dmar: ?)?DRHD: handling fault status")
# "AMD-Vi: Event logged [IO_PAGE_FAULT device=05:00.0 domain=..." (with the domain's number since 6.3), and since 4.20
# "vfio-pci 0000:05:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=..."; 4.20 to 5.4 leave AMD-Vi out. Where the device does
# not count, the unit speaks: "iommu ivhd0: AMD-Vi: Event logged [INVALID_DEVICE_REQUEST device=0000:05:00.0 pasid=..."
_AMD = re.compile(
    rf"^(?:iommu ivhd\d+: |\S+ ({_ADDRESS}): )?(?:AMD-Vi: )?Event logged \[(\w+)(?: device=(?:0x)?([0-9a-f:]+\.[0-7]))?"
)
_ARM = re.compile(
    rf"^arm-smmu\S* \S+: (?:event:? ?(?:0x10|F_TRANSLATION|F_ADDR_SIZE|F_ACCESS|F_PERMISSION)|Unhandled context fault)"
    rf"(?:.*client: ({_ADDRESS}))?"
)
_SUPPRESSED = re.compile(r"^(dmar_\w+|amd_iommu_\w+|iommu_print_\w+|arm_smmu_\w+): (\d{1,9}) callbacks suppressed")
_UNITS = (("dmar_", "DMAR"), ("amd_iommu_", "AMD-Vi"), ("iommu_print_", "AMD-Vi"), ("arm_smmu_", "SMMU"))


class Fault(msgspec.Struct, frozen=True):
    """An access that the IOMMU stopped, as the kernel logged it.

    ``unit`` is ``DMAR``, ``AMD-Vi`` or ``SMMU``, ``device`` an address or empty; ``suppressed``
    counts the messages that the kernel's rate limit swallowed with it. ``interrupt``: it was an interrupt, no access to memory.
    """

    unit: str
    device: str = ""
    line: str = ""
    suppressed: int = 0
    interrupt: bool = False


def parse_faults(lines: Iterable[str]) -> tuple[Fault, ...]:
    """Return the first 50 faults in a log; what the kernel suppressed is counted with the one before it."""
    faults: list[Fault] = []
    announced: Fault | None = None
    for line in lines:
        fault = _parse_fault(line) if _HINT.search(line) else None
        if fault is None:
            continue
        if _ANNOUNCEMENT.match(line):
            announced = announced or fault
        elif fault.suppressed and faults and (faults[-1].unit == fault.unit or len(faults) == _MOST):
            faults[-1] = msgspec.structs.replace(faults[-1], suppressed=faults[-1].suppressed + fault.suppressed)
        elif len(faults) < _MOST:
            faults.append(fault)
    if not faults and announced is not None:  # nobody says who it was
        return (announced,)
    return tuple(faults)


def _parse_fault(line: str) -> Fault | None:
    if match := _INTEL.match(line):
        address = PciAddress(0, *(int(number, 16) for number in match.groups()[1:]))
        interrupt = match[1] == "[INTR-REMAP]" or line.startswith("INTR-REMAP")
        return Fault("DMAR", str(address), line, interrupt=interrupt)
    if match := _AMD.match(line):
        return Fault("AMD-Vi", _spell(match[1] or match[3] or ""), line)
    if match := _ARM.match(line):
        return Fault("SMMU", match[1] or "", line)
    if _ANNOUNCEMENT.match(line):
        return Fault("DMAR", "", line)
    if match := _SUPPRESSED.match(line):
        unit = next(unit for prefix, unit in _UNITS if match[1].startswith(prefix))
        return Fault(unit, "", line, int(match[2]))
    return None


def _spell(address: str) -> str:
    try:
        return str(PciAddress.parse(address))
    except ValueError:
        return ""
