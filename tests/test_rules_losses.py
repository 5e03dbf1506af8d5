"""What the host would lose: disks in whatever use, the way to the host by whatever interface."""

from __future__ import annotations

import pytest

from harness.core.finding import Finding, Severity
from harness.facts.host import read_facts
from harness.rules.registry import judge
from harness.rules.rule import find_target
from tests.captures import CARD, INTEL_BOARD, Files, make_capture, usb_stick

BEHIND = f"/sys/devices/pci0000:00/0000:00:01.0/{CARD['intel']}"
STICK = usb_stick(CARD["intel"])
ROUTES = "Iface Destination Gateway Flags RefCnt Use Metric Mask\n"
NIC: Files = {"sys/class/net/enx0": f"{BEHIND}/usb1/1-3/1-3:1.0/net/enx0"}
ZPOOL = "  pool: tank\n state: ONLINE\nconfig:\n\n\tNAME  STATE\n\ttank  ONLINE\n\t  /dev/sda1  ONLINE  0 0 0\n"
ZFS: Files = {"proc/self/mountinfo": "22 1 0:30 / / rw - zfs tank/ROOT/debian rw\n"}


def find(rule: str, *layers: Files) -> Finding:
    """Judge the board with VT-d and these files by one rule."""
    facts = read_facts(make_capture(INTEL_BOARD, *layers), {})
    return judge(rule, facts, find_target(facts, id="1033:0194"))


@pytest.mark.parametrize(
    ("files", "use"),
    [
        (ZFS | {"commands/zpool": ZPOOL}, "(root)"),
        ({"commands/zpool": ZPOOL}, "(held by the ZFS pool tank)"),
        ({"sys/class/block/loop7/loop/backing_file": "/dev/sda1"}, "(held by loop7)"),
        ({"proc/self/mountinfo": "22 1 0:40 / /srv rw - bcachefs /dev/vda1:/dev/sda1 rw\n"}, "(/srv)"),
        (
            {
                "proc/self/mountinfo": "22 1 0:31 / / rw - btrfs /dev/vda1 rw\n",
                "sys/fs/btrfs/1b2c/devices": "vda1 sda1",
            },
            "(root)",
        ),
    ],
    ids=["zfs-root", "zfs-pool", "loop", "bcachefs", "btrfs"],
)
def test_disks_by_roundabout_uses(files: Files, use: str) -> None:
    """A disk that a pool, a loop device or a file system of several disks uses is used, and it is said for what."""
    finding = find("STO001", STICK, files)

    assert finding.severity is Severity.REFUSAL
    assert use in finding.message


def test_disks_where_zfs_does_not_tell_its_own() -> None:
    """Where ZFS is at work and nobody asked it for its disks, one that seems idle may be its; where there is none, nothing is."""
    assert find("STO001", STICK, ZFS).severity is Severity.UNKNOWN
    assert find("STO001", ZFS).severity is Severity.PASS


def test_disks_that_no_folder_shows() -> None:
    """A stick whose disk was not read, and a mounted disk that is nowhere, leave the use of the controller's disks unknown."""
    stick: Files = {name: text for name, text in STICK.items() if "block" not in name}

    assert "the disk of USB device 2-1" in find("STO001", stick).message
    assert "/sys/class/block/sdq1" in find("STO001", {"proc/swaps": "Filename\n/dev/sdq1 partition 1 0 -2\n"}).message


def test_network_through_a_switch() -> None:
    """Open vSwitch's bridge stands on what hangs on the switch; the board's own interface does not."""
    below: Files = {
        **NIC,
        "sys/class/net/br0": "/sys/devices/virtual/net/br0",
        "sys/class/net/ovs-system": "/sys/devices/virtual/net/ovs-system",
        "sys/class/net/ovs-system/lower_enx0": "/sys/class/net/enx0",
    }
    bridge: Files = {"proc/net/route": f"{ROUTES}br0 00000000 0 0003 0 0 0 00000000\n"}

    assert "carries this session" in find("NET001", below, bridge).message
    assert find("NET001", below).severity is Severity.INFORMATION


def test_network_through_a_tunnel() -> None:
    """A session through a tunnel may go through an interface on the controller: where there is one, that is not known."""
    tunnel: Files = {
        "sys/class/net/wg0": "/sys/devices/virtual/net/wg0",
        "proc/net/route": f"{ROUTES}eth0 00000000 0 0003 0 0 0 00000000\nwg0 0002000A 0 0001 0 0 0 00FFFFFF\n",
    }

    assert "what is below wg0" in find("NET001", tunnel, NIC).message
    assert find("NET001", tunnel).severity is Severity.PASS
