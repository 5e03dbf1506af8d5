"""The journal: what was found on a host before the first write, kept there until all of it is as it was.

A file for each controller, below /var/lib, where it outlives the runner and the host's next boot. It is written whole or not at
all, and reaches the disk before anything is touched. One line names the form and the content's hash, the other is JSON; what is
cut short, changed, or of a newer form is told and never guessed at.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

import msgspec

from harness.core.errors import BenchError
from harness.facts.pci import PciDevice
from harness.transport.protocol import Transport, check

FOLDER = PurePosixPath("/var/lib/throughpass")
FORM = 1
_FILE = re.compile(r"(?P<address>.+)\.(?P<turn>[0-9a-f]{8})\.journal")
_FIRST = re.compile(r"throughpass journal (\d{1,9}) ([0-9a-f]{64})")

_LIST = """
for file in {folder}/*.journal; do
    [ -e "$file" ] || continue
    text=$(cat "$file") || {{
        [ -e "$file" ] || continue # its run has ended meanwhile
        exit 1
    }}
    printf '@journal %s\\n%s\\n@end\\n' "${{file##*/}}" "$text"
done
cat /proc/sys/kernel/random/boot_id
"""

_ALONE = """
mkdir -p {parent} && exec 9<{parent} && {{ flock -n 9 || timeout 30 flock 9; }} || exit
"""

LOST = 7
"""How the writing of a journal ends whose run has lost its lock."""

# Whoever has the lock next finds the journal of one who had it: so it is asked for once more when the journal lies there.
_WRITE = """
umask 077
{alone}
new=.new-{name}
holds() {{ {proof}; }}
write() {{
    holds || return {lost}
    mkdir -p {folder} && cd {folder} && cat >"$new" || return
    [ "$(wc -c <"$new")" -eq {length} ] || return # a runner that died in the middle sends an end, too
    {{ sync "$new" || sync; }} && mv -f "$new" {file} && {{ sync . || sync; }} || return
    holds && return
    rm -f {file}
    return {lost}
}}
write
status=$?
[ "$status" -eq 0 ] || rm -f {folder}/"$new"
exit "$status"
"""

_SWEEP = """
set -- {folder}/.new-*
[ -e "$1" ] || exit 0
{alone}
rm -f {folder}/.new-*
rmdir {folder} 2>/dev/null
true
"""

_TURN = "cd {folder} && mv -f {file} {new} && {{ sync . || sync; }}"

_REMOVE = """
folder={folder}
rm -f "$folder"/{file} "$folder"/.new-{name} || exit
if rmdir "$folder"; then sync "${{folder%/*}}"; else sync "$folder"; fi 2>/dev/null || sync
"""


class Taken(msgspec.Struct, frozen=True):
    """A device as it was found: ``driver`` and ``override`` are empty for none."""

    address: str
    id: str
    subsystem: str = ""
    driver: str = ""
    override: str = ""


def _new_turn() -> str:
    return secrets.token_hex(4)


class Journal(msgspec.Struct, frozen=True):
    """What one run found, and what it is about to do.

    ``run`` is its mark: every folder and every process of the run on the host has it in its name. ``modules`` are those of VFIO
    that were loaded before, ``attributes`` the values of other files that change with the driver; ``plan`` is for people.

    Its file is named for the controller and the ``turn``: whoever puts back gives it another name, and so takes the word from
    each plan of the dead run that has not begun. A new name needs no room on a full disk.
    """

    run: str
    who: str
    bench: str
    boot_id: str
    devices: tuple[Taken, ...]
    modules: tuple[str, ...] = ()
    attributes: Mapping[str, str] = {}
    plan: tuple[str, ...] = ()
    turn: str = msgspec.field(default_factory=_new_turn)

    @property
    def name(self) -> str:
        """Return what it is about: the controller's address."""
        return self.devices[0].address

    @property
    def path(self) -> PurePosixPath:
        """Return its file. While it is there, plans of this turn may be applied."""
        return FOLDER / f"{self.name}.{self.turn}.journal"


class Unreadable(NamedTuple):
    """A journal that cannot be followed, and why."""

    name: str
    reason: str


class Left(NamedTuple):
    """What lies on a host: the journals by their files, those that cannot be followed, and the boot in which it is now."""

    journals: Mapping[str, Journal]
    unreadable: tuple[Unreadable, ...]
    boot_id: str


def taken(device: PciDevice) -> Taken:
    """Return what a journal keeps of a device."""
    override = device.driver_override or ""
    return Taken(device.address, device.id, device.subsystem or "", device.driver or "", override)


