"""Writes docs/rules.md: every rule, in the order in which a board is looked at."""

from __future__ import annotations

from pathlib import Path

from harness.rules.registry import GROUPS, RULES
from harness.rules.rule import Rule

PAGE = Path(__file__).resolve().parents[1] / "docs" / "rules.md"

_HEAD = """# Rules

What a host's facts are judged by, generated from the rules themselves (`python tools/write_rules.py`);
`throughpass explain RULE` prints one. A *required* rule must be known: without its answer a controller's
readiness is unknown; one that *guards* must be known before a controller is taken. Rules about the *suite*
ask for its tools and the bench file; they say nothing of the board.
"""


def document() -> str:
    """Return the whole page."""
    parts = [_HEAD]
    for group, title in GROUPS.items():
        rules = [rule for rule in RULES.values() if rule.group == group]
        parts += [f"## {group}: {title}\n", *map(describe, rules)]
    return "\n".join(parts)


def describe(rule: Rule) -> str:
    """Return one rule's part of the page."""
    marks = filter(
        None,
        (f"about the {rule.scope}", rule.required and "required", rule.guards and "guards", rule.about == "suite" and "suite"),
    )
    remedies = [f"  - {line}" for line in rule.remedies if line != rule.remedy]
    lines = [f"### {rule.id}: {rule.title}", "", f"*{', '.join(marks)}*", "", f"- **Why:** {rule.why}"]
    if rule.remedies:
        lines.append(f"- **What to do:** {rule.remedy}".rstrip())
    sources = ", ".join(f"<{source}>" for source in rule.sources)
    return "\n".join([*lines, *remedies, f"- **Sources:** {sources}", ""])


if __name__ == "__main__":
    PAGE.write_text(document(), encoding="utf-8")
