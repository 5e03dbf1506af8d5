"""Scratch disks on a host: looked at, marked, unmarked. What may be done is decided elsewhere, purely (harness.rules.scratch)."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence

from harness.core.errors import BenchError, RefusedError
from harness.core.marker import MARKER_BYTES, Marker, encode_marker
from harness.facts.content import LOOK, Content, NamedDisk, parse_content
from harness.facts.host import BLOCKS, MOUNTS, SWAPS, HostFacts, read_facts
from harness.facts.probe import take_sections
from harness.machine.disks import FIND
from harness.transport.protocol import Transport

_LIMIT_S = 120.0
_SECTIONS = ("pci", "usb", "block", "mounts")

_LIST = """
for folder in /sys/block/sd*; do
    read -r found <"$folder/device/../../../../serial" && [ "$serial" = "$found" ] || continue
    read -r size <"$folder/size" && [ "$size" -gt 0 ] || continue
    disk=/dev/${folder##*/} sectors=$size
    echo "/dev/${folder##*/}"
done 2>/dev/null
"""

_CHANGED, _BUSY = 91, 92
_WRITE = """
find_disk && [ -z "$twins" ] || exit {changed}
look
[ "$print" = "{fingerprint}" ] || exit {changed}
wipefs --all --types throughpass "$disk" || exit {busy}
{wipe}
dd of="$disk" bs={size} count=1 iflag=fullblock oflag=direct conv=fsync,notrunc,nocreat status=none || exit
blockdev --flushbufs "$disk"
dd if="$disk" bs={size} count=1 iflag=direct status=none | sha256sum
blockdev --rereadpt "$disk" 2>/dev/null
exit 0
"""
# wipefs opens a disk for itself alone (O_EXCL) before it erases, which the kernel grants for none that is mounted anywhere,
# swapped to or part of something. Of the kind "throughpass" it finds nothing to erase. (A list that begins with "no" means all
# others.)


def read_uses(transport: Transport) -> HostFacts:
    """Return the facts that tell what a host's disks are, where they hang and what it uses them for."""
    return read_facts(take_sections(transport, *_SECTIONS))


def look_at_disk(transport: Transport, serial: str, facts: HostFacts | None = None) -> NamedDisk:
    """Return what a host shows of the disk with that serial; ``facts``, if somebody has read them just now, tell of its uses."""
    setting = f"serial={shlex.quote(serial)} disk=\n{LOOK}\n{_LIST}"
    show = '[ -z "$disk" ] || { look; printf "%s\\n" "$seen" "whole $print"; }'
    result = transport.run(f"{setting}echo\n{show}", timeout_s=_LIMIT_S)
    listed, _, text = result.text.partition("\n\n")
    nodes = tuple(line for line in listed.splitlines() if line)
    content = parse_content(text) if len(nodes) == 1 else None
    return name_disk(serial, nodes, content, facts or read_uses(transport))


def name_disk(serial: str, nodes: tuple[str, ...], content: Content | None, facts: HostFacts) -> NamedDisk:
    """Put together what the host showed of the disk with a serial."""
    names = [node.removeprefix("/dev/") for node in nodes]
    disk = next((disk for disk in facts.disks if names == [disk.name]), None)
    hidden = [name for name in facts.unread if name in {MOUNTS, SWAPS} or name.startswith(BLOCKS)]
    hidden += [f"the section {name}" for name in ("block", "mounts") if facts.section_timed_out(name)]
    hidden += [f"what is built upon {disk.name}"] if disk and not disk.uses_known else []
    return NamedDisk(serial, nodes, disk, content, tuple(hidden))


def put_marker(transport: Transport, named: NamedDisk, marker: Marker, overwrite: Sequence[str]) -> None:
    """Write a marker, after the signatures of the kinds of ``overwrite`` were erased; read it back.

    Raises RefusedError if the disk is not as it was when somebody looked, or somebody has it.
    """
    content = named.content or Content()
    kinds = ",".join(sorted({each.kind for each in content.signatures} & set(overwrite)))
    # What lies in a partition would be recognised again in the marker's own, which begins where most partitions do.
    nodes = " ".join(shlex.quote(node) for node in content.partitions)
    wipe = f'for node in {nodes} "$disk"; do wipefs --all --types throughpass,{shlex.quote(kinds)} "$node" || exit {_BUSY}; done'
    _write(transport, named, encode_marker(marker), f"{{ {wipe}\n}} >/dev/null" if kinds else "")


def remove_marker(transport: Transport, named: NamedDisk) -> None:
    """Write zeros where the marker is, and nowhere else; what is raised is that of ``put_marker``."""
    _write(transport, named, bytes(MARKER_BYTES), "")


def _write(transport: Transport, named: NamedDisk, block: bytes, wipe: str) -> None:
    content = named.content or Content()
    write = _WRITE.format(changed=_CHANGED, busy=_BUSY, fingerprint=content.fingerprint, wipe=wipe, size=MARKER_BYTES)
    script = f"serial={shlex.quote(named.serial)} disk=\n{FIND}\n{LOOK}\n{write}"
    result = transport.run(["sh", "-c", script], stdin=block, timeout_s=_LIMIT_S)
    if result.status == _CHANGED:
        raise RefusedError(f"the disk {named.serial} is not as it was a moment ago: nothing was written", remedy="start again")
    if result.status == _BUSY:
        message = f"the disk {named.serial} cannot be had for itself alone: somebody has it mounted or open"
        raise RefusedError(message, evidence=result.error_text, remedy="unmount it, or end what works with it")
    if result.status != 0 or result.text.split(" ")[0] != hashlib.sha256(block).hexdigest():
        raise BenchError(f"the first block of the disk {named.serial} could not be written", evidence=result.error_text)
