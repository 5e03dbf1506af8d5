"""IOMMU groups from texts, faults from the log, and what sysfs says against both."""

from __future__ import annotations

import pytest

from harness.core.capture import Capture, Item, Status
from harness.facts.disagreement import Disagreement
from harness.facts.faults import Fault, parse_faults
from harness.facts.groups import has_all_numbers, is_cut, parse_group_listing, parse_group_log
from harness.facts.host import GROUPS, HostFacts, read_facts
from harness.facts.iommu import LISTING, group_of
from harness.facts.log import LOG
from tests.captures import INTEL_BOARD, Files, make_capture, without

TWO = {"1": ("0000:00:01.0", "0000:01:00.0"), "13": ("0000:00:14.0",)}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("13 0000:00:14.0\n1 0000:00:01.0\n1 0000:01:00.0\n", id="pairs"),
        pytest.param("13\t00:14.0 USB controller\n1\t00:01.0 PCI bridge\n1\t01:00.0\n", id="pairs-described"),
        pytest.param(
            "".join(
                f"/sys/kernel/iommu_groups/{pair}\n"
                for pair in ("13/devices/0000:00:14.0", "1/devices/0000:00:01.0", "1/devices/0000:01:00.0")
            ),
            id="find",
        ),
        pytest.param(
            "/sys/kernel/iommu_groups/1/devices:\ntotal 0\n"
            "lrwxrwxrwx 1 root root 0 Nov 22 10:00 0000:00:01.0 -> ../../../../devices/pci0000:00/0000:00:01.0\n"
            "lrwxrwxrwx 1 root root 0 Nov 22 10:00 0000:01:00.0 -> ../../../../devices/pci0000:00/0000:00:01.0/0000:01:00.0\n\n"
            "/sys/kernel/iommu_groups/13/devices:\n0000:00:14.0\n",
            id="ls",
        ),
        pytest.param(
            "IOMMU Group 1:\n\t00:01.0 PCI bridge [0604]: X\n\t01:00.0 VGA\nIOMMU Group 13:\n\t00:14.0 USB", id="script"
        ),
        pytest.param(
            "IOMMU Group 1 00:01.0 PCI bridge\nIOMMU Group 1 01:00.0 VGA\nIOMMU Group 13 00:14.0 USB", id="script-one-line"
        ),
        pytest.param(
            "Group 1:\t[8086:1901]     00:01.0  Bridge\n\t[10de:2184] [R] 01:00.0  VGA\n"
            "Group 13:\t[8086:a12f] [R] 00:14.0 USB\nUSB:\t[1d6b:0002] Bus 001",
            id="script-ids",
        ),
        pytest.param(
            "Group:  1   0000:00:01.0 Bridge\nGroup:  1   0000:01:00.0 VGA\nGroup:  13  0000:00:14.0 USB", id="script-colon"
        ),
        pytest.param(
            "> IOMMU Group 1:\n>          00:01.0 PCI bridge [0604]: A bridge with a very long\n> name [8086:1901] (rev 07)\n"
            ">          01:00.0 VGA\n> IOMMU Group 13:\n>          00:14.0 USB\n",
            id="mail",
        ),
        pytest.param("IOMMU Group 1:\r\n  00:01.0 a\r\n  01:00.0 b\r\nIOMMU Group 13:\r\n  00:14.0 c\r\n", id="crlf"),
    ],
)
def test_groups_of_a_listing(text: str) -> None:
    """The capture's own list, find, ls and the scripts that people pass round give the same groups."""
    assert parse_group_listing(text) == TWO


def test_groups_of_platform_devices() -> None:
    """A device of the board itself is a member by its own name, and makes no PCI device one."""
    assert parse_group_listing("1 fe040000.vop\n0 MSFT0201:00\n") == {"0": ("MSFT0201:00",), "1": ("fe040000.vop",)}
    assert parse_group_listing("/sys/kernel/iommu_groups/1/devices/fe040000.vop") == {"1": ("fe040000.vop",)}


