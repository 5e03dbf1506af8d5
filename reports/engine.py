"""The template engine: whatever a template prints is made visible and escaped, unless our own code marked it as markup."""

from __future__ import annotations

from functools import cache
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from reports.cliffs import note_run
from reports.spelling import (
    spell_cost,
    spell_cycles,
    spell_duration,
    spell_instant,
    spell_interval,
    spell_latency,
    spell_rate,
    spell_ratio,
    visible,
)


@cache
def template_engine() -> Environment:
    """Return the one environment of all our templates."""
    engine = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    engine.globals.update(interval=spell_interval)
    engine.filters.update(
        cycles=spell_cycles,
        duration=spell_duration,
        rate=spell_rate,
        ratio=spell_ratio,
        latency=spell_latency,
        cost=spell_cost,
        noted=note_run,
        instant=spell_instant,
        lines=_lines,
        href=_href,
    )
    return engine


def _finalize(value: object) -> object:
    """Make a printed value visible; autoescape then escapes it. Markup is ours and stays."""
    return value if hasattr(value, "__html__") else visible(str(value))


def _lines(text: str) -> Markup:
    """Return a text of several lines with its line breaks and tabs as they are."""
    return Markup(escape(visible(text, keep="\n\t")))  # noqa: S704 (escaped in this line)


def _href(name: str) -> str:
    """Return the link to a file beside the page, or an empty text if the name leads elsewhere.

    A record may come from anybody: neither ``javascript:`` nor ``//host/`` nor ``../`` may become a link.
    """
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or not path.parts:
        return ""
    return "./" + quote(str(path), errors="replace")
