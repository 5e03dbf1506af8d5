"""The texts of lsusb: lists and trees in the forms of all versions, and what is left of them after mail and scissors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.capture import Capture, Item, Status
from harness.facts.lsusb import ListedDevice, join_texts, parse_lsusb, parse_lsusb_tree
from harness.facts.usb import read_usb
from harness.facts.usb_bus import UsbBus, UsbInterface, UsbNode, find_class_code, find_class_name, parse_speed, storage_on
from harness.facts.usb_tree import find_usb_disagreements, read_usb_tree

LIST = """\
Bus 002 Device 003: ID 46f4:0001 Example Stick
Bus 002 Device 001: ID 1d6b:0003 Linux Foundation 3.0 root hub
Bus 001 Device 004: ID 0627:0001
Bus 001 Device 001: ID 1d6b:0002 Linux Foundation 2.0 root hub
"""

OLD = """\
/:  Bus 02.Port 1: Dev 1, Class=root_hub, Driver=xhci_hcd/4p, 10000M
    |__ Port 2: Dev 2, If 0, Class=Hub, Driver=hub/4p, 5000M
        |__ Port 3: Dev 3, If 0, Class=Mass Storage, Driver=uas, 5000M
    |__ Port 4: Dev 5, If 0, Class=Vendor Specific Class, Driver=, 5000M
/:  Bus 01.Port 1: Dev 1, Class=root_hub, Driver=xhci_hcd/4p, 480M
    |__ Port 1: Dev 4, If 1, Class=Human Interface Device, Driver=usbhid, 1.5M
    |__ Port 1: Dev 4, If 0, Class=Human Interface Device, Driver=usbhid, 1.5M
"""

NEW = """\
/:  Bus 001.Port 001: Dev 001, Class=root_hub, Driver=xhci_hcd/4p, 480M
    |__ Port 001: Dev 004, If 0, Class=Human Interface Device, Driver=usbhid, 1.5M
    |__ Port 001: Dev 004, If 1, Class=Human Interface Device, Driver=usbhid, 1.5M
/:  Bus 002.Port 001: Dev 001, Class=root_hub, Driver=xhci_hcd/4p, 10000M
    |__ Port 002: Dev 002, If 0, Class=Hub, Driver=hub/4p, 5000M
        |__ Port 003: Dev 003, If 0, Class=Mass Storage, Driver=uas, 5000M
    |__ Port 004: Dev 005, If 0, Class=Vendor Specific Class, Driver=[none], 5000M
"""

VERBOSE = """\
/:  Bus 002.Port 001: Dev 001, Class=root_hub, Driver=xhci_hcd/2p, 20000M/x2
    ID 1d6b:0003 Linux Foundation 3.0 root hub
    /sys/bus/usb/devices/usb2  /dev/bus/usb/002/001
    |__ Port 001: Dev 004, If 0, Class=Mass Storage, Driver=usb-storage, 10000M/x2
        ID 46f4:0001 QEMU QEMU USB HARDDRIVE
        /sys/bus/usb/devices/2-1  /dev/bus/usb/002/004
    |__ Port 002: Dev 009, 12M
        ID 0483:0001 Example
        /sys/bus/usb/devices/2-2  /dev/bus/usb/002/009
