"""What a system shows of a USB disk and of its controller's interrupts: the scripts on a made-up /sys, and their reading."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.machine.interrupts import count_interrupts, interrupts_command
from harness.machine.usb_tree import LINK_COMMAND, parse_root_hubs, parse_usb_link, root_hubs_command
from harness.transport.local import LocalTransport
from harness.transport.protocol import Result

ADDRESS = "0000:01:00.0"
TABLE = """           CPU0       CPU1
  1:          9          0   IO-APIC   1-edge      i8042
 24:        100         20   PCI-MSIX-0000:01:00.0   0-edge      xhci_hcd
 25:          3          0   PCI-MSIX-0000:01:00.0   1-edge      xhci_hcd
124:        999          9   PCI-MSI-0000:00:02.0   0-edge      virtio0
NMI:          0          0   Non-maskable interrupts
"""


def write(root: Path, name: str, text: str) -> None:
    """Write a file of the made-up host."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def run_on(root: Path, script: str) -> Result:
    """Run a script that looks at the made-up host."""
    return LocalTransport().run(script.replace("/sys/", f"{root}/sys/").replace("/proc/", f"{root}/proc/"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a host with a stick on a controller: usb-storage at 5000M."""
    device = f"sys/bus/pci/devices/{ADDRESS}"
    stick = tmp_path / device / "usb2/2-1"
    disk = stick / "2-1:1.0/host0/target0:0:0/0:0:0:0"
    disk.mkdir(parents=True)
    for name, text in {"serial": "TP0001\n", "speed": "5000\n", "version": " 3.00\n"}.items():
        write(stick, name, text)
    driver = tmp_path / "sys/bus/usb/drivers/usb-storage"
    driver.mkdir(parents=True)
    (stick / "2-1:1.0/driver").symlink_to(driver)
    write(tmp_path, f"{device}/usb1/speed", "480\n")
    write(tmp_path, f"{device}/usb2/speed", "5000\n")
    write(tmp_path, f"{device}/irq", "24\n")
    write(tmp_path, "proc/interrupts", TABLE)
    (tmp_path / "sys/block/sda").mkdir(parents=True)
    (tmp_path / "sys/block/sda/device").symlink_to(disk)
    return tmp_path


def test_link_of_a_disk_is_read(root: Path) -> None:
    """Serial, driver, speed and version of the stick behind a disk."""
    result = run_on(root, f"disk=/dev/sda\n{LINK_COMMAND}")
    link = parse_usb_link(result.text)

    assert result.status == 0
    assert (link.serial, link.driver, link.speed_mbit, link.usb_version) == ("TP0001", "usb-storage", 5000, "3.00")
    assert not link.is_super_speed_at_high_speed
    assert run_on(root, f"disk=/dev/vda\n{LINK_COMMAND}").status != 0


def test_link_without_a_driver_has_none(root: Path) -> None:
    """An interface that no driver took is told, and is no failure of the script."""
    (root / f"sys/bus/pci/devices/{ADDRESS}/usb2/2-1/2-1:1.0/driver").unlink()
    result = run_on(root, f"disk=/dev/sda\n{LINK_COMMAND}")

    assert (result.status, parse_usb_link(result.text).driver) == (0, "")


def test_root_hubs_are_read(root: Path) -> None:
    """The speeds of both root hubs, slowest first; none where there is no such controller."""
    assert parse_root_hubs(run_on(root, root_hubs_command(ADDRESS)).text) == [480, 5000]
    assert parse_root_hubs(run_on(root, root_hubs_command("0000:09:00.0")).text) == []


def test_interrupts_of_msi_are_summed(root: Path) -> None:
    """All vectors of a function over all CPUs are counted, and those of others are not."""
    for number in ("24", "25"):
        write(root, f"sys/bus/pci/devices/{ADDRESS}/msi_irqs/{number}", "msix\n")

    assert count_interrupts(run_on(root, interrupts_command(ADDRESS)).text) == 123


def test_interrupts_of_a_line_are_counted(root: Path) -> None:
    """Without MSI the function's one interrupt line counts; a function that tells none gives None."""
    assert count_interrupts(run_on(root, interrupts_command(ADDRESS)).text) == 120
    assert count_interrupts(run_on(root, interrupts_command("0000:09:00.0")).text) is None
