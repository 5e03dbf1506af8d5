"""The IOMMU as it works now: judged by groups, units, and interrupt chips, never by what the log claims."""

from __future__ import annotations

import re

import msgspec

from harness.core.capture import Capture
from harness.core.finding import Evidence
from harness.facts.acpi import Acpi
from harness.facts.log import KernelLog
from harness.facts.sysfs import read_names, timed_out

_UNITS = "sys/class/iommu"
_GROUPS = "sys/kernel/iommu_groups"
_NO_IOMMU = "vfio-noiommu"
_MAKERS = (("dmar", "intel"), ("ivhd", "amd"), ("smmu", "arm"), ("arm-smmu", "arm"))
# Chips whose interrupts pass a remapper, and those that show that they do not. ITS is the remapper of 64-bit Arm.
_REMAPPED_CHIP = re.compile(r"^(IR-|ITS-)")
_DIRECT_CHIP = re.compile(r"^(IO-APIC|PCI-MSI)")
_REMAPPED_LINE = re.compile(
    r"DMAR-IR: Enabled IRQ remapping in|AMD-Vi: Interrupt remapping enabled|Enabled Interrupt-Remapping", re.IGNORECASE
)


class Fault(msgspec.Struct, frozen=True):
    """An access that the IOMMU stopped, as the kernel logged it.

    ``unit`` is ``DMAR`` or ``AMD-Vi``, ``device`` an address or empty; ``suppressed``
    counts the messages that the kernel's rate limit swallowed with it.
    """

    unit: str
    device: str = ""
    line: str = ""
    suppressed: int = 0


class Iommu(msgspec.Struct, frozen=True):
    """``vendor`` is intel, amd, arm, other, none or unknown; both remappings are yes, no or unknown.

    ``interrupt_remapping`` is n/a on a platform that has none (Arm). ``default_domain`` is translated, passthrough or unknown:
    how the host's own devices work. Both evidences are what the two answers rest on. ``faults`` are in the order of the log.

    ``groups`` maps a group to the addresses in it, ``group_types`` to its domain type (``DMA-FQ``, ``identity``),
    ``reserved_regions`` to lines like ``0x00000000fee00000 0x00000000feefffff msi``.
    """

    vendor: str = "unknown"
    dma_remapping: str = "unknown"
    interrupt_remapping: str = "unknown"
    units: tuple[str, ...] = ()
    groups: dict[str, tuple[str, ...]] = {}
    group_types: dict[str, str] = {}
    reserved_regions: dict[str, tuple[str, ...]] = {}
    interrupt_chips: tuple[str, ...] = ()
    default_domain: str = "unknown"
    dma_evidence: tuple[Evidence, ...] = ()
    interrupt_evidence: tuple[Evidence, ...] = ()
    faults: tuple[Fault, ...] = ()


def read_iommu(capture: Capture, acpi: Acpi, log: KernelLog) -> Iommu:
    """Read units, groups and interrupt chips; the ACPI tables only tell the maker where no unit is in use."""
    units = read_names(capture, _UNITS)
    names = [name for name in read_names(capture, _GROUPS) if capture.text(f"{_GROUPS}/{name}/name") != _NO_IOMMU]
    groups = {name: read_names(capture, f"{_GROUPS}/{name}/devices") for name in sorted(names, key=_numerically)}
    chips = parse_interrupt_chips(capture.text("proc/interrupts") or "")
    return Iommu(
        vendor=_vendor(units, acpi),
        dma_remapping=_dma_remapping(capture, units, groups),
        interrupt_remapping=_interrupt_remapping(chips, log.lines, groups),
        units=units,
        groups=groups,
        group_types={name: text for name in groups if (text := capture.text(f"{_GROUPS}/{name}/type"))},
        reserved_regions={
            name: tuple(text.splitlines()) for name in groups if (text := capture.text(f"{_GROUPS}/{name}/reserved_regions"))
        },
        interrupt_chips=chips,
    )


def parse_interrupt_chips(text: str) -> tuple[str, ...]:
    """Return the chips' names in /proc/interrupts, each once: ``IR-PCI-MSI-0000:00:1c.0`` stands as ``IR-PCI-MSI``."""
    chips = []
    for line in text.splitlines():
        words = line.split()
        if words and words[0].rstrip(":").isdigit():
            chip = next((word for word in words[1:] if not word.isdigit()), "")
            chips.append(re.sub(r"-[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.\d$", "", chip))
    return tuple(dict.fromkeys(filter(None, chips)))


def _vendor(units: tuple[str, ...], acpi: Acpi) -> str:
    if units:
        return next((maker for prefix, maker in _MAKERS if units[0].startswith(prefix)), "other")
    tables = {"intel": acpi.dmar.table.status, "amd": acpi.ivrs.table.status}
    present = [maker for maker, status in tables.items() if status in {"present", "denied"}]
    if present:
        return present[0]
    return "none" if set(tables.values()) == {"absent"} else "unknown"


def _dma_remapping(capture: Capture, units: tuple[str, ...], groups: dict[str, tuple[str, ...]]) -> str:
    filled = any(groups.values())
    if units and filled:
        return "yes"
    if timed_out(capture, "iommu") or not capture.has("sys/bus/pci/devices"):
        return "unknown"
    # Groups without a unit: a driver that does not register one. Units without a group: nothing is translated.
    return "unknown" if filled else "no"


def _interrupt_remapping(chips: tuple[str, ...], log: tuple[str, ...], groups: dict[str, tuple[str, ...]]) -> str:
    if any(_REMAPPED_CHIP.match(chip) for chip in chips):
        return "yes"
    if any(_DIRECT_CHIP.match(chip) for chip in chips):
        return "no"
    if any(_REMAPPED_LINE.search(line) for line in log):
        return "yes"
    return "no" if groups else "unknown"


def _numerically(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdecimal() else (-1, name)
