"""A kernel log that was written for programs, as lines: ``dmesg --json``, and journalctl's formats json, verbose and export."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

_JSON = re.compile(r"\s*(?:\x1e|data: )?\{")
_OBJECT = re.compile(r'\{(?:[^{}"]|"(?:[^"\\]|\\.)*+")*+\}', re.DOTALL)
_FIELD = re.compile(r"^\s*([A-Z_][A-Z0-9_]{0,63})=(.*)$")
_HAS_FIELDS = re.compile(r"^\s*MESSAGE=", re.MULTILINE)
_ENTRY = re.compile(r"^(?:\s*$|__CURSOR=|\S.*\[s=[0-9a-f]+;)")
_REBOOT = "-- "
_KERNEL, _OTHER = "<6>", "user  :info  : "  # as dmesg -r and -x mark whose line it is
_LARGEST_BYTE = 0xFF


def unwrap_export(text: str) -> str:
    """Return the messages of an export, each marked as the kernel's or another's; any other text as it is."""
    if _JSON.match(text) and ('"MESSAGE"' in text or '"msg"' in text):
        return "".join(map(_mark, _read_objects(text)))
    if _HAS_FIELDS.search(text):
        return "".join(entry if isinstance(entry, str) else _mark(entry) for entry in _read_entries(text))
    return text


def _read_objects(text: str) -> Iterator[Mapping[str, object]]:
    """Yield each object that is whole: one a line, one over many lines, or those in the list that dmesg prints."""
    for match in _OBJECT.finditer(text):
        try:
            found = json.loads(match[0], strict=False)
        except (ValueError, RecursionError):
            continue
        yield found


def _read_entries(text: str) -> Iterator[Mapping[str, object] | str]:
    """Yield the fields of each entry, and the journal's own lines between boots as they stand."""
    fields: dict[str, object] = {}
    for line in text.splitlines():
        if line.startswith(_REBOOT):
            yield fields
            yield f"{line}\n"
            fields = {}
        elif _ENTRY.match(line):
            yield fields
            fields = {}
        elif match := _FIELD.match(line):
            fields.setdefault(match[1], match[2])
    yield fields


def _mark(entry: Mapping[str, object]) -> str:
    """Return an entry's lines with a mark; nothing of one without a message."""
    message = entry.get("MESSAGE", entry.get("msg"))
    if isinstance(message, list):  # what is no UTF-8 stands there byte by byte
        message = bytes(byte for byte in message if isinstance(byte, int) and 0 <= byte <= _LARGEST_BYTE).decode(
            "utf-8", "replace"
        )
    if not isinstance(message, str):
        return ""
    whose = {entry[key] for key in ("_TRANSPORT", "SYSLOG_IDENTIFIER") if isinstance(entry.get(key), str)}
    mark = _KERNEL if "msg" in entry or whose == {"kernel"} else _OTHER
    return "".join(f"{mark}{line}\n" for line in message.splitlines())
