"""What a run costs the host in CPU time: of everything, of the guest's QEMU, and of QEMU's main thread, where USB is emulated."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from harness.core.series import Sample
from harness.transport.protocol import Transport

_TICKS_S = 0.01
"""USER_HZ, which no kernel for this architecture has otherwise (Linux 2.6 to 6.17)."""
_MIB_PER_GIB = 1024
_BUSY = (0, 1, 2, 5, 6)  # user, nice, system, irq, softirq of /proc/stat: user has the guests' time in it
_USER_TIME = 11  # the fields of /proc/PID/stat after the command's name, which may hold anything

# The pattern does not match its own spelling, which is on a command line, too: the shells around QEMU are not QEMU.
_FIND = """
for file in $(grep -al '[/]{folder}/' /proc/[0-9]*/cmdline); do
    process=${{file%/cmdline}}
    read -r name <"$process/comm"
    case $name in *qemu*) echo "${{process##*/}}" ;; esac
done 2>/dev/null
"""

# Builtins: it is read after each run of fio, and an emulated host takes 20 ms to start a program.
_READ = """
for file in /proc/stat /proc/{process}/stat /proc/{process}/task/{process}/stat; do
    read -r line <"$file" && printf '%s\\n' "$line"
done 2>/dev/null
"""


@dataclass(frozen=True)
class Usage:
    """CPU seconds since some moment, each None where it could not be read."""

    host_s: float | None
    qemu_s: float | None
    main_s: float | None

    def since(self, earlier: Usage) -> Usage:
        """Return what was used since."""
        pairs = ((self.host_s, earlier.host_s), (self.qemu_s, earlier.qemu_s), (self.main_s, earlier.main_s))
        return Usage(*(None if now is None or then is None else now - then for now, then in pairs))


@dataclass(frozen=True)
class Meter:
    """Reads the usage of a host and of the QEMU with that process id (0: none is known)."""

    host: Transport
    process: int

    def read(self) -> Usage:
        """Return the usage up to now."""
        return parse_usage(self.host.run(_READ.format(process=self.process)).text)


def make_meter(host: Transport, folder: str) -> Meter:
    """Return a meter for the QEMU whose folder on the host that is."""
    found = host.run(_FIND.format(folder=folder.lstrip("/"))).text.split()
    return Meter(host, int(found[0]) if len(found) == 1 and found[0].isdigit() else 0)


def parse_usage(text: str) -> Usage:
    """Read the head of /proc/stat, and below it the stat of a process and of its main thread."""
    lines = text.splitlines()
    counts = lines[0].split()[1:] if lines and lines[0].startswith("cpu ") else []
    host = sum(int(counts[at]) for at in _BUSY) * _TICKS_S if len(counts) > max(_BUSY) else None
    qemu, main = (_thread_s(line) for line in (lines[1:3] if len(lines) > 2 else ("", "")))  # noqa: PLR2004 (one for each file)
    return Usage(host, qemu, main)


def _thread_s(line: str) -> float | None:
    fields = line.rpartition(")")[2].split()
    return sum(map(int, fields[_USER_TIME : _USER_TIME + 2])) * _TICKS_S if len(fields) > _USER_TIME + 1 else None


def with_cost(sample: Sample, used: Usage, ramp_s: float) -> Sample:
    """Return a sample with what its run cost; in the ramp, whose bytes fio forgets, the rate was the same."""
    gib = sample.rate_mib_s * (sample.runtime_s + ramp_s) / _MIB_PER_GIB
    host, qemu, main = (
        None if each is None or gib <= 0 else round(each / gib, 4) for each in (used.host_s, used.qemu_s, used.main_s)
    )
    return msgspec.structs.replace(sample, host_cpu_s_per_gib=host, qemu_cpu_s_per_gib=qemu, qemu_main_cpu_s_per_gib=main)
