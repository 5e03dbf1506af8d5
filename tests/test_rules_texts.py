"""Rules on captures with parts missing: what a text does not tell is unknown, and what it does tell counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from harness.core.finding import Evidence, Finding, Severity
from harness.core.pci import XHCI_CLASS
from harness.facts.cpu import Cpu
from harness.facts.faults import Fault, parse_faults
from harness.facts.host import HostFacts, read_facts
from harness.facts.iommu import Iommu
from harness.facts.kernel import Kernel
from harness.facts.log import KernelLog
from harness.facts.memory import MemoryRange
from harness.facts.modules import Vfio
from harness.facts.pci import PciDevice
from harness.facts.usb import UsbDevice
from harness.facts.usb_bus import UsbBus
from harness.rules.registry import RULES, judge
from harness.rules.rule import Target
from tests.captures import AMD_BOARD, CARD, INTEL_BOARD, dmar, group, ivrs, make_capture, without
from tests.tables import ENDPOINT, ivmd, rmrr, scope

ADDRESS = "0000:05:00.0"
CONTROLLER = PciDevice(ADDRESS, "1033:0194", class_code=XHCI_CLASS, source="commands/lspci", driver_known=False)
REFUSAL = Severity.REFUSAL
BRIDGE = PciDevice("0000:00:1c.7", "8086:3b50", class_code=0x060400, source="commands/lspci")
NIC = PciDevice("0000:05:00.1", "8086:10d3", class_code=0x020000, driver="e1000e", source="commands/lspci")
GROUPED = Iommu("intel", "yes", groups={"7": ("0000:00:1c.7", ADDRESS)})


def told(*lines: str, whole: bool = True, **facts: object) -> HostFacts:
    """Return what a log, lspci and nothing else tell of a host."""
    known = HostFacts(pci=(BRIDGE, CONTROLLER), log=KernelLog("read", whole, lines, started=True))
    return replace(known, **facts)


def find(rule: str, facts: HostFacts, device: PciDevice = CONTROLLER) -> Finding:
    """Judge one function by one rule."""
    return judge(rule, facts, Target(device, address=device.address))


def test_texts_pass_nothing_by_silence() -> None:
    """Of a host known by lspci alone nothing passes but what lspci tells, and that nobody asked to write."""
    facts = HostFacts(pci=(BRIDGE, CONTROLLER))

    passed = {rule for rule in RULES if find(rule, facts).severity is Severity.PASS}

    assert passed == {"HST006", "PCI001", "PCI003", "PCI005", "STO002", "VFI004"}


def test_texts_fail_nothing_by_silence() -> None:
    """Nor does anything fail, weaken or refuse such a host."""
    facts = HostFacts(pci=(BRIDGE, CONTROLLER))

    assert {find(rule, facts).severity for rule in RULES} == {Severity.PASS, Severity.INFORMATION, Severity.UNKNOWN}


def test_log_that_is_not_whole_proves_nothing() -> None:
    """A ring that lost its beginning, a denied log and none at all each leave unknown what only the log could tell."""
    for log in (KernelLog("read", complete=False), KernelLog("denied"), KernelLog()):
        facts = told(log=log)
        for rule in ("CPU002", "IOM004", "IOM005", "IRQ002", "RST002"):
            assert find(rule, facts).severity is Severity.UNKNOWN


@pytest.mark.parametrize(
    ("groups", "known", "severity"),
    [
        pytest.param({"7": ("0000:00:1c.7", ADDRESS)}, (BRIDGE, CONTROLLER), Severity.PASS, id="alone"),
        pytest.param({"7": (ADDRESS, NIC.address)}, (CONTROLLER, NIC), Severity.REFUSAL, id="shared"),
        pytest.param({"7": (ADDRESS, NIC.address)}, (CONTROLLER,), Severity.UNKNOWN, id="member-not-described"),
        pytest.param({"1": ("0000:00:1c.7",)}, (BRIDGE, CONTROLLER), Severity.FAILURE, id="not-named"),
    ],
)
def test_grp001_by_a_listing(groups: dict[str, tuple[str, ...]], known: tuple[PciDevice, ...], severity: Severity) -> None:
    """A listing of groups is as good as sysfs where it is whole and its members are described."""
    listing = replace(GROUPED, groups=groups, groups_source="commands/iommu-groups", groups_complete=True)
    cut = replace(listing, groups_complete=False)

    assert find("GRP001", HostFacts(pci=known, iommu=listing)).severity is severity
    assert find("GRP001", HostFacts(pci=known, iommu=cut)).severity is (REFUSAL if severity is REFUSAL else Severity.UNKNOWN)


def test_res001_by_the_log() -> None:
    """An identity map for the controller weakens it, one for another does not, and a refusal by Linux is one of ours."""
    own, other = (
        f"IOMMU: Setting identity map for device {ADDRESS} [0x1 - 0x2]",
        "pci 0000:00:1d.0: DMAR: Setting identity map [0x1]",
    )
    refused = f"vfio-pci {ADDRESS}: Device is ineligible for IOMMU domain attach due to platform RMRR requirement."

    mapped = Iommu(rmrr_devices={ADDRESS: (MemoryRange(1, 2),)})
    assert find("RES001", told(own, iommu=mapped)).severity is Severity.CONDITION
    assert find("RES001", told(other)).severity is Severity.UNKNOWN
    assert find("RES001", told("DMAR: No RMRR found")).severity is Severity.PASS
    assert find("RES001", told(refused)).severity is REFUSAL


DIRECT = group("2", CARD["intel"], regions="0x000000006c000000 0x00000000707fffff direct")


@pytest.mark.parametrize(
    ("release", "vendor", "severity"),
    [
        ("5.2.0", "intel", Severity.CONDITION),
        ("5.3.0-rc1", "intel", REFUSAL),
        ("6.5.0", "amd", Severity.CONDITION),
        ("6.6.1", "amd", REFUSAL),
        ("", "intel", REFUSAL),
    ],
)
def test_res001_direct_by_kernel(release: str, vendor: str, severity: Severity) -> None:
    """Before 5.3 Linux called every RMRR direct and let USB controllers go; AMD's stop a device since 6.6."""
    facts = read_facts(make_capture(INTEL_BOARD, DIRECT), {})
    facts = replace(facts, kernel=replace(facts.kernel, release=release), iommu=replace(facts.iommu, vendor=vendor))
    device = facts.find_pci(CARD["intel"])
    assert device is not None

    assert find("RES001", facts, device).severity is severity


