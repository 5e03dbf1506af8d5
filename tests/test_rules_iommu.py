"""Rules about the processor, the IOMMU, interrupts and drivers: each fires on the host that it was made for."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from harness.core.capture import Capture, Item, Status
from harness.core.finding import Finding, Severity
from harness.facts.host import read_facts
from harness.rules.registry import judge
from harness.rules.rule import Target, find_target
from tests.captures import AMD_BOARD, INTEL_BOARD, Files, dmar, make_capture, without

DIRECT_INTERRUPTS: Files = {"proc/interrupts": "   CPU0\n 4:  1  IO-APIC  4-edge  ttyS0\n", "commands/dmesg": ""}
UNSAFE: Files = {"sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts": "Y"}


def find(rule: str, *layers: Files) -> Finding:
    """Judge a host by one rule."""
    facts = read_facts(make_capture(*layers), {})
    return judge(rule, facts, find_target(facts, id="1033:0194"))


def without_iommu(files: Files, **replaced: str) -> Files:
    """Return a board whose kernel uses no IOMMU."""
    rest = without(files, "sys/kernel/iommu_groups", "sys/class/iommu")
    return rest | {"sys/kernel/iommu_groups": "", "sys/class/iommu": ""} | replaced


NO_IOMMU: Files = {**without(without_iommu(INTEL_BOARD), "sys/firmware"), "sys/firmware/acpi/tables": "APIC FACP"}
"""The board whose -device intel-iommu was forgotten: intel_iommu=on is given, and the kernel prints that it is enabled."""


def test_iom001_announcement_is_no_proof() -> None:
    """Where only the log claims an IOMMU, the finding says that the line echoes the argument, and quotes it."""
    finding = find("IOM001", NO_IOMMU)

    assert finding.severity is Severity.FAILURE
    assert finding.message == (
        'the kernel prints "DMAR: IOMMU enabled", but there is no IOMMU group and /sys/class/iommu is empty: '
        "that line only echoes the kernel argument"
    )
    assert ("dmesg", "DMAR: IOMMU enabled") in [(item.source, item.text) for item in finding.evidence]
    assert finding.remedy


def test_iom001_announcement_of_older_kernels() -> None:
    """The line of older kernels is recognised too."""
    files = NO_IOMMU | {"commands/dmesg": "[    0.000000] Intel-IOMMU: enabled"}

    assert 'prints "Intel-IOMMU: enabled"' in find("IOM001", files).message


def test_iom001_without_announcement() -> None:
    """Without any claim in the log the finding says what is missing, and shows trouble that the log tells."""
    line = "DMAR: DRHD: DMAR reported at address fed90000 returns all ones"
    finding = find("IOM001", without_iommu(AMD_BOARD) | {"commands/dmesg": f"[    0.2] {line}"})

    assert finding.message == "DMA is not remapped: there is no IOMMU group and /sys/class/iommu is empty"
    assert line in [item.text for item in finding.evidence]


def test_iom001_silence_is_unknown() -> None:
    """A host whose answers were cut off is unknown, not failed."""
    assert find("IOM001", NO_IOMMU, {"sections/iommu": Status.TIMED_OUT}).severity is Severity.UNKNOWN


GRUB = "update-grub"


@pytest.mark.parametrize(
    ("files", "severity", "remedy"),
    [
        pytest.param(INTEL_BOARD | {"proc/cmdline": "quiet"}, Severity.PASS, "", id="in-use-anyway"),
        pytest.param(without_iommu(AMD_BOARD), Severity.PASS, "", id="amd-needs-none"),
        pytest.param(without_iommu(INTEL_BOARD), Severity.PASS, "", id="given-but-not-in-use"),
        pytest.param(without_iommu(INTEL_BOARD) | {"proc/cmdline": "quiet"}, Severity.FAILURE, GRUB, id="intel-missing"),
        pytest.param(
            without_iommu(INTEL_BOARD) | {"proc/cmdline": "intel_iommu=off"}, Severity.FAILURE, "remove", id="intel-off"
        ),
        pytest.param(without_iommu(AMD_BOARD) | {"proc/cmdline": "amd_iommu=off"}, Severity.FAILURE, "remove", id="amd-off"),
        pytest.param(without_iommu(AMD_BOARD) | {"proc/cmdline": "iommu=off"}, Severity.FAILURE, "remove", id="all-off"),
        pytest.param(
            without_iommu(INTEL_BOARD) | {"proc/cmdline": "intel_iommu=off intel_iommu=on"}, Severity.PASS, "", id="last-one-wins"
        ),
        pytest.param(NO_IOMMU | {"proc/cmdline": "quiet"}, Severity.INFORMATION, "", id="nothing-to-switch-on"),
    ],
)
def test_iom002_kernel_argument(files: Files, severity: Severity, remedy: str) -> None:
    """Only Intel's IOMMU needs an argument, and only one that is not in use is missed."""
    finding = find("IOM002", files)

    assert finding.severity is severity
    assert (remedy in finding.remedy) if remedy else finding.remedy == ""


