"""USB buses and devices: from sysfs, from lsusb's texts where sysfs is silent, and where the two do not agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.capture import Capture, Item, Status
from harness.core.pci import PciAddress
from harness.facts.disagreement import Disagreement
from harness.facts.host import read_facts
from harness.facts.sysfs import parse_number
from harness.facts.usb import read_usb
from harness.facts.usb_bus import UsbInterface, UsbNode, storage_on, tree_of
from harness.facts.usb_tree import find_usb_disagreements, read_usb_tree
from tests.captures import CARD, INTEL_BOARD, Files, make_capture, usb_stick, without

FOLDER = "sys/bus/usb/devices"
ADDRESS = CARD["intel"]
ABOVE = f"/sys/devices/pci0000:00/0000:00:01.0/{ADDRESS}"


def root_hub(number: int, speed: str, above: str = ABOVE, **attributes: str) -> Files:
    """Return the sysfs files of a root hub with four ports."""
    folder = f"{FOLDER}/usb{number}"
    values = {"speed": speed, "maxchild": "4", "busnum": str(number), "devnum": "1", **attributes}
    return {folder: f"{above}/usb{number}", **{f"{folder}/{name}": value for name, value in values.items()}}


def device(name: str, pair: str, speed: str, devnum: int, *interfaces: tuple[str, str]) -> Files:
    """Return the sysfs files of a device on the card; each interface is a class of six digits and a driver, empty for none."""
    folder = f"{FOLDER}/{name}"
    path = f"{ABOVE}/usb{name[0]}/{name}"
    vendor, product = pair.split(":")
    files: Files = {folder: path, f"{folder}/idVendor": vendor, f"{folder}/idProduct": product}
    files |= {f"{folder}/speed": speed, f"{folder}/devnum": str(devnum), f"{folder}/product": "Example"}
    for number, (code, driver) in enumerate(interfaces):
        interface = f"{folder}:1.{number}"
        files |= {interface: f"{path}/{name}:1.{number}", f"{interface}/bInterfaceClass": code[:2]}
        files |= {f"{interface}/bInterfaceSubClass": code[2:4], f"{interface}/bInterfaceProtocol": code[4:]}
        if driver:
            files[f"{interface}/driver"] = f"/sys/bus/usb/drivers/{driver}"
    return files


HOST: Files = {
    **INTEL_BOARD,
    **root_hub(1, "480"),
    **root_hub(2, "20000", rx_lanes="2", tx_lanes="2"),
    **device("1-1", "0627:0001", "1.5", 4, ("030101", "usbhid")),
    **device("2-2", "0409:0050", "5000", 2, ("090000", "hub")),
    f"{FOLDER}/2-2/maxchild": "4",
    f"{FOLDER}/2-2/manufacturer": "Example",
    f"{FOLDER}/2-2/product": "Hub",
    **device("2-2.10", "1234:0001", "5000", 6, ("ff0000", "")),
    **device("2-2.3", "46f4:0001", "5000", 3, ("080650", "usb-storage")),
}

LIST = """\
Bus 002 Device 003: ID 46f4:0001 Example Stick
Bus 002 Device 002: ID 0409:0050 Example Hub
Bus 002 Device 001: ID 1d6b:0003 Linux Foundation 3.0 root hub
Bus 001 Device 004: ID 0627:0001 Example Keyboard
Bus 001 Device 001: ID 1d6b:0002 Linux Foundation 2.0 root hub
"""

TREE = """\
/:  Bus 02.Port 1: Dev 1, Class=root_hub, Driver=xhci_hcd/4p, 20000M/x2
    |__ Port 2: Dev 2, If 0, Class=Hub, Driver=hub/4p, 5000M
        |__ Port 3: Dev 3, If 0, Class=Mass Storage, Driver=usb-storage, 5000M
        |__ Port 10: Dev 6, If 0, Class=Vendor Specific Class, Driver=, 5000M
/:  Bus 01.Port 1: Dev 1, Class=root_hub, Driver=xhci_hcd/4p, 480M
    |__ Port 1: Dev 4, If 0, Class=Human Interface Device, Driver=usbhid, 1.5M