def test_res001_regions_that_were_not_read() -> None:
    """A group whose regions are not in the capture is judged by the firmware's table, else it is unknown."""
    files = without(INTEL_BOARD, "sys/kernel/iommu_groups/2/reserved")
    bare = without(files, "sys/firmware")
    for layer, severity in ((files, Severity.PASS), (bare, Severity.UNKNOWN)):
        facts = read_facts(make_capture(layer), {})
        device = facts.find_pci(CARD["intel"])
        assert device is not None
        assert find("RES001", facts, device).severity is severity


@pytest.mark.parametrize(("bus", "severity"), [(1, Severity.CONDITION), (0, Severity.PASS)])
def test_res001_by_the_table(bus: int, severity: Severity) -> None:
    """Memory that the table ties to the controller weakens it, to another function does not."""
    files = without(INTEL_BOARD, "sys/kernel/iommu_groups/2/reserved")
    table = {"sys/firmware/acpi/tables/DMAR": dmar(structures=rmrr(0x6C000000, 0x6C7FFFFF, scope(ENDPOINT, bus, (0, 0))))}
    facts = read_facts(make_capture(files, table), {})
    device = facts.find_pci(CARD["intel"])
    assert device is not None

    assert find("RES001", facts, device).severity is severity


@pytest.mark.parametrize(
    ("device_id", "release", "severity"),
    [
        (0x0028, "6.6.1", REFUSAL),
        (0x0028, "6.5.0", Severity.CONDITION),
        (0x0028, "", Severity.CONDITION),
        (0x0030, "6.6.1", Severity.PASS),
    ],
)
def test_res001_by_the_table_of_amd(device_id: int, release: str, severity: Severity) -> None:
    """Memory that AMD's table ties to the controller stops it from Linux 6.6 on, and what is another function's does not."""
    files = without(AMD_BOARD, "sys/kernel/iommu_groups/4/reserved")
    table = {"sys/firmware/acpi/tables/IVRS": ivrs(structures=ivmd(0x21, 0x71000000, 0x1000, device=device_id))}
    facts = read_facts(make_capture(files, table), {})
    facts = replace(facts, kernel=replace(facts.kernel, release=release))
    device = facts.find_pci(CARD["amd"])
    assert device is not None

    assert find("RES001", facts, device).severity is severity


