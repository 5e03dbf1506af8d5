"""Where a capture comes from: this machine, a host over SSH, a bench, a folder or an archive. Nothing is changed there."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.bench.cache import Progress, silent
from harness.bench.config import BOOT_LIMIT_S, BenchConfig, load_bench
from harness.bench.real import connection_to
from harness.bench.virtual import VirtualBench
from harness.core.capture import Capture
from harness.core.deadline import Deadline
from harness.core.errors import UsageError
from harness.facts.probe import take_sections
from harness.facts.tree import read_capture
from harness.rules.survey import Source
from harness.transport.local import LocalTransport
from harness.transport.route import open_target
from harness.transport.sshconfig import resolve

LOCAL = "local"


@dataclass(frozen=True)
class Place:
    """What was asked for: one of a host as ssh knows it, a bench, or a capture; all empty: this machine."""

    host: str = ""
    bench: BenchConfig | None = None
    path: Path | None = None

    @property
    def source(self) -> Source:
        """Return what a survey of it says of its origin."""
        if self.path is not None:
            return Source("capture", str(self.path))
        if self.bench is not None:
            return Source(self.bench.kind, self.bench.name)
        return Source("ssh", self.host) if self.host else Source("local", "this machine")

    def take(self, limit_s: float, progress: Progress = silent) -> Capture:
        """Read it; ``limit_s`` is for reaching it and for its answers, not for the boot of a virtual board."""
        if self.path is not None:
            return read_capture(self.path)
        if self.bench is not None:
            return _take_bench(self.bench, limit_s, progress)
        return take_host(self.host, limit_s) if self.host else _take_here(limit_s)


def find_place(hosts: Sequence[str], bench: str | None, path: Path | None) -> Place:
    """Return the one place that the command line names; raise UsageError if it names several."""
    require_named(*hosts, bench)
    named = [*hosts, *([f"--bench {bench}"] if bench else []), *([f"--from {path}"] if path else [])]
    if len(named) > 1:
        raise UsageError(f"one place at a time can be looked at, but {' and '.join(named)} are given")
    if bench:
        return Place() if bench == LOCAL else Place(bench=load_bench(bench))
    if path:
        return Place(path=path)
    return Place(host=hosts[0]) if hosts and hosts[0] != LOCAL else Place()


def require_named(*names: str | None) -> None:
    """Raise UsageError for a name that is empty, as a variable of a shell that is not set: this machine was not meant."""
    if any(name is not None and not name.strip() for name in names):
        raise UsageError("an empty name is given: name a host, a bench or a capture, or nothing at all for this machine")


def take_host(host: str, limit_s: float) -> Capture:
    """Read a host over one SSH connection, by one command."""
    deadline = Deadline.after(limit_s, f"looking at {host}")
    with open_target(resolve(host), deadline) as transport:
        return take_sections(transport, deadline=deadline)


def _take_bench(config: BenchConfig, limit_s: float, progress: Progress) -> Capture:
    """Read a bench's host as anybody may: without a lock, and without being root."""
    if config.kind == "virtual":
        with tempfile.TemporaryDirectory(prefix="throughpass-survey-") as logs:
            boot = Deadline.after(BOOT_LIMIT_S, f"booting {config.name}")
            with VirtualBench(config).open(Path(logs), boot, progress) as host:
                return host.capture()
    if config.host is None:
        return _take_here(limit_s)
    deadline = Deadline.after(limit_s, f"looking at {config.name}")
    with connection_to(config.host, deadline, progress) as transport:
        return take_sections(transport, deadline=deadline)


def _take_here(limit_s: float) -> Capture:
    return take_sections(LocalTransport(), deadline=Deadline.after(limit_s, "looking at this machine"))


def read_hosts(named: str, others: Sequence[str]) -> tuple[str, ...]:
    """Return the hosts of a fleet, each once: ``named`` is a file with one a line (``#`` begins a comment) or itself a host."""
    require_named(named, *others)
    if "/" in named.removeprefix("ssh://") and not Path(named).exists():
        raise UsageError(f"there is no list of hosts {named}")
    listed = _lines_of(Path(named)) if Path(named).is_file() else [named]
    hosts = tuple(dict.fromkeys([*listed, *others]))
    if not hosts:
        raise UsageError(f"{named} names no host: write one a line, as ssh knows it")
    return hosts


def _lines_of(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the list of hosts {path} cannot be read: {error}") from error
    words = (line.partition("#")[0].strip() for line in text.splitlines())
    return [word for word in words if word]
