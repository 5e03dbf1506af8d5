"""The buses of a host with what hangs on them: from sysfs, and from the texts of ``lsusb`` where sysfs does not tell."""

from __future__ import annotations

import itertools
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from harness.core.capture import Capture
from harness.facts.disagreement import Disagreement
from harness.facts.lsusb import ListedDevice, join_texts, parse_lsusb, parse_lsusb_tree
from harness.facts.sysfs import parse_number, pci_addresses_on, read_link_name, read_names, read_number, read_path
from harness.facts.usb_bus import UsbBus, UsbInterface, UsbNode, find_class_name, make_interface, parse_speed

FOLDER = "sys/bus/usb/devices"
LIST, TREE = "commands/lsusb", "commands/lsusb-tree"

_DEVICE = re.compile(r"([0-9]{1,4})-([0-9]{1,4}(?:\.[0-9]{1,4})*)\Z")
_ROOT_HUB = re.compile(r"usb([0-9]{1,4})\Z")
_INTERFACE = re.compile(r":[0-9]{1,4}\.([0-9]{1,4})\Z")
_DRIVER_LINK = re.compile(r"^sys/.*/[0-9]+-[0-9.]+:[0-9]+\.[0-9]+/driver\Z")
_ID = re.compile(r"[0-9a-fA-F]{4}\Z")
_CLASS = re.compile(r"[0-9a-fA-F]{2}\Z")
_CLASS_PARTS = ("bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol")
_NO_DRIVER = "none"


def read_usb_tree(capture: Capture) -> tuple[UsbBus, ...]:
    """Read every bus with what hangs on it, by number: from sysfs; what it lacks is filled from the texts.

    Where sysfs shows USB at all and was read to its end, there are no other buses and devices than it shows: the texts were
    printed before or after. Else what only the texts show is taken from them.
    """
    shown = {bus.number: bus for bus in _read_sysfs(capture)}
    more = not shown or not _is_complete(capture)
    buses = dict(shown)
    for bus in join_texts(*_parse_texts(capture)):
        if bus.number in shown:
            buses[bus.number] = _fill(shown[bus.number], bus, more=more, drivers=not _shows_drivers(capture))
        elif more and (bus.number or not shown):
            buses[bus.number] = bus
    return tuple(buses[number] for number in sorted(buses))


def find_usb_disagreements(capture: Capture) -> tuple[Disagreement, ...]:
    """Return what the texts say otherwise than sysfs of the same bus, or of the device on the same port of it.

    Devices come and go by hand between two commands, so that one that is not there contradicts nothing. A bus goes with the
    driver of its controller.
    """
    tree, listed = _parse_texts(capture)
    drivers = _shows_drivers(capture)
    told = {bus.number: bus for bus in tree}
    lines = {(line.bus, line.device_number): line for line in listed}
    found: list[Disagreement] = []
    shown = tuple(_read_sysfs(capture))
    if shown and _is_complete(capture):
        gone = sorted(told.keys() - {0, *(bus.number for bus in shown)})
        found += [
            Disagreement(f"usb usb{number}", "root hub", "absent", told[number].driver or "present", TREE) for number in gone
        ]
    for bus in shown:
        other = told.get(bus.number, UsbBus(bus.number))
        found += _compare(f"usb usb{bus.number}", TREE, {"driver": bus.driver, "speed": bus.speed_mbit}, _said_of_bus(other))
        nodes = {node.port: node for node in other.devices if node.port}
        for node in bus.devices:
            subject = f"usb {bus.number}-{node.port}"
            if node.port in nodes:
                found += _compare(subject, TREE, _values(node, drivers=drivers), _values(nodes[node.port], drivers=drivers))
            if line := lines.get((bus.number, node.device_number)):
                found += _compare(subject, LIST, {"id": node.id}, {"id": line.id})
    return tuple(found)


def read_id(capture: Capture, folder: str) -> str:
    """Return ``46f4:0001`` of a device's folder, empty if sysfs did not tell both halves."""
    pair = [capture.text(f"{folder}/{attribute}") or "" for attribute in ("idVendor", "idProduct")]
    return ":".join(pair).lower() if all(map(_ID.match, pair)) else ""


