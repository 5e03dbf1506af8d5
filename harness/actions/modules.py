"""Kernel modules that a run loaded, and how they are taken out again."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from harness.actions.journal import beginning_alone, quoted_folder
from harness.transport.protocol import Transport, check

VFIO = ("pci_stub", "vfio_pci", "vfio_pci_core", "vfio_iommu_type1", "vfio_virqfd", "vfio")
"""What reserves a device, in the order in which it can be removed; vfio_virqfd is part of vfio since Linux 6.2."""

BELOW_VFIO = ("iommufd", "irqbypass")
"""What VFIO brings along on some kernels; KVM may use irqbypass as well, and then it stays."""

FAMILY = (*VFIO, *BELOW_VFIO)
"""All that a run may load, in the order in which it can be removed."""

LISTING = "cat /proc/modules"
"""The command whose output ``parse_modules`` and ``left_by_vfio`` read."""

_SHARED, _BOUND = "@shared", "@bound"

_REMOVE = """
{alone}
set -- {folder}/*.journal
if [ $# -gt 1 ]; then
    echo {shared}
    exit
fi
bound=
for driver in vfio-pci pci-stub; do
    for device in /sys/bus/pci/drivers/$driver/*:*; do
        if [ -e "$device" ]; then bound="$bound $driver"; fi
    done
done
set --
for module in {modules}; do
    case $module$bound in pci_stub*pci-stub*) continue ;; pci_stub*) ;; *vfio-pci*) continue ;; esac
    if [ -e "/sys/module/$module/refcnt" ]; then set -- "$@" "$module"; fi
done
[ $# -eq 0 ] || rmmod "$@"
echo {bound} $bound
"""
"""A module that is not loaded has no folder, one that is built in no count of its users. rmmod goes on after one that stays.

A driver whose module is removed lets go of its devices: being bound is no use that would keep it.
"""


def loaded_modules(transport: Transport) -> frozenset[str]:
    """Return the names of the modules that are loaded now."""
    return parse_modules(check(transport, LISTING).text)


def parse_modules(listing: str) -> frozenset[str]:
    """Return the names in the text of /proc/modules."""
    return frozenset(_users(listing))


def unload_new_vfio(transport: Transport, before: frozenset[str]) -> frozenset[str]:
    """Remove the VFIO modules that were not loaded ``before``; return those that would not go.

    While another run has a journal on the host nothing is removed: it may have just loaded what it needs. The last one removes.
    Nor is it while any device is bound to what they bring: somebody gave it to them.
    """
    ours = " ".join(module for module in FAMILY if module not in before)
    script = _REMOVE.format(alone=beginning_alone(), folder=quoted_folder(), shared=_SHARED, bound=_BOUND, modules=ours)
    said, _, listing = f"\n{check(transport, script + LISTING).text}\n".partition(f"\n{_BOUND}")
    drivers, _, listing = listing.partition("\n")
    return frozenset() if _SHARED in said else left_by_vfio(listing, before | needed_for(drivers.split()))


def needed_for(drivers: Collection[str]) -> frozenset[str]:
    """Return the modules that must stay while devices are bound to these drivers."""
    stub = {"pci_stub"} if "pci-stub" in drivers else set()
    return frozenset(stub | (set(FAMILY) - {"pci_stub"} if "vfio-pci" in drivers else set()))


def left_by_vfio(listing: str, before: frozenset[str]) -> frozenset[str]:
    """Return the modules of VFIO that are loaded now and were not ``before``, without what other modules use as well."""
    users = _users(listing)
    ours = frozenset(FAMILY)
    below = {module for module in BELOW_VFIO if users.get(module, frozenset()) - ours}
    return (frozenset(users) - before) & ours - below


def _users(listing: str) -> Mapping[str, frozenset[str]]:
    """Return each loaded module with those that use it: ``irqbypass 12288 2 vfio_pci_core,kvm, Live 0x0``."""
    lines = [line.split(" ") for line in listing.splitlines()]
    return {words[0]: frozenset(filter(None, words[3].split(","))) - {"-"} for words in lines if len(words) > 3}  # noqa: PLR2004
