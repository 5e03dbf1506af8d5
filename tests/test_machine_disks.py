"""USB disks by their serial: waiting for one, with a made-up /sys and a made-up kernel log."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.core.deadline import Deadline
from harness.core.errors import BoardError, DeadlineError, RefusedError
from harness.core.timeline import SpanKind, Timeline
from harness.machine.disks import find_disk, hash_command, hash_window, read_hash, work_on_disk
from harness.transport.local import LocalTransport
from harness.transport.protocol import Result

SERIAL = "TP 0001'$(id)"
ATTACHED = "[   44.124128] sd 0:0:0:0: [sda] Attached SCSI disk"


class FakeHost(LocalTransport):
    """A host with its own /sys and /dev, and a ``dmesg`` that the test writes; a disk's node is a plain file there."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        (root / "sys/block").mkdir(parents=True)
        (root / "dev").mkdir()
        (root / "ready").mkdir()
        self.commands = 0
        self.dmesg("cat")

    def run(self, command: str | Sequence[str], **keywords: Any) -> Result:
        """Run a command that looks at this host instead of the machine of the tests."""
        self.commands += 1
        text = str(command).replace("/sys/", f"{self.root}/sys/").replace("/dev/", f"{self.root}/dev/").replace("[ -b ", "[ -e ")
        text = text.replace(f"2>{self.root}/dev/null", "2>/dev/null").replace("timeout 5 ", "timeout 1 ")
        return super().run(f"PATH={self.root}:$PATH\n{text}", **keywords)

    def dmesg(self, script: str) -> None:
        """Let this be the host's dmesg; ``plug`` in it makes the disk appear."""
        path = self.root / "dmesg"
        plug = f"plug() {{ mv {self.root}/ready/usb {self.root}/ready/sda {self.root}/sys/block/; touch {self.root}/dev/sda; }}"
        path.write_text(f"#!/bin/sh\n{plug}\n{script}\n")
        path.chmod(0o755)

    def prepare(self, *, sectors: int = 524288) -> None:
        """Make a disk that is not plugged in yet."""
        folder = self.root / "ready/sda"
        folder.mkdir()
        (folder / "size").write_text(f"{sectors}\n")
        # sda/device/../../../../serial: four levels above the SCSI device lies the USB device.
        device = self.root / "ready/usb/2-1/2-1:1.0/host0/target0:0:0/0:0:0:0"
        device.mkdir(parents=True)
        (device.parents[3] / "serial").write_text(f"{SERIAL}\n")
        (folder / "device").symlink_to(self.root / "sys/block/usb/2-1/2-1:1.0/host0/target0:0:0/0:0:0:0")

    def plug(self) -> None:
        """Plug the disk in."""
        for name in ("usb", "sda"):
            (self.root / "ready" / name).rename(self.root / "sys/block" / name)
        (self.root / "dev/sda").touch()


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """Return a host whose stick is not plugged in yet."""
    made = FakeHost(tmp_path)
    made.prepare()
    return made


def wait_for_disk(host: FakeHost) -> str:
    """Return the node of the stick, as soon as it is there."""
    return work_on_disk(host, SERIAL, {"node": 'echo "$disk"'}, soon())["node"].text


def test_work_on_one_of_twins_is_refused(host: FakeHost) -> None:
    """Where two disks have the serial nothing is run on either; an empty serial is any disk, and one of them will do."""
    host.plug()
    shutil.copytree(host.root / "sys/block/sda", host.root / "sys/block/sdb", symlinks=True)
    (host.root / "dev/sdb").touch()

    with pytest.raises(RefusedError, match=r"two disks .* have the serial .*/dev/sda and .*/dev/sdb"):
        work_on_disk(host, SERIAL, {"work": f"touch {host.root}/worked"}, soon())
    assert not (host.root / "worked").exists()
    assert work_on_disk(host, "", {"node": 'echo "$disk"'}, soon())["node"].text.endswith("/dev/sda")


def soon(length_s: float = 20.0) -> Deadline:
    """Return a deadline for a wait."""
    return Deadline.after(length_s, "the stick's way")


def test_disk_that_is_there_is_found_at_once(host: FakeHost) -> None:
    """A disk that is there needs one command, waits for nothing, and its time is nobody else's."""
    host.plug()
    timeline = Timeline()

    parts = work_on_disk(host, SERIAL, {"node": 'echo "$disk $sectors"'}, soon(), timeline=timeline)

    assert parts["node"].text == f"{host.root}/dev/sda 524288"
    assert find_disk(host, SERIAL) == f"{host.root}/dev/sda"
    assert timeline.spans == []
    assert host.commands == 2


