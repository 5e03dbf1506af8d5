"""QEMU's command line: what a specification becomes."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import pytest

from harness.core.errors import BenchError
from harness.machine.guest import CONTROLLER, GuestFiles, GuestSpec, confined_guest, group_node, guest_machine, usb_host_device
from harness.machine.spec import ROOT_NODE, Drive, Endpoints, MachineSpec, qemu_argv

ENDS = Endpoints(PurePosixPath("/tmp/a,b"))  # noqa: S108 (never made)


def machine(**changes: Any) -> MachineSpec:
    """Return a small machine, with ``changes``."""
    values = {"name": "m", "role": "board", "kernel": "/k", "initrd": "/i", "drives": (Drive(ROOT_NODE, "/r"),)} | changes
    return MachineSpec(**values)


def values_of(argv: list[str], option: str) -> list[str]:
    """Return the values of an option, in their order."""
    return [value for name, value in pairwise(argv) if name == option]


def devices_of(argv: list[str]) -> list[dict[str, Any]]:
    """Return the devices of a command line, in their order."""
    return [json.loads(value) for value in values_of(argv, "-device")]


def test_argv_holds_nothing_but_what_is_asked_for() -> None:
    """No default device, no user's configuration, no window, and a reset ends the machine."""
    argv = qemu_argv(machine(), ENDS)

    assert argv[0] == "qemu-system-x86_64"
    assert {"-nodefaults", "-no-user-config", "-no-reboot"} <= set(argv)
    assert [device["driver"] for device in devices_of(argv)] == ["virtio-blk-pci", "virtio-net-pci"]


def test_argv_kernel_tells_role_and_root() -> None:
    """The kernel's arguments say which part init plays and where the root disk is, the bench file's own come last."""
    append = values_of(qemu_argv(machine(kernel_args=("intel_iommu=on",), root="usb"), ENDS), "-append")[0].split()

    assert {"console=ttyS0", "throughpass.role=board", "throughpass.root=usb"} <= set(append)
    assert append[-1] == "intel_iommu=on"


def test_argv_root_on_usb_has_no_virtio_disk() -> None:
    """A root disk on USB is one of the devices, not a virtio disk as well."""
    argv = qemu_argv(machine(root="usb"), ENDS)

    assert "virtio-blk-pci" not in {device["driver"] for device in devices_of(argv)}


def test_argv_network_reaches_nothing_and_fixes_no_port() -> None:
    """User networking is restricted, and the system picks the port."""
    assert values_of(qemu_argv(machine(), ENDS), "-netdev") == ["user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"]


def test_argv_comma_in_a_path_ends_no_option() -> None:
    """A comma in the scratch folder's name is doubled wherever QEMU would split at it."""
    argv = qemu_argv(machine(), ENDS)

    assert "socket,id=console,path=/tmp/a,,b/console" in argv
    assert "name=opt/org.throughpass/host_key,file=/tmp/a,,b/host_key" in argv


def test_argv_hostile_string_stays_one_argument() -> None:
    """A serial with quotes, commas and option names stays the value it is."""
    serial = 'x",id=y,-device "\\{"driver":"pc-testdev"}\x1b'
    argv = qemu_argv(machine(devices=({"driver": "usb-storage", "serial": serial},)), ENDS)

    assert devices_of(argv)[-1] == {"driver": "usb-storage", "serial": serial}


def test_argv_devices_keep_their_order_before_verbatim_arguments() -> None:
    """Devices come in the order of the specification (an IOMMU first), what no key says comes last."""
    argv = qemu_argv(machine(devices=({"driver": "intel-iommu"}, {"driver": "nec-usb-xhci"}), extra_args=("-s",)), ENDS)

    assert [device["driver"] for device in devices_of(argv)][-2:] == ["intel-iommu", "nec-usb-xhci"]
    assert argv[-1] == "-s"


def test_drive_read_only_unless_said_otherwise() -> None:
    """A root disk can be written neither by the machine nor by QEMU."""
    node = json.loads(values_of(qemu_argv(machine(), ENDS), "-blockdev")[0])

    assert node == {
        "driver": "raw",
        "read-only": True,
        "file": {"driver": "file", "filename": "/r", "read-only": True},
        "node-name": "root",
    }


def test_drive_with_throttle_is_below_its_filter() -> None:
    """A throttled drive keeps its node's name: the filter takes it, and the limit is in bytes a second."""
    argv = qemu_argv(machine(drives=(Drive("stick-s1", "/s", read_only=False, bps=1 << 20),)), ENDS)
    node, group = (json.loads(values_of(argv, option)[0]) for option in ("-blockdev", "-object"))

    assert (node["driver"], node["node-name"], node["throttle-group"]) == ("throttle", "stick-s1", group["id"])
    assert node["file"]["file"] == {"driver": "file", "filename": "/s", "read-only": False}
    assert group["limits"] == {"bps-total": 1 << 20}


def test_drive_with_burst() -> None:
    """A drive that slows down may take more for some seconds, by QEMU's names."""
    argv = qemu_argv(machine(drives=(Drive("stick-s1", "/s", bps=1, burst_bps=8, burst_s=3),)), ENDS)

    assert json.loads(values_of(argv, "-object")[0])["limits"] == {"bps-total": 1, "bps-total-max": 8, "bps-total-max-length": 3}


def guest(accelerator: Any = "kvm", **files: Any) -> MachineSpec:
    """Return a guest with a controller."""
    values: dict[str, Any] = {"kernel": "/k", "initrd": "/i", "root": "/dev/vda", "root_is_device": True}
    boot = GuestFiles(**(values | files))
    return guest_machine(GuestSpec(boot, "0000:01:00.0", "qemu-system-x86_64", accelerator))


def test_guest_has_the_controller_on_a_port_of_its_own() -> None:
    """The controller sits in a root port that comes before it, and leaves by ACPI hot-plug."""
    devices = list(guest().devices)
    at = next(number for number, device in enumerate(devices) if device.get("id") == CONTROLLER)

    assert devices[at] == {"driver": "vfio-pci", "id": CONTROLLER, "host": "0000:01:00.0", "bus": devices[0]["id"]}
    assert [device["driver"] for device in devices[:at]].count("pcie-root-port") == 3


def test_guest_cpu_follows_the_accelerator() -> None:
    """With KVM the guest has the host's processor, emulated all that QEMU can play."""
    assert (guest("kvm").cpu, guest("tcg").cpu) == ("host", "max")


def test_guest_root_is_a_device_or_a_packed_file() -> None:
    """The guest's disk is the host's device, or a file in the form it was brought in; never written."""
    device = guest().drives[0]
    file = guest(root="/r.qcow2", root_is_device=False, root_form="qcow2").drives[0]

    assert (device.host_device, device.form, device.read_only) == (True, "raw", True)
    assert (file.host_device, file.form, file.read_only) == (False, "qcow2", True)


def test_guest_usb_device_is_named_by_its_place() -> None:
    """A single USB device is named by bus and port: ids are not unique, addresses change."""
    device = usb_host_device(2, "1.3")

    assert (device["hostbus"], device["hostport"]) == (2, "1.3")
    assert "vendorid" not in device


def test_device_of_no_group_has_no_node() -> None:
    """A device that is in no IOMMU group is told, and the place of all groups' nodes is not lent in its name."""
    files = GuestFiles("/k", "/i", "/r", root_is_device=False)

    assert group_node("12") == "/dev/vfio/12"
    with pytest.raises(BenchError, match="in no IOMMU group"):
        confined_guest(GuestSpec(files, "0000:01:00.0", "qemu-system-x86_64", "kvm"), "")
