"""The IOMMU as it works now: judged by groups, units, and interrupt chips, never by what the log claims."""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from harness.core.capture import Capture, Status
from harness.core.finding import Evidence
from harness.facts.acpi import Acpi
from harness.facts.cpu import read_cpu
from harness.facts.disagreement import Disagreement
from harness.facts.faults import Fault, parse_faults
from harness.facts.groups import by_number, find_group, has_all_numbers, is_cut, parse_group_listing, parse_group_log
from harness.facts.iommu_log import (
    Proof,
    parse_default_domain,
    parse_rmrr,
    parse_rmrr_devices,
    parse_vendor,
    prove_dma_remapping,
    prove_interrupt_remapping,
    select_lines,
)
from harness.facts.log import LOG, KernelLog, read_boot_log
from harness.facts.memory import MemoryRange
from harness.facts.sysfs import read_link_name, read_names, timed_out

LISTING = "commands/iommu-groups"
_SYSFS = "sysfs"
_UNITS = "sys/class/iommu"
_GROUPS = "sys/kernel/iommu_groups"
_DEVICES = "sys/bus/pci/devices"
_NO_IOMMU = "vfio-noiommu"
_MAKERS = (("dmar", "intel"), ("ivhd", "amd"), ("smmu", "arm"), ("arm-smmu", "arm"))
# Chips whose interrupts pass a remapper, and those that show that they do not. ITS is the remapper of 64-bit Arm.
_REMAPPED_CHIP = re.compile(r"^(IR-|ITS-)")
_DIRECT_CHIP = re.compile(r"^(IO-APIC|PCI-MSI)")
_FOREIGN_CHIP = re.compile(
    r"^(GIC|SiFive PLIC|RISC-V|XICS|XIVE|MIPS|LOONGARCH|OpenPIC)", re.IGNORECASE
)  # of machines that are no PC
_NO_IOMMU_SWITCH = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode"


class _Groups(NamedTuple):
    groups: dict[str, tuple[str, ...]]
    source: str
    complete: bool


