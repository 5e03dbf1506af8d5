"""Names of PCI functions and of what they are."""

from __future__ import annotations

import re
from typing import NamedTuple, Self

USB_CLASS = 0x0C03
"""Serial bus, USB, of whatever programming interface."""

XHCI_CLASS = 0x0C0330
"""Serial bus, USB, prog-if 30: xHCI. (0c03fe is a device controller, 0c0340 a USB4 host interface.)"""

_ADDRESS = re.compile(r"^(?:([0-9a-fA-F]{4,8}):)?([0-9a-fA-F]{2}):([01][0-9a-fA-F])\.([0-7])$")
_ID = re.compile(r"^([0-9a-fA-F]{4}):([0-9a-fA-F]{4})$")


class PciAddress(NamedTuple):
    """Where a PCI function sits: ``0000:05:00.0``."""

    domain: int
    bus: int
    device: int
    function: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``05:00.0`` or ``0000:05:00.0``; anything else is a ValueError."""
        match = _ADDRESS.match(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is not a PCI address like 0000:05:00.0")
        domain, bus, device, function = match.groups()
        return cls(int(domain or "0", 16), int(bus, 16), int(device, 16), int(function))

    def __str__(self) -> str:
        """Return the address as sysfs spells it."""
        return f"{self.domain:04x}:{self.bus:02x}:{self.device:02x}.{self.function}"


class PciId(NamedTuple):
    """What a PCI function is: ``1033:0194`` (vendor:device, or a subsystem's pair)."""

    vendor: int
    device: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``1033:0194``; anything else is a ValueError."""
        match = _ID.match(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is not an id like 1033:0194")
        return cls(int(match[1], 16), int(match[2], 16))

    def __str__(self) -> str:
        """Return the pair as lspci -n spells it."""
        return f"{self.vendor:04x}:{self.device:04x}"
