"""USB disks on a running system, or what stands for one in a guest, found by their serial: waited for, worked on, hashed."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Mapping

from harness.core.deadline import Deadline
from harness.core.errors import BenchError, BoardError, RefusedError
from harness.core.timeline import SpanKind, Timeline
from harness.machine.batch import Part, run_batch
from harness.transport.protocol import Result, Transport

READING_LIMIT_S = 120.0
"""For the reading of a window, on an emulated machine."""

FIND = """
find_disk() {
    disk='' sectors='' twins=''
    for folder in /sys/block/sd*; do
        [ -e "$folder" ] || continue
        read -r found <"$folder/device/../../../../serial" && [ "${serial:-$found}" = "$found" ] || continue
        read -r size <"$folder/size" && [ "$size" -gt 0 ] || continue
        [ -b "/dev/${folder##*/}" ] || continue
        [ -z "$disk" ] || { twins="$disk /dev/${folder##*/}"; break; }
        disk=/dev/${folder##*/} sectors=$size
        [ -n "$serial" ] || break
    done 2>/dev/null
    for folder in /sys/block/vd*; do # virtio_blk ends a serial without a newline, at which read fails (Linux 6.12)
        found=''
        { read -r found <"$folder/serial" || [ -n "$found" ]; } && [ "$serial" = "$found" ] || continue
        read -r sectors <"$folder/size" && [ -b "/dev/${folder##*/}" ] || continue
        disk=/dev/${folder##*/}
    done 2>/dev/null
    [ -n "$disk" ]
}
"""
"""Defines ``find_disk``, which finds the USB disk with the serial ``$serial`` (an empty one is any): ``$disk``, of ``$sectors``.

Where two have that serial, both are named in ``$twins``.
"""

_LATE = 124
"""What timeout(1) says of a command that it ended."""

_ONE = 'if [ -n "$twins" ]; then echo "$twins"; exit 1; fi'


# A kernel message is the event: sd says at level "notice" that a disk is there. dmesg prints the old messages first, so that
# none is missed between a look and the following. Whoever reads ends it: it would notice only at its next message.
# It follows for a few seconds at a time, for what no message tells; the sleep serves a kernel log that may not be read.
_FOLLOW = """
read -r now _ </proc/uptime
end=$((${now%.*} + limit)) key="follower $$ $now"
until UNTIL; do
    read -r now _ </proc/uptime
    if [ "${now%.*}" -ge "$end" ]; then
        dmesg | tail -n 15 >&2
        exit 124
    fi
    {
        timeout 5 dmesg -w -l LEVELS &
        echo "$key $!"
        wait "$!"
        case $? in 124 | 143) ;; *) sleep 1 ;; esac
    } 2>/dev/null | while read -r line; do
        case $line in
        "$key "*) follower=${line##* } ;;
        EVENT) ;;
        *) continue ;;
        esac
        if [ -n "$follower" ] && { UNTIL; }; then
            kill "$follower"
            break
        fi
    done
done
"""


def _wait(until: str, levels: str, event: str) -> str:
    """Return the shell text that waits until a condition holds, which is asked at each kernel message with ``event`` in it."""
    return _FOLLOW.replace("UNTIL", until).replace("LEVELS", levels).replace("EVENT", f'*"{event}"*')


def work_on_disk(
    transport: Transport,
    serial: str,
    work: Mapping[str, str],
    deadline: Deadline,
    *,
    work_s: float = 0.0,
    timeline: Timeline | None = None,
) -> dict[str, Part]:
    """Wait for the USB disk with that serial, and run shell texts with its node in ``$disk`` and its size in ``$sectors``.

    An empty serial is any; a disk without a medium is none. All of that is one command. The deadline is the disk's; the work may
    take ``work_s`` more.
    The part "wait" is over when the disk is there: if it was not at once, the time until then is the kernel's, and settling.
    Raises BoardError if the deadline passes (DeadlineError if it was cut), RefusedError if two disks have the serial.
    """
    limit_s = max(1, int(deadline.left_s))
    setting = f"serial={shlex.quote(serial)} limit={limit_s} disk=\n{FIND}"
    started_s = time.monotonic()
    whole = Deadline.after(limit_s + work_s + 30, f"{', '.join(work)} on the stick {serial} on {transport.name}")
    wait_for = _wait('[ -n "$disk" ] || find_disk', "notice", ' sd "*|*"virtio_blk ')
    commands = {"look": f"{setting}find_disk", "wait": wait_for, "twins": _ONE, **work}
    parts = run_batch(transport, commands, deadline=whole)
    wait = parts.get("wait")
    if wait is None:
        raise BenchError(f"the script that waits for the stick {serial} on {transport.name} was broken off")
    if timeline is not None and parts["look"].status != 0:
        timeline.add(SpanKind.SETTLE, started_s, wait.end_s)
    if wait.status == _LATE and deadline.cut:
        raise deadline.error(wait.error_text)
    if wait.status == _LATE:
        raise BoardError(f"the stick {serial} did not come up on {transport.name} within {limit_s} s", evidence=wait.error_text)
    if "twins" in parts and parts["twins"].status != 0:
        raise RefusedError(
            f"two disks on {transport.name} have the serial {serial}: {parts['twins'].text.replace(' ', ' and ')}",
            remedy="leave one of them in: which is meant is never guessed",
        )
    if missing := commands.keys() - parts.keys():
        raise BenchError(f"the script on {transport.name} was broken off before it came to {', '.join(sorted(missing))}")
    return parts


def wait_until_gone(transport: Transport, serial: str, deadline: Deadline) -> None:
    """Wait until no USB disk with that serial is there any more; raise DeadlineError if it stays."""
    limit_s = max(1, int(deadline.left_s))
    setting = f"serial={shlex.quote(serial)} limit={limit_s}\n{FIND}"
    whole = Deadline.after(limit_s + 30, deadline.purpose)
    if transport.run(setting + _wait("! find_disk", "notice,info", "disconnect"), deadline=whole).status == _LATE:
        raise deadline.error()


def find_disk(transport: Transport, serial: str) -> str | None:
    """Return the device node of the USB disk with that serial, or None."""
    result = transport.run(f"serial={shlex.quote(serial)}\n{FIND}\nfind_disk && echo $disk")
    return result.text.strip() or None


def hash_command(device: str, size_mib: int) -> str:
    """Return the shell text that hashes the first ``size_mib`` MiB of a disk, read past the page cache; see ``read_hash``."""
    return f"dd if={device} bs=1M count={size_mib} iflag=direct status=none | sha256sum"


def read_hash(result: Result, device: str) -> str:
    """Return the SHA-256 from what ``hash_command`` gave; BoardError if the disk could not be read."""
    digest = result.text.split(" ", 1)[0]
    if result.error_text or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise BoardError(f"{device} on {result.host} could not be read", evidence=result.error_text)
    return digest


def hash_window(transport: Transport, device: str, size_mib: int) -> str:
    """Return the SHA-256 of the first ``size_mib`` MiB of a disk; BoardError if it cannot be read."""
    return read_hash(transport.run(hash_command(shlex.quote(device), size_mib), timeout_s=READING_LIMIT_S), device)
