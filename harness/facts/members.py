"""The members of an IOMMU group, as sysfs links them or a text lists them."""

from __future__ import annotations

from harness.facts.host import HostFacts
from harness.facts.iommu import group_of
from harness.facts.pci import PciDevice


def find_group(facts: HostFacts, device: PciDevice) -> str | None:
    """Return the IOMMU group of a function: by its link in sysfs, or by the listing of a text where sysfs shows none."""
    if device.group is not None or (device.source == "sysfs" and facts.iommu.groups_source == "sysfs"):
        return device.group
    return group_of(facts.iommu, device.address)


def find_members(facts: HostFacts, device: PciDevice) -> dict[str, PciDevice | None]:
    """Return all functions in a function's group, itself among them, by address; None for one that is only named."""
    name = find_group(facts, device)
    if name is None:
        return {}
    linked = [other.address for other in facts.pci if other.group == name]
    return {address: facts.find_pci(address) for address in sorted({*linked, *facts.iommu.groups.get(name, ())})}
