"""Whether a disk may be written: only one that is named by its serial, marked as scratch, and nobody's otherwise."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.errors import RefusedError
from harness.core.finding import Evidence, Severity
from harness.core.marker import Marker
from harness.facts.content import Content, NamedDisk, Signature
from harness.facts.host import HostFacts
from harness.rules.rule import Opinion, Target, host_rule

MARK_IT = (
    "`throughpass storage mark SERIAL` marks a disk as scratch, after showing what is on it; it can be a disk of nobody's alone"
)
_USES = "/proc/self/mountinfo, /proc/swaps, /sys/class/block/*/holders, /sys/fs"


@host_rule(
    "STO002",
    title="A disk that is to be written is named, marked as scratch, and nobody's otherwise",
    why="A run that writes destroys what is on the disk; names like /dev/sda change, and twins look alike.",
    remedy=MARK_IT,
    source="https://man7.org/linux/man-pages/man8/wipefs.8.html, admin-guide/devices.html",
    guards=True,
)
def scratch_disk(facts: HostFacts, _: Target) -> Opinion:
    """Judge the disk that the bench file wants written, if it wants that."""
    if facts.writing is None:
        return Opinion(Severity.PASS, "no disk is to be written", (Evidence("[storage] write", "false"),))
    return judge_writing(facts.writing)


def judge_writing(named: NamedDisk) -> Opinion:
    """Return whether a disk may be written: a refusal names what is missing, an unknown what was not read."""
    if objection := _objection_to_any(named, ()) or _objection_to_writing(named):
        return objection
    content = _content(named)
    evidence = (Evidence(named.nodes[0], f"marked by {_origin(content.marker)}; nothing else was recognised on it"),)
    return Opinion(Severity.PASS, f"the disk {named.serial} is marked as scratch, and nobody's otherwise", evidence)


def judge_marking(named: NamedDisk, overwrite: Sequence[str]) -> Opinion:
    """Return whether a marker may be put on a disk: whatever is recognised on it must be among the kinds of ``overwrite``."""
    if objection := _objection_to_any(named, tuple(overwrite)):
        return objection
    content = _content(named)
    kept = [each for each in content.foreign if each.kind not in overwrite]
    if kept:
        remedy = f"take another disk; or, if what is on it may be lost for ever: {_options(kept)}"
        return Opinion(Severity.REFUSAL, f"the disk {named.serial} holds {_listed(kept)}", _seen(content), remedy)
    return Opinion(Severity.PASS, f"the disk {named.serial} may be marked", _seen(content))


def require_allowed(opinion: Opinion) -> None:
    """Raise RefusedError unless an opinion is a pass: nobody writes on what is not known."""
    if opinion.severity is not Severity.PASS:
        evidence = "\n".join(f"{each.source}: {each.text}" for each in opinion.evidence)
        raise RefusedError(opinion.message, remedy=opinion.remedy or MARK_IT, evidence=evidence)


def _objection_to_any(named: NamedDisk, overwrite: tuple[str, ...]) -> Opinion | None:
    """Return what stands against any write: not one disk, in use, read-only, or not all of that known."""
    return _not_one(named) or _in_use(named, overwrite) or _not_read(named)


def _not_one(named: NamedDisk) -> Opinion | None:
    serial, listed = named.serial, ", ".join(named.nodes)
    seen = (Evidence("/sys/block", listed or f"no USB disk with the serial {serial}"),)
    if not named.nodes:
        message = f"no USB disk with the serial {serial} is on the host"
        return Opinion(Severity.REFUSAL, message, seen, "plug it in, or name another")
    if len(named.nodes) > 1:
        remedy = "leave one of them in; a disk that cannot be told from another is never written"
        return Opinion(Severity.REFUSAL, f"{len(named.nodes)} USB disks have the serial {serial}: {listed}", seen, remedy)
    return None


def _in_use(named: NamedDisk, overwrite: tuple[str, ...]) -> Opinion | None:
    seen = (Evidence(_USES, ", ".join(named.nodes)),)
    if used := named.used_for(apart_from=overwrite):
        remedy = "unmount it (swapoff, stop the array), or take another disk; nothing allows to write a disk in use"
        return Opinion(Severity.REFUSAL, f"the host uses the disk {named.serial}: {', '.join(used)}", seen, remedy)
    if named.disk is None or named.hidden:
        hidden = ", ".join(named.hidden) or f"what {named.nodes[0]} is"
        return Opinion(Severity.UNKNOWN, f"the host does not show what it uses the disk {named.serial} for ({hidden})", seen)
    if named.disk.read_only:
        return Opinion(Severity.REFUSAL, f"the disk {named.serial} is read-only", seen, "move its write protection switch")
    return None


def _not_read(named: NamedDisk) -> Opinion | None:
    if named.content is not None and not named.content.unread:
        return None
    unread = "; ".join(named.content.unread) if named.content else "nothing was read"
    remedy = "run as root, and install util-linux (wipefs, blkid) on the host"
    seen = (Evidence("wipefs, blkid", unread),)
    return Opinion(Severity.UNKNOWN, f"what is on the disk {named.serial} is not known: {unread}", seen, remedy)


def _objection_to_writing(named: NamedDisk) -> Opinion | None:
    content, serial = _content(named), named.serial
    seen, marker = _seen(content), content.marker
    if content.spoilt:
        return Opinion(Severity.REFUSAL, f"the disk {serial} is marked no more: {content.spoilt}", seen)
    if marker is None:
        return Opinion(Severity.REFUSAL, f"the disk {serial} is not marked as scratch: nothing may be written to it", seen)
    size_bytes = named.disk.size_bytes if named.disk else 0
    if (marker.serial, marker.size_bytes) != (serial, size_bytes):
        message = f"the marker on the disk {serial} of {size_bytes} bytes is that of {marker.serial} of {marker.size_bytes} bytes"
        return Opinion(Severity.REFUSAL, message, seen)
    if content.foreign:
        kinds = _options(content.foreign)
        remedy = f"take another disk; or, if what is on it may be lost for ever: `throughpass storage mark {serial} {kinds}`"
        return Opinion(Severity.REFUSAL, f"the disk {serial} holds {_listed(content.foreign)}", seen, remedy)
    return None


def _content(named: NamedDisk) -> Content:
    return named.content or Content()


def _listed(found: Sequence[Signature]) -> str:
    return ", ".join(each.words for each in found)


def _options(found: Sequence[Signature]) -> str:
    return " ".join(f"--overwrite {kind}" for kind in dict.fromkeys(each.kind for each in found))


def _seen(content: Content) -> tuple[Evidence, ...]:
    """Return what wipefs and blkid recognised."""
    words = ", ".join(each.words for each in content.signatures) or "nothing recognised"
    return (Evidence("wipefs, blkid", words),)


def _origin(marker: Marker | None) -> str:
    return f"{marker.by}, {marker.made}" if marker else "nobody"
