"""Attributes that change with the driver: read before, put back after, and what does not come back is named."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from harness.actions import attributes as attributes_module
from harness.actions.attributes import read_attributes, restore_attributes, told_missing
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

    assert restore_attributes(LocalTransport(), FOUND) == ()

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
    missing = restore_attributes(LocalTransport(), FOUND)
    coming.join()

    assert missing == ()
    assert read_attributes(LocalTransport(), [ADDRESS]) == FOUND


def test_attributes_of_what_stays_away_are_named(device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that does not come back is named once the time is up; one on a bus that is gone is not waited for."""
    monkeypatch.setattr(attributes_module, "BACK_LIMIT_S", 1)
    (device / "usb2" / "2-1" / "2-1.3").rename(device / "elsewhere")

    missing = restore_attributes(LocalTransport(), FOUND | {f"{ADDRESS}/usb7/7-1/power/control": "on"})

    assert missing == ("2-1.3",)
    assert told_missing(missing) == "; not back within 1 s: 2-1.3"
    assert told_missing(()) == ""
