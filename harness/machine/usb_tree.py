"""USB as a running system sees it, from sysfs: a controller's root hubs, and the link of a disk."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from harness.core.pci import PciAddress

LINK_COMMAND = """
(
cd -P "/sys/block/${disk##*/}/device/../../../.." || exit
show() { [ -r "$2" ] && read -r value <"$2" && echo "$1=$value"; }
show serial serial
show speed speed
show version version
for interface in *:*; do
    (cd -P "./$interface/driver" 2>/dev/null && echo "driver=${PWD##*/}")
done
:
)
"""
"""Prints how the USB disk ``$disk`` is connected, for ``parse_usb_link``; it fails if that is no USB disk."""

_USB3 = 3.0
_HIGH_SPEED_MBIT = 480


@dataclass(frozen=True)
class UsbLink:
    """How a USB disk is connected: the driver of its interface, and the speed that was negotiated."""

    serial: str
    driver: str
    speed_mbit: int
    usb_version: str

    @property
    def is_super_speed_at_high_speed(self) -> bool:
        """Return whether the device can more than the link: it says USB 3 and runs at 480 Mbit/s or less."""
        try:
            return float(self.usb_version) >= _USB3 and self.speed_mbit <= _HIGH_SPEED_MBIT
        except ValueError:
            return False


def parse_usb_link(text: str) -> UsbLink:
    """Read what ``LINK_COMMAND`` printed."""
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    speed = found.get("speed", "0")
    return UsbLink(
        serial=found.get("serial", ""),
        driver=found.get("driver", ""),
        speed_mbit=int(speed) if speed.isdigit() else 0,  # low speed is "1.5"
        usb_version=found.get("version", "").strip(),
    )


def root_hubs_command(address: str) -> str:
    """Return shell text that prints the speeds of a controller's root hubs, for ``parse_root_hubs``."""
    folder = shlex.quote(f"/sys/bus/pci/devices/{PciAddress.parse(address)}")
    return f'for hub in {folder}/usb*; do read -r speed <"$hub/speed" && echo "$speed"; done'


def parse_root_hubs(text: str) -> list[int]:
    """Return the speeds in Mbit/s, slowest first."""
    return sorted(int(line) for line in text.split() if line.isdigit())
