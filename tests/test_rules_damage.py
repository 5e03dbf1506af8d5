"""No damage to a capture makes the rules raise, and none makes a host better than it was."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from harness.core.capture import Capture, Item, Status
from harness.facts.host import HostFacts, read_facts
from harness.facts.kernel import Kernel
from harness.facts.log import KernelLog
from harness.rules.blast import find_blast
from harness.rules.registry import RULES
from harness.rules.rule import Target
from harness.rules.verdict import Readiness, judge_controllers
from tests.captures import CARD, INTEL_BOARD, make_capture, usb_stick

WHOLE = make_capture(INTEL_BOARD, usb_stick(CARD["intel"]))
NAMES = sorted(WHOLE.items)
GONE = st.sampled_from([Status.ABSENT, Status.DENIED, Status.TIMED_OUT])
TEXT = st.text(alphabet=string.printable + "\N{REPLACEMENT CHARACTER}", max_size=40)


def judge_all_of(facts: HostFacts) -> list[Readiness | None]:
    """Judge a host by everything that there is, and return what its controllers are."""
    verdict = judge_controllers(facts)
    for item in verdict.controllers:
        assert find_blast(facts, item.controller).sentence
        assert all(finding.message for finding in item.findings)
    return [item.readiness for item in verdict.controllers]


def damage(capture: Capture, name: str, item: Item) -> Capture:
    """Return the capture with one item replaced."""
    return Capture({**capture.items, name: item}, capture.taken)


@given(st.sampled_from(NAMES), GONE)
def test_damage_of_an_item_that_is_gone(name: str, status: Status) -> None:
    """An item that was not read never raises."""
    judge_all_of(read_facts(damage(WHOLE, name, Item(status)), {}))


@given(st.sampled_from(["commands/dmesg", "proc/cmdline", "proc/interrupts", "proc/cpuinfo", "etc/os-release"]), st.data())
def test_damage_of_a_text_that_is_cut(name: str, data: st.DataObject) -> None:
    """A text that is cut off anywhere never raises."""
    text = WHOLE.items[name].data
    end = data.draw(st.integers(0, len(text)))

    judge_all_of(read_facts(damage(WHOLE, name, Item(Status.READ, text[:end])), {}))


@given(st.lists(TEXT, max_size=6), TEXT, TEXT, TEXT)
def test_damage_of_words(lines: list[str], cmdline: str, release: str, regions: str) -> None:
    """Whatever words stand in the log, the command line, the kernel's name and the regions, each rule gives its finding."""
    facts = read_facts(WHOLE, {})
    kernel = replace(facts.kernel, cmdline=cmdline, release=release, distribution_id=regions)
    iommu = replace(facts.iommu, reserved_regions={"2": tuple(regions.splitlines())})
    facts = replace(facts, kernel=kernel, iommu=iommu, log=KernelLog("read", lines=tuple(lines)))

    for target in (Target(), Target(facts.find_pci(CARD["intel"]))):
        assert [rule.judge(facts, target).rule for rule in RULES.values()] == list(RULES)


def test_damage_never_makes_ready() -> None:
    """No item that is taken away from a host without interrupt remapping makes it ready."""
    weak = damage(WHOLE, "proc/interrupts", Item(Status.READ, b" CPU0\n 4: 1 IO-APIC 4-edge ttyS0\n"))

    for name in NAMES:
        if name not in {"proc/interrupts", "commands/dmesg"}:
            for status in (Status.ABSENT, Status.DENIED, Status.TIMED_OUT):
                assert Readiness.READY not in judge_all_of(read_facts(damage(weak, name, Item(status)), {}))


def test_damage_of_everything() -> None:
    """A host of which nothing is known gives a finding by each rule."""
    assert judge_all_of(HostFacts()) == []
    assert judge_all_of(HostFacts(kernel=Kernel(cmdline="x" * 9999))) == []