@pytest.mark.parametrize(
    "line",
    [
        "DMAR:[DMA Read] Request device [05:00.0] fault addr ffff0000 ",
        "DMAR: [DMA Write NO_PASID] Request device [0x05:0x00.0] fault addr 0x1000 [fault reason 0x05] not set",
        "dmar: [DMA Read] Request device [05:00.0] PASID ffffffff fault addr 1000 [fault reason 06] PTE Read access is not set",
        "AMD-Vi: Event logged [IO_PAGE_FAULT device=05:00.0 domain=0x000a address=0x1000 flags=0x0020]",
        "AMD-Vi: Event logged [IO_PAGE_FAULT device=0000:05:00.0 domain=0x000a address=0x1000 flags=0x0020]",
        "xhci_hcd 0000:05:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000a address=0x1000 flags=0x0020]",
    ],
)
def test_iom005_formats(line: str) -> None:
    """A fault is found as Intel's and AMD's drivers print it, old and new, and told from another device's."""
    other = line.replace("05:00.0", "06:00.0").replace("0x05:", "0x06:")

    for text, severity in ((line, Severity.CONDITION), (other, Severity.INFORMATION)):
        assert find("IOM005", told(iommu=Iommu(faults=parse_faults((text,))))).severity is severity


def test_iom005_counts_what_was_suppressed() -> None:
    """What the kernel's rate limit swallowed is said beside what it printed."""
    facts = told(iommu=Iommu(faults=(Fault("DMAR", ADDRESS, "a line", 17),)))

    assert "1 logged, 17 more suppressed" in find("IOM005", facts).message


@pytest.mark.parametrize(
    ("cmdline", "vendor", "remapping", "severity"),
    [
        ("", "intel", "unknown", Severity.UNKNOWN),
        ("quiet", "intel", "unknown", Severity.UNKNOWN),
        ("intel_iommu=on", "intel", "unknown", Severity.PASS),
        ("intel_iommu=off", "intel", "unknown", Severity.FAILURE),
        ("intel_iommu=off", "amd", "no", Severity.PASS),
        ("acpi=off", "unknown", "no", Severity.FAILURE),
        ("quiet", "arm", "no", Severity.PASS),
    ],
)
def test_iom002_by_the_command_line(cmdline: str, vendor: str, remapping: str, severity: Severity) -> None:
    """What a kernel does without an argument depends on how it was built: it is not guessed."""
    facts = told(kernel=Kernel(cmdline=cmdline), iommu=Iommu(vendor, remapping))

    assert find("IOM002", facts).severity is severity


@pytest.mark.parametrize(
    ("cmdline", "remapping", "severity"),
    [
        ("nointremap", "no", Severity.FAILURE),
        ("intremap=nosid,off", "unknown", Severity.FAILURE),
        ("intremap=off", "yes", Severity.INFORMATION),
        ("intremap=nosid", "no", Severity.PASS),
        ("", "no", Severity.UNKNOWN),
    ],
)
def test_irq003_arguments(cmdline: str, remapping: str, severity: Severity) -> None:
    """Both spellings are found, alone or in a list."""
    facts = told(kernel=Kernel(cmdline=cmdline), iommu=Iommu(interrupt_remapping=remapping))

    assert find("IRQ003", facts).severity is severity


def test_irq001_platform_without_remapping() -> None:
    """Where a platform has no interrupt remapping of its own, that is no failure."""
    assert find("IRQ001", told(iommu=Iommu("arm", "yes", "n/a"))).severity is Severity.INFORMATION


