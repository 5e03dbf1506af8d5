"""Where the snapshots of boards are kept: by what they are found, when they are trusted, how much there may be."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.bench.config import BOARDS, BoardSection, load_bench
from harness.bench.images import file_sha256
from harness.bench.snapshots import FORMAT, PLACES, Ingredients, Note, Place, free_place
from harness.bench.upkeep import describe_cache, empty_cache, entries, keep_within_limit
from harness.core.errors import UsageError

MIB = 1 << 20
HOLDER = """
import sys
from harness.bench.cache import locked
with locked("bench-x", wait=False, busy=""):
    print(flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache that is used instead of the user's."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("THROUGHPASS_CACHE", str(folder))
    folder.mkdir()
    return folder


def shipped_board() -> BoardSection:
    """Return the board of virtual-vtd."""
    board = load_bench(str(BOARDS / "virtual-vtd.toml")).board
    assert board is not None
    return board


def ingredients(tmp_path: Path, **changes: Any) -> Ingredients:
    """Return what goes into a board, with ``changes``."""
    qemu = tmp_path / "qemu"
    qemu.write_bytes(b"a program")
    return replace(Ingredients(shipped_board(), "content", qemu, ["-machine", "q35"]), **changes)


def filled(place: Place, state: bytes = b"memory" * 1000, **changes: Any) -> Path:
    """Fill a place with a snapshot, its note with ``changes``, and return the state's file."""
    place.folder.mkdir(parents=True)
    path = place.folder / "state"
    path.write_bytes(state)
    note = msgspec.structs.replace(Note(FORMAT, place.key, "board", len(state), file_sha256(path)), **changes)
    (place.folder / "snapshot.json").write_bytes(msgspec.json.encode(note))
    return path


def place_of(cache: Path, said: list[str], key: str = "key") -> Place:
    """Return a place that nobody holds, and that says what it does to a list."""
    return Place(key, cache / "snapshots" / f"{key}-0", "board", progress=said.append)


def test_key_is_the_same_for_the_same_board(tmp_path: Path) -> None:
    """The same ingredients have the same key, whatever the bench is called."""
    assert ingredients(tmp_path).key() == ingredients(tmp_path).key()


@pytest.mark.parametrize(
    "changes",
    [
        {"image": "other content"},
        {"argv": ["-machine", "q35", "-m", "2G"]},
        {"board": msgspec.structs.replace(shipped_board(), memory_mib=2048)},
    ],
    ids=["image", "command line", "bench file"],
)
def test_key_changes_with_each_ingredient(changes: dict[str, Any], tmp_path: Path) -> None:
    """Another image, command line or bench file is another key."""
    assert ingredients(tmp_path, **changes).key() != ingredients(tmp_path).key()


def test_key_changes_with_qemu(tmp_path: Path) -> None:
    """Another QEMU program is another key, even under the same name."""
    given = ingredients(tmp_path)
    before = given.key()
    given.qemu.write_bytes(b"another program")

    assert given.key() != before


def test_key_changes_with_a_file_that_the_command_line_names(tmp_path: Path) -> None:
    """A disk that a bench file's qemu_args name is an ingredient: what the board has read of it is in its memory."""
    disk = tmp_path / "disk.img"
    disk.write_bytes(b"one")
    given = ingredients(tmp_path, argv=["-drive", f"if=none,file={disk},format=raw"])
    before = given.key()
    disk.write_bytes(b"more than one")

    assert given.key() != before


def test_snapshot_is_found_as_it_was_saved(cache: Path) -> None:
    """A snapshot that is whole is found."""
    said: list[str] = []
    place = place_of(cache, said)

    assert place.find() is None
    state = filled(place)
    assert place.find() == state
    assert not said


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"size": 5999}, "has 6000 bytes where 5999 were saved"),
        ({"sha256": "0" * 64}, "has changed since it was saved"),
        ({"key": "another"}, "another board's or another version's"),
        ({"format": FORMAT + 1}, "another board's or another version's"),
    ],
)
def test_snapshot_that_is_not_what_was_saved_is_discarded(changes: dict[str, Any], why: str, cache: Path) -> None:
    """A state that was cut short or changed, of another key or another version is not trusted: it is removed, and why is said."""
    said: list[str] = []
    place = place_of(cache, said)
    filled(place, **changes)

    assert place.find() is None
    assert not place.folder.exists()
    assert len(said) == 1
    assert why in said[0]


