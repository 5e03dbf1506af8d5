"""The journal: written whole, read back exactly, and never guessed at."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.actions import journal as journal_module
from harness.actions.custody import modules_before
from harness.actions.journal import (
    Journal,
    Left,
    Taken,
    Unreadable,
    device_of,
    dump_journal,
    parse_journal,
    read_journals,
    remove_journal,
    sweep,
    take_turn,
    taken,
    write_journal,
)
from harness.core.errors import BenchError
from harness.facts.pci import PciDevice
from harness.transport.local import LocalTransport

ADDRESS = "0000:05:00.0"
TURN = "0badcafe"
NAME = f"{ADDRESS}.{TURN}.journal"
JOURNAL = Journal(
    run="0123456789abcdef",
    who="alice@runner, process 7",
    bench="board's own\nname",
    boot_id="b-1",
    devices=(Taken(ADDRESS, "1033:0194", "1033:0194", "xhci_hcd"), Taken("0000:05:00.1", "1033:0195", override="pci-stub")),
    modules=("irqbypass",),
    attributes={"/sys/module/x/parameters/y": "N"},
    plan=("echo 'vfio-pci' >...",),
    turn=TURN,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let journals lie in a folder that is not there yet."""
    path = tmp_path / "var lib" / "throughpass"
    monkeypatch.setattr(journal_module, "FOLDER", PurePosixPath(path))
    return path


def test_journal_is_read_as_it_was_written(folder: Path) -> None:
    """What was written comes back, with the boot in which the host is now; its file is for root alone."""
    write_journal(LocalTransport(), JOURNAL)

    left = read_journals(LocalTransport())

    assert left.journals == {NAME: JOURNAL}
    assert left.unreadable == ()
    assert left.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    assert [(path.name, path.stat().st_mode & 0o777) for path in folder.iterdir()] == [(NAME, 0o600)]


def test_journals_that_are_removed_leave_nothing(folder: Path) -> None:
    """With the last journal its folder goes; removing twice is no error."""
    write_journal(LocalTransport(), JOURNAL)
    remove_journal(LocalTransport(), JOURNAL)
    remove_journal(LocalTransport(), JOURNAL)

    assert not folder.exists()
    assert read_journals(LocalTransport()).journals == {}


def test_journals_of_two_controllers_do_not_meet(folder: Path) -> None:
    """Each controller has its own; one that cannot be followed hides no other, and all are told."""
    other = "0000:06:00.0"
    write_journal(LocalTransport(), JOURNAL)
    (folder / f"{other}.journal").write_text("", encoding="utf-8")
    (folder / "notes.journal").write_text("@end\nthroughpass journal 1 x\n", encoding="utf-8")

    left = read_journals(LocalTransport())
    remove_journal(LocalTransport(), JOURNAL)

    assert left.journals == {NAME: JOURNAL}
    assert [each.name for each in left.unreadable] == [f"{other}.journal", "notes.journal"]
    assert sorted(path.name for path in folder.iterdir()) == [f"{other}.journal", "notes.journal"]


def test_journal_changes_its_name_with_its_turn(folder: Path) -> None:
    """Whoever takes the turn finds the same journal under another name, and the old name is gone."""
    write_journal(LocalTransport(), JOURNAL)

    mine = take_turn(LocalTransport(), JOURNAL)

    assert mine.turn != JOURNAL.turn
    assert [path.name for path in folder.iterdir()] == [mine.path.name]
    assert read_journals(LocalTransport()).journals == {mine.path.name: mine}
    with pytest.raises(BenchError):
        take_turn(LocalTransport(), JOURNAL)


def test_journals_of_one_controller_are_all_read(folder: Path) -> None:
    """Two journals of one controller, which no run should leave, hide nothing of each other."""
    second = msgspec.structs.replace(JOURNAL, run="other", turn="89abcdef")
    write_journal(LocalTransport(), JOURNAL)
    write_journal(LocalTransport(), second)

    assert read_journals(LocalTransport()).journals == {NAME: JOURNAL, second.path.name: second}
    assert len(list(folder.iterdir())) == 2


