"""Fleets: every host has its outcome, whatever becomes of the others; dead, silent and refusing hosts among them."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from harness.bench.fleet import Outcome, survey_fleet
from harness.core.capture import Capture, Item, Status
from harness.core.deadline import Deadline
from harness.core.errors import DeadlineError, HostLostError, UsageError
from harness.transport.keys import make_key
from harness.transport.local import LocalTransport
from harness.transport.protocol import Transport
from harness.transport.route import open_target
from harness.transport.sshconfig import SshTarget
from tests.sshd import Sshd, serving, target_of


def told(transport: Transport) -> Capture:
    """Take a capture of one item."""
    return Capture({"commands/tools": Item(Status.READ, transport.run("echo here").stdout)})


@contextmanager
def at_once(target: SshTarget, deadline: Deadline) -> Iterator[Transport]:  # noqa: ARG001 (as open_target)
    """Stand for every host with this machine."""
    yield LocalTransport()


def by_name(outcomes: Iterator[Outcome]) -> dict[str, Outcome]:
    """Return outcomes by what the user called the host."""
    return {outcome.target: outcome for outcome in outcomes}


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[dict[str, SshTarget]]:
    """Serve SSH twice, and listen once without ever speaking; a fourth port has nobody."""
    with ExitStack() as stack:
        servers: list[Sshd] = [stack.enter_context(serving()) for _ in range(2)]
        found: dict[str, SshTarget] = {}
        for number, server in enumerate(servers):
            key = tmp_path / f"key{number}"
            key.write_text(server.client_key.private, encoding="utf-8")
            found[f"good{number}"] = target_of(server, key)
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        found["silent"] = target_of(servers[0], tmp_path / "key0", port=silent.getsockname()[1])
        found["dead"] = target_of(servers[0], tmp_path / "key0", port=1)
        found["stranger"] = target_of(servers[0], tmp_path / "key1")
        yield found


def test_fleet_every_host_has_its_outcome(hosts: dict[str, SshTarget]) -> None:
    """Good hosts give their facts, and those that are dead, silent or refuse cost nobody but themselves."""
    found: dict[str, Outcome] = {}
    for outcome in survey_fleet(hosts, take=told, limit_s=60, to_target=hosts.__getitem__):
        found[outcome.target] = outcome
        if len(found) == len(hosts) - 1:
            break

    assert set(hosts) - set(found) == {"silent"}
    for name in ("good0", "good1"):
        capture = found[name].capture
        assert capture is not None
        assert capture.text("commands/tools") == "here"
    assert isinstance(found["dead"].error, HostLostError)
    assert "accepts none of the keys" in str(found["stranger"].error)


def test_fleet_silent_host_has_an_outcome_at_its_deadline(hosts: dict[str, SshTarget]) -> None:
    """A host that takes the connection and never speaks is an error of its own, when its time is over."""
    (outcome,) = survey_fleet(["silent"], take=told, limit_s=1, to_target=hosts.__getitem__)

    assert isinstance(outcome.error, DeadlineError | HostLostError)
    assert 0.9 < outcome.took_s < 30


def test_fleet_behind_one_jump_host(tmp_path: Path) -> None:
    """A fleet behind one jump host does not crowd there: no more connections are begun at a time than its sshd takes."""
    with serving() as jump, ExitStack() as stack:
        jump.forwarding = True
        (tmp_path / "jump").write_text(jump.client_key.private, encoding="utf-8")
        way, targets = target_of(jump, tmp_path / "jump"), {}
        for number in range(12):
            server = stack.enter_context(serving())
            (tmp_path / str(number)).write_text(server.client_key.private, encoding="utf-8")
            targets[f"host{number}"] = target_of(server, tmp_path / str(number), jump=way)

        outcomes = by_name(survey_fleet(targets, take=told, to_target=targets.__getitem__))

    assert [outcome.error for outcome in outcomes.values()] == [None] * 12


def test_fleet_host_that_hangs_is_left_behind() -> None:
    """Where nothing that a host does can be ended from outside, its outcome comes at its deadline all the same."""
    never = threading.Event()

    def take(transport: Transport) -> Capture:
        never.wait(60)
        return told(transport)

    began_s = time.monotonic()
    (outcome,) = survey_fleet(["a"], take=take, limit_s=0.3, to_target=SshTarget, opening=at_once)
    never.set()

    assert isinstance(outcome.error, DeadlineError)
    assert "the survey of a took longer than 0.3 s" in outcome.error.message
    assert time.monotonic() - began_s < 20


def test_fleet_hanging_hosts_give_their_places_up() -> None:
    """With a bound of one, a host that hangs holds up the next one for no longer than its deadline."""
    never = threading.Event()

    def take(transport: Transport) -> Capture:
        if threading.current_thread().name == "survey bad":
            never.wait(60)
        return told(transport)

    outcomes = by_name(survey_fleet(["bad", "good"], take=take, bound=1, limit_s=2, to_target=SshTarget, opening=at_once))
    never.set()

    assert isinstance(outcomes["bad"].error, DeadlineError)
    assert outcomes["good"].capture is not None


def test_fleet_keeps_its_bound() -> None:
    """Never more hosts than the bound are visited at a time, and all of them are in the end."""
    lock, inside, most = threading.Lock(), 0, 0

    def take(transport: Transport) -> Capture:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        capture = told(transport)
        with lock:
            inside -= 1
        return capture

    names = [f"host{number}" for number in range(12)]
    outcomes = by_name(survey_fleet(names, take=take, bound=3, to_target=SshTarget, opening=at_once))

    assert sorted(outcomes) == sorted(names)
    assert all(outcome.capture for outcome in outcomes.values())
    assert 1 <= most <= 3


def test_fleet_visits_a_host_once() -> None:
    """The same name twice, or two names for the same way, is one host."""
    visits: list[str] = []

    def take(transport: Transport) -> Capture:
        visits.append(threading.current_thread().name)
        return told(transport)

    targets = {"a": SshTarget("rack"), "b": SshTarget("rack"), "c": SshTarget("rack", port=2222)}
    names = ["a", "a", "b", "c"]
    outcomes = list(survey_fleet(names, take=take, to_target=targets.__getitem__, opening=at_once))

    assert len(outcomes) == len(visits) == 2
    assert {outcome.name for outcome in outcomes} == {"root@rack", "root@rack:2222"}


def test_fleet_target_that_cannot_be_resolved_is_an_outcome() -> None:
    """A name that is none, and even a fault of ours, is the outcome of that host alone."""

    def to_target(name: str) -> SshTarget:
        if name == "bad":
            raise UsageError("'bad' is no SSH host")
        if name == "worse":
            raise ZeroDivisionError("by zero")
        return SshTarget(name)

    outcomes = by_name(survey_fleet(["bad", "worse", "good"], take=told, to_target=to_target, opening=at_once))

    assert str(outcomes["bad"].error) == "'bad' is no SSH host"
    assert "ZeroDivisionError" in str(outcomes["worse"].error)
    assert outcomes["good"].capture is not None


def test_fleet_whoever_stops_waits_for_nobody(hosts: dict[str, SshTarget]) -> None:
    """Leaving after the first outcome, as Ctrl-C does, ends connections and does not wait for a host that is silent."""
    began_s = time.monotonic()
    outcomes = survey_fleet(["silent", "good0"], take=told, limit_s=60, to_target=hosts.__getitem__, opening=open_target)

    assert next(outcomes).target == "good0"
    outcomes.close()  # type: ignore[attr-defined] # it is a generator

    assert time.monotonic() - began_s < 30


def test_fleet_ctrl_c_ends_at_once_and_leaves_no_proxy(tmp_path: Path) -> None:
    """Ctrl-C ends a process whose hosts all hang, and the proxy commands that it ran."""
    (tmp_path / "key").write_text(make_key().private, encoding="utf-8")
    script = f"""
from pathlib import Path
from harness.bench.fleet import survey_fleet
from harness.transport.sshconfig import SshTarget
proxy = SshTarget("rack", identity=Path("{tmp_path}/key"), host_key="{make_key().public.strip()}",
                  proxy_command="sh -c 'echo $$ >{tmp_path}/new && mv {tmp_path}/new {tmp_path}/pid && exec sleep 60'")
list(survey_fleet(["rack"], to_target=lambda _: proxy))
"""
    argv = [sys.executable, "-c", script]
    with subprocess.Popen(argv, cwd=Path(__file__).parents[1], stderr=subprocess.PIPE) as child:
        limit = Deadline.after(60, "the start of the proxy")
        while not (tmp_path / "pid").exists():
            limit.check()
        child.send_signal(signal.SIGINT)
        complaint = child.communicate(timeout=30)[1]

    assert b"KeyboardInterrupt" in complaint
    gone, limit = Path("/proc", (tmp_path / "pid").read_text(encoding="utf-8").strip()), Deadline.after(30, "the proxy's end")
    while gone.exists():
        limit.check()
