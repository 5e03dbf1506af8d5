"""PCI functions and their names, as sysfs and lspci's texts show them, and USB devices."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.capture import Status
from harness.facts import names
from harness.facts.disagreement import Disagreement
from harness.facts.host import read_facts
from harness.facts.names import PciNames, parse_class_names, parse_pci_ids, usb_interface
from harness.facts.pci import PciDevice, find_pci_disagreements, read_pci
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

    assert device.id == ""


def test_pci_names_of_ids() -> None:
    """Vendors and devices are read; subsystems and classes are not taken for devices."""
    text = (
        "# a comment\n1033  NEC Corporation\n\t0194  uPD720200 Controller\n\t\t1af4 1100  Virtual\nC 0c  Serial bus\n\t03  USB\n"
    )

    assert parse_pci_ids(text) == {"1033": "NEC Corporation", "1033:0194": "NEC Corporation uPD720200 Controller"}


IDS = """\
# a comment
1033  NEC Corporation
\t0194  uPD720200 Controller
\t\t1af4 1100  Virtual
8086  Intel Corporation
\t0194  Another
C 0c  Serial bus controller
\t03  USB controller
\t\t00  UHCI
\t\t30  XHCI
\t05  SMBus
C 06  Bridge
\t80  Bridge
"""


def test_pci_names_are_found_without_parsing_all() -> None:
    """The lazy names are those of the parsed file; a device's name is looked for at its own vendor alone."""
    lazy = PciNames(IDS.encode())

    assert dict(lazy) == parse_pci_ids(IDS)
    assert [lazy.get(key) for key in ("8086", "8086:0194", "1033:1100", "", "1af4", "0c03", "8086:019")] == [
        "Intel Corporation",
        "Intel Corporation Another",
        *[None] * 5,
    ]
    assert len(PciNames(b"")) == 0
    assert PciNames(b"1033  NEC\n\t0194  Cut").get("1033:0194") == "NEC Cut"


def test_pci_names_of_classes() -> None:
    """Classes, subclasses and interfaces are read by their digits."""
    assert parse_class_names(IDS[IDS.index("C 0c") :]) == {
        "0c": "Serial bus controller",
        "0c03": "USB controller",
        "0c0300": "UHCI",
        "0c0330": "XHCI",
        "0c05": "SMBus",
        "06": "Bridge",
        "0680": "Bridge",
    }


@pytest.fixture
def own_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file that is read instead of the runner's hwdata; there is none yet."""
    place = tmp_path / "pci.ids"
    monkeypatch.setattr(names, "_PLACES", (tmp_path / "none", place))
    for function in (names.read_pci_names, names.read_class_names, names.read_class_codes):
        monkeypatch.setattr(names, function.__name__, function.__wrapped__)
    return place


def test_pci_class_codes_come_from_hwdata(own_ids: Path) -> None:
    """A class is found by its name in any case, as old versions of the list spelled it."""
    own_ids.write_text(IDS + "C 07  Communication\n\t01  Twice\n\t02  Twice\n", encoding="utf-8")

    assert names.read_class_codes()["smbus"] == 0x0C05
    assert names.read_class_codes()["usb controller"] == 0x0C03
    assert "twice" not in names.read_class_codes()


def test_pci_without_hwdata(own_ids: Path) -> None:
    """A runner without hwdata knows no names, but still what a USB controller is called."""
    assert not own_ids.exists()
    assert (dict(names.read_pci_names()), names.read_class_names()) == ({}, {})
    assert names.read_class_codes()["usb controller"] == 0x0C03


@pytest.mark.parametrize(
    ("device", "interface"),
    [
        (PciDevice("0000:01:00.0", class_code=0x0C0330), "xHCI"),
        (PciDevice("0000:01:00.0", class_code=0x0C0300), "UHCI"),
        (PciDevice("0000:01:00.0", class_code=0x0C03FE), "USB Device (xDCI)"),
        (PciDevice("0000:01:00.0", class_code=0x0C0300, prog_if_known=False), ""),
        (PciDevice("0000:01:00.0", class_code=0x020000), ""),
    ],
)
def test_pci_usb_interface(device: PciDevice, interface: str) -> None:
    """A controller's interface has a name where it is known."""
    assert usb_interface(device) == interface


