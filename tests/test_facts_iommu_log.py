"""What a bare kernel log proves of the IOMMU: work, failure, absence, or nothing."""

from __future__ import annotations

import pytest

from harness.core.capture import Capture, Item, Status
from harness.facts.host import read_facts
from harness.facts.iommu import Iommu
from harness.facts.log import LOG
from harness.facts.memory import MemoryRange

TABLE = "ACPI: DMAR 0x000000005AB00000 000088 (v01 DEMO   BOARD    00000002      01000013)"
WALK = "DMAR: Host address width 39"
JOINS = "pci 0000:00:14.0: Adding to iommu group 3"
OLD_JOINS = "iommu: Adding device 0000:00:14.0 to group 3"
PC = "BIOS-e820: [mem 0x0000000000000000-0x000000000009ffff] usable"
DOMAIN = "iommu: Default domain type: Translated"
BEGIN = "Linux version 6.1.0-demo (b@h)"
END = "Run /sbin/init as init process"


def read(*lines: str) -> Iommu:
    """Read the IOMMU of a host that gave a piece of its log."""
    text = "".join(f"[    0.{number:06}] {line}\n" for number, line in enumerate(lines))
    return read_facts(Capture({LOG: Item(Status.READ, text.encode())}), {}).iommu


def read_whole(*lines: str) -> Iommu:
    """Read the IOMMU of a PC that gave its whole log."""
    return read(BEGIN, PC, *lines, END)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(JOINS, id="group"),
        pytest.param(OLD_JOINS, id="group-4.x"),
        pytest.param("DMAR: Intel(R) Virtualization Technology for Directed I/O", id="vt-d"),
        pytest.param("PCI-DMA: Intel(R) Virtualization Technology for Directed I/O", id="vt-d-2.6"),
        pytest.param("DMAR: dmar0: Using Queued invalidation", id="queued"),
        pytest.param("DMAR: dmar1: Using Register based invalidation", id="registers"),
        pytest.param("IOMMU 0 0xfed90000: using Queued invalidation", id="queued-3.x"),
        pytest.param("IOMMU: Setting RMRR:", id="rmrr-3.x"),
        pytest.param("IOMMU: Setting identity map for device 0000:00:1d.0 [0xa1000000 - 0xa1000fff]", id="identity-3.x"),
        pytest.param("pci 0000:00:1d.0: DMAR: Setting identity map [0xa0000 - 0xa0fff]", id="identity-5.x"),
        pytest.param("DMAR: Copied translation tables from previous kernel for dmar0", id="kdump"),
        pytest.param("pci 0000:00:14.0: Using iommu dma mapping", id="mapping-5.x"),
        pytest.param("AMD-Vi: Lazy IO/TLB flushing enabled", id="amd-lazy"),
        pytest.param("AMD-Vi: Interrupt remapping enabled", id="amd-interrupts"),
        pytest.param("AMD-Vi: Enabling IOMMU at 0000:00:00.2 cap 0x40", id="amd-2.6"),
        pytest.param("AMD-Vi: Initialized for Passthrough Mode", id="amd-passthrough"),
        pytest.param("DMAR: [DMA Read] Request device [05:00.0] fault addr 1000 [fault reason 06] PTE Read", id="fault"),
        pytest.param("DMAR:[DMA Write] Request device [05:00.0] fault addr fffff000", id="fault-2.6"),
        pytest.param("DMAR: [DMA Read NO_PASID] Request device [0x05:0x00.0] fault addr 0x1000", id="fault-5.14"),
        pytest.param("xhci_hcd 0000:07:00.0: Event logged [IO_PAGE_FAULT domain=0x0000 address=0x1000]", id="amd-fault-5.0"),
        pytest.param("arm-smmu-v3 arm-smmu-v3.0.auto: event 0x10 received:", id="smmu-fault"),
    ],
)
def test_iommu_log_work_is_evidence(line: str) -> None:
    """A unit at work, a device in a group or a stopped access prove DMA remapping, even in a piece of a log."""
    iommu = read(line)

    assert iommu.dma_remapping == "yes"
    assert [item.text for item in iommu.dma_evidence] == [line]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("DMAR: IOMMU enabled", id="announcement"),
        pytest.param("Intel-IOMMU: enabled", id="announcement-3.x"),
        pytest.param("DMAR: Intel-IOMMU force enabled due to platform opt in", id="opt-in"),
        pytest.param("DMAR: Enable scalable mode if hardware supports", id="scalable"),
        pytest.param(DOMAIN, id="default-domain"),
        pytest.param("iommu: DMA domain TLB invalidation policy: lazy mode", id="policy"),
        pytest.param(
            "DMAR-IR: Queued invalidation will be enabled to support x2apic and Intr-remapping.", id="queued-for-interrupts"
        ),
        pytest.param("DMAR-IR: Enabled IRQ remapping in x2apic mode", id="interrupts-alone"),
        pytest.param("AMD-Vi: AMD IOMMUv2 functionality not available on this system - This is not a bug.", id="amd-v2"),
        pytest.param("AMD IOMMUv2 driver by Somebody <b@h>", id="amd-v2-3.x"),
        pytest.param("**  IOMMU DebugFS SUPPORT HAS BEEN ENABLED IN THIS KERNEL  **", id="debugfs"),
        pytest.param("PCI-DMA: Using software bounce buffering for IO (SWIOTLB)", id="bounce"),
        pytest.param("pci 0000:00:02.0: DMAR: Disabling IOMMU for graphics on this chipset", id="quirk"),
        pytest.param("thunderbolt 0000:00:0d.3: IOMMU DMA protection is enabled", id="thunderbolt"),
        pytest.param("DMAR: [INTR-REMAP] Request device [e0:1e.0] fault index 0x0 [fault reason 0x22]", id="interrupt-fault"),
        pytest.param("dmar: IOMMU 0: reg_base_addr fed90000 ver 1:0 cap c0000000000000 ecap f0000a", id="unit"),
        pytest.param("arm-smmu-v3 arm-smmu-v3.0.auto: ias 48-bit, oas 48-bit (features 0x00000001)", id="smmu-without-groups"),
    ],
)
def test_iommu_log_decoys_prove_nothing(line: str) -> None:
    """What is printed before, or without, any unit at work is unknown in a piece of a log, and a no in a whole one."""
    piece, whole = read(line), read_whole(line)

    assert (piece.dma_remapping, piece.dma_evidence) == ("unknown", ())
    assert whole.dma_remapping == "no"
    assert [item.text for item in whole.dma_evidence] == [
        "(a whole boot, in which no device joins a group, no unit is set to work)"
    ]


