"""Who has a node of VFIO or of a USB device open: processes, as /proc shows their descriptors."""

from __future__ import annotations

import re

import msgspec

from harness.core.capture import Capture, Status

_ITEM = "commands/holders"
_LINE = re.compile(r"^(\d{1,10}) (\S[^\t]*)(?:\t(.*))?$")
_DELETED = " (deleted)"
VFIO_DEVICE = "anon_inode:[vfio-device]"
"""What /proc calls an open VFIO device: it does not tell which (Linux 6.17 does, in fdinfo)."""


class Holder(msgspec.Struct, frozen=True):
    """One open descriptor: ``node`` is ``/dev/vfio/12``, ``/dev/vfio/devices/vfio0``, ``/dev/bus/usb/001/004`` or VFIO_DEVICE."""

    pid: int
    program: str
    node: str

    @property
    def words(self) -> str:
        """Return the process and its node in words."""
        return f"process {self.pid} ({self.program or 'its name is not shown'}) has {self.node} open"


class Holders(msgspec.Struct, frozen=True):
    """What was seen; ``complete``: the descriptors of every process of the host were seen, so that silence is a "no"."""

    found: tuple[Holder, ...] = ()
    complete: bool = False


def read_holders(capture: Capture, *, container: bool) -> Holders:
    """Read who holds a node. Who is not root sees his own processes alone, and a container those in it."""
    item = capture.get(_ITEM)
    matches = map(_LINE.match, item.text.splitlines())
    found = [Holder(int(match[1]), match[3] or "", match[2]) for match in matches if match]
    # A node of a USB device that was unplugged is nothing that can be held; one of VFIO stays while it is open.
    present = [holder for holder in found if not (holder.node.startswith("/dev/bus/") and holder.node.endswith(_DELETED))]
    cleaned = [msgspec.structs.replace(holder, node=holder.node.removesuffix(_DELETED)) for holder in present]
    return Holders(tuple(dict.fromkeys(cleaned)), complete=item.status is Status.READ and not container)
