"""Every rule has a host on which it fires and one on which it is silent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec.structs import replace

from harness.core.capture import Status
from harness.core.finding import Finding, Severity
from harness.core.marker import MARKER_BYTES, Marker, encode_marker
from harness.facts.content import Content, NamedDisk
from harness.facts.disagreement import Disagreement
from harness.facts.host import HostFacts, read_facts
from harness.facts.storage import Disk
from harness.rules.registry import RULES, judge
from harness.rules.rule import Target, find_target
from tests.captures import (
    AMD_BOARD,
    CARD,
    INTEL_BOARD,
    WHOLE_LOGS,
    Files,
    dmar,
    group,
    make_capture,
    pci_function,
    usb_stick,
    without,
)

FOLDER = f"sys/bus/pci/devices/{CARD['intel']}"
BEHIND = f"/sys/devices/pci0000:00/0000:00:01.0/{CARD['intel']}"
BOOT = "[    0.000000] Linux version 6.12.1-test\n"
NO_UNITS: Files = {
    **without(INTEL_BOARD, "sys/kernel/iommu_groups", "sys/class/iommu"),
    "sys/kernel/iommu_groups": "",
    "sys/class/iommu": "",
}
DIRECT: Files = {"proc/interrupts": "   CPU0\n 4:  1  IO-APIC  4-edge  ttyS0\n"}
KEYBOARD: Files = {
    "sys/bus/usb/devices/1-1": f"{BEHIND}/usb1/1-1",
    "sys/bus/usb/devices/1-1/idVendor": "045e",
    "sys/bus/usb/devices/1-1/idProduct": "0746",
    "sys/bus/usb/devices/1-1:1.0/bInterfaceClass": "03",
    "sys/bus/usb/devices/1-1:1.0/bInterfaceSubClass": "01",
    "sys/bus/usb/devices/1-1:1.0/bInterfaceProtocol": "01",
}
ADAPTER: Files = {
    "sys/bus/usb/devices/1-2": f"{BEHIND}/usb1/1-2",
    "sys/bus/usb/devices/1-2:1.0": f"{BEHIND}/usb1/1-2/1-2:1.0",
    "sys/bus/usb/devices/1-2:1.0/driver": "/sys/bus/usb/drivers/pl2303",
}


def log(*lines: str) -> Files:
    """Return a whole log with these lines."""
    return {"commands/dmesg": BOOT + "".join(f"[    1.000000] {line}\n" for line in (*lines, "Run /init as init process"))}


def renesas(card: str = "1912:0014") -> Files:
    """Return the files that make the card another."""
    vendor, device = card.split(":")
    return {f"{FOLDER}/vendor": f"0x{vendor}", f"{FOLDER}/device": f"0x{device}"}


def kernel(**changes: Any) -> Callable[[HostFacts], HostFacts]:
    """Return a change of what is known of the kernel."""
    return lambda facts: replace(facts, kernel=replace(facts.kernel, **changes))


MARKER = Marker("TP0001", 256 << 20, 512, "2026-01-01T00:00:00+00:00", "somebody@example")


def writing(head: bytes, unread: tuple[str, ...] = ()) -> Callable[[HostFacts], HostFacts]:
    """Return a change of what is known of the disk that is to be written: its first block, and what did not answer."""
    disk = Disk("sda", MARKER.size_bytes, MARKER.serial, usb_device="2-1")
    named = NamedDisk(MARKER.serial, ("/dev/sda",), disk, Content(head=head, unread=unread))
    return lambda facts: replace(facts, writing=named)


def keep(facts: HostFacts) -> HostFacts:
    """Change nothing."""
    return facts


@dataclass(frozen=True)
class Case:
    """What a rule fires on and how: files upon ``board``. With ``silent``, upon the board with VT-d, it passes."""

    severity: Severity
    fires: Files
    change: Callable[[HostFacts], HostFacts] = keep
    board: Files = field(default_factory=lambda: INTEL_BOARD)
    silent: Files = field(default_factory=dict)
    silent_change: Callable[[HostFacts], HostFacts] = keep
    driver: str = "vfio-pci"


CONDITION, FAILURE, INFORMATION = Severity.CONDITION, Severity.FAILURE, Severity.INFORMATION
REFUSAL, UNKNOWN = Severity.REFUSAL, Severity.UNKNOWN
DISAGREEMENT = Disagreement(CARD["intel"], "driver", "xhci_hcd", "vfio-pci", "commands/lspci")

CASES: dict[str, Case] = {
    "HST001": Case(UNKNOWN, {"sections/usb": Status.TIMED_OUT}),
    "HST002": Case(UNKNOWN, {"commands/tools": "perl"}),
    "HST003": Case(INFORMATION, {".dockerenv": ""}),
    "HST004": Case(INFORMATION, {}, lambda facts: replace(facts, cpu=replace(facts.cpu, hypervisor=True))),
    "HST005": Case(FAILURE, {}, kernel(xen="dom0")),
    "HST006": Case(INFORMATION, {}, lambda facts: replace(facts, disagreements=(DISAGREEMENT,))),
    "CPU001": Case(CONDITION, {"proc/cpuinfo": "processor: 0\nmodel name: X\nflags: fpu\n"}),
    "CPU002": Case(CONDITION, log("kvm: disabled by bios")),
    "KVM001": Case(CONDITION, {"dev/kvm": Status.ABSENT}),
    "QEM001": Case(UNKNOWN, {"commands/qemu": Status.ABSENT}),
    "MEM001": Case(
        CONDITION,
        {},
        kernel(root=False, memlock_kib=8192),
        silent_change=kernel(root=False, memlock_kib=-1),
    ),
    "ACP001": Case(FAILURE, {"sys/firmware/acpi/tables": "APIC FACP"}, board=without(NO_UNITS, "sys/firmware")),
    "ACP002": Case(CONDITION, log("[Firmware Bug]: DMAR: RMRR entry for device 9:00.0 is broken"), board=NO_UNITS),
    "IOM001": Case(FAILURE, {}, board=NO_UNITS),
    "IOM002": Case(FAILURE, {"proc/cmdline": "quiet"}, board=NO_UNITS),
    "IOM003": Case(INFORMATION, {"proc/cmdline": "intel_iommu=on iommu=pt"}),
    "IOM004": Case(FAILURE, log("DMAR: DRHD: DMAR reported at address fed90000 returns all ones!"), board=NO_UNITS),
    "IOM005": Case(
        CONDITION,
        log("DMAR: [DMA Write NO_PASID] Request device [01:00.0] fault addr 0x1000 [fault reason 0x05] not set"),
    ),
    "IOM006": Case(INFORMATION, log("AMD-Vi: IOMMU SNP support enabled."), board=AMD_BOARD),
    "IRQ001": Case(FAILURE, DIRECT | log()),
    "IRQ002": Case(
        INFORMATION, DIRECT | log("DMAR-IR: [Firmware Bug]: ioapic 2 has no mapping iommu, interrupt remapping will be disabled")
    ),
    "IRQ003": Case(FAILURE, DIRECT | log() | {"proc/cmdline": "intel_iommu=on intremap=off"}),
    "IRQ004": Case(INFORMATION, {"sys/firmware/acpi/tables/DMAR": dmar(flags=3)}),
    "IRQ005": Case(CONDITION, DIRECT | log() | {"sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts": "Y"}),
    "VFI001": Case(FAILURE, {"proc/modules": "", "sys/bus/pci/drivers": "xhci_hcd", "commands/vfio-modules": ""}),
    "VFI002": Case(CONDITION, {"sys/module/vfio/parameters/enable_unsafe_noiommu_mode": "Y"}),
    "VFI004": Case(INFORMATION, {}, driver="pci-stub"),
    "VFI003": Case(CONDITION, {"dev/vfio/vfio": Status.DENIED}),
    "GRP001": Case(
        REFUSAL,
        group("2", CARD["intel"], "0000:01:00.1")
        | pci_function("0000:01:00.1", "10de:0fb9", "040300", driver="snd_hda_intel", group="2"),
        silent=group("2", "0000:00:01.0", CARD["intel"])
        | pci_function("0000:00:01.0", "1b36:000c", "060400", driver="pcieport", group="2"),
    ),
    "GRP002": Case(CONDITION, {"proc/cmdline": "intel_iommu=on pcie_acs_override=downstream,multifunction"}),
    "RES001": Case(REFUSAL, group("2", CARD["intel"], regions="0x000000006c000000 0x00000000707fffff direct")),
    "RES002": Case(CONDITION, {"proc/cmdline": "intel_iommu=on,relax_rmrr"}),
    "PCI001": Case(REFUSAL, pci_function("0000:02:00.0", "1033:0194", "0c0330", driver="xhci_hcd", group="5")),
    "PCI002": Case(REFUSAL, {f"{FOLDER}/driver": Status.ABSENT}),
    "PCI003": Case(INFORMATION, {f"{FOLDER}/class": "0x0c03fe"}),
    "PCI004": Case(INFORMATION, {"proc/cmdline": "intel_iommu=on vfio-pci.ids=8086:1234,1033:0194"}),
    "PCI005": Case(INFORMATION, renesas()),
    "RST001": Case(CONDITION, {f"{FOLDER}/reset_method": Status.ABSENT, f"{FOLDER}/reset": Status.ABSENT}),
    "RST002": Case(CONDITION, log("xhci_hcd 0000:01:00.0: not ready 1023ms after FLR; waiting")),
    "XHC001": Case(CONDITION, log("xhci_hcd 0000:01:00.0: xHCI host controller not responding, assume dead")),
    "AER001": Case(
        CONDITION, log("xhci_hcd 0000:01:00.0: PCIe Bus Error: severity=Corrected, type=Physical Layer, (Receiver ID)")
    ),
    "USB001": Case(INFORMATION, log("usb usb2-port1: Cannot enable. Maybe the USB cable is bad?")),
    "USB002": Case(INFORMATION, log("usb 2-1: usbfs: process 812 (qemu-system-x86) did not claim interface 0 before use")),
    "LOG001": Case(INFORMATION, log("dmar_fault: 12 callbacks suppressed")),
    "LOG002": Case(INFORMATION, log('irq 16: nobody cared (try booting with the "irqpoll" option)')),
    "STO001": Case(
        REFUSAL,
        usb_stick(CARD["intel"]) | {"proc/self/mountinfo": "22 1 8:1 / / rw - ext4 /dev/sda1 rw"},
        silent=usb_stick(CARD["intel"]),
    ),
    "STO002": Case(REFUSAL, {}, writing(bytes(MARKER_BYTES)), silent_change=writing(encode_marker(MARKER))),
    "NET001": Case(
        REFUSAL,
        {
            "sys/class/net/enx0": f"{BEHIND}/usb1/1-1/1-1:1.0/net/enx0",
            "proc/net/route": "Iface Destination Gateway Flags RefCnt Use Metric Mask\nenx0 00000000 0 0003 0 0 0 00000000\n",
        },
    ),
    "INP001": Case(REFUSAL, KEYBOARD | {"commands/ssh-connection": ""}),
    "HLD001": Case(
        REFUSAL,
        {f"{FOLDER}/driver": "/sys/bus/pci/drivers/vfio-pci", "commands/holders": "812 /dev/vfio/2\tqemu-system-x86\n"},
        silent={f"{FOLDER}/driver": "/sys/bus/pci/drivers/vfio-pci", "commands/holders": "812 /dev/vfio/12\tqemu-system-x86\n"},
    ),
    "HLD002": Case(
        REFUSAL,
        KEYBOARD | {"commands/holders": "77 /dev/bus/usb/001/002\tpcscd\n"},
        silent=KEYBOARD | {"commands/holders": "77 /dev/bus/usb/011/002\tpcscd\n"},
    ),
    "CON001": Case(
        INFORMATION, ADAPTER, kernel(consoles=("ttyUSB0",)), silent=ADAPTER, silent_change=kernel(consoles=("ttyS0",))
    ),
    "LCK001": Case(INFORMATION, {"sys/kernel/security/lockdown": "none [integrity] confidentiality"}),
}


def find(rule: str, files: Files, change: Callable[[HostFacts], HostFacts], driver: str = "vfio-pci") -> Finding:
    """Judge a host by one rule; the controller is what sits at the card's place, of whatever kind."""
    facts = change(read_facts(make_capture(files), {}))
    if rule == "PCI001":
        return judge(rule, facts, find_target(facts, id="1033:0194"))
    return judge(rule, facts, Target(facts.find_pci(CARD["intel"]), address=CARD["intel"], driver=driver))


def test_cases_name_every_rule() -> None:
    """No rule is without a case, and no case without a rule."""
    assert set(CASES) == set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_rule_fires(rule: str) -> None:
    """Each rule fires on the host that it was made for, with evidence, and says what to do unless it only informs."""
    case = CASES[rule]

    finding = find(rule, case.board | case.fires, case.change, case.driver)

    assert finding.severity is case.severity
    assert finding.evidence
    assert finding.remedy or case.severity is INFORMATION


@pytest.mark.parametrize("rule", RULES)
def test_rule_is_silent(rule: str) -> None:
    """Each rule passes a host that has nothing of what it looks for."""
    case = CASES[rule]

    assert find(rule, INTEL_BOARD | WHOLE_LOGS["intel"] | case.silent, case.silent_change).severity is Severity.PASS


@pytest.mark.parametrize("rule", [rule.id for rule in RULES.values() if rule.informs])
def test_rule_that_informs_weighs_nothing(rule: str) -> None:
    """A rule that only informs says no more than that in the case in which it fires, and decides no verdict."""
    assert CASES[rule].severity in {Severity.INFORMATION, Severity.UNKNOWN}
    assert not RULES[rule].required
