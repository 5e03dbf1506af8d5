"""The tree of lspci -t: which functions there are, and what they hang on."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.facts.lspci_tree import parse_lspci_tree
from harness.facts.told import find_address
from tests.texts import damaged

TREE = r"""
-+-[0000:ff]-+-00.0  Example Corp. Registers
 |           \-00.1  Example Corp. Decoder
 +-[0000:80]---03.0-[81]----00.0  Example Corp. Disk
 \-[0000:00]-+-00.0  Example Corp. Root Complex
             +-01.0-[01-04]----00.0-[02-04]--+-00.0-[03]--
             |                               \-01.0-[04]--+-00.0  Cards Ltd. Card [c0c0:0194]
             |                                            \-00.1  Cards Ltd. Other Card [c0c0:0195]
             +-1c.0-[05]--
             \-1f.0  Example Corp. LPC
"""

PATHS = {
    "0000:00:00.0": "pci0000:00/0000:00:00.0",
    "0000:00:01.0": "pci0000:00/0000:00:01.0",
    "0000:00:1c.0": "pci0000:00/0000:00:1c.0",
    "0000:00:1f.0": "pci0000:00/0000:00:1f.0",
    "0000:01:00.0": "pci0000:00/0000:00:01.0/0000:01:00.0",
    "0000:02:00.0": "pci0000:00/0000:00:01.0/0000:01:00.0/0000:02:00.0",
    "0000:02:01.0": "pci0000:00/0000:00:01.0/0000:01:00.0/0000:02:01.0",
    "0000:04:00.0": "pci0000:00/0000:00:01.0/0000:01:00.0/0000:02:01.0/0000:04:00.0",
    "0000:04:00.1": "pci0000:00/0000:00:01.0/0000:01:00.0/0000:02:01.0/0000:04:00.1",
    "0000:80:03.0": "pci0000:80/0000:80:03.0",
    "0000:81:00.0": "pci0000:80/0000:80:03.0/0000:81:00.0",
    "0000:ff:00.0": "pci0000:ff/0000:ff:00.0",
    "0000:ff:00.1": "pci0000:ff/0000:ff:00.1",
}


def read_paths(text: str) -> dict[str, str]:
    """Return the paths below /sys/devices by address."""
    return {told.address: told.path.removeprefix("/sys/devices/") for told in parse_lspci_tree(text)}


@pytest.mark.parametrize(
    "text",
    [
        TREE,
        re.sub(r"^ +", "", TREE, flags=re.MULTILINE),
        re.sub(r"^[ |]+(?=[+\\])", "", TREE, flags=re.MULTILINE),
        re.sub(r" +", " ", TREE),
        re.sub(r"^ ", "  ", TREE, flags=re.MULTILINE),
        re.sub(
            r"(?<=\n)(?:[^\n]{8})+",
            lambda match: re.sub(r"(.{8})", lambda eight: re.sub(r"  +$", "\t", eight[0]), match[0]),
            TREE,
        ),
        TREE.replace("\n", "\r\n"),
        "".join(f"> {line}\n" for line in TREE.splitlines()),
        TREE.replace("\\-", "\u00a5-"),
        TREE.replace(" ", "\u00a0"),
        TREE.translate(str.maketrans("\\|", "\u2514\u2502")).replace("+-", "\u251c\u2500"),
        re.sub(r"  \w.*", "", TREE),
        TREE.replace("\n", "\n" + 13 * " " + "|  Memory at 10000000 (64-bit, prefetchable) [size=8K]\n"),
    ],
    ids=[
        "whole",
        "indents-lost",
        "bars-lost",
        "spaces-folded",
        "shifted",
        "tabs",
        "crlf",
        "quoted",
        "yen",
        "hard-spaces",
        "box-drawing",
        "plain",
        "regions",
    ],
)
def test_tree_says_what_hangs_where(text: str) -> None:
    """Every function is found with the bridges above it, however the drawing's indents came through."""
    assert read_paths(text) == PATHS


