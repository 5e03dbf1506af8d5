"""What lies on a disk: what the host's own tools recognise, what its kernel shows, and whether it is marked as scratch.

What a signature looks like is libblkid's business (wipefs and blkid of util-linux), never ours. A tool that does not answer
leaves the disk unread, which is no permission. wipefs finds more than blkid: every signature, also one of several, a backup at
the end of the disk, one with a wrong checksum.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import msgspec

from harness.core.marker import MARKER_BYTES, Marker, SpoiltMarkerError, decode_marker
from harness.facts.storage import Disk

_SIGNATURE = re.compile(r"^0x([0-9a-f]+)\s+(\S+)$")
_TYPE = re.compile(r"^(?:PT)?TYPE=(\S+)$")
_ANSWERS = {"wipefs": {0}, "blkid": {0, 2, 8}}  # blkid: 2 is nothing found, 8 several things at once
_MEMBER = "marked as "
_DOS = "dos"

LOOK = r"""
PATH=$PATH:/usr/sbin:/sbin
tool() {
    tool=$1
    shift
    said=$(LC_ALL=C "$tool" "$@" 2>&1)
    echo "$tool $?"
    [ -z "$said" ] || printf '%s\n' "$said" | sed 's/^/    /'
}
hex() { od -A n -v -t x1 | tr -d ' \n'; }
examine() {
    name=${disk##*/}
    block=512
    read -r block <"/sys/class/block/$name/queue/logical_block_size"
    echo "block $block"
    for node in "$disk" "/sys/class/block/$name"/*/partition; do
        case $node in
        *'*/partition') continue ;;
        */partition) node=${node%/partition} node=/dev/${node##*/} ;;
        esac
        echo "node $node"
        tool wipefs --no-act --noheadings --output OFFSET,TYPE "$node"
        tool blkid -p -s TYPE -s PTTYPE -o export "$node"
    done
    echo "head $(head -c 4096 "$disk" | hex)"
    echo "start $(head -c 1048576 "$disk" | tr -d '\000' | head -c 16 | hex)"
    echo "end $(dd if="$disk" bs=1M skip=$((sectors / 2048 - 1)) count=2 | tr -d '\000' | head -c 16 | hex)"
} 2>/dev/null
look() {
    seen=$(examine)
    print=$(printf '%s\n' "$seen" | sha256sum)
    print=${print%% *}
}
"""
"""Defines ``look``, which puts what lies on ``$disk`` (of ``$sectors``) into ``$seen``, and the SHA-256 of it into ``$print``.

It reads, and nothing else. What it has seen, and a last line ``whole $print``, is for ``parse_content``.
"""


class Signature(msgspec.Struct, frozen=True):
    """One thing that a tool recognised: ``kind`` as libblkid calls it, on a disk's or partition's node; -1: somewhere there."""

    kind: str
    node: str
    offset: int = -1

    @property
    def words(self) -> str:
        """Return it in words: ``ext4 at 1080 of /dev/sda1``."""
        return f"{self.kind} at {self.offset} of {self.node}" if self.offset >= 0 else f"{self.kind} on {self.node}"


class Content(msgspec.Struct, frozen=True):
    """What lies on one disk. ``start`` and ``end`` are the first bytes there that are not zero, in hexadecimal digits.

    ``unread`` tells what did not answer; ``fingerprint`` is that of all that was seen.
    """

    signatures: tuple[Signature, ...] = ()
    partitions: tuple[str, ...] = ()
    block_bytes: int = 512
    head: bytes = b""
    start: str = ""
    end: str = ""
    unread: tuple[str, ...] = ()
    fingerprint: str = ""

    @property
    def marker(self) -> Marker | None:
        """Return the marker, None where there is none or it is not whole."""
        try:
            return decode_marker(self.head)
        except SpoiltMarkerError:
            return None

    @property
    def spoilt(self) -> str:
        """Return what is wrong with the marker, empty where there is none or it is whole."""
        try:
            decode_marker(self.head)
        except SpoiltMarkerError as error:
            return str(error)
        return ""

    @property
    def foreign(self) -> tuple[Signature, ...]:
        """Return what was recognised beside the marker's own MBR."""
        if self.marker is None:
            return self.signatures
        return tuple(each for each in self.signatures if not self._is_ours(each))

    def _is_ours(self, found: Signature) -> bool:
        """Return whether this is the MBR of the marker that is there."""
        return found.kind == _DOS and 0 <= found.offset < MARKER_BYTES and found.node not in self.partitions

    @property
    def unknown_data(self) -> str:
        """Return where the disk holds something that no tool recognised, in words; empty where nothing was seen."""
        if self.marker is not None or self.signatures:
            return ""
        seen = {"the first MiB": self.start, "the last MiB": self.end}
        return ", ".join(f"{where} ({value[:32]}...)" for where, value in seen.items() if value)


class NamedDisk(msgspec.Struct, frozen=True):
    """The disk that somebody named by its serial, to be marked or written.

    ``nodes`` are the USB disks with that serial, ``disk`` and ``content`` what is known if it is one; ``hidden`` names what was
    not read of the host's use of it.
    """

    serial: str
    nodes: tuple[str, ...] = ()
    disk: Disk | None = None
    content: Content | None = None
    hidden: tuple[str, ...] = ()

    def used_for(self, *, apart_from: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return what the host uses it for; being marked as a part of something of these kinds, and no more, is left out."""
        uses = self.disk.used_for if self.disk else ()
        return tuple(use for use in uses if use.removeprefix(_MEMBER) not in apart_from or not use.startswith(_MEMBER))


def parse_content(text: str) -> Content:
    """Read what ``look`` saw; whatever is missing in it, or went wrong, is in ``unread``."""
    lines = text.splitlines()
    words = (line.partition(" ") for line in lines)
    values = {word: value for word, _, value in words if word in {"block", "head", "start", "end"}}
    nodes = [line.removeprefix("node ") for line in lines if line.startswith("node ")]
    head = _from_hex(values.get("head", ""))
    unread = [*_find_silent(lines), *([] if len(head) == MARKER_BYTES else ["the first 4096 bytes"])]
    last, _, fingerprint = lines[-1].partition(" ") if lines else ("", "", "")
    if last != "whole" or not fingerprint or not nodes:
        unread.append("the end of what was asked")
    return Content(
        signatures=tuple(_read_signatures(lines)),
        partitions=tuple(nodes[1:]),
        block_bytes=int(values["block"]) if values.get("block", "").isdigit() else 512,
        head=head,
        start=values.get("start", ""),
        end=values.get("end", ""),
        unread=tuple(dict.fromkeys(unread)),
        fingerprint=fingerprint,
    )


def _read_signatures(lines: list[str]) -> Iterator[Signature]:
    """Yield what wipefs lists, and what blkid names beside it."""
    node, tool, listed = "", "", set[str]()
    for line in lines:
        word, _, value = line.partition(" ")
        if word == "node":
            node, listed = value, set()
        elif word in _ANSWERS:
            tool = word
        elif tool == "wipefs" and (found := _SIGNATURE.match(line.strip())):
            listed.add(found[2])
            yield Signature(found[2], node, int(found[1], 16))
        elif tool == "blkid" and line.startswith(" ") and (named := _TYPE.match(line.strip())) and named[1] not in listed:
            yield Signature(named[1], node)


def _find_silent(lines: list[str]) -> Iterator[str]:
    """Yield each tool that did not answer as it should for some node, with what it said; each is asked once for each node."""
    awaited, node = set[str](), "no disk"
    for line, following in itertools.pairwise([*lines, "node "]):
        word, _, value = line.partition(" ")
        if word == "node":
            awaited, node = set(_ANSWERS), value
        elif word in _ANSWERS:
            said = following.strip() if following.startswith(" ") else ""
            if word not in awaited or not value.isdigit() or int(value) not in _ANSWERS[word]:
                yield f"{word} of {node}: status {value}{f' ({said})' if said else ''}"
            elif word == "wipefs" and said and not _SIGNATURE.match(said):
                yield f"{word} of {node}: {said}"
            awaited.discard(word)
        if following.startswith("node "):
            yield from (f"{tool} of {node}" for tool in sorted(awaited))


def _from_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
