"""A look at a machine's kernel log: one round trip, where the kernel numbers what it says."""

from __future__ import annotations

from harness.facts.log_watch import LOOK, LOOK_AT_TEXT, LogLook, parse_look
from harness.transport.protocol import Transport

LOOK_S = 30.0
"""How long a look may take: milliseconds on a real host, a tenth of a second on an emulated one."""


def take_look(transport: Transport) -> LogLook:
    """Return what a machine's kernel log holds now; as text where its dd cannot read without waiting (busybox)."""
    look = parse_look(transport.run(LOOK, timeout_s=LOOK_S).text)
    if look.form == "kmsg" and not look.lines:
        look = parse_look(transport.run(LOOK_AT_TEXT, timeout_s=LOOK_S).text)
    return look
