"""The rules: what is judged, why, and what to do where one does not hold."""
# ruff: noqa: PLC0415 (imports of weight stand within the verbs: a listing must not wait for what only a boot needs)

from __future__ import annotations

import codecs
import difflib
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.app import app
from harness.cli.terminal import say
from harness.core.errors import UsageError
from reports.spelling import visible

if TYPE_CHECKING:
    from harness.rules.rule import Rule

WIDTH = 100
_SNIFFED = 1 << 16


@app.command("rules")
def list_rules() -> None:
    """List all rules, in the order in which a board is looked at."""
    from harness.rules.registry import RULES

    for rule in RULES.values():
        say(f"{rule.id}  {rule.title}")


@app.command("explain")
def explain(
    subject: Annotated[str, typer.Argument(metavar="RULE|MESSAGE", help="a rule's id, or what QEMU printed; - reads it")] = "",
    *,
    text: Annotated[str, typer.Option("--text", metavar="FILE|-", help="a log of any length; - reads standard input")] = "",
) -> None:
    """Say what a rule asks for, why, and what to do where it does not hold; or what messages of QEMU or the kernel mean."""
    from harness.rules.registry import RULES

    if bool(subject) == bool(text):
        raise UsageError("say what to explain: a rule's id, a message, or --text FILE; - is standard input")
    rule = RULES.get(subject.strip().upper())
    if rule is not None:
        _tell_rule(rule)
    elif text or subject == "-" or len(subject.split()) > 1:
        _tell_messages(_read_text(text or subject) if text or subject == "-" else subject)
    else:
        near = ", ".join(difflib.get_close_matches(subject.upper(), RULES, n=3, cutoff=0.5))
        hint = f"did you mean {near}?" if near else "throughpass rules lists them"
        raise UsageError(f"no rule is called {subject!r}: {hint}")


def _read_text(name: str) -> str:
    """Return a text file's text, or standard input's; UTF-16 as Windows saves it, and bytes that are no UTF-8, are borne."""
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    if b"\0" in data[:_SNIFFED].rstrip(b"\0"):
        raise UsageError(f"{'standard input' if name == '-' else name} is no text: unpack it first if it is compressed")
    return data.decode("utf-8-sig", "replace")


def _tell_messages(text: str) -> None:
    from harness.rules.messages import explain_messages
    from harness.rules.registry import RULES

    found = explain_messages(text)
    if not found:
        raise UsageError(f"no rule knows {_name_unknown(text)}: `throughpass survey` looks at the host itself")
    many = len(text.splitlines()) > 1
    told: set[tuple[str, str]] = set()
    for explanation in found:
        say(visible(explanation.line))
        if many:
            again = f", and {explanation.times - 1} more like it" if explanation.times > 1 else ""
            say(f"where: line {explanation.number}{again}")
        say(f"means: {explanation.meaning}\n")
        words = (explanation.rule, explanation.remedy)
        if words in told:
            say(f"{explanation.rule}: as above\n")
        else:
            _tell_rule(RULES[explanation.rule], explanation.remedy)
            say("")
        told.add(words)


def _name_unknown(text: str) -> str:
    lines = sum(not line.isspace() and line != "" for line in text.splitlines())
    return {0: "an empty text", 1: "that message"}.get(lines, f"any of these {lines} lines")


def _tell_rule(found: Rule, remedy: str = "") -> None:
    say(f"{found.id}: {found.title}\n")
    _tell("why", found.why)
    for number, each in enumerate((remedy,) if remedy else found.remedies):
        _tell("" if number else "what to do", each)
    for number, source in enumerate(found.sources):
        _tell("" if number else "sources", source)


def _tell(label: str, text: str) -> None:
    indent = " " * 12
    lines = textwrap.fill(text, WIDTH, initial_indent=f"{label:<12}", subsequent_indent=indent, break_on_hyphens=False)
    say(lines)
