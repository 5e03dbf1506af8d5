"""Scratch disks: what is on them is somebody's until it was named, and a refusal changes not a byte. Images stand for disks."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import replace as replace_permit
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from harness.core.deadline import Deadline
from harness.core.errors import RefusedError
from harness.core.finding import Severity
from harness.core.marker import MARKER_BYTES, Marker
from harness.facts.content import NamedDisk
from harness.facts.host import SWAPS, HostFacts
from harness.facts.storage import Disk
from harness.machine.batch import Part
from harness.machine.guarded import Permit, permit, write_on_disk
from harness.machine.scratch import look_at_disk, put_marker, remove_marker
from harness.rules.scratch import judge_marking, judge_writing, require_allowed
from harness.transport.protocol import Result
from tests.signatures import DISKS, SIZE_BYTES, make_disk
from tests.test_machine_disks import SERIAL, FakeHost

pytestmark = pytest.mark.skipif(not shutil.which("wipefs"), reason="util-linux is not installed")

MARKER = Marker(SERIAL, SIZE_BYTES, 512, "2026-01-01T00:00:00+00:00", "somebody@example")
DISK = Disk("sda", SIZE_BYTES, SERIAL, "QEMU", "USB HARDDISK", usb_device="2-1")
FACTS = HostFacts(disks=(DISK,), unread=())


class ScratchHost(FakeHost):
    """A host with one disk, whose node is an image; what it prints has the names that it would have."""

    def run(self, command: str | Sequence[str], **keywords: Any) -> Result:
        """Run a command on the images."""
        text = command[2] if isinstance(command, list) else str(command)
        result = super().run(text, **keywords)
        return Result(result.host, result.command, result.status, self._named(result.stdout), self._named(result.stderr))

    @property
    def image(self) -> Path:
        """Return the disk's node."""
        return self.root / "dev/sda"

    def digest(self) -> str:
        """Return the SHA-256 of the whole disk."""
        return hashlib.sha256(self.image.read_bytes()).hexdigest()

    def look(self, facts: HostFacts = FACTS) -> NamedDisk:
        """Look at the disk."""
        return look_at_disk(self, SERIAL, facts)

    def _named(self, data: bytes) -> bytes:
        return data.replace(str(self.root).encode(), b"")