def test_journal_of_a_run_that_lost_its_lock_is_none(folder: Path) -> None:
    """Where the lock is lost before the journal lies there, or meanwhile, none is left and nothing is touched."""
    once = f"[ ! -e '{folder.parent}/asked' ] && : >'{folder.parent}/asked'"
    for proof in ("false", once):
        with pytest.raises(BenchError, match=f"the lock of {ADDRESS} on this machine was lost: .*; nothing was touched"):
            write_journal(LocalTransport(), JOURNAL, proof)
        assert not folder.exists() or not list(folder.iterdir())

    write_journal(LocalTransport(), JOURNAL, "true")
    assert [path.name for path in folder.iterdir()] == [NAME]


def test_journal_that_ends_early_leaves_nothing(folder: Path) -> None:
    """A runner that dies while it writes leaves no file; what a host without power has of one goes with the next restore."""
    script = journal_module._WRITE.format(
        alone=journal_module.beginning_alone(),
        folder=journal_module.quoted_folder(),
        name=ADDRESS,
        file=NAME,
        length=1000,
        proof=":",
        lost=journal_module.LOST,
    )
    assert LocalTransport().run(script, stdin=b"throughpass jour").status != 0
    assert list(folder.iterdir()) == []

    (folder / f".new-{ADDRESS}").write_text("throughpass jour", encoding="utf-8")
    sweep(LocalTransport())
    assert not folder.exists()


def test_journal_that_cannot_be_written_is_an_error(folder: Path) -> None:
    """Without a journal nothing may be touched: the error says so, and where."""
    folder.parent.mkdir(parents=True)
    folder.write_text("a file where the folder should be", encoding="utf-8")

    with pytest.raises(BenchError, match=f"the journal of {ADDRESS} cannot be written to .*: nothing was touched") as caught:
        write_journal(LocalTransport(), JOURNAL)

    assert caught.value.evidence
    assert caught.value.remedy


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_journal_on_a_full_disk_is_none(folder: Path) -> None:
    """A disk that is full leaves the last journal as it was, and the error is told."""
    folder.mkdir(parents=True)
    (folder / f".new-{ADDRESS}").symlink_to("/dev/full")

    with pytest.raises(BenchError, match="cannot be written"):
        write_journal(LocalTransport(), JOURNAL)

    assert read_journals(LocalTransport()).journals == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "does not begin", id="empty"),
        pytest.param(dump_journal(JOURNAL)[:-1], "cut short", id="cut"),
        pytest.param(dump_journal(JOURNAL).replace("xhci_hcd", "ehci_hcd"), "was changed", id="changed"),
        pytest.param(dump_journal(JOURNAL).replace("journal 1 ", "journal 2 "), "of form 2, and this", id="newer"),
        pytest.param(dump_journal(Journal("a", "b", "c", "d", ())), "another device", id="no-device"),
        pytest.param(dump_journal(Journal("a", "b", "c", "d", (Taken("0000:01:00.0", "1:2"),))), "another device", id="other"),
    ],
)
def test_journal_that_is_not_what_was_written_is_told(text: str, reason: str) -> None:
    """What is cut short, changed, of a newer form or about something else is not followed, and the reason is told."""
    found = parse_journal(NAME, text)

    assert isinstance(found, Unreadable)
    assert reason in found.reason


@given(st.integers(min_value=0), st.integers(min_value=0, max_value=7), st.booleans())
def test_journal_with_any_bit_flipped_is_no_journal(place: int, bit: int, cut: bool) -> None:  # noqa: FBT001 (Hypothesis)
    """No flipped bit and no cut makes another journal of it."""
    text = dump_journal(JOURNAL)
    place %= len(text)
    broken = text[:place] if cut else text[:place] + chr(ord(text[place]) ^ (1 << bit)) + text[place + 1 :]

    assert isinstance(parse_journal(NAME, broken), Unreadable)


def test_journal_keeps_what_the_way_back_needs() -> None:
    """A device comes back from the journal with its driver and its override."""
    device = PciDevice(ADDRESS, id="1033:0194", driver="pci-stub", driver_override="pci-stub")

    back = device_of(taken(device))

    assert (back.address, back.id, back.driver, back.driver_override) == (ADDRESS, "1033:0194", "pci-stub", "pci-stub")


def test_modules_of_another_run_are_nobodys_own() -> None:
    """What a run that lives has loaded was not there before the second one either: the last of them takes it out."""
    loaded = frozenset({"vfio", "vfio_pci", "irqbypass", "ext4"})

    assert modules_before(loaded, Left({}, (), "")) == loaded
    assert modules_before(loaded, Left({NAME: JOURNAL}, (), "")) == {"irqbypass", "ext4"}
