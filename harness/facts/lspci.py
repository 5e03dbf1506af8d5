"""What ``lspci`` prints, with any of -n, -nn, -v, -vv, -vvv, -k, -x, -D, -PP or none, once or several times, indented or not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from harness.core.pci import PciAddress
from harness.facts.lspci_config import read_config, read_row, read_secondary
from harness.facts.names import read_class_codes
from harness.facts.told import Told, fill, find_address, join, join_outputs, split_kind, split_prog_if

_QUOTED = re.compile(r"^(?:\s*>)+ ?")
_PROMPT = re.compile(r"^(?:[\w.@:~/()-]*\s?\$\s+\S|(?:.{0,80}?[#$%>]\s*)?(?:sudo\s+)?(?:/\S*/)?lspci(?:\s+[-|]|\s*$))")
# -PP prints the bridges before the function: 00:1c.0/02:00.0. A class holds no colon and no quotation mark (that is -mm).
_HEAD = re.compile(
    r"^\s*(?:[0-9a-f:.]+/)*((?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[01][0-9a-f]\.[0-7])\s+([^\s\":][^\":]{0,90}):\s+(\S.*)$",
    re.IGNORECASE,
)
_ID = re.compile(r"\[([0-9a-f]{4}:[0-9a-f]{4})\]", re.IGNORECASE)
_BARE_ID = re.compile(r"^(?:Device |Unknown device )?([0-9a-f]{4}:[0-9a-f]{4})(?= |$)(?: ([a-z][\w-]*)$)?", re.IGNORECASE)
_REVISION = re.compile(r"\(rev ([0-9a-f]{2})\)", re.IGNORECASE)
_PROG_IF = re.compile(r"\(prog-if ([0-9a-f]{2})(?![0-9a-f])", re.IGNORECASE)
_NAME_ENDS = re.compile(r"\s*\((?:rev [0-9a-f]{2}\)|prog-if\b)", re.IGNORECASE)
_KEY = re.compile(
    r"^(?:[A-Z][\w/ .-]{0,40}:|[0-9a-f]{2,3}: |pcilib:|lspci:|!!!|<access|\[virtual|Memory (?:at|behind|window)"
    r"|I/O (?:ports|behind|window)|Expansion ROM|BIST |16-bit|Prefetchable)"
)
_WRAPPED_AT = 55  # no mail client breaks shorter lines

_SPEED = re.compile(r"Speed (\d{1,4}(?:\.\d{1,3})?) ?G[bT]/s")
_WIDTH = re.compile(r"Width x(\d{1,3})\b")
_FLR = re.compile(r"\bFLReset([+-])|^AFCap:.*\bFLR([+-])")
_MSIX = re.compile(r"\bMSI-X: .*?Enable([+-])")
_MSI = re.compile(r"\b(?:MSI|Message Signalled Interrupts): .*?Enable([+-])")
_IRQ = re.compile(r"\bIRQ (\d{1,9})\b")
_GROUP = re.compile(r"\bIOMMU group:? (\w+)\b")
_NODE = re.compile(r"\bNUMA node:? (\d{1,9})\b")
_BUSES = re.compile(r"\bsecondary=([0-9a-f]{2})\b", re.IGNORECASE)


@dataclass
class _Record:
    """A function whose lines are being read; ``told`` are the fields of Told."""

    address: str
    head: str
    told: dict[str, object] = field(default_factory=dict)
    detailed: bool = False  # has lines below its head
    capabilities: bool = False
    messages: dict[str, bool] = field(default_factory=dict)
    irq: int = 0
    pin_off: bool = False
    flags: str = ""
    secondary: int | None = None
    config: bytes = b""  # of -x


def parse_lspci(text: str, classes: Mapping[str, int] | None = None) -> tuple[Told, ...]:
    """Return the functions that the text tells of, by address; ``classes`` gives the numbers of classes by their names.

    A function of class 0c03 of which the text gives no programming interface keeps it unknown, whatever its name says.
    """
    codes = read_class_codes() if classes is None else classes
    return join_outputs(_read_output(records, codes) for records in _split(text))


def _split(text: str) -> Iterator[list[_Record]]:
    """Yield the records of each output: a prompt ends one, and so does an address that descends."""
    records: list[_Record] = []
    fresh = False  # nothing but the head of the last record was read
    for raw in text.splitlines():
        line = _QUOTED.sub("", raw.replace("\u00a0", " ")).rstrip()  # web pages keep indents by spaces that do not break
        match = _HEAD.match(line)
        address = find_address(match[1]) if match else ""
        if match and address:
            if records and PciAddress.parse(records[-1].address) > PciAddress.parse(address):
                yield records
                records = []
            records.append(_Record(address, f"{match[2]}: {match[3]}"))
            fresh = True
        elif _PROMPT.match(line):
            yield records
            records = []
        elif records and line.strip() == "--":  # from grep -A: what follows of this function was cut away
            records[-1].detailed = fresh = False
        elif records and line.strip():
            last = records[-1]
            if fresh and _continues(last.head, line):
                last.head += f" {line.strip()}"
                continue
            _read_line(last, line.strip())
            fresh = False
        else:
            fresh = False
    yield records


def _continues(head: str, line: str) -> bool:
    """Return whether a line is the rest of a head that a mail client broke."""
    if len(head) < _WRAPPED_AT or line.startswith("\t") or _KEY.match(line.strip()):
        return False
    return not head.endswith(")") or line.lstrip().startswith("(")


def _read_line(record: _Record, line: str) -> None:
    """Read one line below a head; the words before the colon tell what it is, for its indent may be gone."""
    key, _, value = line.partition(":")
    value = value.strip()
    record.detailed = True
    record.config += read_row(line, len(record.config))
    record.pin_off = record.pin_off or "DisINTx+" in line
    if record.flags and not _KEY.match(line):  # Flags: is long, and a mail client may have broken it
        _read_flags(record, f"{record.flags} {line}")
    record.flags = line if key == "Flags" else ""
    match key:
        case "DeviceName" | "Physical Slot":
            record.told["label" if key == "DeviceName" else "slot"] = value
        case "Subsystem" | "Kernel driver in use" | "Kernel modules":
            _read_owner(record, key, value)
        case "Flags" | "Interrupt" | "NUMA node" | "IOMMU group":
            _read_flags(record, line)
        case "Bus":
            match = _BUSES.search(value)
            record.secondary = int(match[1], 16) if match else None
        case "LnkCap" | "LnkSta" | "Link":
            _read_link(record, key, value)
        case "Capabilities":
            _read_capability(record, value)
        case _:
            # DevCtl ends in FLReset too: there it is what starts a reset, and reads as 0.
            if (match := _FLR.search(line)) and "NoSnoop" not in line and "RlxdOrd" not in line:
                record.told["flr"] = bool(record.told.get("flr")) or "+" in match.groups()


def _read_owner(record: _Record, key: str, value: str) -> None:
    """Read who made the board, and which driver works with the function or could."""
    if key == "Subsystem":
        match = _ID.search(value) or _BARE_ID.match(value)
        record.told.setdefault("subsystem", match[1].lower() if match else "")
    elif key == "Kernel driver in use":
        record.told |= {"driver": value.split(" ", maxsplit=1)[0]} if value else {}
    else:
        record.told["modules"] = tuple(part.strip() for part in value.split(",") if part.strip())


def _read_flags(record: _Record, line: str) -> None:
    if match := _IRQ.search(line):
        record.irq = int(match[1])
    if match := _GROUP.search(line):
        record.told["group"] = match[1]
    if match := _NODE.search(line):
        record.told["numa_node"] = int(match[1])


def _read_link(record: _Record, key: str, value: str) -> None:
    """Read ``LnkCap``, ``LnkSta`` or, of pciutils before 3.0, two lines ``Link``, the first of them of what is supported."""
    start = "max_link" if key == "LnkCap" or value.startswith("Supported") else "link"
    speed, width = _SPEED.search(value), _WIDTH.search(value)
    if speed:
        record.told.setdefault(f"{start}_speed", f"{float(speed[1])} GT/s PCIe")  # as sysfs spells it
    if width and width[1] != "0":
        record.told.setdefault(f"{start}_width", width[1])


def _read_capability(record: _Record, value: str) -> None:
    if not value.startswith("["):  # <access denied>, or eaten by a web page
        return
    record.capabilities = True
    for kind, pattern in (("msix", _MSIX), ("msi", _MSI)):
        if match := pattern.search(value):
            record.messages[kind] = record.messages.get(kind, False) or match[1] == "+"


def _read_output(records: list[_Record], classes: Mapping[str, int]) -> dict[str, Told]:
    """Return the functions of one output. Where it shows drivers at all, one that it shows to its end without has none."""
    shows_drivers = any("driver" in record.told for record in records)
    for record in records:
        record.secondary = record.secondary or read_secondary(record.config)
    bridges = {(record.address[:-8], record.secondary): record.address for record in records if record.secondary}
    found: dict[str, Told] = {}
    for record in records:
        if shows_drivers and record.detailed and record is not records[-1]:
            record.told.setdefault("driver", "")
        head = _read_head(record.head, classes)
        path = _path(record.address, bridges)
        told = Told(record.address, interrupts=_interrupts(record), path=path)
        bytes_told = msgspec.structs.replace(Told(record.address), **read_config(record.config))
        told = fill(msgspec.structs.replace(told, **(head | record.told)), bytes_told)
        earlier = found.get(record.address)
        found[record.address] = told if earlier is None else earlier if told.contradicts(earlier) else join(earlier, told)
    return found


def _read_head(head: str, classes: Mapping[str, int]) -> dict[str, object]:
    """Read ``USB controller [0c03]: Intel Corporation Name [8086:a36d] (rev 10) (prog-if 30 [XHCI])``."""
    kind, _, rest = head.partition(": ")
    end = _NAME_ENDS.search(rest)
    name = rest[: end.start()] if end else rest
    tail = rest[end.start() :] if end else ""
    told: dict[str, object] = {"kind": split_kind(kind, classes)}
    if bare := _BARE_ID.match(name):
        told["id"] = bare[1].lower()
        if bare[2]:  # busybox prints the driver behind the id
            told["driver"] = bare[2]
    else:
        mixed = [*_ID.finditer(name)]
        told["id"] = mixed[-1][1].lower() if mixed else ""
        told["name"] = (name[: mixed[-1].start()] if mixed else name).strip()
    revision, prog_if = _REVISION.search(tail), _PROG_IF.search(tail)
    if revision and prog_if and revision[1] == prog_if[1] == "ff":
        return told  # the function does not answer any more: every byte reads as ones
    told["revision"] = int(revision[1], 16) if revision else None
    told["prog_if"] = int(prog_if[1], 16) if prog_if else split_prog_if(kind)
    return told


def _path(address: str, bridges: Mapping[tuple[str, int], str]) -> str:
    """Return the place in sysfs, empty where a bridge above was not shown; bus 0 is a root in every domain."""
    parts = [address]
    while (bus := int(parts[0][-7:-5], 16)) and len(parts) <= len(bridges):
        above = bridges.get((parts[0][:-8], bus))
        if above is None:
            return ""
        parts.insert(0, above)
    return f"/sys/devices/pci{address[:-8]}:00/{'/'.join(parts)}" if not bus else ""


def _interrupts(record: _Record) -> str:
    """Return what interrupts a function uses now: a pin only where its capabilities were shown and a driver works with it."""
    for kind in ("msix", "msi"):
        if record.messages.get(kind):
            return kind
    shown = record.irq and record.capabilities and not record.pin_off
    return "intx" if shown and record.told.get("driver") else ""
