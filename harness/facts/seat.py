"""Whether somebody works at the host's own screen and keyboard, and which keyboards it has."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from harness.core.capture import Capture, Status
from harness.facts.sysfs import pci_addresses_on

_DEVICES, _SESSIONS, _CONNECTION = "proc/bus/input/devices", "run/systemd/sessions", "commands/ssh-connection"
_LETTERS = 0xFFFFFFFE
"""Who has all of the first keys (escape, digits, letters) is a keyboard: so udev tells them from buttons."""


class Keyboard(msgspec.Struct, frozen=True):
    """A keyboard of whatever bus; ``path`` is where it hangs, ``pci_addresses`` the functions above it (none: PS/2, I2C)."""

    name: str
    path: str = ""
    pci_addresses: tuple[str, ...] = ()


class Seat(msgspec.Struct, frozen=True):
    """Who works at the host: ``session`` is the way by which the probe came, ``local`` the sessions of people at its own screen.

    ``keyboards`` are those that a person can touch (None: the kernel's list was not read).
    """

    session: Literal["ssh", "local", "unknown"] = "unknown"
    local: tuple[str, ...] = ()
    keyboards: tuple[Keyboard, ...] | None = None


def read_seat(capture: Capture) -> Seat:
    """Read the way of the session, the sessions of logind, and the kernel's list of input devices."""
    connection = capture.get(_CONNECTION)
    known = connection.status is Status.READ
    listing = capture.text(_DEVICES)
    return Seat(
        session=("ssh" if connection.text else "local") if known else "unknown",
        local=tuple(name for name in capture.children(_SESSIONS) if _is_local(capture.text(f"{_SESSIONS}/{name}") or "")),
        keyboards=None if listing is None else parse_keyboards(listing),
    )


def parse_keyboards(text: str) -> tuple[Keyboard, ...]:
    """Return the keyboards of /proc/bus/input/devices; those that programs make (and Bluetooth's) are no hardware here."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(re.findall(r"^[A-Z]: ([A-Za-z]+)=(.*)$", block, re.MULTILINE))
        path = f"/sys{fields.get('Sysfs', '')}"
        if (
            _has_letters(fields.get("KEY", ""))
            and path.startswith("/sys/devices/")
            and not path.startswith("/sys/devices/virtual/")
        ):
            found.append(Keyboard(fields.get("Name", "").strip('"'), path, pci_addresses_on(path)))
    return tuple(found)


def _has_letters(keys: str) -> bool:
    """Return whether a mask of keys, its lowest word last, holds all of the first ones."""
    words = keys.split()
    return bool(words) and re.fullmatch(r"[0-9a-f]{1,16}", words[-1]) is not None and int(words[-1], 16) & _LETTERS == _LETTERS


def _is_local(text: str) -> bool:
    """Return whether a session of logind is a person's at a seat of this host; a greeter waits for one."""
    fields = dict(line.partition("=")[::2] for line in text.splitlines())
    is_person = fields.get("CLASS", "").startswith("user") and fields.get("STATE") != "closing"
    return is_person and bool(fields.get("SEAT")) and fields.get("REMOTE") != "1"
