"""What ``lsusb`` and ``lsusb -t`` print, in every form that usbutils has had.

A line counts only when it is whole: half a word of a class or driver would be another one. What mail does to such text is
expected: quote marks, other spaces, folded lines, indents lost.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from harness.facts.usb_bus import UsbBus, UsbInterface, UsbNode, find_class_code, find_class_name, make_interface, parse_speed

ROOT_HUB_VENDOR = "1d6b"

_LISTED = re.compile(r"\bBus ([0-9]{1,3}) Device ([0-9]{1,3}): ID ([0-9a-fA-F]{4}:[0-9a-fA-F]{4})(?![0-9a-fA-F])(.*)")
# usbutils 0.7x, from /proc/bus/usb/devices: "Bus#  1", then "`-Dev#   2 Vendor 0x1d6b Product 0x0002".
_BUS_OF_OLD = re.compile(r"\bBus# +([0-9]{1,3})\s*\Z")
_LISTED_OLD = re.compile(r"[|`'\\]-Dev# +([0-9]{1,3}) +Vendor 0x([0-9a-fA-F]{4}) +Product 0x([0-9a-fA-F]{4})(?![0-9a-fA-F])")

# sysfs' speed comes before the M: "480", "1.5", "unknown", or nothing where it could not be read. Lanes: not in old
# usbutils, 014 has them.
_SPEED = (
    r"(?P<speed>[0-9.]{1,7}|[Uu]nknown|)M(?:/(?:x(?P<lanes>[0-9]{1,2})|Tx(?P<tx>[0-9]{1,2})\+Rx(?P<rx>[0-9]{1,2})))?(?![\w./])"
)
_DRIVER = r"Driver= *(?P<driver>[^\s,]{0,80}?)(?:/(?P<ports>[0-9]{1,3})p)?, *"
_ROOT = re.compile(
    r"(?:/: *)?\bBus *(?P<bus>[0-9]{1,3})\.Port *[0-9]{1,3}: *Dev *(?P<device>[0-9]{1,3}), *Class=.{0,80}?, *" + _DRIVER + _SPEED
)
# Without interface: since shortly after 015, for a device that has none; before, such a device was not printed.
_DEVICE = re.compile(
    r"\|_{1,2} *Port *(?P<port>[0-9]{1,3}): *Dev *(?P<device>[0-9]{1,3}), *"
    r"(?:If *(?P<number>[0-9]{1,3}), *Class=(?P<kind>.{0,80}?), *" + _DRIVER + ")?" + _SPEED
)
_BEGINS = re.compile(r"(?:/: *)?\bBus *[0-9]{1,3}\.Port|\|_{1,2} *Port *[0-9]")
_IN_ONE_LINE = re.compile(r"(?<=[\w.)\]]) +(?=/: *Bus *[0-9]|\|_{1,2} *Port *[0-9])")
_ID = re.compile(r"\W*ID ([0-9a-fA-F]{4}:[0-9a-fA-F]{4})(?![0-9a-fA-F])(.*)")
_PLACE = re.compile(
    r"/sys/bus/usb/devices/(?:usb[0-9]+|[0-9]{1,3}-([0-9]{1,3}(?:\.[0-9]{1,3})*)) +/dev/bus/usb/([0-9]{3})/([0-9]{3})(?![0-9])"
)
_COMMAND = re.compile(r"\blsusb\b")

_FOLDED_LINES = 2
_LEAST_INDENT, _MOST_INDENT = 2, 6  # usbutils goes 4 to the right for each hub; mail may add or take one
_NOTHING = {"[none]", "(none)", "[unknown]", "(unknown)"}
_SPEED_OF_ROOT_HUB = {"0001": 12, "0002": 480}  # 0003 runs at 5000 or more


class ListedDevice(msgspec.Struct, frozen=True):
    """One line of plain ``lsusb``; ``name`` is that of usb.ids or the device's own, often empty."""

    bus: int
    device_number: int
    id: str
    name: str = ""

    @property
    def is_root_hub(self) -> bool:
        """Return whether this is a bus' own hub, which every Linux gives the same vendor since 2.6.26 (before: none)."""
        return self.device_number == 1 and self.id.partition(":")[0] in {ROOT_HUB_VENDOR, "0000"}


