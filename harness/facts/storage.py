"""Disks: where they hang, and what the host uses them for."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from harness.core.capture import Capture, Status
from harness.facts.mounts import Mount, parse_mountinfo, parse_pools, parse_swaps
from harness.facts.sysfs import pci_addresses_on, read_names, read_number, read_path
from harness.facts.usb import UsbDevice

_FOLDER = "sys/class/block"
_SECTOR_BYTES = 512
_USB_DEVICE = re.compile(r"^\d+-\d+(\.\d+)*$")
_FILESYSTEMS = ("ext4", "xfs", "f2fs", "erofs")
_TRANSPORTS = ("uas", "usb-storage")
_ZPOOL, _UDEV = "commands/zpool", "commands/udev-filesystems"
_SEEN_BY_UDEV = re.compile(r"^[^:\n]*/b(\d+:\d+):E:ID_FS_TYPE=(\S+)$", re.MULTILINE)
# What blkid calls a part of something larger; the host may set it to work at any time, also by itself when it comes back.
_MEMBER = re.compile(r"LVM2_member|LVM1_member|\w+_raid_member|zfs_member|bcache|drbd\w*|ceph_bluestore|mpath_member|DM_\w+|VxVM")
_UNLISTED = re.compile(r"^(?:loop|ram)\d")
# The kernel's own names of disks and partitions; others (/dev/root, /dev/disk/...) are only links.
_OWN_NAME = re.compile(r"^/dev/((?:sd|hd|vd|xvd|nvme|mmcblk|md|dm-)\w+)$")
_ZVOL = re.compile(r"^zd\d+")


class Disk(msgspec.Struct, frozen=True):
    """One whole disk. ``serial`` is the USB device's if it hangs on one; ``transport`` is ``usb-storage``, ``uas`` or None.

    ``used_for`` names what the host does with it or its partitions, also through dm and md: ``root``, mount points, ``swap``,
    ``held by md0``, ``ext4 mounted out of sight``, ``marked as LVM2_member``; empty: nothing, or ``uses_known`` is off: not
    all of its users were read.
    """

    name: str
    size_bytes: int = 0
    serial: str = ""
    vendor: str = ""
    model: str = ""
    removable: bool = False
    read_only: bool = False
    scheduler: str = ""
    path: str = ""
    usb_device: str | None = None
    pci_addresses: tuple[str, ...] = ()
    transport: str | None = None
    partitions: tuple[str, ...] = ()
    used_for: tuple[str, ...] = ()
    uses_known: bool = True


@dataclass(frozen=True)
class _Block:
    """A block device of any kind: disk, partition, dm or md."""

    name: str
    number: str  # major:minor
    path: str
    partition: bool
    holders: tuple[str, ...]
    holders_known: bool
    dm_name: str

    @property
    def parent(self) -> str:
        """Return the disk of a partition."""
        return self.path.split("/")[-2] if self.partition and self.path.count("/") > 1 else ""


def read_disks(capture: Capture, usb: Sequence[UsbDevice]) -> tuple[Disk, ...]:
    """Read every disk that is a device; dm, md, loop and zram only tell what the disks below them are used for."""
    blocks = {name: _read_block(capture, name) for name in read_names(capture, _FOLDER)}
    uses = _read_uses(capture, blocks)
    disks = [block for block in blocks.values() if block.path and not block.partition and "/virtual/" not in block.path]
    return tuple(_read_disk(capture, block, blocks, uses, usb) for block in disks)


def find_unplaced(capture: Capture) -> tuple[str, ...]:
    """Return the block devices of which it was not read where they hang, those that only mounts and swap name among them."""
    mounted = [mount.source for mount in parse_mountinfo(capture.text("proc/self/mountinfo") or "")]
    used = map(_OWN_NAME.match, (*mounted, *parse_swaps(capture.text("proc/swaps") or "")))
    named = {match[1] for match in used if match}
    names = [name for name in sorted({*read_names(capture, _FOLDER), *named}) if not _UNLISTED.match(name)]
    return tuple(f"/{_FOLDER}/{name}" for name in names if not read_path(capture, f"{_FOLDER}/{name}"))


def _was_listed(capture: Capture, folder: str) -> bool:
    """Return whether what a folder holds was read; a probe lists none that is not there."""
    status = capture.get(folder).status
    return status is Status.READ or capture.has(folder) or (status is Status.ABSENT and capture.asked(folder))


def _read_block(capture: Capture, name: str) -> _Block:
    folder = f"{_FOLDER}/{name}"
    return _Block(
        name=name,
        number=capture.text(f"{folder}/dev") or "",
        path=read_path(capture, folder) or "",
        partition=capture.text(f"{folder}/partition") is not None,
        holders=read_names(capture, f"{folder}/holders"),
        holders_known=_was_listed(capture, f"{folder}/holders"),
        dm_name=capture.text(f"{folder}/dm/name") or "",
    )


def _read_disk(
    capture: Capture, block: _Block, blocks: Mapping[str, _Block], uses: Mapping[str, Sequence[str]], usb: Sequence[UsbDevice]
) -> Disk:
    folder = f"{_FOLDER}/{block.name}"
    device = _usb_device(block.path, usb)
    parts = [other for other in blocks.values() if other.parent == block.name]
    scheduler = capture.text(f"{folder}/queue/scheduler") or ""
    return Disk(
        name=block.name,
        size_bytes=(read_number(capture, f"{folder}/size") or 0) * _SECTOR_BYTES,
        serial=device.serial if device else capture.text(f"{folder}/device/serial") or "",
        vendor=capture.text(f"{folder}/device/vendor") or "",
        model=capture.text(f"{folder}/device/model") or "",
        removable=capture.text(f"{folder}/removable") == "1",
        read_only=capture.text(f"{folder}/ro") == "1",
        scheduler=next(iter(re.findall(r"\[([^]]+)\]", scheduler)), scheduler),
        path=block.path,
        usb_device=device.name if device else None,
        pci_addresses=pci_addresses_on(block.path),
        transport=next((name for name in _TRANSPORTS if device and name in device.drivers), None),
        partitions=tuple(partition.name for partition in parts),
        used_for=tuple(dict.fromkeys(_uses_of(block, blocks, uses, set()))),
        uses_known=all(part.holders_known for part in (block, *parts)) and not _hides_pools(capture),
    )


def _usb_device(path: str, usb: Sequence[UsbDevice]) -> UsbDevice | None:
    """Return the device that a disk is behind: the last on the path, since hubs come before it."""
    parts = [part for part in path.split("/") if _USB_DEVICE.match(part)]
    return next((device for device in usb if parts and device.name == parts[-1]), None)


def _uses_of(block: _Block, blocks: Mapping[str, _Block], uses: Mapping[str, Sequence[str]], seen: set[str]) -> Iterator[str]:
    """Yield the uses of a block device, its partitions and whatever is built upon them."""
    seen.add(block.name)
    yield from uses.get(block.name, ())
    for partition in blocks.values():
        if partition.parent == block.name and partition.name not in seen:
            yield from _uses_of(partition, blocks, uses, seen)
    for name in block.holders:
        if name in seen:  # an array of several of this disk's partitions
            continue
        holder = blocks.get(name)
        through = list(_uses_of(holder, blocks, uses, seen)) if holder else []
        label = f"{name} ({holder.dm_name})" if holder and holder.dm_name else name
        yield from through or [f"held by {label}"]


def _read_uses(capture: Capture, blocks: Mapping[str, _Block]) -> dict[str, list[str]]:
    """Return what each block device is used for directly."""
    mounts = parse_mountinfo(capture.text("proc/self/mountinfo") or "")
    uses: dict[str, list[str]] = defaultdict(list)
    for mount in mounts:
        for name in _blocks_below(mount, mounts, blocks):
            uses[name].append(mount.use)
    swaps = (_by_source(source, blocks) for source in parse_swaps(capture.text("proc/swaps") or ""))
    for name in filter(None, swaps):
        uses[name].append("swap")
    for use, sources in _pool_uses(capture, mounts):
        for name in filter(None, (_by_source(source, blocks) for source in sources)):
            uses[name].append(use)
    for loop, file in _backing_files(capture):
        if below := _by_source(file, blocks):
            uses[below].append(f"held by {loop}")
    for filesystem, members in _mounted_filesystems(capture):
        seen = [use for name in members for use in uses[name]] or [f"{filesystem} mounted out of sight"]
        for name in members:
            uses[name] = uses[name] or list(seen)
    return _with_members(capture, blocks, uses)


def _with_members(capture: Capture, blocks: Mapping[str, _Block], uses: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the uses with those that udev alone shows: parts of something larger, upon which nothing is built now."""
    for number, kind in _SEEN_BY_UDEV.findall(capture.text(_UDEV) or ""):
        name = _by_number(number, blocks)
        if name and _MEMBER.fullmatch(kind) and not blocks[name].holders:
            uses[name] = uses[name] or [f"marked as {kind}"]
    return uses


