"""The known content of a test stick: every block differs, and anybody can compute it again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

MIB = 1 << 20


def pattern(serial: str, size_mib: int) -> Iterator[bytes]:
    """Yield ``size_mib`` MiB of content, one MiB at a time: SHAKE-128 of the stick's serial and the MiB's number."""
    for number in range(size_mib):
        yield hashlib.shake_128(f"throughpass {serial} {number}".encode()).digest(MIB)


def pattern_sha256(serial: str, size_mib: int, *, start: bytes = b"") -> str:
    """Return the SHA-256 of the first ``size_mib`` MiB, as hexadecimal digits; ``start`` stands in place of the first bytes."""
    digest = hashlib.sha256(start)
    skip = len(start)
    for block in pattern(serial, size_mib):
        digest.update(block[skip:])
        skip = 0
    return digest.hexdigest()