@pytest.fixture
def host(tmp_path: Path) -> ScratchHost:
    """Return a host whose disk is blank."""
    made = ScratchHost(tmp_path)
    made.prepare(sectors=SIZE_BYTES // 512)
    made.plug()
    make_disk(made.image, "blank")
    return made


def mark(host: ScratchHost, *overwrite: str) -> None:
    """Mark the disk as the verb does, its questions apart."""
    named = host.look()
    require_allowed(judge_marking(named, overwrite))
    put_marker(host, named, MARKER, overwrite)


@pytest.mark.parametrize("kind", DISKS)
def test_disk_with_data_is_refused_and_stays(host: ScratchHost, kind: str) -> None:
    """A disk with a signature of any kind is recognised by the host's own tools, refused, and not a byte of it changes."""
    make_disk(host.image, kind)
    before = host.digest()

    with pytest.raises(RefusedError, match=f"holds .*{DISKS[kind][0]} at ") as caught:
        mark(host)
    with pytest.raises(RefusedError, match="not marked as scratch"):
        permit(host.look())
    with pytest.raises(RefusedError):
        mark(host, "somethingelse")

    assert f"--overwrite {DISKS[kind][0]}" in caught.value.remedy
    assert host.digest() == before


@pytest.mark.parametrize("kind", sorted(set(DISKS) - {"gpt", "gpt-backup-alone"}))  # wipefs erases those of a real disk alone
def test_disk_whose_data_were_named_is_marked(host: ScratchHost, kind: str) -> None:
    """Once each kind on it is named, a disk is marked, and nothing is recognised on it any more."""
    make_disk(host.image, kind)
    here = {each.kind for each in (host.look().content or pytest.fail("no content")).signatures}

    mark(host, *here)

    assert judge_writing(host.look()).severity is Severity.PASS


def test_blank_disk_is_marked_and_unmarked(host: ScratchHost) -> None:
    """A blank disk is marked without more; only the marker's bytes are written, and zeros when it is taken away."""
    blank = host.digest()

    mark(host)
    rest = host.image.read_bytes()[MARKER_BYTES:]
    named = host.look()
    permission = permit(named)
    remove_marker(host, named)

    assert not any(rest)
    assert (permission.serial, permission.size_bytes) == (SERIAL, SIZE_BYTES)
    assert host.digest() == blank


def test_unknown_data_are_shown_and_left_beside_the_marker(host: ScratchHost) -> None:
    """Data that no tool knows are told by their first bytes, at both ends; marking leaves all but the first block."""
    data = hashlib.shake_128(b"encrypted").digest(SIZE_BYTES)
    host.image.write_bytes(data)
    content = host.look().content
    assert content is not None

    mark(host)

    assert content.unknown_data.startswith(f"the first MiB ({data[:16].hex()}")
    assert "the last MiB" in content.unknown_data
    assert host.image.read_bytes()[MARKER_BYTES:] == data[MARKER_BYTES:]


@pytest.mark.parametrize(
    "kind", sorted(set(DISKS) - {"gpt-backup-alone", "md-0.90", "md-1.0", "md-1.2", "zfs", "btrfs", "iso9660", "bcache"})
)
def test_marker_does_not_survive_somebody_elses_start(host: ScratchHost, kind: str) -> None:
    """Whoever makes a file system, a table or a header at the start of a marked disk takes the permission away."""
    mark(host)
    DISKS[kind][1](host.image)

    with pytest.raises(RefusedError, match=r"is marked no more|not marked as scratch"):
        permit(host.look())


# Not md-0.90: libblkid takes it for that of the last partition, where a kernel shows one.
@pytest.mark.parametrize("kind", ["gpt-backup-alone", "md-1.0", "md-1.2", "zfs", "btrfs", "bcache"])
def test_signature_beside_a_marker_is_refused(host: ScratchHost, kind: str) -> None:
    """A signature elsewhere on a marked disk takes the permission away, though the marker is whole."""
    mark(host)
    DISKS[kind][1](host.image)
    before = host.digest()

    with pytest.raises(RefusedError, match=f"holds {DISKS[kind][0]}"):
        permit(host.look())
    assert host.digest() == before


def test_disk_that_changes_meanwhile_is_not_marked(host: ScratchHost) -> None:
    """What appears on a disk between the look and the write stops the write."""
    named = host.look()
    make_disk(host.image, "ext4")
    before = host.digest()

    with pytest.raises(RefusedError, match="not as it was a moment ago"):
        put_marker(host, named, MARKER, ())
    assert host.digest() == before


def test_tool_that_fails_is_no_permission(host: ScratchHost) -> None:
    """Where wipefs or blkid is missing or fails, nothing is known of the disk, and it is refused."""
    for tool, script in (("wipefs", "exit 127"), ("blkid", "echo 'read error' >&2; exit 4"), ("wipefs", "echo strange")):
        fake = host.root / tool
        fake.write_text(f"#!/bin/sh\n{script}\n")
        fake.chmod(0o755)

        named = host.look()
        fake.unlink()

        assert judge_marking(named, ()).severity is Severity.UNKNOWN
        with pytest.raises(RefusedError, match=f"is not known: {tool} of /dev/sda"):
            require_allowed(judge_marking(named, ()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"used_for": ("/media/photos",)}, "the host uses the disk .*: /media/photos", id="mounted"),
        pytest.param({"used_for": ("held by md0",)}, "held by md0", id="held"),
        pytest.param({"used_for": ("swap",)}, "swap", id="swap"),
        pytest.param({"used_for": ("marked as LVM2_member",)}, "LVM2_member", id="member"),
        pytest.param({"uses_known": False}, "does not show what it uses the disk .* for .what is built upon sda", id="unknown"),
        pytest.param({"read_only": True}, "is read-only", id="read-only"),
    ],
)
def test_disk_in_use_is_refused_whatever_was_named(host: ScratchHost, change: dict[str, Any], message: str) -> None:
    """A disk that the host uses is neither marked nor written, and no option allows it."""
    mark(host)
    named = host.look(replace(FACTS, disks=(replace(DISK, **change),)))

    with pytest.raises(RefusedError, match=message):
        require_allowed(judge_marking(named, ("swap", "ext4")))
    with pytest.raises(RefusedError, match=message):
        permit(named)


