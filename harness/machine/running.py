"""A machine that runs: process, console, QMP and SSH, started and ended as one."""

from __future__ import annotations

import contextlib
import re
import secrets
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from harness.actions.lending import OURS, guest_user, take_back
from harness.core.deadline import Deadline
from harness.core.errors import BenchError, BoardError, DeadlineError, HostLostError, ThroughpassError
from harness.machine.console import Console
from harness.machine.privileges import confined_argv
from harness.machine.qmp import Qmp
from harness.machine.spec import READY, RENEW, Endpoints, MachineSpec, qemu_argv
from harness.machine.state import load_state
from harness.machine.stuck import POWER_OFF, WHEN_IT_ANSWERS, describe_stuck
from harness.transport.handshake import Trust
from harness.transport.keys import KeyPair, make_key
from harness.transport.protocol import Process, Transport, check
from harness.transport.ssh import SshTransport, open_ssh

_LAST_WORDS_S = 2.0
_END_S = 40.0
_FORWARD = re.compile(r"TCP\[HOST_FORWARD\]\s+\S+\s+127\.0\.0\.1\s+(\d+)")


@dataclass(frozen=True)
class Access:
    """How anybody who holds the keys reaches the machine's sshd: a port of its host's loopback."""

    port: int
    client_key: KeyPair
    host_key: str


@dataclass(eq=False)
class Machine:
    """A booted machine. ``ssh`` is a transport into it, ``qmp`` its monitor, ``console`` its serial line.

    After a reboot ``ssh`` is another one: whoever needs it asks the machine for it each time. ``user`` is the number of the user
    as whom QEMU runs, None for whoever started it; ``host`` is where it runs.
    """

    spec: MachineSpec
    argv: list[str]
    process: Process
    console: Console
    qmp: Qmp
    ssh: SshTransport
    access: Access
    workdir: PurePosixPath
    user: int | None
    host: Transport
    _connect: Callable[[Deadline], SshTransport]

    def log_in(self, deadline: Deadline) -> None:
        """Put a new connection in the place of the one that a reboot has ended."""
        self.ssh = self._connect(deadline)

    def explain_loss(self, error: ThroughpassError) -> ThroughpassError:
        """Return a better error than "connection lost" where the console or QEMU says why; else the one that was given."""
        name = self.spec.name
        status = _ended(self.process)
        if death := self.console.death():
            return BoardError(f"{name} died: {death}", evidence=self.console.tail())
        if status is not None:
            return BoardError(f"QEMU of {name} ended with status {status}", evidence=self.process.stderr_text())
        if stuck := describe_stuck(self.host, self.workdir):
            return BoardError(f"QEMU of {name} hangs on {self.host.name}", evidence=stuck, remedy=POWER_OFF)
        return error


@contextmanager
def start_machine(
    spec: MachineSpec,
    transport: Transport,
    logs: Path,
    deadline: Deadline,
    *,
    mark: str = "",
    state: Path | None = None,
    when_booted: Callable[[Qmp], None] | None = None,
) -> Iterator[Machine]:
    """Start a machine on the transport's host, wait until it can be used over SSH, and end it afterwards.

    It boots, and ``when_booted`` is called before anybody has logged in; or it goes on where ``state`` was saved (a file of this
    machine, see harness.machine.state), with keys, randomness and clock of its own. ``mark`` begins the last part of its
    folder's name on the host, by which whoever knows it finds the folder and its processes.

    Transcripts go to ``logs``: ``<name>-console.log`` and ``<name>-qemu.log``. Raises BoardError if the machine dies or a
    guest does not come up, BenchError if QEMU cannot be started or a board of our own making does not come up in time.
    """
    spec = replace(spec, restored=state is not None)
    with ExitStack() as stack:
        keys = {"host_key": make_key(), "authorized_keys": make_key()}
        secrets_ = {"host_key": keys["host_key"].private, "authorized_keys": keys["authorized_keys"].public}
        workdir = stack.enter_context(scratch_folder(transport, spec.name, {**secrets_, "seed": secrets.token_hex(64)}, mark))
        ends = Endpoints(workdir)
        argv = command = qemu_argv(spec, ends)
        user = guest_user(mark) if spec.privileges is not None else None
        if spec.privileges is not None and user is not None:
            command = confined_argv(spec.privileges, user, workdir, argv)
            stack.enter_context(_taking_back(transport, user))
        process, console, qmp = stack.enter_context(_started(transport, spec, command, ends, logs=logs, deadline=deadline))
        if state is not None:
            with state.open("rb") as file:
                load_state(qmp, file, deadline)
            console.send_line(f"{RENEW} {time.time():.3f}")
        _wait_until_ready(spec, process, console, deadline)
        if when_booted is not None:
            when_booted(qmp)
        access = Access(_forwarded_port(qmp), client_key=keys["authorized_keys"], host_key=keys["host_key"].public.strip())
        session = stack.enter_context(ExitStack())

        def connect(limit: Deadline) -> SshTransport:
            session.close()
            return session.enter_context(_logged_in(transport, spec.name, access, limit))

        yield Machine(spec, argv, process, console, qmp, connect(deadline), access, workdir, user, transport, connect)


@contextmanager
def _taking_back(transport: Transport, user: int) -> Iterator[None]:
    """Take back what was lent to a QEMU once it has ended."""
    try:
        yield
    finally:
        with contextlib.suppress(HostLostError):  # a host that is gone gets it back by a restore, or by its next boot
            take_back(transport, user)


