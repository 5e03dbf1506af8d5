"""The documents keep what they promise."""

from __future__ import annotations

import re
from pathlib import Path

from harness.bench.config import parse_bench

CHECKOUT = Path(__file__).parents[1]


def test_docs_bench_file_is_valid() -> None:
    """The bench file that README.md explains is one that the harness accepts."""
    (example,) = re.findall(r"```toml\n(.*?)```", (CHECKOUT / "README.md").read_text("utf-8"), re.DOTALL)

    assert parse_bench(example, "README.md").name == "my-board"


def test_docs_name_every_part_of_the_harness() -> None:
    """ARCHITECTURE.md names each package of the harness, and no other."""
    text = (CHECKOUT / "ARCHITECTURE.md").read_text("utf-8")
    described = set(re.findall(r"^  (\w+)/ ", text, re.MULTILINE))

    assert described == {path.parent.name for path in (CHECKOUT / "harness").glob("*/__init__.py")}
