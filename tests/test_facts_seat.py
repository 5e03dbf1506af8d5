"""Who works at a host, and which keyboards it has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.core.capture import Status
from harness.facts.host import read_facts
from harness.facts.probe import parse_probe
from harness.facts.seat import parse_keyboards, read_seat
from tests.captures import Files, make_capture
from tests.test_facts_probe import SHELLS, run_probe, write

FULL = "402000007 ff9f207ac14057ff febeffdfffefffff fffffffffffffffe"


def device(name: str, path: str, keys: str) -> str:
    """Return an entry of the kernel's list of input devices."""
    head = (
        f'I: Bus=0003 Vendor=045e Product=0746 Version=0111\nN: Name="{name}"\nP: Phys=x/input0\nS: Sysfs={path}/input/input5\n'
    )
    return f"{head}U: Uniq=\nH: Handlers=sysrq kbd event5 leds \nB: PROP=0\nB: EV=120013\nB: KEY={keys}\nB: LED=1f\n\n"


def session(**changes: str) -> str:
    """Return a session file of logind."""
    fields = {"UID": "1000", "SEAT": "seat0", "REMOTE": "0", "CLASS": "user", "STATE": "active"} | changes
    return "".join(f"{key}={value}\n" for key, value in fields.items() if value)


def test_keyboards_are_those_that_one_can_touch() -> None:
    """Who has the letters is a keyboard, a power button is none; what a program makes is no hardware."""
    text = (
        device("Power Button", "/devices/LNXSYSTM:00/LNXPWRBN:00", "10000000000000 0")
        + device("AT Translated Set 2 keyboard", "/devices/platform/i8042/serio0", FULL)
        + device("USB Keyboard", "/devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/0003:045E:0746.0001", FULL)
        + device("keyd virtual keyboard", "/devices/virtual/misc/uinput", FULL)
        + device("cut", "/devices/platform/i8042/serio1", "garbage")
    )

    found = parse_keyboards(text)

    assert [keyboard.name for keyboard in found] == ["AT Translated Set 2 keyboard", "USB Keyboard"]
    assert [keyboard.pci_addresses for keyboard in found] == [(), ("0000:00:14.0",)]


@pytest.mark.parametrize(
    ("text", "is_local"),
    [
        (session(), True),
        (session(CLASS="user-early"), True),
        (session(CLASS="greeter"), False),
        (session(SEAT=""), False),
        (session(REMOTE="1"), False),
        (session(STATE="closing"), False),
        ("", False),
    ],
)
def test_seat_sessions(text: str, is_local: bool) -> None:  # noqa: FBT001 (a table's column)
    """A person's session at a seat of the host is local; that of SSH, a greeter's and one that ends are not."""
    assert read_seat(make_capture({"run/systemd/sessions/4": text})).local == (("4",) if is_local else ())


@pytest.mark.parametrize(
    ("files", "way"),
    [
        ({"commands/ssh-connection": "192.0.2.1 4 192.0.2.2 22"}, "ssh"),
        ({"commands/ssh-connection": ""}, "local"),
        ({"commands/ssh-connection": Status.DENIED}, "unknown"),
        ({}, "unknown"),
    ],
    ids=["ssh", "local", "denied", "not-read"],
)
def test_seat_way_of_the_session(files: Files, way: str) -> None:
    """The way by which the probe came is known only where it was told."""
    assert read_seat(make_capture(files)).session == way


@pytest.mark.parametrize("shell", SHELLS)
def test_probe_reads_the_seat(tmp_path: Path, shell: list[str]) -> None:
    """The probe brings the sessions without the names of people, never opens logind's pipes, and brings the input devices."""
    write(tmp_path, "run/systemd/sessions/4", session(USER="somebody"))
    os.mkfifo(tmp_path / "run/systemd/sessions/4.ref")
    write(tmp_path, "proc/bus/input/devices", device("Keys", "/devices/platform/i8042/serio0", FULL))

    capture = parse_probe(run_probe(tmp_path, shell))

    seat = read_facts(capture, {}).seat
    assert seat.local == ("4",)
    assert [keyboard.name for keyboard in seat.keyboards or ()] == ["Keys"]
    assert not any(b"somebody" in item.data for item in capture.items.values())