@pytest.mark.parametrize(
    "text", ["", "\n", "no such file\n", "1\n", "group\n", "00:14.0 USB controller\n", "find: '/sys': denied\n", "1 2\n"]
)
def test_groups_of_other_text(text: str) -> None:
    """Text that lists no groups gives none."""
    assert parse_group_listing(text) == {}


@pytest.mark.parametrize(
    "text", ["1 0000:00:01.0\n13 0000:0a:1", "1 0000:00:01.0\n13", "/sys/kernel/iommu_groups/13/devices/0000:00:1"]
)
def test_groups_of_a_cut_listing(text: str) -> None:
    """A list that ends within a line has lost a member: half an address is none."""
    assert is_cut(text)
    assert "13" not in parse_group_listing(text)
    assert not is_cut("1 0000:00:01.0\n13 fe040000.vop\n")


def test_groups_of_a_log() -> None:
    """The kernel's lines, before and since 5.3, give the groups; one that left is in none, one that came back in its last."""
    lines = (
        "iommu: Adding device 0000:00:01.0 to group 0",
        "iommu: Adding device 0000:00:02.0 to group 1 (direct mapping)",
        "pci 0000:00:14.0: Adding to iommu group 2",
        "rockchip-vop fe040000.vop: Adding to iommu group 3",
        "vfio-pci 0000:00:14.0: Removing from iommu group 2",
        "iommu: Removing device 0000:00:02.0 from group 1",
        "pci 10000:e0:06.0: Adding to iommu group 4",
        "pci 0000:00:14.0: Adding to iommu group 5",
        "pci 0000:00:15.0: Adding to iommu gro",
    )

    assert parse_group_log(lines) == {
        "0": ("0000:00:01.0",),
        "3": ("fe040000.vop",),
        "4": ("10000:e0:06.0",),
        "5": ("0000:00:14.0",),
    }


def test_groups_numbers_without_a_gap() -> None:
    """Groups are counted from 0: a missing number is a missing line."""
    assert has_all_numbers(["0", "2", "1"])
    assert not has_all_numbers(["0", "2"])


def read(**items: str) -> HostFacts:
    """Read the facts of a host that gave a few commands' output."""
    names = {"listing": LISTING, "log": LOG}
    return read_facts(Capture({names[key]: Item(Status.READ, text.encode()) for key, text in items.items()}), {})


WHOLE = "[0.1] Linux version 6.1\n[0.2] BIOS-e820: x\n[0.3] {}\n[0.4] Run /init as init process\n"


def test_groups_come_from_the_list_first() -> None:
    """Without sysfs the list gives the groups, which proves that DMA is remapped; without a list the log does."""
    log = WHOLE.format("pci 0000:00:14.0: Adding to iommu group 0")
    listed, logged = read(listing="7 0000:00:14.0\n", log=log), read(log=log)

    assert (listed.iommu.groups, listed.iommu.groups_source) == ({"7": ("0000:00:14.0",)}, LISTING)
    assert (logged.iommu.groups, logged.iommu.groups_source) == ({"0": ("0000:00:14.0",)}, LOG)
    assert listed.iommu.dma_remapping == logged.iommu.dma_remapping == "yes"
    assert GROUPS not in listed.unread
    assert GROUPS not in logged.unread
    assert group_of(listed.iommu, "0000:00:14.0") == "7"
    assert group_of(listed.iommu, "0000:00:15.0") is None


@pytest.mark.parametrize(
    "items",
    [
        pytest.param({"listing": "7 0000:00:14.0\n8 0000:0"}, id="cut-list"),
        pytest.param({"log": "[0.3] pci 0000:00:14.0: Adding to iommu group 0\n"}, id="piece-of-a-log"),
        pytest.param({"log": WHOLE.format("pci 0000:00:14.0: Adding to iommu group 3")}, id="lost-lines"),
        pytest.param({"listing": ""}, id="empty-list"),
        pytest.param({}, id="nothing"),
    ],
)
def test_groups_that_may_be_more(items: dict[str, str]) -> None:
    """What a cut list, a piece of a log or nothing at all does not show may be there: the groups count as unread."""
    facts = read(**items)

    assert GROUPS in facts.unread
    assert not facts.iommu.groups_complete