@dataclass
class _Device:
    """A device while its lines are read."""

    number: int
    port: str
    speed_mbit: int
    lanes: int
    ports: int = 0
    id: str = ""
    name: str = ""
    interfaces: dict[int, UsbInterface] = field(default_factory=dict)

    @property
    def is_hub(self) -> bool:
        """Return whether other devices may be below it."""
        return self.freeze().is_hub

    def freeze(self) -> UsbNode:
        """Return the device as a value."""
        interfaces = tuple(self.interfaces[number] for number in sorted(self.interfaces))
        return UsbNode(self.number, self.port, self.speed_mbit, self.id, self.name, interfaces, self.ports, self.lanes)


@dataclass
class _Block:
    """One root hub's line and what follows it; ``root`` is None where that line is not in the text."""

    root: re.Match[str] | None = None
    bus: int = 0
    column: int = 0
    devices: dict[int, _Device] = field(default_factory=dict)
    above: list[tuple[int, _Device]] = field(default_factory=list)  # column and device of the lines that this one may be under
    last: _Device | None = None

    @property
    def weight(self) -> int:
        """Return how much it shows."""
        return sum(1 + len(device.interfaces) for device in self.devices.values())

    def freeze(self) -> UsbBus:
        """Return the bus as a value."""
        devices = tuple(device.freeze() for device in self.devices.values())
        if self.root is None:
            return UsbBus(number=self.bus, devices=devices)
        return UsbBus(
            number=self.bus,
            driver=_words(self.root["driver"]),
            ports=int(self.root["ports"] or 0),
            speed_mbit=parse_speed(self.root["speed"]),
            devices=devices,
            lanes=_lanes(self.root),
        )


def parse_lsusb(text: str) -> tuple[ListedDevice, ...]:
    """Return every line of a plain list in its order, repeated ones too; what else stands between them (-v) is passed over."""
    found: list[ListedDevice] = []
    bus: int | None = None
    for line in _lines(text):
        if match := _LISTED.search(line):
            found.append(ListedDevice(int(match[1]), int(match[2]), match[3].lower(), match[4].strip()))
        elif match := _BUS_OF_OLD.search(line):
            bus = int(match[1])
        elif bus is not None and (match := _LISTED_OLD.search(line)):
            found.append(ListedDevice(bus, int(match[1]), f"{match[2]}:{match[3]}".lower()))
    return tuple(found)


def parse_lsusb_tree(text: str) -> tuple[UsbBus, ...]:
    """Return every bus of a tree by number, number 0 for devices above whose first root hub the text begins.

    Of a bus that the text shows more than once the fullest counts, of equals the last: a second tree is most often the same
    host after one more plug, or a piece that was cut out, and a piece must not make devices vanish.
    """
    fullest: dict[int, _Block] = {}
    for block in _read_blocks(text):
        known = fullest.get(block.bus)
        if known is None or (block.root is not None, block.weight) >= (known.root is not None, known.weight):
            fullest[block.bus] = block
    return tuple(fullest[number].freeze() for number in sorted(fullest))


def join_texts(tree: Sequence[UsbBus], listed: Iterable[ListedDevice]) -> tuple[UsbBus, ...]:
    """Return the tree with the ids and names of the plain list, and with the buses and devices that only the list shows."""
    buses = {bus.number: bus for bus in tree}
    told: dict[int, dict[int, ListedDevice]] = defaultdict(dict)
    for line in listed:
        told[line.bus][line.device_number] = line  # of several lists in one text the last counts
    for number, lines in told.items():
        bus = buses.get(number) or UsbBus(number)
        root = lines.get(1)
        nodes = tuple(_with_line(node, lines.get(node.device_number)) for node in bus.devices)
        known = {node.device_number for node in nodes}
        more = (
            UsbNode(line.device_number, "", 0, line.id, line.name)
            for line in lines.values()
            if not line.is_root_hub and line.device_number not in known
        )
        speed = bus.speed_mbit or (_SPEED_OF_ROOT_HUB.get(root.id.partition(":")[2], 0) if root and root.is_root_hub else 0)
        buses[number] = msgspec.structs.replace(bus, speed_mbit=speed, devices=(*nodes, *more))
    return tuple(buses[number] for number in sorted(buses))


