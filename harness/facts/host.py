"""All facts of a host: one value, and the same as one JSON document (``msgspec.to_builtins``)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from harness.core.capture import SECTION_PATHS, Capture, Status
from harness.core.pci import PciAddress, PciId
from harness.facts.acpi import Acpi, find_acpi_disagreements, read_acpi
from harness.facts.content import NamedDisk
from harness.facts.cpu import Cpu, read_cpu
from harness.facts.disagreement import Disagreement
from harness.facts.holders import Holders, read_holders
from harness.facts.iommu import Iommu, find_iommu_disagreements, read_iommu
from harness.facts.kernel import Board, Kernel, read_board, read_kernel
from harness.facts.log import KernelLog, read_boot_log, read_log
from harness.facts.modules import Kvm, Vfio, read_kvm, read_qemu_version, read_tools, read_vfio, read_xhci_module
from harness.facts.names import read_pci_names
from harness.facts.network import NetworkInterface, read_network
from harness.facts.network import find_unplaced as find_unplaced_interfaces
from harness.facts.pci import PciDevice, find_pci_disagreements, plain_path, read_pci
from harness.facts.seat import Seat, read_seat
from harness.facts.storage import Disk, read_disks
from harness.facts.storage import find_unplaced as find_unplaced_disks
from harness.facts.sysfs import timed_out
from harness.facts.usb import UsbDevice, read_usb
from harness.facts.usb_bus import UsbBus
from harness.facts.usb_tree import find_usb_disagreements, read_usb_tree

MOUNTS, SWAPS, ROUTES, GROUPS = "/proc/self/mountinfo", "/proc/swaps", "/proc/net/route", "/sys/kernel/iommu_groups"
LISTS = (MOUNTS, SWAPS, ROUTES, GROUPS)
"""What tells whom the host would lose with a controller."""

BLOCKS, INTERFACES, SESSION = "/sys/class/block", "/sys/class/net", "SSH_CONNECTION"
"""Where disks and interfaces lie, and what tells by which of these the session goes."""


class HostFacts(msgspec.Struct, frozen=True):
    """A photograph of a host; every action makes it stale.

    ``tools`` are the programs that the suites use and the host has (None: it was not asked).
    ``gaps`` names what the host would not say: ``commands/dmesg denied``, ``sections/pci timed out``.
    ``unasked`` names the sections of the probe of which the capture holds nothing and that nobody asked the host for.
    ``xhci_module``: the host's driver for xHCI controllers is ``loaded``, ``builtin`` or ``unknown``.
    ``seat`` tells of the people at the host, ``holders`` of the processes that have a node of VFIO or USB open.
    ``unread`` names the lists of what the host would lose that did not come, for whatever reason: they prove nothing; and each
    disk and interface of which it was not read where it hangs.
    ``writing`` is the disk that the bench file wants written, None where it wants none or nobody has looked yet.
    """

    taken: str = ""
    board: Board = Board()
    cpu: Cpu = Cpu()
    kernel: Kernel = Kernel()
    acpi: Acpi = Acpi()
    iommu: Iommu = Iommu()
    pci: tuple[PciDevice, ...] = ()
    usb: tuple[UsbDevice, ...] = ()
    usb_tree: tuple[UsbBus, ...] = ()
    disks: tuple[Disk, ...] = ()
    network: tuple[NetworkInterface, ...] = ()
    kvm: Kvm = Kvm()
    vfio: Vfio = Vfio()
    qemu_version: str = ""
    log: KernelLog = KernelLog()
    disagreements: tuple[Disagreement, ...] = ()
    gaps: tuple[str, ...] = ()
    tools: tuple[str, ...] | None = None
    unread: tuple[str, ...] = (*LISTS, SESSION)
    unasked: tuple[str, ...] = ()
    xhci_module: str = "unknown"
    seat: Seat = Seat()
    holders: Holders = Holders()
    writing: NamedDisk | None = None

    def find_pci(self, address: str | PciAddress) -> PciDevice | None:
        """Return the function at an address."""
        return next((device for device in self.pci if device.address == str(address)), None)

    def disks_on(self, address: str | PciAddress) -> tuple[Disk, ...]:
        """Return the disks behind a function."""
        return tuple(disk for disk in self.disks if str(address) in disk.pci_addresses)

    def usb_on(self, address: str | PciAddress) -> tuple[UsbDevice, ...]:
        """Return the USB devices behind a controller, hubs among them and its own root hubs not."""
        return tuple(device for device in self.usb if device.pci_address == str(address))

    def network_on(self, address: str | PciAddress) -> tuple[NetworkInterface, ...]:
        """Return the network interfaces behind a function."""
        return tuple(interface for interface in self.network if str(address) in interface.pci_addresses)

    def section_timed_out(self, section: str) -> bool:
        """Return whether a section of the probe (``pci``, ...) was cut off or never asked for: what it misses is unknown."""
        return section in self.unasked or f"sections/{section} {Status.TIMED_OUT.value}" in self.gaps


def read_facts(capture: Capture, names: Mapping[str, str] | None = None) -> HostFacts:
    """Read all facts of a capture; ``names`` gives the names of PCI ids, by default those of this machine's hwdata."""
    acpi = read_acpi(capture)
    boot = read_boot_log(capture)
    log = read_log(capture, boot)
    iommu = read_iommu(capture, acpi, log, boot.lines)
    tree = read_usb_tree(capture)
    usb = read_usb(capture, tree)
    kernel = _with_log(read_kernel(capture), log)
    return HostFacts(
        taken=capture.taken,
        board=read_board(capture),
        cpu=read_cpu(capture),
        kernel=kernel,
        acpi=acpi,
        iommu=iommu,
        pci=read_pci(capture, read_pci_names() if names is None else names, _read_told_groups(iommu)),
        usb=usb,
        usb_tree=tree,
        disks=read_disks(capture, usb),
        network=read_network(capture),
        kvm=read_kvm(capture),
        vfio=read_vfio(capture),
        qemu_version=read_qemu_version(capture),
        log=log,
        disagreements=(
            *find_iommu_disagreements(capture, iommu, log, boot.lines),
            *find_acpi_disagreements(capture),
            *find_pci_disagreements(capture),
            *find_usb_disagreements(capture),
        ),
        gaps=_read_gaps(capture),
        tools=read_tools(capture),
        unread=_read_unread(capture, iommu),
        unasked=_read_unasked(capture),
        xhci_module=read_xhci_module(capture),
        seat=read_seat(capture),
        holders=read_holders(capture, container=kernel.container),
    )


