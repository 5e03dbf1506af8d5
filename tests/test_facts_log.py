"""The kernel's log: the same messages out of every format, of the last boot alone, and nobody else's lines."""

from __future__ import annotations

import time

import pytest

from harness.core.capture import Capture, Item, Status
from harness.facts.log import LOG, KernelLog, read_log
from harness.facts.log_lines import parse_boot_log
from harness.rules.survey import Source, survey_of

MESSAGES = (
    "Linux version 6.1.0-demo (b@h) (gcc) #1 SMP",
    "Kernel command line: root=/dev/sda1 iommu=pt",
    "DMAR: Host address width 39",
)


def read(text: str | bytes) -> KernelLog:
    """Read a log."""
    return read_log(Capture({LOG: Item(Status.READ, text.encode() if isinstance(text, str) else text)}))


@pytest.mark.parametrize(
    "stamp",
    [
        pytest.param("", id="none"),
        pytest.param("[    0.000000] ", id="seconds"),
        pytest.param("[12345.678901] ", id="seconds-many"),
        pytest.param("[    0.000000][    T0] ", id="caller"),
        pytest.param("[    0.500000] [      T1] ", id="caller-apart"),
        pytest.param("[    0.000000][ C12] ", id="caller-processor"),
        pytest.param("<6>[    0.000000] ", id="raw"),
        pytest.param("<6>", id="raw-untimed"),
        pytest.param("kern  :info  : [    0.000000] ", id="decoded"),
        pytest.param("[    0.000000 <    0.000012>] ", id="delta"),
        pytest.param("[<    0.000012>] ", id="delta-alone"),
        pytest.param("[  +0.000012] ", id="human"),
        pytest.param("[Nov22 17:21] ", id="human-minute"),
        pytest.param("[Sat Nov 22 17:21:00 2025] ", id="ctime"),
        pytest.param("[Sa Nov 22 17:21:00 2025] ", id="ctime-german"),
        pytest.param("2025-11-22T17:21:00,123456+01:00 ", id="iso"),
        pytest.param("6,339,5140900,-;", id="kmsg"),
        pytest.param("Nov 22 17:21:00 host kernel: [    0.000000] ", id="syslog"),
        pytest.param("Nov  2 17:21:00 host kernel: ", id="journal-short"),
        pytest.param("Mär  2 17:21:00 host kernel: ", id="journal-german"),
        pytest.param("Nov 22 17:21:00.123456 host kernel: ", id="journal-precise"),
        pytest.param("2025-11-22T17:21:00+0100 host kernel: ", id="journal-iso"),
        pytest.param("2025-11-22T17:21:00.123456+01:00 host kernel: [    0.000000] ", id="syslog-iso"),
        pytest.param("Sat 2025-11-22 17:21:00 CET host kernel: ", id="journal-full"),
        pytest.param("1763828460.123456 host kernel: ", id="journal-unix"),
        pytest.param("[    0.000000] host kernel: ", id="journal-monotonic"),
        pytest.param("[    0.000000] kernel: ", id="journal-monotonic-nameless"),
        pytest.param("Nov 22 17:21:00 host kern.info kernel: [    0.000000] ", id="busybox"),
        pytest.param("Sat Nov 22 17:21:00 2025 kern.info kernel: [    0.000000] ", id="logread"),
        pytest.param("> [    0.000000] ", id="quoted"),
        pytest.param("   [    0.000000] ", id="indented"),
        pytest.param("[    0.000000                ] host kernel: ", id="journal-delta-first"),
        pytest.param("[    0.000000 <    0.000012 >] host kernel: ", id="journal-delta"),
        pytest.param("<6>1 2025-11-22T17:21:00.123Z host kernel - - - [    0.000000] ", id="rfc5424"),
        pytest.param("[2025-11-22 17:21:00] [    0.000000] ", id="terminal"),
        pytest.param("Nov 22 17:21:00 [    0.000000] ", id="ts"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n"], ids=["lf", "crlf", "crcrlf"])
def test_log_stamps(stamp: str, end: str) -> None:
    """Every time format, every line end and every transport give the same messages."""
    boot = parse_boot_log("".join(f"{stamp}{line}{end}" for line in MESSAGES))

    assert boot.lines == MESSAGES
    assert boot.complete


def test_log_address_is_no_stamp() -> None:
    """A PCI address in brackets, with its colons, is no time."""
    assert parse_boot_log("[0000:05:00.0] said something\n[05:00.0] too").lines == (
        "[0000:05:00.0] said something",
        "[05:00.0] too",
    )


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("Nov 22 17:21:09 host boltd[1620]: DMAR: iommu: yes", id="journal"),
        pytest.param("2025-11-22T17:21:09+0100 host boltd[1620]: DMAR: iommu: yes", id="iso"),
        pytest.param("Nov 22 17:21:09 host sudo: DMAR: iommu: yes", id="no-pid"),
        pytest.param("[    9.000000] host boltd[1620]: DMAR: iommu: yes", id="monotonic"),
        pytest.param("[    9.000000] boltd[1620]: DMAR: iommu: yes", id="written-to-kmsg"),
        pytest.param("daemon:info  : [    9.000000] DMAR: iommu: yes", id="facility"),
        pytest.param("DMAR: iommu: yes", id="on-the-console"),
    ],
)
def test_log_programs_do_not_speak_for_the_kernel(line: str) -> None:
    """What a program wrote, to the journal or to the kernel's own buffer, is no word of the kernel."""
    log = read("Nov 22 17:21:00 host kernel: Linux version 6.1\nNov 22 17:21:00 host kernel: DMAR: real\n" + line)

    assert log.lines == ("DMAR: real",)


def test_log_kernel_numbers_are_no_programs() -> None:
    """What the kernel itself prints with a number in brackets stays: its IOAPICs, its extended registers."""
    lines = ("IOAPIC[0]: apic_id 2, version 32", "x86/fpu: xstate_offset[2]:  576")

    assert parse_boot_log("".join(f"[    0.1] {line}\n" for line in lines)).lines == lines


def test_log_of_a_mail_is_put_together() -> None:
    """A line that a mail program broke is one again; what stands on a short line's next is not its rest."""
    text = (
        "[Sat Nov 22 17:21:00 2025] DMAR-IR: Queued invalidation will be enabled to\n"
        "support x2apic and Intr-remapping.\n"
        "[Sat Nov 22 17:21:00 2025] short\n"
        "Welcome to the system!\n"
    )

    lines = parse_boot_log(text).lines

    assert lines == ("DMAR-IR: Queued invalidation will be enabled to support x2apic and Intr-remapping.", "short")


def boot(*lines: str) -> str:
    """Return the log of a boot."""
    return "".join(f"[    0.{number:06}] {line}\n" for number, line in enumerate(("Linux version 6.1 (x)", *lines)))


def test_log_last_boot_counts() -> None:
    """Of several boots in one file the last is read: what an earlier kernel said is not so any more."""
    log = read(boot("DMAR: first") + boot("DMAR: second").replace("6.1", "6.2"))

    assert (log.lines, log.release, log.boots, log.complete) == (("DMAR: second",), "6.2", 2, True)


@pytest.mark.parametrize("line", ["-- Reboot --", "-- Boot 0123456789abcdef0123456789abcdef --"])
def test_log_journal_tells_a_boot_whose_begin_is_lost(line: str) -> None:
    """Behind the journal's mark another boot stands, though its first lines are missing: it is not complete."""
    log = read(f"{boot('DMAR: first')}{line}\n[    9.1] DMAR: second\n")

    assert (log.lines, log.complete) == (("DMAR: second",), False)


def test_log_of_a_crash_kernel_says_so() -> None:
    """The kernel that kexec starts after a panic is a boot like any other, but known by where it finds the dead one's memory."""
    log = read(boot("DMAR: first") + boot("Command line: elfcorehdr=0x1000 root=/dev/sda1"))

    assert (log.crash_kernel, log.boots) == (True, 2)
    assert not read(boot("Command line: root=/dev/sda1")).crash_kernel


@pytest.mark.parametrize(
    "gap", ["...", "[...]", "<snip>", "[ snip ]", "-- snipped --", "(…)", "** 12 printk messages dropped **"]
)
def test_log_with_a_gap_is_not_complete(gap: str) -> None:
    """Where somebody left lines out, or the kernel lost some, silence proves nothing."""
    assert not read(f"{boot('a')}{gap}\n[    9.0] b\n").complete
    assert read(boot("a", "------------[ cut here ]------------", "... version: 4")).complete


def test_log_that_begins_later_is_not_complete() -> None:
    """A ring that has turned over begins somewhere: it is no whole boot."""
    log = read("[  912.1] DMAR: late\n")

    assert (log.complete, log.boots, log.lines) == (False, 0, ("DMAR: late",))


@pytest.mark.parametrize(
    ("line", "started"),
    [
        pytest.param("Run /sbin/init as init process", True, id="init"),
        pytest.param("Freeing unused kernel image (initmem) memory: 2048K", True, id="memory"),
        pytest.param("Kernel panic - not syncing: VFS: Unable to mount root fs", True, id="panic"),
        pytest.param("systemd[1]: Detected virtualization kvm.", True, id="systemd"),
        pytest.param("pci 0000:00:00.0: [8086:29c0] type 00", False, id="cut"),
    ],
)
def test_log_goes_on_until_user_space(line: str, *, started: bool) -> None:
    """Silence counts only in a log that goes on until the drivers had their turn."""
    assert read(boot(line)).silence_counts is started


def test_log_tells_the_machine() -> None:
    """A bare log tells the release, the command line, the hypervisor, the lockdown and the architecture."""
    log = read(
        boot(
            "Command line: root=a early",
            "BIOS-e820: [mem 0x0-0x9ffff] usable",
            "Hypervisor detected: KVM",
            "Kernel is locked down from EFI Secure Boot mode; see man kernel_lockdown.7",
            "Kernel command line: root=a intel_iommu=on",
        )
    )

    assert (log.release, log.command_line, log.hypervisor) == ("6.1", "root=a intel_iommu=on", "KVM")
    assert (log.lockdown, log.architecture) == ("EFI Secure Boot mode", "x86")
    assert read(boot("Booting paravirtualized kernel on Xen PV")).hypervisor == "Xen PV"
    assert read(boot("CPU features: detected: GIC")).architecture == "arm"


def test_log_broken_command_line() -> None:
    """Linux 6.19 prints a long command line in pieces, each but the last with a backslash."""
    log = read(boot("Kernel command line: a=1 \\", "Kernel command line: b=2 \\", "Kernel command line: c=3"))

    assert log.command_line == "a=1 b=2 c=3"


def test_log_without_command_line() -> None:
    """A command line that the log does not show is not an empty one."""
    assert read("[    0.1] DMAR: x\n").command_line is None
    assert read("[    0.1] Command line: \n").command_line == ""


def test_log_keeps_first_and_last() -> None:
    """Of many lines the first 300 and the last 100 are kept, without those that only put a device into a group."""
    groups = [f"[    0.2] pci 0000:00:{number:02x}.0: Adding to iommu group {number}" for number in range(30)]
    log = read("\n".join([*groups, *(f"[    0.3] AMD-Vi: line {number}" for number in range(900))]))

    assert (log.lines[0], log.lines[299], log.lines[300], log.lines[-1]) == tuple(
        f"AMD-Vi: line {number}" for number in (0, 299, 800, 899)
    )


@pytest.mark.parametrize(
    ("status", "said"), [(Status.DENIED, "denied"), (Status.TIMED_OUT, "unknown"), (Status.ABSENT, "unknown")]
)
def test_log_not_read(status: Status, said: str) -> None:
    """A log that was not given is denied or unknown, never an empty one."""
    assert read_log(Capture({LOG: Item(status)})) == KernelLog(said)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(
            b"[    0.100000] usb 1-1: new high-speed USB device number 2 using xhci_hcd, and what else it may say\n" * 100_000,
            id="lines",
        ),
        pytest.param(
            b"Nov 22 17:21:00 host prog[1]: a message of no interest to anybody, as programs print them all day\n" * 100_000,
            id="journal",
        ),
        pytest.param(b"[" * 2_000_000, id="brackets"),
        pytest.param(b"a " * 1_000_000, id="one-line"),
        pytest.param(bytes(range(256)) * 10_000, id="garbage"),
    ],
)
def test_log_of_megabytes(data: bytes) -> None:
    """Ten megabytes of lines, or a few of anything else, are read in a second or two."""
    began = time.monotonic()

    read(data)

    assert time.monotonic() - began < 10  # it takes one, on a machine that does nothing else


@pytest.mark.parametrize("word", ["DMAR: ", "AMD-Vi: ", "broken ", "renesas fail ", "FLR ", "kvm ", "[0000:00:1f.0] "])
def test_log_of_garbage_in_one_line_is_judged_at_once(word: str) -> None:
    """A line that no kernel could print, full of words that rules look for, costs no more than its length."""
    began = time.monotonic()
    garbage = Capture({"commands/dmesg": Item(Status.READ, (word * (4 << 20 >> 3)).encode())}, scope=())

    survey = survey_of(garbage, Source("capture", "garbage"))

    assert survey.iommu.dma_remapping == "unknown"
    assert time.monotonic() - began < 5
