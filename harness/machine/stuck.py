"""What a QEMU that does not answer waits for: the state and the kernel's stack of each of its threads that is stuck."""

from __future__ import annotations

from pathlib import PurePosixPath

from harness.core.errors import ThroughpassError
from harness.transport.protocol import Transport

_LOOK_LIMIT_S = 20.0

POWER_OFF = "look at the host's dmesg; what the kernel waits for goes with a power cycle; then `throughpass restore`"
WHEN_IT_ANSWERS = "`throughpass restore`, as soon as the host answers again"

# The pattern does not match its own spelling, which is on a command line, too. T is stopped, t traced, D waits for the kernel.
_LOOK = """
for file in $(grep -al '[/]{folder}/' /proc/[0-9]*/cmdline); do
    process=${{file%/cmdline}}
    read -r name <"$process/comm"
    case $name in *qemu*) ;; *) continue ;; esac
    for task in "$process"/task/*; do
        while read -r key state; do
            [ "$key" != State: ] || break
        done <"$task/status"
        case $state in D* | T* | t*) ;; *) continue ;; esac
        echo "thread ${{task##*/}} of $name: $state"
        cat "$task/stack" || cat "$task/wchan"
    done
done 2>/dev/null
"""


def describe_stuck(transport: Transport, folder: PurePosixPath) -> str:
    """Return what the stuck threads of the QEMU of ``folder`` wait for; empty if none is, or nobody can say."""
    try:
        return transport.run(_LOOK.format(folder=str(folder).lstrip("/")), timeout_s=_LOOK_LIMIT_S).text
    except ThroughpassError:
        return ""