@pytest.mark.parametrize(
    ("device", "severity"),
    [
        (replace(CONTROLLER, driver="xhci_hcd"), Severity.PASS),
        (replace(CONTROLLER, driver="vfio-pci"), Severity.INFORMATION),
        (CONTROLLER, Severity.UNKNOWN),
        (replace(CONTROLLER, driver_known=True), Severity.REFUSAL),
    ],
    ids=["named", "taken", "not-told", "told-none"],
)
def test_pci002_by_lspci(device: PciDevice, severity: Severity) -> None:
    """A listing without -k names no driver, which is not to have none."""
    assert find("PCI002", told(), device).severity is severity


def test_rst001_by_lspci() -> None:
    """A function level reset that the capabilities show is one, unless it is known to hang; its absence leaves other ways."""
    broken = replace(CONTROLLER, flr=True, id="1022:149c")

    for device, severity in (
        (replace(CONTROLLER, flr=True), Severity.PASS),
        (broken, Severity.UNKNOWN),
        (CONTROLLER, Severity.UNKNOWN),
    ):
        assert find("RST001", told(), device).severity is severity


@pytest.mark.parametrize(
    ("changes", "severity"),
    [
        ({"prog_if_known": False, "class_code": 0x0C0300}, Severity.UNKNOWN),
        ({"class_known": False, "class_code": 0}, Severity.UNKNOWN),
        ({"class_code": 0x010802}, Severity.INFORMATION),
    ],
    ids=["interface-not-told", "class-not-told", "disk"],
)
def test_pci003_by_lspci(changes: dict[str, int | bool], severity: Severity) -> None:
    """A class that is told in part is no class."""
    assert find("PCI003", told(), replace(CONTROLLER, **changes)).severity is severity


def test_pci005_failed_load() -> None:
    """A card that failed to get its firmware is weak, whatever its ROM."""
    card = replace(CONTROLLER, id="1912:0014")
    line = f"xhci-pci-renesas {ADDRESS}: failed to load firmware renesas_usb_fw.mem: -2"

    assert find("PCI005", told(), card).severity is Severity.INFORMATION
    assert find("PCI005", told(line), card).severity is Severity.CONDITION


def test_pci004_names_siblings() -> None:
    """A claim by id takes identical cards along, and they are named; one that comes too late is told as such."""
    twin = replace(CONTROLLER, address="0000:06:00.0")
    facts = told(pci=(CONTROLLER, twin), vfio=Vfio(claimed_ids=("1033:0194",)), xhci_module="builtin")

    finding = find("PCI004", facts)

    assert finding.severity is Severity.INFORMATION
    assert "siblings 0000:06:00.0; but the host's xHCI driver is built in" in finding.message


@pytest.mark.parametrize(
    ("kernel", "guest_mib", "severity"),
    [
        (Kernel(root=True, memlock_kib=64), 0, Severity.PASS),
        (Kernel(memlock_kib=8192), 0, Severity.CONDITION),
        (Kernel(memlock_kib=3 << 20), 0, Severity.PASS),
        (Kernel(memlock_kib=3 << 20), 4096, Severity.CONDITION),
        (Kernel(), 0, Severity.UNKNOWN),
    ],
    ids=["root", "default", "small-guest", "large-guest", "not-shown"],
)
def test_mem001_against_the_guest(kernel: Kernel, guest_mib: int, severity: Severity) -> None:
    """The limit is held against the guest's memory and what QEMU needs beside it; root is not bound by it."""
    facts = told(kernel=kernel)

    assert judge("MEM001", facts, Target(CONTROLLER, guest_memory_mib=guest_mib)).severity is severity


def test_losses_by_texts_need_the_bus() -> None:
    """Keyboards and USB consoles are on some controller: without its buses, whether on this one is not known."""
    console = Kernel(cmdline="console=ttyUSB0", consoles=("ttyUSB0",))
    shown = told(kernel=console, usb_tree=(UsbBus(3, "xhci_hcd", 2, 480, ADDRESS),))

    for rule in ("INP001", "CON001"):
        assert find(rule, told(kernel=console)).severity is Severity.UNKNOWN
        assert find(rule, shown).severity is Severity.PASS


