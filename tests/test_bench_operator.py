"""A person who plugs: asked on the terminal, believed by the kernel's word."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from harness.bench.cache import silent
from harness.bench.config import BenchConfig, StickSection, StorageSection, load_bench
from harness.bench.held import held_bench_file
from harness.bench.virtual import VirtualBench
from harness.core.deadline import Deadline
from harness.core.record import Outcome, Record, decode
from tests.qualification import BRIEF, CHECKOUT, suites_argv

ASK = "from harness.bench.operator import Operator; Operator().{}; print('answered')"
PASSED, USAGE = 0, 4
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
Answers = dict[str, Callable[[], None]]


class Terminal:
    """A process with a terminal of its own, and what it has written there."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process = process
        self.descriptor = descriptor
        self.said = ""

    def answer(self, answers: Answers, limit: Deadline) -> int:
        """Do what each request asks for as it comes (a pattern; each once), until the process ends; return its status."""
        waiting = dict(answers)
        while select.select([self.descriptor], [], [], limit.left_s)[0]:
            try:
                piece = os.read(self.descriptor, 4096)
            except OSError:  # nobody has the terminal open any more
                return self.process.wait(10)
            self.said += piece.decode("utf-8", "replace")
            for request in [each for each in waiting if re.search(each, self.said)]:
                waiting.pop(request)()
        raise limit.error(self.said[-2000:])

    def enter(self) -> None:
        """Press Enter."""
        os.write(self.descriptor, b"\n")

    def end(self) -> None:
        """Press Ctrl-D."""
        os.write(self.descriptor, b"\x04")


@contextmanager
def on_terminal(*argv: str) -> Iterator[Terminal]:
    """Start a command on a terminal of its own."""
    ours, theirs = pty.openpty()
    command = ["setsid", "--ctty", "--wait", *argv]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=CHECKOUT, env=ENVIRONMENT) as process:
        os.close(theirs)
        try:
            yield Terminal(process, ours)
        finally:
            os.close(ours)  # hangs up
            process.wait(60)


def asked(request: str, answers: Answers) -> tuple[int, str]:
    """Let an operator be asked, and return the status and what was on the terminal."""
    with on_terminal(sys.executable, "-c", ASK.format(request)) as terminal:
        keys: Answers = dict.fromkeys(answers, terminal.enter) or {">>>": terminal.enter}
        status = terminal.answer(keys, Deadline.after(30, "asking"))
        return status, terminal.said


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        ("plug('TP1', '0000:05:00.0')", ">>> plug the stick TP1 into the controller 0000:05:00.0, then press Enter: "),
        ("plug('', '0000:05:00.0')", ">>> plug a stick (any) into the controller 0000:05:00.0, then press Enter: "),
        ("unplug('TP1', '0000:05:00.0')", ">>> pull the stick TP1 out of the controller 0000:05:00.0, then press Enter: "),
        (r"plug('\x1b[2J', '0000:05:00.0')", r">>> plug the stick '\x1b[2J' into"),
    ],
    ids=["named", "any", "pulled", "hostile"],
)
def test_operator_is_asked(request_: str, line: str) -> None:
    """The request names the stick and the controller, steers no terminal, and Enter ends it."""
    status, said = asked(request_, {})

    assert status == 0
    assert line in said
    assert "answered" in said


def test_operator_needs_a_terminal() -> None:
    """Without a terminal there is nobody to ask: wrong usage, said before anything else."""
    argv = [sys.executable, "-c", ASK.format("plug('', '')")]
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, start_new_session=True, check=False)

    assert done.returncode == 1
    assert "UsageError: --operator asks a person on the terminal, and this process has none" in done.stderr


def test_operator_option_needs_a_terminal(tmp_path: Path) -> None:
    """The suites and the verb refuse --operator without a terminal, by the status for bad input; collecting needs none."""
    bench = tmp_path / "here.toml"
    bench.write_text('schema = 1\nname = "here"\nkind = "local"\n[controller]\nid = "1033:0194"\n', encoding="utf-8")
    verb = [str(Path(sys.executable).with_name("throughpass")), "qualify", str(bench), "--operator", "--runs", str(tmp_path)]
    outcomes = [
        subprocess.run(
            argv, cwd=CHECKOUT, capture_output=True, text=True, env=ENVIRONMENT, start_new_session=True, check=False, timeout=60
        )
        for argv in (
            suites_argv(bench, tmp_path, "--operator"),
            verb,
            suites_argv(bench, tmp_path, "--operator", "--collect-only", "-q"),
        )
    ]

    assert [done.returncode for done in outcomes] == [USAGE, 2, 0]
    assert all("this process has none" in done.stdout + done.stderr for done in outcomes[:2])


