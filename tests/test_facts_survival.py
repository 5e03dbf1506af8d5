"""Logs, lists and processors that are cut off anywhere or damaged: whatever comes, facts are read from it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.capture import Capture, Item, Status
from harness.facts.host import HostFacts, read_facts
from tests.corpus import VARIABLE, pieces

LOG = """\
[    0.000000] Linux version 6.1.0-demo (b@h)
[    0.000000] Command line: root=/dev/sda1 intel_iommu=on
[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009ffff] usable
[    0.010000] ACPI: DMAR 0x000000005AB00000 000088 (v01 DEMO   BOARD    00000002      01000013)
[    0.020000] DMAR: dmar0: reg_base_addr fed90000 ver 1:0 cap d0000000000000 ecap f000da
[    0.030000] DMAR: RMRR base: 0x000000a2000000 end: 0x000000a2000fff
[    0.040000] pci 0000:00:14.0: Adding to iommu group 2
[    0.050000] Run /init as init process
[    9.000000] DMAR: [DMA Read NO_PASID] Request device [05:00.0] fault addr 0x1000
Nov 22 17:21:00 host kernel: [   10.0] AMD-Vi: Event logged [IO_PAGE_FAULT device=05:00.0 domain=0x1]
[   11.000000] dmar_fault: 12 callbacks suppressed
"""
OURS = {
    "commands/dmesg": LOG,
    "commands/iommu-groups": "1 0000:00:01.0\n/sys/kernel/iommu_groups/2/devices/0000:00:14.0\nIOMMU Group 3:\n\t00:1f.0 x\n",
    "proc/cpuinfo": "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu vmx\nbogomips : 1\n",
    "proc/interrupts": "      CPU0\n  4:   9  IR-IO-APIC   4-edge  ttyS0\n 24:   1  IR-PCI-MSIX-0000:01:00.0  0-edge  xhci_hcd\n",
}
FOLDERS = {"dmesg": "commands/dmesg", "iommu_groups": "commands/iommu-groups", "cpuinfo": "proc/cpuinfo"}
DAMAGE = st.tuples(st.floats(0, 1), st.floats(0, 1), st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=20))


def damage(data: bytes, begin: float, end: float, flips: list[tuple[float, int]]) -> bytes:
    """Return what lies between two places, each a share of the whole, with bytes flipped."""
    first, last = sorted((int(begin * len(data)), int(end * len(data))))
    damaged = bytearray(data[first:last])
    for place, bits in flips if damaged else []:
        damaged[min(int(place * len(damaged)), len(damaged) - 1)] ^= bits
    return bytes(damaged)


def read(items: dict[str, bytes]) -> HostFacts:
    """Read the facts of a host that gave these items."""
    return read_facts(Capture({name: Item(Status.READ, data) for name, data in items.items()}), {})


def assert_sound(facts: HostFacts) -> None:
    """Require that every answer is one of those that rules know."""
    assert facts.iommu.dma_remapping in {"yes", "no", "unknown"}
    assert facts.iommu.interrupt_remapping in {"yes", "no", "n/a", "unknown"}
    assert facts.iommu.vendor in {"intel", "amd", "arm", "other", "none", "unknown"}
    assert all(members for members in facts.iommu.groups.values())


@given(st.fixed_dictionaries(dict.fromkeys(OURS, DAMAGE)))
def test_survival_of_our_own(damages: dict[str, tuple[float, float, list[tuple[float, int]]]]) -> None:
    """Each text, cut at both ends and with bytes flipped, is read without an error."""
    assert_sound(read({name: damage(OURS[name].encode(), *how) for name, how in damages.items()}))


@given(st.binary(max_size=2000), st.sampled_from(sorted(OURS)))
def test_survival_of_bytes(data: bytes, name: str) -> None:
    """Bytes that are no text at all are read without an error."""
    assert_sound(read({name: data}))


@given(st.integers(0, len(LOG)))
def test_survival_never_invents_a_no(end: int) -> None:
    """A log that is cut off anywhere never says that DMA is not remapped, if the whole one says it is."""
    assert read({"commands/dmesg": LOG[:end].encode()}).iommu.dma_remapping in {"unknown", "yes"}


@pytest.mark.skipif(VARIABLE not in os.environ, reason=f"{VARIABLE} names no folder of real hosts' data")
@given(st.data())
def test_survival_of_real_hosts(data: st.DataObject) -> None:
    """Real hosts' texts, damaged likewise, are read without an error."""
    small = [piece for piece in pieces(*FOLDERS) if Path(piece.path).stat().st_size < 200_000]
    piece = data.draw(st.sampled_from(small))

    assert_sound(read({FOLDERS[piece.name.split("/", maxsplit=1)[0]]: damage(piece.read(), *data.draw(DAMAGE))}))
