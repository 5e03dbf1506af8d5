"""Stage 1: is the host ready? Nothing is changed; each check is a rule about the host's facts."""

from __future__ import annotations

from collections.abc import Callable

from harness.core.finding import Finding

Require = Callable[[str], Finding]


def test_host_answers(require_rule: Require) -> None:
    """The host answers everything that is asked of it."""
    require_rule("HST001")


def test_host_has_the_tools(require_rule: Require) -> None:
    """The host has the tools that the suites use."""
    require_rule("HST002")


def test_cpu_virtualization(require_rule: Require) -> None:
    """The processor has hardware virtualization (vmx or svm)."""
    require_rule("CPU001")


def test_kvm_usable(require_rule: Require) -> None:
    """KVM can be used on the host."""
    require_rule("KVM001")


def test_qemu_installed(require_rule: Require) -> None:
    """QEMU is installed on the host."""
    require_rule("QEM001")


def test_acpi_table(require_rule: Require) -> None:
    """The firmware describes an IOMMU in a sound ACPI table (DMAR or IVRS)."""
    require_rule("ACP001")


def test_dma_remapping_in_use(require_rule: Require) -> None:
    """DMA remapping is really in use: judged by IOMMU groups and /sys/class/iommu, never by a line of the log."""
    require_rule("IOM001")


def test_kernel_argument(require_rule: Require) -> None:
    """The kernel's arguments let it use the IOMMU."""
    require_rule("IOM002")


def test_host_dma_translated(require_rule: Require) -> None:
    """The host's own DMA is translated too (for information)."""
    require_rule("IOM003")


def test_interrupt_remapping(require_rule: Require) -> None:
    """Interrupts are remapped."""
    require_rule("IRQ001")


def test_vfio_pci_available(require_rule: Require) -> None:
    """The driver vfio-pci is available."""
    require_rule("VFI001")


def test_vfio_needs_iommu(require_rule: Require) -> None:
    """VFIO is not switched to work without an IOMMU."""
    require_rule("VFI002")


def test_controller_found(require_rule: Require) -> None:
    """Exactly one xHCI controller is what the bench file names."""
    require_rule("PCI001")


def test_controller_driver(require_rule: Require) -> None:
    """The controller's present driver is known, so that it can be given back."""
    require_rule("PCI002")


def test_reset_method(require_rule: Require) -> None:
    """The controller can be reset between owners."""
    require_rule("RST001")


def test_group_is_own(require_rule: Require) -> None:
    """The controller's IOMMU group holds nothing foreign."""
    require_rule("GRP001")


def test_groups_are_real(require_rule: Require) -> None:
    """The IOMMU groups are those of the hardware, not of an ACS override."""
    require_rule("GRP002")


def test_reserved_regions(require_rule: Require) -> None:
    """Firmware keeps no memory mapped for the controller's group."""
    require_rule("RES001")


def test_lockdown(require_rule: Require) -> None:
    """Whether the kernel is locked down is known (for information: VFIO works under it)."""
    require_rule("LCK001")
