"""What real hosts print, with the truth read off each: in a folder named by THROUGHPASS_CORPUS, outside of the project."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

VARIABLE = "THROUGHPASS_CORPUS"


@dataclass(frozen=True)
class Piece:
    """One file: ``truth`` holds the ``key=value`` pairs of the index, ``said`` the whole text of that column."""

    path: Path
    name: str
    kind: str
    said: str

    @property
    def truth(self) -> dict[str, str]:
        """Return the pairs; what has no equals sign is left out."""
        pairs = (part.partition("=") for part in self.said.split("; "))
        return {key.strip(): value.strip() for key, sign, value in pairs if sign}

    def read(self) -> bytes:
        """Return the file's bytes."""
        return self.path.read_bytes()


def pieces(*folders: str) -> list[Piece]:
    """Return the pieces of these folders (``dmesg``, ``lspci``), or skip the test where there is no corpus."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        pytest.skip(f"{VARIABLE} names no folder of real hosts' data")
    rows = [line.split("\t") for line in (Path(folder) / "INDEX.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    names = [row[0].partition(" (")[0] for row in rows]  # a remark may follow
    found = [Piece(Path(folder) / name, name, row[2], row[3]) for name, row in zip(names, rows, strict=True)]
    return [piece for piece in found if piece.name.split("/")[0] in folders]


def score(record: Callable[[str, object], None], kind: str, judged: Sequence[tuple[str, object, object]]) -> None:
    """Note ``kind: right/all`` for the summary and require that all of it is right; each row is name, found, truth."""
    wrong = [row for row in judged if row[1] != row[2]]
    record("corpus", f"{kind}: {len(judged) - len(wrong)}/{len(judged)}")
    assert judged, f"the corpus has nothing of the kind {kind}"
    assert not wrong, "\n".join(f"{name}: found {found!r}, the truth is {truth!r}" for name, found, truth in wrong)
