"""Folders and archives as captures: made by the probe, by hand, by sos, cut short, and by somebody who means harm."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.capture import SECTION_PATHS, SELF, Capture, Item, Status
from harness.core.errors import ThroughpassError, UsageError
from harness.facts import tree, unpack
from harness.facts.archive import pack, write_archive
from harness.facts.host import read_facts
from harness.facts.layout import COMMANDS, LISTINGS
from harness.facts.manifest import MANIFEST
from harness.facts.probe import SECTIONS
from harness.facts.tree import read_capture, read_folder
from tests.captures import AMD_BOARD, CARD, INTEL_BOARD, make_capture, usb_stick

DEVICE = "sys/bus/pci/devices/0000:05:00.0"
LINK, FOLDER = tarfile.SYMTYPE, tarfile.DIRTYPE
Content = bytes | tuple[bytes, str] | None  # a file's data, a link of a kind and its target, or a folder


def make_tar(members: Mapping[str, Content] | list[tuple[str, Content]]) -> bytes:
    """Return a tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in members.items() if isinstance(members, Mapping) else members:
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
            elif content is None:
                member.type = FOLDER
            else:
                member.type, member.linkname = content
            archive.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


def read(data: bytes, suffix: str = ".tar") -> Capture:
    """Read an archive of these bytes."""
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(data)
        file.flush()
        return read_capture(Path(file.name))


