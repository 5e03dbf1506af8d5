"""PCI functions, their names, and USB devices, as sysfs shows them."""

from __future__ import annotations

import pytest

from harness.facts.names import parse_pci_ids
from harness.facts.pci import PciDevice, read_pci
from harness.facts.sysfs import parse_number, pci_addresses_on, read_path
from harness.facts.usb import read_usb
from tests.captures import CARD, INTEL_BOARD, Files, make_capture, pci_function, usb_stick


def read_one(**attributes: str) -> PciDevice:
    """Read a controller with these attributes."""
    (device,) = read_pci(make_capture(pci_function("0000:01:00.0", "1033:0194", "0c0330", **attributes)), {})
    return device


def test_pci_card_is_read() -> None:
    """Ids, class, driver, group, reset methods and the path with its bridge are read."""
    card = next(device for device in read_pci(make_capture(INTEL_BOARD), {}) if device.address == CARD["intel"])

    assert (card.id, card.subsystem, card.class_code) == ("1033:0194", "1af4:1100", 0x0C0330)
    assert (card.driver, card.group, card.reset_methods, card.link_speed) == ("xhci_hcd", "2", ("bus",), "2.5 GT/s PCIe")
    assert card.path == "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0"
    assert str(card.pci_address) == CARD["intel"]
    assert card.is_xhci
    assert not card.is_bridge


def test_pci_values_that_mean_nothing_are_none() -> None:
    """No override, no node, no driver and no group are None, however sysfs spells them."""
    device = read_one(driver_override="(null)", numa_node="-1")

    assert (device.driver_override, device.numa_node, device.driver, device.group) == (None, None, None, None)


def test_pci_values_that_mean_something_are_kept() -> None:
    """An override and a node are kept."""
    device = read_one(driver_override="vfio-pci", numa_node="1")

    assert (device.driver_override, device.numa_node) == ("vfio-pci", 1)


@pytest.mark.parametrize(
    ("reset_method", "methods"), [("flr bus", ("flr", "bus")), ("", ())], ids=["several", "all-switched-off"]
)
def test_pci_reset_methods(reset_method: str, methods: tuple[str, ...]) -> None:
    """Reset methods keep their order; a file that exists and is empty means that all were switched off."""
    assert read_one(reset_method=reset_method).reset_methods == methods


@pytest.mark.parametrize(
    ("kind", "driver", "bridge"),
    [("060400", "pcieport", True), ("060401", "", True), ("060000", "", True), ("060000", "edac", False), ("060100", "", False)],
)
def test_pci_bridges(kind: str, driver: str, bridge: bool) -> None:  # noqa: FBT001 (a table's column)
    """A PCI bridge is one with any driver, a host bridge only without, an ISA bridge never."""
    (device,) = read_pci(make_capture(pci_function("0000:00:01.0", "8086:0001", kind, driver=driver)), {})

    assert device.is_bridge is bridge


def test_pci_broken_attributes_are_left_out() -> None:
    """Ids that are no numbers leave the id empty, and what is no address is no device."""
    capture = make_capture(
        pci_function("0000:01:00.0", "zzzz:0194", "0c0330"), {"sys/bus/pci/devices/not-an-address/vendor": "0x1"}
    )

    (device,) = read_pci(capture, {})

    assert (device.id, device.pci_id) == ("", None)


def test_pci_names_of_ids() -> None:
    """Vendors and devices are read; subsystems and classes are not taken for devices."""
    text = (
        "# a comment\n1033  NEC Corporation\n\t0194  uPD720200 Controller\n\t\t1af4 1100  Virtual\nC 0c  Serial bus\n\t03  USB\n"
    )

    assert parse_pci_ids(text) == {"1033": "NEC Corporation", "1033:0194": "NEC Corporation uPD720200 Controller"}


@pytest.mark.parametrize(
    "target", ["../../../devices/pci0000:00/0000:00:04.0", "/sys/devices/pci0000:00/0000:00:04.0"], ids=["relative", "real"]
)
def test_sysfs_links_lead_to_real_paths(target: str) -> None:
    """A relative link and a real path give the same place."""
    capture = make_capture({"sys/bus/pci/devices/0000:00:04.0": target})

    assert read_path(capture, "sys/bus/pci/devices/0000:00:04.0") == "/sys/devices/pci0000:00/0000:00:04.0"


def test_sysfs_addresses_on_a_path() -> None:
    """All PCI functions on a path are found, domains of more than four digits among them; roots are none."""
    path = "/sys/devices/pci10000:e0/10000:e0:06.0/10000:e1:00.0/nvme/nvme0/nvme0n1"

    assert pci_addresses_on(path) == ("10000:e0:06.0", "10000:e1:00.0")


@pytest.mark.parametrize(
    ("text", "number"), [("0x1033", 0x1033), ("42", 42), ("-1", -1), ("", None), ("x", None), ("1.5", None), (None, None)]
)
def test_sysfs_numbers(text: str | None, number: int | None) -> None:
    """Hexadecimal and decimal numbers are read, anything else is None."""
    assert parse_number(text) == number


def test_usb_stick_is_read() -> None:
    """A stick's ids, speed, driver, interface class and controller are read."""
    (stick,) = read_usb(make_capture(usb_stick(CARD["intel"])))

    assert (stick.name, stick.bus, stick.device_number, stick.port) == ("2-1", 2, 2, "1")
    assert (stick.id, stick.serial, stick.product) == ("46f4:0001", "TP0001", "Example Stick")
    assert (stick.speed_mbit, stick.drivers, stick.interface_classes) == (5000, ("usb-storage",), ("080650",))
    assert stick.pci_address == CARD["intel"]


def test_usb_root_hubs_are_left_out() -> None:
    """Root hubs are no devices, and a device's interfaces are not those of one with a longer name."""
    folder = "sys/bus/usb/devices"
    path = "/sys/devices/pci0000:00/0000:00:14.0/usb1"
    files: Files = {
        f"{folder}/usb1": path,
        f"{folder}/1-1": f"{path}/1-1",
        f"{folder}/1-1/speed": "1.5",
        f"{folder}/1-1:1.0/bInterfaceClass": "03",
        f"{folder}/1-1:1.0/bInterfaceSubClass": "01",
        f"{folder}/1-1:1.0/bInterfaceProtocol": "01",
        f"{folder}/1-1.2/speed": "480",
        f"{folder}/1-1.2:1.0/bInterfaceClass": "09",
    }

    keyboard, hub = read_usb(make_capture(files))

    assert (keyboard.name, keyboard.is_keyboard, keyboard.is_hub, keyboard.speed_mbit) == ("1-1", True, False, 1)
    assert (hub.name, hub.is_keyboard, hub.is_hub, hub.port) == ("1-1.2", False, True, "1.2")