def test_groups_made_up_prove_nothing() -> None:
    """Where VFIO may work without an IOMMU a list of groups proves no remapping, and on POWER neither."""
    switch: Files = {"sys/module/vfio/parameters/enable_unsafe_noiommu_mode": "Y", LISTING: "0 0000:00:14.0\n"}

    assert read_facts(make_capture(switch), {}).iommu.dma_remapping == "unknown"
    assert read(listing="0 0000:00:14.0\n", log="[0.1] IOMMU table initialized, x\n").iommu.dma_remapping == "unknown"


def test_groups_regions_beside_a_list() -> None:
    """Reserved regions that the capture has count for a group whose members only the list names."""
    regions = "0x0000000000000000 0x0000000000ffffff direct\n0x00000000fee00000 0x00000000feefffff msi"
    iommu = read_facts(
        make_capture({"sys/kernel/iommu_groups/9/reserved_regions": regions, LISTING: "9 0000:00:1f.3\n"}), {}
    ).iommu

    assert iommu.groups == {"9": ("0000:00:1f.3",)}
    assert iommu.reserved_regions == {"9": tuple(regions.splitlines())}


def test_groups_of_sysfs_win() -> None:
    """Where the list or the log puts a device elsewhere than sysfs does, sysfs is believed and the difference told."""
    listing = "5 0000:01:00.0\n1 0000:00:01.0\n8 0000:00:1f.0\n"
    log = "[0.1] pci 0000:01:00.0: Adding to iommu group 6\n[0.2] pci 0000:0e:00.0: Adding to iommu group 9\n"
    facts = read_facts(make_capture(INTEL_BOARD, {LISTING: listing, LOG: log}), {})

    assert facts.iommu.groups["2"] == ("0000:01:00.0",)
    assert facts.iommu.groups["8"] == ("0000:00:1f.0",)  # of which sysfs says nothing
    assert facts.disagreements == (
        Disagreement("0000:01:00.0", "iommu_group", "2", "5", LISTING),
        Disagreement("0000:01:00.0", "iommu_group", "2", "6", LOG),
    )