def port_order(port: str) -> tuple[int, ...]:
    """Return a key that puts port 2 before port 10; an unknown port comes last."""
    return tuple(int(part) for part in port.split(".")) if port else (1 << 16,)


def _read_sysfs(capture: Capture) -> Iterator[UsbBus]:
    names = read_names(capture, FOLDER)
    ports: dict[int, list[str]] = {int(match[1]): [] for match in map(_ROOT_HUB.match, names) if match}
    for match in filter(None, map(_DEVICE.match, names)):
        ports.setdefault(int(match[1]), []).append(match[2])
    interfaces = _interfaces_of(capture, names)
    for number in sorted(ports):
        folder = f"{FOLDER}/usb{number}"
        place = _controller(capture, folder, [f"{FOLDER}/{number}-{port}" for port in ports[number]])
        yield UsbBus(
            number=number,
            driver=_controller_driver(capture, place),
            ports=read_number(capture, f"{folder}/maxchild") or 0,
            speed_mbit=parse_speed(capture.text(f"{folder}/speed")),
            pci_address=next(reversed(pci_addresses_on(place)), ""),
            devices=tuple(
                _read_node(capture, f"{number}-{port}", interfaces.get(f"{number}-{port}", ()))
                for port in sorted(ports[number], key=port_order)
            ),
            lanes=_read_lanes(capture, folder),
        )


def _read_node(capture: Capture, name: str, interfaces: Iterable[UsbInterface]) -> UsbNode:
    folder = f"{FOLDER}/{name}"
    return UsbNode(
        device_number=read_number(capture, f"{folder}/devnum") or 0,
        port=name.partition("-")[2],
        speed_mbit=parse_speed(capture.text(f"{folder}/speed")),
        id=read_id(capture, folder),
        name=" ".join(filter(None, (capture.text(f"{folder}/{part}") for part in ("manufacturer", "product")))),
        interfaces=tuple(sorted(interfaces, key=lambda interface: interface.number)),
        ports=read_number(capture, f"{folder}/maxchild") or 0,
        lanes=_read_lanes(capture, folder),
    )


def _interfaces_of(capture: Capture, names: Iterable[str]) -> dict[str, list[UsbInterface]]:
    """Return the interfaces of each device; those in its folder are the same as the links beside it."""
    found: dict[str, list[UsbInterface]] = {}
    for name in names:
        match = _INTERFACE.search(name)
        if match is not None:
            found.setdefault(name[: match.start()], []).append(_read_interface(capture, f"{FOLDER}/{name}", int(match[1])))
    return found


def _read_interface(capture: Capture, folder: str, number: int) -> UsbInterface:
    parts = (capture.text(f"{folder}/{part}") or "" for part in _CLASS_PARTS)
    code = "".join(itertools.takewhile(_CLASS.match, parts)).lower()
    driver = read_link_name(capture, f"{folder}/driver") or ""
    return make_interface(number, find_class_name(code), driver, code)


def _read_lanes(capture: Capture, folder: str) -> int:
    """Return the lanes of the slower direction, 1 where none are told: older kernels have no such files."""
    lanes = [parse_number(capture.text(f"{folder}/{attribute}")) for attribute in ("rx_lanes", "tx_lanes")]
    return max(1, min(count or 1 for count in lanes))


def _controller(capture: Capture, root_hub: str, devices: Iterable[str]) -> str:
    """Return where in sysfs the controller of a bus is: above the root hub, by its link or that of a device on it.

    A folder without links still has the root hub's ``serial``: the controller's name on its own bus (``0000:00:14.0``).
    """
    name = posixpath.basename(root_hub)
    for folder in (root_hub, *devices):
        place, sign, _ = f"{read_path(capture, folder) or ''}/".rpartition(f"/{name}/")
        if sign:
            return place
    return capture.text(f"{root_hub}/serial") or ""