class Iommu(msgspec.Struct, frozen=True):
    """``vendor`` is intel, amd, arm, other, none or unknown; both remappings are yes, no or unknown.

    ``interrupt_remapping`` is n/a on a platform that has none (Arm). ``default_domain`` is translated, passthrough or unknown:
    how the kernel sets up the host's own devices. Both evidences are what the two answers rest on. ``faults`` are in the order
    of the log.

    ``groups`` maps a group to the addresses in it, ``group_types`` to its domain type (``DMA-FQ``, ``identity``),
    ``reserved_regions`` to lines like ``0x00000000fee00000 0x00000000feefffff msi``. ``groups_source`` is ``sysfs``,
    ``commands/iommu-groups``, ``commands/dmesg`` or empty; ``groups_complete``: what is not in them is in no group.

    ``rmrr`` is the memory that firmware reserves as the log names it, ``rmrr_devices`` for whom the kernel mapped which of it.
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
    groups_source: str = ""
    groups_complete: bool = False
    rmrr: tuple[MemoryRange, ...] = ()
    rmrr_devices: dict[str, tuple[MemoryRange, ...]] = {}


def read_iommu(capture: Capture, acpi: Acpi, log: KernelLog, lines: tuple[str, ...] | None = None) -> Iommu:
    """Read units, groups and interrupt chips; what they do not show is asked of the log, whose messages are ``lines``."""
    lines = select_lines(read_boot_log(capture).lines if lines is None else lines)
    units = read_names(capture, _UNITS)
    found = _read_groups(capture, log, lines)
    chips = parse_interrupt_chips(capture.text("proc/interrupts") or "")
    vendor = _vendor(units, acpi, log, lines, seen=sysfs_was_read(capture))
    types = {name: text for name in found.groups if (text := capture.text(f"{_GROUPS}/{name}/type"))}
    dma = _judge_dma(capture, units, found, prove_dma_remapping(log, lines))
    interrupts = _judge_interrupts(capture, chips, found, vendor, prove_interrupt_remapping(log, lines))
    return Iommu(
        vendor=vendor,
        dma_remapping=dma.state,
        interrupt_remapping=interrupts.state,
        units=units,
        groups=found.groups,
        group_types=types,
        reserved_regions={
            name: tuple(text.splitlines())
            for name in found.groups
            if (text := capture.text(f"{_GROUPS}/{name}/reserved_regions"))
        },
        interrupt_chips=chips,
        default_domain=_default_domain(types, lines),
        dma_evidence=dma.evidence,
        interrupt_evidence=interrupts.evidence,
        faults=parse_faults(lines),
        groups_source=found.source,
        groups_complete=found.complete,
        rmrr=parse_rmrr(lines),
        rmrr_devices=parse_rmrr_devices(lines),
    )


def group_of(iommu: Iommu, address: str) -> str | None:
    """Return the group of a device, None if it is in none that is known (see ``Iommu.groups_complete``)."""
    return find_group(iommu.groups, address)


def find_iommu_disagreements(capture: Capture, iommu: Iommu, log: KernelLog, lines: tuple[str, ...]) -> tuple[Disagreement, ...]:
    """Return where a text puts a device into another group than sysfs does, or the log says otherwise of a remapping."""
    if not sysfs_was_read(capture):
        return ()
    lines = select_lines(lines)
    said = {LISTING: parse_group_listing(capture.text(LISTING) or ""), LOG: parse_group_log(lines)}
    real = {device: name for name, members in iommu.groups.items() for device in members}
    pairs = (
        (command, device, name) for command, groups in said.items() for name, devices in groups.items() for device in devices
    )
    moved = tuple(
        Disagreement(device, "iommu_group", shown, name, command)
        for command, device, name in pairs
        if (shown := real.get(device) or _shown_group(capture, device) or name) != name
    )
    answers = (
        ("dma_remapping", iommu.dma_remapping, prove_dma_remapping(log, lines).state),
        ("interrupt_remapping", iommu.interrupt_remapping, prove_interrupt_remapping(log, lines).state),
    )
    return moved + tuple(
        Disagreement("host", what, real_state, log_state, LOG)
        for what, real_state, log_state in answers
        if {real_state, log_state} == {"yes", "no"}
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


def sysfs_was_read(capture: Capture) -> bool:
    """Return whether sysfs would show units and groups if there were any: somebody looked there, and came to an end."""
    looked = capture.has(_UNITS) or capture.has(_GROUPS) or capture.get("sections/iommu").status is Status.READ
    return looked and capture.has(_DEVICES) and not timed_out(capture, "iommu")


def _read_groups(capture: Capture, log: KernelLog, lines: tuple[str, ...]) -> _Groups:
    """Return the groups of sysfs, with those devices of the list of which it says nothing; where it was not read, the log's."""
    names = [name for name in read_names(capture, _GROUPS) if capture.text(f"{_GROUPS}/{name}/name") != _NO_IOMMU]
    groups = {name: read_names(capture, f"{_GROUPS}/{name}/devices") for name in sorted(names, key=by_number)}
    listing = capture.text(LISTING) or ""
    listed = parse_group_listing(listing)
    if any(groups.values()) or sysfs_was_read(capture):
        known = {device for members in groups.values() for device in members}
        return _Groups(_add(capture, groups, listed, known), _SYSFS, capture.has(_GROUPS) and not timed_out(capture, "iommu"))
    if listed:
        return _Groups(listed, LISTING, not is_cut(listing))
    logged = parse_group_log(lines)
    return _Groups(logged or groups, LOG if logged else "", bool(logged) and log.silence_counts and has_all_numbers(logged))