@pytest.mark.parametrize(
    ("layer", "command"),
    [
        ({"etc/os-release": "ID=debian"}, "update-grub"),
        ({"etc/os-release": "ID=fedora"}, 'grubby --update-kernel=ALL --args="intel_iommu=on"'),
        ({"etc/os-release": "ID=arch"}, "kernel-install"),
        ({"run/ostree-booted": "", "etc/os-release": "ID=fedora"}, "rpm-ostree kargs --append-if-missing=intel_iommu=on"),
    ],
    ids=["debian", "fedora", "arch", "ostree"],
)
def test_iom002_remedy_suits_the_host(layer: Files, command: str) -> None:
    """How to set the argument depends on the distribution."""
    files = without_iommu(INTEL_BOARD, **{"proc/cmdline": "quiet"})

    assert command in find("IOM002", files, layer).remedy


@pytest.mark.parametrize("argument", ["iommu=pt", "iommu.passthrough=1", "iommu=soft,pt"])
def test_iom003_pass_through_is_information(argument: str) -> None:
    """Pass-through mode of the host's devices is no weakness."""
    assert find("IOM003", INTEL_BOARD, {"proc/cmdline": argument}).severity is Severity.INFORMATION


BROKEN = dmar()[:-1] + b"\x99"
DENIED: Files = {"sys/firmware/acpi/tables/DMAR": Status.DENIED}


@pytest.mark.parametrize(
    ("files", "severity"),
    [
        pytest.param(INTEL_BOARD, Severity.PASS, id="sound"),
        pytest.param(NO_IOMMU, Severity.FAILURE, id="absent"),
        pytest.param(NO_IOMMU | {"sys/firmware/acpi/tables/DMAR": BROKEN}, Severity.FAILURE, id="damaged"),
        pytest.param(INTEL_BOARD | {"sys/firmware/acpi/tables/DMAR": BROKEN}, Severity.CONDITION, id="damaged-but-in-use"),
        pytest.param(INTEL_BOARD | DENIED, Severity.INFORMATION, id="denied-but-in-use"),
        pytest.param(NO_IOMMU | DENIED, Severity.UNKNOWN, id="denied"),
        pytest.param(without(NO_IOMMU, "sys/firmware"), Severity.UNKNOWN, id="container"),
    ],
)
def test_acp001_table(files: Files, severity: Severity) -> None:
    """A missing table fails a board that does not remap; what could not be read is unknown."""
    assert find("ACP001", files).severity is severity


def test_acp002_reads_the_table() -> None:
    """A table with a structure that does not fit into it is told by the table itself, also where remapping works."""
    finding = find("ACP002", INTEL_BOARD, {"sys/firmware/acpi/tables/DMAR": dmar(structures=b"\1\0\x40\0rest")})

    assert finding.severity is Severity.INFORMATION
    assert finding.evidence[0].source == "/sys/firmware/acpi/tables/DMAR"


@pytest.mark.parametrize(
    ("layers", "severity"),
    [
        pytest.param([], Severity.PASS, id="remapped"),
        pytest.param([DIRECT_INTERRUPTS], Severity.FAILURE, id="direct"),
        pytest.param([DIRECT_INTERRUPTS, UNSAFE], Severity.CONDITION, id="direct-and-permitted-before"),
        pytest.param([UNSAFE], Severity.PASS, id="permitted-but-remapped"),
    ],
)
def test_irq001_interrupt_remapping(layers: list[Files], severity: Severity) -> None:
    """Without remapping a board fails, unless the host itself already permits unsafe interrupts."""
    finding = find("IRQ001", INTEL_BOARD, *layers)

    assert finding.severity is severity
    assert finding.evidence[0].source == "/proc/interrupts"


def test_irq001_silence_is_unknown() -> None:
    """A host that shows neither chips nor groups nor a log is unknown."""
    assert find("IRQ001", without(NO_IOMMU, "proc/interrupts", "commands/dmesg")).severity is Severity.UNKNOWN


def test_irq001_quotes_the_chips_and_the_log() -> None:
    """The evidence names the chips, and the log's line where there is one."""
    evidence = find("IRQ001", INTEL_BOARD).evidence

    assert evidence[0].text == "IR-IO-APIC IR-PCI-MSIX"
    assert evidence[1].text.endswith("DMAR-IR: Enabled IRQ remapping in xapic mode")