"""

TEXTS: Files = {"commands/lsusb": LIST, "commands/lsusb-tree": TREE}


def test_usb_tree_of_sysfs() -> None:
    """Root hubs have the controller's driver, ports, speed and lanes; devices their ports in order, drivers and speeds."""
    slow, fast = read_usb_tree(make_capture(HOST))

    assert (slow.number, slow.driver, slow.ports, slow.speed_mbit, slow.lanes) == (1, "xhci_hcd", 4, 480, 1)
    assert (fast.number, fast.speed_mbit, fast.lanes, fast.pci_address) == (2, 20000, 2, ADDRESS)
    assert [(node.port, node.device_number, node.speed_mbit) for node in fast.devices] == [
        ("2", 2, 5000),
        ("2.3", 3, 5000),
        ("2.10", 6, 5000),
    ]
    assert fast.devices[0] == UsbNode(
        2, "2", 5000, "0409:0050", "Example Hub", (UsbInterface(0, "Hub", "hub", code="090000"),), ports=4
    )
    assert [node.is_hub for node in fast.devices] == [True, False, False]


def test_usb_tree_answers_questions() -> None:
    """The trees of a controller and the storage on a bus are found, with driver and speed."""
    tree = read_facts(make_capture(HOST), {}).usb_tree

    assert [bus.number for bus in tree_of(tree, ADDRESS)] == [1, 2]
    assert tree_of(tree, PciAddress.parse(ADDRESS)) == tree
    assert tree_of(tree, "0000:00:14.0") == ()
    (stick,) = storage_on(tree[1])
    assert (stick.port, stick.drivers, stick.speed_mbit) == ("2.3", ("usb-storage",), 5000)
    assert storage_on(tree[0]) == ()


@pytest.mark.parametrize(
    ("files", "driver", "address"),
    [
        pytest.param(root_hub(1, "480"), "", ADDRESS, id="pci-without-driver"),
        pytest.param(
            {
                **root_hub(1, "480", "../../../devices/platform/soc/xhci-hcd.1.auto"),
                "sys/devices/platform/soc/xhci-hcd.1.auto/driver": "../../../../bus/platform/drivers/xhci-hcd",
            },
            "xhci-hcd",
            "",
            id="platform",
        ),
        pytest.param(root_hub(1, "480", "/sys/devices/platform/vhci_hcd.0"), "", "", id="platform-without-driver"),
        pytest.param(
            {
                f"{FOLDER}/usb1/serial": "0000:00:14.0",
                "sys/bus/pci/devices/0000:00:14.0/driver": "../../../../bus/pci/drivers/xhci_hcd",
            },
            "xhci_hcd",
            "0000:00:14.0",
            id="no-links-but-the-serial",
        ),
    ],
)
def test_usb_controller_of_a_root_hub(files: Files, driver: str, address: str) -> None:
    """Controller and driver are found by the root hub's place, on PCI and elsewhere; where no driver is told, none is claimed."""
    (bus,) = read_usb_tree(make_capture(files))

    assert (bus.driver, bus.pci_address) == (driver, address)


def test_usb_devices_without_their_root_hub_have_a_bus() -> None:
    """A stick whose root hub was not captured is on a bus of the number in its name, on the controller in its path."""
    (bus,) = read_usb_tree(make_capture(INTEL_BOARD, usb_stick(ADDRESS)))

    assert (bus.number, bus.driver, bus.speed_mbit, bus.pci_address) == (2, "xhci_hcd", 0, ADDRESS)
    assert [node.port for node in storage_on(bus)] == ["1"]


def test_usb_of_texts_alone() -> None:
    """Texts alone give devices with all that they tell; that an input device is a keyboard they do not tell."""
    facts = read_facts(make_capture(TEXTS), {})
    keyboard, hub, stick, strange = facts.usb

    assert [device.name for device in facts.usb] == ["1-1", "2-2", "2-2.3", "2-2.10"]
    assert (stick.id, stick.product, stick.speed_mbit, stick.drivers) == ("46f4:0001", "Example Stick", 5000, ("usb-storage",))
    assert (stick.interface_classes, stick.pci_address, stick.serial) == (("08",), "", "")
    assert (keyboard.is_keyboard, keyboard.may_be_keyboard, keyboard.interface_classes) == (False, True, ("03",))
    assert (hub.is_hub, strange.id, strange.interface_classes) == (True, "", ("ff",))
    assert [(bus.driver, bus.pci_address) for bus in facts.usb_tree] == [("xhci_hcd", ""), ("xhci_hcd", "")]
    assert tree_of(facts.usb_tree, "") == ()
    assert facts.disagreements == ()


