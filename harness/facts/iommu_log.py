"""What the kernel's log proves of the IOMMU: work, failure, or nothing. An announcement proves nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from harness.core.finding import Evidence
from harness.core.pci import PciAddress
from harness.facts.log import KernelLog
from harness.facts.log_lines import find_lines
from harness.facts.memory import MemoryRange

_SOURCE = "dmesg"
_EVIDENCE_LINES = 5
_ARM = re.compile(r"^(?:ACPI: IORT: SMMU|arm-smmu)")
_DEVICE = r"^(?:\[Firmware \w+\]: |\S+ [0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]: )?"
# Drivers that ask for an IOMMU's maker, and the tables that describe one. The quirks of Intel's graphics (printed with or without
# VT-d) and AMD's IOMMUv2 driver, which every kernel loads, tell nothing.
_MAKERS = (
    (
        "intel",
        re.compile(
            r"^(?:ACPI: DMAR (?:0x)?[0-9A-Fa-f]{6,16} |DMAR(?:-IR)?: ?|dmar: |Intel-IOMMU: |INTR-REMAP: ?"
            r"|(?:\[Firmware \w+\]: )?(?:Your BIOS is broken; )?DMAR reported at address |\[Firmware \w+\]: DMAR: "
            r"|IOMMU: (?:Setting |\w+ identity mapping )|IOMMU (?:\d+ )?(?:0x)?[0-9a-f]{6,16}: (?:ver|using) "
            r"|IOAPIC id \d+ under DRHD|PCI-DMA: Intel\(R\)|Enabled IRQ remapping in x2?apic mode|Enabled Interrupt-remapping"
            r"|iommu dmar\d+: |\S+ \S+: DMAR: (?!Disabling IOMMU|Skip IOMMU|Forcing write-buffer))"
        ),
    ),
    (
        "amd",
        re.compile(
            _DEVICE + r"(?:iommu ivhd\d+: |AMD IOMMU disabled|ACPI: IVRS (?:0x)?[0-9A-Fa-f]{6,16} "
            r"|AMD-Vi: (?!AMD IOMMUv2 (?:driver|functionality))"
            r"|Event logged \[IO_PAGE_FAULT|perf/amd_iommu: Detected)"
        ),
    ),
    ("arm", _ARM),
    (
        "other",
        re.compile(
            r"^(?:IOMMU table initialized|virtio_iommu |\S*iommu (?!ivhd|dmar)\S+: |s390_iommu|exynos-sysmmu |ipmmu-vmsa )"
        ),
    ),
)
# POWER's translation tables have groups like any other IOMMU; what they do for a passed device the log does not tell.
_TCE = re.compile(r"^(?:IOMMU table initialized|\S+ \S+: iommu: 64-bit OK but direct DMA is limited)")
_DMA_WORKS = re.compile(
    _DEVICE + r"(?:(?:DMAR|dmar|PCI-DMA|IOMMU): ?Intel\(R\) Virtualization Technology for Directed I/O"
    r"|(?:DMAR: |IOMMU ?:? ?)\S.{0,40}?[Uu]sing (?:Queued|Register based) invalidation"
    r"|(?:DMAR|IOMMU): ?(?:Setting RMRR|Setting identity map|(?:[Hh]ard|[Ss]oft)ware identity mapping|Copied translation tables"
    r"|Use Intel IOMMU bounce page)"
    r"|Using iommu (?:direct|dma) mapping"
    r"|AMD-Vi: (?:Lazy IO/TLB flushing enabled|IO/TLB flush on unmap enabled|Interrupt remapping enabled"
    r"|Initialized for Passthrough Mode|Enabling IOMMU at )"
    r"|(?:iommu ivhd\d+: )?(?:AMD-Vi: )?Event logged \[IO_PAGE_FAULT"
    r"|DMAR: ?\[DMA \w+[^\]]*\] ?Request device"
    r"|arm-smmu\S* \S+: (?:event:? ?(?:0x10 received|F_TRANSLATION)|Unhandled context fault)"
    r"|\S+ \S+: Adding to iommu group \d|Adding to iommu group \d|iommu: Adding device \S+ to group \d)"
)
_DMA_FAILS = re.compile(
    r"^(?:DMAR|dmar|IOMMU|Intel-IOMMU): ?(?:[Pp]arse DMAR table failure|Initialization failed|(?:IOMMU )?disabled\s*$"
    r"|No (?:usable )?DMAR (?:devices|units) found|dmar_init failed)"
    r"|^AMD-Vi: (?:AMD IOMMU disabled|Error initialization)|^AMD IOMMU disabled"
    r"|DMAR reported at address \S+ returns all ones"
)
_INTERRUPTS_WORK = re.compile(
    r"^(?:(?:DMAR-IR|DMAR|dmar): )?Enabled IRQ remapping in \w+ mode|^(?:DMAR-IR: |DMAR: )?Enabled Interrupt-?[Rr]emapping"
    r"|^AMD-Vi: Interrupt remapping enabled|^DMAR: ?\[INTR-REMAP\] ?Request device|^INTR-REMAP: ?Request device"
)
_INTERRUPTS_FAIL = re.compile(
    r"interrupt remapping (?:will be|is being) disabled|Failed to enable (?:irq remapping|Interrupt-remapping)"
    r"|^AMD-Vi: Disabling interrupt remapping|(?:Intr|IRQ).remapping init failed|Failed to set up IRQ remapping",
    re.IGNORECASE,
)
_UNIT = re.compile(r"^(?:DMAR|dmar): (?:IOMMU \d+|dmar\d+): reg_base_addr \S+ ver \S+ cap \S+ ecap ([0-9a-f]{1,16})\b")
_UNIT_BASE = re.compile(r"^(?:DMAR|dmar): ?DRHD base")
_TABLE_WALK = re.compile(r"^(?:DMAR|dmar): ?Host address width")
_ECAP_INTERRUPTS = 1 << 3
_ACPI_TABLE = re.compile(r"^ACPI: ([A-Z0-9]{4}) (?:0x)?[0-9A-Fa-f]{6,16} ")
_BEHIND_TABLES = re.compile(r"^(?:Zone ranges:|Built \d+ zonelists|Kernel command line: |Memory: )")
_DESCRIBING = {"DMAR", "IVRS", "VIOT", "IORT"}
_DEFAULT_DOMAIN = re.compile(r"^iommu: Default domain type: (Translated|Passthrough)")
_ALL_PASS = re.compile(
    r"^AMD-Vi: Initialized for Passthrough Mode|^(?:DMAR|IOMMU): (?:[Hh]ard|[Ss]oft)ware identity mapping for device "
    r"(?!(?:0000:)?00:02\.0)"
    r"|^\S+ (?!0000:00:02\.0)\S+: DMAR: (?:Hard|Soft)ware identity mapping"
)
_RANGE = r"\[?(?:mem )?0x([0-9a-f]{1,16})\s*-\s*0x([0-9a-f]{1,16})\]"
_RMRR = re.compile(
    r"^(?:DMAR|dmar): ?RMRR base: 0x([0-9a-f]{1,16}) end: 0x([0-9a-f]{1,16})"
    r"|^(?:DMAR|dmar):.* this RMRR " + _RANGE,
    re.IGNORECASE,
)
_IDENTITY = re.compile(
    r"^(?:\S+ (?P<device>\S+): DMAR: Setting identity map|(?:DMAR|IOMMU): ?Setting identity map for device (?P<old>\S+)) "
    r"\[0x(?P<first>[0-9a-f]{1,16}) - 0x(?P<last>[0-9a-f]{1,16})\]"
)
_BROKEN_RMRR = re.compile(r"RMRR entry for device (\S+) is broken")
_JOINS_GROUP = re.compile(r"(?:Adding to iommu|Adding device \S+ to) group \d")
_LPC_LAST = 0xFFFFFF  # the first 16 MiB, mapped for a floppy behind the LPC bridge: Linux's own doing, no firmware's claim


# One of these is in every line that this module reads.
_WORDS = (
    *("Zone ranges:", "Built ", "Kernel command line", "Memory: ", "Directed I/O"),
    *("DMAR", "dmar", "IOMMU", "iommu", "AMD-Vi", "smmu", "SMMU", "emapping", "remap", "ACPI: ", "DRHD", "RMRR"),
    *("Event logged", "INTR-REMAP", "Request device", "callbacks suppressed", " group "),
)
_LINES_AT_MOST = 20_000  # a server of four sockets prints 3,000


class Proof(NamedTuple):
    """An answer (``yes``, ``no``, ``n/a``, ``unknown``), and what it rests on."""

    state: str = "unknown"
    evidence: tuple[Evidence, ...] = ()


def select_lines(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Return the lines of a boot that the functions here, of faults and of groups look at: few of many, and not without end."""
    chosen = tuple(lines[at] for at in find_lines(lines, _WORDS))
    if len(chosen) > _LINES_AT_MOST:
        return chosen[: _LINES_AT_MOST // 2] + chosen[-_LINES_AT_MOST // 2 :]
    return chosen


def parse_vendor(log: KernelLog, lines: Iterable[str]) -> str:
    """Return whose IOMMU the log speaks of; ``none`` if it would show one and does not."""
    lines = tuple(lines)
    said = {name: any(sign.match(line) for line in lines) for name, sign in _MAKERS}
    found = next((name for name, yes in said.items() if yes), "")
    if found:
        return found
    if not _shows_all(log, lines):
        return "unknown"
    return "other" if any(_JOINS_GROUP.search(line) for line in lines) else "none"


def prove_dma_remapping(log: KernelLog, lines: Iterable[str]) -> Proof:
    """Look for devices in groups, units at work and faults; the last word counts, and a whole boot without any is a ``no``."""
    lines = tuple(lines)
    if tables := _select(_TCE, lines):
        return Proof("unknown", tables)
    return _last_word(log, lines, _DMA_WORKS, _DMA_FAILS, "no device joins a group, no unit is set to work")


def prove_interrupt_remapping(log: KernelLog, lines: Iterable[str]) -> Proof:
    """Look for remapping that was enabled, in whatever mode; x2APIC alone, as guests have it, is none."""
    lines = tuple(lines)
    if log.architecture in {"arm", "other"} or _select(_TCE, lines) or any(_ARM.match(line) for line in lines):
        return Proof("n/a")
    proof = _last_word(log, lines, _INTERRUPTS_WORK, _INTERRUPTS_FAIL, "interrupt remapping is never enabled")
    if proof.state == "unknown" and (units := _units_without_interrupts(lines)):
        return Proof("no", units)
    return proof


def parse_default_domain(lines: Iterable[str]) -> str:
    """Return how the kernel sets up the host's own devices: ``translated``, ``passthrough`` or ``unknown`` (before Linux 5.3)."""
    for line in lines:
        if match := _DEFAULT_DOMAIN.match(line):
            return match[1].lower()
        if _ALL_PASS.match(line):
            return "passthrough"
    return "unknown"


def parse_rmrr(lines: Iterable[str]) -> tuple[MemoryRange, ...]:
    """Return the memory that firmware reserves (RMRR), in the order of the log."""
    found = (match.groups() for line in lines if "RMRR" in line and (match := _RMRR.search(line)))
    ranges = (MemoryRange(*(int(text, 16) for text in groups if text)) for groups in found)
    return tuple(dict.fromkeys(ranges))


def parse_rmrr_devices(lines: Iterable[str]) -> dict[str, tuple[MemoryRange, ...]]:
    """Return the devices for which the kernel mapped such memory, and which; a device whose entry is broken has none."""
    found: dict[str, list[MemoryRange]] = {}
    for line in lines:
        if match := _IDENTITY.match(line):
            mapped = MemoryRange(int(match["first"], 16), int(match["last"], 16))
            if mapped != MemoryRange(0, _LPC_LAST) and (address := _spell(match["device"] or match["old"])):
                found.setdefault(address, []).append(mapped)
        elif (match := _BROKEN_RMRR.search(line)) and (address := _spell(match[1])):
            found.setdefault(address, [])
    return {address: tuple(ranges) for address, ranges in found.items()}


def _last_word(log: KernelLog, lines: tuple[str, ...], works: re.Pattern[str], fails: re.Pattern[str], silence: str) -> Proof:
    """Return what the last line that works or fails says: a unit may be set to work and then fail."""
    state = "unknown"
    for line in lines:
        if works.match(line):
            state = "yes"
        elif fails.search(line):
            state = "no"
    if state != "unknown":
        return Proof(state, _select(works if state == "yes" else fails, lines))
    if _shows_all(log, lines):
        return Proof("no", (Evidence(_SOURCE, f"(a whole boot, in which {silence})"),))
    return Proof()


def _shows_all(log: KernelLog, lines: tuple[str, ...]) -> bool:
    """Return whether an IOMMU at work would have spoken: the whole boot is there, or firmware's list of tables, without one.

    A boot that does not even tell the kind of machine was filtered for some words.
    """
    if not log.complete or not log.architecture or _hypervisor_owns(log):
        return False
    if log.started:
        return True
    listed = {match[1] for line in lines if (match := _ACPI_TABLE.match(line))}
    return "FACP" in listed and not listed & _DESCRIBING and any(_BEHIND_TABLES.match(line) for line in lines)


def _hypervisor_owns(log: KernelLog) -> bool:
    """Return whether this is Xen's own domain (or may be): Xen hides the tables and the units from it."""
    return "Xen" in log.hypervisor and "HVM" not in log.hypervisor


def _units_without_interrupts(lines: tuple[str, ...]) -> tuple[Evidence, ...]:
    """Return the units if none can remap interrupts; empty if one can, or if not all of them are shown."""
    units = [(line, int(match[1], 16)) for line in lines if (match := _UNIT.match(line))]
    # The table's walk begins with the width and comes to reserved memory and the like behind the last unit.
    last = max((at for at, line in enumerate(lines) if _UNIT.match(line) or _UNIT_BASE.match(line)), default=-1)
    if not _select(_TABLE_WALK, lines) or not lines[last + 1 :]:
        return ()
    if any(ecap & _ECAP_INTERRUPTS for _, ecap in units):
        return ()
    return tuple(Evidence(_SOURCE, line) for line, _ in units)


def _select(pattern: re.Pattern[str], lines: Iterable[str]) -> tuple[Evidence, ...]:
    return tuple(Evidence(_SOURCE, line) for line in islice(filter(pattern.search, lines), _EVIDENCE_LINES))


def _spell(address: str) -> str:
    try:
        return str(PciAddress.parse(address))
    except ValueError:
        return ""
