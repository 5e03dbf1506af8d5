"""What a QEMU that does not answer waits for: the state and the kernel's stack of each of its threads that is stuck."""

from __future__ import annotations

from pathlib import PurePosixPath

from harness.core.errors import ThroughpassError
from harness.transport.protocol import Transport

_LOOK_LIMIT_S = 20.0
_APART_S = 3

POWER_OFF = "look at the host's dmesg; what the kernel waits for goes with a power cycle; then `throughpass restore`"
WHEN_IT_ANSWERS = "`throughpass restore`, as soon as the host answers again"

# The pattern does not match its own spelling, which is on a command line, too. T is stopped, t traced, D waits for the kernel.
# A thread that reads a disk is in D for moments: only what waits in the same place at both looks is stuck, and of a
# QEMU that nobody has killed only what has not run in between, either. There is no event to wait for.
_LOOK = """
look() {{
for file in $(grep -al '[/]{folder}/' /proc/[0-9]*/cmdline); do
    process=${{file%/cmdline}}
    read -r name <"$process/comm"
    case $name in *qemu*) ;; *) continue ;; esac
    for task in "$process"/task/*; do
        while read -r key state; do
            [ "$key" != State: ] || break
        done <"$task/status"
        case $state in D* | T* | t*) ;; *) continue ;; esac
        ran=$({ran}) place=$(cat "$task/stack" || cat "$task/wchan")
        is_stuck
    done
done 2>/dev/null
}}
is_stuck() {{ seen="$seen
@${{task##*/}} $state $ran $place@"; }}
seen=
look
[ -n "$seen" ] || exit 0
sleep {apart_s}
is_stuck() {{
    case $seen in *"@${{task##*/}} $state $ran $place@"*) printf '%s\\n' "thread ${{task##*/}} of $name: $state" "$place" ;; esac
}}
look
"""


def describe_stuck(transport: Transport, folder: PurePosixPath, *, killed: bool = False) -> str:
    """Return what the threads of the QEMU of ``folder`` wait for that stay where they are; empty if none does, or nobody can say.

    One that was ``killed`` does nothing of its own any more: a driver that looks again and again keeps it.
    """
    ran = "" if killed else 'grep _ctxt_switches "$task/status"'
    look = _LOOK.format(folder=str(folder).lstrip("/"), ran=ran, apart_s=_APART_S)
    try:
        return transport.run(look, timeout_s=_LOOK_LIMIT_S).text
    except ThroughpassError:
        return ""
