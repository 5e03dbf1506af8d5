"""All facts together: the document that they make, and the questions that can be put to it."""

from __future__ import annotations

import json

import msgspec
import pytest

from harness.core.capture import Capture, Status
from harness.core.pci import PciAddress
from harness.facts.host import HostFacts, find_controllers, read_facts
from tests.captures import AMD_BOARD, CARD, INTEL_BOARD, make_capture, pci_function, usb_stick

NAMES = {"1033": "NEC Corporation", "1033:0194": "NEC Corporation uPD720200"}


def test_host_intel_board() -> None:
    """A board with VT-d is read whole: the IOMMU's maker comes from its unit, not from the AMD processor."""
    facts = read_facts(make_capture(INTEL_BOARD), NAMES)

    assert (facts.board.vendor, facts.board.name, facts.board.firmware) == ("Example Boards", "Model Q", "Example Firmware 1.2")
    assert (facts.cpu.vendor, facts.cpu.virtualization) == ("AuthenticAMD", "svm")
    assert (facts.kernel.release, facts.kernel.distribution) == ("6.12.1-test", "Example Linux 13")
    assert (facts.iommu.vendor, facts.iommu.dma_remapping, facts.iommu.interrupt_remapping) == ("intel", "yes", "yes")
    assert facts.qemu_version == "QEMU emulator version 10.0.0 (Example)"
    assert facts.gaps == ()


def test_host_amd_board() -> None:
    """A board with AMD-Vi is read whole; its card has no reset file at all."""
    facts = read_facts(make_capture(AMD_BOARD), NAMES)
    card = facts.find_pci(CARD["amd"])

    assert (facts.iommu.vendor, facts.iommu.dma_remapping, facts.iommu.interrupt_remapping) == ("amd", "yes", "yes")
    assert card is not None
    assert (card.reset_methods, card.resettable, card.group) == (None, False, "4")


def test_host_facts_are_one_json_document() -> None:
    """The facts become JSON that people can read, and become the same facts again."""
    facts = read_facts(make_capture(INTEL_BOARD, usb_stick(CARD["intel"])), NAMES)

    document = json.loads(json.dumps(msgspec.to_builtins(facts)))

    card = next(device for device in document["pci"] if device["address"] == CARD["intel"])
    assert (card["id"], card["subsystem"], card["name"]) == ("1033:0194", "1af4:1100", "NEC Corporation uPD720200")
    assert document["iommu"]["groups"]["2"] == [CARD["intel"]]
    assert msgspec.convert(document, HostFacts) == facts


def test_host_without_anything() -> None:
    """An empty capture gives facts that claim nothing."""
    facts = read_facts(Capture(), {})

    assert (facts.iommu.vendor, facts.iommu.dma_remapping, facts.iommu.interrupt_remapping) == ("unknown",) * 3
    assert (facts.vfio.available, facts.kvm.present, facts.pci, facts.disks) == ("unknown", False, (), ())


def test_host_gaps_are_named() -> None:
    """What was denied or cut off is named; a section that was cut off can be asked for."""
    facts = read_facts(make_capture({"commands/dmesg": Status.DENIED, "sections/pci": Status.TIMED_OUT}), {})

    assert facts.gaps == ("commands/dmesg denied", "sections/pci timed out")
    assert facts.section_timed_out("pci")
    assert not facts.section_timed_out("usb")


TWO_CARDS = {
    **INTEL_BOARD,
    **pci_function("0000:02:00.0", "1033:0194", "0c0330", subsystem_vendor="0x1043", subsystem_device="0x8413", group="2"),
    **pci_function("0000:03:00.0", "1912:0014", "0c0330"),
    **pci_function("0000:00:1d.0", "8086:2934", "0c0320"),
    **pci_function("0000:00:1f.6", "8086:31aa", "0c03fe"),
}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        pytest.param({}, ["0000:01:00.0", "0000:02:00.0", "0000:03:00.0"], id="any"),
        pytest.param({"id": "1033:0194"}, ["0000:01:00.0", "0000:02:00.0"], id="id"),
        pytest.param({"id": "1033:0194", "subsystem": "1043:8413"}, ["0000:02:00.0"], id="subsystem"),
        pytest.param({"address": "03:00.0"}, ["0000:03:00.0"], id="short-address"),
        pytest.param({"address": "0000:03:00.0", "id": "1033:0194"}, [], id="moved"),
        pytest.param({"address": "00:1d.0"}, [], id="ehci"),
        pytest.param({"address": "00:1f.6"}, [], id="device-controller"),
    ],
)
def test_host_controllers_are_found(asked: dict[str, str], found: list[str]) -> None:
    """Only xHCI controllers are found, and only those that fit all that was asked for."""
    facts = read_facts(make_capture(TWO_CARDS), {})

    assert [device.address for device in find_controllers(facts, **asked)] == found


def test_host_questions_by_address() -> None:
    """Disks and USB devices are found by an address, as text or as a value."""
    facts = read_facts(make_capture(TWO_CARDS, usb_stick(CARD["intel"])), {})
    card = PciAddress.parse(CARD["intel"])

    assert [disk.name for disk in facts.disks_on(card)] == ["sda"]
    assert [device.name for device in facts.usb_on(CARD["intel"])] == ["2-1"]
    assert facts.disks_on("0000:02:00.0") == ()