@contextmanager
def _logged_in(transport: Transport, name: str, access: Access, deadline: Deadline) -> Iterator[SshTransport]:
    """Hold a connection to the machine's sshd."""
    keys, trust = [access.client_key.key], Trust.pinned(access.host_key)
    with (
        transport.connect(access.port, deadline) as connection,
        open_ssh(connection, name=name, user="root", keys=keys, trust=trust, deadline=deadline) as ssh,
    ):
        yield ssh


@contextmanager
def scratch_folder(transport: Transport, name: str, files: Mapping[str, str] = {}, mark: str = "") -> Iterator[PurePosixPath]:
    """Make a folder with small text files on the host that only this user can enter, and remove it afterwards.

    If we are killed, what watches over the machine's process removes it. It lies in /tmp whatever TMPDIR says: the path of a UNIX
    socket holds 107 bytes.
    """
    # The name is ours before the folder is: whenever a signal comes, what to remove is known.
    path = PurePosixPath(f"/tmp/throughpass-{name[:40]}.{mark}{secrets.token_hex(4 if mark else 8)}")  # noqa: S108 (random, and made by mkdir or not at all)
    # As standard input: what is on a command line, every user of the host can read.
    script = "".join(f"printf '%s\\n' {shlex.quote(text.rstrip())} >{file} || exit\n" for file, text in files.items())
    try:
        check(transport, f"umask 077; mkdir '{path}' && cd '{path}' && exec sh -s", stdin=script.encode())
        yield path
    finally:
        with contextlib.suppress(HostLostError):  # a host that is gone cannot be tidied
            transport.run(["rm", "-rf", str(path)])


@contextmanager
def _started(
    transport: Transport, spec: MachineSpec, argv: list[str], ends: Endpoints, *, logs: Path, deadline: Deadline
) -> Iterator[tuple[Process, Console, Qmp]]:
    """Start QEMU and meet it at both its sockets; end it in the reverse order, the console last: it hears QEMU out."""
    name = spec.name
    with ExitStack() as stack:
        console_listener = stack.enter_context(transport.listen(ends.console))
        qmp_listener = stack.enter_context(transport.listen(ends.qmp))
        heard = stack.enter_context(ExitStack())
        process = transport.start(argv, log=logs / f"{name}-qemu.log", folder=ends.folder)
        stack.callback(_end, process, name, transport, ends.folder)
        try:
            console = Console(console_listener.accept(process, deadline), name, logs / f"{name}-console.log")
            heard.callback(console.close)
            qmp = Qmp(qmp_listener.accept(process, deadline), name, deadline)
            stack.callback(qmp.close)
        except BenchError as error:
            raise _start_error(spec, process, error) from error
        yield process, console, qmp
        with contextlib.suppress(ThroughpassError):  # a machine that is gone already needs no goodbye
            qmp.execute("quit", deadline=Deadline.after(5, "quitting QEMU"))


def _start_error(spec: MachineSpec, process: Process, error: BenchError) -> ThroughpassError:
    """Return whose fault it is that QEMU did not start: a guest that is not given its controller is the board's."""
    if spec.role == "guest" and _ended(process) is not None and _says_vfio(process):
        message = f"QEMU of {spec.name} ended at once: the controller could not be given to it"
        return BoardError(message, evidence=process.stderr_text())
    return BenchError(f"{spec.name} did not start: {error}", evidence=error.evidence or _stderr(process))


def _says_vfio(process: Process) -> bool:
    """Return whether QEMU speaks of VFIO. Our own words do where a node of that name could not be lent: they prove nothing."""
    return any("vfio" in line and not line.startswith(OURS) for line in process.stderr_text().lower().splitlines())


def _wait_until_ready(spec: MachineSpec, process: Process, console: Console, deadline: Deadline) -> None:
    """Wait for the console's word. A guest that is silent is the board's fault, a silent board of our own making is ours."""
    try:
        console.wait_for(READY, deadline)
    except BoardError as error:
        error.evidence += _stderr(process)
        if spec.role == "guest" or console.death():
            raise
        raise BenchError(error.message, evidence=error.evidence) from error


def _end(process: Process, name: str, host: Transport, folder: PurePosixPath) -> None:
    """End QEMU and wait for it: a machine that stays would hold its devices. Raises BoardError if not even SIGKILL ends it."""
    process.kill()
    try:
        process.wait(Deadline.after(_END_S, f"ending QEMU of {name}"))
    except HostLostError:
        pass  # a host that is gone took it along, or ends it when it notices
    except DeadlineError as error:
        told = f"QEMU of {name} on {host.name} does not end in {_END_S:.0f} s"
        stuck = describe_stuck(host, folder, killed=True)
        if not stuck:  # a host that has fallen silent looks the same from here
            told += ", and the host does not say why"
            raise BenchError(told, evidence=error.evidence, remedy=WHEN_IT_ANSWERS) from error
        raise BoardError(told, evidence=stuck, remedy=POWER_OFF) from error


def _ended(process: Process) -> int | None:
    """Return QEMU's exit status, or None if it runs on or its host is gone. Its sockets close before the status comes."""
    try:
        status = process.wait(Deadline.after(_LAST_WORDS_S, "QEMU's end"))
    except (DeadlineError, HostLostError):
        return None
    return status if status >= 0 else None  # below: whoever held it was killed, which is not QEMU's doing


def _stderr(process: Process) -> str:
    text = process.stderr_text()
    return f"\nQEMU says: {text}" if text else ""


def _forwarded_port(qmp: Qmp) -> int:
    """Return the port that the system picked for sshd; QEMU itself listens there, so it is nobody else's."""
    answer = str(qmp.execute("human-monitor-command", {"command-line": "info usernet"}))
    match = _FORWARD.search(answer)
    if match is None:
        raise BenchError("QEMU does not say which port leads to the machine's sshd", evidence=answer)
    return int(match[1])
