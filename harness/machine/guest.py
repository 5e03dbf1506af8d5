"""The guest: the same kind of machine as the virtual board, on the host's transport."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from harness.core.errors import BenchError
from harness.machine.privileges import INITRD, KERNEL, ROOT, SPARE_MIB, Privileges
from harness.machine.spec import ROOT_NODE, Accelerator, Drive, MachineSpec

DISK, DISK_NODE = "disk", "stick"
"""The ids of the host's disk that a guest gets, and of the node that reads it."""

CONTROLLER = "controller"
"""The id of the passed-through controller, whether it is there from the start or plugged in later."""

MEMORY_MIB = 512
"""A guest's memory."""

_SPARE_PORT = "pass"
_USB_PORT = "usb-port"
_USB_BUS = "usb"
_DISK_PORT = "disk-port"


@dataclass(frozen=True)
class GuestFiles:
    """What a guest boots from: paths on the host. ``root`` may be a block device."""

    kernel: str
    initrd: str
    root: str
    root_is_device: bool
    root_form: Literal["raw", "qcow2"] = "raw"


@dataclass(frozen=True)
class GuestSpec:
    """A guest that a controller is given to. Its memory is pinned as long as it has one."""

    files: GuestFiles
    controller: str
    qemu: str
    accelerator: Accelerator
    memory_mib: int = MEMORY_MIB


def guest_machine(spec: GuestSpec) -> MachineSpec:
    """Return the machine for a guest that has the controller from the start."""
    files = spec.files
    return MachineSpec(
        name="guest",
        role="guest",
        kernel=files.kernel,
        initrd=files.initrd,
        drives=(Drive(ROOT_NODE, files.root, host_device=files.root_is_device, form=files.root_form),),
        qemu=spec.qemu,
        accelerator=spec.accelerator,
        cpu="host" if spec.accelerator == "kvm" else "max",
        memory_mib=spec.memory_mib,
        kernel_args=(
            "pci=noearly",
        ),  # the search for an AGP aperture reads every early config space: 1.7 s of exits (Linux 6.12)
        machine="q35,sata=off,smbus=off",  # an AHCI without disks is probed for seconds
        devices=(*spare_devices(), vfio_device(spec.controller)),
    )


def confined_guest(spec: GuestSpec, group: str) -> MachineSpec:
    """Return the machine with a QEMU that is not root: its files are descriptors, the nodes of VFIO and KVM are lent to it."""
    machine, files = guest_machine(spec), spec.files
    nodes = ("/dev/vfio/vfio", group_node(group), *(("/dev/kvm",) if spec.accelerator == "kvm" else ()))
    given = Privileges(files.kernel, files.initrd, files.root, nodes, spec.memory_mib + SPARE_MIB)
    root = replace(machine.drives[0], file=ROOT)
    return replace(machine, kernel=KERNEL, initrd=INITRD, drives=(root,), privileges=given)


def group_node(group: str) -> str:
    """Return the node by which a group's devices are opened; raise BenchError for a device of no group."""
    if not group:
        raise BenchError(
            "the controller is in no IOMMU group, and no guest can have it: look at the host's IOMMU and its kernel log"
        )
    return f"/dev/vfio/{group}"


def spare_devices() -> Iterator[Mapping[str, Any]]:
    """Yield the ports that the controller and a disk of the host sit in, and an emulated xHCI for single USB devices.

    A port leaves hot-plug to ACPI, q35's default since QEMU 6.1: native hot-plug waits 5 s at each removal.
    """
    yield {"driver": "pcie-root-port", "id": _SPARE_PORT, "chassis": 1, "slot": 1}
    yield {"driver": "pcie-root-port", "id": _USB_PORT, "chassis": 2, "slot": 2}
    yield {"driver": "qemu-xhci", "id": _USB_BUS, "bus": _USB_PORT}
    yield {"driver": "pcie-root-port", "id": _DISK_PORT, "chassis": 3, "slot": 3}


def vfio_device(address: str) -> dict[str, Any]:
    """Return the whole controller, through VFIO."""
    return {"driver": "vfio-pci", "id": CONTROLLER, "host": address, "bus": _SPARE_PORT}


def usb_host_device(bus: int, port: str) -> dict[str, Any]:
    """Return one USB device of the host, named by where it is plugged in: ids are not unique, addresses change."""
    return {"driver": "usb-host", "id": "usb-device", "hostbus": bus, "hostport": port, "bus": f"{_USB_BUS}.0"}


def disk_node(device: str) -> dict[str, Any]:
    """Return a disk of the host as a block node that is only read, past the host's page cache."""
    cache = {"direct": True}
    return {"driver": "host_device", "node-name": DISK_NODE, "filename": device, "read-only": True, "cache": cache}


def disk_device(serial: str) -> dict[str, Any]:
    """Return the disk behind DISK_NODE, as a paravirtual one; a serial has room for 20 characters."""
    return {"driver": "virtio-blk-pci", "id": DISK, "drive": DISK_NODE, "bus": _DISK_PORT, "serial": serial}
