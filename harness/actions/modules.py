"""Kernel modules that a run loaded, and how they are taken out again."""

from __future__ import annotations

from harness.transport.protocol import Transport, check

VFIO = ("vfio_pci", "vfio_pci_core", "vfio_iommu_type1", "vfio_virqfd", "vfio")
"""In the order in which they can be removed; vfio_virqfd is part of vfio since Linux 6.2."""


def loaded_modules(transport: Transport) -> frozenset[str]:
    """Return the names of the modules that are loaded now."""
    return frozenset(line.split(" ", 1)[0] for line in check(transport, "cat /proc/modules").text.splitlines())


def unload_new_vfio(transport: Transport, before: frozenset[str]) -> frozenset[str]:
    """Remove the VFIO modules that were not loaded ``before``; return those that would not go."""
    new = [module for module in VFIO if module in loaded_modules(transport) - before]
    if new:
        transport.run("; ".join(f"rmmod {module}" for module in new))
    return loaded_modules(transport) & frozenset(new)