def _controller_driver(capture: Capture, place: str) -> str:
    """Return the driver that sysfs links the controller to; for xHCI on PCI that is ``xhci_hcd``, as lsusb prints it."""
    name = posixpath.basename(place)
    folders = [place.strip("/"), f"sys/bus/pci/devices/{name}", f"sys/bus/platform/devices/{name}"] if name else []
    return next(filter(None, (read_link_name(capture, f"{folder}/driver") for folder in folders)), "")


def _is_complete(capture: Capture) -> bool:
    """Return whether what is not among the devices of sysfs is not there: all were asked for, and the reading ended."""
    return capture.asked(f"{FOLDER}/*")


def _shows_drivers(capture: Capture) -> bool:
    """Return whether drivers of interfaces were read at all: only then is an interface without link one without driver."""
    return any(_DRIVER_LINK.search(name) for name in capture.items)


def _parse_texts(capture: Capture) -> tuple[tuple[UsbBus, ...], tuple[ListedDevice, ...]]:
    """Read both texts for both: people print several commands into one file, and the oldest ``-t`` is a list with indents."""
    listing, tree = capture.text(LIST) or "", capture.text(TREE) or ""
    return parse_lsusb_tree(tree) or parse_lsusb_tree(listing), (*parse_lsusb(tree), *parse_lsusb(listing))


def _fill(bus: UsbBus, text: UsbBus, *, more: bool, drivers: bool) -> UsbBus:
    """Return a bus of sysfs with what it lacks; ``more``: devices too, ``drivers``: of interfaces too."""
    by_port = {node.port: node for node in text.devices if node.port}
    by_number = {node.device_number: node for node in text.devices if not node.port}
    nodes = [_fill_node(node, by_port.get(node.port) or by_number.get(node.device_number), drivers) for node in bus.devices]
    if more:
        ports, numbers = {node.port for node in nodes}, {node.device_number for node in nodes}
        nodes += [node for node in text.devices if node.port not in ports and node.device_number not in numbers]
    return msgspec.structs.replace(
        bus,
        driver=bus.driver or text.driver,
        ports=bus.ports or text.ports,
        speed_mbit=bus.speed_mbit or text.speed_mbit,
        devices=tuple(nodes),
    )


def _fill_node(node: UsbNode, text: UsbNode | None, drivers: bool) -> UsbNode:  # noqa: FBT001 (private, named where it begins)
    if text is None or (node.id and text.id and node.id != text.id):
        return node  # nothing told of it, or another device sits on that port in the text
    return msgspec.structs.replace(
        node,
        device_number=node.device_number or text.device_number,
        speed_mbit=node.speed_mbit or text.speed_mbit,
        id=node.id or text.id,
        name=node.name or text.name,
        interfaces=_fill_interfaces(node.interfaces, text.interfaces, drivers=drivers),
        ports=node.ports or text.ports,
    )


def _fill_interfaces(
    known: tuple[UsbInterface, ...], told: tuple[UsbInterface, ...], *, drivers: bool
) -> tuple[UsbInterface, ...]:
    others = {interface.number: interface for interface in told}
    filled = []
    for interface in known:
        other = others.get(interface.number, interface)
        code = interface.code or other.code
        driver = interface.driver or (other.driver if drivers else "")
        filled.append(make_interface(interface.number, interface.kind or other.kind, driver, code))
    return tuple(filled) or told


def _said_of_bus(bus: UsbBus) -> dict[str, str | int]:
    return {"driver": bus.driver, "speed": bus.speed_mbit}


def _values(node: UsbNode, *, drivers: bool) -> dict[str, str | int]:
    values: dict[str, str | int] = {"id": node.id, "speed": node.speed_mbit}
    for interface in node.interfaces if drivers else ():
        values[f"driver of interface {interface.number}"] = interface.driver or _NO_DRIVER
    return values


def _compare(subject: str, command: str, sysfs: Mapping[str, str | int], said: Mapping[str, str | int]) -> Iterator[Disagreement]:
    """Yield what both tell and tell differently."""
    for what, value in sysfs.items():
        other = said.get(what)
        if value and other and value != other:
            yield Disagreement(subject, what, str(value), str(other), command)