LISTED = "05:00.0 USB controller [0c03]: Cards Ltd. Card [c0c0:0194] (rev 04)"


def read_text(text: str, command: str = "lspci", *layers: Files) -> PciDevice:
    """Read the only function of which this text tells, above what the layers show of it."""
    (device,) = read_pci(make_capture(*layers, {f"commands/{command}": text}), {})
    return device


def test_pci_from_text_alone() -> None:
    """A function that only lspci shows is named with its source, and what the text does not tell is not known."""
    device = read_text(LISTED)

    assert (device.address, device.id, device.name, device.source) == (
        "0000:05:00.0",
        "c0c0:0194",
        "Cards Ltd. Card",
        "commands/lspci",
    )
    assert (device.class_text, device.is_usb, device.is_xhci, device.revision) == ("0c03??", True, False, 4)
    assert (device.driver, device.driver_known, device.class_known, device.prog_if_known) == (None, False, True, False)


@pytest.mark.parametrize(
    ("driver", "kind"),
    [
        ("xhci_hcd", "0c0330"),
        ("xhci-pci-renesas", "0c0330"),
        ("ehci-pci", "0c0320"),
        ("ohci-pci", "0c0310"),
        ("uhci_hcd", "0c0300"),
        ("thunderbolt", "0c0340"),
        ("vfio-pci", "0c03??"),
    ],
)
def test_pci_driver_tells_the_interface(driver: str, kind: str) -> None:
    """The driver in use tells a USB controller's interface where the text does not; vfio-pci drives anything."""
    device = read_text(f"{LISTED}\n\tKernel driver in use: {driver}\n\tKernel modules: one\n")

    assert (device.class_text, device.driver, device.module, device.driver_known) == (kind, driver, "one", True)


def test_pci_driver_of_no_usb_controller_tells_nothing() -> None:
    """The Thunderbolt driver works with more than USB4's host interface."""
    device = read_text("05:00.0 System peripheral [0880]: Cards Ltd. Card\n\tKernel driver in use: thunderbolt\n")

    assert device.class_text == "0880??"


def test_pci_texts_complete_each_other() -> None:
    """List, records and tree tell of one function together; the tree gives the bridges above."""
    capture = make_capture(
        {
            "commands/lspci": LISTED,
            "commands/lspci-mm": "Slot:\t05:00.0\nClass:\tUSB controller\nProgIf:\t30\nIOMMUGroup:\t7\n",
            "commands/lspci-tree": "-[0000:00]---1c.0-[05]----00.0\n",
        }
    )

    bridge, card = read_pci(capture, {"c0c0:0194": "Cards Limited Card"})

    assert (bridge.address, bridge.source, bridge.class_text) == ("0000:00:1c.0", "commands/lspci-tree", "??????")
    assert (card.name, card.class_text, card.group, card.source) == ("Cards Limited Card", "0c0330", "7", "commands/lspci")
    assert card.path == "/sys/devices/pci0000:00/0000:00:1c.0/0000:05:00.0"


def test_pci_list_and_tree_in_one_text() -> None:
    """Several outputs pasted into one file are all read."""
    assert read_text(f"$ lspci -nn\n{LISTED}\n$ lspci -t\n-[0000:05]---00.0\n").path == "/sys/devices/pci0000:05/0000:05:00.0"


def test_pci_text_fills_what_sysfs_does_not_show() -> None:
    """Attributes that sysfs did not show come from the text; what it shows is kept, and it stays the source."""
    shown = pci_function("0000:05:00.0", "c0c0:0194", "0c0330", subsystem_vendor="0x1", subsystem_device="0x2")
    device = read_text(
        f"{LISTED} (prog-if 20 [EHCI])\n\tSubsystem: Cards Ltd. Device [c0c0:0001]\n\tPhysical Slot: 3\n"
        "\tNUMA node: 0\n\tIOMMU group: 0\n"
        "\t\tExtTag- RBE+ FLReset-\n"
        "\tKernel driver in use: xhci_hcd\n",
        "lspci",
        shown,
    )

    assert (device.subsystem, device.class_text, device.source) == ("0001:0002", "0c0330", "sysfs")
    assert (device.slot, device.group, device.driver, device.revision) == ("3", "0", "xhci_hcd", 4)
    assert (device.numa_node, device.flr) == (0, False)


