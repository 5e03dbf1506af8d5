"""A board that is held for others, and a shell on it: the command line against real boots."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.bench.cache import silent
from harness.bench.config import load_bench
from harness.bench.make import make_bench
from harness.core.deadline import Deadline
from harness.core.errors import BenchError
from tests.qualification import leftovers

pytestmark = [pytest.mark.bench, pytest.mark.xdist_group("up")]

THROUGHPASS = Path(sys.executable).with_name("throughpass")
NAME = "up-vtd"
LIMIT_S = 400


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """Return a bench file like virtual-vtd under a name of its own: boards of one name wait for one another."""
    shipped = Path(__file__).parents[1] / "fixtures" / "boards" / "virtual-vtd.toml"
    path = tmp_path / "board.toml"
    path.write_text(shipped.read_text(encoding="utf-8").replace('name = "virtual-vtd"', f'name = "{NAME}"'), encoding="utf-8")
    return path


@contextmanager
def held(board: Path, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Bring a board up, wait until its file is there, and take it down at last."""
    argv: list[str | Path] = [THROUGHPASS, "bench", "up", board, "--write", path]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said: list[str] = []
            for line in process.stderr:
                said.append(line)
                if "is up, and" in line:
                    break
            assert path.is_file(), "".join(said)
            yield process
        finally:
            process.terminate()
            process.wait(60)


def shell(board: Path, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run one command on a board that is booted for it."""
    argv: list[str | Path] = [THROUGHPASS, "bench", "shell", board, "--", *command]
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=LIMIT_S)


def test_up_leads_to_the_board_until_sigterm(board: Path, tmp_path: Path) -> None:
    """The written file is a bench that works, its stick plugged; SIGTERM ends the board with 0 and leaves nothing."""
    path = tmp_path / "held.toml"
    with held(board, path) as process:
        bench = make_bench(load_bench(str(path)))
        with bench.open(tmp_path, Deadline.after(60, "connecting"), silent) as host:
            facts = host.facts()

            assert host.emulated
            assert host.transport.run(["hostname"]).text == "board"
            assert any(str(device.id) == "1033:0194" for device in facts.pci)
            assert any(device.serial == "TP0001" for device in facts.usb)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0

    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["board.toml"]
    assert leftovers(NAME) == []


def test_up_tells_when_the_board_dies(board: Path, tmp_path: Path) -> None:
    """A board that goes by itself ends the command with 3 and a sentence, and its file goes too."""
    path = tmp_path / "held.toml"
    with held(board, path) as process:
        bench = make_bench(load_bench(str(path)))
        with (
            pytest.raises(BenchError),
            bench.open(tmp_path, Deadline.after(60, "connecting"), silent) as host,
        ):
            host.transport.run("echo c >/proc/sysrq-trigger; sleep 60")
        assert process.stderr is not None
        said = process.stderr.read()
        assert process.wait(60) == 3

    assert f"the board {NAME} is gone: {NAME} died: Kernel panic - not syncing: sysrq triggered crash" in said
    assert not path.exists()


def test_shell_runs_one_command(board: Path) -> None:
    """A command has its standard input, both outputs and its exit status; afterwards the board is gone."""
    done = shell(board, "sh", "-c", "cat; echo err >&2; exit 7", stdin="hello\n")

    assert (done.returncode, done.stdout) == (7, "hello\n")
    assert done.stderr.splitlines()[-1] == "err"
    assert leftovers(NAME) == []


@pytest.mark.timeout(150)
def test_shell_on_a_terminal(board: Path) -> None:
    """Without a command there is a shell with a terminal of the size of ours, whose status is that of the command."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "90", "LINES": "33", "TERM": "vt100"}
    argv: list[str | Path] = [THROUGHPASS, "bench", "shell", board]
    with subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL, env=environment) as process:
        os.close(theirs)
        os.write(ours, b"stty size; echo $TERM $((6 * 7)); exit 5\n")
        said = b""
        while b"vt100 42" not in said:
            said += os.read(ours, 4096)
        assert process.wait(60) == 5
    os.close(ours)

    assert b"33 90" in said
