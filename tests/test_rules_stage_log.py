"""What the kernel says in a stage: whose fault it is, and how much it weighs."""

from __future__ import annotations

import pytest

from harness.core.finding import Severity
from harness.facts.pci import PciDevice
from harness.rules.rule import HOST
from harness.rules.stage_log import judge_lines, way_to

CARD, PORT, OTHER = "0000:05:00.0", "0000:00:1c.7", "0000:06:00.0"
OWN = way_to(PciDevice(CARD, "1033:0194", path=f"/sys/devices/pci0000:00/{PORT}/{CARD}"))
INFORMATION, CONDITION, FAILURE = Severity.INFORMATION, Severity.CONDITION, Severity.FAILURE
FAULT = "DMAR: [DMA Read NO_PASID] Request device [{}] fault addr 0x1000 [fault reason 0x06] PTE Read access is not set"


@pytest.mark.parametrize(
    ("line", "rule", "severity", "subject"),
    [
        pytest.param(f"xhci_hcd {CARD}: xHCI host controller not responding, assume dead", "XHC001", FAILURE, CARD, id="dead"),
        pytest.param(f"xhci_hcd {OTHER}: HC died; cleaning up", "XHC001", INFORMATION, OTHER, id="another-dead"),
        pytest.param(FAULT.format("0x05:0x00.0"), "IOM005", FAILURE, CARD, id="fault"),
        pytest.param("DMAR:[DMA Write] Request device [05:00.0] fault addr 0", "IOM005", FAILURE, CARD, id="old-fault"),
        pytest.param(FAULT.format("06:00.0"), "IOM005", INFORMATION, OTHER, id="fault-of-another"),
        pytest.param(f"vfio-pci {CARD}: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x0b", "IOM005", FAILURE, CARD, id="amd"),
        pytest.param("AMD-Vi: Event logged [IO_PAGE_FAULT device=05:00.0 domain=0x0", "IOM005", FAILURE, CARD, id="old-amd"),
        pytest.param("DMAR: DRHD: handling fault status reg 2", "IOM005", CONDITION, HOST, id="fault-of-nobody"),
        pytest.param(f"pcieport {PORT}: AER: Corrected error received: {CARD}", "AER001", CONDITION, CARD, id="corrected"),
        pytest.param(f"pcieport {PORT}: AER: Corrected error received: id=00e7", "AER001", CONDITION, PORT, id="port"),
        pytest.param(f"pcieport {PORT}: AER: Uncorrected (Fatal) error received: {CARD}", "AER001", FAILURE, CARD, id="fatal"),
        pytest.param(
            f"pcieport {PORT}: AER: Uncorrected (Fatal) error received: {OTHER}", "AER001", INFORMATION, OTHER, id="beside"
        ),
        pytest.param(f"vfio-pci {CARD}: not ready 1023ms after FLR; waiting", "RST002", CONDITION, CARD, id="reset"),
        pytest.param("usb usb4-port1: over-current condition", "USB001", INFORMATION, HOST, id="usb-of-nobody"),
        pytest.param("BUG: kernel NULL pointer dereference, address: 0010", "LOG002", FAILURE, HOST, id="oops"),
    ],
)
def test_line_weighs(line: str, rule: str, severity: Severity, subject: str) -> None:
    """What the controller or the kernel itself suffers counts as it stands; what another device suffers only informs."""
    (found,) = judge_lines([line], OWN)

    assert (found.rule, found.severity, found.subject) == (rule, severity, subject)
    assert found.evidence[0].text == line
    assert found.remedy or severity is INFORMATION


def test_lines_of_a_guest_are_all_ours() -> None:
    """A guest has the controller and nothing else: what its kernel complains of is the controller's, whatever address it has."""
    found = judge_lines(
        ["xhci_hcd 0000:02:00.0: HC died; cleaning up", "usb 2-1: device not accepting address 2, error -71"], None
    )

    assert [(each.rule, each.severity) for each in found] == [("XHC001", FAILURE), ("USB001", CONDITION)]


def test_lines_make_one_finding_for_each_device() -> None:
    """Many lines about one device are one finding with their number, the worst first; the announcement of a fault is none."""
    lines = ["DMAR: DRHD: handling fault status reg 2", FAULT.format("06:00.0"), *[FAULT.format("05:00.0")] * 9]

    found = judge_lines(lines, OWN)

    assert [(each.subject, each.severity) for each in found] == [(CARD, FAILURE), (OTHER, INFORMATION)]
    assert found[0].message.endswith("(9 lines)")


def test_suppressed_messages_are_counted() -> None:
    """What the rate limit swallowed is added up; what audit left out is nobody's fault."""
    lines = [
        "dmar_fault: 12 callbacks suppressed",
        "kauditd_printk_skb: 5 callbacks suppressed",
        "dmar_fault: 30 callbacks suppressed",
    ]

    (found,) = judge_lines(lines, OWN)

    assert (found.rule, found.severity, found.message) == ("LOG001", INFORMATION, "the kernel suppressed 42 more messages")


def test_ordinary_lines_make_no_finding() -> None:
    """A controller on its way to a guest and back is no fault."""
    lines = [
        f"vfio-pci {CARD}: resetting",
        f"vfio-pci {CARD}: reset done",
        f"xhci_hcd {CARD}: remove, state 4",
        "usb 4-1: USB disconnect",
    ]

    assert judge_lines(lines, OWN) == ()
