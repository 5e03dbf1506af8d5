"""Where two sources of one capture say different things of one subject."""

from __future__ import annotations

import msgspec


class Disagreement(msgspec.Struct, frozen=True):
    """What sysfs and a command's text say differently of one thing: sysfs is believed.

    ``subject`` is a PCI address or ``usb 2-1``, ``what`` the attribute, ``command`` the capture's item (``commands/lspci``).
    """

    subject: str
    what: str
    sysfs: str
    said: str
    command: str