@pytest.mark.parametrize("sectors", [524288, 0])
def test_disk_needs_a_medium_and_its_serial(tmp_path: Path, sectors: int) -> None:
    """A reader without a card is no disk, and neither is one with another serial."""
    host = FakeHost(tmp_path)
    host.prepare(sectors=sectors)
    host.plug()

    assert (find_disk(host, SERIAL) is not None) == (sectors > 0)
    assert find_disk(host, SERIAL[:-1]) is None


def test_disk_is_awaited_by_the_kernels_message(host: FakeHost) -> None:
    """The disk is found at the kernel's message, the follower is ended, and the time until then is the kernel's."""
    host.dmesg(f"echo '[ 1.0] Linux version'; sleep 0.4; plug; echo '{ATTACHED}'; exec sleep 60")
    timeline = Timeline()
    began_s = time.monotonic()

    parts = work_on_disk(host, SERIAL, {"node": 'echo "$disk"'}, soon(), timeline=timeline)

    assert time.monotonic() - began_s >= 0.3
    assert parts["node"].text == f"{host.root}/dev/sda"
    (span,) = timeline.spans
    assert span.kind is SpanKind.SETTLE
    assert 0.3 <= span.duration_s < 4


def test_disk_is_found_where_the_log_may_not_be_read(host: FakeHost) -> None:
    """A kernel log that may not be followed costs a second, not the disk."""
    host.dmesg('[ -e "$0.again" ] && plug; touch "$0.again"; echo "dmesg: read kernel buffer failed" >&2; exit 1')

    assert wait_for_disk(host) == f"{host.root}/dev/sda"


def test_disk_that_no_message_tells_of_is_found(host: FakeHost) -> None:
    """A disk that appears without a word is found after a few seconds."""
    host.dmesg("sleep 0.2; plug; exec sleep 60")

    assert wait_for_disk(host) == f"{host.root}/dev/sda"


def test_disk_that_does_not_come_is_the_boards_fault(host: FakeHost) -> None:
    """When the deadline passes, the error names stick and host, with the end of the kernel's log; the work is not begun."""
    host.dmesg('case $* in *-w*) exit 1 ;; esac; echo "[ 9.9] usb 2-1: device descriptor read/64, error -71"')
    timeline = Timeline()

    with pytest.raises(BoardError, match=r"the stick .* did not come up on this machine within 1 s") as caught:
        work_on_disk(host, SERIAL, {"never": f"touch {host.root}/begun"}, soon(1), timeline=timeline)

    assert caught.value.evidence == "[ 9.9] usb 2-1: device descriptor read/64, error -71"
    assert not (host.root / "begun").exists()
    assert [span.kind for span in timeline.spans] == [SpanKind.SETTLE]


def test_disk_that_had_no_time_is_nobodys_fault(host: FakeHost) -> None:
    """A disk that the end of its stage leaves no time to come up fails no board."""
    host.dmesg("echo '[   44.0] usb 2-1: device descriptor read/64, error -71'")

    with pytest.raises(DeadlineError, match=r"^the stage usb took longer than 1 s$"):
        work_on_disk(host, SERIAL, {"never": "true"}, Deadline.after(1, "the stage usb").within(60, "the stick"))


def test_log_cannot_name_the_follower(host: FakeHost) -> None:
    """A message that looks like the word about the follower is a message: only a line with this wait's own key is believed."""
    host.dmesg(f"echo 'follower 1 1.00 1'; sleep 0.2; plug; echo '{ATTACHED}'; exec sleep 60")

    assert wait_for_disk(host) == f"{host.root}/dev/sda"


def test_hash_is_that_of_the_window(tmp_path: Path) -> None:
    """The hash is that of the first MiB alone; an unreadable disk is the board's fault, and named."""
    path = tmp_path / "disk"
    path.write_bytes(bytes(2 << 20))
    of_one_mib_of_zeros = "30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58"
    plain = LocalTransport().run(hash_command(str(path), 1).replace("iflag=direct", ""))

    assert read_hash(plain, "sda") == of_one_mib_of_zeros
    with pytest.raises(BoardError, match="could not be read"):
        hash_window(LocalTransport(), str(tmp_path / "gone"), 1)


def test_disk_of_a_guest_that_stands_for_a_stick_is_found_by_its_serial(host: FakeHost) -> None:
    """A paravirtual disk is found by the serial that it was given; whoever asks for any stick does not get it."""
    folder = host.root / "sys/block/vdb"
    folder.mkdir()
    for name, text in {"serial": "tp-0123456789abcdef", "size": "524288\n"}.items():  # a serial without a newline, as in Linux
        (folder / name).write_text(text)
    (host.root / "dev/vdb").touch()

    assert find_disk(host, "tp-0123456789abcdef") == f"{host.root}/dev/vdb"
    assert find_disk(host, "tp-0123456789abcde0") is None
    assert find_disk(host, "") is None
