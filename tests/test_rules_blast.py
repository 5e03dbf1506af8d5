"""The blast radius: what the host loses with a controller."""

from __future__ import annotations

from msgspec.structs import replace

from harness.core.capture import Status
from harness.facts.host import HostFacts, read_facts
from harness.facts.usb_bus import UsbBus, UsbInterface, UsbNode
from harness.rules.blast import Blast, find_blast
from tests.captures import CARD, INTEL_BOARD, Files, group, make_capture, pci_function, usb_stick

BEHIND = f"/sys/devices/pci0000:00/0000:00:01.0/{CARD['intel']}"
ROOT_DISK: Files = {
    **usb_stick(CARD["intel"]),
    "proc/self/mountinfo": "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 8:1 / /srv rw - ext4 /dev/sda1 rw",
}
SESSION_NIC: Files = {
    "sys/class/net/enx0": f"{BEHIND}/usb1/1-3/1-3:1.0/net/enx0",
    "proc/net/route": "Iface Destination Gateway Flags RefCnt Use Metric Mask\n"
    "eth0 00000000 0 0003 0 0 0 00000000\nenx0 0002000A 0 0001 0 0 0 00FFFFFF\n",
}


def usb(name: str, pair: str, kind: str, driver: str = "usbhid") -> Files:
    """Return a USB device on the card with one interface of a class."""
    device = f"sys/bus/usb/devices/{name}"
    vendor, product = pair.split(":")
    return {
        device: f"{BEHIND}/usb1/{name}",
        f"{device}/idVendor": vendor,
        f"{device}/idProduct": product,
        f"{device}:1.0": f"{BEHIND}/usb1/{name}/{name}:1.0",
        f"{device}:1.0/driver": f"/sys/bus/usb/drivers/{driver}",
        f"{device}:1.0/bInterfaceClass": kind[:2],
        f"{device}:1.0/bInterfaceSubClass": kind[2:4],
        f"{device}:1.0/bInterfaceProtocol": kind[4:],
    }


def find(*layers: Files) -> Blast:
    """Return the blast radius of the card on the board with VT-d."""
    return blast_of(read_facts(make_capture(INTEL_BOARD, *layers), {}))


def blast_of(facts: HostFacts) -> Blast:
    """Return the card's."""
    card = facts.find_pci(CARD["intel"])
    assert card is not None
    return find_blast(facts, card)


def test_blast_of_an_idle_card() -> None:
    """A card with nothing on it takes nothing, and the sentence says so."""
    blast = find()

    assert (blast.losses, blast.unknown) == ((), ())
    assert blast.sentence == "giving 01:00.0 away takes: nothing else"


def test_blast_sentence_names_everything() -> None:
    """Keyboard, mouse, root disk and the session's interface are named, what the host lives by first."""
    blast = find(ROOT_DISK, SESSION_NIC, usb("1-1", "045e:0746", "030101"), usb("1-2", "046d:c077", "030102"))

    assert blast.sentence == (
        "giving 01:00.0 away takes: the disk that holds / and /srv, the NIC of this SSH connection (enx0), "
        "keyboard 045e:0746, mouse 046d:c077"
    )
    assert [(loss.kind, loss.vital) for loss in blast.losses] == [
        ("disk", True),
        ("network", True),
        ("keyboard", False),
        ("mouse", False),
    ]
    assert all(loss.evidence.source and loss.evidence.text for loss in blast.losses)


def test_blast_disks_by_their_use() -> None:
    """Swap and what is built upon a disk are named; a disk in no use is a loss that hurts nobody."""
    swap = find(usb_stick(CARD["intel"]), {"proc/swaps": "Filename Type Size Used Priority\n/dev/sda1 partition 1 0 -2\n"})
    array = find(usb_stick(CARD["intel"]), {"sys/class/block/sda1/holders": "md0"})
    (idle,) = find(usb_stick(CARD["intel"])).losses

    assert "the disk that holds swap" in swap.sentence
    assert "held by md0" in array.sentence
    assert (idle.vital, idle.what) == (False, "disk sda, which is not in use")


def test_blast_hubs_are_no_loss() -> None:
    """A hub is not listed; what hangs on it is, of whatever class."""
    blast = find(
        usb("1-1", "05e3:0608", "090000", "hub"), usb("1-1.4", "0bda:2838", "ff0000", "dvb"), usb("1-1.5", "1d50:6018", "030000")
    )

    assert [loss.what for loss in blast.losses] == ["input device 1d50:6018", "USB device 0bda:2838"]


