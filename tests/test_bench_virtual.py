"""The virtual board: what a bench file becomes, without starting it."""

from __future__ import annotations

import errno
import hashlib
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.bench.config import parse_bench
from harness.bench.images import Image
from harness.bench.virtual import VirtualBench, board_spec, stick_devices, stick_file, stick_sha256, usb_port
from harness.core.errors import BenchError, UsageError
from harness.core.marker import MARKER_BYTES, decode_marker
from harness.core.pattern import pattern_sha256
from harness.machine.spec import MachineSpec

IMAGE = Image("debian13", Path("/images/debian13"))
HEAD = 'schema = 1\nname = "b"\nkind = "virtual"\n[controller]\nid = "1033:0194"\n'
CARD = '[[board.device]]\nid = "card"\ndriver = "nec-usb-xhci"\n'
STICK = '[[board.stick]]\nid = "{0}"\non = "card"\n'


def bench(text: str) -> VirtualBench:
    """Return the bench of a text, that of a board with one card."""
    return VirtualBench(parse_bench(HEAD + text, "b.toml"))


def spec_of(text: str) -> MachineSpec:
    """Return the machine of a text; every stick has a file named for it."""
    board = bench(text).board
    return board_spec("b", board, IMAGE, {stick.id: Path("/sticks") / stick.id for stick in board.stick}, "tcg")


def drivers(spec: MachineSpec) -> list[Any]:
    """Return the drivers of a machine's devices, in their order."""
    return [device["driver"] for device in spec.devices]


def test_board_iommu_comes_first() -> None:
    """The IOMMU comes before what it translates for, each port before what sits in it."""
    spec = spec_of("[board]\n" + CARD)

    assert drivers(spec) == ["intel-iommu", "pcie-root-port", "nec-usb-xhci"]
    assert spec.devices[0] == {"driver": "intel-iommu", "intremap": "on", "caching-mode": True}
    assert spec.devices[2]["bus"] == spec.devices[1]["id"]
    assert "kernel-irqchip=split" in spec.machine


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        pytest.param('iommu = "none"', [], id="none"),
        pytest.param('iommu = "amd"', [{"driver": "amd-iommu", "intremap": "on"}], id="amd"),
        pytest.param(
            "interrupt_remapping = false",
            [{"driver": "intel-iommu", "intremap": "off", "caching-mode": True}],
            id="intel-without-remapping",
        ),
    ],
)
def test_board_iommu_is_what_the_file_says(keys: str, expected: list[dict[str, Any]]) -> None:
    """The board has the IOMMU that its file describes, or none."""
    devices = spec_of(f"[board]\n{keys}\n{CARD}").devices

    assert [device for device in devices if "iommu" in device["driver"]] == expected


def test_board_twin_cards_share_a_bridge() -> None:
    """Two devices on one bridge get it once, behind a port of its own."""
    text = '[board]\niommu = "none"\n' + CARD + 'bus = "bridge:b1"\n' + CARD.replace('"card"', '"twin"') + 'bus = "bridge:b1"\n'
    spec = spec_of(text)

    assert drivers(spec) == ["pcie-root-port", "pcie-pci-bridge", "nec-usb-xhci", "nec-usb-xhci"]
    assert [device["bus"] for device in spec.devices[2:]] == ["b1", "b1"]


def test_board_device_options_are_passed_on() -> None:
    """Options of a device reach QEMU with their types; on pcie.0 a device needs no port."""
    spec = spec_of('[board]\niommu = "none"\n' + CARD + 'bus = "pcie.0"\noptions = { msix = "off", p2 = 2, x = true }\n')

    assert spec.devices == ({"driver": "nec-usb-xhci", "id": "card", "bus": "pcie.0", "msix": "off", "p2": 2, "x": True},)


def test_board_sticks_wait_unless_plugged() -> None:
    """A stick is there from the start only if its file says so; its content is a node all the same."""
    spec = spec_of("[board]\n" + CARD + STICK.format("s1") + STICK.format("s2") + 'serial = "B"\nplugged = true\n')

    assert [device["id"] for device in spec.devices if device["driver"] == "usb-storage"] == ["s2"]
    assert [drive.node for drive in spec.drives] == ["root", "stick-s1", "stick-s2"]


def test_board_stick_throttle_in_bytes() -> None:
    """A throttle of the file, in MiB/s, is one of the node, in bytes a second."""
    spec = spec_of("[board]\n" + CARD + STICK.format("s1") + "throttle_mib_s = 1.5\n")

    assert [drive.bps for drive in spec.drives] == [0, 3 << 19]


def test_board_stick_that_slows_down() -> None:
    """A burst is a faster throttle for some seconds, and one without a throttle to fall to is an error."""
    stick = "[board]\n" + CARD + STICK.format("s1") + "burst_mib_s = 40\nburst_s = 3\n"
    drive = spec_of(stick + "throttle_mib_s = 5\n").drives[1]

    assert (drive.bps, drive.burst_bps, drive.burst_s) == (5 << 20, 40 << 20, 3)
    for slow in ("", "throttle_mib_s = 40\n"):
        with pytest.raises(UsageError, match="stick 's1' has a burst, which needs a lower 'throttle_mib_s' to fall to"):
            spec_of(stick + slow)


def test_board_root_on_the_card() -> None:
    """With the root on a stick, that stick is the image's disk, plugged from the start, and no run can pull it."""
    text = '[board]\nroot = "usb:s1"\n' + CARD + STICK.format("s1") + STICK.format("s2") + 'serial = "B"\n'
    board = bench(text)
    spec = board_spec("b", board.board, IMAGE, {"s2": Path("/sticks/s2")}, "tcg")

    assert spec.root == "usb"
    assert [device["drive"] for device in spec.devices if device["driver"] == "usb-storage"] == ["root"]
    assert [stick.id for stick in board.loose_sticks()] == ["s2"]
    assert (found := board.find_stick()) is not None
    assert found.id == "s2"


