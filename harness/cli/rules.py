"""The rules: what is judged, why, and what to do where one does not hold."""
# ruff: noqa: PLC0415 (imports of weight stand within the verbs: a listing must not wait for what only a boot needs)

from __future__ import annotations

import difflib
import sys
import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.app import app
from harness.cli.terminal import say
from harness.core.errors import UsageError
from reports.spelling import visible

if TYPE_CHECKING:
    from harness.rules.rule import Rule

WIDTH = 100


@app.command("rules")
def list_rules() -> None:
    """List all rules, in the order in which a board is looked at."""
    from harness.rules.registry import RULES

    for rule in RULES.values():
        say(f"{rule.id}  {rule.title}")


@app.command("explain")
def explain(
    subject: Annotated[str, typer.Argument(metavar="RULE|MESSAGE", help="a rule's id, or what QEMU printed; - reads it")],
) -> None:
    """Say what a rule asks for, why, and what to do where it does not hold; or what a message of QEMU or the kernel means."""
    from harness.rules.registry import RULES

    rule = RULES.get(subject.strip().upper())
    if rule is not None:
        _tell_rule(rule)
    elif subject == "-" or len(subject.split()) > 1:
        _tell_messages(sys.stdin.read() if subject == "-" else subject)
    else:
        near = ", ".join(difflib.get_close_matches(subject.upper(), RULES, n=3, cutoff=0.5))
        hint = f"did you mean {near}?" if near else "throughpass rules lists them"
        raise UsageError(f"no rule is called {subject!r}: {hint}")


def _tell_messages(text: str) -> None:
    from harness.rules.messages import explain_messages
    from harness.rules.registry import RULES

    found = explain_messages(text)
    if not found:
        raise UsageError("no rule knows that message: `throughpass survey` looks at the host itself")
    for explanation in found:
        say(visible(explanation.line))
        say(f"means: {explanation.meaning}\n")
        _tell_rule(RULES[explanation.rule])


def _tell_rule(found: Rule) -> None:
    say(f"{found.id}: {found.title}\n")
    _tell("why", found.why)
    for number, remedy in enumerate(found.remedies):
        _tell("" if number else "what to do", remedy)
    for number, source in enumerate(found.sources):
        _tell("" if number else "sources", source)


def _tell(label: str, text: str) -> None:
    indent = " " * 12
    lines = textwrap.fill(text, WIDTH, initial_indent=f"{label:<12}", subsequent_indent=indent, break_on_hyphens=False)
    say(lines)
