"""USB disks on a running system, found by their serial: wait until one is there or gone, read it, hash it."""

from __future__ import annotations

import re
import shlex

from harness.core.deadline import Deadline
from harness.core.errors import BoardError
from harness.transport.protocol import Transport

_FIND = """
find_disk() {
    for folder in /sys/block/sd*; do
        [ -e "$folder" ] || continue
        read -r found <"$folder/device/../../../../serial" && [ "$found" = "$serial" ] || continue
        read -r sectors <"$folder/size" && [ "$sectors" -gt 0 ] || continue
        [ -b "/dev/${folder##*/}" ] || continue
        disk=/dev/${folder##*/}
        return 0
    done 2>/dev/null
    return 1
}
"""

# Kernel messages are the event: one comes when a disk attaches or detaches. The tick serves a kernel log that may not be read.
_WAIT = """
if holds; then exit 0; fi
fifo=$(mktemp -u /tmp/throughpass.XXXXXXXX) && mkfifo -m 600 "$fifo" || exit 2
exec 3<>"$fifo"
rm "$fifo"
dmesg -W >&3 2>/dev/null &
follower=$!
(while sleep 1; do echo tick; done) >&3 &
ticker=$!
trap 'kill $follower $ticker 2>/dev/null' EXIT
until holds; do read -r _ <&3; done
"""


def wait_for_disk(transport: Transport, serial: str, deadline: Deadline) -> str:
    """Return the device node of the USB disk with that serial, as soon as there is one with a medium in it.

    Raises BoardError if the deadline passes.
    """
    script = f"serial={shlex.quote(serial)}\n{_FIND}\nholds() {{ find_disk && echo $disk; }}\n{_WAIT}"
    return _await(transport, script, deadline, f"the stick {serial} did not come up on {transport.name}")


def wait_for_no_disk(transport: Transport, serial: str, deadline: Deadline) -> None:
    """Return as soon as there is no USB disk with that serial; raise BoardError if the deadline passes."""
    script = f"serial={shlex.quote(serial)}\n{_FIND}\nholds() {{ ! find_disk; }}\n{_WAIT}"
    _await(transport, script, deadline, f"the stick {serial} did not leave {transport.name}")


def find_disk(transport: Transport, serial: str) -> str | None:
    """Return the device node of the USB disk with that serial, or None."""
    result = transport.run(f"serial={shlex.quote(serial)}\n{_FIND}\nfind_disk && echo $disk")
    return result.text.strip() or None


def hash_window(transport: Transport, device: str, size_mib: int) -> str:
    """Return the SHA-256 of the first ``size_mib`` MiB of a disk, read past the page cache; BoardError if it cannot be read."""
    command = f"dd if={shlex.quote(device)} bs=1M count={size_mib} iflag=direct status=none | sha256sum"
    result = transport.run(command, timeout_s=120)
    digest = result.text.split(" ", 1)[0]
    if result.error_text or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise BoardError(f"{device} on {transport.name} could not be read", evidence=result.error_text)
    return digest


def _await(transport: Transport, script: str, deadline: Deadline, failure: str) -> str:
    limit_s = max(1, int(deadline.left_s))
    # timeout(1) ends the waiting on the host too; 124 is its way to say so.
    result = transport.run(["timeout", str(limit_s), "sh", "-c", script], timeout_s=limit_s + 30)
    if result.status == 0:
        return result.text.strip()
    log = transport.run("dmesg | tail -n 15").text
    raise BoardError(f"{failure} within {limit_s} s", evidence=f"{result.error_text}\n{log}".strip())