def plant(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files below a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def unpack_to(folder: Path, data: bytes) -> Path:
    """Extract an archive of our own making, as a user would."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(folder, filter="data")
    return folder


PROBED = make_capture(
    INTEL_BOARD,
    usb_stick(CARD["intel"]),
    {"commands/dmesg": Status.TIMED_OUT, "proc/swaps": Status.DENIED, "dev/vfio/vfio": Status.ABSENT},
    {f"sections/{name}": "" for name in SECTIONS},
    {"sections/usb": Status.TIMED_OUT},
)


@pytest.mark.parametrize("capture", [PROBED, make_capture(AMD_BOARD), Capture({"proc/swaps": Item(Status.DENIED)}, "", ())])
def test_tree_gives_back_what_the_probe_read(capture: Capture, tmp_path: Path) -> None:
    """Written as an archive and read again, or extracted and read as a folder, a capture is the same."""
    data = pack(capture)

    assert read(data) == capture
    assert read_folder(unpack_to(tmp_path, data)) == capture


PARTS = st.sampled_from(["a", "0000:05:00.0", "vendor", "x y", "ü", "devices", "1-1.2:1.0"])
NAMES = st.builds(
    lambda top, parts: "/".join([top, *parts]),
    st.sampled_from(
        ["sys/bus/pci/devices", "sys/class/net", "sys/devices", "proc/sys/kernel", "dev/vfio", "commands", "sections"]
    ),
    st.lists(PARTS, min_size=1, max_size=3),
)
ITEMS = st.one_of(
    st.builds(Item, st.sampled_from([Status.READ, Status.TIMED_OUT, Status.DENIED]), st.binary(max_size=30)),
    st.just(Item(Status.ABSENT)),
)
SCOPES = st.none() | st.lists(st.sampled_from(["sys/class/iommu/*", "dev", "proc/cmdline"]), unique=True, max_size=2).map(tuple)


@given(st.dictionaries(NAMES, ITEMS, min_size=1, max_size=8), SCOPES, st.sampled_from(["", "2026-01-01T00:00:00Z"]))
def test_tree_of_any_capture_is_the_same(items: dict[str, Item], scope: tuple[str, ...] | None, taken: str) -> None:
    """Whatever was read, denied, cut off or absent, and whatever was asked for, comes back as it was."""
    capture = Capture(items, taken, scope)

    assert read(pack(capture)) == capture


def test_tree_archive_is_deterministic(tmp_path: Path) -> None:
    """The same items in another order give the same bytes, without time and name."""
    write_archive(PROBED, tmp_path / "a.tar.gz")
    write_archive(Capture(dict(sorted(PROBED.items.items(), reverse=True)), PROBED.taken), tmp_path / "b.tar.gz")

    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()


def test_tree_archive_overwrites_only_when_told(tmp_path: Path) -> None:
    """A file that is there stays unless the caller says otherwise, and nothing is left beside it."""
    path = tmp_path / "capture.tar.gz"
    path.write_bytes(b"dear to somebody")

    with pytest.raises(UsageError, match=r"capture\.tar\.gz exists already"):
        write_archive(PROBED, path)
    assert path.read_bytes() == b"dear to somebody"
    write_archive(PROBED, path, overwrite=True)
    assert read_capture(path) == PROBED
    assert list(tmp_path.iterdir()) == [path]


def test_tree_archive_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """Where there is no place for it, one sentence says so and no part is left."""
    with pytest.raises(UsageError, match="cannot write"):
        write_archive(PROBED, tmp_path / "no" / "such.tar.gz")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="cannot write"):
        write_archive(PROBED, tmp_path / "folder", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


PACKERS: dict[str, Callable[[bytes], bytes]] = {"tar": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("above", ["", "./", "/", "capture/", "sosreport-x-2026/", "tmp/two/"])
def test_tree_archives_of_every_kind(packer: str, above: str) -> None:
    """However it is packed and whatever folder stands above all, an archive's items have their own names."""
    members = {f"{above}proc/cmdline": b"quiet\n", f"{above}commands/dmesg": b"[ 0.1] x\n", f"{above}README": b"not of a capture"}

    capture = read(PACKERS[packer](make_tar(members)))

    assert {name: item.data for name, item in capture.items.items()} == {
        "proc/cmdline": b"quiet\n",
        "commands/dmesg": b"[ 0.1] x\n",
    }


def test_tree_links_are_text(tmp_path: Path) -> None:
    """A link of sysfs is its target; a text file in its place is the same; a hard link is the file."""
    target = "../../../devices/pci0000:00/0000:05:00.0"
    members: dict[str, Content] = {
        DEVICE: (LINK, target),
        "sys/devices/pci0000:00/0000:05:00.0/vendor": b"0x1033\n",
        "proc/cpuinfo": b"processor : 0\n",
        "proc/interrupts": (tarfile.LNKTYPE, "proc/cpuinfo"),
        "proc/version": (tarfile.LNKTYPE, "proc/nothing"),
        "etc/os-release": (LINK, "../usr/lib/os-release"),
        "usr/lib/os-release": b"ID=example\n",
    }

    capture = read(make_tar(members))

    assert capture.text(DEVICE) == target
    assert capture.text(f"{DEVICE}/vendor") == "0x1033"
    assert capture.text("proc/interrupts") == "processor : 0"
    assert capture.get("proc/version").status is Status.TIMED_OUT
    assert capture.text("etc/os-release") == "ID=example"
    (tmp_path / "sys/bus/pci/devices").mkdir(parents=True)
    (tmp_path / DEVICE).write_text(target + "\n")
    assert read_folder(tmp_path).text(DEVICE) == target


def test_tree_links_out_of_a_folder_are_not_followed(tmp_path: Path) -> None:
    """A link to a file of this machine brings its name at most, never its content, and a linked folder is not entered."""
    secret = plant(tmp_path / "outside", {"secret": "s3cret", "devices/x": "s3cret"})
    folder = plant(tmp_path / "capture", {"proc/cmdline": "quiet"})
    (folder / "commands").mkdir()
    (folder / "commands/dmesg").symlink_to(secret / "secret")
    (folder / "sys/class").mkdir(parents=True)
    (folder / "sys/class/iommu").symlink_to(secret / "devices")

    capture = read_folder(folder)

    assert capture.get("commands/dmesg").status is Status.ABSENT
    assert not [name for name, item in capture.items.items() if b"s3cret" in item.data]
    assert list(capture.children("sys/class/iommu")) == []


@pytest.mark.parametrize("name", ["../proc/cmdline", "proc/../../x", "capture/sys/../../../etc/passwd", "/../x"])
def test_tree_names_that_lead_out_are_refused(name: str) -> None:
    """A member whose name has .. in it is named and refused."""
    with pytest.raises(UsageError, match=r"a name with \.\. may lead anywhere") as caught:
        read(make_tar({"proc/cmdline": b"quiet", name: b"x"}))
    assert name in caught.value.message


def test_tree_devices_and_pipes_are_left_out(tmp_path: Path) -> None:
    """Neither a device in an archive nor a pipe in a folder is read: the pipe would never end."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind in {"dev/kvm": tarfile.CHRTYPE, "dev/vfio/vfio": tarfile.FIFOTYPE}.items():
            member = tarfile.TarInfo(name)
            member.type = kind
            archive.addfile(member)
        archive.addfile(tarfile.TarInfo("proc/cmdline"))
        archive.addfile(tarfile.TarInfo("etc/os-release"))
    plant(tmp_path, {"proc/cmdline": "quiet"})
    (tmp_path / "dev").mkdir()
    os.mkfifo(tmp_path / "dev/kvm")

    assert set(read(out.getvalue()).items) == {"etc/os-release"}
    assert set(read_folder(tmp_path).items) == {"proc/cmdline"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root is denied nothing")
def test_tree_files_that_may_not_be_read_are_denied(tmp_path: Path) -> None:
    """An unreadable file of a folder is DENIED, not absent."""
    plant(tmp_path, {"proc/cmdline": "quiet", "proc/cpuinfo": "x"})
    (tmp_path / "proc/cpuinfo").chmod(0)

    assert read_folder(tmp_path).get("proc/cpuinfo").status is Status.DENIED


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "no tar archive", id="empty"),
        pytest.param(b"[    0.0] Linux version 6.1\n" * 90, "no tar archive", id="text"),
        pytest.param(gzip.compress(b"hello"), "no tar archive", id="gz-of-something"),
        pytest.param(b"\x28\xb5\x2f\xfd1234", "zstd", id="zstd"),
        pytest.param(make_tar({"home/x": b"1"}), "holds nothing of a capture", id="other-files"),
        pytest.param(make_tar({"a/proc/cmdline": b"1", "b/proc/cmdline": b"2"}), "several captures: a, b", id="two"),
        pytest.param(make_tar({MANIFEST: b"throughpass-capture 99\n", "proc/cmdline": b"x"}), "formats up to 1", id="later"),
    ],
)
def test_tree_what_is_no_capture_is_refused(data: bytes, message: str) -> None:
    """What cannot be a capture is refused with a sentence that says what it is instead."""
    with pytest.raises(UsageError, match=message):
        read(data)


def test_tree_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A path that does not exist, an empty folder and the running system are refused."""
    with pytest.raises(UsageError, match="No such file"):
        read_capture(tmp_path / "no.tar.gz")
    with pytest.raises(UsageError, match="holds nothing of a capture, such as proc/cpuinfo"):
        read_capture(tmp_path)
    with pytest.raises(UsageError, match="running system"):
        read_capture(Path("/"))


def test_tree_bounds_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is larger than any capture is refused with the bound: one file, all together, in number, and unpacked."""
    with pytest.raises(UsageError, match=r"commands/dmesg in .* larger than 16 MiB"):
        read(gzip.compress(make_tar({"commands/dmesg": bytes((16 << 20) + 1)}), 1))
    assert read(make_tar({"var/log/dmesg": bytes((16 << 20) + 1), "proc/cmdline": b"x"})).get("commands/dmesg").status is (
        Status.TIMED_OUT
    )
    monkeypatch.setattr(tree, "MAX_KEPT_BYTES", 1 << 20)
    with pytest.raises(UsageError, match="more than 1 MiB"):
        read(make_tar({"commands/dmesg": bytes(600_000), "commands/lspci": bytes(600_000)}))
    monkeypatch.setattr(tree, "MAX_MEMBERS", 10)
    with pytest.raises(UsageError, match="more than 10 members"):
        read(make_tar({f"other/{number}": b"" for number in range(11)}))
    monkeypatch.setattr(unpack, "MAX_UNPACKED_BYTES", 1 << 20)
    with pytest.raises(UsageError, match="unpacks to more than"):
        read(gzip.compress(make_tar({"home/bomb": bytes(2 << 20)})))


def test_tree_cut_short_is_unknown_where_it_ends() -> None:
    """Of an archive that was cut short what came whole is there; the rest is unknown, never absent."""
    data = make_tar({"proc/cmdline": b"quiet", "commands/dmesg": b"x" * 4000, "sys/class/iommu/dmar0": b""})

    for capture in (read(data[:3000]), read(gzip.compress(data)[:-9]), read(data[:1024])):
        assert capture.text("proc/cmdline") == "quiet"
        assert not capture.asked("sys/class/iommu")
        assert not capture.asked("proc/cpuinfo")
        assert len(read_facts(capture, {}).gaps) == len(SECTION_PATHS)


@given(st.integers(0, 6000), st.lists(st.tuples(st.integers(0, 6000), st.integers(1, 255)), max_size=4), st.booleans())
def test_tree_of_damaged_bytes_is_survived(end: int, flips: list[tuple[int, int]], packed: bool) -> None:  # noqa: FBT001 (drawn)
    """Cut anywhere and with any bytes changed, an archive is read or refused with an error of ours."""
    members: dict[str, Content] = {
        DEVICE: (LINK, "../../../x"),
        "a" * 150: b"x",
        "proc/cpuinfo": b"y" * 600,
        "sys/class/net": None,
    }
    data = bytearray(pack(PROBED) if packed else make_tar(members))[: end or None]
    for position, change in flips:
        if position < len(data):
            data[position] ^= change
    try:
        capture = read(bytes(data))
    except ThroughpassError:
        return
    read_facts(capture, {})


@given(st.binary(max_size=600))
def test_tree_of_any_bytes_is_survived(noise: bytes) -> None:
    """Any file is read or refused with an error of ours."""
    for data in (noise, gzip.compress(noise), b"\x1f\x8b\x08" + noise, make_tar({"proc/cmdline": b"x"})[:1024] + noise):
        try:
            capture = read(data)
        except ThroughpassError:
            continue
        read_facts(capture, {})


def test_tree_with_garbage_for_a_log_is_read() -> None:
    """Ten megabytes of garbage are a log that tells nothing."""
    garbage = random.Random(1).randbytes(10 << 20)  # noqa: S311 (the same each time)
    facts = read_facts(read(make_tar({"commands/dmesg": garbage, "proc/cmdline": b"quiet"})), {})

    assert facts.kernel.cmdline == "quiet"
    assert facts.iommu.dma_remapping == "unknown"


def test_tree_made_by_hand_asks_for_little() -> None:
    """Without a manifest a folder that is listed tells what there is; everything else that is not there is unknown."""
    members: dict[str, Content] = {
        "sys/kernel/iommu_groups/3/devices/0000:05:00.0": (LINK, "../../../../devices/x"),
        "sys/class/iommu": None,
        f"{DEVICE}/vendor": b"0x1033",
        "sys/firmware/acpi/tables/APIC": b"APIC",
    }

    capture = read(make_tar(members))

    assert capture.asked("sys/kernel/iommu_groups/4")
    assert (capture.get("sys/class/iommu"), capture.asked("sys/class/iommu/dmar0")) == (Item(Status.READ), True)
    for name in (
        "sys/kernel/iommu_groups/3/reserved_regions",
        f"{DEVICE}/driver",
        "sys/firmware/acpi/tables/DMAR",  # without the FADT the folder was not copied whole
        "sys/bus/usb/devices/2-1",
        "dev/kvm",
        "commands/dmesg",
    ):
        assert not capture.asked(name), name
    assert read(make_tar({"sys/firmware/acpi/tables/FACP": b"FACP"})).asked("sys/firmware/acpi/tables/DMAR")


def test_tree_made_by_hand_holds_no_empty_answers() -> None:
    """Empty files of /proc and of commands say nothing, a refusal is a denial, and tar's filling of sysfs' files goes."""
    members = {
        "proc/cpuinfo": b"",
        "commands/lspci": b"",
        "commands/dmesg": b"dmesg: read kernel buffer failed: Operation not permitted\n",
        "sys/class/net/eth0/operstate": b"up\n" + bytes(4093),
        "sys/firmware/acpi/tables/DMAR": b"DMAR\0\0",
        "dev/kvm": b"",
    }

    capture = read(make_tar(members))

    assert {name for name in ("proc/cpuinfo", "commands/lspci") if capture.has(name) or capture.asked(name)} == set()
    assert capture.get("commands/dmesg").status is Status.DENIED
    assert capture.text("sys/class/net/eth0/operstate") == "up"
    assert capture.get("sys/firmware/acpi/tables/DMAR").data == b"DMAR\0\0"
    assert capture.get("dev/kvm").status is Status.READ


@pytest.mark.parametrize(
    ("name", "item"),
    [
        ("dmesg.txt", "dmesg"),
        ("dmesg.json", "dmesg"),
        ("dmesg", "dmesg"),
        ("commands/dmesg -T.log", "dmesg"),
        ("journalctl_-k.txt", "dmesg"),
        ("lspci.txt", "lspci"),
        ("lspci -nnk.txt", "lspci"),
        ("lspci-tree.txt", "lspci-tree"),
        ("lspci_-tv", "lspci-tree"),
        ("commands/lspci-nnmmv", "lspci-mm"),
        ("lspci-vmm.txt", "lspci-mm"),
        ("lsusb.out", "lsusb"),
        ("lsusb-t.txt", "lsusb-tree"),
        ("lsusb_tree", "lsusb-tree"),
        ("iommu_groups.txt", "iommu-groups"),
        ("iommu-group.txt", "iommu-groups"),
        ("uname-a.txt", "uname"),
        ("sosreport-x/sos_commands/kernel/dmesg_-T", "dmesg"),
        ("sosreport-x/sos_commands/logs/journalctl_--no-pager_--catalog_--boot", "dmesg"),
        ("sosreport-x/var/log/dmesg", "dmesg"),
        ("sosreport-x/sos_commands/pci/lspci_-nnvv", "lspci"),
        ("sosreport-x/sos_commands/pci/lspci_-tv", "lspci-tree"),
        ("sosreport-x/sos_commands/usb/lsusb_-t", "lsusb-tree"),
        ("sosreport-x/sos_commands/usb/lsusb_-v", "lsusb"),
        ("sosreport-x/sos_commands/kernel/uname_-a", "uname"),
    ],
)
def test_tree_names_of_commands(name: str, item: str) -> None:
    """The output of a command is found under the names that people and sos give it."""
    capture = read(make_tar({name: b"text"}))

    assert {key: value.data for key, value in capture.items.items()} == {f"commands/{item}": b"text"}


@pytest.mark.parametrize("name", ["journalctl_--disk-usage", "sos_commands/logs/journalctl_--no-pager_--boot_-1", "lspci.gz"])
def test_tree_names_that_are_something_else(name: str) -> None:
    """Journals of other boots, and files that are packed themselves, are no item."""
    assert set(read(make_tar({"proc/cmdline": b"x", name: b"text"})).items) == {"proc/cmdline"}


def test_tree_best_source_wins() -> None:
    """Of several sources of one item the capture's own name wins, then what tells most, then what is nearest to the boot."""
    sos = "sos_commands/"
    assert read(make_tar({"dmesg.txt": b"loose", "commands/dmesg": b"own"})).text("commands/dmesg") == "own"
    assert read(make_tar({"lspci.txt": b"names", "lspci-nn.txt": b"numbers"})).text("commands/lspci") == "numbers"
    assert read(make_tar({f"{sos}kernel/dmesg": b"ring", "var/log/dmesg": b"old"})).text("commands/dmesg") == "ring"
    assert read(make_tar({f"{sos}usb/lsusb_-v": b"long", f"{sos}usb/lsusb": b"short"})).text("commands/lsusb") == "short"


def test_tree_that_is_an_item_and_a_folder() -> None:
    """What belongs to a folder itself, a list or a link, lies in a file in it."""
    assert read(make_tar({f"sys/class/iommu/{SELF}": b"dmar0 dmar1"})).text("sys/class/iommu") == "dmar0 dmar1"


def test_tree_of_the_seed_is_unknown_where_it_is_silent() -> None:
    """The host that was only written down claims nothing that nobody read there."""
    facts = read_facts(read_capture(Path(__file__).parents[1] / "fixtures/captures/seed-i7-860"), {})

    assert facts.kernel.argument("intel_iommu") == "on"
    assert facts.iommu.dma_remapping == "yes"  # the log maps memory for devices
    assert facts.iommu.interrupt_remapping == "unknown"
    assert facts.section_timed_out("pci")
    assert facts.section_timed_out("devices")
    assert not facts.section_timed_out("kernel")


def test_sections_are_those_of_the_probe() -> None:
    """What each section asks for is told for every section of the probe, and for no other."""
    assert tuple(SECTION_PATHS) == SECTIONS


def test_docs_of_captures_are_whole() -> None:
    """docs/captures.md names every command, every folder that lists things, and the bounds."""
    text = (Path(__file__).parents[1] / "docs/captures.md").read_text("utf-8")

    missing = [name for name in (*(f"commands/{command}" for command in COMMANDS), *LISTINGS, MANIFEST, SELF) if name not in text]

    assert missing == []
    assert f"{unpack.MAX_MEMBER_BYTES >> 20} MiB a file, {tree.MAX_KEPT_BYTES >> 20} MiB of what" in text
    assert f"{unpack.MAX_MEMBERS:,} members, {unpack.MAX_UNPACKED_BYTES >> 30} GiB unpacked" in text