def test_uses_that_were_not_read_are_no_permission(host: ScratchHost) -> None:
    """Where the host does not show its swap areas, a disk might be one."""
    named = host.look(replace(FACTS, unread=(SWAPS,)))

    assert judge_marking(named, ()).severity is Severity.UNKNOWN


def test_member_that_was_named_may_be_marked(host: ScratchHost) -> None:
    """A part of an array that is not at work may be lost if its kind is named."""
    make_disk(host.image, "lvm")
    named = host.look(replace(FACTS, disks=(replace(DISK, used_for=("marked as LVM2_member",)),)))

    assert judge_marking(named, ()).severity is Severity.REFUSAL
    assert judge_marking(named, ("LVM2_member",)).severity is Severity.PASS


def test_twins_are_refused(host: ScratchHost) -> None:
    """Of two disks with one serial neither is looked at, marked or written."""
    folder = host.root / "sys/block/sdb"
    shutil.copytree(host.root / "sys/block/sda", folder, symlinks=True)
    (host.root / "dev/sdb").touch()
    named = host.look()

    assert named.nodes == ("/dev/sda", "/dev/sdb")
    assert named.content is None
    with pytest.raises(RefusedError, match="2 USB disks have the serial"):
        require_allowed(judge_marking(named, ()))


def test_disk_that_is_not_there_is_refused(host: ScratchHost) -> None:
    """A serial that no disk has is a refusal that says so."""
    named = look_at_disk(host, "OTHER", FACTS)

    with pytest.raises(RefusedError, match="no USB disk with the serial OTHER"):
        permit(named)


def test_write_goes_to_the_permitted_disk_alone(host: ScratchHost) -> None:
    """With its permit a disk is written; once its marker or its size is another, nothing is run on it."""
    mark(host)
    permission = permit(host.look())
    work = {"one": 'printf 1 | dd of="$disk" bs=1M seek=2 conv=notrunc status=none', "two": "exit 7"}

    def write(permission: Permit) -> dict[str, Part]:
        return write_on_disk(host, permission, work, Deadline.after(20, "writing"))

    parts = write(permission)
    written = host.digest()
    with pytest.raises(RefusedError, match="is not the one that was marked: nothing was written"):
        write(replace_permit(permission, size_bytes=SIZE_BYTES + 512))
    with pytest.raises(RefusedError, match="is not the one that was marked: nothing was written"):
        write(replace_permit(permission, marker_sha256="0" * 64))

    assert parts["one"].status == 0
    assert host.image.read_bytes()[2 << 20 : (2 << 20) + 2] == b"1\0"
    assert host.digest() == written
    DISKS["luks2"][1](host.image)
    with pytest.raises(RefusedError, match="is not the one that was marked"):
        write(permission)


def test_copied_marker_is_refused(host: ScratchHost) -> None:
    """A marker that came with a copy of another disk allows nothing."""
    named = host.look()
    put_marker(host, named, replace(MARKER, serial="OTHER"), ())

    with pytest.raises(RefusedError, match="is that of OTHER"):
        permit(host.look())
