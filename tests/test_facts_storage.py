"""Disks: where they hang, and what the host uses them for, however far the use is from the disk."""

from __future__ import annotations

import pytest

from harness.facts.mounts import parse_layers, parse_mountinfo, parse_swaps
from harness.facts.storage import Disk, read_disks
from harness.facts.usb import read_usb
from tests.captures import BASE, CARD, Files, make_capture, usb_stick, without

STICK = usb_stick(CARD["intel"])
ELSEWHERE = "22 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw\n"


def read_stick(*layers: Files) -> Disk:
    """Read the disk of the stick on the card."""
    capture = make_capture(BASE, STICK, *layers)
    return next(disk for disk in read_disks(capture, read_usb(capture)) if disk.name == "sda")


def mounts(*lines: str) -> Files:
    """Return a mountinfo of a host whose root is elsewhere, and these lines."""
    return {"proc/self/mountinfo": ELSEWHERE + "\n".join(lines)}


def holder(name: str, number: str, *below: str, dm_name: str = "") -> Files:
    """Return the sysfs files of a dm or md device upon other block devices."""
    files: Files = {
        f"sys/class/block/{name}": f"/sys/devices/virtual/block/{name}",
        f"sys/class/block/{name}/dev": number,
        **{f"sys/class/block/{lower}/holders": name for lower in below},
    }
    return files | ({f"sys/class/block/{name}/dm/name": dm_name} if dm_name else {})


def test_storage_stick_is_read() -> None:
    """Size, serial number, driver, USB device and every PCI function above the disk are read; nobody uses it."""
    disk = read_stick()

    assert (disk.size_bytes, disk.serial, disk.transport, disk.usb_device) == (268435456, "TP0001", "usb-storage", "2-1")
    assert disk.pci_addresses == ("0000:00:01.0", CARD["intel"])
    assert disk.partitions == ("sda1",)
    assert disk.used_for == ()


def test_storage_uas_is_told() -> None:
    """A stick that is driven by uas says so."""
    capture = make_capture(BASE, usb_stick(CARD["intel"], driver="uas"))

    assert [disk.transport for disk in read_disks(capture, read_usb(capture)) if disk.usb_device] == ["uas"]


def test_storage_disk_without_usb() -> None:
    """A disk that is no USB disk has neither USB device nor transport driver."""
    capture = make_capture(BASE)

    (disk,) = read_disks(capture, read_usb(capture))

    assert (disk.name, disk.usb_device, disk.transport, disk.used_for) == ("vda", None, None, ("root",))
    assert disk.pci_addresses == ("0000:00:04.0",)


def udev(number: str, kind: str) -> Files:
    """Return what udev keeps of a block device."""
    return {
        "commands/udev-filesystems": f"run/udev/data/b{number}:E:ID_FS_TYPE={kind}\nrun/udev/data/b7:0:E:ID_FS_TYPE=squashfs\n"
    }


LVM = holder("dm-0", "253:0", "sda1", dm_name="vg-home")
RAID = holder("md0", "9:0", "sda", "sda1")


@pytest.mark.parametrize(
    ("layers", "uses"),
    [
        pytest.param([{"proc/self/mountinfo": "22 1 8:1 / / rw - ext4 /dev/root rw"}], ("root",), id="root"),
        pytest.param([mounts("30 22 8:0 / /mnt/my\\040stick ro - vfat /dev/sda ro")], ("/mnt/my stick",), id="whole-disk"),
        pytest.param([mounts("30 22 0:44 /@ /data rw - btrfs /dev/sda1 rw")], ("/data",), id="btrfs-has-its-own-number"),
        pytest.param([{"proc/swaps": "Filename\n/dev/sda1 partition 1 0 -2\n"}], ("swap",), id="swap"),
        pytest.param([LVM, mounts("30 22 253:0 / /home rw - ext4 /dev/mapper/vg-home rw")], ("/home",), id="lvm"),
        pytest.param([LVM, {"proc/swaps": "Filename\n/dev/mapper/vg-home partition 1 0 -2\n"}], ("swap",), id="lvm-swap"),
        pytest.param([LVM], ("held by dm-0 (vg-home)",), id="lvm-unmounted"),
        pytest.param([RAID], ("held by md0",), id="raid-idle"),
        pytest.param([holder("dm-3", "253:3", "sda1", dm_name="luks-1")], ("held by dm-3 (luks-1)",), id="crypt"),
        pytest.param([holder("bcache0", "252:0", "sda")], ("held by bcache0",), id="bcache"),
        pytest.param([udev("8:1", "LVM2_member")], ("marked as LVM2_member",), id="lvm-not-activated"),
        pytest.param([udev("8:0", "linux_raid_member")], ("marked as linux_raid_member",), id="raid-not-assembled"),
        pytest.param([udev("8:1", "zfs_member")], ("marked as zfs_member",), id="zfs-not-imported"),
        pytest.param([udev("8:1", "bcache")], ("marked as bcache",), id="bcache-not-registered"),
        pytest.param([LVM, udev("8:1", "LVM2_member")], ("held by dm-0 (vg-home)",), id="lvm-told-once"),
        pytest.param([udev("8:1", "vfat"), udev("254:1", "LVM2_member")], (), id="member-elsewhere"),
        pytest.param([{"sys/fs/ext4": "features sda1"}], ("ext4 mounted out of sight",), id="out-of-sight"),
        pytest.param([{"sys/fs/btrfs/0-1-2/devices": "sda1"}], ("btrfs mounted out of sight",), id="second-disk-of-btrfs"),
        pytest.param([{"sys/fs/ext4": "features vda1"}], (), id="another-disk"),
        pytest.param([{"proc/self/mountinfo": "22 1 8:11 / / rw - ext4 /dev/sdb1 rw"}], (), id="number-that-begins-alike"),
    ],
)
def test_storage_uses(layers: list[Files], uses: tuple[str, ...]) -> None:
    """Mounts, swap, holders and file systems that nobody can reach are uses of the disk below them."""
    assert read_stick(*layers).used_for == uses


