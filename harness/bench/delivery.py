"""Guest files on a host that is reached by SSH: brought there once, named and checked by their content."""

from __future__ import annotations

import hashlib
import io
import shlex
import shutil
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.bench.cache import Progress, full_disk_explained, locked, silent
from harness.bench.images import Image, Noted, file_sha256, program_path, read_content
from harness.core.deadline import Deadline
from harness.core.errors import BenchError, UsageError
from harness.transport.local import LocalTransport
from harness.transport.protocol import check
from harness.transport.ssh import SshTransport

LIMIT_BYTES = 150_000_000
"""What a host is given at most: kernel, initramfs and disk."""

DELIVERY_LIMIT_S = 900
CHECKING_LIMIT_S = 120
"""An emulated host takes a quarter of a minute for the one, seconds for the other."""

PACKED_ROOT = "guest.qcow2"
PACKING_LIMIT_S = 600

_OPEN_TO_OTHERS, _NOT_THERE, _DAMAGED = 3, 4, 5

# $1 is the work folder, $2 the name of the content, $3 the files' sums. The folder appears under that name when it is whole,
# never before; what it holds is read again each time, since a guest that does not boot from it would be the board's fault.
_FIND = """
umask 077
mkdir -p "$1" || exit 1
[ "$(stat -c '%u %a' "$1")" = "$(id -u) 700" ] && [ ! -L "$1" ] || { echo "not ours alone" >&2; exit 3; }
[ -d "$1/$2" ] || exit 4
cd "$1/$2" && sha256sum -c - >/dev/null <<END || exit 5
$3
END
"""
# A part that nobody writes to any more was left by a host that lost its power.
_RECEIVE = """
umask 077
find "$1" -maxdepth 1 -name '.part-*' -mmin +60 -exec rm -rf {} + 2>/dev/null
part=$(mktemp -d "$1/.part-XXXXXXXX") || exit 1
trap 'rm -rf "$part"' EXIT
trap 'exit 1' HUP INT TERM
cd "$part" && tar -xf - && sha256sum -c - <<END && sync . || exit 1
$3
END
chmod a+r "$part"/* # for a guest's QEMU, which is not root; the folder stays closed
if [ "$4" = damaged ]; then rm -rf "$1/$2"; fi
mv -T "$part" "$1/$2" || [ -d "$1/$2" ] # another run may have been quicker
"""


@dataclass(frozen=True)
class Delivered:
    """A file of the runner, and what it holds."""

    path: Path
    sha256: str


def deliver(transport: SshTransport, image: Image, workdir: str, progress: Progress) -> str:
    """Make sure that the host has the image's files and return the folder they lie in.

    Raises BenchError if they do not arrive whole, or if the work folder is open to other users of the host.
    """
    files = delivered_files(image, progress)
    name = f"{image.name}-{content_name(files)}"
    found = transport.run(["sh", "-c", _FIND, "throughpass", workdir, name, _sums(files)], timeout_s=CHECKING_LIMIT_S)
    if found.status == _OPEN_TO_OTHERS:
        raise BenchError(
            f"the folder {workdir} on {transport.name} is not a folder of this user alone (mode 0700): remove it, "
            "or name another by host.workdir in the bench file"
        )
    if found.status == _DAMAGED:
        progress(f"the guest's files on {transport.name} are not what was brought there: they are brought again")
    if found.status in {_NOT_THERE, _DAMAGED}:
        _send(transport, files, workdir, name, progress, damaged=found.status == _DAMAGED)
    elif found.status != 0:
        raise BenchError(
            f"the folder {workdir} on {transport.name} cannot be used for the guest's files: name another by host.workdir",
            evidence=found.error_text,
        )
    return f"{workdir}/{name}"


def delivered_files(image: Image, progress: Progress = silent) -> list[Delivered]:
    """Return what a host is given of an image: its kernel, its initramfs and its packed root disk."""
    noted = read_content(image.folder)
    return [_delivered(path, noted) for path in (image.kernel, image.initrd, packed_root(image, progress))]


