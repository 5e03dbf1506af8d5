"""Attributes that change with the driver: read before, put back after, and what does not come back is named."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from harness.actions import attributes as attributes_module
from harness.actions.attributes import Unrestored, read_attributes, restore_attributes, told_unrestored
from harness.transport.local import LocalTransport

ADDRESS = "0000:01:00.0"


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let a folder stand for a controller with a root hub, a hub on it, and a stick on that."""
    monkeypatch.setattr(attributes_module, "DEVICES", str(tmp_path))
    real = tmp_path / "real" / ADDRESS
    for folder, control in ((".", "auto"), ("usb2", "on"), ("usb2/2-1", "auto"), ("usb2/2-1/2-1.3", "on")):
        power = real / folder / "power"
        power.mkdir(parents=True)
        (power / "control").write_text(f"{control}\n", encoding="ascii")
    (real / "usb2" / "2-0:1.0" / "power").mkdir(parents=True)
    (real / "usb2" / "2-0:1.0" / "power" / "control").write_text("on\n", encoding="ascii")
    (real / "d3cold_allowed").write_text("1\n", encoding="ascii")
    (real / "power" / "wakeup").write_text("", encoding="ascii")
    (tmp_path / ADDRESS).symlink_to(real)
    return real


FOUND = {
    f"{ADDRESS}/power/control": "auto",
    f"{ADDRESS}/d3cold_allowed": "1",
    f"{ADDRESS}/usb2/power/control": "on",
    f"{ADDRESS}/usb2/2-1/power/control": "auto",
    f"{ADDRESS}/usb2/2-1/2-1.3/power/control": "on",
}


@pytest.mark.usefixtures("device")
def test_attributes_of_all_that_hangs_there_are_read() -> None:
    """The function, its root hubs and the devices behind them are read; interfaces and what has no value are left out."""
    assert read_attributes(LocalTransport(), [ADDRESS, "0000:09:00.0"]) == FOUND


def test_attributes_that_changed_are_written_back(device: Path) -> None:
    """What differs gets its value again; nothing else is written to."""
    (device / "power" / "control").write_text("on\n", encoding="ascii")
    untouched = device / "usb2" / "power" / "control"
    untouched.chmod(0o444)
    before = untouched.stat().st_mtime_ns

    assert restore_attributes(LocalTransport(), FOUND) == Unrestored()

    assert read_attributes(LocalTransport(), [ADDRESS]) == FOUND
    assert untouched.stat().st_mtime_ns == before


def test_attributes_of_a_device_that_is_late_are_written(device: Path) -> None:
    """A device that comes up a moment later gets its values then."""
    late = device / "usb2" / "2-1"
    late.rename(device / "elsewhere")

    def come() -> None:
        time.sleep(0.3)  # the delay is what is tested
        (device / "elsewhere" / "power" / "control").write_text("on\n", encoding="ascii")
        (device / "elsewhere").rename(late)

    coming = threading.Thread(target=come)
    coming.start()
    unrestored = restore_attributes(LocalTransport(), FOUND)
    coming.join()

    assert unrestored == Unrestored()
    assert read_attributes(LocalTransport(), [ADDRESS]) == FOUND


def test_attributes_of_what_stays_away_are_named(device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that does not come back is named once the time is up."""
    monkeypatch.setattr(attributes_module, "BACK_LIMIT_S", 1)
    (device / "usb2" / "2-1" / "2-1.3").rename(device / "elsewhere")

    unrestored = restore_attributes(LocalTransport(), FOUND)

    assert unrestored == Unrestored(missing=("2-1.3",))
    assert told_unrestored(unrestored) == "; not back within 1 s: 2-1.3"
    assert told_unrestored(Unrestored()) == ""


def test_attributes_that_keep_another_value_are_named(device: Path) -> None:
    """A value that is written and does not stay is no value that was put back."""
    control = device / "usb2" / "power" / "control"
    control.unlink()
    control.symlink_to("/proc/sys/kernel/ostype")  # which root may not write either

    unrestored = restore_attributes(LocalTransport(), FOUND)

    assert unrestored == Unrestored(refused=(f"{ADDRESS}/usb2/power/control (Linux, was on)",))
    assert told_unrestored(unrestored).startswith(f"; not as before: {ADDRESS}/usb2/power/control")


def test_attributes_follow_a_bus_to_its_new_number(device: Path) -> None:
    """A controller whose buses came back with other numbers has the values of each at its place in the order."""
    for folder, control in (("usb10", "on"), ("usb10/10-2", "auto")):
        power = device / folder / "power"
        power.mkdir(parents=True)
        (power / "control").write_text(f"{control}\n", encoding="ascii")
    found = read_attributes(LocalTransport(), [ADDRESS])
    for old, new in (("usb2/2-1/2-1.3", "usb2/2-1/3-1.3"), ("usb2/2-1", "usb2/3-1"), ("usb2", "usb3")):
        (device / old).rename(device / new)
    for old, new in (("usb10/10-2", "usb10/11-2"), ("usb10", "usb11")):
        (device / old).rename(device / new)
    for each in device.glob("usb*/**/control"):
        each.write_text("other\n", encoding="ascii")

    assert restore_attributes(LocalTransport(), found) == Unrestored()
    assert (device / "usb3/3-1/3-1.3/power/control").read_text(encoding="ascii") == "on\n"
    assert (device / "usb3/3-1/power/control").read_text(encoding="ascii") == "auto\n"
    assert (device / "usb11/power/control").read_text(encoding="ascii") == "on\n"
    assert (device / "usb11/11-2/power/control").read_text(encoding="ascii") == "auto\n"
