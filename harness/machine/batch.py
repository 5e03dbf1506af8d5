"""Several commands in one round trip, each with its own output, exit status and time.

A command over SSH costs an emulated host a tenth of a second before it has done anything.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

from harness.core.deadline import Deadline
from harness.core.errors import BenchError
from harness.transport.protocol import COMMAND_TIMEOUT_S, Result, Transport

# The mark ends a part in both outputs; the uptime tells when. An `exit` ends its part and leaves out those that follow.
_HEAD = """
mark() {{
    read -r now _ </proc/uptime
    printf '\\n{token} %s %s\\n' "$1" "$now"
    printf '\\n{token} %s %s\\n' "$1" "$now" >&2
}}
trap 'mark "$?"' EXIT
mark 0
"""
_PART = """{{
{command}
}}
mark "$?"
"""

_LEAST = 4
"""What splitting at one mark gives: the text before it, its status and uptime, the text after it."""


@dataclass(frozen=True)
class Part(Result):
    """What one command of a batch gave; ``start_s`` and ``end_s`` are instants of this machine's monotonic clock.

    They are too late by what the last output needs to come here: a hundredth of a second or two.
    """

    start_s: float
    end_s: float


def run_batch(transport: Transport, commands: Mapping[str, str], *, deadline: Deadline | None = None) -> dict[str, Part]:
    """Run shell texts one after the other in one shell, whatever the exit status of each, and return what came of them by name.

    They share variables and the working folder. One that calls ``exit`` is the last: those after it are missing in the result.
    """
    token = f"@tp-{secrets.token_hex(8)}"  # a device's text cannot forge a mark
    text = _HEAD.format(token=token) + "".join(_PART.format(command=command) for command in commands.values())
    limit = deadline or Deadline.after(COMMAND_TIMEOUT_S, f"reading {', '.join(commands)} on {transport.name}")
    result = transport.run(text, deadline=limit)
    ended_s = time.monotonic()
    marks = re.compile(rb"\n" + token.encode() + rb" (\d+) (\d+\.\d+)\n")
    outputs, errors = marks.split(result.stdout), marks.split(result.stderr)
    if len(outputs) < _LEAST:
        raise BenchError(f"a script on {transport.name} did not run", evidence=result.error_text or result.text)
    late_s = ended_s - float(outputs[-2])
    return {
        name: Part(
            transport.name,
            command,
            int(outputs[at + 1]),
            outputs[at],
            errors[at] if at < len(errors) else b"",
            float(outputs[at - 1]) + late_s,
            float(outputs[at + 2]) + late_s,
        )
        for at, (name, command) in zip(range(3, len(outputs) - 2, 3), commands.items(), strict=False)
    }