def packed_root(image: Image, progress: Progress = silent) -> Path:
    """Return the image's root disk as a compressed qcow2, made once: a quarter of the size, and a guest boots as fast from it.

    Kernel and initramfs are left out of it: a board boots guests from those on its disk, a guest boots none.
    """
    target = image.folder / PACKED_ROOT
    with locked(f"image-{image.name}", wait=True, busy=f"another process packs the image {image.name}", progress=progress):
        if target.is_file():
            return target
        for tool, package in (("qemu-img", "qemu-utils"), ("debugfs", "e2fsprogs"), ("e2image", "e2fsprogs")):
            if shutil.which(tool, path=program_path()) is None:
                raise UsageError(f"{tool} ({package}) is not installed, and the guest's disk cannot be packed without it")
        progress(f"packing the root disk of {image.name}, once")
        with full_disk_explained(image.folder):
            return _pack(image, target)


def content_name(files: list[Delivered]) -> str:
    """Return a short name for the content of all files."""
    return hashlib.sha256(" ".join(file.sha256 for file in files).encode()).hexdigest()[:16]


def _pack(image: Image, target: Path) -> Path:
    """Make the packed disk beside its place. What debugfs frees is still in the blocks: e2image copies only those in use."""
    slim, used, draft = (target.with_suffix(suffix) for suffix in (".slim", ".used", ".part"))
    try:
        shutil.copyfile(image.root, slim)
        needless = "".join(f"rm /usr/lib/throughpass/{path.name}\n" for path in (image.kernel, image.initrd))
        _run("debugfs", "-w", "-f", "/dev/stdin", str(slim), stdin=needless.encode())
        _run("e2image", "-ra", str(slim), str(used))
        _run("qemu-img", "convert", "-q", "-c", "-O", "qcow2", "-f", "raw", str(used), str(draft))
        return draft.rename(target)
    finally:
        for path in (slim, used, draft):
            path.unlink(missing_ok=True)


def _run(*argv: str, stdin: bytes = b"") -> None:
    check(LocalTransport(), ["env", f"PATH={program_path()}", *argv], stdin=stdin, timeout_s=PACKING_LIMIT_S)


def _delivered(path: Path, noted: Mapping[str, Noted]) -> Delivered:
    """Return a file with its sum: as noted at the build, which the host will check, or computed where nothing was noted."""
    return Delivered(path, noted[path.name].sha256 if path.name in noted else file_sha256(path))


def _sums(files: list[Delivered]) -> str:
    return "\n".join(f"{file.sha256}  {file.path.name}" for file in files)


def _send(
    transport: SshTransport, files: list[Delivered], workdir: str, name: str, progress: Progress, *, damaged: bool = False
) -> None:
    total = sum(file.path.stat().st_size for file in files) // 1_000_000
    progress(f"bringing the guest's files to {transport.name}, once: {total} MB")
    state = "damaged" if damaged else "new"
    command = shlex.join(["sh", "-c", _RECEIVE, "throughpass", workdir, name, _sums(files), state])
    limit = Deadline.after(DELIVERY_LIMIT_S, f"bringing the guest's files to {transport.name}")
    result = transport.run_fed(command, lambda write: _write_tar(files, write), limit)
    if result.status != 0:
        raise BenchError(
            f"the guest's files could not be laid into {workdir} on {transport.name} (is there room for {total} MB?)",
            evidence=f"{result.text}\n{result.error_text}".strip(),
        )


class _Pieces(io.RawIOBase):
    """A file that passes every piece on."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._pass_on = write

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any, /) -> int:
        """Pass a piece on, whole."""
        piece = bytes(data)
        self._pass_on(piece)
        return len(piece)


def _write_tar(files: list[Delivered], write: Callable[[bytes], None]) -> None:
    """Write an archive of the files; the large one is packed already."""
    with tarfile.open(fileobj=_Pieces(write), mode="w|") as archive:
        for file in files:
            archive.add(file.path, file.path.name, filter=_without_owner)


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return a member that is nobody's of this machine: unpacked by root it would go to who has that number there."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o600
    return member