@pytest.mark.parametrize(
    ("options", "usb", "port"),
    [("", 3, 1), ("", 2, 5), ("options = { p3 = 2 }\n", 2, 3), ("options = { p3 = 0 }\n", 2, 1)],
    ids=["usb3", "usb2", "usb2-above-two", "usb2-card-without-usb3"],
)
def test_stick_port_has_its_speed(options: str, usb: int, port: int) -> None:
    """SuperSpeed ports come first, ports above the card's p3 are USB 2 alone."""
    board = bench("[board]\n" + CARD + options + STICK.format("s1") + f"usb = {usb}\n").board

    assert usb_port(board, board.stick[0]) == port


def test_stick_siblings_have_ports_of_their_own() -> None:
    """Two sticks of one speed on one card are in neighbouring ports."""
    board = bench("[board]\n" + CARD + STICK.format("s1") + STICK.format("s2")).board

    assert [usb_port(board, stick) for stick in board.stick] == [1, 2]


def test_stick_uas_is_two_devices() -> None:
    """A UAS stick is a bridge and a disk on it, both with the serial."""
    board = bench("[board]\n" + CARD + STICK.format("s1") + 'protocol = "uas"\nserial = "U1"\n').board
    bridge, disk = stick_devices(board, board.stick[0])

    assert (bridge["driver"], disk["driver"], disk["bus"]) == ("usb-uas", "scsi-hd", "s1.0")
    assert bridge["serial"] == disk["serial"] == "U1"


def test_stick_is_chosen_by_the_storage_table() -> None:
    """The stick of [storage] is the one to plug; a board without sticks has none."""
    sticks = "[board]\n" + CARD + STICK.format("s1") + 'serial = "A"\n' + STICK.format("s2") + 'serial = "B"\n'

    chosen = bench(sticks + '[storage]\nserial = "B"\n').find_stick()

    assert chosen is not None
    assert chosen.id == "s2"
    assert bench("[board]\n" + CARD).find_stick() is None


def test_stick_file_holds_the_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stick's content is the pattern of its serial, whatever signs that holds, and each run has a copy of its own."""
    monkeypatch.setenv("THROUGHPASS_CACHE", str(tmp_path / "cache"))
    serial = "../<img src=x>"
    stick = bench("[board]\n" + CARD + STICK.format("s1") + f'size_mib = 64\nserial = "{serial}"\n').board.stick[0]
    (tmp_path / "run").mkdir()

    mine = stick_file(stick, tmp_path / "run")
    mine.write_bytes(b"spoilt")
    again = stick_file(stick, tmp_path / "run")

    assert again == tmp_path / "run" / "s1"
    assert hashlib.sha256(again.read_bytes()).hexdigest() == pattern_sha256(serial, 64)
    assert len(list((tmp_path / "cache" / "sticks").iterdir())) == 1


def test_stick_that_is_scratch_begins_with_a_marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stick that the bench file calls scratch has its own marker before the pattern, and its SHA-256 is known all the same."""
    monkeypatch.setenv("THROUGHPASS_CACHE", str(tmp_path / "cache"))
    stick = bench("[board]\n" + CARD + STICK.format("s1") + 'size_mib = 64\nserial = "S"\nscratch = true\n').board.stick[0]

    data = stick_file(stick, tmp_path).read_bytes()

    marker = decode_marker(data[:MARKER_BYTES])
    assert marker is not None
    assert (marker.serial, marker.size_bytes) == ("S", 64 << 20)
    assert hashlib.sha256(data[: 8 << 20]).hexdigest() == stick_sha256(stick, 8)


def test_stick_files_of_long_serials_are_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two serials that begin alike, however long, have contents of their own."""
    monkeypatch.setenv("THROUGHPASS_CACHE", str(tmp_path / "cache"))
    texts = [STICK.format(f"s{end}") + f'size_mib = 64\nserial = "{"x" * 120}{end}"\n' for end in "12"]
    sticks = bench("[board]\n" + CARD + "".join(texts)).board.stick

    first, second = (hashlib.sha256(stick_file(stick, tmp_path).read_bytes()).hexdigest() for stick in sticks)

    assert (first, second) == tuple(pattern_sha256(stick.serial, 64) for stick in sticks)
    assert first != second


def test_stick_file_without_room_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache and the run's own folder are told apart: each has a variable of its own that moves it."""
    monkeypatch.setenv("THROUGHPASS_CACHE", str(tmp_path / "cache"))
    stick = bench("[board]\n" + CARD + STICK.format("s1") + "size_mib = 64\n").board.stick[0]
    run = tmp_path / "run"
    run.mkdir()
    free = {tmp_path / "cache" / "sticks": 1 << 40, run: 0}
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free[folder]))

    with pytest.raises(UsageError, match=rf"64 MiB under {run}, 0 MiB are free: .* set TMPDIR"):
        stick_file(stick, run)
    free[run] = 1 << 40
    monkeypatch.setattr(shutil, "copyfile", full_disk)
    with pytest.raises(BenchError, match=rf"the disk under {run} is full: .* set TMPDIR"):
        stick_file(stick, run)


def full_disk(*_: Any) -> None:
    """Fail as a full disk does."""
    raise OSError(errno.ENOSPC, "No space left on device")


def test_board_that_is_not_open_has_no_machine() -> None:
    """Whoever asks for the machine of a board that is not running is told so."""
    with pytest.raises(BenchError, match="the board b is not running"):
        _ = bench("[board]\n" + CARD).machine
