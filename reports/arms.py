"""Arms: by which marker, dashes and colour an arm is known, the same in every chart and table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class ArmStyle:
    """``marker`` is matplotlib's name of the shape, ``glyph`` the same shape as text; ``colour`` is of the light page.

    ``dashes`` are the lengths of a line's dashes and gaps in its widths; a line without is solid.
    """

    marker: str
    glyph: str
    colour: str
    number: int  # of the style sheet's --arm-N, which knows the dark page too
    dashes: tuple[float, ...] = ()

    @property
    def css(self) -> str:
        """Return the colour as CSS that follows the page, and stands alone where no style sheet is."""
        return f"var(--arm-{self.number}, {self.colour})"


STYLES = (
    ArmStyle("o", "●", "#475569", 0),
    ArmStyle("s", "■", "#0b5cad", 1, (7, 2)),
    ArmStyle("^", "▲", "#b4460b", 2, (2, 1.5)),
    ArmStyle("D", "◆", "#7a3fb5", 3, (7, 2, 2, 2)),
    ArmStyle("v", "▼", "#0b7261", 4, (4, 2)),
    ArmStyle("P", "✚", "#a3265e", 5, (7, 2, 2, 2, 2, 2)),
    ArmStyle("<", "◀", "#5c6b00", 6, (1, 1)),
    ArmStyle(">", "▶", "#7a4b1e", 7, (10, 3)),
)
_KNOWN = {"native": 0, "pci": 1, "usb-host": 2, "virtio-blk": 3}


def style_arms(names: Iterable[str]) -> dict[str, ArmStyle]:
    """Return a style for each distinct name: the well-known arms keep theirs, others take what is free, in their order."""
    ordered = list(dict.fromkeys(names))
    taken = {_KNOWN[name] for name in ordered if name in _KNOWN}
    free = [number for number in range(len(STYLES)) if number not in taken] or list(range(len(STYLES)))
    others = [name for name in ordered if name not in _KNOWN]
    chosen = {name: free[index % len(free)] for index, name in enumerate(others)}
    return {name: STYLES[_KNOWN.get(name, chosen.get(name, 0))] for name in ordered}
