"""Records for the tests of reports: whole ones, made here, of runs that never were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from harness.core.finding import Evidence, Finding, Severity
from harness.core.judgement import Call, Judgement
from harness.core.record import (
    SCHEMA,
    Attachment,
    BoardVerdict,
    Check,
    Environment,
    Outcome,
    Record,
    Run,
    StageTime,
    Verdict,
)
from harness.core.series import Sample, Series
from harness.core.timeline import Span, SpanKind

CELL = "SEQ1M Q8T1 read"
SENTENCE = "PCI passthrough reads 1.41 x as fast as USB-level passthrough [1.39, 1.43], 6 blocks, SEQ1M Q8T1 read"
HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m"

_DMESG = """[    0.013244] ACPI: DMAR 0x000000007FFE2A5D 000070 (v01 BOCHS  BXPC     00000001 BXPC 00000001)
[    0.204011] DMAR: IOMMU enabled
[    0.411873] DMAR-IR: Queued invalidation will be enabled to support x2apic and Intr-remapping.
[    1.020755] pci 0000:01:00.0: Adding to iommu group 8"""


def sample_record(**changes: Any) -> Record:
    """Return the record of a QUALIFIED virtual board with three arms and six blocks, with ``changes`` to its fields."""
    record = Record(
        schema=SCHEMA,
        run=_run(),
        verdict=Verdict(BoardVerdict.QUALIFIED),
        environment=_environment(),
        facts={"host": {"cpu": {"flags": ["vmx"]}}},
        findings=_findings(),
        checks=_checks(),
        series=(
            sample_series("native", 402.0),
            sample_series("pci", 396.0),
            sample_series("usb-host", 281.0, driver="usb-storage"),
        ),
        judgements=(sample_judgement(), sample_judgement(arm="pci", base="native", ratio=0.985, primary=False)),
        attachments=(
            Attachment("guest-console.log", "9f" * 32, "console of the guest"),
            Attachment("fio/pci-0.json", "c3" * 32, "raw output of fio"),
        ),
    )
    return msgspec.structs.replace(record, **changes)


def failed_record() -> Record:
    """Return the record of a board without DMA remapping: NOT QUALIFIED, the later stages blocked."""
    reason = "The kernel uses no DMA remapping: /sys/class/iommu is empty although the ACPI DMAR table is there"
    remedy = 'Enable "VT-d" in the firmware\'s setup, and start the kernel with intel_iommu=on:\n  sudo update-grub && reboot'
    failed = Check(
        "readiness/dma-remapping",
        "DMA remapping is in use.",
        "readiness",
        Outcome.FAIL,
        reason,
        remedy,
        (Evidence("dmesg", _DMESG), Evidence("/proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/vda1 ro quiet")),
        0.02,
    )
    weak = Check(
        "readiness/kvm",
        "KVM works on the host.",
        "readiness",
        Outcome.CONDITION,
        "/dev/kvm is missing: the guest runs emulated",
        "Enable SVM or VT-x in the firmware's setup",
        (Evidence("/proc/cpuinfo", "flags: fpu vme de pse"),),
    )
    blocked = Check(
        "binding/bound", "vfio-pci holds the controller.", "binding", Outcome.BLOCKED, "readiness/dma-remapping failed"
    )
    verdict = Verdict(BoardVerdict.NOT_QUALIFIED, (reason, "/dev/kvm is missing: the guest runs emulated"))
    checks = (_checks()[0], failed, weak, blocked)
    return sample_record(verdict=verdict, checks=checks, series=(), judgements=())


def refused_record() -> Record:
    """Return the record of a run that was refused: UNDECIDED, nothing was touched."""
    reason = "0000:01:00.0 carries the root disk (TP-ROOT)"
    refused = Check(
        "binding/nothing-in-use",
        "Nothing that the host needs sits on the controller.",
        "binding",
        Outcome.REFUSED,
        reason,
        "Move the root disk to another controller, or name another controller in the bench file",
        (Evidence("/proc/mounts", "/dev/sda1 / ext4 rw 0 0"),),
    )
    verdict = Verdict(BoardVerdict.UNDECIDED, (reason,))
    return sample_record(verdict=verdict, checks=(_checks()[0], refused), series=(), judgements=(), attachments=())


def empty_record() -> Record:
    """Return a record in which all that may be empty is."""
    run = Run("", "", "", "", "", "", "", "", 0)
    return Record(SCHEMA, run, Verdict(BoardVerdict.UNDECIDED), Environment(emulated=False))


def hostile_record(text: str = HOSTILE) -> Record:
    """Return the sample record with ``text`` in place of every string that is not a member of an enum."""
    document = msgspec.to_builtins(failed_record_with_series())
    return msgspec.convert(_poison(document, text, _ENUMS), type=Record)


def failed_record_with_series() -> Record:
    """Return a record that fills every part of the page."""
    failed, whole = failed_record(), sample_record()
    return msgspec.structs.replace(failed, series=whole.series, judgements=whole.judgements)


def sample_series(arm: str, rate_mib_s: float, *, cell: str = CELL, blocks: int = 6, driver: str = "uas") -> Series:
    """Return a series with a rate that wobbles a little, the same each time."""
    samples = tuple(
        Sample(block, block % 3, rate_mib_s * (1 + 0.012 * ((block * 7) % 5 - 2)), 10.0, 1.2, f"fio/{arm}-{block}.json")
        for block in range(blocks)
    )
    return Series(cell, arm, samples, {"driver": driver, "speed": "5000M", "scheduler": "mq-deadline"})


def sample_judgement(**changes: Any) -> Judgement:
    """Return the primary judgement, pci against usb-host, with ``changes`` to its fields; the interval follows the ratio."""
    base = Judgement(
        CELL, "pci", "usb-host", 6, 1.41, 1.39, 1.43, 0.95, "paired t on log ratios", Call.FASTER, SENTENCE, primary=True
    )
    ratio = changes.get("ratio", 1.41)
    if "ratio" in changes and ratio is not None:
        low, high = ratio * 0.99, ratio * 1.01
        sentence = f"PCI passthrough reads {ratio:g} x as fast as native [{low:.3g}, {high:.3g}], 6 blocks, {CELL}"
        changes = {"low": low, "high": high, "call": Call.EQUIVALENT, "sentence": sentence, **changes}
    return msgspec.structs.replace(base, **changes)


@dataclass(frozen=True)
class _Enums:
    """Keys whose values are members of enums."""

    keys: frozenset[str] = frozenset({"outcome", "severity", "call", "board", "kind"})
    values: frozenset[str] = frozenset(
        member.value for enum in (Outcome, Severity, Call, BoardVerdict, SpanKind) for member in enum
    )


_ENUMS = _Enums()


def _poison(value: Any, text: str, enums: _Enums, key: str = "") -> Any:
    """Walk a document; keys of the free dictionaries (facts, confounders) keep their names."""
    if isinstance(value, dict):
        return {name: _poison(item, text, enums, name) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_poison(item, text, enums, key) for item in value]
    if not isinstance(value, str) or (key in enums.keys and value in enums.values):
        return value
    return text


def _run() -> Run:
    names = ("boot", "readiness", "binding", "guest", "usb", "throughput", "return")
    spans = (38.2, 1.1, 2.4, 52.7, 6.3, 214.0, 9.8)
    times = tuple(StageTime(name, span) for name, span in zip(names, spans, strict=True))
    start, end = "2026-03-01T14:05:12Z", "2026-03-01T14:10:41Z"
    return Run(
        "20260301-140512-vtd", start, end, "0.1.0", "63b9825", "virtual-vtd", "virtual", "quick", 1, times, 1, tuple(_spans())
    )


def _spans() -> Iterator[Span]:
    """Yield what the run waited for: board, guest, the stick, and eighteen fio runs with a hot-plug before each."""
    yield Span(SpanKind.BOOT, "boot", 0.0, 38.1)
    yield Span(SpanKind.GUEST, "guest", 42.0, 51.0)
    yield Span(SpanKind.SETTLE, "usb", 95.0, 1.4)
    for number in range(18):
        start_s = 102.0 + 11.5 * number
        yield Span(SpanKind.SETTLE, "throughput", start_s, 1.1)
        yield Span(SpanKind.FIO, "throughput", start_s + 1.2, 9.2, 8.0)
    yield Span(SpanKind.SETTLE, "return", 317.0, 0.6)


def _environment() -> Environment:
    return Environment(
        emulated=True,
        board="QEMU Standard PC (Q35 + ICH9, 2009)",
        firmware="SeaBIOS 1.16.3",
        cpu="AMD EPYC 9R14 (1 vCPU)",
        kernel="6.12.48+deb13-amd64",
        distribution="Debian GNU/Linux 13 (trixie)",
        qemu="10.0.3 (Debian 1:10.0.3+ds-0+deb13u1)",
        accelerator="tcg",
        iommu="Intel VT-d",
        controller="0000:01:00.0 NEC Corporation uPD720200 USB 3.0 Host Controller [1033:0194]",
        controller_driver="xhci_hcd",
        guest_kernel="6.12.48+deb13-amd64",
        stick="46f4:0001 serial TP0001, 256 MiB",
        bench_qemu="10.0.3",
        bench_accelerator="kvm",
    )


def _findings() -> tuple[Finding, ...]:
    return (
        Finding("iommu-in-use", Severity.PASS, "host", "DMA remapping is in use: 12 groups", (Evidence("dmesg", _DMESG),)),
        Finding(
            "reset-method",
            Severity.CONDITION,
            "0000:01:00.0",
            "The controller has no reset method but a bus reset",
            (Evidence("/sys/bus/pci/devices/0000:01:00.0/reset_method", "bus"),),
            "Pass it alone on its bus",
        ),
        Finding("lockdown", Severity.INFORMATION, "host", "Kernel lockdown is off"),
    )


def _checks() -> tuple[Check, ...]:
    titles = {
        "readiness/virtualisation": "The CPU can virtualise, and KVM works.",
        "readiness/group": "The controller's IOMMU group holds nothing else.",
        "binding/bound": "vfio-pci holds the controller, and the host's USB stack let go of it.",
        "guest/controller": "The guest's xhci_hcd drives the controller.",
        "guest/faults": "The host's IOMMU reports no fault while the guest runs.",
        "usb/stick": "The stick comes up in the guest at SuperSpeed.",
        "usb/data": "The guest reads from the stick what the host read.",
        "integrity/ways-agree": "What one way to the stick leaves, the next one finds.",
        "throughput/pci-against-usb-host": "PCI passthrough and USB-level passthrough were measured in the same blocks.",
        "return/driver": "The controller is back with the driver it was found with.",
    }
    evidence = (Evidence("dmesg", _DMESG), Evidence("lspci -nnk (guest)", "00:04.0 USB controller [0c03]: NEC [1033:0194]"))
    return tuple(
        Check(name, title, name.split("/", maxsplit=1)[0], Outcome.PASS, evidence=evidence, duration_s=0.4 + len(name) / 9)
        for name, title in titles.items()
    )