@pytest.mark.parametrize(
    "line",
    [
        "DMAR: Parse DMAR table failure.",
        "dmar: parse DMAR table failure.",
        "DMAR: Initialization failed",
        "DMAR: IOMMU disabled",
        "Intel-IOMMU: disabled",
        "DMAR:No DMAR devices found",
        "AMD-Vi: AMD IOMMU disabled",
        "[Firmware Bug]: Your BIOS is broken; DMAR reported at address fed90000 returns all ones!",
    ],
)
def test_iommu_log_failure_is_evidence(line: str) -> None:
    """A line that tells of failure proves a no, even behind a unit that was already set to work."""
    iommu = read("DMAR: IOMMU enabled", "DMAR: dmar0: Using Queued invalidation", line)

    assert (iommu.dma_remapping, [item.text for item in iommu.dma_evidence]) == ("no", [line])


def test_iommu_log_cut_short_is_unknown() -> None:
    """A log that ends before the drivers' turn, or begins behind the boot, says nothing by its silence."""
    for lines in ((BEGIN, TABLE, WALK), (TABLE, WALK, END), (BEGIN, "...", END), (), ("\x00\x01garbage",)):
        iommu = read(*lines)
        assert (iommu.dma_remapping, iommu.interrupt_remapping) == ("unknown", "unknown")


FACP = "ACPI: FACP 0x000000005AB01000 0000F4 (v03 DEMO   BOARD    00000001      01000013)"


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        pytest.param((FACP, "Zone ranges:"), "no", id="no-table"),
        pytest.param(("ACPI: FACP 5ab01000 000F4 (v03 DEMO   BOARD)", "Zone ranges:"), "no", id="no-table-3.x"),
        pytest.param((FACP,), "unknown", id="list-cut"),
        pytest.param((FACP, TABLE, "Zone ranges:"), "unknown", id="a-table"),
        pytest.param(("Zone ranges:",), "unknown", id="no-list"),
    ],
)
def test_iommu_log_table_list(lines: tuple[str, ...], state: str) -> None:
    """Firmware that lists its tables, and none that describes an IOMMU, proves that there is none, however early the log ends."""
    iommu = read(BEGIN, PC, *lines)

    assert (iommu.dma_remapping, iommu.interrupt_remapping) == (state, state)


