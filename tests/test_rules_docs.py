"""What the rules say of themselves, and the page that is made of it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from harness.rules.bootloader import WAYS
from harness.rules.registry import GROUPS, RULES
from harness.rules.rule import Rule

TOOL = Path(__file__).resolve().parents[1] / "tools" / "write_rules.py"
_SPEC = importlib.util.spec_from_file_location("write_rules", TOOL)
assert _SPEC is not None
assert _SPEC.loader is not None
write_rules = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(write_rules)


def test_rules_page_is_current() -> None:
    """The page in docs/ is the one of the rules: python tools/write_rules.py writes it."""
    assert write_rules.PAGE.read_text(encoding="utf-8") == write_rules.document()


def test_rules_page_holds_every_rule_once() -> None:
    """No rule is left out of the page, and each has its own heading."""
    text = write_rules.document()

    assert {rule.group for rule in RULES.values()} == set(GROUPS)
    assert [text.count(f"### {rule.id}: ") for rule in RULES.values()] == [1] * len(RULES)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_rule_sources_are_addresses(rule: Rule) -> None:
    """Each rule names where it is from, so that a browser finds it."""
    assert rule.sources
    assert all(source.startswith("https://") and " " not in source and "#" not in source for source in rule.sources)


def test_rule_sources_are_spelled_out() -> None:
    """A thread, a page of the kernel's documentation and a whole address each become an address."""
    assert RULES["RST001"].sources[0] == "https://github.com/QubesOS/qubes-issues/issues/3262"
    assert "https://docs.kernel.org/driver-api/vfio.html" in RULES["IOM001"].sources


def test_rule_remedies_cover_every_boot_loader() -> None:
    """A remedy by a kernel argument is told for each way to set it, whatever host asks."""
    general, *ways = RULES["IOM002"].remedies

    assert "intel_iommu=off" in general
    assert len(ways) == len(WAYS)
    assert any("rpm-ostree kargs --append-if-missing=intel_iommu=on" in way for way in ways)
    assert any("rpm-ostree kargs --delete-if-present=intremap=off" in way for way in RULES["IRQ003"].remedies)


def test_rules_that_weigh_have_a_remedy_or_a_reason() -> None:
    """Only rules that inform, and never weigh, say nothing of what to do."""
    silent = {rule.id for rule in RULES.values() if not rule.remedies}

    assert silent == {"HST003", "HST004", "HST006", "IOM003", "IOM006", "IRQ004", "VFI004", "PCI004", "CON001", "LCK001"}
