"""The IOMMU's state: from groups, units and interrupt chips, whatever the log claims."""

from __future__ import annotations

import pytest

from harness.core.capture import Status
from harness.facts.host import read_facts
from harness.facts.iommu import Iommu, parse_interrupt_chips
from tests.captures import AMD_BOARD, INTEL_BOARD, Files, ivrs, make_capture, without

NO_UNITS: Files = {
    **without(INTEL_BOARD, "sys/kernel/iommu_groups", "sys/class/iommu"),
    "sys/class/iommu": "",
    "sys/kernel/iommu_groups": "",
}


def read_iommu(*layers: Files) -> Iommu:
    """Read the IOMMU of a host."""
    return read_facts(make_capture(*layers), {}).iommu


def test_iommu_log_proves_nothing() -> None:
    """The kernel prints that the IOMMU is enabled, yet without groups and units no DMA is remapped."""
    iommu = read_iommu(NO_UNITS, {"commands/dmesg": "[    0.01] DMAR: IOMMU enabled\n"})

    assert iommu.dma_remapping == "no"


def test_iommu_groups_without_units_are_unknown() -> None:
    """Groups alone may be of a driver that registers no unit: neither yes nor no."""
    assert read_iommu({**INTEL_BOARD, "sys/class/iommu": ""}).dma_remapping == "unknown"


def test_iommu_units_without_groups_translate_nothing() -> None:
    """A unit that serves no group remaps no DMA."""
    assert read_iommu(without(INTEL_BOARD, "sys/kernel/iommu_groups")).dma_remapping == "no"


def test_iommu_groups_of_vfio_without_iommu_do_not_count() -> None:
    """A group that VFIO made up in its mode without IOMMU is no group."""
    files: Files = {"sys/kernel/iommu_groups/0/name": "vfio-noiommu", "sys/kernel/iommu_groups/0/devices": "0000:01:00.0"}

    iommu = read_iommu(NO_UNITS, files)

    assert (iommu.groups, iommu.dma_remapping) == ({}, "no")


@pytest.mark.parametrize(
    "layer", [{"sections/iommu": Status.TIMED_OUT}, {"sys/bus/pci/devices": Status.DENIED}], ids=["cut-off", "no-sysfs"]
)
def test_iommu_silence_is_unknown(layer: Files) -> None:
    """A host that did not answer is unknown, not without an IOMMU."""
    files = without(NO_UNITS, "sys/bus/pci/devices") if "sys/bus/pci/devices" in layer else NO_UNITS

    assert read_iommu(files, layer).dma_remapping == "unknown"


@pytest.mark.parametrize(
    ("layer", "vendor"),
    [
        pytest.param({"sys/class/iommu": "ivhd0 ivhd1"}, "amd", id="ivhd"),
        pytest.param({"sys/class/iommu": "dmar0"}, "intel", id="dmar"),
        pytest.param({"sys/class/iommu": "smmu3.0x0000000043700000"}, "arm", id="smmu"),
        pytest.param({"sys/class/iommu": "virtio-iommu0"}, "other", id="other"),
        pytest.param({"sys/class/iommu": ""}, "intel", id="table-only"),
    ],
)
def test_iommu_maker_is_the_units(layer: Files, vendor: str) -> None:
    """The maker is read off the units, and off the ACPI table where there are none; the processor is not asked."""
    assert read_iommu(INTEL_BOARD, layer).vendor == vendor


def test_iommu_maker_without_tables() -> None:
    """Without either table there is no IOMMU; without any sight of tables its maker is what the log says, or unknown."""
    without_table = without(NO_UNITS, "sys/firmware/acpi/tables/DMAR")

    assert read_iommu(without_table, {"sys/firmware/acpi/tables": "APIC FACP"}).vendor == "none"
    assert read_iommu(without(without_table, "sys/firmware")).vendor == "intel"
    assert read_iommu(without(without_table, "sys/firmware"), {"commands/dmesg": Status.DENIED}).vendor == "unknown"


REMAPPED = "       CPU0  CPU1\n  8:  0  0  IR-IO-APIC  8-edge  rtc0\n120:  0  0  DMAR-MSI  0-edge  dmar0\n"
DIRECT = "       CPU0\n  8:  0  IO-APIC  8-edge  rtc0\n 24:  5  PCI-MSI 524288-edge  eth0\nNMI:  0  Non-maskable interrupts\n"
VAGUE = "       CPU0\n  8:  0  XT-PIC  rtc0\n"


