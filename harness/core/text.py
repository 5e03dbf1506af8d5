"""Bytes that were written for a terminal, an editor or another system, as the plain text that was meant."""

from __future__ import annotations

import codecs
import re

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE_BYTES = 256
_ZERO_SHARE = 0.8  # of every second byte, in UTF-16 that lost its mark
_CONTROL = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)|[()][0-9A-Z]|[=>])")
# Colours whose escape sign got lost, or stands as cat -v writes it. One that ends them tells them from other brackets, and no
# letter behind it tells "[m" from the kernel's "[mem 0x...".
_SEEN = r"(?:\^\[|\u241b)"
_COLOUR = r"\[(?:\d{1,3}(?:;\d{1,3})*m|m(?![A-Za-z]))"
_LOST = re.compile(rf"{_SEEN}\[[\d;]*[mK]|{_COLOUR}(?:\[K)?")
_END = re.compile(rf"{_SEEN}\[0?m|\[(?:0m|m(?![A-Za-z]))")
_PLAIN = re.compile(rb"[\x01-\x1a\x1c-\x5a\x5c-\x7f]*")  # ASCII in which none of these begins
_PASSWORD = re.compile(r"\s*\[sudo\b[^\]\n]{0,40}\] [^:\n]{0,80}: ?")


def decode_text(data: bytes) -> str:
    """Return bytes as text without colours, byte order marks and sudo's question for a password; what is no text is replaced."""
    if _PLAIN.fullmatch(data):
        return data.decode("ascii")
    text = data.decode(_find_encoding(data), "replace").replace("\ufeff", "")
    if "\x1b" in text:
        text = _CONTROL.sub("", text)
    if _END.search(text):
        text = _LOST.sub("", text)
    asked = _PASSWORD.match(text)  # sub would look at every character of a long text
    return text[asked.end() :] if asked else text


def _find_encoding(data: bytes) -> str:
    """Return the encoding that a mark at the beginning tells, or the zeros of UTF-16; else UTF-8."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return encoding
    first, second = data[:_SAMPLE_BYTES:2], data[1:_SAMPLE_BYTES:2]
    if 0 not in first and second.count(0) > _ZERO_SHARE * len(first):
        return "utf-16-le"
    return "utf-8"
