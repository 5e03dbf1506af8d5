"""From a matplotlib figure to inline SVG: no ids that clash, no fixed colours, a title and a description."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib as mpl
from matplotlib.figure import Figure

INK = "#1f2933"
"""Text and axes; becomes currentColor."""

GRID = "#d5dbe1"
"""Lines that must not shout; becomes var(--grid)."""

CAVEAT = "#8a5200"
"""What a reader must not overlook; becomes var(--weak)."""

SETTINGS: dict[Any, Any] = {  # matplotlib types the keys as a Literal of all it knows, which differs by version
    "svg.fonttype": "none",  # text stays text: searchable, read aloud, in the page's font
    "svg.hashsalt": "throughpass",  # without it ids differ from run to run
    "text.parse_math": False,  # a device may have a dollar in its name
    "font.size": 12,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.edgecolor": INK,
    "path.simplify": False,
}
"""matplotlib's settings while a figure is made and drawn."""

_NAMESPACE = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_URL = re.compile(r"url\(#([^)]+)\)")


def inline_svg(figure: Figure, *, name: str, title: str, description: str, colours: Mapping[str, str]) -> str:
    """Return the figure as one ``<svg>`` element for an HTML page, the same bytes for the same figure.

    ``name`` makes its ids unique in the page; ``colours`` maps hexadecimal colours of the figure to CSS.
    ``title`` and ``description`` must hold no control characters.
    """
    root = _draw(figure)
    _clean(root)
    _rename(root, name)
    _recolour(root, {INK: "currentColor", GRID: f"var(--grid, {GRID})", CAVEAT: f"var(--weak, {CAVEAT})", **colours})
    _describe(root, name, title, description)
    return ET.tostring(root, encoding="unicode")


def _draw(figure: Figure) -> ET.Element:
    """Return matplotlib's SVG as elements without namespace."""
    target = io.StringIO()
    with mpl.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?s)Glyph .* missing from")  # the reader's browser has more fonts
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    root = ET.fromstring(target.getvalue())  # noqa: S314 (our own output, a moment old)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_NAMESPACE)
    return root


def _clean(root: ET.Element) -> None:
    """Drop the metadata, and the style sheet: inside a page its ``*`` would match the whole page."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == "metadata" or child.find("style") is not None:
                parent.remove(child)
        parent.text = parent.text if (parent.text or "").strip() else None
        parent.tail = None


def _rename(root: ET.Element, name: str) -> None:
    """Put ``name`` before the ids that are referred to; drop all others, and xlink with them."""
    used = set()
    for element in root.iter():
        link = element.attrib.pop(_HREF, None)
        if link is not None:
            used.add(link[1:])
            element.set("href", f"#{name}-{link[1:]}")
        for key, value in element.attrib.items():
            used.update(_URL.findall(value))
            element.set(key, _URL.sub(rf"url(#{name}-\1)", value))
    for element in root.iter():
        identity = element.attrib.pop("id", None)
        if identity in used:
            element.set("id", f"{name}-{identity}")


def _recolour(root: ET.Element, colours: Mapping[str, str]) -> None:
    """Replace the figure's colours by those of the page."""
    for element in root.iter():
        style = element.get("style")
        if style is not None:
            for colour, css in colours.items():
                style = style.replace(f": {colour}", f": {css}")
            element.set("style", style)


def _describe(root: ET.Element, name: str, title: str, description: str) -> None:
    """Make the drawing an image with a name for those who do not see it; its size is left to the page."""
    width, height = root.get("viewBox", "0 0 0 0").split()[2:]
    root.attrib.clear()
    root.attrib.update(
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "class": "chart",
            "viewBox": f"0 0 {width} {height}",
            "width": width,
            "height": height,
            "role": "img",
            "aria-labelledby": f"{name}-title {name}-desc",
        }
    )
    for tag, text in (("desc", description), ("title", title)):
        element = ET.Element(tag, {"id": f"{name}-{tag}"})
        element.text = text
        root.insert(0, element)
