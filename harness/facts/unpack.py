"""The members of a tar archive, whatever packed it, one after the other: nothing is written to disk, and nothing is trusted."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from harness.core.errors import UsageError

MAX_MEMBERS = 200_000
MAX_UNPACKED_BYTES = 4 << 30
"""An sosreport has tens of thousands of members and a GiB or two of logs; a bomb has more."""
MAX_MEMBER_BYTES = 16 << 20
_CHUNK_BYTES = 1 << 16
_MAX_HEADER_BYTES = 1 << 20  # names and attributes that do not fit into tar's own header
_EXTENDED = {
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
}
_MAGICS: Mapping[bytes, Callable[[Path], io.BufferedIOBase]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
_ZSTANDARD = b"\x28\xb5\x2f\xfd"
_DAMAGE = (
    tarfile.TarError,
    EOFError,
    OSError,
    zlib.error,
    lzma.LZMAError,
    ValueError,
    ArithmeticError,
    LookupError,
    RecursionError,
)


class Member(NamedTuple):
    """One file (``data``), link (``target``) or folder; ``large``: a file above the bound, whose data is left out."""

    name: str
    data: bytes | None = None
    target: str | None = None
    hard: bool = False
    large: bool = False


class Archive:
    """An archive that is read once, from its beginning; ``cut`` tells afterwards that its end did not come whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cut = False
        self._whole = 0

    def members(self) -> Iterator[Member]:
        """Yield what is whole. Raises UsageError for what is no archive or too large."""
        with _open(self.path) as packed:
            stream = _Stream(packed, self.path)
            try:
                with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as archive:
                    yield from self._read(archive)
                while stream.read(_CHUNK_BYTES):  # up to the checksum of what packed it
                    pass
            except _DAMAGE as error:
                self.cut = True
                if not self._whole:
                    raise UsageError(f"{self.path} is no tar archive, or is damaged before its first whole file") from error
            self.cut = self.cut or stream.cut

    def _read(self, archive: tarfile.TarFile) -> Iterator[Member]:
        for count, header in enumerate(archive, 1):
            self._whole = count
            if header.isdir():
                yield Member(header.name)
            elif header.issym() or header.islnk():
                yield Member(header.name, target=header.linkname, hard=header.islnk())
            elif header.isreg() and header.size > MAX_MEMBER_BYTES:
                yield Member(header.name, large=True)
            elif header.isreg() and (file := archive.extractfile(header)) is not None:
                yield Member(header.name, file.read())


class _Header(tarfile.TarInfo):
    """A header that is damaged is an error: tarfile would take it for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        """Read one header, of which no length is believed that would fill the memory."""
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):  # what ends an archive
                raise
            raise tarfile.ReadError("a header is cut short or damaged") from error
        if header.size < 0 or (header.type in _EXTENDED and header.size > _MAX_HEADER_BYTES):
            raise tarfile.ReadError("a header has an impossible length")
        return header


class _Stream(io.RawIOBase):
    """Unpacked bytes up to where they can be had, and no more than the bound."""

    def __init__(self, packed: io.BufferedIOBase, path: Path) -> None:
        self._packed = packed
        self._path = path
        self._position = 0
        self.cut = False

    def read(self, size: int = -1, /) -> bytes:
        """Return what one step of unpacking gives: nothing is lost when a later one fails."""
        try:
            data = self._packed.read1(size)
        except _DAMAGE:
            self.cut = True
            return b""
        self._position += len(data)
        if self._position > MAX_UNPACKED_BYTES:
            raise UsageError(f"{self._path} unpacks to more than {MAX_UNPACKED_BYTES >> 30} GiB: that is no capture")
        return data


def _open(path: Path) -> io.BufferedIOBase:
    try:
        with path.open("rb") as file:
            magic = file.read(6)
        if magic.startswith(_ZSTANDARD):
            raise UsageError(f"{path} is packed with zstd, which throughpass cannot read: `zstd -d` it first")
        for start, opener in _MAGICS.items():
            if magic.startswith(start):
                return opener(path)
        return path.open("rb")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
