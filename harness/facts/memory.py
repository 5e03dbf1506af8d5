"""Ranges of memory."""

from __future__ import annotations

import msgspec


class MemoryRange(msgspec.Struct, frozen=True):
    """First and last address."""

    first: int
    last: int
