"""The lock of a controller. It lives on the host, dies with its holder, and leaves no file behind.

flock(2) takes folders of sysfs as it takes any file: a run holds that of its controller's IOMMU group, for no part of a group can
be somebody else's, and shares or has for itself that of the PCI bus, which stands for the host. The holder is a process on the
host at the other end of a channel. It ends with the channel, or when nothing has been heard for a while: a runner that lost its
power closes no connection.
"""

from __future__ import annotations

import secrets
import shlex
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harness.core.deadline import Deadline
from harness.core.errors import BenchError, DeadlineError, HostLostError
from harness.transport.protocol import Conversation, Transport

BEAT_S = 15.0
SILENCE_S = 90
"""How long a holder believes in a runner that says nothing: what comes late on a busy machine is not lost."""

BUS = "/sys/bus/pci"

_ANSWER_LIMIT_S = 30.0

_PROOF = "tr '\\0' '\\n' </proc/{holder}/cmdline 2>/dev/null | grep -qx {word}"

_STAY = 'echo "$2 held $$"; while [ -n "$(timeout "$1" head -c 1 8<&- 9<&-)" ]; do :; done'

# The words of its command line tell who holds, without a file. Anybody may write what looks like one: so the names are one line,
# and the answer has a word that only we know.
_HOLD = """
address=$1 mode=$2 wait=$3 silence=$4 word=$5 who=$6
command -v flock >/dev/null || {{ echo missing; exit 1; }}
folder="{bus}/devices/$address"
place=$({{ cd -P "$folder/iommu_group" || cd -P "$folder"; }} 2>/dev/null && pwd) || {{ echo gone; exit 1; }}
exec 8<{bus} 9<"$place"
holders() {{
    for file in $(grep -alz "^throughpass-lock holds .* in $1" /proc/[0-9]*/cmdline 2>/dev/null); do
        tr '\\0' '\\n' <"$file" | tail -n 1 | tr -d '\\001-\\010\\013-\\037\\177'
    done | tr '\\n' ';' | sed 's/;$//; s/;/; /g'
}} 2>/dev/null # a process may end while it is looked at
take() {{
    flock -n "$1" "$2" && return
    echo "busy $(holders "$3")"
    left=$((wait - $(date +%s) + began)) # both locks have the one wait
    [ "$left" -gt 0 ] && timeout "$left" flock "$1" "$2" && return
    echo late
    exit 1
}}
began=$(date +%s)
take "$mode" 8 ""
take -x 9 "$place"'$'
exec sh -c {stay} "throughpass-lock holds $address in $place" "$silence" "$word" "$who"
"""


class GoneError(BenchError):
    """The device to be held is not there."""


class BusyError(BenchError):
    """Somebody else holds the device."""


class Lock:
    """A lock that is held, as long as its holder on the host hears of us.

    ``proof`` is shell text that succeeds on the host while the holder lives. A runner that was suspended for long does not
    know of its end: what must not be written then asks there, in the same command.
    """

    def __init__(self, name: str, conversation: Conversation, beat_s: float, proof: str) -> None:
        self.proof = proof
        self._name = name
        self._conversation = conversation
        self._beat_s = beat_s
        self._over = threading.Event()
        self._lost = threading.Event()
        threading.Thread(target=self._beat, daemon=True, name=f"lock of {name}").start()

    def require(self) -> None:
        """Raise BenchError if the lock was lost: somebody else may be at work there now."""
        if self._lost.is_set():
            raise BenchError(f"the lock of {self._name} was lost: its holder there has ended", remedy="start again")

    def wait_until_lost(self, limit_s: float | None = None) -> bool:
        """Return whether the lock is lost, as soon as it is known."""
        return self._lost.wait(limit_s)

    def leave(self) -> None:
        """Stop telling the host that we are there."""
        self._over.set()

    def _beat(self) -> None:
        while not self._over.wait(self._beat_s):
            try:
                self._conversation.send(b".")
            except Exception:  # noqa: BLE001 (whatever it is, nobody hears of us any more)
                self._lost.set()
                return


@contextmanager
def holding(
    transport: Transport,
    address: str,
    *,
    who: str,
    alone: bool = False,
    wait_s: int = 0,
    progress: Callable[[str], None],
    beat_s: float = BEAT_S,
) -> Iterator[Lock]:
    """Hold a controller with all of its group, and the host with others or ``alone``.

    Raises BenchError that tells who has it, since when, and how to wait, if it is not free within ``wait_s``.
    """
    word = secrets.token_hex(8)
    options = [address, "-x" if alone else "-s", str(wait_s), str(SILENCE_S), word, who]
    hold = _HOLD.format(bus=BUS, stay=shlex.quote(_STAY))
    command = shlex.join(["sh", "-c", hold, "throughpass-lock wants", *options])
    limit = Deadline.after(_ANSWER_LIMIT_S + wait_s, f"locking {address} on {transport.name}")
    with transport.converse(command, limit) as conversation:
        name = f"{address} on {transport.name}"
        holder = _await_lock(conversation, name, limit, word=word, wait_s=wait_s, progress=progress)
        lock = Lock(name, conversation, beat_s, _PROOF.format(holder=holder, word=word))
        try:
            yield lock
        finally:
            lock.leave()


def _await_lock(
    conversation: Conversation, name: str, limit: Deadline, *, word: str, wait_s: int, progress: Callable[[str], None]
) -> int:
    """Read the holder's words until the lock is held, and return its process; raise BenchError with what they mean otherwise.

    Lines that are none of its words (a notice of sudo's, a shell's error) count once it has ended.
    """
    busy, said = "", ""
    while not (line := _next_line(conversation, name, limit, said)).startswith(f"{word} held "):
        kind, _, told = line.partition(" ")
        if kind == "busy":
            busy = f"{name} is in use by {told or 'somebody who does not say who'}"
            if wait_s:
                progress(f"{busy}; waiting at most {wait_s} s")
        elif kind == "late":
            more = f"; it was not free within {wait_s} s" if wait_s else ""
            raise BusyError(f"{busy}{more}", remedy="try again later, or wait for it with --wait SECONDS")
        elif kind == "missing":
            raise BenchError(f"{name} cannot be locked: flock (of util-linux) is missing on the host")
        elif kind == "gone":
            raise GoneError(f"{name} is not there")
        else:
            said += f"{line}\n"
    return int(line.rpartition(" ")[2])


def _next_line(conversation: Conversation, name: str, limit: Deadline, said: str) -> str:
    """Return the holder's next line; raise BenchError with what it ``said`` so far if it ends."""
    try:
        return conversation.read_line(limit)
    except (DeadlineError, HostLostError):
        raise
    except BenchError as error:
        raise BenchError(f"{name} cannot be locked", evidence=said.strip() or error.evidence) from error
