"""Many hosts at once: each with its own connection, deadline and outcome, and no say in what becomes of the others."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from harness.core.capture import Capture
from harness.core.deadline import Deadline
from harness.core.errors import BenchError, ThroughpassError
from harness.facts.probe import SECTIONS, take_sections
from harness.transport.protocol import Transport
from harness.transport.route import open_target
from harness.transport.sshconfig import SshTarget, resolve
from harness.transport.waiting import next_item

BOUND = 40
"""How many hosts are spoken to at a time: a host waits far more than we work for it."""

LIMIT_S = 60.0
"""How long one host may take, from the first packet to the last fact."""


LEFT_OUT = frozenset({"holders", "qemu"})
"""Sections that a fleet is not asked for: each costs a host as much processor time as half of all the others, or more."""


def take_most(transport: Transport) -> Capture:
    """Take all sections but those that are left out for a fleet."""
    return take_sections(transport, *(section for section in SECTIONS if section not in LEFT_OUT))


@dataclass(frozen=True)
class Outcome:
    """What came of one host, called as the user called it: a capture, or the error that says why there is none."""

    target: str
    name: str
    capture: Capture | None
    error: ThroughpassError | None
    took_s: float


Take = Callable[[Transport], Capture]
Resolve = Callable[[str], SshTarget]
Open = Callable[[SshTarget, Deadline], AbstractContextManager[Transport]]


def survey_fleet(
    targets: Iterable[str],
    *,
    take: Take = take_most,
    bound: int = BOUND,
    limit_s: float = LIMIT_S,
    to_target: Resolve = resolve,
    opening: Open = open_target,
) -> Iterator[Outcome]:
    """Take a capture of every host and yield each outcome as it comes, at most ``bound`` hosts at a time.

    A host that stands there twice, by the same name or by two names for the same way to it, is visited once, under the first of
    them. One that does not come to an end within ``limit_s`` is left behind: its outcome is a DeadlineError. Whoever stops
    listening, by Ctrl-C too, waits for nobody.
    """
    waiting = deque(dict.fromkeys(targets))
    fleet = _Fleet(take, to_target, opening)
    running: dict[str, _Visit] = {}
    try:
        while waiting or running:
            while waiting and len(running) < bound:
                visit = _Visit(waiting.popleft(), limit_s)
                running[visit.target] = visit
                fleet.start(visit)
            first = min(running.values(), key=lambda visit: visit.deadline.at_s)
            with suppress(Empty):
                ended, outcome = next_item(fleet.ended, first.deadline.left_s)
                if running.pop(ended.target, None) and outcome:
                    yield outcome
            for late in [visit for visit in running.values() if visit.deadline.expired]:
                del running[late.target]
                late.leave()
                yield late.outcome(error=late.deadline.error())
    finally:
        for visit in running.values():
            visit.leave()


@dataclass(eq=False)
class _Visit:
    """One host while it is visited."""

    target: str
    limit_s: float
    name: str = ""
    deadline: Deadline = field(init=False)
    leaving: threading.Event = field(default_factory=threading.Event)
    _leave: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        """Begin."""
        self.deadline = Deadline.after(self.limit_s, f"the survey of {self.target}")

    @contextmanager
    def on(self, transport: Transport) -> Iterator[None]:
        """Let ``leave`` end this connection."""
        self._leave = getattr(transport, "close", None)
        try:
            yield
        finally:
            self._leave = None

    def leave(self) -> None:
        """End the connection, if there is one, without waiting: closing one that hangs takes its time."""
        self.leaving.set()
        if (close := self._leave) is not None:
            threading.Thread(target=close, daemon=True, name=f"leave {self.target}").start()

    def outcome(self, *, capture: Capture | None = None, error: ThroughpassError | None = None) -> Outcome:
        """Return what came of it, now."""
        return Outcome(self.target, self.name, capture, error, time.monotonic() - (self.deadline.at_s - self.limit_s))


class _Fleet:
    """Starts visits, each in a daemon thread: whoever hangs in one holds neither the others nor the end of the process."""

    def __init__(self, take: Take, to_target: Resolve, opening: Open) -> None:
        self.ended: SimpleQueue[tuple[_Visit, Outcome | None]] = SimpleQueue()
        self._take = take
        self._resolve = to_target
        self._open = opening
        self._lock = threading.Lock()
        self._seen: set[SshTarget] = set()

    def start(self, visit: _Visit) -> None:
        """Begin a visit; ``ended`` tells of its outcome, of none if the host is visited under another name."""
        threading.Thread(target=self._run, args=(visit,), daemon=True, name=f"survey {visit.target}").start()

    def _run(self, visit: _Visit) -> None:
        try:
            self._visit(visit)
        except ThroughpassError as error:
            self.ended.put((visit, visit.outcome(error=error)))
        except Exception as error:  # noqa: BLE001 (a fault of ours with one host must cost nobody else)
            sentence = f"the survey of {visit.target} failed in a way that nobody thought of: {type(error).__name__}: {error}"
            self.ended.put((visit, visit.outcome(error=BenchError(sentence))))

    def _visit(self, visit: _Visit) -> None:
        """Take the capture and hand it over before the connection is closed: nobody need wait for that."""
        target = self._resolve(visit.target)
        visit.name = target.name
        with self._lock:
            known = target in self._seen
            self._seen.add(target)
        if known:
            self.ended.put((visit, None))
            return
        with self._open(target, visit.deadline) as transport, visit.on(transport):
            if not visit.leaving.is_set():
                self.ended.put((visit, visit.outcome(capture=self._take(transport))))
