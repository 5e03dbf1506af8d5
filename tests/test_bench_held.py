"""The bench file of a board that is held: valid, private, whole, and gone in the end."""

from __future__ import annotations

import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bench.config import load_bench
from harness.bench.held import dump_toml, held_bench_file, key_path, require_free
from harness.core.errors import UsageError
from harness.machine.running import Access
from harness.transport.identity import read_identity
from harness.transport.keys import make_key

ACCESS = Access(port=34567, client_key=make_key(), host_key=make_key().public.strip())
PLAIN = st.text(st.characters(exclude_categories=["Cs"])) | st.integers(-(2**63), 2**63 - 1) | st.booleans()


def test_held_file_leads_to_the_board(tmp_path: Path) -> None:
    """The file is a bench of kind ssh with the board's controller and stick, its key beside it, all pinned."""
    config = load_bench("virtual-vtd")
    with held_bench_file(config, ACCESS, tmp_path / "held.toml") as path:
        held = load_bench(str(path))
        assert held.host is not None

        assert (held.name, held.kind, held.board) == ("virtual-vtd-ssh", "ssh", None)
        assert (held.controller, held.storage) == (config.controller, config.storage)
        assert (held.host.address, held.host.port, held.host.user) == ("127.0.0.1", 34567, "root")
        assert held.host.host_key == ACCESS.host_key
        assert read_identity(Path(held.host.identity)).get_base64() == ACCESS.client_key.public.split()[1]


def test_held_file_is_private_and_goes(tmp_path: Path) -> None:
    """Neither file can be read by others, and both are gone afterwards, whatever ended it."""
    path = tmp_path / "held.toml"
    with suppress(KeyboardInterrupt), held_bench_file(load_bench("virtual-vtd"), ACCESS, path):
        assert [file.stat().st_mode & 0o777 for file in sorted(tmp_path.iterdir())] == [0o600, 0o600]
        raise KeyboardInterrupt

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", ["held.toml", "held.toml.key"])
def test_held_file_replaces_nothing(tmp_path: Path, there: str) -> None:
    """What is there already is neither overwritten nor removed, whether it is seen before or appears meanwhile."""
    (tmp_path / there).write_text("mine", encoding="utf-8")

    with pytest.raises(UsageError, match=f"{there} is there already"):
        require_free(tmp_path / "held.toml")
    with (
        pytest.raises(UsageError, match="has appeared meanwhile"),
        held_bench_file(load_bench("virtual-vtd"), ACCESS, tmp_path / "held.toml"),
    ):
        pass

    assert [file.name for file in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text(encoding="utf-8") == "mine"


def test_held_file_needs_its_folder(tmp_path: Path) -> None:
    """A folder that is not there is told before a board is booted."""
    require_free(tmp_path / "held.toml")
    with pytest.raises(UsageError, match="there is no folder"):
        require_free(tmp_path / "no" / "held.toml")


def test_held_key_lies_beside() -> None:
    """The key's name is that of the bench file, with an ending."""
    assert key_path(Path("a/held.toml")) == Path("a/held.toml.key")


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])), PLAIN | st.lists(PLAIN) | st.dictionaries(st.text("ab.\" '"), PLAIN)
    )
)
def test_dump_toml_reads_back(document: dict[str, Any]) -> None:
    """Whatever strings a document holds, TOML's own reader gives them back."""
    assert tomllib.loads(dump_toml(document)) == document


def test_dump_toml_spells_lists_of_tables() -> None:
    """Arms of throughput are tables in a list, whose keys are no JSON."""
    document = {"throughput": {"profile": "quick", "arm": [{"name": "a b", "kind": "pci", "stick": ""}, {"n": 1, "gone": None}]}}

    read = tomllib.loads(dump_toml(document))

    assert read["throughput"]["arm"] == [{"name": "a b", "kind": "pci", "stick": ""}, {"n": 1}]