def test_pci_missing_driver_link_is_an_answer_beside_others() -> None:
    """A function without a driver where sysfs shows drivers of others has none, whatever a text says."""
    capture = make_capture(
        pci_function("0000:05:00.0", "c0c0:0194", "0c0330"),
        pci_function("0000:06:00.0", "c0c0:0195", "020000", driver="net"),
        {"commands/lspci": f"{LISTED}\n\tKernel driver in use: xhci_hcd\n"},
    )

    card, network = read_pci(capture, {})

    assert (card.driver, card.driver_known, network.driver) == (None, True, "net")


def test_pci_driver_is_unknown_where_nothing_shows_drivers() -> None:
    """Without any driver in sysfs, or with a link that may not be read, a function's driver is not known."""
    files = pci_function("0000:05:00.0", "c0c0:0194", "0c0330")
    other = pci_function("0000:06:00.0", "c0c0:0195", "020000", driver="net")
    folder = "sys/bus/pci/devices/0000:05:00.0"

    assert [device.driver_known for device in read_pci(make_capture(files), {})] == [False]
    assert not read_pci(make_capture(files, other, {f"{folder}/driver": Status.DENIED}), {})[0].driver_known
    assert not read_pci(make_capture(files, other, {"sections/pci": Status.TIMED_OUT}), {})[0].driver_known


def test_pci_group_from_elsewhere_comes_last() -> None:
    """Groups that another source gives are taken where neither sysfs nor lspci tells one."""
    groups = {"0000:05:00.0": "5", "0000:06:00.0": "6"}
    capture = make_capture(
        {"commands/lspci": f"{LISTED}\n\tIOMMU group: 9\n06:00.0 Ethernet controller [0200]: Cards Ltd. Card [c0c0:0195]\n"}
    )

    assert [device.group for device in read_pci(capture, {}, groups)] == ["9", "6"]


def test_pci_class_that_was_not_read_is_unknown() -> None:
    """A function of which sysfs shows no class, or a broken one, has none that could be compared."""
    (device,) = read_pci(make_capture({"sys/bus/pci/devices/0000:05:00.0/class": "0xfffffffff"}), {})

    assert (device.class_text, device.class_known, device.prog_if_known) == ("??????", False, False)


def test_pci_disagreements() -> None:
    """What lspci says differently of id, class, driver, group and revision is told; names and what one side lacks are not."""
    capture = make_capture(
        pci_function("0000:05:00.0", "c0c0:0194", "0c0330", driver="vfio-pci", group="7", revision="0x03"),
        pci_function("0000:06:00.0", "c0c0:0195", "020000"),
        {
            "commands/lspci": "05:00.0 USB controller [0c03]: Card [c0c0:0199] (rev 04) (prog-if 20 [EHCI])\n\tIOMMU group: 8\n"
            "\tKernel driver in use: xhci_hcd\n06:00.0 Ethernet controller [0200]: Card [c0c0:0195] (rev 01)\n",
            "commands/lspci-mm": "Slot:\t06:00.0\nClass:\t0200\nVendor:\tc0c0\nDevice:\t0195\nDriver:\tnet\n",
        },
    )

    assert find_pci_disagreements(capture) == (
        Disagreement("0000:05:00.0", "id", "c0c0:0194", "c0c0:0199", "commands/lspci"),
        Disagreement("0000:05:00.0", "class", "0c0330", "0c0320", "commands/lspci"),
        Disagreement("0000:05:00.0", "driver", "vfio-pci", "xhci_hcd", "commands/lspci"),
        Disagreement("0000:05:00.0", "group", "7", "8", "commands/lspci"),
        Disagreement("0000:05:00.0", "revision", "03", "04", "commands/lspci"),
        Disagreement("0000:06:00.0", "driver", "none", "net", "commands/lspci-mm"),
    )
    assert set(find_pci_disagreements(capture)) <= set(read_facts(capture, {}).disagreements)


