"""Benches that exist: reached over SSH, given the guest's files once, never plugged by us."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.bench import real
from harness.bench.cache import silent
from harness.bench.config import BenchConfig, StickSection, parse_bench
from harness.bench.delivery import PACKED_ROOT, Delivered, _send, deliver, packed_root
from harness.bench.host import Host
from harness.bench.images import Image, file_sha256, program_path
from harness.bench.make import make_bench
from harness.bench.real import RealBench, require_root
from harness.bench.virtual import VirtualBench
from harness.core.deadline import Deadline
from harness.core.errors import BenchError, HostLostError, UsageError
from harness.core.finding import Severity
from harness.rules.registry import judge
from harness.rules.rule import Target
from harness.transport.keys import make_key
from harness.transport.local import LocalTransport
from harness.transport.protocol import Result, check
from harness.transport.route import open_target
from harness.transport.ssh import SshTransport
from harness.transport.sshconfig import resolve
from tests.openssh import NEEDS_SSH
from tests.sshd import Sshd, serving, target_of

LOCAL = 'schema = 1\nname = "here"\nkind = "local"\n[controller]\nid = "1033:0194"\n'
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="the server here is this process, and a real bench must be root")


class OtherUser(LocalTransport):
    """A host where commands run as somebody else than root."""

    name = "rack"

    def run(self, command: str | Sequence[str], **_: Any) -> Result:
        """Say who runs commands here."""
        return Result(self.name, str(command), 0, b"1000\n", b"")


@pytest.fixture
def sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """Serve SSH, with the key that opens it in a file, and a cache of our own."""
    monkeypatch.setenv("THROUGHPASS_CACHE", str(tmp_path / "cache"))
    with serving() as server:
        (tmp_path / "key").write_text(server.client_key.private, encoding="utf-8")
        yield server


@pytest.fixture
def host(sshd: Sshd, tmp_path: Path) -> Iterator[SshTransport]:
    """Connect to the server."""
    with open_target(target_of(sshd, tmp_path / "key"), Deadline.after(20, "connecting")) as transport:
        yield transport


@pytest.fixture
def image(tmp_path: Path) -> Image:
    """Return an image so small that it is quickly brought."""
    if any(shutil.which(tool, path=program_path()) is None for tool in ("qemu-img", "mke2fs", "debugfs", "e2image")):
        pytest.skip("qemu-utils or e2fsprogs are not installed")
    folder, tree = tmp_path / "image", tmp_path / "tree" / "usr" / "lib" / "throughpass"
    folder.mkdir()
    tree.mkdir(parents=True)
    for name in ("vmlinux", "initrd"):
        (folder / name).write_bytes(os.urandom(900_000))
        (tree / name).hardlink_to(folder / name)
    (tree / "init").write_bytes(os.urandom(300_000))
    make = ["mke2fs", "-q", "-t", "ext4", "-d", str(tmp_path / "tree"), str(folder / "root.ext4"), "8M"]
    check(LocalTransport(), ["env", f"PATH={program_path()}", *make])
    return Image("tiny", folder)


def config_of(sshd: Sshd, tmp_path: Path) -> BenchConfig:
    """Return the bench file of the server."""
    host = f'address = "127.0.0.1"\nport = {sshd.port}\nidentity = "{tmp_path}/key"\nhost_key = "{sshd.host_key_line}"\n'
    return parse_bench(LOCAL.replace('"local"', '"ssh"') + f"[host]\n{host}", "there.toml")


def opening(config: BenchConfig, tmp_path: Path) -> str:
    """Open a bench, run a command there, and return what it said."""
    with RealBench(config).open(tmp_path, Deadline.after(20, "connecting"), silent) as found:
        return found.transport.run("echo $0 there").text


@AS_ROOT
def test_real_bench_is_reached(sshd: Sshd, tmp_path: Path) -> None:
    """A host of kind ssh is reached with the key and the host key of its file, and let go afterwards."""
    assert opening(config_of(sshd, tmp_path), tmp_path) == "sh there"
    assert not any(connection.is_authenticated() and connection.is_active() for connection in sshd.connections[:-1])


@AS_ROOT
@NEEDS_SSH
def test_real_bench_by_an_alias(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that ssh's configuration knows is what that says; the bench file wins where both say something."""
    monkeypatch.setattr(real, "resolve", partial(resolve, config=tmp_path / "config"))
    text = f"Host shelf\n  HostName 127.0.0.1\n  Port {sshd.port}\n  User nobody\n  IdentityFile {tmp_path}/other\n"
    (tmp_path / "config").write_text(text, encoding="utf-8")
    host = f'address = "shelf"\nidentity = "{tmp_path}/key"\nhost_key = "{sshd.host_key_line}"\n'

    assert opening(parse_bench(LOCAL.replace('"local"', '"ssh"') + f"[host]\n{host}", "there.toml"), tmp_path) == "sh there"


