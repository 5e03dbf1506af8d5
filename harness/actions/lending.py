"""Nodes of a host that are lent to a guest's QEMU, which is nobody there: it owns no file, and no other process is the same user.

Root gives a node by making that user its owner, and takes it back by becoming it again. Whoever knows a run's mark knows the
user: a restore takes back what a dead run has lent.
"""

from __future__ import annotations

import hashlib
import shlex

from harness.core.errors import BenchError
from harness.transport.protocol import Transport, check

FIRST_USER, LAST_USER = 61184, 65519
"""The range that systemd keeps for users that come and go (https://systemd.io/UIDS-GIDS): no account has one of them."""

OURS = "throughpass: "
"""How each line begins that our scripts say beside a program's own."""

STICKS = "/dev/bus/usb /dev/sd*"
"""Where the nodes of a stick lie: the USB device's, and its disk's."""

LENT = f"/dev/kvm /dev/vfio {STICKS}"
"""Where what was lent lies."""

LEND = f"""
lend() {{
    if [ -d "$1" ]; then echo "throughpass: $1 is a folder, and no node" >&2; return 1; fi
    case $(stat -L -c '%u %a' "$1" 2>/dev/null) in
    *[67]) ;; # everybody may
    "0 "*) chown "$user" "$1" ;;
    "$user "*) ;;
    "") echo "throughpass: $1 is not there" >&2; return 1 ;;
    *) echo "throughpass: $1 is user $(stat -L -c %u "$1")'s: end the run that has it, or the udev rule" >&2; return 1 ;;
    esac
}}
lent_to_another() {{
    owner=$(stat -L -c %u "$1" 2>/dev/null) && [ "$owner" -ne "$user" ] &&
        [ "$owner" -ge {FIRST_USER} ] && [ "$owner" -le {LAST_USER} ]
}}
"""
"""Shell text that defines ``lend NODE`` for the user in ``$user``, and ``lent_to_another NODE``: to the guest of another run."""


def guest_user(mark: str) -> int:
    """Return the number of the user as whom the guests of a run with that mark run."""
    number = int.from_bytes(hashlib.sha256(mark.encode()).digest()[:4])
    return FIRST_USER + number % (LAST_USER + 1 - FIRST_USER)


def lend(transport: Transport, user: int, node: str) -> None:
    """Give a node to a guest's user; raise BenchError if it is not root's to give, or is none."""
    result = transport.run(f"user={user}\n{LEND}lend {shlex.quote(node)}")
    if result.status != 0:
        raise BenchError(f"{node} on {transport.name} cannot be given to the guest's QEMU", evidence=result.error_text)


def take_back_command(user: int, below: str = LENT) -> str:
    """Return the shell text by which everything that was lent to a user is root's again; what is gone is no error."""
    return f"find {below} -user {user} -exec chown 0 {{}} + 2>/dev/null; true"


def take_back(transport: Transport, user: int, below: str = LENT) -> None:
    """Make everything root's again that was lent to a user, or all of it that lies in one place."""
    check(transport, take_back_command(user, below))