def test_operator_who_hangs_up() -> None:
    """A terminal that is closed in the middle of a request ends it: nobody can answer any more."""
    argv = [sys.executable, "-c", ASK.format("plug('', 'x')")]
    with on_terminal(*argv) as terminal:
        terminal.answer({">>>": terminal.end}, Deadline.after(30, "hanging up"))

    assert "BenchError: the terminal was closed before anybody could plug a stick" in terminal.said


@pytest.fixture(scope="module")
def board() -> Iterator[VirtualBench]:
    """Hold a board whose stick is in our hand."""
    config = msgspec.structs.replace(load_bench("virtual-vtd"), name="operator-vtd")
    bench = VirtualBench(config)
    with tempfile.TemporaryDirectory() as logs, bench.open(Path(logs), Deadline.after(300, "booting"), silent):
        yield bench


def held_as(config: BenchConfig, serial: str) -> BenchConfig:
    """Return a bench that names a stick, or none."""
    return msgspec.structs.replace(config, storage=StorageSection(serial=serial))


def qualified(board: VirtualBench, serial: str, folder: Path, hand: Callable[[Terminal, StickSection], Answers]) -> Record:
    """Qualify the board as a host of kind ssh, with somebody at the terminal; return the record."""
    (stick,) = board.loose_sticks()
    runs = folder / "runs"
    with held_bench_file(held_as(board.config, serial), board.machine.access, folder / "held.toml") as path:
        argv = suites_argv(path, runs, "--operator", "--profile", "smoke", "--cycles", "1", "-k", BRIEF)
        with on_terminal(*argv) as terminal:
            status = terminal.answer(hand(terminal, stick), Deadline.after(500, "a qualification with an operator"))
    assert status == PASSED, terminal.said
    (record,) = runs.glob("*/*/record.json")
    return decode(record.read_bytes(), str(record))


@pytest.mark.bench
@pytest.mark.xdist_group("operator")
@pytest.mark.timeout(600)
def test_operator_plugs_any_stick(board: VirtualBench, tmp_path: Path) -> None:
    """On a controller without a stick any is asked for once the guest runs; Enter before the stick is there does no harm."""

    def hand(terminal: Terminal, stick: StickSection) -> Answers:
        def press_and_plug() -> None:
            terminal.enter()
            board.plug(stick)

        return {r">>> plug a stick \(any\) into the controller 0000:01:00\.0": press_and_plug}

    try:
        record = qualified(board, "", tmp_path, hand)
    finally:
        for stick in board.loose_sticks():
            board.unplug(stick)
    outcomes = {check.id: check.outcome for check in record.checks}

    assert outcomes["usb/stick-is-hot-plugged"] is Outcome.PASS
    assert outcomes["usb/content-is-right"] is Outcome.NOT_APPLICABLE  # nobody has read it before: the last stage compares
    assert outcomes["return/stick-is-back"] is Outcome.PASS
    assert set(outcomes.values()) == {Outcome.PASS, Outcome.NOT_APPLICABLE}
    assert record.environment.stick == "serial TP0001, plugged in by the operator"


@pytest.mark.bench
@pytest.mark.xdist_group("operator")
@pytest.mark.timeout(600)
def test_operator_replugs_the_stick(board: VirtualBench, tmp_path: Path) -> None:
    """A stick that is in from the start is read on the host, then pulled and plugged while the guest runs, and holds the same."""

    def hand(terminal: Terminal, stick: StickSection) -> Answers:
        def pull() -> None:
            terminal.enter()
            board.unplug(stick)

        def plug() -> None:
            board.plug(stick)
            terminal.enter()

        return {
            r">>> pull the stick TP0001 out of the controller 0000:01:00\.0": pull,
            r">>> plug the stick TP0001 into the controller 0000:01:00\.0": plug,
        }

    (stick,) = board.loose_sticks()
    board.plug(stick)
    record = qualified(board, "TP0001", tmp_path, hand)
    outcomes = {check.id: check.outcome for check in record.checks}

    assert outcomes["usb/stick-is-hot-plugged"] is Outcome.PASS
    assert outcomes["usb/content-is-right"] is Outcome.PASS
    assert set(outcomes.values()) == {Outcome.PASS}
