"""What QEMU, libvirt and the kernel print, explained by a rule."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.core.finding import Severity
from harness.rules.messages import MESSAGES, explain_messages
from harness.rules.registry import RULES
from tests.corpus import pieces, score
from tests.said import ORDINARY, SAID

REAL = {
    "libvirt-kubevirt-group-not-viable": "GRP001",
    "qemu-cannot-reset": "RST001",
    "qemu-group-not-viable-usb-x58": "GRP001",
    "qemu-vfio-dma-map-einval": "RES001",
    "rmrr-11-mapping-newkernel": "RES001",
    "rmrr-ineligible-oldstyle": "RES001",
    "vfio-bar-restore-aer": "RST002",
    "vfio-probe-22-no-iommu-rk3399": "IOM001",
    "vfio-probe-22-x299-dmar-parse-failure": "IOM001",
    "xen-amdvi-error-init": "IOM004",
    "xen-no-iommu-libxl": "IOM001",
}
"""What each message that a user met comes from, as the index of the corpus tells it in words."""

TROUBLED = {
    "fac6c2": ["LOG002"],
    "345637": ["LOG002"],
    "7a02aa": ["IOM005", "XHC001"],
    "abeeb8": ["IOM005", "XHC001"],
    "594dbe": ["AER001", "XHC001"],
    "54be0d": ["IOM005"],
    "5a4978": ["IOM005"],
    "1b2306": ["IOM005"],
    "34bd6a": ["LOG002", "XHC001"],
    "fdbf2f": ["XHC001"],
    "938dc4": ["LOG002", "XHC001"],
    "aaaf10": ["IOM005"],
    "f0c396": ["LOG002"],
    "837fbc": ["LOG002"],
    "k5.5-28ad71": ["IOM001", "IOM004"],
}
"""The logs in which a reader finds a failure, by the end of their name."""


@pytest.mark.parametrize(("text", "rule"), SAID)
def test_message_is_explained(text: str, rule: str) -> None:
    """A line that stands among others leads to the rule that says why and what to do, and is quoted."""
    found = explain_messages(f"QEMU 10.0.0 monitor\n{text}\n")

    assert [(each.line, each.rule, each.number, each.times) for each in found] == [(text, rule, 2, 1)]
    assert found[0].remedy or RULES[rule].remedy or RULES[rule].informs


def test_messages_are_all_said() -> None:
    """No meaning is without a line that has it."""
    meant = {found.meaning for text, _ in SAID for found in explain_messages(text)}

    assert {message.meaning for message in MESSAGES} == meant


@pytest.mark.parametrize("line", ORDINARY)
def test_message_of_a_host_that_is_well(line: str) -> None:
    """What a host prints when all is well means nothing more."""
    assert explain_messages(line) == ()


def test_message_that_is_unknown() -> None:
    """What no rule knows is explained by none."""
    assert explain_messages("Hello\x00\n\u202e world") == ()


def test_message_is_told_once() -> None:
    """The same meaning is told once, also where libvirt puts QEMU's lines into one."""
    said = r"error: vfio 0000:01:00.0: group 1 is not viable\nPlease ensure all devices within the iommu_group are bound to"

    assert len(explain_messages(said)) == 1


def test_messages_of_a_long_log() -> None:
    """Each meaning is told once, with its first line and how often it is there, however many there are; what informs is last."""
    fault = "DMAR: [DMA Read NO_PASID] Request device [05:00.0] fault addr 0x1000 [fault reason 0x06] x"
    log = [f"dmar_fault: {number} callbacks suppressed" for number in range(3)] + ["systemd[1]: started", fault] * 20_000

    found = explain_messages("\n".join(log))

    assert [(each.rule, each.number, each.times) for each in found] == [("IOM005", 5, 20_000), ("LOG001", 1, 3)]


def test_message_in_a_very_long_line() -> None:
    """Of a line that no screen holds, what surrounds the message is shown."""
    (found,) = explain_messages("x " * 50_000 + "vfio 0000:05:00.0: group 12 is not viable" + " y" * 50_000)

    assert "group 12 is not viable" in found.line
    assert len(found.line) < 500


def test_rules_of_messages_exist() -> None:
    """Every message leads to a rule that there is."""
    assert {message.rule for message in MESSAGES} <= set(RULES)


def test_corpus_of_messages(record_property: Callable[[str, object], None]) -> None:
    """Every message that users met is explained by the rule about its cause."""
    found = {piece.path.stem: explain_messages(piece.read().decode()) for piece in pieces("errors")}
    judged = [(name, [each.rule for each in found.get(name, ())][:1], [rule]) for name, rule in REAL.items()]
    score(record_property, "errors", judged)


def test_corpus_dmesg_is_calm(record_property: Callable[[str, object], None]) -> None:
    """A whole log of a real host tells of a failure only where a reader of it finds one."""
    told = {piece.name: explain_messages(piece.read().decode("utf-8", "replace")) for piece in pieces("dmesg")}
    serious = {message.meaning for message in MESSAGES if message.severity is Severity.FAILURE}
    judged = []
    for name, found in told.items():
        truth = next((TROUBLED[end] for end in TROUBLED if name.endswith(f"{end}.txt")), [])
        judged.append((name, sorted({each.rule for each in found if each.meaning in serious}), truth))

    score(record_property, "dmesg calm", judged)
