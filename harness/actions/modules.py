"""Kernel modules that a run loaded, and how they are taken out again."""

from __future__ import annotations

from collections.abc import Mapping

from harness.transport.protocol import Transport, check

VFIO = ("vfio_pci", "vfio_pci_core", "vfio_iommu_type1", "vfio_virqfd", "vfio")
"""In the order in which they can be removed; vfio_virqfd is part of vfio since Linux 6.2."""

BELOW_VFIO = ("iommufd", "irqbypass")
"""What VFIO brings along on some kernels; KVM may use irqbypass as well, and then it stays."""


def loaded_modules(transport: Transport) -> frozenset[str]:
    """Return the names of the modules that are loaded now."""
    return frozenset(_users(transport))


def unload_new_vfio(transport: Transport, before: frozenset[str]) -> frozenset[str]:
    """Remove the VFIO modules that were not loaded ``before``; return those that would not go."""
    now = loaded_modules(transport)
    new = [module for module in (*VFIO, *BELOW_VFIO) if module in now - before]
    if not new:
        return frozenset()
    transport.run("; ".join(f"rmmod {module}" for module in new))
    return left_by_vfio(transport, before)


def left_by_vfio(transport: Transport, before: frozenset[str]) -> frozenset[str]:
    """Return the modules of VFIO that are loaded now and were not ``before``, without what other modules use as well."""
    users = _users(transport)
    ours = frozenset((*VFIO, *BELOW_VFIO))
    below = {module for module in BELOW_VFIO if users.get(module, frozenset()) - ours}
    return (frozenset(users) - before) & ours - below


def _users(transport: Transport) -> Mapping[str, frozenset[str]]:
    """Return each loaded module with those that use it: ``irqbypass 12288 2 vfio_pci_core,kvm, Live 0x0``."""
    lines = [line.split(" ") for line in check(transport, "cat /proc/modules").text.splitlines()]
    return {words[0]: frozenset(filter(None, words[3].split(","))) - {"-"} for words in lines if len(words) > 3}  # noqa: PLR2004