def _add(
    capture: Capture, groups: dict[str, tuple[str, ...]], listed: dict[str, tuple[str, ...]], known: set[str]
) -> dict[str, tuple[str, ...]]:
    merged = dict(groups)
    for name, devices in listed.items():
        if new := [device for device in devices if device not in known and _shown_group(capture, device) is None]:
            merged[name] = tuple(sorted((*merged.get(name, ()), *new)))
    return dict(sorted(merged.items(), key=lambda item: by_number(item[0])))


def _shown_group(capture: Capture, device: str) -> str | None:
    """Return the group that a device's folder in sysfs shows: ``none`` if it shows none, None if there is no such folder."""
    folder = f"{_DEVICES}/{device}"
    return read_link_name(capture, f"{folder}/iommu_group") or ("none" if capture.has(folder) else None)


def _vendor(units: tuple[str, ...], acpi: Acpi, log: KernelLog, lines: tuple[str, ...], *, seen: bool) -> str:
    if units:
        return next((maker for prefix, maker in _MAKERS if units[0].startswith(prefix)), "other")
    tables = {"intel": acpi.dmar.table.status, "amd": acpi.ivrs.table.status}
    present = [maker for maker, status in tables.items() if status in {"present", "denied"}]
    if present:
        return present[0]
    if set(tables.values()) == {"absent"}:
        return "none"
    # Where sysfs shows no unit, a piece of a log does not name one either.
    return parse_vendor(log, lines) if log.complete or not seen else "unknown"


def _judge_dma(capture: Capture, units: tuple[str, ...], found: _Groups, logged: Proof) -> Proof:
    """Let sysfs decide if it was read, then what lists the groups, then the log."""
    filled = any(found.groups.values())
    shown = (
        Evidence(f"/{_UNITS}", " ".join(units) or "(empty)"),
        Evidence(
            f"/{_GROUPS}" if found.source == _SYSFS else found.source, f"{len(found.groups)} groups" if filled else "(empty)"
        ),
    )
    if units and filled:
        return Proof("yes", shown)
    if not filled:
        return Proof("no", shown) if sysfs_was_read(capture) else logged
    if found.source == LOG:
        return logged
    if logged.state == "yes":
        return Proof("yes", (*shown[1:], *logged.evidence))
    # Groups alone: VFIO makes some up where it may work without an IOMMU, POWER has them for its tables, and where sysfs shows
    # no unit their driver registers none.
    doubtful = capture.has(_UNITS) or capture.text(_NO_IOMMU_SWITCH) == "Y" or bool(logged.evidence)
    return Proof("unknown" if doubtful else "yes", shown[1:])


def _judge_interrupts(capture: Capture, chips: tuple[str, ...], found: _Groups, vendor: str, logged: Proof) -> Proof:
    """Let the chips in use decide, then the log; interrupts of a host with groups that show neither are not remapped."""
    architecture = read_cpu(capture).architecture
    foreign = architecture not in {"x86", ""} or any(_FOREIGN_CHIP.match(chip) for chip in chips)
    for state, sign in (("yes", _REMAPPED_CHIP), ("n/a" if foreign else "no", _DIRECT_CHIP)):
        if shown := [chip for chip in chips if sign.match(chip)]:
            return Proof(state, (Evidence("/proc/interrupts", " ".join(shown)),))
    if logged.state == "unknown" and (foreign or vendor in {"arm", "other"}):
        return Proof("n/a")
    seen = capture.get("proc/interrupts").status is Status.READ
    if logged.state == "unknown" and found.source == _SYSFS and found.groups and seen:
        return Proof("no", (Evidence("/proc/interrupts", " ".join(chips) or "(no chip of a remapping unit)"),))
    return logged


def _default_domain(types: dict[str, str], lines: tuple[str, ...]) -> str:
    """Return what all groups have, else what the kernel announced: single groups may differ from its default."""
    kinds = {"passthrough" if kind == "identity" else "translated" for kind in types.values()}
    announced = parse_default_domain(lines)
    return kinds.pop() if len(kinds) == 1 else announced