@pytest.mark.parametrize(
    ("interrupts", "log", "state"),
    [
        pytest.param(REMAPPED, "", "yes", id="chips"),
        pytest.param(DIRECT, "[0.3] DMAR-IR: Enabled IRQ remapping in x2apic mode", "no", id="chips-outweigh-log"),
        pytest.param(VAGUE, "[0.3] DMAR-IR: Enabled IRQ remapping in x2apic mode", "yes", id="log-intel"),
        pytest.param(VAGUE, "[0.3] AMD-Vi: Interrupt remapping enabled", "yes", id="log-amd"),
        pytest.param(VAGUE, "[0.3] DMAR-IR: Enabled IRQ remapping failed", "no", id="neither"),
        pytest.param("", "", "no", id="silence-with-groups"),
    ],
)
def test_iommu_interrupt_remapping(interrupts: str, log: str, state: str) -> None:
    """Chips in use decide; the log is asked where they do not; groups without either sign mean no."""
    iommu = read_iommu(INTEL_BOARD, {"proc/interrupts": interrupts, "commands/dmesg": log})

    assert iommu.interrupt_remapping == state


def test_iommu_interrupt_remapping_without_groups_is_unknown() -> None:
    """Without chips, log and groups nothing is known."""
    assert read_iommu(NO_UNITS, {"proc/interrupts": "", "commands/dmesg": Status.DENIED}).interrupt_remapping == "unknown"


def test_iommu_interrupt_chips() -> None:
    """Chips are named once, without the device's address; lines of no interrupt number have none."""
    text = "  CPU0 CPU1\n 24: 1 0 IR-PCI-MSIX-0000:01:00.0 0-edge xhci\n 25: 0 0 IR-PCI-MSIX-0000:02:00.0 0-edge\nERR: 0\n 26:\n"

    assert parse_interrupt_chips(text) == ("IR-PCI-MSIX",)


def test_iommu_groups_types_and_regions() -> None:
    """Groups come in the order of their numbers, with domain types and reserved regions."""
    iommu = read_iommu(AMD_BOARD, {"sys/kernel/iommu_groups/10/devices": "0000:09:00.0"})

    assert list(iommu.groups) == ["0", "4", "10"]
    assert iommu.group_types == {"0": "DMA-FQ", "4": "DMA-FQ"}
    assert iommu.reserved_regions["4"][1].endswith(" reserved")


def test_log_lines_are_kept() -> None:
    """The log's lines about an IOMMU are kept without their stamps, at most 400 of them."""
    log = "\n".join(["[0.1] usb: hello", *(f"[0.2] AMD-Vi: line {number}" for number in range(500))])

    lines = read_facts(make_capture({"commands/dmesg": log}), {}).log.lines

    assert (len(lines), lines[0]) == (400, "AMD-Vi: line 0")


def test_iommu_maker_of_amd_table() -> None:
    """An IVRS table without a unit in use still tells AMD."""
    files = without(NO_UNITS, "sys/firmware")

    assert read_iommu(files, {"sys/firmware/acpi/tables/IVRS": ivrs()}).vendor == "amd"


@pytest.mark.parametrize(
    ("chips", "answer"),
    [
        pytest.param("24: 10 PCI-MSI 0-edge xhci", "no", id="pc"),
        pytest.param("12: 1 GICv2 30 Level timer\n24: 10 PCI-MSI 0-edge xhci", "n/a", id="arm"),
        pytest.param("5: 1 RISC-V INTC 5 Edge riscv-timer\n24: 10 PCI-MSI-0000:01:00.0 0-edge xhci", "n/a", id="risc-v"),
        pytest.param("12: 1 GICv3 30 Level timer\n24: 10 ITS-PCI-MSIX-0000:01:00.0 0-edge xhci", "yes", id="arm-its"),
        pytest.param("24: 10 Hyper-V PCIe MSI 0-edge xhci", "unknown", id="hyper-v"),
    ],
)
def test_iommu_interrupts_of_chips_alone(chips: str, answer: str) -> None:
    """Messages straight to the processor are a missing remapper on a PC alone: other machines have none."""
    assert read_facts(make_capture({"proc/interrupts": f"     CPU0\n{chips}\n"}), {}).iommu.interrupt_remapping == answer