def test_real_bench_with_another_host_key_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    """A host whose key is not the pinned one is not used."""
    config = config_of(sshd, tmp_path)
    sshd.host_key = make_key()

    with pytest.raises(HostLostError, match="presented another SSH host key"):
        opening(config, tmp_path)


@AS_ROOT
def test_local_bench_is_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of kind local, commands run here."""
    monkeypatch.setenv("THROUGHPASS_CACHE", str(tmp_path))

    assert opening(parse_bench(LOCAL, "here.toml"), tmp_path) == "sh there"


def test_real_bench_must_be_root() -> None:
    """On this machine a user who is not root is told to start by sudo."""
    with pytest.raises(UsageError, match=r"do not run as root.*start throughpass by sudo"):
        require_root(OtherUser())


def test_real_bench_is_plugged_by_hand() -> None:
    """A real bench with nobody at it can plug nothing, and says so."""
    bench = RealBench(parse_bench(LOCAL, "here.toml"))
    stick = StickSection(id="s1", on="card")

    assert not bench.can_plug
    assert not bench.can_plug_any
    assert bench.find_stick() is None
    for act in (bench.plug, bench.unplug):
        with pytest.raises(BenchError, match="by hand"):
            act(stick)


def test_make_bench_by_kind() -> None:
    """The kind of the file decides who makes the host."""
    assert isinstance(make_bench(parse_bench(LOCAL, "here.toml")), RealBench)
    assert isinstance(make_bench(parse_bench(LOCAL.replace('"local"', '"virtual"') + "[board]\n", "v.toml")), VirtualBench)


def test_delivery_happens_once(host: SshTransport, image: Image, tmp_path: Path) -> None:
    """The files arrive whole in a folder of this user alone, and are not sent again."""
    said: list[str] = []

    folder = Path(deliver(host, image, str(tmp_path / "work"), said.append))
    again = deliver(host, image, str(tmp_path / "work"), said.append)

    assert str(folder) == again
    assert sorted(path.name for path in folder.iterdir()) == [PACKED_ROOT, "initrd", "vmlinux"]
    assert (folder / "vmlinux").read_bytes() == image.kernel.read_bytes()
    assert (tmp_path / "work").stat().st_mode & 0o777 == 0o700
    assert [line for line in said if "once: " in line] == said[-1:]


def test_delivery_follows_the_content(host: SshTransport, image: Image, tmp_path: Path) -> None:
    """Another content has another folder; the old one stays for who may still use it."""
    first = deliver(host, image, str(tmp_path / "work"), silent)
    image.initrd.write_bytes(b"other")
    second = deliver(host, image, str(tmp_path / "work"), silent)

    assert first != second
    assert Path(first).is_dir()
    assert Path(second, "initrd").read_bytes() == b"other"


def test_delivery_that_is_not_whole_leaves_nothing(host: SshTransport, image: Image, tmp_path: Path) -> None:
    """Files that arrive otherwise than they were sent are refused, and nothing of them stays."""
    work = tmp_path / "work"
    work.mkdir(mode=0o700)
    wrong = replace(Delivered(image.kernel, file_sha256(image.kernel)), sha256="0" * 64)

    with pytest.raises(BenchError, match="could not be laid into") as caught:
        _send(host, [wrong], str(work), "name", silent)

    assert "vmlinux: FAILED" in caught.value.evidence
    assert list(work.iterdir()) == []


def test_delivery_refuses_a_folder_of_others(host: SshTransport, image: Image, tmp_path: Path) -> None:
    """A work folder that others can enter, or that is a link, is not used."""
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "mine").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "mine")

    for name in ("open", "link"):
        with pytest.raises(BenchError, match=rf"{name} on .* is not a folder of this user alone.*host\.workdir"):
            deliver(host, image, str(tmp_path / name), silent)


def test_delivery_is_checked_by_its_content(host: SshTransport, image: Image, tmp_path: Path) -> None:
    """A file that is not what was brought any more is noticed before a guest boots from it, and brought again."""
    said: list[str] = []
    folder = Path(deliver(host, image, str(tmp_path / "work"), silent))
    (folder / "initrd").write_bytes(b"broken")

    again = deliver(host, image, str(tmp_path / "work"), said.append)

    assert again == str(folder)
    assert (folder / "initrd").read_bytes() == image.initrd.read_bytes()
    assert [entry.name for entry in (tmp_path / "work").iterdir()] == [folder.name]
    assert "are not what was brought there" in said[0]


def test_delivery_belongs_to_the_user_there(host: SshTransport, image: Image, tmp_path: Path) -> None:
    """Files arrive as their receiver's alone, whoever they are of on the runner, in a folder that nobody else enters."""
    image.initrd.chmod(0o777)
    folder = Path(deliver(host, image, str(tmp_path / "work"), silent))

    assert {(path.stat().st_uid, path.stat().st_mode & 0o777) for path in folder.iterdir()} == {(os.getuid(), 0o644)}
    assert folder.parent.stat().st_mode & 0o777 == 0o700