"""

KEYBOARD = UsbNode(
    4, "1", 1, interfaces=tuple(UsbInterface(number, "Human Interface Device", "usbhid", code="03") for number in (0, 1))
)
TREE = (
    UsbBus(1, "xhci_hcd", 4, 480, devices=(KEYBOARD,)),
    UsbBus(
        2,
        "xhci_hcd",
        4,
        10000,
        devices=(
            UsbNode(2, "2", 5000, interfaces=(UsbInterface(0, "Hub", "hub", code="09"),), ports=4),
            UsbNode(3, "2.3", 5000, interfaces=(UsbInterface(0, "Mass Storage", "uas", storage=True, code="08"),)),
            UsbNode(5, "4", 5000, interfaces=(UsbInterface(0, "Vendor Specific Class", code="ff"),)),
        ),
    ),
)


def ports(text: str) -> dict[int, list[tuple[int, str]]]:
    """Return the device number and port of each device, by bus."""
    return {bus.number: [(node.device_number, node.port) for node in bus.devices] for bus in parse_lsusb_tree(text)}


@pytest.mark.parametrize("text", [OLD, NEW], ids=["up-to-014", "from-015"])
def test_lsusb_trees_of_both_forms_are_the_same(text: str) -> None:
    """Short and long numbers, falling and rising buses, an empty driver and [none] say the same."""
    assert parse_lsusb_tree(text) == TREE


def test_lsusb_tree_with_ids_lanes_and_places() -> None:
    """-v gives ids and names, two lanes are read, and a device without interface is one too."""
    (bus,) = parse_lsusb_tree(VERBOSE)
    stick, strange = bus.devices

    assert (bus.number, bus.speed_mbit, bus.lanes, bus.ports) == (2, 20000, 2, 2)
    assert (stick.id, stick.name, stick.speed_mbit, stick.lanes) == ("46f4:0001", "QEMU QEMU USB HARDDRIVE", 10000, 2)
    assert (strange.device_number, strange.port, strange.speed_mbit, strange.id, strange.interfaces) == (
        9,
        "2",
        12,
        "0483:0001",
        (),
    )
    assert storage_on(bus) == (stick,)


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        ("Mass Storage", "08", "Mass Storage"),
        ("stor.", "08", "Mass Storage"),
        ("HID", "03", "Human Interface Device"),
        (">ifc", "00", "(Defined at Interface level)"),
        ("(Defined at Interface level)", "00", "(Defined at Interface level)"),
        ("'bInterfaceClass 0x0e not yet handled'", "0e", "Video"),
        ("Something New", "", ""),
    ],
)
def test_lsusb_classes_of_all_versions(words: str, code: str, kind: str) -> None:
    """A class has the same code in the words of every version, and no code in words that none has."""
    assert (find_class_code(words), find_class_name(find_class_code(words))) == (code, kind)


def test_lsusb_storage_driver_is_storage_without_a_class() -> None:
    """What usb-storage drives is storage, though lsusb found no words for its class; what has no driver may be by its class."""
    line = "    |__ Port 1: Dev {}, If 0, Class={}, Driver={}, 480M\n"
    text = OLD.splitlines()[0] + "\n" + line.format(2, "", "usb-storage") + line.format(3, "stor.", "") + line.format(4, "", "")

    assert [node.is_storage for node in parse_lsusb_tree(text)[0].devices] == [True, True, False]


@pytest.mark.parametrize(
    ("text", "mbit"), [("1.5", 1), ("12", 12), ("480", 480), ("20000", 20000), ("unknown", 0), ("", 0), (None, 0)]
)
def test_lsusb_speeds(text: str | None, mbit: int) -> None:
    """Low speed counts as 1, and a speed that is not told as 0."""
    assert parse_speed(text) == mbit


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="crlf"),
        pytest.param(lambda text: text.replace("  ", "\xa0 "), id="other-spaces"),
        pytest.param(lambda text: "".join(f"> {line}\n" for line in text.splitlines()), id="quoted"),
        pytest.param(lambda text: text.replace("\n ", "\n  "), id="space-stuffed"),
        pytest.param(lambda text: text.replace(", Driver", ",\nDriver"), id="folded"),
        pytest.param(lambda text: text.replace("uas, 5000M", "uas,\n5000M"), id="folded-before-the-speed"),
        pytest.param(lambda text: text.replace("If 0, Class=", "If\n 0, Class="), id="folded-early"),
        pytest.param(lambda text: text.replace("uas, ", "uas,").replace("\n", "   \n"), id="blanks"),
        pytest.param(lambda text: text.replace("/:  ", ""), id="marks-lost"),
        pytest.param(lambda text: f"host:~$ lsusb -t\n{text}host:~$ \n", id="prompts"),
        pytest.param(lambda text: text.replace(" " * 8, "\t"), id="tabs"),
    ],
)
def test_lsusb_tree_survives_mail(change: object) -> None:
    """Line ends, spaces, quote marks, folds, prompts and tabs do not change what a tree says."""
    assert callable(change)
    assert parse_lsusb_tree(change(OLD)) == TREE


def test_lsusb_tree_without_indents_claims_no_more_than_it_knows() -> None:
    """Without indents, what follows a hub may be on it or beside it: its port is not known, all else is."""
    flat = "\n".join(line.strip() for line in OLD.splitlines())

    assert ports(flat) == {1: [(4, "1")], 2: [(2, "2"), (3, ""), (5, "")]}
    assert ports(flat.replace("\n", " ")) == ports(flat)


def test_lsusb_tree_without_its_hubs_claims_no_ports_below_them() -> None:
    """A line whose hub's line is missing (grep) has no known port."""
    assert ports("".join(line for line in OLD.splitlines(keepends=True) if "hub/" not in line)) == {
        1: [(4, "1")],
        2: [(3, ""), (5, "4")],
    }


def test_lsusb_tree_that_begins_below_a_root_hub() -> None:
    """Devices above the first root hub are kept on a bus of number 0; -t -vv still tells their bus."""
    headless = "".join(OLD.splitlines(keepends=True)[1:])

    assert ports(headless) == {0: [(2, "2"), (3, "2.3"), (5, "4")], 1: [(4, "1")]}
    assert ports("".join(VERBOSE.splitlines(keepends=True)[3:])) == {2: [(4, "1"), (9, "2")]}