def test_usb_of_a_list_alone() -> None:
    """A plain list gives devices without port, named by bus and number, that may be anything."""
    devices = read_usb(make_capture({"commands/lsusb": LIST}))

    assert [device.name for device in devices] == ["001/004", "002/002", "002/003"]
    assert {(device.port, device.speed_mbit, device.drivers, device.interface_classes) for device in devices} == {("", 0, (), ())}


def test_usb_texts_fill_what_sysfs_lacks() -> None:
    """Ids, names, speeds and drivers that sysfs does not show come from the texts; what it shows stays."""
    poor = without(HOST, f"{FOLDER}/2-2.3/product", f"{FOLDER}/2-2.3/speed", f"{FOLDER}/2-2.3/idVendor", f"{FOLDER}/2-2.3/devnum")
    poor = {name: content for name, content in poor.items() if not name.startswith(FOLDER) or not name.endswith("/driver")}

    bus = read_usb_tree(make_capture(poor, TEXTS))[1]

    assert [(node.port, node.drivers) for node in bus.devices] == [("2", ("hub",)), ("2.3", ("usb-storage",)), ("2.10", ())]
    stick = bus.devices[1]
    assert (stick.device_number, stick.speed_mbit, stick.id, stick.name) == (3, 5000, "46f4:0001", "Example Stick")
    assert stick.interfaces[0].code == "080650"


def test_usb_texts_add_nothing_to_what_sysfs_shows_in_full() -> None:
    """What sysfs does not show is not there, and a bus that a text shows is a disagreement; a reading cut off proves nothing."""
    bare = make_capture(root_hub(2, "20000"), TEXTS)
    assert [(bus.number, len(bus.devices)) for bus in read_usb_tree(bare)] == [(2, 0)]
    assert find_usb_disagreements(bare) == (Disagreement("usb usb1", "root hub", "absent", "xhci_hcd", "commands/lsusb-tree"),)

    cut = make_capture(root_hub(2, "20000"), TEXTS, {"sections/usb": Status.TIMED_OUT})
    assert [(bus.number, len(bus.devices)) for bus in read_usb_tree(cut)] == [(1, 1), (2, 3)]
    assert find_usb_disagreements(cut) == ()


def test_usb_of_a_tree_with_real_folders() -> None:
    """In a copy of /sys, attributes lie where the links lead: devices, drivers and what contradicts them are the same."""
    links = {name: str(content) for name, content in HOST.items() if name.startswith(FOLDER) and name.count("/") == 4}
    moved: Files = {}
    for name, content in HOST.items():
        folder, _, attribute = name.rpartition("/")
        if name in links:
            moved[name] = links[name].replace("/sys", "../../..", 1)
        else:
            moved[f"{links[folder][1:]}/{attribute}" if folder in links else name] = content
    assert moved.keys() != HOST.keys()

    assert read_usb_tree(make_capture(moved)) == read_usb_tree(make_capture(HOST))
    assert read_usb(make_capture(moved, TEXTS)) == read_usb(make_capture(HOST))
    assert find_usb_disagreements(make_capture(moved, TEXTS)) == ()


def test_usb_devices_of_an_unknown_bus_are_kept_only_where_sysfs_is_silent() -> None:
    """A tree without its first line still has devices, unless sysfs knows better."""
    headless: Files = {"commands/lsusb-tree": "".join(TREE.splitlines(keepends=True)[1:])}

    assert [device.name for device in read_usb(make_capture(headless))] == ["000/002", "000/003", "000/006", "1-1"]
    assert [bus.number for bus in read_usb_tree(make_capture(HOST, headless))] == [1, 2]


def test_usb_both_texts_may_be_in_one() -> None:
    """Both commands printed into one file are both read, whichever name it has."""
    for name in ("commands/lsusb", "commands/lsusb-tree"):
        assert read_usb(make_capture({name: LIST + TREE})) == read_usb(make_capture(TEXTS))