def _pool_uses(capture: Capture, mounts: Sequence[Mount]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield what each ZFS pool is used for, and its disks."""
    for pool, disks in parse_pools(capture.text(_ZPOOL) or "").items():
        own = [mount for mount in mounts if mount.filesystem == "zfs" and mount.source.partition("/")[0] == pool]
        yield from ((mount.use, disks) for mount in own)
        if not own:
            yield f"held by the ZFS pool {pool}", disks


def _hides_pools(capture: Capture) -> bool:
    """Return whether ZFS is at work, and nobody read which disks it has."""
    mounts = parse_mountinfo(capture.text("proc/self/mountinfo") or "")
    at_work = any(mount.filesystem == "zfs" for mount in mounts) or any(map(_ZVOL.match, read_names(capture, _FOLDER)))
    return at_work and not parse_pools(capture.text(_ZPOOL) or "")


def _backing_files(capture: Capture) -> Iterator[tuple[str, str]]:
    """Yield each loop device in use, and its file or disk."""
    for name in capture.children(_FOLDER):
        if file := capture.text(f"{_FOLDER}/{name}/loop/backing_file"):
            yield name, file


def _blocks_below(mount: Mount, mounts: Sequence[Mount], blocks: Mapping[str, _Block]) -> Iterator[str]:
    """Yield the block devices of a mount: its own, or those of an overlay's layers."""
    found = _by_number(mount.device, blocks)
    # bcachefs names all of its disks.
    yield from filter(None, [found] if found else (_by_source(source, blocks) for source in mount.source.split(":")))
    for layer in mount.layers:
        holding = [other for other in mounts if other is not mount and _contains(other.point, layer)]
        # A folder can be mounted on several times: the last of the longest is the one that shows.
        below = max(reversed(holding), key=lambda other: len(other.point), default=None)
        if below is not None and (name := _by_number(below.device, blocks) or _by_source(below.source, blocks)):
            yield name


def _by_number(number: str, blocks: Mapping[str, _Block]) -> str | None:
    return next((block.name for block in blocks.values() if block.number == number), None)


def _by_source(source: str, blocks: Mapping[str, _Block]) -> str | None:
    """Return the block device of ``/dev/sda1`` or ``/dev/mapper/name``: btrfs shows a device number of its own."""
    if not source.startswith("/dev/"):
        return None
    name = source.rsplit("/", 1)[-1]
    if name in blocks:
        return name
    return next((block.name for block in blocks.values() if block.dm_name == name), None)


def _contains(point: str, path: str) -> bool:
    return point in {"/", path} or path.startswith(point + "/")


def _mounted_filesystems(capture: Capture) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each file system in the kernel and its block devices: also mounts that no process can reach any more."""
    for filesystem in _FILESYSTEMS:
        yield from ((filesystem, (name,)) for name in read_names(capture, f"sys/fs/{filesystem}"))
    for pool in capture.children("sys/fs/btrfs"):
        yield "btrfs", read_names(capture, f"sys/fs/btrfs/{pool}/devices")
