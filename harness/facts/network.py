"""Network interfaces: where they hang, and whether the session or the way out goes through them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from harness.core.capture import Capture
from harness.facts.sysfs import pci_addresses_on, read_names, read_path

_FOLDER = "sys/class/net"
_LOWER = "lower_"
_REJECT = 0x0200
_SWITCH = "ovs-system"


class NetworkInterface(msgspec.Struct, frozen=True):
    """One interface; the two flags also hold for what a bridge or bond that carries the traffic is made of."""

    interface: str
    address: str = ""
    state: str = ""
    path: str = ""
    pci_addresses: tuple[str, ...] = ()
    carries_ssh: bool = False
    default_route: bool = False


def find_unplaced(capture: Capture) -> tuple[str, ...]:
    """Return the interfaces of which it was not read where they hang, those that only a route names among them."""
    routed = {route.interface for route in _read_routes(capture)}
    names = sorted({*read_names(capture, _FOLDER), *routed})
    return tuple(f"/{_FOLDER}/{name}" for name in names if not read_path(capture, f"{_FOLDER}/{name}"))


class Route(NamedTuple):
    """A destination and the interface that leads there."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network
    interface: str


def read_network(capture: Capture) -> tuple[NetworkInterface, ...]:
    """Read every interface; the session is the one in which the probe ran."""
    names = read_names(capture, _FOLDER)
    routes = _read_routes(capture)
    lower = {name: _read_lower(capture, name) or _find_switch(capture, name, names) for name in names}
    defaults = _with_lower({route.interface for route in routes if route.network.prefixlen == 0}, lower)
    session = find_interface(capture.text("commands/ssh-connection") or "", routes)
    carriers = _with_lower({session} if session else set(), lower)
    return tuple(_read_interface(capture, name, carriers, defaults) for name in names)


def _read_routes(capture: Capture) -> tuple[Route, ...]:
    return (*parse_routes(capture.text("proc/net/route") or ""), *parse_routes6(capture.text("proc/net/ipv6_route") or ""))


def _find_switch(capture: Capture, name: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return Open vSwitch as what a virtual interface stands on: its bridges do not name what they are made of."""
    virtual = "/virtual/" in (read_path(capture, f"{_FOLDER}/{name}") or "")
    return (_SWITCH,) if virtual and _SWITCH in names and name != _SWITCH else ()


def _read_interface(capture: Capture, name: str, carriers: set[str], defaults: set[str]) -> NetworkInterface:
    path = read_path(capture, f"{_FOLDER}/{name}") or ""
    return NetworkInterface(
        interface=name,
        address=capture.text(f"{_FOLDER}/{name}/address") or "",
        state=capture.text(f"{_FOLDER}/{name}/operstate") or "",
        path=path,
        pci_addresses=pci_addresses_on(path),
        carries_ssh=name in carriers,
        default_route=name in defaults,
    )


def find_interface(connection: str, routes: tuple[Route, ...]) -> str | None:
    """Return the interface by which the client of an ``SSH_CONNECTION`` is reached: the longest route to it."""
    client = connection.split(" ", maxsplit=1)[0].partition("%")[0]
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    address = mapped or address
    matching = [route for route in routes if route.network.version == address.version and address in route.network]
    best = max(matching, key=lambda route: route.network.prefixlen, default=None)
    return best.interface if best else None


def parse_routes(text: str) -> Iterator[Route]:
    """Read /proc/net/route: addresses in hexadecimal, in the order of a little-endian machine; other lines are left out."""
    for line in text.splitlines()[1:]:
        words = line.split()
        try:
            if int(words[3], 16) & _REJECT:
                continue
            destination, mask = (ipaddress.IPv4Address(bytes.fromhex(words[index])[::-1]) for index in (1, 7))
            yield Route(ipaddress.IPv4Network(f"{destination}/{mask}"), words[0])
        except (ValueError, IndexError):
            continue


def parse_routes6(text: str) -> Iterator[Route]:
    """Read /proc/net/ipv6_route: addresses and prefix lengths in hexadecimal; other lines are left out."""
    for line in text.splitlines():
        words = line.split()
        try:
            if int(words[8], 16) & _REJECT:
                continue
            address = ipaddress.IPv6Address(bytes.fromhex(words[0]))
            yield Route(ipaddress.IPv6Network((address, int(words[1], 16))), words[9])
        except (ValueError, IndexError):
            continue


def _read_lower(capture: Capture, name: str) -> tuple[str, ...]:
    """Return what a bridge, bond or VLAN stands on."""
    return tuple(child.removeprefix(_LOWER) for child in capture.children(f"{_FOLDER}/{name}") if child.startswith(_LOWER))


def _with_lower(names: set[str], lower: Mapping[str, tuple[str, ...]]) -> set[str]:
    """Return the interfaces and all that they stand on."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(lower.get(name, ()))
    return found
