"""Captures for the tests of facts and rules: small hosts, written here, changed by a dict."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from harness.core.capture import Capture, Item, Status

CARD = {"intel": "0000:01:00.0", "amd": "0000:00:05.0"}
"""Where the card sits on the two boards: behind a root port, and directly on the root bus."""

Files = dict[str, str | bytes | Status]
Layer = Mapping[str, str | bytes | Status]

BASE: Files = {
    "proc/cpuinfo": "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: Emulated Processor\nflags\t\t: fpu sse2 svm npt\n",
    "proc/version": "Linux version 6.12.1-test (builder) #1 SMP",
    "proc/sys/kernel/osrelease": "6.12.1-test",
    "sys/kernel/security/lockdown": "[none] integrity confidentiality",
    "proc/self/status": "Name:\tcat\nUid:\t0\t0\t0\t0\n",
    "etc/os-release": 'PRETTY_NAME="Example Linux 13"\nID=debian\n',
    "sys/class/dmi/id/sys_vendor": "Example Boards",
    "sys/class/dmi/id/product_name": "Model Q",
    "sys/class/dmi/id/bios_vendor": "Example Firmware",
    "sys/class/dmi/id/bios_version": "1.2",
    "sys/firmware/acpi/tables": "APIC FACP",
    "sys/bus/pci/drivers": "pcieport vfio-pci xhci_hcd",
    "proc/modules": "vfio_pci 16384 0 - Live 0x0\nxhci_pci 24576 0 - Live 0x0\n",
    "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts": "N",
    "dev/kvm": "",
    "dev/vfio/vfio": "",
    "commands/qemu": "QEMU emulator version 10.0.0 (Example)\nCopyright",
    "commands/holders": "",
    "commands/tools": "fio perl python3 dd timeout sha256sum lspci lsusb",
    "commands/dmesg": "[    0.1] Linux version 6.12.1-test\n",
    "proc/interrupts": "      CPU0\n  4:   9  IR-IO-APIC   4-edge  ttyS0\n 24:   1  IR-PCI-MSIX-0000:01:00.0  0-edge  xhci_hcd\n",
    "proc/self/mountinfo": "22 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw\n23 22 0:21 / /proc rw - proc proc rw\n",
    "proc/swaps": "Filename Type Size Used Priority\n",
    "proc/net/route": "Iface Destination Gateway Flags RefCnt Use Metric Mask\neth0 00000000 0202000A 0003 0 0 0 00000000\n"
    "eth0 0002000A 00000000 0001 0 0 0 00FFFFFF\n",
    "commands/ssh-connection": "10.0.2.2 40000 10.0.2.15 22",
    "sys/class/net/eth0": "/sys/devices/pci0000:00/0000:00:03.0/virtio0/net/eth0",
    "sys/class/net/eth0/operstate": "up",
    "sys/class/block/vda": "/sys/devices/pci0000:00/0000:00:04.0/virtio1/block/vda",
    "sys/class/block/vda/dev": "254:0",
    "sys/class/block/vda/size": "4194304",
    "sys/class/block/vda1": "/sys/devices/pci0000:00/0000:00:04.0/virtio1/block/vda/vda1",
    "sys/class/block/vda1/dev": "254:1",
    "sys/class/block/vda1/partition": "1",
}


def make_capture(*layers: Layer) -> Capture:
    """Return a capture of files; later layers replace, a Status instead of a content is why there is none."""
    merged: Files = {}
    for layer in layers:
        merged |= layer
    return Capture({name: _item(content) for name, content in merged.items()}, "2026-01-01T00:00:00Z")


def _item(content: str | bytes | Status) -> Item:
    if isinstance(content, Status):
        return Item(content)
    return Item(Status.READ, content.encode() if isinstance(content, str) else content)


def pci_function(
    address: str, pair: str, kind: str, *, driver: str = "", group: str = "", above: str = "", reset: str = "", **attributes: str
) -> Files:
    """Return the sysfs files of a PCI function; ``above`` is the bridge it hangs under."""
    folder = f"sys/bus/pci/devices/{address}"
    vendor, device = pair.split(":")
    files: Files = {
        folder: "/".join(filter(None, ("/sys/devices/pci0000:00", above, address))),
        f"{folder}/vendor": f"0x{vendor}",
        f"{folder}/device": f"0x{device}",
        f"{folder}/class": f"0x{kind}",
        f"{folder}/driver_override": "(null)",
        f"{folder}/numa_node": "-1",
        **{f"{folder}/{name}": value for name, value in attributes.items()},
    }
    if driver:
        files[f"{folder}/driver"] = f"/sys/bus/pci/drivers/{driver}"
    if reset:
        files |= {f"{folder}/reset_method": reset, f"{folder}/reset": ""}
    if group:
        files[f"{folder}/iommu_group"] = f"/sys/kernel/iommu_groups/{group}"
    return files


def group(name: str, *addresses: str, regions: str = "0x00000000fee00000 0x00000000feefffff msi") -> Files:
    """Return the sysfs files of an IOMMU group."""
    folder = f"sys/kernel/iommu_groups/{name}"
    return {f"{folder}/devices": " ".join(addresses), f"{folder}/type": "DMA-FQ", f"{folder}/reserved_regions": regions}


def usb_stick(card: str, *, name: str = "2-1", driver: str = "usb-storage", disk: str = "sda", serial: str = "TP0001") -> Files:
    """Return the sysfs files of a stick on a controller, and of its disk (``8:0``) with one partition (``8:1``)."""
    above = "0000:00:01.0/" if card == CARD["intel"] else ""
    path = f"/sys/devices/pci0000:00/{above}{card}/usb{name.split('-', maxsplit=1)[0]}/{name}"
    device = f"sys/bus/usb/devices/{name}"
    block = f"{path}/{name}:1.0/host6/target6:0:0/6:0:0:0/block/{disk}"
    return {
        device: path,
        f"{device}/idVendor": "46f4",
        f"{device}/idProduct": "0001",
        f"{device}/serial": serial,
        f"{device}/product": "Example Stick",
        f"{device}/speed": "5000",
        f"{device}/busnum": name.split("-", maxsplit=1)[0],
        f"{device}/devnum": "2",
        f"{device}:1.0": f"{path}/{name}:1.0",
        f"{device}:1.0/bInterfaceClass": "08",
        f"{device}:1.0/bInterfaceSubClass": "06",
        f"{device}:1.0/bInterfaceProtocol": "50",
        f"{device}:1.0/driver": f"/sys/bus/usb/drivers/{driver}",
        f"sys/class/block/{disk}": block,
        f"sys/class/block/{disk}/dev": "8:0",
        f"sys/class/block/{disk}/size": "524288",
        f"sys/class/block/{disk}1": f"{block}/{disk}1",
        f"sys/class/block/{disk}1/dev": "8:1",
        f"sys/class/block/{disk}1/partition": "1",
    }


def acpi_table(signature: bytes, body: bytes) -> bytes:
    """Return a table with a right checksum; ``body`` is what follows the header of 36 bytes."""
    header = struct.pack("<4sIBB6s8sI4sI", signature, 36 + len(body), 1, 0, b"EXMPL ", b"BOARD   ", 1, b"TEST", 1)
    table = bytearray(header + body)
    table[9] = -sum(table) % 256
    return bytes(table)


def dmar(*, flags: int = 1, width: int = 38, structures: bytes = b"") -> bytes:
    """Return a DMAR table; ``width`` as it stands there, one less than the bits."""
    unit = struct.pack("<HHBBHQ", 0, 16, 1, 0, 0, 0xFED90000)
    return acpi_table(b"DMAR", bytes([width, flags]) + bytes(10) + unit + structures)


def ivrs(*, ivinfo: int = 0x00203040, structures: bytes = b"") -> bytes:
    """Return an IVRS table with one unit, described by blocks of two types."""
    blocks = b"".join(
        struct.pack("<BBHHHQHHI", kind, 0, 24 + len(more), 0x10, 0x40, 0xFD000000, 0, 0, 0) + more
        for kind, more in ((0x10, b""), (0x11, bytes(16)))
    )
    return acpi_table(b"IVRS", struct.pack("<I8x", ivinfo) + blocks + structures)


INTEL_BOARD: Files = {
    **BASE,
    "proc/cmdline": "root=/dev/vda1 intel_iommu=on",
    "sys/firmware/acpi/tables": "APIC DMAR FACP",
    "sys/firmware/acpi/tables/DMAR": dmar(),
    "sys/class/iommu": "dmar0",
    "commands/dmesg": "[    0.00] Linux version 6.12.1-test\n[    0.01] DMAR: IOMMU enabled\n"
    "[    0.30] DMAR-IR: Enabled IRQ remapping in xapic mode\n",
    **pci_function("0000:00:00.0", "8086:29c0", "060000", group="0"),
    **pci_function("0000:00:01.0", "1b36:000c", "060400", driver="pcieport", group="1"),
    **pci_function(
        CARD["intel"],
        "1033:0194",
        "0c0330",
        driver="xhci_hcd",
        group="2",
        above="0000:00:01.0",
        reset="bus",
        subsystem_vendor="0x1af4",
        subsystem_device="0x1100",
        current_link_speed="2.5 GT/s PCIe",
    ),
    **group("0", "0000:00:00.0"),
    **group("1", "0000:00:01.0"),
    **group("2", CARD["intel"]),
}
"""A board with VT-d, an AMD processor, and the card behind a root port."""

AMD_BOARD: Files = {
    **BASE,
    "proc/cmdline": "root=/dev/vda1",
    "sys/firmware/acpi/tables": "APIC FACP IVRS",
    "sys/firmware/acpi/tables/IVRS": ivrs(),
    "sys/class/iommu": "ivhd0",
    "commands/dmesg": "[    0.00] Linux version 6.12.1-test\n[    0.30] AMD-Vi: Interrupt remapping enabled\n",
    **pci_function("0000:00:00.0", "8086:29c0", "060000", group="0"),
    **pci_function(CARD["amd"], "1033:0194", "0c0330", driver="xhci_hcd", group="4"),
    **group("0", "0000:00:00.0"),
    **group("4", CARD["amd"], regions="0x00000000fee00000 0x00000000feefffff msi\n0xfd00000000 0xffffffffff reserved"),
}
"""A board with AMD-Vi, the card directly on the root bus."""


WHOLE_LOGS: dict[str, Files] = {
    "intel": {
        "commands/dmesg": "[    0.00] Linux version 6.12.1-test\n[    0.01] DMAR: IOMMU enabled\n"
        "[    0.30] DMAR-IR: Enabled IRQ remapping in xapic mode\n"
        "[    0.40] DMAR: Intel(R) Virtualization Technology for Directed I/O\n[    1.00] Run /sbin/init as init process\n",
    },
    "amd": {
        "commands/dmesg": "[    0.00] Linux version 6.12.1-test\n[    0.30] AMD-Vi: Interrupt remapping enabled\n"
        "[    0.40] pci 0000:00:00.0: Adding to iommu group 0\n[    1.00] Run /sbin/init as init process\n",
    },
}
"""The logs of the two boards from the boot until user space: what is not in them was not said."""


def without(files: Files, *prefixes: str) -> Files:
    """Return the files whose names begin with none of the prefixes."""
    return {name: content for name, content in files.items() if not name.startswith(prefixes)}
