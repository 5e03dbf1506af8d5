"""Network interfaces: which of them carry the session and the way out."""

from __future__ import annotations

import ipaddress

import pytest

from harness.facts.network import NetworkInterface, Route, find_interface, parse_routes, parse_routes6, read_network
from tests.captures import BASE, Files, make_capture

USB_NIC = "/sys/devices/pci0000:00/0000:00:14.0/usb2/2-2/2-2:1.0/net/enx0"


def read(*layers: Files) -> dict[str, NetworkInterface]:
    """Read the interfaces of a host by their names."""
    return {interface.interface: interface for interface in read_network(make_capture(BASE, *layers))}


def test_network_session_and_default_route() -> None:
    """The interface towards the client of the session is found, and that of the default route."""
    interface = read()["eth0"]

    assert (interface.carries_ssh, interface.default_route) == (True, True)
    assert interface.pci_addresses == ("0000:00:03.0",)


def test_network_session_below_a_bridge() -> None:
    """What a bridge is made of carries what the bridge carries."""
    files: Files = {
        "sys/class/net/br0": "/sys/devices/virtual/net/br0",
        "sys/class/net/br0/lower_enx0": USB_NIC,
        "sys/class/net/enx0": USB_NIC,
        "proc/net/route": "Iface Destination Gateway Flags RefCnt Use Metric Mask\nbr0 00000000 0202000A 0003 0 0 0 00000000\n",
    }

    interfaces = read(files)

    assert interfaces["enx0"].carries_ssh
    assert interfaces["enx0"].default_route
    assert interfaces["enx0"].pci_addresses == ("0000:00:14.0",)
    assert not interfaces["eth0"].default_route


def test_network_at_the_console() -> None:
    """Without an SSH session no interface carries one."""
    assert not read({"commands/ssh-connection": ""})["eth0"].carries_ssh


ROUTES = (
    Route(ipaddress.ip_network("0.0.0.0/0"), "wan"),
    Route(ipaddress.ip_network("10.1.0.0/16"), "lab"),
    Route(ipaddress.ip_network("fe80::/64"), "link"),
    Route(ipaddress.ip_network("::/0"), "wan6"),
)


@pytest.mark.parametrize(
    ("connection", "interface"),
    [
        ("10.1.2.3 5000 10.1.0.1 22", "lab"),
        ("8.8.4.4 5000 10.1.0.1 22", "wan"),
        ("::ffff:10.1.2.3 5000 ::1 22", "lab"),
        ("fe80::1%eth0 5000 fe80::2 22", "link"),
        ("2001:db8::1 5000 2001:db8::2 22", "wan6"),
        ("", None),
        ("UNKNOWN 65535 UNKNOWN 65535", None),
    ],
)
def test_network_session_takes_the_longest_route(connection: str, interface: str | None) -> None:
    """The longest route to the client decides, mapped and scoped addresses included."""
    assert find_interface(connection, ROUTES) == interface


def test_network_routes_are_read() -> None:
    """Addresses are turned round; routes that reject, and lines that are none, are left out."""
    text = "head\neth0 0002000A 0 0001 0 0 0 00FFFFFF\nlo 00000000 0 0200 0 0 0 00000000\nbroken\neth0 zz 0 1 0 0 0 0\n"

    assert list(parse_routes(text)) == [Route(ipaddress.ip_network("10.0.2.0/24"), "eth0")]


def test_network_routes6_are_read() -> None:
    """IPv6 routes are read, those that reject are left out."""
    zero, prefix = "0" * 32, "fe80" + "0" * 28
    rows = [(prefix, "40", "00000001", "eth0"), (zero, "00", "00200200", "lo"), (zero, "00", "00000003", "eth0")]
    text = "\n".join(f"{to} {length} {zero} 00 {zero} 400 1 0 {flags} {name}" for to, length, flags, name in rows)

    assert list(parse_routes6(text)) == [
        Route(ipaddress.ip_network("fe80::/64"), "eth0"),
        Route(ipaddress.ip_network("::/0"), "eth0"),
    ]
