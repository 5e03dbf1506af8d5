"""Guest files on a host that is reached by SSH: brought there once, named by their content."""

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
from harness.bench.images import Image, Noted, file_sha256, read_content
from harness.core.deadline import Deadline
from harness.core.errors import BenchError, UsageError
from harness.transport.local import LocalTransport
from harness.transport.protocol import check
from harness.transport.ssh import SshTransport

DELIVERY_LIMIT_S = 900
"""200 MiB; an emulated host takes a quarter of a minute."""

PACKED_ROOT = "root.qcow2"
PACKING_LIMIT_S = 600

_MIB = 1 << 20

# $1 is the work folder, $2 the name of the content; the folder appears under that name when it is whole, never before.
_FIND = """
umask 077
mkdir -p "$1" || exit 1
[ "$(stat -c '%u %a' "$1")" = "$(id -u) 700" ] && [ ! -L "$1" ] || { echo "not ours alone" >&2; exit 3; }
[ -d "$1/$2" ]
"""
_RECEIVE = """
umask 077
part=$(mktemp -d "$1/.part-XXXXXXXX") || exit 1
trap 'rm -rf "$part"' EXIT
cd "$part" && tar -xf - && sha256sum -c --quiet - <<END && sync . && mv -T "$part" "$1/$2"
$3
END
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
    noted = read_content(image.folder)
    files = [_delivered(path, noted) for path in (image.kernel, image.initrd, packed_root(image, progress))]
    name = f"{image.name}-{content_name(files)}"
    found = transport.run(["sh", "-c", _FIND, "throughpass", workdir, name])
    if found.status == 3:  # noqa: PLR2004 (the script's word for it)
        raise BenchError(
            f"the folder {workdir} on {transport.name} is not a folder of this user alone (mode 0700): remove it, "
            "or name another by host.workdir in the bench file"
        )
    if found.status != 0:
        _send(transport, files, workdir, name, progress)
    return f"{workdir}/{name}"


def packed_root(image: Image, progress: Progress = silent) -> Path:
    """Return the image's root disk as a compressed qcow2, made once: a quarter of the size, and a guest boots as fast from it."""
    target = image.folder / PACKED_ROOT
    with locked(f"image-{image.name}", wait=True, busy=f"another process packs the image {image.name}", progress=progress):
        if target.is_file():
            return target
        if shutil.which("qemu-img") is None:
            raise UsageError("qemu-img is not installed, and the guest's disk cannot be packed without it: run make setup")
        progress(f"packing the root disk of {image.name}, once")
        draft = target.with_suffix(".part")
        with full_disk_explained(image.folder):
            check(
                LocalTransport(),
                ["qemu-img", "convert", "-q", "-c", "-O", "qcow2", str(image.root), str(draft)],
                timeout_s=PACKING_LIMIT_S,
            )
            return draft.rename(target)


def content_name(files: list[Delivered]) -> str:
    """Return a short name for the content of all files."""
    return hashlib.sha256(" ".join(file.sha256 for file in files).encode()).hexdigest()[:16]


def _delivered(path: Path, noted: Mapping[str, Noted]) -> Delivered:
    """Return a file with its sum: as noted at the build, which the host will check, or computed where nothing was noted."""
    return Delivered(path, noted[path.name].sha256 if path.name in noted else file_sha256(path))


def _send(transport: SshTransport, files: list[Delivered], workdir: str, name: str, progress: Progress) -> None:
    total = sum(file.path.stat().st_size for file in files) // _MIB
    progress(f"bringing the guest's files to {transport.name}, once: {total} MiB")
    sums = "\n".join(f"{file.sha256}  {file.path.name}" for file in files)
    command = shlex.join(["sh", "-c", _RECEIVE, "throughpass", workdir, name, sums])
    limit = Deadline.after(DELIVERY_LIMIT_S, f"bringing the guest's files to {transport.name}")
    result = transport.run_fed(command, lambda write: _write_tar(files, write), limit)
    if result.status != 0:
        raise BenchError(
            f"the guest's files could not be laid into {workdir} on {transport.name} (is there room for {total} MiB?)",
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
            archive.add(file.path, file.path.name)