def test_inp001_input_device_of_unknown_kind() -> None:
    """A text that names the class alone, "HID", does not tell whether it is a keyboard."""
    device = UsbDevice("3-1", bus=3, interface_classes=("03",), pci_address=ADDRESS)
    keyboard = UsbDevice("3-2", bus=3, interface_classes=("030101",), pci_address=ADDRESS)
    elsewhere = replace(device, pci_address="")

    assert find("INP001", told(usb=(device,))).severity is Severity.UNKNOWN
    assert "only USB keyboard" in find("INP001", told(usb=(keyboard,))).message
    assert "only USB keyboard" not in find("INP001", told(usb=(keyboard, elsewhere))).message


def test_mem001_by_the_log() -> None:
    """A limit that stopped a guest once is found in the log."""
    line = "vfio_pin_pages_remote: RLIMIT_MEMLOCK (65536) exceeded"

    assert find("MEM001", told(line)).severity is Severity.CONDITION


@pytest.mark.parametrize(
    "line",
    [
        "kvm: disabled by bios",
        "kvm_intel: VMX not enabled (by BIOS) in MSR_IA32_FEAT_CTL on CPU 0",
        "x86/cpu: VMX (outside TXT) disabled by BIOS",
        "x86/cpu: SVM disabled (by BIOS) in MSR_VM_CR",
        "kvm: SVM disabled (by BIOS) in MSR_VM_CR on CPU 3",
        "kvm: VMX disabled in BIOS",
    ],
)
def test_cpu002_lines(line: str) -> None:
    """The lock is found as each kernel words it."""
    assert find("CPU002", told(line)).severity is Severity.CONDITION


@pytest.mark.parametrize(
    ("line", "remapping", "severity"),
    [
        ("DMAR: Parse DMAR table failure.", "unknown", Severity.FAILURE),
        ("DMAR: Parse DMAR table failure.", "yes", Severity.CONDITION),
        ("DMAR: No DMAR devices found", "no", Severity.FAILURE),
        ("DMAR: No ATSR found", "no", Severity.PASS),
        ("pci 0000:00:02.0: DMAR: Disabling IOMMU for graphics on this chipset", "no", Severity.PASS),
    ],
)
def test_iom004_lines(line: str, remapping: str, severity: Severity) -> None:
    """A unit that is given up is told from lines that only sound like it."""
    assert find("IOM004", told(line, iommu=Iommu(dma_remapping=remapping))).severity is severity


def test_acp002_is_information_where_it_works() -> None:
    """What firmware says wrongly of an IOMMU that works all the same is worth knowing, no more."""
    line = "DMAR: [Firmware Bug]: No firmware reserved region can cover this RMRR"

    assert find("ACP002", told(line, iommu=GROUPED)).severity is Severity.INFORMATION
    assert find("ACP002", told(line)).severity is Severity.CONDITION


@pytest.mark.parametrize(
    ("change", "rule", "severity"),
    [
        (lambda facts: replace(facts, cpu=Cpu("Neoverse", architecture="arm", features_known=True)), "CPU001", Severity.UNKNOWN),
        (lambda facts: replace(facts, cpu=Cpu(architecture="arm")), "ACP001", Severity.UNKNOWN),
        (lambda facts: replace(facts, kernel=Kernel(xen="domU")), "HST004", Severity.INFORMATION),
        (lambda facts: replace(facts, kernel=Kernel(cmdline="vfio.enable_unsafe_noiommu_mode=1")), "VFI002", Severity.CONDITION),
        (
            lambda facts: replace(facts, kernel=Kernel(cmdline="vfio_iommu_type1.allow_unsafe_interrupts=1")),
            "IRQ005",
            Severity.CONDITION,
        ),
    ],
    ids=["arm-processor", "arm-tables", "guest-of-xen", "noiommu-argument", "unsafe-argument"],
)
def test_rules_on_other_hosts(change: Callable[[HostFacts], HostFacts], rule: str, severity: Severity) -> None:
    """What is not of x86 is not judged by it; what the command line asks for counts."""
    assert find(rule, change(told())).severity is severity


def test_rules_quote_the_evidence_of_facts() -> None:
    """What the answers on both remappings rest on is handed on."""
    evidence = (Evidence("commands/dmesg", "a line"),)
    facts = told(iommu=Iommu("intel", "yes", "yes", dma_evidence=evidence, interrupt_evidence=evidence))

    assert evidence[0] in find("IOM001", facts).evidence
    assert evidence[0] in find("IRQ001", facts).evidence