def _with_line(node: UsbNode, line: ListedDevice | None) -> UsbNode:
    if line is None or (node.id and node.id != line.id):
        return node
    return msgspec.structs.replace(node, id=line.id, name=node.name or line.name)


def _lines(text: str) -> list[str]:
    return _IN_ONE_LINE.sub("\n", text.replace("\xa0", " ").expandtabs()).splitlines()


def _unfold(lines: Sequence[str]) -> Iterator[str]:
    """Yield the lines, those of a tree that mail folded joined again."""
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if not _BEGINS.search(line) or _is_whole(line):
            yield line
            continue
        for count in range(1, _FOLDED_LINES + 1):
            following = lines[at : at + count]
            if any(_BEGINS.search(other) or _ID.match(other) for other in following):
                break
            parts = [line.rstrip(), *(other.strip(" >") for other in following)]
            joined = next(filter(_is_whole, (" ".join(parts), "".join(parts))), None)  # some fold behind a hyphen
            if joined is not None:
                line = joined
                at += count
                break
        yield line


def _is_whole(line: str) -> bool:
    return _ROOT.search(line) is not None or _DEVICE.search(line) is not None


def _read_blocks(text: str) -> Iterator[_Block]:
    """Yield the root hubs of all trees in a text, each with its devices, and the devices that are under no root hub's line."""
    lines = list(_unfold(_lines(text)))
    block = _Block(column=_usual_column(lines))
    for line in lines:
        if match := _ROOT.search(line):
            yield from _filled(block)
            block = _Block(match, int(match["bus"]), match.start())
        elif match := _DEVICE.search(line):
            _read_device(block, match)
        elif match := _PLACE.search(line):
            _place(block, match)
        elif match := _ID.match(line):
            if block.last is not None:
                block.last.id, block.last.name = match[1].lower(), match[2].strip()
        elif _COMMAND.search(line):  # a prompt: what follows is another tree, of which the root hub may be missing
            yield from _filled(block)
            block = _Block(column=_usual_column(lines))
    yield from _filled(block)


def _filled(block: _Block) -> Iterator[_Block]:
    if block.root is not None or block.devices:
        yield block


def _usual_column(lines: Iterable[str]) -> int:
    """Return where root hubs stand in this text, for devices whose root hub is missing."""
    return next((match.start() for match in map(_ROOT.search, lines) if match), 0)


def _read_device(block: _Block, match: re.Match[str]) -> None:
    number = int(match["device"])
    port = _find_port(block, match.start(), match["port"])
    device = block.devices.get(number)
    if device is None:
        device = block.devices[number] = _Device(number, port, parse_speed(match["speed"]), _lanes(match))
    block.above.append((match.start(), device))
    block.last = device
    if match["number"] is not None:
        device.ports = int(match["ports"] or device.ports)
        code = find_class_code(match["kind"])
        kind = find_class_name(code) or _words(match["kind"])
        device.interfaces[int(match["number"])] = make_interface(int(match["number"]), kind, _words(match["driver"]), code)


def _find_port(block: _Block, column: int, port: str) -> str:
    """Return the way from the root hub by the indents, empty if they do not tell it.

    Without indents every line stands where the root hub's does: then only what comes before the first hub is surely on a port of
    the root hub. A line that stands further right than a hub's is on it; further right than another's, it has lost its hub.
    """
    while block.above and block.above[-1][0] >= column:
        block.above.pop()
    own = str(int(port))
    if column - block.column < _LEAST_INDENT:
        certain = block.root is not None and not any(device.is_hub for device in block.devices.values())
        return own if certain else ""
    if not block.above:
        return own if column - block.column <= _MOST_INDENT else ""
    hub = block.above[-1][1]
    return f"{hub.port}.{own}" if hub.is_hub and hub.port else ""


def _place(block: _Block, match: re.Match[str]) -> None:
    """Take the names of sysfs and /dev, which ``-t -v -v`` prints, for what they are: the surest of all."""
    if block.root is None:
        block.bus = int(match[2])
    if block.last is not None and match[1] and block.last.number == int(match[3]):
        block.last.port = match[1]


def _lanes(match: re.Match[str]) -> int:
    return int(match["lanes"] or 0) or min(int(match["tx"] or 1), int(match["rx"] or 1)) or 1


def _words(text: str) -> str:
    stripped = text.strip()
    return "" if stripped.lower() in _NOTHING else stripped