def test_iommu_log_of_xen() -> None:
    """Xen keeps the IOMMU from its first domain: what that domain's kernel does not see is unknown. A guest of Xen has none."""
    assert read_whole("Booting paravirtualized kernel on Xen PV").dma_remapping == "unknown"
    assert read_whole("Hypervisor detected: Xen HVM").dma_remapping == "no"


@pytest.mark.parametrize(
    ("line", "state"),
    [
        pytest.param("DMAR-IR: Enabled IRQ remapping in x2apic mode", "yes", id="x2apic"),
        pytest.param("DMAR-IR: Enabled IRQ remapping in xapic mode", "yes", id="xapic"),
        pytest.param("Enabled IRQ remapping in x2apic mode", "yes", id="3.x"),
        pytest.param("AMD-Vi: Interrupt remapping enabled", "yes", id="amd"),
        pytest.param("INTR-REMAP: Request device [[e0:1e.0] fault index 2", "yes", id="fault-2.6"),
        pytest.param("DMAR-IR: ioapic 0 has no mapping iommu, interrupt remapping will be disabled", "no", id="ioapic"),
        pytest.param("DMAR-IR: Failed to enable irq remapping. You are vulnerable to irq-injection attacks.", "no", id="failed"),
        pytest.param("AMD-Vi: Disabling interrupt remapping", "no", id="amd-off"),
        pytest.param("x2apic: IRQ remapping doesn't support X2APIC mode", "unknown", id="xapic-decoy"),
        pytest.param("Enabled x2apic", "unknown", id="guest"),
        pytest.param("x2apic enabled", "unknown", id="firmware"),
    ],
)
def test_iommu_log_interrupts(line: str, state: str) -> None:
    """Remapping that was enabled or refused is told by the kernel; x2APIC alone is not it."""
    iommu = read(PC, line)

    assert iommu.interrupt_remapping == state
    assert [item.text for item in iommu.interrupt_evidence] == ([line] if state != "unknown" else [])
    assert read_whole(line).interrupt_remapping == ("no" if state == "unknown" else state)


def test_iommu_log_last_word_counts() -> None:
    """A kernel that gives up remapping after it enabled it does not remap."""
    enabled, given_up = "DMAR-IR: Enabled IRQ remapping in x2apic mode", "DMAR-IR: interrupt remapping is being disabled"

    assert read(enabled, given_up).interrupt_remapping == "no"
    assert read(given_up, enabled).interrupt_remapping == "yes"


@pytest.mark.parametrize(
    ("ecaps", "walk", "state"),
    [
        pytest.param(("f0000a", "f000ca"), WALK, "unknown", id="one-can"),
        pytest.param(("f00002", "f000c2"), WALK, "no", id="none-can"),
        pytest.param(("f00002",), "", "unknown", id="not-all-shown"),
    ],
)
def test_iommu_log_units_without_interrupts(ecaps: tuple[str, ...], walk: str, state: str) -> None:
    """If no unit can remap interrupts (bit 3 of ecap) they are not remapped; a single one that cannot proves nothing."""
    units = [f"dmar: IOMMU {n}: reg_base_addr fed9{n}000 ver 1:0 cap c0 ecap {ecap}" for n, ecap in enumerate(ecaps)]

    assert read(PC, walk or "hello", *units, "DMAR: No ATSR found").interrupt_remapping == state
    assert read(PC, walk or "hello", *units).interrupt_remapping == "unknown"  # the last unit may be cut off