@pytest.mark.parametrize("missing", ["state", "snapshot.json"])
def test_snapshot_that_lacks_a_file_is_discarded(missing: str, cache: Path) -> None:
    """Half a snapshot is none."""
    said: list[str] = []
    place = place_of(cache, said)
    filled(place)
    (place.folder / missing).unlink()

    assert place.find() is None
    assert not place.folder.exists()
    assert "cannot be read" in said[0]


def test_place_belongs_to_one_run_at_a_time() -> None:
    """Each run gets a place of its own, and none when all are taken; a place is free again when its run ends."""
    with free_place("key", "a") as first, free_place("key", "b") as second:
        assert first is not None
        assert second is not None
        assert first.folder != second.folder
        with free_place("key", "c"), free_place("key", "d"), free_place("key", "e") as fifth:
            assert PLACES == 4
            assert fifth is None
    with free_place("key", "a") as again:
        assert again is not None
        assert again.folder == first.folder


def kept(cache: Path, name: str, size_mib: int, used: float) -> Path:
    """Put something into the cache that was last used at a time."""
    path = cache / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(os.urandom(size_mib * MIB))
    os.utime(path, (used, used))
    return path


def test_cache_gives_up_what_was_not_used_for_longest(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over its limit the cache loses old snapshots first, then sticks, then images; what is spared stays whatever its age."""
    monkeypatch.setenv("THROUGHPASS_CACHE_MIB", "6")
    oldest, old, new = (kept(cache, f"snapshots/{name}", 2, used) for name, used in (("x", 10), ("a", 20), ("n", 30)))
    image = kept(cache, "images/i", 3, 5)

    assert keep_within_limit({oldest})
    assert [path.exists() for path in (oldest, old, new, image)] == [True, False, False, True]


def test_cache_that_cannot_be_held_within_its_limit_says_so(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what is in use is more than the limit alone, the answer is no."""
    monkeypatch.setenv("THROUGHPASS_CACHE_MIB", "1")
    assert not keep_within_limit({kept(cache, "images/i", 3, 5)})


def test_cache_leaves_what_is_being_made(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another process makes at the moment is not removed, what a killed one left long ago is."""
    monkeypatch.setenv("THROUGHPASS_CACHE_MIB", "0")
    fresh, stale = kept(cache, "snapshots/.new-a", 1, 4e9), kept(cache, "snapshots/.new-b", 1, 10)
    keep_within_limit(())

    assert fresh.exists()
    assert not stale.exists()


def test_cache_limit_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that cannot be read is named, with what would be right."""
    monkeypatch.setenv("THROUGHPASS_CACHE_MIB", "4 GiB")
    with pytest.raises(UsageError, match="THROUGHPASS_CACHE_MIB is '4 GiB': give a number of MiB"):
        describe_cache()


def test_cache_is_emptied_and_told(cache: Path) -> None:
    """What the cache holds is told with its size and limit; emptied, it holds nothing."""
    kept(cache, "snapshots/a", 2, 10)

    assert describe_cache() == f"2 MiB of at most 4096 MiB in {cache} (1 of snapshots: 2 MiB)"
    assert empty_cache() >= 2 * MIB
    assert entries() == []
    assert describe_cache().endswith("(nothing yet)")


def test_cache_leaves_what_is_not_ours(cache: Path) -> None:
    """A folder that a user named for its space may hold things of his own: they stay when the cache is emptied."""
    thesis = cache / "thesis.txt"
    thesis.write_text("all my work")
    ours = [kept(cache, "snapshots/a", 1, 10), kept(cache, "kvm-0123.json", 1, 10)]
    empty_cache()

    assert thesis.read_text() == "all my work"
    assert not [path for path in ours if path.exists()]


def test_snapshot_that_a_run_holds_is_not_given_up(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the limit is, a place that a run holds stays; it goes when the run has ended."""
    monkeypatch.setenv("THROUGHPASS_CACHE_MIB", "0")
    with free_place("key", "a") as place:
        assert place is not None
        filled(place)
        keep_within_limit(())
        assert place.find() is not None
    keep_within_limit(())
    assert not (cache / "snapshots" / "key-0").exists()


def test_cache_in_use_is_not_emptied(cache: Path) -> None:
    """While another process holds anything of the cache, nothing is removed, and what it holds is named."""
    path = kept(cache, "snapshots/a", 1, 10)
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(UsageError, match=r"in use \(bench-x\): end that run first; nothing was removed"):
            empty_cache()
        process.communicate()

    assert path.exists()
