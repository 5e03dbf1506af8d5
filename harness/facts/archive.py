"""A Capture as a tar.gz: the same capture gives the same bytes, and an archive is there whole or not at all."""

from __future__ import annotations

import gzip
import io
import os
import secrets
import tarfile
from pathlib import Path

from harness.core.capture import SELF, Capture, is_plain
from harness.core.errors import UsageError
from harness.facts.manifest import MANIFEST, format_manifest, is_file

_LEVEL = 9


def pack(capture: Capture) -> bytes:
    """Return a capture as a tar.gz: sorted, without times and owners. Links are files that hold their target."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=_LEVEL, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        # First of all, so that an archive that was cut short still tells what it is.
        _add(archive, MANIFEST, format_manifest(capture).encode())
        for name, data in _files(capture):
            _add(archive, name, data)
    return packed.getvalue()


def write_archive(capture: Capture, path: Path, *, overwrite: bool = False) -> None:
    """Write a capture to a tar.gz, or nothing. Raises UsageError where a file is in the way, or the place cannot be written."""
    require_writable(path, overwrite=overwrite)
    data = pack(capture)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        try:
            with beside.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error


def require_writable(path: Path, *, overwrite: bool = False) -> None:
    """Raise UsageError where a file is in the way, or its folder is not there."""
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists already", remedy="name another file, or replace it with --force")
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: there is no folder {path.parent}")


def _files(capture: Capture) -> list[tuple[str, bytes]]:
    """Return the files of a capture's tree; an item that is also a folder of others is a file in that folder."""
    folders = {name[:at] for name in capture.items for at, letter in enumerate(name) if letter == "/"}
    files = [
        (f"{name}/{SELF}" if name in folders else name, item.data)
        for name, item in capture.items.items()
        if is_plain(name) and is_file(name, item.status, item.data)
    ]
    return sorted(files)


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))