def device_of(kept: Taken) -> PciDevice:
    """Return the device that a journal speaks of, as far as the way back needs it."""
    return PciDevice(kept.address, id=kept.id, driver=kept.driver or None, driver_override=kept.override or None)


def dump_journal(journal: Journal) -> str:
    """Return a journal's text."""
    body = msgspec.json.encode(journal).decode()
    return f"throughpass journal {FORM} {hashlib.sha256(body.encode()).hexdigest()}\n{body}"


def parse_journal(name: str, text: str) -> Journal | Unreadable:
    """Read a journal's text; whatever is not exactly what was written is Unreadable. ``name`` is its file's."""
    first, _, body = text.partition("\n")
    found = _FIRST.fullmatch(first)
    if found is None:
        return Unreadable(name, "it does not begin as a journal does")
    if int(found[1]) != FORM:
        return Unreadable(name, f"it is of form {found[1]}, and this throughpass knows form {FORM}: use the one that wrote it")
    body = body.removesuffix("\n")
    if hashlib.sha256(body.encode()).hexdigest() != found[2]:
        return Unreadable(name, "it is cut short, or was changed")
    try:
        journal = msgspec.json.decode(body, type=Journal)
    except msgspec.DecodeError as error:
        return Unreadable(name, f"it holds something else: {error}")
    file = _FILE.fullmatch(name)
    if file is None or not journal.devices or journal.name != file["address"]:
        return Unreadable(name, "it is about another device than its name says")
    return msgspec.structs.replace(journal, turn=file["turn"])


def read_journals(transport: Transport) -> Left:
    """Read all journals of a host, in one round trip."""
    text = check(transport, _LIST.format(folder=quoted_folder())).text
    *parts, rest = re.split(r"^@journal (.+)$", f"\n{text}", flags=re.MULTILINE) if "@journal " in text else [f"\n{text}"]
    read, last = [], rest
    if parts:
        names, texts = parts[1::2], [*parts[2::2], rest]
        bodies = [body.removeprefix("\n").rpartition("\n@end\n") for body in texts]
        read = [parse_journal(name, body) for name, (body, _, _) in zip(names, bodies, strict=True)]
        last = bodies[-1][2]
    journals = {each.path.name: each for each in read if isinstance(each, Journal)}
    return Left(journals, tuple(each for each in read if isinstance(each, Unreadable)), last.strip())


def write_journal(transport: Transport, journal: Journal, proof: str = ":") -> None:
    """Write a journal to the host's disk; raise BenchError if it is not there in whole: then nothing may be touched.

    ``proof`` is shell text that succeeds while the controller is still ours to take.
    """
    data = dump_journal(journal).encode()
    names = {"name": shlex.quote(journal.name), "file": _word(journal)}
    script = _WRITE.format(alone=beginning_alone(), folder=quoted_folder(), length=len(data), proof=proof, lost=LOST, **names)
    result = transport.run(script, stdin=data)
    if result.status == LOST:
        raise BenchError(
            f"the lock of {journal.name} on {transport.name} was lost: its holder there has ended; nothing was touched",
            remedy="start again",
        )
    if result.status != 0:
        raise BenchError(
            f"the journal of {journal.name} cannot be written to {FOLDER} on {transport.name}: nothing was touched",
            evidence=result.error_text,
            remedy=f"make room for a small file there, or let root write to {FOLDER}",
        )


def sweep(transport: Transport) -> None:
    """Remove what a host that lost its power has of a journal that was never one; no other is touched."""
    check(transport, _SWEEP.format(alone=beginning_alone(), folder=quoted_folder()))


def beginning_alone() -> str:
    """Return the shell text that begins a script which must not run beside another one that begins so.

    Such are what writes journals, and what goes by their number.
    """
    return _ALONE.format(parent=shlex.quote(str(FOLDER.parent)))


def quoted_folder() -> str:
    """Return the journals' folder as a word of the shell."""
    return shlex.quote(str(FOLDER))


def take_turn(transport: Transport, journal: Journal) -> Journal:
    """Return a journal under its new name: no plan of an earlier turn is begun any more."""
    mine = msgspec.structs.replace(journal, turn=_new_turn())
    check(transport, _TURN.format(folder=quoted_folder(), file=_word(journal), new=_word(mine)))
    return mine


def remove_journal(transport: Transport, journal: Journal) -> None:
    """Remove a journal: all is as it was."""
    check(transport, _REMOVE.format(folder=quoted_folder(), name=shlex.quote(journal.name), file=_word(journal)))


def _word(journal: Journal) -> str:
    return shlex.quote(journal.path.name)
