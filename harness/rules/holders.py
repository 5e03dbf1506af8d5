"""Rules about who else has the controller: guests and programs that would lose it under their hands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.core.finding import Evidence, Severity
from harness.facts.holders import VFIO_DEVICE, Holder
from harness.facts.host import HostFacts
from harness.facts.members import find_group, find_members
from harness.facts.pci import PciDevice
from harness.rules.losses import shows_usb
from harness.rules.rule import Opinion, Target, controller_rule

_FOLDER = "/proc/*/fd"
_UNSEEN = "run as root, outside of a container: only root sees what others have open"


@controller_rule(
    "HLD001",
    title="No guest or program has the controller through VFIO",
    why="Unbinding a function whose group is open takes it from a running guest, or waits for it for ever.",
    remedy="shut that guest down; the controller is free when nobody has the node open any more",
    source="kata-containers/runtime#1669, ipaqmaster/vfio#18, driver-api/vfio.html",
    required=True,
    guards=True,
)
def vfio_holders(facts: HostFacts, _: Target, controller: PciDevice) -> Opinion:
    """Look for open nodes of the group; a group none of whose members is on a driver of VFIO has none."""
    members = find_members(facts, controller)
    devices = [device for device in members.values() if device] or [controller]
    found = _open(facts, _nodes(find_group(facts, controller), devices))
    if found:
        return _judge_held("the controller's group is in use", found)
    if None not in members.values() and not any(map(_may_be_vfio, devices)):
        evidence = (Evidence(f"/sys/bus/pci/devices/{controller.address}/driver", controller.driver or "(none)"),)
        return Opinion(Severity.PASS, "nothing of the controller's group is on a driver of VFIO", evidence)
    seen = [holder.words for holder in facts.holders.found]
    evidence = (Evidence(_FOLDER, "; ".join(seen) or "no open node of VFIO"),)
    # Who has a device open has its group open too, unless the group's descriptor was closed after.
    unclear = {holder.pid for holder in facts.holders.found if holder.node == VFIO_DEVICE} - _pids_of_nodes(facts)
    if not facts.holders.complete or unclear:
        return Opinion(Severity.UNKNOWN, "the host does not show who has the controller's group open", evidence, _UNSEEN)
    return Opinion(Severity.PASS, "nobody has the controller's group open", evidence)


@controller_rule(
    "HLD002",
    title="No program works with a USB device on the controller by itself",
    why="usbfs gives a device to a program or, as usb-host, to somebody's guest: both lose it with the controller.",
    remedy="end that program, or plug its device into another controller",
    source="foxlet/macOS-Simple-KVM#373, driver-api/usb/usb.html",
    guards=True,
)
def usb_holders(facts: HostFacts, target: Target, controller: PciDevice) -> Opinion:
    """Look for open nodes of the controller's buses."""
    buses = {bus.number for bus in facts.usb_tree if bus.pci_address in target.addresses and bus.number}
    devices = [device for address in target.addresses for device in facts.usb_on(address)]
    buses |= {device.bus for device in devices if device.bus}
    starts = tuple(f"/dev/bus/usb/{number:03}/" for number in sorted(buses))
    if found := [holder for holder in facts.holders.found if starts and holder.node.startswith(starts)]:
        return _judge_held("a program has a USB device on the controller", found)
    if not shows_usb(facts, controller):
        return Opinion(Severity.UNKNOWN, "the host does not show which USB devices are on the controller")
    if not devices:
        nothing = (Evidence("/sys/bus/usb/devices", f"none behind {controller.address}"),)
        return Opinion(Severity.PASS, "no USB device is on the controller", nothing)
    if not facts.holders.complete:
        evidence = (Evidence(_FOLDER, "not read for every process"),)
        return Opinion(Severity.UNKNOWN, "the host does not show which programs have its USB devices open", evidence, _UNSEEN)
    evidence = (Evidence(_FOLDER, f"no open node below {', '.join(starts)}"),)
    return Opinion(Severity.PASS, "no program has a USB device on the controller open", evidence)


def _nodes(group: str | None, devices: Sequence[PciDevice]) -> set[str]:
    """Return the nodes by which a group is held: its own, and since Linux 6.6 one for each device."""
    nodes = {f"/dev/vfio/{group}", f"/dev/vfio/noiommu-{group}"} if group else set()
    return nodes | {f"/dev/vfio/devices/{device.vfio_device}" for device in devices if device.vfio_device}


def _may_be_vfio(device: PciDevice) -> bool:
    """Return whether a function is on vfio-pci or a variant of it (``mlx5_vfio_pci``), as far as its driver is known."""
    return not device.driver_known or "vfio" in (device.driver or "")


def _open(facts: HostFacts, nodes: set[str]) -> list[Holder]:
    return [holder for holder in facts.holders.found if holder.node in nodes]


def _pids_of_nodes(facts: HostFacts) -> set[int]:
    """Return the processes of which a node tells what they hold; /dev/vfio/vfio, the container, tells nothing."""
    return {
        holder.pid for holder in facts.holders.found if holder.node.startswith("/dev/vfio/") and holder.node != "/dev/vfio/vfio"
    }


def _judge_held(message: str, found: Iterable[Holder]) -> Opinion:
    listed = [holder.words for holder in found]
    return Opinion(Severity.REFUSAL, f"{message}: {'; '.join(listed)}", tuple(Evidence(_FOLDER, words) for words in listed))
