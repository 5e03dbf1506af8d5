"""What ``lspci -mm`` prints for programs: records of lines like ``Slot: 00:14.0`` with -v, one line of quoted words without."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from harness.facts.names import read_class_codes
from harness.facts.told import Told, find_address, join_outputs, split_kind, split_prog_if

_FIELD = re.compile(
    r"^\s*(Slot|Class|Vendor|Device|SVendor|SDevice|PhySlot|Rev|ProgIf|Driver|Module|NUMANode|IOMMUGroup):\s*(.*)$"
)
_LINE = re.compile(
    r'^\s*((?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[01][0-9a-f]\.[0-7])((?:\s+(?:"(?:[^"\\]|\\.)*"|-[rp][0-9a-f]{2}))+)\s*$',
    re.IGNORECASE,
)
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(-[rp])([0-9a-f]{2})', re.IGNORECASE)
_NUMBER = re.compile(r"(?:^|\[|^(?:Device|Vendor|Unknown vendor) )([0-9a-f]{4})\]?$", re.IGNORECASE)
_ALL_ONES = 0xFF
_DRIVER = 5  # the place of the word that busybox's -mk adds


def parse_lspci_mm(text: str, classes: Mapping[str, int] | None = None) -> tuple[Told, ...]:
    """Return the functions that the text tells of, by address; ``classes`` gives the numbers of classes by their names.

    Old versions print ``ProgIf`` only if it is not 0. A USB controller without it keeps its interface unknown all the same: the
    line may have been cut away, and the driver tells as well.
    """
    codes = read_class_codes() if classes is None else classes
    found = [*_read_records(text), *_read_lines(text)]
    return join_outputs({address: _tell(address, words, codes)} for address, words in found)


Words = dict[str, list[str]]


def _read_records(text: str) -> Iterator[tuple[str, Words]]:
    """Yield each record; with a single -m its first line is ``Device:`` with an address."""
    address, words = "", Words()
    for line in text.splitlines():
        match = _FIELD.match(line)
        if match is None:
            continue
        slot = find_address(match[2]) if match[1] in {"Slot", "Device"} else ""
        if slot or match[1] == "Slot":
            if address:
                yield address, words
            address, words = slot, Words()
        else:
            words.setdefault(match[1], []).append(match[2].strip())
    if address:
        yield address, words


def _read_lines(text: str) -> Iterator[tuple[str, Words]]:
    for line in text.splitlines():
        match = _LINE.match(line)
        address = find_address(match[1]) if match else ""
        if not match or not address:
            continue
        found = list(_WORD.finditer(match[2]))
        quoted = [re.sub(r"\\(.)", r"\1", word[1]) for word in found if word[2] is None]
        words = {name: [text] for name, text in zip(("Class", "Vendor", "Device", "SVendor", "SDevice"), quoted, strict=False)}
        words |= {{"-r": "Rev", "-p": "ProgIf"}[word[2].lower()]: [word[3]] for word in found if word[2]}
        if len(quoted) > _DRIVER:
            words["Driver"] = [quoted[_DRIVER]]
        yield address, words


def _tell(address: str, words: Words, classes: Mapping[str, int]) -> Told:
    first = {name: values[0] for name, values in words.items()}
    names = [_name(first.get(part, "")) for part in ("Vendor", "Device")]
    revision, prog_if = (_byte(first.get(part, "")) for part in ("Rev", "ProgIf"))
    prog_if = split_prog_if(first.get("Class", "")) if prog_if is None else prog_if
    node = first.get("NUMANode", "")
    told = Told(
        address,
        id=_pair(first.get("Vendor", ""), first.get("Device", "")),
        kind=split_kind(first.get("Class", ""), classes),
        name=" ".join(filter(None, names)),
        subsystem=_pair(first.get("SVendor", ""), first.get("SDevice", "")),
        driver=first.get("Driver") or None,
        modules=tuple(words.get("Module", ())),
        group=first.get("IOMMUGroup") or None,
        numa_node=int(node) if re.fullmatch(r"[0-9]{1,9}", node) else None,
        slot=first.get("PhySlot", ""),
    )
    # A function that does not answer any more reads as ones.
    return told if revision == prog_if == _ALL_ONES else msgspec.structs.replace(told, revision=revision, prog_if=prog_if)


def _pair(vendor: str, device: str) -> str:
    numbers = (_NUMBER.search(vendor), _NUMBER.search(device))
    return ":".join(number[1].lower() for number in numbers if number) if all(numbers) else ""


def _name(text: str) -> str:
    match = _NUMBER.search(text)
    return text[: match.start()].strip() if match else text


def _byte(text: str) -> int | None:
    return int(text, 16) if re.fullmatch(r"[0-9a-fA-F]{2}", text) else None