def test_pci_same_class_without_interface_is_no_disagreement() -> None:
    """A text that gives the class without its last byte says nothing else than sysfs."""
    capture = make_capture(
        pci_function("0000:05:00.0", "c0c0:0194", "0c0330", driver="xhci_hcd", revision="0x04"), {"commands/lspci": LISTED}
    )

    assert find_pci_disagreements(capture) == ()


@pytest.mark.parametrize(
    ("files", "interrupts"),
    [
        ({"msi_irqs": "24 25", "msi_irqs/24": "msix", "msi_irqs/25": "msix"}, "msix"),
        ({"msi_irqs/24": "msi"}, "msi"),
        ({"msi_irqs": "24"}, ""),
        ({"irq": "19", "msi_irqs": ""}, "intx"),
        ({"irq": "0", "msi_irqs": ""}, ""),
        ({"irq": "19"}, ""),
    ],
    ids=["msix", "msi", "kind-unknown", "pin", "no-pin", "not-listed"],
)
def test_pci_interrupts(files: dict[str, str], interrupts: str) -> None:
    """Messages are told by what msi_irqs holds; a pin only where that folder was looked for."""
    function = pci_function("0000:05:00.0", "c0c0:0194", "0c0330", driver="xhci_hcd", **files)

    assert read_pci(make_capture(function), {})[0].interrupts == interrupts


def test_pci_pin_where_others_use_messages() -> None:
    """Linux makes the folder msi_irqs only for who uses messages: who has none beside others that have uses its pin."""
    capture = make_capture(
        pci_function("0000:05:00.0", "c0c0:0194", "0c0330", driver="ehci-pci", irq="19"),
        pci_function("0000:06:00.0", "c0c0:0195", "020000", driver="net", irq="18", **{"msi_irqs/24": "msix"}),
        pci_function("0000:07:00.0", "c0c0:0196", "0c0330", irq="17"),
    )

    assert [device.interrupts for device in read_pci(capture, {})] == ["intx", "msix", ""]


def test_pci_link_slot_and_label() -> None:
    """The link's largest and present width, the physical slot and the firmware's name are read; no link has no width."""
    capture = make_capture(
        pci_function(
            "0000:05:00.1",
            "c0c0:0194",
            "0c0330",
            max_link_speed="5.0 GT/s PCIe",
            max_link_width="4",
            current_link_speed="Unknown",
            current_link_width="0",
            label="Front ports",
        ),
        {"sys/bus/pci/slots/4-1/address": "0000:05:00", "sys/bus/pci/slots/5/address": "0000:06:00"},
    )

    (device,) = read_pci(capture, {})

    assert (device.max_link_speed, device.max_link_width, device.link_speed, device.link_width) == ("5.0 GT/s PCIe", "4", "", "")
    assert (device.slot, device.label) == ("4-1", "Front ports")


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
    ("text", "number"),
    [("0x1033", 0x1033), ("42", 42), ("-1", -1), ("", None), ("x", None), ("1.5", None), (None, None), ("9" * 5000, None)],
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


@pytest.mark.parametrize("slot", ["0", "0-1"])
def test_slot_0_is_no_slot(slot: str) -> None:
    """PCI Express numbers a port 0 whose device is built in: neither sysfs nor lspci make a slot of it."""
    shown = make_capture(pci_function("0000:05:00.0", "c0c0:0194", "0c0330"), {f"sys/bus/pci/slots/{slot}/address": "0000:05:00"})
    told = make_capture({"commands/lspci": f"05:00.0 USB controller: Example xHCI [c0c0:0194]\n\tPhysical Slot: {slot}\n"})

    assert [device.slot for capture in (shown, told) for device in read_pci(capture, {})] == ["", ""]