def test_usb_texts_that_agree_give_no_disagreement() -> None:
    """The same host seen twice is one host, though the texts tell less."""
    assert find_usb_disagreements(make_capture(HOST, TEXTS)) == ()
    assert read_usb(make_capture(HOST, TEXTS)) == read_usb(make_capture(HOST))


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        pytest.param(
            "usb-storage, 5000M",
            "usb-storage, 480M",
            Disagreement("usb 2-2.3", "speed", "5000", "480", "commands/lsusb-tree"),
            id="speed",
        ),
        pytest.param(
            "Driver=usb-storage",
            "Driver=uas",
            Disagreement("usb 2-2.3", "driver of interface 0", "usb-storage", "uas", "commands/lsusb-tree"),
            id="driver",
        ),
        pytest.param(
            "Driver=usb-storage",
            "Driver=[none]",
            Disagreement("usb 2-2.3", "driver of interface 0", "usb-storage", "none", "commands/lsusb-tree"),
            id="driver-gone",
        ),
        pytest.param(
            "Class=Vendor Specific Class, Driver=,",
            "Class=Vendor Specific Class, Driver=option,",
            Disagreement("usb 2-2.10", "driver of interface 0", "none", "option", "commands/lsusb-tree"),
            id="driver-came",
        ),
        pytest.param(
            "20000M/x2", "10000M", Disagreement("usb usb2", "speed", "20000", "10000", "commands/lsusb-tree"), id="root-hub"
        ),
        pytest.param(
            "Driver=xhci_hcd/4p, 20000M",
            "Driver=vfio-pci/4p, 20000M",
            Disagreement("usb usb2", "driver", "xhci_hcd", "vfio-pci", "commands/lsusb-tree"),
            id="controller",
        ),
        pytest.param(
            "ID 46f4:0001",
            "ID ffff:0001",
            Disagreement("usb 2-2.3", "id", "46f4:0001", "ffff:0001", "commands/lsusb"),
            id="id",
        ),
    ],
)
def test_usb_disagreements(old: str, new: str, found: Disagreement) -> None:
    """What a text says otherwise of the same bus and port is told, and sysfs is believed."""
    changed = {name: str(content).replace(old, new, 1) for name, content in TEXTS.items()}
    assert changed != TEXTS

    facts = read_facts(make_capture(HOST, changed), {})

    assert facts.disagreements == (found,)
    assert facts.usb_tree == read_usb_tree(make_capture(HOST))


def test_usb_disagreements_need_the_same_port() -> None:
    """A device that was plugged in anew, with another number or into another port, is no disagreement."""
    moved = TREE.replace("Port 3: Dev 3", "Port 4: Dev 9").replace("Port 10: Dev 6", "Port 10: Dev 11")

    assert find_usb_disagreements(make_capture(HOST, {"commands/lsusb-tree": moved})) == ()


def test_usb_drivers_that_sysfs_did_not_show_are_no_disagreement() -> None:
    """Where no driver link was captured, that an interface has a driver contradicts nothing."""
    poor = {name: content for name, content in HOST.items() if not name.startswith(FOLDER) or not name.endswith("/driver")}

    assert find_usb_disagreements(make_capture(poor, TEXTS)) == ()


@pytest.mark.parametrize("text", ["9" * 5000, "0x" + "f" * 17], ids=["decimal", "hexadecimal"])
def test_usb_numbers_that_no_kernel_prints_are_none(text: str) -> None:
    """A number of more than 64 bits is no number: it could not be written into a record."""
    assert parse_number(text) is None


SYSFS = sorted(name for name in HOST if name.startswith("sys/bus/usb/"))


@given(st.dictionaries(st.sampled_from(SYSFS), st.one_of(st.none(), st.binary(max_size=12), st.just(b"9" * 5000)), max_size=8))
def test_usb_broken_attributes_are_survived(changes: dict[str, bytes | None]) -> None:
    """Whatever attributes hold, or if they are missing, the devices that sysfs names are read."""
    items = dict(make_capture(HOST, TEXTS).items)
    for name, data in changes.items():
        items[name] = Item(Status.ABSENT) if data is None else Item(Status.READ, data)
    capture = Capture(items)

    tree = read_usb_tree(capture)

    assert all(bus.speed_mbit < 1_000_000 for bus in tree)
    assert {"1-1", "2-2", "2-2.3"} - {device.name for device in read_usb(capture)} <= set(_gone(items))
    assert all(found.sysfs != found.said for found in find_usb_disagreements(capture))


def _gone(items: dict[str, Item]) -> list[str]:
    """Return the devices whose link is gone: they may still show by their attributes."""
    return [name for name in ("1-1", "2-2", "2-2.3") if items[f"{FOLDER}/{name}"].status is Status.ABSENT]
