"""USB as a running system sees it, from sysfs: a controller's root hubs, and the link of a disk."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from harness.core.pci import PciAddress
from harness.transport.protocol import Transport, check

_LINK = """
cd -P "/sys/block/${1##*/}/device/../../../.." || exit 1
show() { [ -r "$2" ] && read -r value <"$2" && echo "$1=$value"; }
show serial serial; show speed speed; show version version
for interface in *:*; do
    if link=$(readlink "$interface/driver"); then echo "driver=${link##*/}"; fi
done
"""

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


def read_usb_link(transport: Transport, device: str) -> UsbLink:
    """Read the link of the USB disk with that device node; BenchError if it is no USB disk."""
    result = check(transport, ["sh", "-c", _LINK, "link", device])
    found = dict(line.split("=", 1) for line in result.text.splitlines() if "=" in line)
    speed = found.get("speed", "0")
    return UsbLink(
        serial=found.get("serial", ""),
        driver=found.get("driver", ""),
        speed_mbit=int(speed) if speed.isdigit() else 0,  # low speed is "1.5"
        usb_version=found.get("version", "").strip(),
    )


def read_root_hubs(transport: Transport, address: str) -> list[int]:
    """Return the speeds in Mbit/s of a controller's root hubs, slowest first."""
    folder = shlex.quote(f"/sys/bus/pci/devices/{PciAddress.parse(address)}")
    result = transport.run(f"cat {folder}/usb*/speed")
    return sorted(int(line) for line in result.text.split() if line.isdigit())