def test_blast_serial_console() -> None:
    """An adapter that carries the kernel's console is a console; without such a console it is a device."""
    facts = read_facts(make_capture(INTEL_BOARD, usb("1-2", "067b:2303", "ff0000", "pl2303")), {})
    console = replace(facts, kernel=replace(facts.kernel, consoles=("tty0", "ttyUSB0")))

    assert [loss.kind for loss in blast_of(facts).losses] == ["usb"]
    assert [loss.what for loss in blast_of(console).losses] == ["the serial console ttyUSB0"]


def test_blast_takes_the_group_along() -> None:
    """Other members of the group go too, with what they carry; bridges stay."""
    neighbour = "0000:00:03.0"
    files = (
        group("2", "0000:00:01.0", CARD["intel"], neighbour, "0000:01:00.7"),
        pci_function("0000:00:01.0", "1b36:000c", "060400", driver="pcieport", group="2"),
        pci_function(neighbour, "1af4:1000", "020000", driver="virtio-pci", group="2"),
    )

    blast = find(*files)

    assert [(loss.kind, loss.through) for loss in blast.losses] == [
        ("network", neighbour),
        ("function", neighbour),
        ("function", "0000:01:00.7"),
    ]
    assert "the NIC of this SSH connection (eth0)" in blast.sentence
    assert "0000:01:00.7, which shares its IOMMU group" in blast.sentence


def test_blast_names_what_was_not_read() -> None:
    """Lists that did not come are named: they may hold more."""
    blast = find({"proc/self/mountinfo": Status.DENIED, "proc/swaps": Status.ABSENT, "sections/net": Status.TIMED_OUT})

    assert blast.unknown == ("what is mounted", "swap", "the routes")
    assert blast.sentence.endswith("; not known: what is mounted, swap, the routes")


def test_blast_reads_the_tree_of_lsusb() -> None:
    """Devices that only a text tells of are losses too, hubs apart; those that sysfs shows are not counted twice."""
    hid, hub = UsbInterface(0, "Human Interface Device", "usbhid"), UsbInterface(0, "Hub", "hub")
    nodes = (
        UsbNode(2, "1", 480, "8087:0020", interfaces=(hub,)),
        UsbNode(3, "1.6", 12, "045e:0746", interfaces=(hid,)),
        UsbNode(4, "2", 480, interfaces=(UsbInterface(0, "Mass Storage", "usb-storage", storage=True),)),
        UsbNode(5, "3", 480, "13fd:160f", interfaces=(UsbInterface(0, "Vendor Specific Class"),)),
    )
    facts = replace(
        read_facts(make_capture(INTEL_BOARD), {}), usb_tree=(UsbBus(2, "xhci_hcd", 8, 480, CARD["intel"], nodes), UsbBus(9))
    )

    assert [loss.what for loss in blast_of(facts).losses] == [
        "USB storage on port 2",
        "input device 045e:0746",
        "USB device 13fd:160f",
    ]


def test_blast_tells_the_kind() -> None:
    """A camera, a Bluetooth adapter and the like are called so; an interface's adapter is not named a second time."""
    blast = find(
        usb("1-1", "046d:0825", "0e0100", "uvcvideo"),
        usb("1-2", "8087:0029", "e00101", "btusb"),
        usb("1-3", "0bda:8153", "ff0000", "r8152"),
        SESSION_NIC,
    )

    assert blast.sentence == (
        "giving 01:00.0 away takes: the NIC of this SSH connection (enx0), camera 046d:0825, Bluetooth adapter 8087:0029"
    )


def test_blast_serial_console_of_another_adapter() -> None:
    """Of two adapters the one holds the console on which it hangs; without /proc/consoles the command line names it."""
    adapters = usb("1-1", "067b:2303", "ff0000", "pl2303") | usb("1-2", "0403:6001", "ff0000", "ftdi_sio")
    place: Files = {"sys/class/tty/ttyUSB1": f"{BEHIND}/usb1/1-2/1-2:1.0/ttyUSB1/tty/ttyUSB1"}

    told = find(adapters, place, {"proc/consoles": "ttyUSB1 -W- (EC p ) 188:1\n"})
    asked = find(adapters, place, {"proc/cmdline": "intel_iommu=on console=tty0 console=ttyUSB1,115200n8"})

    assert [[(loss.kind, loss.evidence.text) for loss in blast.losses] for blast in (told, asked)] == [
        [("console", "0403:6001  ftdi_sio"), ("usb", "067b:2303  pl2303")]
    ] * 2