def test_tree_names_and_ids() -> None:
    """Names are read, and ids where they stand behind or instead of them."""
    found = {told.address: told for told in parse_lspci_tree(TREE.replace("Example Corp. LPC", "a0a0:1f00"))}

    assert (found["0000:04:00.0"].name, found["0000:04:00.0"].id) == ("Cards Ltd. Card", "c0c0:0194")
    assert (found["0000:00:1f.0"].name, found["0000:00:1f.0"].id) == ("", "a0a0:1f00")
    assert (found["0000:00:01.0"].name, found["0000:00:01.0"].id) == ("", "")


def test_tree_with_lines_missing() -> None:
    """Where a list's last line is missing, indents tell which list goes on; without indents, that functions ascend."""
    cut = "\n".join(line for line in TREE.splitlines() if "Card" not in line)
    expected = {address: path for address, path in PATHS.items() if not address.startswith(("0000:04", "0000:02:01"))}

    assert read_paths(cut) == expected
    flat = "-[0000:00]-+-00.0\n+-01.0-[01]--+-00.0\n| +-00.1\n+-00.0\n+-1c.0\n"
    assert read_paths(flat)["0000:01:00.1"] == "pci0000:00/0000:00:01.0/0000:01:00.1"


def test_tree_of_long_domain() -> None:
    """A domain of five digits, as behind Intel's VMD, is read."""
    assert read_paths("-+-[10000:e0]-+-06.0-[e1]----00.0\n |            \\-17.0\n \\-[0000:00]---00.0\n") == {
        "0000:00:00.0": "pci0000:00/0000:00:00.0",
        "10000:e0:06.0": "pci10000:e0/10000:e0:06.0",
        "10000:e0:17.0": "pci10000:e0/10000:e0:17.0",
        "10000:e1:00.0": "pci10000:e0/10000:e0:06.0/10000:e1:00.0",
    }


def test_tree_below_a_bridge_alone() -> None:
    """A tree of one bridge (lspci -t -s) tells of functions, but not what is above."""
    assert read_paths("0000:00:1c.0-[05]----00.0  Cards Ltd. Card\n") == {"0000:00:1c.0": "", "0000:05:00.0": ""}


def test_tree_of_several_buses_below_a_bridge() -> None:
    """Buses that were numbered anew below a bridge hang on it."""
    found = read_paths(
        "-[0000:00]-+-1e.0-[05-06]--+-[0000:06]---00.0\n           |               \\-[0000:05]---01.0\n           \\-1f.0\n"
    )

    assert found == {
        "0000:00:1e.0": "pci0000:00/0000:00:1e.0",
        "0000:00:1f.0": "pci0000:00/0000:00:1f.0",
        "0000:05:01.0": "pci0000:00/0000:00:1e.0/0000:05:01.0",
        "0000:06:00.0": "pci0000:00/0000:00:1e.0/0000:06:00.0",
    }


@pytest.mark.parametrize(
    "text", ["", "+-00.0\n\\-01.0\n", "- a list\n+- of things\n", "-[0000:00]-\n", "00:1f.0 ISA bridge: Card"]
)
def test_tree_nothing_is_no_function(text: str) -> None:
    """Without a root nothing is known, and other texts are no trees."""
    assert parse_lspci_tree(text) == ()


@given(damaged(TREE))
def test_tree_survives_damage(text: str) -> None:
    """A tree cut off anywhere, with other characters in it, is read without an error."""
    assert all(find_address(told.address) == told.address for told in parse_lspci_tree(text))


@given(st.sets(st.integers(1, 20)))
def test_tree_lacking_any_lines_is_right_in_what_it_says(missing: set[int]) -> None:
    """With its indents intact, a tree of which lines were deleted puts no function of a shown bridge elsewhere."""
    lines = [line for number, line in enumerate(TREE.splitlines()) if number not in missing or "[0000" in line]

    for address, path in read_paths("\n".join(lines)).items():
        assert path == PATHS.get(address, path)