def test_groups_that_sysfs_does_not_show() -> None:
    """A list that puts a device into a group although sysfs shows it in none disagrees, and so does a log of an IOMMU at work."""
    bare: Files = {
        **without(INTEL_BOARD, "sys/kernel/iommu_groups", "sys/class/iommu", "sys/bus/pci/devices"),
        "sys/class/iommu": "",
        "sys/kernel/iommu_groups": "",
        "sys/bus/pci/devices/0000:01:00.0/class": "0x0c0330",
        LISTING: "2 0000:01:00.0\n",
        LOG: "[0.1] DMAR: dmar0: Using Queued invalidation\n",
    }
    facts = read_facts(make_capture(bare), {})

    assert facts.iommu.dma_remapping == "no"
    assert [item.source for item in facts.iommu.dma_evidence] == ["/sys/class/iommu", "/sys/kernel/iommu_groups"]
    assert facts.disagreements == (
        Disagreement("0000:01:00.0", "iommu_group", "none", "2", LISTING),
        Disagreement("host", "dma_remapping", "no", "yes", LOG),
    )


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("DMAR:[DMA Read] Request device [05:00.0] fault addr fffff000 ", ("DMAR", "0000:05:00.0")),
        ("DMAR: [DMA Read] Request device [05:00.0] fault addr 1000 [fault reason 06] PTE Read", ("DMAR", "0000:05:00.0")),
        ("DMAR: [DMA Write] Request device [05:00.0] PASID ffffffff fault addr 1000", ("DMAR", "0000:05:00.0")),
        ("DMAR: [DMA Read NO_PASID] Request device [0x05:0x1f.3] fault addr 0x1000", ("DMAR", "0000:05:1f.3")),
        ("DMAR: [DMA Write PASID 0x2] Request device [05:1f.3] fault addr 0x1000", ("DMAR", "0000:05:1f.3")),
        ("DMAR: [INTR-REMAP] Request device [e0:1e.0] fault index 0x0 [fault reason 0x22]", ("DMAR", "0000:e0:1e.0")),
        ("INTR-REMAP: Request device [[e0:1e.0] fault index 2", ("DMAR", "0000:e0:1e.0")),
        ("AMD-Vi: Event logged [IO_PAGE_FAULT device=05:00.0 domain=0x0001 address=0x1000]", ("AMD-Vi", "0000:05:00.0")),
        ("AMD-Vi: Event logged [IO_PAGE_FAULT device=0001:05:00.0 domain=0x0001]", ("AMD-Vi", "0001:05:00.0")),
        ("vfio-pci 0000:05:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x0001 address=0x1000]", ("AMD-Vi", "0000:05:00.0")),
        ("xhci_hcd 0000:05:00.0: Event logged [IO_PAGE_FAULT domain=0x0000 address=0x1000]", ("AMD-Vi", "0000:05:00.0")),
        ("AMD-Vi: Event logged [ILLEGAL_DEV_TABLE_ENTRY device=05:00.0 pasid=0x00000]", ("AMD-Vi", "0000:05:00.0")),
        ("iommu ivhd0: AMD-Vi: Event logged [INVALID_DEVICE_REQUEST device=0000:05:00.0 pasid=0]", ("AMD-Vi", "0000:05:00.0")),
        ("arm-smmu-v3 arm-smmu-v3.0.auto: event 0x10 received:", ("SMMU", "")),
        ("arm-smmu-v3 a: event: F_TRANSLATION client: 0000:05:00.0 sid: 0x500", ("SMMU", "0000:05:00.0")),
        ("arm-smmu 9050000.smmu: Unhandled context fault: fsr=0x402, iova=0x1000", ("SMMU", "")),
    ],
)
def test_fault_formats(line: str, fault: tuple[str, str]) -> None:
    """A fault is read in the words of every kernel, its device in our spelling."""
    (found,) = parse_faults([line])

    assert (found.unit, found.device, found.line) == (*fault, line)
    assert found.interrupt is ("INTR-REMAP" in line)


@pytest.mark.parametrize(
    "line",
    [
        "kauditd_printk_skb: 5 callbacks suppressed",
        "usb 1-1: fault addr",
        "DMAR: Host address width 39",
        "traps: demo[7] general protection fault",
        "EXT4-fs error: Event logged",
    ],
)
def test_fault_decoys(line: str) -> None:
    """What only sounds like a fault is none."""
    assert parse_faults([line]) == ()


def test_fault_suppressed_are_counted() -> None:
    """What the kernel's rate limit swallowed is counted with the fault before it, or is one itself where there is none."""
    fault = "DMAR: [DMA Read] Request device [05:00.0] fault addr 1000"
    status = "DMAR: DRHD: handling fault status reg 2"
    counted = parse_faults([status, fault, "dmar_fault: 12 callbacks suppressed", status, "dmar_fault: 3 callbacks suppressed"])
    amd = "amd_iommu_report_page_fault: 6 callbacks suppressed"

    assert counted == (Fault("DMAR", "0000:05:00.0", fault, 15),)
    assert parse_faults([amd]) == (Fault("AMD-Vi", "", amd, 6),)
    assert parse_faults([status, status]) == (Fault("DMAR", "", status),)


def test_fault_limit() -> None:
    """The first 50 faults are kept, and what was suppressed behind them still counts."""
    lines = [f"AMD-Vi: Event logged [IO_PAGE_FAULT device=05:00.0 address={number}]" for number in range(60)]

    faults = parse_faults([*lines, "iommu_print_event: 7 callbacks suppressed"])

    assert (len(faults), faults[-1].line, faults[-1].suppressed) == (50, lines[49], 7)