OVERLAY = "25 1 0:25 / / rw - overlay overlay rw,lowerdir={lower},upperdir=/run/rw/up,workdir=/run/rw/work"


def test_storage_overlay_with_a_visible_layer() -> None:
    """A read-only file system that is the lower layer of the root is the host's root, and its mount point is named too."""
    lines = (
        OVERLAY.format(lower="/run/lower/tree"),
        "31 25 8:0 / /run/lower ro - ext4 /dev/sda ro",
        "32 25 0:30 / /run/rw rw - tmpfs t rw",
    )

    disk = read_stick({"proc/self/mountinfo": "\n".join(lines)})

    assert disk.used_for == ("root", "/run/lower")


def test_storage_overlay_with_a_hidden_layer() -> None:
    """A lower layer that was left behind in the initramfs is still in use: the kernel lists its file system."""
    files: Files = {"proc/self/mountinfo": OVERLAY.format(lower="/lower"), "sys/fs/ext4": "features sda"}

    assert read_stick(files).used_for == ("ext4 mounted out of sight",)


def test_storage_overlay_takes_the_mount_that_shows() -> None:
    """Of several mounts on one folder the last one holds the overlay's layer."""
    lines = (
        "22 1 254:1 / / rw - ext4 /dev/vda1 rw",
        "30 22 8:1 / /layers ro - ext4 /dev/sda1 ro",
        "31 22 254:1 /x /layers ro - ext4 /dev/vda1 ro",
        "40 22 0:40 / /merged rw - overlay overlay rw,lowerdir=/layers/a:/layers/b",
    )

    assert read_stick({"proc/self/mountinfo": "\n".join(lines)}).used_for == ("/layers",)


def test_storage_without_its_usb_device() -> None:
    """A disk whose USB device was not read still shows the controller it hangs on."""
    capture = make_capture(without(STICK, "sys/bus/usb"))

    (disk,) = read_disks(capture, ())

    assert (disk.usb_device, disk.pci_addresses[-1]) == (None, CARD["intel"])


def test_mounts_lines_that_are_not_whole_are_left_out() -> None:
    """Optional fields are skipped, a line that was cut off is left out."""
    text = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n37 35 98:1 / /x rw - "

    (mount,) = parse_mountinfo(text)

    assert (mount.device, mount.point, mount.filesystem, mount.source) == ("98:0", "/mnt2", "ext3", "/dev/root")


@pytest.mark.parametrize(
    ("options", "layers"),
    [
        ("rw,lowerdir=/a:/b,upperdir=/u,workdir=/w", ("/a", "/b", "/u", "/w")),
        ("rw,lowerdir=/a\\:b::/data", ("/a:b", "/data")),
        ("rw,lowerdir+=/a,lowerdir+=/b,datadir+=/d", ("/a", "/b", "/d")),
        ("rw,redirect_dir=on", ()),
    ],
)
def test_mounts_layers_of_an_overlay(options: str, layers: tuple[str, ...]) -> None:
    """Lower layers are separated by colons or given one by one, upper and work folders count too."""
    assert parse_layers(options) == layers


def test_mounts_swaps() -> None:
    """Swap files and partitions are listed, the head is not."""
    assert parse_swaps("Filename\tType\n/dev/dm-1 partition 1 0 -2\n/swap\\040file file 1 0 -3\n") == ("/dev/dm-1", "/swap file")