def test_cpu001_without_the_flag() -> None:
    """A processor without vmx and svm is a condition: the guest runs emulated."""
    finding = find("CPU001", INTEL_BOARD, {"proc/cpuinfo": "processor: 0\nmodel name: X\nflags: fpu\n"})

    assert (finding.severity, "guest runs emulated" in finding.message) == (Severity.CONDITION, True)


@pytest.mark.parametrize(
    ("rule", "layer", "severity"),
    [
        pytest.param("KVM001", {"dev/kvm": Status.ABSENT}, Severity.CONDITION, id="no-kvm"),
        pytest.param("KVM001", {"dev/kvm": Status.DENIED}, Severity.CONDITION, id="kvm-denied"),
        pytest.param(
            "KVM001", {"dev/kvm": Status.ABSENT, "sections/devices": Status.TIMED_OUT}, Severity.UNKNOWN, id="kvm-cut-off"
        ),
        pytest.param("QEM001", {"commands/qemu": Status.ABSENT}, Severity.UNKNOWN, id="no-qemu"),
        pytest.param("VFI002", {"sys/module/vfio/parameters/enable_unsafe_noiommu_mode": "Y"}, Severity.CONDITION, id="noiommu"),
        pytest.param("GRP002", {"proc/cmdline": "pcie_acs_override=downstream"}, Severity.CONDITION, id="acs-override"),
    ],
)
def test_rules_of_the_host_fire(rule: str, layer: Files, severity: Severity) -> None:
    """Each rule about the host fires on what it looks for, with evidence unless the host was silent."""
    finding = find(rule, INTEL_BOARD, layer)

    assert finding.severity is severity
    assert finding.remedy or severity is Severity.UNKNOWN


@pytest.mark.parametrize(
    ("listing", "severity"),
    [("", Severity.FAILURE), (Status.ABSENT, Severity.UNKNOWN), ("kernel/vfio-pci.ko.xz: a.ko", Severity.PASS)],
    ids=["missing", "not-shown", "module"],
)
def test_vfi001_vfio_pci(listing: str | Status, severity: Severity) -> None:
    """A kernel without vfio-pci fails; one that does not show its modules is unknown."""
    files = without(INTEL_BOARD, "proc/modules", "sys/bus/pci/drivers")

    assert find("VFI001", files, {"commands/vfio-modules": listing}).severity is severity


def test_evidence_is_what_decided() -> None:
    """Where only the log was read, it is the evidence of both remappings; no folder that nobody read is called empty."""
    lines = ("DMAR: Intel(R) Virtualization Technology for Directed I/O", "DMAR-IR: Enabled IRQ remapping in x2apic mode")
    log = "[    0.000000] Linux version 6.12.1-test\n" + "".join(f"[    1.000000] {line}\n" for line in lines)
    facts = read_facts(Capture({"commands/dmesg": Item(Status.READ, log.encode())}, scope=()), {})

    found = [judge(rule, facts, Target()) for rule in ("IOM001", "IRQ001")]

    assert [finding.severity for finding in found] == [Severity.PASS, Severity.PASS]
    assert [{item.source for item in finding.evidence} for finding in found] == [{"dmesg"}, {"dmesg"}]


def test_evidence_of_what_was_not_read() -> None:
    """Where nothing was read, the evidence says so."""
    facts = read_facts(Capture(scope=()), {})

    for rule in ("IOM001", "IRQ001"):
        assert all("not read" in item.text for item in judge(rule, facts, Target()).evidence)


def test_memory_lock_of_the_guest_that_is_started() -> None:
    """The limit is compared with the memory of the guest that will run, where that is known."""
    facts = read_facts(make_capture(INTEL_BOARD), {})
    limited = replace(facts, kernel=replace(facts.kernel, root=False, memlock_kib=1536 * 1024))

    small, unknown = find_target(limited, guest_memory_mib=512), find_target(limited)

    assert judge("MEM001", limited, small).severity is Severity.PASS
    assert judge("MEM001", limited, unknown).severity is Severity.CONDITION


def test_kvm_in_a_container_is_unknown() -> None:
    """A container shows no device that it was not given: that there is no KVM is not known there."""
    assert find("KVM001", INTEL_BOARD, {"dev/kvm": Status.ABSENT, ".dockerenv": ""}).severity is Severity.UNKNOWN
    assert find("KVM001", INTEL_BOARD, {"dev/kvm": Status.ABSENT}).severity is Severity.CONDITION