def test_delivery_removes_what_a_power_cut_left(host: SshTransport, image: Image, tmp_path: Path) -> None:
    """A part that was begun an hour ago and never finished goes with the next delivery; one that is being made stays."""
    work = tmp_path / "work"
    (work / ".part-old").mkdir(parents=True)
    (work / ".part-new").mkdir()
    work.chmod(0o700)
    os.utime(work / ".part-old", (0, 0))

    folder = Path(deliver(host, image, str(work), silent))

    assert sorted(entry.name for entry in work.iterdir()) == sorted([".part-new", folder.name])


def test_packed_root_leaves_out_what_boots_it(image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The packed disk holds neither kernel nor initramfs, which lie beside it, and all else as it was."""
    monkeypatch.setenv("THROUGHPASS_CACHE", str(tmp_path / "cache"))
    raw = tmp_path / "raw"
    local = LocalTransport()
    check(local, ["qemu-img", "convert", "-O", "raw", str(packed_root(image)), str(raw)])
    listing = ["env", f"PATH={program_path()}", "debugfs", "-R", "ls -p /usr/lib/throughpass", str(raw)]

    assert "/init/" in check(local, listing).text
    assert "vmlinux" not in check(local, listing).text
    assert "initrd" not in check(local, listing).text
    assert check(local, ["env", f"PATH={program_path()}", "e2fsck", "-fn", str(raw)]).status == 0


def test_packed_root_is_made_once(image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The packed disk is smaller, is kept beside the image, and is not made again."""
    monkeypatch.setenv("THROUGHPASS_CACHE", str(tmp_path / "cache"))
    said: list[str] = []

    first, second = packed_root(image, said.append), packed_root(image, said.append)

    assert first == second == image.folder / PACKED_ROOT
    assert first.stat().st_size < image.root.stat().st_size
    assert not [path for path in image.folder.iterdir() if path.suffix in {".slim", ".used", ".part"}]
    assert len(said) == 1


def test_capture_asks_the_bench_files_qemu(tmp_path: Path) -> None:
    """QEMU's version is that of the program that the bench file names; one that is not there has none, whatever else there is."""
    named = tmp_path / "my qemu"
    named.write_text("#!/bin/sh\necho QEMU emulator version 9.9.9\n", encoding="utf-8")
    named.chmod(0o755)
    here = Host(LocalTransport(), str(named), emulated=False, guest_files=partial(pytest.fail, "not asked for"))

    there, gone = here.facts(), replace(here, qemu=str(tmp_path / "none")).facts()

    assert (there.qemu_version, gone.qemu_version) == ("QEMU emulator version 9.9.9", "")
    assert judge("QEM001", there, Target(qemu=str(named))).severity is Severity.PASS
    assert "none" in judge("QEM001", gone, Target(qemu=str(tmp_path / "none"))).message
