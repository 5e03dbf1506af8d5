"""The rules: what is judged, why, and what to do where one does not hold."""
# ruff: noqa: PLC0415 (imports of weight stand within the verbs: a listing must not wait for what only a boot needs)

from __future__ import annotations

import difflib
import textwrap
from typing import Annotated

import typer

from harness.cli.app import app
from harness.core.errors import UsageError

WIDTH = 100


@app.command("rules")
def list_rules() -> None:
    """List all rules, in the order in which a board is looked at."""
    from harness.rules.registry import RULES

    for rule in RULES.values():
        typer.echo(f"{rule.id}  {rule.title}")


@app.command("explain")
def explain_rule(rule: Annotated[str, typer.Argument(metavar="RULE", help="a rule's id, as IOM001")]) -> None:
    """Say what a rule asks for, why, and what to do where it does not hold."""
    from harness.rules.registry import RULES

    found = RULES.get(rule.upper())
    if found is None:
        near = ", ".join(difflib.get_close_matches(rule.upper(), RULES, n=3, cutoff=0.5))
        hint = f"did you mean {near}?" if near else "throughpass rules lists them"
        raise UsageError(f"no rule is called {rule!r}: {hint}")
    typer.echo(f"{found.id}: {found.title}\n")
    _tell("why", found.why)
    for number, remedy in enumerate(found.remedies):
        _tell("" if number else "what to do", remedy)
    for number, source in enumerate(found.sources):
        _tell("" if number else "sources", source)


def _tell(label: str, text: str) -> None:
    indent = " " * 12
    lines = textwrap.fill(text, WIDTH, initial_indent=f"{label:<12}", subsequent_indent=indent, break_on_hyphens=False)
    typer.echo(lines)
