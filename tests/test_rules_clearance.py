"""Clearance: every refusal and every guard's silence stop whoever wants to take the controller, and nothing else does."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from harness.core.capture import Status
from harness.core.errors import BlockedError, RefusedError
from harness.core.finding import Finding, Severity
from harness.facts.host import read_facts
from harness.rules.clearance import clear, find_obstacle
from harness.rules.registry import RULES, judge, judge_all
from harness.rules.rule import find_target
from tests.captures import CARD, INTEL_BOARD, Files, group, make_capture, pci_function, usb_stick
from tests.test_rules_cases import CASES, keep, writing

FOLDER = f"sys/bus/pci/devices/{CARD['intel']}"
STICK = usb_stick(CARD["intel"])
LATE = Status.TIMED_OUT
SILENT: dict[str, Files] = {
    "HST001": {"sections/tools": LATE},
    "STO001": STICK | {"proc/swaps": Status.DENIED},
    "NET001": {"proc/net/route": Status.DENIED},
    "GRP001": {"sys/kernel/iommu_groups/2/devices": Status.DENIED},
    "INP001": CASES["INP001"].fires | {"commands/ssh-connection": Status.DENIED},
    "HLD001": {f"{FOLDER}/driver": "/sys/bus/pci/drivers/vfio-pci", "commands/holders": Status.DENIED},
    "HLD002": STICK | {"commands/holders": Status.DENIED},
}
UNREAD = {"STO002": writing(b"", unread=("wipefs of /dev/sda",))}
"""Guards about what is asked of the host only where somebody wants it."""
UNANSWERED = {"PCI001", "PCI002"}
"""Guards that are silent only where sysfs does not show the controller, or its driver."""


def take(*layers: Files) -> list[str]:
    """Ask for clearance on the board with VT-d; return the addresses that may be bound."""
    facts = read_facts(make_capture(INTEL_BOARD, *layers), {})
    return [device.address for device in clear(facts, find_target(facts, id="1033:0194"))]


def test_clearance_of_a_good_board() -> None:
    """Where nothing stands against it, the controller may be taken, with an idle stick on it."""
    assert take(STICK) == [CARD["intel"]]


def test_clearance_with_a_sibling() -> None:
    """A sibling that the bench file names is cleared with the controller."""
    layer = group("2", CARD["intel"], "0000:01:00.1") | pci_function(
        "0000:01:00.1", "10de:0fb9", "040300", driver="snd_hda_intel", group="2"
    )
    facts = read_facts(make_capture(INTEL_BOARD, layer), {})

    members = clear(facts, find_target(facts, id="1033:0194", siblings=["0000:01:00.1"]))

    assert [device.address for device in members] == [CARD["intel"], "0000:01:00.1"]
    with pytest.raises(RefusedError, match="also holds"):
        clear(facts, find_target(facts, id="1033:0194"))


@pytest.mark.parametrize("driver", ["vfio-pci", "pci-stub"])
def test_clearance_of_a_reserved_controller(driver: str) -> None:
    """A controller that is reserved already, and held by nobody, may be taken over."""
    assert take({f"{FOLDER}/driver": f"/sys/bus/pci/drivers/{driver}"}) == [CARD["intel"]]


def test_guards_are_all_tried_here() -> None:
    """Every guard has a host on which it does not know, or cannot be asked without a controller."""
    assert {rule.id for rule in RULES.values() if rule.guards} == {*SILENT, *UNREAD, *UNANSWERED}


@pytest.mark.parametrize("rule", [*SILENT, *UNREAD])
def test_clearance_is_no_guess(rule: str) -> None:
    """The silence of each guard alone is a refusal that names it; the same host with the answer is cleared or refused by it."""
    facts = UNREAD.get(rule, keep)(read_facts(make_capture(INTEL_BOARD, SILENT.get(rule, {})), {}))
    target = find_target(facts, id="1033:0194")
    by_others = [finding for finding in judge_all(facts, target) if finding.rule != rule]

    assert RULES[rule].judge(facts, target).severity is Severity.UNKNOWN
    assert [finding.rule for finding in by_others if find_obstacle([finding])] == []
    with pytest.raises(RefusedError, match=rf"not known \({rule}\)"):
        clear(facts, target)


def test_clearance_without_what_sysfs_shows() -> None:
    """A list of devices that did not come, and a driver that no text tells, are refused by the guards about the controller."""
    late = read_facts(make_capture(INTEL_BOARD, {"sections/pci": LATE}), {})
    shown = read_facts(make_capture(INTEL_BOARD), {})
    untold = replace(shown, pci=tuple(replace(device, driver=None, driver_known=False) for device in shown.pci))

    found = [find_obstacle([judge("PCI001", late, find_target(late, id="dead:beef"))])]
    found.append(find_obstacle([judge("PCI002", untold, find_target(untold, id="1033:0194"))]))

    assert all(isinstance(error, RefusedError) for error in found)


@pytest.mark.parametrize("rule", [name for name, case in CASES.items() if case.severity is Severity.REFUSAL])
def test_clearance_is_refused(rule: str) -> None:
    """Each refusal that a rule can give stops the taking, with the rule's message and what to do."""
    facts = CASES[rule].change(read_facts(make_capture(INTEL_BOARD, CASES[rule].fires), {}))
    target = find_target(facts, id="1033:0194")
    with pytest.raises(RefusedError) as caught:
        clear(facts, target)

    finding = RULES[rule].judge(facts, target)
    assert (caught.value.message, caught.value.remedy) == (finding.message, finding.remedy)
    assert finding.remedy


def test_clearance_of_what_is_no_use() -> None:
    """A board that fails is blocked, and one on which nothing fits too; a condition or an unknown of no guard stops nothing."""
    with pytest.raises(BlockedError, match="VFI001"):
        take(CASES["VFI001"].fires)
    with pytest.raises(BlockedError, match="PCI001"):
        take({f"{FOLDER}/vendor": "0x1111"})
    assert take({f"{FOLDER}/reset_method": Status.ABSENT, f"{FOLDER}/reset": Status.ABSENT, "commands/qemu": Status.ABSENT})


def test_clearance_weighs_a_refusal_before_all() -> None:
    """What would harm the host is told before what is not known, and that before what fails."""
    failure, silence, refusal = (
        Finding("IOM001", Severity.FAILURE, "host", "f"),
        Finding("STO001", Severity.UNKNOWN, "host", "s"),
        Finding("NET001", Severity.REFUSAL, "host", "r"),
    )

    told = [find_obstacle(findings) for findings in ([failure, silence, refusal], [failure, silence], [failure], [])]

    assert [error.message if error else "" for error in told] == [
        "r",
        "what the host would lose is not known (STO001): s",
        "blocked by readiness (IOM001): f",
        "",
    ]
