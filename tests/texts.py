"""Texts as a careless world hands them on: cut off, and with other bytes in them."""

from __future__ import annotations

from hypothesis import strategies as st


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    """Return the text cut at both ends, with up to eight of its bytes replaced, decoded as a capture does."""
    data = bytearray(text.encode())
    for _ in range(draw(st.integers(0, 8))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    begin, end = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
    return bytes(data[begin:end] if draw(st.booleans()) else data).decode("utf-8", "replace")
