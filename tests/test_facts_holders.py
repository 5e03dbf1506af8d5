"""Who has a node of VFIO or of a USB device open, read by the probe and from its lines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.core.capture import Capture, Item, Status
from harness.facts.holders import VFIO_DEVICE, Holder, read_holders
from harness.facts.host import read_facts
from harness.facts.probe import parse_probe
from tests.test_facts_probe import SHELLS, path_of, run_probe, take_alone, write


def process(root: Path, pid: int, program: str, *nodes: str) -> None:
    """Make a process below a root that has these files open."""
    folder = root / f"proc/{pid}/fd"
    folder.mkdir(parents=True)
    for number, node in enumerate(nodes):
        (folder / str(number)).symlink_to(node)
    write(root, f"proc/{pid}/comm", f"{program}\n")


@pytest.mark.parametrize("shell", SHELLS)
def test_probe_finds_holders(tmp_path: Path, shell: list[str]) -> None:
    """Of all open files those of VFIO and of USB devices are told, with the process and its program; names may hold anything."""
    process(tmp_path, 1, "init", "/dev/null", "/dev/pts/3")
    process(tmp_path, 812, "qemu * $(id)", "/dev/null", "/dev/vfio/vfio", "/dev/vfio/2", "anon_inode:[vfio-device]")
    process(
        tmp_path, 813, "pcscd", "/srv/ -> /dev/vfio/9x", "/dev/bus/usb/001/004", "/dev/bus/usb/001/005 (deleted)", "socket:[1]"
    )

    facts = read_facts(parse_probe(run_probe(tmp_path, shell)), {})

    assert facts.holders.complete
    assert [(holder.pid, holder.program, holder.node) for holder in facts.holders.found if holder.pid != 813] == [
        (812, "qemu * $(id)", "/dev/vfio/vfio"),
        (812, "qemu * $(id)", "/dev/vfio/2"),
        (812, "qemu * $(id)", VFIO_DEVICE),
    ]
    assert Holder(813, "pcscd", "/dev/bus/usb/001/004") in facts.holders.found


@pytest.mark.parametrize("shell", SHELLS)
def test_probe_without_holders(tmp_path: Path, shell: list[str]) -> None:
    """A host on which nobody has such a node open says so; one that hides its first process is not believed."""
    process(tmp_path, 1, "init", "/dev/null")
    shown = read_facts(parse_probe(run_probe(tmp_path, shell)), {}).holders
    hidden_root = tmp_path / "other"
    process(hidden_root, 500, "mine", "/dev/vfio/3")
    (hidden_root / "proc/self").symlink_to("500")
    hidden = read_facts(parse_probe(run_probe(hidden_root, shell)), {}).holders

    assert (shown.found, shown.complete) == ((), True)
    assert (hidden.found, hidden.complete) == ((Holder(500, "mine", "/dev/vfio/3"),), False)


def test_probe_does_not_believe_a_list_that_failed(tmp_path: Path) -> None:
    """Where ls does not run, as where there are more processes than it can be told, nobody is said to hold nothing."""
    process(tmp_path, 1, "init", "/dev/vfio/3")
    broken = path_of(tmp_path / "bin", ls="exit 126")

    capture = take_alone(broken, "holders", THROUGHPASS_ROOT=str(tmp_path))

    assert capture.get("commands/holders").status is Status.DENIED


@pytest.mark.skipif(os.geteuid() == 0, reason="root is denied nothing")
def test_probe_is_denied_the_holders(tmp_path: Path) -> None:
    """Who may not look at the first process has not seen all of them."""
    process(tmp_path, 1, "init", "/dev/vfio/3")
    (tmp_path / "proc/1/fd").chmod(0)

    assert not read_facts(parse_probe(run_probe(tmp_path, ["sh"])), {}).holders.complete


@pytest.mark.parametrize(
    ("item", "container", "complete"),
    [
        (Item(Status.READ, b""), False, True),
        (Item(Status.READ, b""), True, False),
        (Item(Status.DENIED, b""), False, False),
        (Item(Status.TIMED_OUT, b"8 /dev/vf"), False, False),
        (None, False, False),
    ],
    ids=["root", "container", "denied", "cut-off", "not-asked"],
)
def test_holders_are_complete_for_root_alone(item: Item | None, container: bool, complete: bool) -> None:  # noqa: FBT001 (a table)
    """Silence counts where root asked outside of a container, and nowhere else."""
    capture = Capture({"commands/holders": item} if item else {})

    assert read_holders(capture, container=container).complete is complete


def test_holders_of_what_is_gone() -> None:
    """A USB device that was unplugged is held by nobody; a node of VFIO stays held; lines that are none are left out."""
    lines = b"9 /dev/bus/usb/001/005 (deleted)\tx\n10 /dev/vfio/4 (deleted)\tq a\tb\n10 /dev/vfio/4\tq a\tb\nno\n11 /dev/vfio/5\n"

    found = read_holders(Capture({"commands/holders": Item(Status.DENIED, lines)}), container=False).found

    assert found == (Holder(10, "q a\tb", "/dev/vfio/4"), Holder(11, "", "/dev/vfio/5"))
    assert found[1].words == "process 11 (its name is not shown) has /dev/vfio/5 open"
