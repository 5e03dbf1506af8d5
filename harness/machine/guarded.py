"""Writing to a scratch disk: only while it is there, alone, of its size, and with the very marker that was judged."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from harness.core.deadline import Deadline
from harness.core.errors import RefusedError
from harness.core.marker import MARKER_BYTES
from harness.core.timeline import Timeline
from harness.facts.content import NamedDisk
from harness.machine.batch import Part
from harness.machine.disks import work_on_disk
from harness.rules.scratch import judge_writing, require_allowed
from harness.transport.protocol import Transport

_GUARD = """
same=no
if [ "$sectors" = {sectors} ]; then
    seen=$(dd if="$disk" bs={size} count=1 iflag=direct status=none | sha256sum)
    [ "$seen" != "{digest}  -" ] || same=yes
fi
[ "$same" = yes ]
"""
_SECTOR_BYTES = 512


@dataclass(frozen=True)
class Permit:
    """The permission to write to one disk: it holds wherever the disk goes, as long as it is the same one. See ``permit``."""

    serial: str
    size_bytes: int
    marker_sha256: str


def permit(named: NamedDisk) -> Permit:
    """Return the permission to write to a disk as a host shows it; RefusedError with what is missing if there is none."""
    require_allowed(judge_writing(named))
    assert named.disk is not None
    assert named.content is not None
    return Permit(named.serial, named.disk.size_bytes, hashlib.sha256(named.content.head).hexdigest())


def write_on_disk(
    transport: Transport,
    permission: Permit,
    work: Mapping[str, str],
    deadline: Deadline,
    *,
    work_s: float = 0.0,
    timeline: Timeline | None = None,
) -> dict[str, Part]:
    """Do what ``work_on_disk`` does, but only on the disk of the permission: before each part its marker is read again.

    Raises RefusedError, with nothing done, if it is another disk or its marker is gone.
    """
    digest = permission.marker_sha256
    guard = _GUARD.format(sectors=permission.size_bytes // _SECTOR_BYTES, size=MARKER_BYTES, digest=digest)
    guarded = {name: f"{{ {guard}\n}} && {{ {text}\n}}" for name, text in work.items()}
    parts = work_on_disk(transport, permission.serial, {"guard": guard, **guarded}, deadline, work_s=work_s, timeline=timeline)
    if parts["guard"].status != 0:
        raise RefusedError(
            f"the disk {permission.serial} on {transport.name} is not the one that was marked: nothing was written",
            remedy="look at it with `throughpass storage show`",
            evidence=parts["guard"].error_text,
        )
    return parts
