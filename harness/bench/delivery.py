"""Guest files on a host that is reached by SSH: brought there once, named by their content."""

from __future__ import annotations

import gzip
import hashlib
import io
import shlex
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import Buffer

from harness.bench.cache import Progress
from harness.bench.images import Image
from harness.core.deadline import Deadline
from harness.core.errors import BenchError
from harness.transport.ssh import SshTransport

DELIVERY_LIMIT_S = 900
"""Half a gigabyte, compressed; an emulated host takes about a minute."""

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
cd "$part" && tar -xzf - && sha256sum -c --quiet - <<END && sync . && mv -T "$part" "$1/$2"
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
    files = [Delivered(path, file_sha256(path)) for path in (image.kernel, image.initrd, image.root)]
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


def content_name(files: list[Delivered]) -> str:
    """Return a short name for the content of all files."""
    return hashlib.sha256(" ".join(file.sha256 for file in files).encode()).hexdigest()[:16]


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _send(transport: SshTransport, files: list[Delivered], workdir: str, name: str, progress: Progress) -> None:
    total = sum(file.path.stat().st_size for file in files) // _MIB
    progress(f"bringing the guest's files to {transport.name}, once: {total} MiB, compressed on the way")
    sums = "\n".join(f"{file.sha256}  {file.path.name}" for file in files)
    command = shlex.join(["sh", "-c", _RECEIVE, "throughpass", workdir, name, sums])
    limit = Deadline.after(DELIVERY_LIMIT_S, f"bringing the guest's files to {transport.name}")
    result = transport.run_fed(command, lambda write: _write_tar(files, write), limit)
    if result.status != 0:
        raise BenchError(
            f"the guest's files could not be laid into {workdir} on {transport.name} (is there room for {total} MiB?)",
            evidence=result.error_text,
        )


class _Pieces(io.RawIOBase):
    """A file that passes every piece on."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._pass_on = write

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Buffer, /) -> int:
        """Pass a piece on, whole."""
        piece = bytes(data)
        self._pass_on(piece)
        return len(piece)


def _write_tar(files: list[Delivered], write: Callable[[bytes], None]) -> None:
    """Write a compressed archive of the files; at a higher level the runner would compress slower than it sends."""
    with gzip.GzipFile(fileobj=_Pieces(write), mode="wb", compresslevel=1) as packed:
        with tarfile.open(fileobj=packed, mode="w|") as archive:
            for file in files:
                archive.add(file.path, file.path.name)