def test_lsusb_of_several_trees_the_fullest_bus_counts() -> None:
    """A bus shown twice is taken where it shows most, of equals the later."""
    bare = "\n".join(line for line in OLD.splitlines() if "root_hub" in line)
    faster = OLD.replace("10000M", "20000M/x2")

    assert parse_lsusb_tree(f"$ lsusb -t\n{bare}\n$ lsusb -t\n{OLD}") == TREE
    assert parse_lsusb_tree(f"{OLD}\n{bare}") == TREE
    assert parse_lsusb_tree(OLD + faster)[1].speed_mbit == 20000
    assert ports(OLD + "$ lsusb -t | tail -1\n    |__ Port 9: Dev 9, 12M\n")[1] == [(4, "1")]


def test_lsusb_line_cut_in_the_middle_does_not_count() -> None:
    """Half a line gives no half driver: the device is left out."""
    assert ports(OLD[: OLD.index("Driver=uas") + 9]) == {2: [(2, "2")]}


def test_lsusb_line_without_an_end_is_not_ended_by_another() -> None:
    """A line that was cut is no more whole for what follows it: the device stays out, and its id goes to none."""
    first, *rest = VERBOSE.splitlines(keepends=True)
    cut = (
        first
        + "    |__ Port 1: Dev 3, If 0, Class=Mass Storage, Driver=usb-\n        ID 46f4:0002 Example, 480M\n"
        + "".join(rest[2:])
    )

    assert ports(cut) == {2: [(4, "1"), (9, "2")]}
    assert ports(OLD.replace("Driver=uas", "Driver=usb-\nstorage")) == ports(OLD)


def test_lsusb_list_is_read() -> None:
    """Bus, device, id and name of each line are read, repeated ones too, and what -v prints between is passed over."""
    lines = parse_lsusb(LIST + "\nDevice Descriptor:\n  bcdUSB  3.00\n  idVendor 0x46f4\n" + LIST)

    assert lines[:4] == lines[4:]
    assert lines[0] == ListedDevice(2, 3, "46f4:0001", "Example Stick")
    assert [line.is_root_hub for line in lines[:4]] == [False, True, False, True]
    assert lines[2].name == ""


def test_lsusb_list_of_the_oldest_tree() -> None:
    """Before usbutils 0.80, -t printed ids below their bus."""
    text = (
        "Bus#  2\n`-Dev#   1 Vendor 0x0000 Product 0x0000\n  |-Dev#   2 Vendor 0x046D Product 0xc501\n  `-Dev#   3 Vendor 0x46f4"
    )

    assert parse_lsusb(text) == (ListedDevice(2, 1, "0000:0000"), ListedDevice(2, 2, "046d:c501"))


def test_lsusb_list_and_tree_are_joined() -> None:
    """The list gives the tree its ids; what only the list shows has no port; USB 3's root hub tells no speed."""
    tree = join_texts(TREE[:1], parse_lsusb(LIST))

    assert [(node.id, node.port) for node in tree[0].devices] == [("0627:0001", "1")]
    assert tree[1] == UsbBus(2, devices=(UsbNode(3, "", 0, "46f4:0001", "Example Stick"),))
    assert [bus.speed_mbit for bus in join_texts((), parse_lsusb(LIST))] == [480, 0]


def test_lsusb_list_of_other_ids_is_not_believed() -> None:
    """A device number that was given anew between the two commands does not change the tree's id."""
    (bus,) = parse_lsusb_tree(VERBOSE)

    assert join_texts((bus,), [ListedDevice(2, 4, "ffff:0001", "Other")]) == (bus,)


SOUND = (LIST + OLD + VERBOSE + NEW).encode()


@given(st.integers(0, len(SOUND)), st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), max_size=12))
def test_lsusb_broken_texts_are_survived(cut: int, flips: list[tuple[int, int]]) -> None:
    """Texts that are cut off or hold wrong bytes are read without complaint, and speak of no impossible device."""
    broken = bytearray(SOUND)
    for place, value in flips:
        broken[place] = value
    item = Item(Status.READ, bytes(broken[:cut]))

    capture = Capture({"commands/lsusb": item, "commands/lsusb-tree": item})

    assert find_usb_disagreements(capture) == ()
    assert all(bus.number < 1000 and bus.pci_address == "" for bus in read_usb_tree(capture))
    assert all(device.name and device.device_number < 1000 for device in read_usb(capture))


@given(st.text(alphabet="/: Bus0123456789.PortDev,|_IfClass=Driver=hub/p480M\n", max_size=300))
def test_lsusb_texts_of_its_letters_are_survived(text: str) -> None:
    """Whatever is made of the letters of a tree is read without complaint."""
    assert all(bus.number < 1000 for bus in parse_lsusb_tree(text))
    assert all(line.bus < 1000 for line in parse_lsusb(text))