@pytest.mark.parametrize(
    ("lines", "vendor"),
    [
        pytest.param((TABLE,), "intel", id="table"),
        pytest.param(("ACPI: DMAR 00000000be000000 000B0 (v01 DEMO",), "intel", id="table-2.6"),
        pytest.param(("DMAR: IOMMU enabled",), "intel", id="driver"),
        pytest.param(("dmar: DRHD base: 0x000000fed90000 flags: 0x0",), "intel", id="3.x"),
        pytest.param(("ACPI: IVRS 0x000000005AB00000 0000D0 (v02 DEMO",), "amd", id="amd-table"),
        pytest.param(("AMD-Vi: AMD IOMMUv2 driver by x", "DMAR-IR: Enabled IRQ remapping in x2apic mode"), "intel", id="decoy"),
        pytest.param(("xhci_hcd 0000:01:00.0: Event logged [IO_PAGE_FAULT domain=0x0",), "amd", id="amd-fault"),
        pytest.param(("arm-smmu-v3 arm-smmu-v3.0.auto: option mask 0x0",), "arm", id="smmu"),
        pytest.param(("IOMMU table initialized, virtual merging enabled",), "other", id="power"),
        pytest.param(("AMD-Vi: AMD IOMMUv2 functionality not available on this system",), "unknown", id="piece"),
        pytest.param(("pci 0000:00:02.0: DMAR: Skip IOMMU disabling for graphics",), "unknown", id="quirk"),
        pytest.param(("[Firmware Bug]: AMD-Vi: IOAPIC[9] not in IVRS table",), "amd", id="amd-firmware-bug"),
        pytest.param(
            ("[Firmware Bug]: Your BIOS is broken; DMAR reported at address fed90000 returns all ones!",), "intel", id="vt-d-bug"
        ),
        pytest.param(("iommu ivhd0: AMD-Vi: Event logged [INVALID_DEVICE_REQUEST device=0000:05:00.0 ]",), "amd", id="amd-unit"),
        pytest.param(("AMD IOMMU disabled by kernel command line",), "amd", id="amd-off-2.6"),
        pytest.param(("IOMMU 0 0xfed90000: using Queued invalidation",), "intel", id="vt-d-3.x"),
        pytest.param(("IOMMU fed90000: ver 1:0 cap c0000020630260 ecap 1000",), "intel", id="vt-d-2.6"),
        pytest.param(("PCI-DMA: Intel(R) Virtualization Technology for Directed I/O",), "intel", id="vt-d-works-2.6"),
        pytest.param(("Enabled IRQ remapping in x2apic mode",), "intel", id="vt-d-interrupts-3.x"),
        pytest.param(("exynos-sysmmu 14a60000.sysmmu: hardware version: 7.1",), "other", id="exynos"),
        pytest.param((BEGIN, PC, "AMD-Vi: AMD IOMMUv2 functionality not available on this system", END), "none", id="none"),
        pytest.param((BEGIN, "psci: PSCIv1.1", "fb fe040000.vop: Adding to iommu group 1", END), "other", id="nameless"),
    ],
)
def test_iommu_log_maker(lines: tuple[str, ...], vendor: str) -> None:
    """The maker is whose table or driver speaks; AMD's IOMMUv2 driver and the graphics' quirks speak everywhere."""
    assert read(*lines).vendor == vendor


def test_iommu_log_of_other_platforms() -> None:
    """Arm and POWER have no interrupt remapping to speak of; what POWER's tables do for a passed device is unknown."""
    arm = read(BEGIN, "CPU features: detected: GIC", "arm-smmu-v3 arm-smmu-v3.0.auto: option mask 0x0", JOINS, END)
    power = read(BEGIN, "IOMMU table initialized, virtual merging enabled", JOINS, END)
    bare = read(BEGIN, "Booting Linux on physical CPU 0x0", "psci: PSCIv1.1", DOMAIN, END)

    assert [(found.vendor, found.dma_remapping, found.interrupt_remapping) for found in (arm, power, bare)] == [
        ("arm", "yes", "n/a"),
        ("other", "unknown", "n/a"),
        ("none", "no", "n/a"),
    ]


@pytest.mark.parametrize(
    ("line", "domain"),
    [
        (DOMAIN, "translated"),
        ("iommu: Default domain type: Passthrough (set via kernel command line)", "passthrough"),
        ("AMD-Vi: Initialized for Passthrough Mode", "passthrough"),
        ("DMAR: Hardware identity mapping for device 0000:00:14.0", "passthrough"),
        ("iommu: something else", "unknown"),
    ],
)
def test_iommu_log_default_domain(line: str, domain: str) -> None:
    """How the host's own devices are set up is what the kernel announces, in old words too."""
    assert read(line).default_domain == domain


