"""The kernel's log: what it says of the machine, and the lines that speak of what this suite asks about."""

from __future__ import annotations

import re
from itertools import islice

import msgspec

from harness.core.capture import Capture, Status
from harness.core.finding import Evidence
from harness.facts.log_lines import BootLog, find_lines, parse_boot_log

LOG = "commands/dmesg"
_FIRST_KEPT, _LAST_KEPT = 300, 100
_OF_INTEREST = (  # in small letters
    *(
        "dmar",
        "iommu",
        "amd-vi",
        "smmu",
        "remapping",
        "x2apic",
        "vfio",
        "pci-stub",
        "xhci",
        "renesas",
        "vmx",
        "kvm",
        "svm",
        "sev",
    ),
    *("disabled by bios", "firmware bug", "flr", "aer:", "aer ", "suppressed", "hypervisor", "xen"),
    *("locked down", "lockdown", "secure boot"),
    *("pcie bus error", "dpc:", "over-current c", "usb cable is bad", "unable to enumerate", "uas_eh", "usbfs: process"),
    *("bug: unable", "null pointer", "oops: ", "general protection fault", "blocked for more", "nobody cared", "lockup"),
    *("messages dropped", "messages lost"),
)
_JOINS_GROUP = re.compile(r"to (?:iommu )?group \d+")  # one a device: the groups are facts of their own
_RELEASE = re.compile(r"^Linux version (\S+)")
_CMDLINE = re.compile(r"^(?:Kernel command|Command) line: ?(.*)")
_HYPERVISOR = re.compile(r"^(?:Hypervisor detected: |Booting (?:paravirtualized )?kernel on (?=Xen))(.+)|^\(XEN\) (Xen) version")
# Xen calls these HVM before: as its own domain they must not be taken for a guest with everything emulated.
_XEN_PVH = re.compile(r"^Booting (?:paravirtualized )?kernel on (Xen PVH)")
_LOCKDOWN = re.compile(r"^(?:Kernel is locked down|Lockdown: .* is restricted)(?: from ([^;]+))?")
_ARCHITECTURES = (
    ("x86", re.compile(r"^(?:BIOS-e820|Xen: \[mem|BIOS-provided physical RAM|x86/|smpboot: |microcode: |IOAPIC\[|e820: )")),
    (
        "arm",
        re.compile(
            r"^(?:Booting Linux on physical CPU|CPU features: detected|psci: |GICv\d|arch_timer: |ARM|CPU: ARMv\d"
            r"|Boot CPU: AArch64|Detected [VP]IPT )"
        ),
    ),
    (
        "other",
        re.compile(
            r"^(?:hash-mmu: |radix-mmu: |OPAL |powernv|pseries|PowerPC|Using (?:pSeries|PowerNV|PowerMac) "
            r"|riscv: |SBI |ARCH: SUN4|(?:setup(?:\.[0-9a-f]{6})?: )?Linux is running "
            r"|CPU0 revision is: .*MIPS|64-bit Loongson Processor)"
        ),
    ),
)


class KernelLog(msgspec.Struct, frozen=True):
    """``status`` is ``read``, ``denied`` or ``unknown``. Only the last boot counts; ``boots`` are all that begin in it.

    ``complete``: it begins with the boot and nothing is known to be left out, so that what is not in it was not said;
    ``started``: it goes on until user space, so that the IOMMU had its say.

    ``lines`` are those that speak of the IOMMU, of interrupts, virtualization, VFIO, xHCI, resets and lockdown: at most 400,
    without timestamps, and without those that only put a device into a group.

    ``release`` and ``command_line`` (None: not shown) are the kernel's; ``hypervisor`` is the one that it detected, in its words;
    ``lockdown`` is why it is locked down (``EFI Secure Boot mode``). ``architecture`` is ``x86``,
    ``arm``, ``other`` or empty. ``crash_kernel``: this is the small kernel that kexec starts after a panic, not the host at work.
    """

    status: str = "unknown"
    complete: bool = False
    lines: tuple[str, ...] = ()
    started: bool = False
    boots: int = 0
    release: str = ""
    command_line: str | None = None
    hypervisor: str = ""
    lockdown: str = ""
    architecture: str = ""
    crash_kernel: bool = False

    @property
    def silence_counts(self) -> bool:
        """Return whether the log would show an IOMMU that works: what it does not say then is not so."""
        return self.complete and self.started

    def find(self, pattern: re.Pattern[str], limit: int = 5) -> tuple[Evidence, ...]:
        """Return the first lines that match, as evidence."""
        return tuple(islice((Evidence("dmesg", line) for line in self.lines if pattern.search(line)), limit))


def read_boot_log(capture: Capture) -> BootLog:
    """Return every message of the last boot; nothing where the log was not read."""
    item = capture.get(LOG)
    return parse_boot_log(item.text) if item.status is Status.READ else BootLog()


def read_log(capture: Capture, boot: BootLog | None = None) -> KernelLog:
    """Read the log of the kernel that runs; ``boot`` is what ``read_boot_log`` returned, if somebody has it."""
    item = capture.get(LOG)
    if item.status is not Status.READ:
        return KernelLog("denied" if item.status is Status.DENIED else "unknown")
    boot = read_boot_log(capture) if boot is None else boot
    telling = [boot.lines[at] for at in find_lines([line.lower() for line in boot.lines], _OF_INTEREST)]
    telling = [line for line in telling if not _JOINS_GROUP.search(line)]
    command_line = _read_command_line(boot.lines)
    return KernelLog(
        "read",
        complete=boot.complete,
        lines=tuple(telling[:_FIRST_KEPT] + telling[_FIRST_KEPT:][-_LAST_KEPT:]),
        started=boot.started,
        boots=boot.boots,
        release=_first(_RELEASE, boot.lines),
        command_line=command_line,
        hypervisor=_first(_XEN_PVH, boot.lines) or _first(_HYPERVISOR, boot.lines),
        lockdown=_read_lockdown(boot.lines),
        architecture=next((name for name, sign in _ARCHITECTURES if any(sign.match(line) for line in boot.lines)), ""),
        crash_kernel="elfcorehdr=" in (command_line or ""),
    )


def _first(pattern: re.Pattern[str], lines: tuple[str, ...]) -> str:
    found = next((match for line in lines if (match := pattern.match(line))), None)
    return next((group for group in found.groups() if group), "") if found else ""


def _read_lockdown(lines: tuple[str, ...]) -> str:
    found = next((match for line in lines if (match := _LOCKDOWN.match(line))), None)
    return (found[1] or "unknown").strip() if found else ""


def _read_command_line(lines: tuple[str, ...]) -> str | None:
    """Return the final command line: the later of the two that x86 prints. Linux 6.19 breaks a long one, with a backslash."""
    said: str | None = None
    for line in lines:
        if match := _CMDLINE.match(line):
            continued = said is not None and said.endswith(" \\")
            said = f"{said[:-1]}{match[1]}" if said is not None and continued else match[1]
    return said.strip() if said is not None else None
