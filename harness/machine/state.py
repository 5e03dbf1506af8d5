"""A machine's state as a file: saved while it stands still, loaded by a QEMU with the same command line.

QEMU calls both a migration. Source: QEMU 7.2, docs/devel/migration.rst and qapi/migration.json.
"""

from __future__ import annotations

from typing import BinaryIO

from harness.core.deadline import Deadline
from harness.core.errors import BenchError, DeadlineError
from harness.machine.qmp import Qmp

_ENDS = frozenset({"completed", "failed", "cancelled"})
_FILE = "state"
_END_S = 30.0
_UNLIMITED = 1 << 40
"""Bytes a second; QEMU's own limit of 128 MiB/s is meant for a network."""


def why_not_savable(qmp: Qmp) -> str:
    """Return why QEMU cannot save this machine, in its own words, or nothing."""
    return "; ".join(qmp.execute("query-migrate").get("blocked-reasons", ()))


def save_state(qmp: Qmp, file: BinaryIO, deadline: Deadline) -> None:
    """Write the machine's state to a file that is open, and let it run on; both are on this machine.

    Raises BenchError with QEMU's words if it cannot be saved or written; the machine runs on then, too.
    """
    qmp.execute("migrate-set-capabilities", {"capabilities": [{"capability": "events", "state": True}]})
    qmp.execute("migrate-set-parameters", {"max-bandwidth": _UNLIMITED})
    # QEMU itself sees a full disk this way. With exec: it takes no notice of how the command ends (7.2).
    qmp.give_file(_FILE, file.fileno())
    qmp.execute("stop")
    try:
        qmp.execute("migrate", {"uri": f"fd:{_FILE}"})
        _wait_for_end(qmp, "saved", deadline)
    except DeadlineError:
        qmp.execute("migrate_cancel")  # or it would stop the machine at its end, whenever that is
        qmp.wait_for_change("MIGRATION", "status", _ENDS, _soon(qmp))
        raise
    finally:
        _run_on(qmp, _soon(qmp))


def load_state(qmp: Qmp, file: BinaryIO, deadline: Deadline) -> None:
    """Load a state into a machine that waits for it, and let it run; raise BenchError if it does not fit."""
    qmp.execute("migrate-set-capabilities", {"capabilities": [{"capability": "events", "state": True}]})
    qmp.give_file(_FILE, file.fileno())
    qmp.execute("migrate-incoming", {"uri": f"fd:{_FILE}"})
    _wait_for_end(qmp, "loaded", deadline)
    qmp.execute("cont")


def _soon(qmp: Qmp) -> Deadline:
    return Deadline.after(_END_S, f"letting {qmp.name} run on")


def _run_on(qmp: Qmp, deadline: Deadline) -> None:
    """Let the machine run. QEMU 7.2 reports a migration's end before it allows that, and has no event for the moment between."""
    while qmp.execute("query-status")["status"] == "finish-migrate":
        deadline.check()
    qmp.execute("cont")


def _wait_for_end(qmp: Qmp, done: str, deadline: Deadline) -> None:
    status = qmp.wait_for_change("MIGRATION", "status", _ENDS, deadline)
    if status != "completed":
        why = qmp.execute("query-migrate").get("error-desc", "no reason given")
        raise BenchError(f"the state of {qmp.name} could not be {done}: {why}")