def test_iommu_log_reserved_memory() -> None:
    """Memory that firmware reserves is read in old and new words, and for whom it was mapped; but no map of Linux's own."""
    iommu = read(
        "DMAR: RMRR base: 0x000000a2000000 end: 0x000000a2000fff",
        "dmar: RMRR base: 0x000000a3000000 end: 0x000000a4ffffff",
        "DMAR: [Firmware Bug]: No firmware reserved region can cover this RMRR [0x00000000a5000000-0x00000000a5002fff], contact",
        "pci 0000:00:14.0: DMAR: Setting identity map [0xa2000000 - 0xa2000fff]",
        "IOMMU: Setting identity map for device 0000:00:1d.0 [0xa3000000 - 0xa4ffffff]",
        "IOMMU: Setting identity map for device 0000:00:1f.0 [0x0 - 0xffffff]",
        "DMAR: [Firmware Bug]: RMRR entry for device 0c:00.0 is broken - applying workaround",
    )

    first, second, third = (
        MemoryRange(0xA2000000, 0xA2000FFF),
        MemoryRange(0xA3000000, 0xA4FFFFFF),
        MemoryRange(0xA5000000, 0xA5002FFF),
    )
    assert iommu.rmrr == (first, second, third)
    assert iommu.rmrr_devices == {"0000:00:14.0": (first,), "0000:00:1d.0": (second,), "0000:0c:00.0": ()}


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("setup.0a1b2c: Linux is running under KVM in 64-bit mode", id="s390-with-number"),
        pytest.param("Using PowerNV machine description", id="power"),
        pytest.param("CPU0 revision is: 00019749 (MIPS 1004Kc)", id="mips"),
        pytest.param("64-bit Loongson Processor probed (LA464 Core)", id="loongarch"),
        pytest.param("CPU: ARMv7 Processor [410fd034] revision 4 (ARMv7), cr=10c5383d", id="arm-32"),
        pytest.param("Boot CPU: AArch64 Processor [410fd034]", id="arm-4.x"),
    ],
)
def test_iommu_log_machines_without_interrupt_remapping(line: str) -> None:
    """A whole boot of a machine that is no PC has no interrupt remapping that could be off."""
    assert read(BEGIN, line, DOMAIN, END).interrupt_remapping == "n/a"


def test_iommu_log_of_arm_begins_before_its_version() -> None:
    """Arm's first line stands before the kernel's version and belongs to the same boot; a unit of an SMMU tells as much."""
    assert read("Booting Linux on physical CPU 0x0", BEGIN, DOMAIN, END).interrupt_remapping == "n/a"
    assert read("arm-smmu 5000000.iommu: probing hardware configuration...").interrupt_remapping == "n/a"


def test_iommu_log_filtered_for_words_proves_no_absence() -> None:
    """What somebody filtered for some words may begin and end like a boot; that nothing tells the machine gives it away."""
    filtered = read(BEGIN, "Kernel command line: root=/dev/sda1", DOMAIN, "Freeing unused kernel image (initmem) memory: 2048K")

    assert (filtered.vendor, filtered.dma_remapping, filtered.interrupt_remapping) == ("unknown", "unknown", "unknown")


def test_iommu_log_of_xen_pvh_proves_no_absence() -> None:
    """Xen's own domain may run as PVH, which the kernel calls HVM first; Xen hides the units from it."""
    lines = ("Hypervisor detected: Xen HVM", "Booting kernel on Xen PVH", "PCI-DMA: Using software bounce buffering for IO")

    assert read_whole(*lines).dma_remapping == "unknown"
    assert read_whole(lines[0], lines[2]).dma_remapping == "no"


@pytest.mark.parametrize(
    ("line", "domain"),
    [
        pytest.param("DMAR: Hardware identity mapping for device 0000:00:1f.0", "passthrough", id="hardware"),
        pytest.param("DMAR: Software identity mapping for device 0000:00:1f.0", "passthrough", id="software"),
        pytest.param("IOMMU: Software identity mapping for device 0000:00:1f.0", "passthrough", id="3.x"),
        pytest.param("pci 0000:00:1f.0: DMAR: Software identity mapping", "passthrough", id="5.x"),
        pytest.param("DMAR: Hardware identity mapping for device 0000:00:02.0", "unknown", id="graphics"),
        pytest.param("pci 0000:00:02.0: DMAR: Hardware identity mapping", "unknown", id="graphics-5.x"),
    ],
)
def test_iommu_log_identity_mapping(line: str, domain: str) -> None:
    """Identity mapping, by hardware or software, is passthrough; of the graphics alone it is a quirk of theirs."""
    assert read(line).default_domain == domain
