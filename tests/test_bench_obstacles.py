"""What is in the way of a guest on a host: found beforehand, each in a sentence with what to do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.bench.obstacles import BY_SSH, DEVICES, PROGRAMS, Delivery, Obstacle, _memory, find_obstacles
from harness.core.deadline import Deadline
from harness.machine.batch import Part
from harness.transport.local import LocalTransport
from harness.transport.route import open_target
from harness.transport.ssh import SshTransport
from tests.sshd import serving, target_of

ALL_DEVICES = "".join(f'name "{device}", bus PCI\n' for device in DEVICES)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[SshTransport]:
    """Connect to a server that runs commands here and forwards no ports."""
    with serving() as server:
        (tmp_path / "key").write_text(server.client_key.private, encoding="utf-8")
        with open_target(target_of(server, tmp_path / "key"), Deadline.after(20, "connecting")) as transport:
            yield transport


def made_qemu(folder: Path, version: str, *, devices: str = ALL_DEVICES, networks: str = "user\ntap") -> str:
    """Return a program that answers as QEMU does when it is asked what it is and has."""
    path = folder / "qemu"
    answers = f"'{version}' ;;\n-device) echo '{devices}' ;;\n-netdev) echo '{networks}' ;;"
    path.write_text(f"#!/bin/sh\ncase $1 in\n--version) echo {answers}\nesac\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def sentences(found: tuple[Obstacle, ...]) -> list[str]:
    """Return what was found, after each has said what to do about it."""
    assert all(each.remedy for each in found)
    return [each.sentence for each in found]


def test_obstacles_none(tmp_path: Path) -> None:
    """A host with memory, programs and a good QEMU has nothing in the way."""
    assert find_obstacles(LocalTransport(), made_qemu(tmp_path, "QEMU emulator version 6.2.0 (Debian)")) == ()


def test_obstacles_qemu_that_is_missing() -> None:
    """A QEMU that the bench file names and the host has not is named, with the key that names another."""
    (found,) = find_obstacles(LocalTransport(), "/nowhere/qemu-kvm")

    assert found.sentence == "there is no program /nowhere/qemu-kvm on the host: no guest can be started"
    assert "host.qemu" in found.remedy


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        pytest.param("QEMU emulator version 6.1.1", "QEMU on the host is 6.1, 6.2 is the oldest that serves", id="too-old"),
        pytest.param("QEMU emulator version 10.0.2", None, id="two-digits"),
        pytest.param("hello", "does not say its version", id="something-else"),
    ],
)
def test_obstacles_version_of_qemu(tmp_path: Path, version: str, sentence: str | None) -> None:
    """A QEMU that cannot take our devices is told by its version."""
    found = sentences(find_obstacles(LocalTransport(), made_qemu(tmp_path, version)))

    assert len(found) == (1 if sentence else 0)
    assert not sentence or sentence in found[0]


def test_obstacles_parts_that_qemu_lacks(tmp_path: Path) -> None:
    """A QEMU that was built without a device or without user networking is told by what it lacks."""
    devices = ALL_DEVICES.replace('"usb-host"', '"usb-hub"')
    qemu = made_qemu(tmp_path, "QEMU emulator version 9.0.0", devices=devices, networks="tap\nuser-something")
    (found,) = sentences(find_obstacles(LocalTransport(), qemu))

    assert found.endswith("on the host was built without usb-host, user networking (-netdev user)")


def test_obstacles_programs_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that our scripts need are named; of two that serve alike, one is enough."""
    (tmp_path / "bin").mkdir()
    for name in {"sh", "df", *PROGRAMS, *BY_SSH} - {"tar", "setsid", "perl|python3"}:
        (tmp_path / "bin" / name).symlink_to(shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin") or "/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    assert sentences(find_obstacles(LocalTransport())) == ["the host lacks setsid, which our scripts run there"]
    (tmp_path / "bin" / "setsid").symlink_to("/bin/true")
    (tmp_path / "bin" / "python3").symlink_to("/bin/true")
    assert sentences(find_obstacles(LocalTransport())) == []


def test_obstacles_by_ssh(host: SshTransport, tmp_path: Path) -> None:
    """Over SSH there must be room for the guest's files, in a folder of the user's own, and ports must be forwarded."""
    (tmp_path / "work").mkdir(mode=0o755)
    room, name = 1 << 60, "tiny-0123456789abcdef"
    deeper = Delivery(str(tmp_path / "not" / "there"), room)
    found = sentences(find_obstacles(host, delivery=deeper))
    assert any(f"files need {room // 10**6} MB under {tmp_path}/not/there on the host, " in each for each in found)
    assert "the host's sshd forwards no ports: the guest could not be reached" in found
    assert not any("not a folder of this user alone" in each for each in found)

    found = sentences(find_obstacles(host, delivery=Delivery(str(tmp_path / "work"), 1)))
    assert f"the folder {tmp_path}/work on the host is not a folder of this user alone (mode 0700)" in found

    (tmp_path / "work").chmod(0o700)
    (tmp_path / "work" / name).mkdir()
    found = sentences(find_obstacles(host, delivery=Delivery(str(tmp_path / "work"), room, name)))
    assert found == ["the host's sshd forwards no ports: the guest could not be reached"]


def test_obstacles_change_nothing(host: SshTransport, tmp_path: Path) -> None:
    """Looking makes no folder."""
    before = sorted(tmp_path.iterdir())
    find_obstacles(host, delivery=Delivery(str(tmp_path / "work" / "deep"), 1))

    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(("available", "enough"), [("655360", True), ("655359", False), ("", True), ("many", True), ("0", False)])
def test_obstacles_memory(available: str, enough: bool) -> None:  # noqa: FBT001 (the parameter's value)
    """The guest's memory and QEMU's must be available; a kernel that does not say so is no obstacle."""
    found = list(_memory(Part("host", "look", 0, available.encode(), b"", 0.0, 0.0)))

    assert (not found) == enough
    assert all("the guest needs 640 MiB" in each.sentence for each in found)
