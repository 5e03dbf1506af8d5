"""Whatever a real host printed, whole, cut off or damaged: a survey is made of it, or our own error says why not."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from harness.core.capture import Capture, Item, Status
from harness.rules.survey import Source, Survey, survey_of
from tests.corpus import Piece, pieces

FOLDERS = ("dmesg", "acpi", "lspci", "lsusb", "iommu_groups", "cpuinfo", "errors", "cmdlines.txt")
SOURCE = Source("capture", "a test")


def item_name(piece: Piece) -> str:
    """Return where a piece belongs in a capture."""
    if piece.kind.startswith(("dmesg", "error")) or piece.name.startswith("iommu_groups/dmesg"):
        return "commands/dmesg"
    if piece.name.endswith(".hex"):
        return "sys/firmware/acpi/tables/" + ("DMAR" if ".dmar." in piece.name else "IVRS")
    if piece.kind.startswith("lspci"):
        return "commands/lspci-tree" if "-t" in piece.kind else "commands/lspci-mm" if "mm" in piece.kind else "commands/lspci"
    names = {"lsusb": "commands/lsusb", "lsusb -t": "commands/lsusb-tree", "cpuinfo": "proc/cpuinfo", "cmdline": "proc/cmdline"}
    return names.get(piece.kind, "commands/iommu-groups")


def require_document(name: str, data: bytes) -> Survey:
    """Survey one item, write the document and read it back by its types."""
    made = survey_of(Capture({name: Item(Status.READ, data)}), SOURCE)
    assert msgspec.json.decode(msgspec.json.encode(made), type=Survey) == made
    return made


def test_whole_pieces_make_documents() -> None:
    """Every piece of the corpus makes a document that its own schema accepts."""
    for piece in pieces(*FOLDERS):
        require_document(item_name(piece), piece.read())


@given(data=st.data())
def test_damaged_pieces_make_documents(data: st.DataObject) -> None:
    """A piece that is cut off anywhere, or has bytes flipped, makes a document too."""
    piece = data.draw(st.sampled_from(pieces(*FOLDERS)))
    text = bytearray(piece.read()[: 1 << 20])
    cut = data.draw(st.integers(0, len(text)))
    del text[cut:]
    for at in data.draw(st.lists(st.integers(0, max(0, len(text) - 1)), max_size=20)) if text else ():
        text[at] ^= data.draw(st.integers(1, 255))
    require_document(item_name(piece), bytes(text))