def _with_log(kernel: Kernel, log: KernelLog) -> Kernel:
    """Return the kernel with what only its log tells; /proc is believed where it was read."""
    cmdline, release = kernel.cmdline or log.command_line or "", kernel.release or log.release
    return msgspec.structs.replace(kernel, cmdline=cmdline, release=release)


def find_controllers(
    facts: HostFacts,
    *,
    id: PciId | str | None = None,  # noqa: A002 (the bench file's key)
    address: PciAddress | str | None = None,
    subsystem: PciId | str | None = None,
    path: str | None = None,
) -> tuple[PciDevice, ...]:
    """Return the xHCI controllers (class 0c0330) that fit all that is given; with nothing given, every one."""
    fitting = find_functions(facts, id=id, address=address, subsystem=subsystem, path=path)
    return tuple(device for device in fitting if device.is_xhci)


def find_functions(
    facts: HostFacts,
    *,
    id: PciId | str | None = None,  # noqa: A002 (the bench file's key)
    address: PciAddress | str | None = None,
    subsystem: PciId | str | None = None,
    path: str | None = None,
) -> tuple[PciDevice, ...]:
    """Return the PCI functions of any class that fit all that is given; ``path`` as ``PciDevice.slot_path`` spells it."""
    asked = {
        "id": _spelled(id),
        "address": _full_address(address),
        "subsystem": _spelled(subsystem),
        "slot_path": plain_path(path) if path else None,
    }
    return tuple(
        device for device in facts.pci if all(value is None or getattr(device, key) == value for key, value in asked.items())
    )


def _spelled(value: PciId | str | None) -> str | None:
    return str(value).lower() if value else None


def _full_address(value: PciAddress | str | None) -> str | None:
    """Return the address as sysfs spells it: ``05:00.0`` may be given without its domain. Raises ValueError for no address."""
    return str(PciAddress.parse(str(value))) if value else None


def _read_unread(capture: Capture, iommu: Iommu) -> tuple[str, ...]:
    """Return the lists that did not come. A host without IPv6 has no routes of that kind; one that hides them has."""
    gone = {Status.DENIED, Status.TIMED_OUT}
    unread = [name for name in LISTS if name != GROUPS and capture.get(name[1:]).status is not Status.READ]
    unread += [ROUTES] if capture.get("proc/net/ipv6_route").status in gone else []
    unread += [] if iommu.groups_complete else [GROUPS]
    session = "commands/ssh-connection"
    unread += [] if capture.get(session).status is Status.READ or _is_absent(capture, session) else [SESSION]
    unread += [*find_unplaced_disks(capture), *find_unplaced_interfaces(capture)]
    return tuple(dict.fromkeys(unread))


def _is_absent(capture: Capture, name: str) -> bool:
    return capture.get(name).status is Status.ABSENT and capture.asked(name)


def _read_told_groups(iommu: Iommu) -> dict[str, str]:
    """Return the group of each device that a text tells; where sysfs shows groups, its links are asked."""
    if iommu.groups_source == "sysfs":
        return {}
    return {device: name for name, devices in iommu.groups.items() for device in devices}


def _read_unasked(capture: Capture) -> tuple[str, ...]:
    unasked = {section for section in SECTION_PATHS if not capture.asked_section(section)}
    # Of some sections one item counts: a tree with /dev/vfio alone tells nothing of KVM, and routes nothing of interfaces.
    telling = {"devices": "dev/kvm", "block": BLOCKS[1:], "net": INTERFACES[1:]}
    unasked |= {
        section
        for section, name in telling.items()
        if not (capture.asked(name) or capture.has(name) or timed_out(capture, section))
    }
    return tuple(section for section in SECTION_PATHS if section in unasked)


def _read_gaps(capture: Capture) -> tuple[str, ...]:
    gone = {Status.DENIED, Status.TIMED_OUT}
    return tuple(f"{name} {item.status.value}" for name, item in sorted(capture.items.items()) if item.status in gone)
