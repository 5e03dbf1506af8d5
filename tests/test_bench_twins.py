"""Two identical cards in one host: the one that is named is taken, its twin is never touched, and two runs take one each."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.actions.modules import VFIO
from harness.transport.protocol import check
from tests.custody import SHIPPED, THROUGHPASS, Board, board_of
from tests.qualification import BRIEF, LIMIT_S, qualify, started, wait_for_line

pytestmark = [pytest.mark.bench, pytest.mark.xdist_group("twins")]

TWIN = """
[[board.device]]
id = "twin"
driver = "nec-usb-xhci"
bus = "root-port"

[controller]"""

ONE, OTHER = "0000:01:00.0", "0000:02:00.0"


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """Hold a board with two cards of one model; its bench file names the first by address."""
    text = SHIPPED.read_text(encoding="utf-8").replace("\n[controller]", TWIN, 1)
    text = text.replace('image = "debian13"', 'image = "debian13"\nmemory_mib = 2048', 1)  # for two guests
    with board_of("twins", tmp_path_factory.mktemp("twins"), text=text) as made:
        text = made.bench.read_text(encoding="utf-8")
        for name, address in (("one", ONE), ("other", OTHER)):
            named = text.replace('name = "twins-ssh"', f'name = "twins-{name}"').replace(
                'address = ""', f'address = "{address}"', 1
            )
            made.bench.with_name(f"{name}.toml").write_text(named, encoding="utf-8")
        yield made


def drivers(board: Board) -> list[str]:
    """Return the driver of each of the two."""
    links = (f"/sys/bus/pci/devices/{address}/driver" for address in (ONE, OTHER))
    return [path.rpartition("/")[2] for path in check(board.ssh, f"readlink {' '.join(links)}").text.splitlines()]


@contextmanager
def bound(board: Board, name: str) -> Iterator[subprocess.Popen[str]]:
    """Hold one of the two by ``throughpass bind``."""
    argv: list[str | Path] = [THROUGHPASS, "bind", board.bench.with_name(f"{name}.toml")]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stderr is not None
            said = next((line for line in process.stderr if "and held" in line or "throughpass:" in line), "")
            assert "and held" in said, said
            yield process
        finally:
            process.kill()


def release(process: subprocess.Popen[str]) -> None:
    """Tell a holder to give back, and wait until it has."""
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def modules(board: Board) -> set[str]:
    """Return the modules of VFIO that are loaded."""
    return set(check(board.ssh, "cut -d ' ' -f 1 /proc/modules").text.split()) & set(VFIO)


def test_twin_is_not_guessed(board: Board) -> None:
    """A bench file that fits both is refused, and both are named."""
    done = board.throughpass("bind")

    assert done.returncode != 0
    assert ONE in done.stderr
    assert OTHER in done.stderr
    assert board.changes() == []


def test_two_runs_take_one_each(board: Board) -> None:
    """Two holders have two controllers of one host at once: who ends takes nothing from the other, the last leaves nothing."""
    with bound(board, "one") as first:
        alone = drivers(board)
        with bound(board, "other") as second:
            together = drivers(board)
            release(first)
            after = drivers(board)
            kept = modules(board)
            release(second)

    assert alone == ["vfio-pci", "xhci_hcd"]
    assert together == ["vfio-pci", "vfio-pci"]
    assert after == ["xhci_hcd", "vfio-pci"]
    assert "vfio_pci" in kept
    assert board.changes() == []


def test_two_guests_at_once(board: Board, tmp_path: Path) -> None:
    """Two runs have a guest each at once, as users of their own, though /dev/kvm is root's alone; the last leaves nothing."""
    chosen = ("--profile", "smoke", "--cycles", "1", "-k", "(readiness or binding or guest or return) and not usb")
    patient = (
        "from harness.actions import lock; lock.SILENCE_S = 600\nfrom harness.transport import alive; alive.SILENCE_S = 600.0"
    )
    with started(board.bench.with_name("one.toml"), tmp_path / "one", *chosen, before=patient) as first:
        wait_for_line(first, ANSWERS)
        first.send_signal(signal.SIGSTOP)  # its guest is there until the second one's is
        with started(board.bench.with_name("other.toml"), tmp_path / "other", *chosen) as second:
            wait_for_line(second, ANSWERS)
            users = check(board.ssh, GUESTS).text.split()
            said_second, _ = second.communicate(timeout=LIMIT_S)
        first.send_signal(signal.SIGCONT)
        said_first, _ = first.communicate(timeout=LIMIT_S)

    assert (first.returncode, second.returncode) == (0, 0), said_first + said_second
    assert len(set(users)) == len(users) == 2, users
    assert board.changes() == []


ANSWERS = "PASS           The guest answers"

GUESTS = r"""
for file in $(grep -al '[/]tmp/throughpass-guest' /proc/[0-9]*/cmdline); do
    process=${file%/cmdline}
    read -r name <"$process/comm"
    case $name in qemu*) sed -n 's/^Uid:[^0-9]*\([0-9]*\).*/\1/p' "$process/status" ;; esac
done
"""
"""Prints the user of each guest's QEMU."""


def test_restore_leaves_the_living_twin_alone(board: Board) -> None:
    """Of two holders one is killed: a restore puts back what that one took, and the other keeps its own."""
    with bound(board, "other") as living:
        with bound(board, "one") as dead:
            dead.kill()
            dead.wait()
        done = board.throughpass("restore", "--wait", "5")
        after = drivers(board)
        release(living)

    assert after == ["xhci_hcd", "vfio-pci"], done.stdout + done.stderr
    assert f"put back: {ONE}" in done.stdout
    assert f"{OTHER} on" in done.stderr, "who has it is told"
    assert board.changes() == []


def test_run_takes_the_named_card_alone(board: Board, tmp_path: Path) -> None:
    """A qualification of the one card writes nothing to its twin."""
    device = f"/sys/bus/pci/devices/{OTHER}"
    before = check(board.ssh, f"stat -c %Y {device}/driver_override; readlink {device}/driver; cat {device}/driver_override").text

    done = qualify(board.bench.with_name("one.toml"), tmp_path, "--profile", "smoke", "--cycles", "1", "-k", BRIEF)

    assert done.status == 0, done.output
    after = check(board.ssh, f"stat -c %Y {device}/driver_override; readlink {device}/driver; cat {device}/driver_override").text
    assert after == before
    assert board.changes() == []
