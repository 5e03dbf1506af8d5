"""What a figure depends on beside the code: this machine and the versions of what runs on it."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

from harness.transport.local import LocalTransport
from harness.transport.protocol import check

_CPU = re.compile(r"^model name\s*:\s*(.+)$", re.MULTILINE)


def parse_cpu(cpuinfo: str) -> str:
    """Return the processor's name from the text of /proc/cpuinfo."""
    found = _CPU.search(cpuinfo)
    return found[1].strip() if found else "unknown"


def describe_machine(accelerator: str) -> dict[str, Any]:
    """Return the kind of this machine, not its name. The load tells how much of it others had when the run began."""
    return {
        "cpu": parse_cpu(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "accelerator": accelerator,
        "load_before": os.getloadavg()[0],
    }


def version_of(program: str) -> str:
    """Return the first line of what a program says of its version."""
    return check(LocalTransport(), [program, "--version"]).text.splitlines()[0]
