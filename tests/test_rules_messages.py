"""What QEMU, libvirt and the kernel print, explained by a rule."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.rules.messages import explain_messages
from harness.rules.registry import RULES
from tests.corpus import pieces, score

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


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        pytest.param("vfio 0000:05:00.0: group 12 is not viable", "GRP001", id="group"),
        pytest.param("vfio_dma_map(0x55, 0x0, 0x80000000, 0x7f) = -12 (Cannot allocate memory)", "MEM001", id="memory"),
        pytest.param("VFIO_MAP_DMA failed: Invalid argument", "RES001", id="reserved"),
        pytest.param("vfio-pci 0000:05:00.0: not ready 1023ms after FLR; waiting", "RST002", id="reset"),
        pytest.param("vfio 0000:05:00.0: no iommu_group found: No such file or directory", "IOM001", id="no-group"),
        pytest.param("vfio_iommu_type1_attach_group: No interrupt remapping support.", "IRQ001", id="interrupts"),
        pytest.param("Could not open '/dev/vfio/12': Permission denied", "VFI003", id="permission"),
        pytest.param("Could not open '/dev/vfio/12': No such file or directory", "PCI002", id="not-bound"),
        pytest.param("*** The driver 'xhci_hcd' is occupying your device 0000:05:00.0.", "PCI002", id="occupied"),
    ],
)
def test_message_is_explained(text: str, rule: str) -> None:
    """A line that stands among others leads to the rule that says why and what to do, and is quoted."""
    found = explain_messages(f"QEMU 10.0.0 monitor\n{text}\n")

    assert [(each.line, each.rule) for each in found] == [(text, rule)]
    assert RULES[rule].remedy


def test_message_that_is_unknown() -> None:
    """What no rule knows is explained by none."""
    assert explain_messages("Hello\x00\n\u202e world") == ()


def test_message_is_told_once() -> None:
    """The same meaning is told once, also where libvirt puts QEMU's lines into one."""
    said = r"error: vfio 0000:01:00.0: group 1 is not viable\nPlease ensure all devices within the iommu_group are bound to"

    assert len(explain_messages(said)) == 1


def test_corpus_of_messages(record_property: Callable[[str, object], None]) -> None:
    """Every message that users met is explained by the rule about its cause."""
    found = {piece.path.stem: explain_messages(piece.read().decode()) for piece in pieces("errors")}
    judged = [(name, [each.rule for each in found.get(name, ())][:1], [rule]) for name, rule in REAL.items()]
    score(record_property, "errors", judged)
