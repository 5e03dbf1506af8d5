"""Stage 1: is the host ready? Nothing is changed; each check is a rule about the host's facts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fixtures.run import BenchRun
from harness.bench.obstacles import Obstacle
from harness.core.errors import NotMeasurableError
from harness.core.finding import Finding

Require = Callable[[str], Finding]


def test_host_answers(require_rule: Require) -> None:
    """The host answers everything that is asked of it."""
    require_rule("HST001")


def test_host_has_the_tools(require_rule: Require) -> None:
    """The host has the tools that the suites use."""
    require_rule("HST002")


def test_outside_of_a_container(require_rule: Require) -> None:
    """The host is looked at from outside of a container (for information)."""
    require_rule("HST003")


def test_own_machine(require_rule: Require) -> None:
    """The host is a machine of its own (for information: a virtual board is none)."""
    require_rule("HST004")


def test_no_xen(require_rule: Require) -> None:
    """The kernel is not the dom0 of Xen, under which there is no VFIO."""
    require_rule("HST005")


def test_cpu_virtualization(require_rule: Require) -> None:
    """The processor has hardware virtualization (vmx or svm)."""
    require_rule("CPU001")


def test_firmware_allows_virtualization(require_rule: Require) -> None:
    """The firmware does not switch virtualization off."""
    require_rule("CPU002")


def test_kvm_usable(require_rule: Require) -> None:
    """KVM can be used on the host."""
    require_rule("KVM001")


def test_qemu_installed(require_rule: Require) -> None:
    """QEMU is installed on the host."""
    require_rule("QEM001")


def test_memory_lock(require_rule: Require) -> None:
    """The user may lock as much memory as a guest has."""
    require_rule("MEM001")


def test_acpi_table(require_rule: Require) -> None:
    """The firmware describes an IOMMU in a sound ACPI table (DMAR or IVRS)."""
    require_rule("ACP001")


def test_acpi_entries(require_rule: Require) -> None:
    """The kernel has no complaint about what the firmware says of the IOMMU."""
    require_rule("ACP002")


def test_dma_remapping_in_use(require_rule: Require) -> None:
    """DMA remapping is really in use: judged by IOMMU groups and /sys/class/iommu, never by a line of the log."""
    require_rule("IOM001")


def test_iommu_units(require_rule: Require) -> None:
    """The kernel brought up the IOMMU units that the firmware describes."""
    require_rule("IOM004")


def test_kernel_argument(require_rule: Require) -> None:
    """The kernel's arguments let it use the IOMMU."""
    require_rule("IOM002")


def test_host_dma_translated(require_rule: Require) -> None:
    """The host's own DMA is translated too (for information)."""
    require_rule("IOM003")


def test_interrupt_remapping(require_rule: Require) -> None:
    """Interrupts are remapped."""
    require_rule("IRQ001")


def test_firmware_remaps_interrupts(require_rule: Require) -> None:
    """The firmware lets interrupts be remapped (for information: the effect is judged above)."""
    require_rule("IRQ002")


def test_interrupt_argument(require_rule: Require) -> None:
    """No kernel argument switches interrupt remapping off."""
    require_rule("IRQ003")


def test_x2apic(require_rule: Require) -> None:
    """The firmware leaves x2APIC to the kernel (for information)."""
    require_rule("IRQ004")


def test_safe_interrupts(require_rule: Require) -> None:
    """VFIO is not told to accept unsafe interrupts."""
    require_rule("IRQ005")


def test_vfio_pci_available(require_rule: Require) -> None:
    """The driver vfio-pci is available."""
    require_rule("VFI001")


def test_reserving_driver(require_rule: Require) -> None:
    """The driver that the bench file names hands the controller to a guest (for information)."""
    require_rule("VFI004")


def test_vfio_needs_iommu(require_rule: Require) -> None:
    """VFIO is not switched to work without an IOMMU."""
    require_rule("VFI002")


def test_vfio_node(require_rule: Require) -> None:
    """The node of VFIO can be opened."""
    require_rule("VFI003")


def test_controller_found(require_rule: Require) -> None:
    """Exactly one xHCI controller is what the bench file names."""
    require_rule("PCI001")


def test_controller_driver(require_rule: Require) -> None:
    """The controller's present driver is known, so that it can be given back."""
    require_rule("PCI002")


def test_controller_claimed(require_rule: Require) -> None:
    """Nothing claims the controller by its id (for information)."""
    require_rule("PCI004")


def test_controller_firmware(require_rule: Require) -> None:
    """The controller needs no firmware from its driver."""
    require_rule("PCI005")


def test_reset_method(require_rule: Require) -> None:
    """The controller can be reset between owners."""
    require_rule("RST001")


def test_reset_trouble(require_rule: Require) -> None:
    """No reset or change of power failed on the controller."""
    require_rule("RST002")


def test_controller_answers(require_rule: Require) -> None:
    """The controller has answered its driver so far."""
    require_rule("XHC001")


def test_link_errors(require_rule: Require) -> None:
    """The controller's PCIe link has reported no error so far."""
    require_rule("AER001")


def test_controller_faults(require_rule: Require) -> None:
    """The IOMMU stopped no access of the controller's."""
    require_rule("IOM005")


def test_group_is_own(require_rule: Require) -> None:
    """The controller's IOMMU group holds nothing that the host uses."""
    require_rule("GRP001")


def test_groups_are_real(require_rule: Require) -> None:
    """The IOMMU groups are those of the hardware, not of an ACS override."""
    require_rule("GRP002")


def test_reserved_regions(require_rule: Require) -> None:
    """Firmware keeps no memory mapped for the controller's group."""
    require_rule("RES001")


def test_reserved_memory_honoured(require_rule: Require) -> None:
    """The kernel is not patched to ignore what firmware reserves."""
    require_rule("RES002")


def test_console_stays(require_rule: Require) -> None:
    """No console of the kernel is on the controller (for information)."""
    require_rule("CON001")


def test_lockdown(require_rule: Require) -> None:
    """Whether the kernel is locked down is known (for information: VFIO works under it)."""
    require_rule("LCK001")


def test_guest_can_run(run: BenchRun, obstacles: Sequence[Obstacle]) -> None:
    """A guest can be brought to the host and run there: memory, room, programs, QEMU's devices, a way to it."""
    run.note("what is in the way", "\n".join(each.sentence for each in obstacles) or "nothing")
    if obstacles:
        remedies = dict.fromkeys(each.remedy for each in obstacles)
        raise NotMeasurableError("; ".join(each.sentence for each in obstacles), remedy="; ".join(remedies))
