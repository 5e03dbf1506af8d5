"""Processor, kernel, board, and what the host can start a guest with."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from harness.core.capture import Capture, Item, Status
from harness.facts.cpu import parse_cpuinfo
from harness.facts.host import read_facts
from harness.facts.kernel import parse_memlock, parse_os_release, read_board, read_kernel
from harness.facts.modules import parse_module_listing, read_kvm, read_qemu_version, read_vfio, read_xhci_module
from tests.captures import BASE, Files, make_capture, without

CORPUS = Path(os.environ.get("THROUGHPASS_CORPUS") or "/nonexistent")


@pytest.mark.parametrize(
    ("flags", "virtualization"), [("fpu vmx sse", "vmx"), ("fpu svm npt", "svm"), ("fpu hypervisor vmx_no", ""), ("", "")]
)
def test_cpu_virtualization_is_a_flag(flags: str, virtualization: str) -> None:
    """Only a whole flag counts."""
    assert parse_cpuinfo(f"processor : 0\nflags\t\t: {flags}\n").virtualization == virtualization


def test_cpu_threads_are_counted() -> None:
    """Every processor counts, the first one gives the model."""
    cpu = parse_cpuinfo("processor : 0\nmodel name : A: b\n\nprocessor : 1\nmodel name : C\n")

    assert (cpu.model, cpu.threads) == ("A: b", 2)


@pytest.mark.skipif(not CORPUS.is_dir(), reason="THROUGHPASS_CORPUS names no folder")
def test_cpu_of_real_hosts() -> None:
    """On real hosts, the flag and the count are those that were read by hand."""
    rows = [row.split("\t") for row in (CORPUS / "INDEX.tsv").read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row[2] == "cpuinfo"]
    assert rows
    for name, _, _, truth in rows:
        cpu = parse_cpuinfo((CORPUS / name).read_text(encoding="utf-8", errors="replace"))
        flag = "vmx" if "vmx=True" in truth else "svm" if "svm=True" in truth else ""
        count = re.search(r"processors=(\d+)", truth)
        assert count is not None
        if count[1] != "0":  # 0: a format that does not number them
            assert (cpu.virtualization, cpu.threads) == (flag, int(count[1])), name


def test_kernel_arguments() -> None:
    """The last of several equal arguments wins; one without a value is empty, an absent one None."""
    kernel = read_kernel(make_capture({"proc/cmdline": "quiet intel_iommu=off intel_iommu=on,sm_on"}))

    assert kernel.argument("intel_iommu") == "on,sm_on"
    assert kernel.argument("quiet") == ""
    assert kernel.argument("iommu") is None


def test_kernel_limits_of_the_probe() -> None:
    """Root, container, lockdown, ostree and the memory are told."""
    files: Files = {
        "proc/self/status": "Name:\tx\nUid:\t1000\t1000\t1000\t1000\n",
        "proc/meminfo": "MemTotal:        2048000 kB\nMemFree: 1 kB\n",
        "sys/kernel/security/lockdown": "none [integrity] confidentiality",
        "run/ostree-booted": "",
        ".dockerenv": "",
    }

    kernel = read_kernel(make_capture(BASE, files))

    assert (kernel.root, kernel.container, kernel.lockdown, kernel.ostree, kernel.memory_mib) == (
        False,
        True,
        "integrity",
        True,
        2000,
    )
    assert read_kernel(make_capture(BASE)).root


def test_kernel_release_without_its_own_file() -> None:
    """The release is also in /proc/version."""
    assert read_kernel(make_capture({"proc/version": "Linux version 6.1.0-x (b@c) #1"})).release == "6.1.0-x"


def test_kernel_os_release_is_unquoted() -> None:
    """Quoted, bare, commented and broken lines are read for what they are."""
    text = '# comment\nID=example\nPRETTY_NAME="Example \'Big\' Linux"\nBAD="open\nno equals\n'

    assert parse_os_release(text) == {"ID": "example", "PRETTY_NAME": "Example 'Big' Linux", "BAD": "open"}


def test_board_placeholders_are_no_names() -> None:
    """What firmware says when nobody filled it in is no name: the system's name stands instead."""
    folder = "sys/class/dmi/id"
    files: Files = {
        f"{folder}/board_vendor": "To Be Filled By O.E.M.",
        f"{folder}/board_name": "Default string",
        f"{folder}/sys_vendor": "Maker",
        f"{folder}/product_name": "Product",
    }

    board = read_board(make_capture(files))

    assert (board.vendor, board.name) == ("Maker", "Product")


@pytest.mark.parametrize(
    ("node", "present", "accessible"),
    [({"dev/kvm": ""}, True, True), ({"dev/kvm": Status.DENIED}, True, False), ({}, False, False)],
    ids=["open", "denied", "absent"],
)
def test_kvm_node(node: Files, present: bool, accessible: bool) -> None:  # noqa: FBT001 (a table's columns)
    """A node that may not be opened is present and not accessible."""
    kvm = read_kvm(make_capture(node))

    assert (kvm.present, kvm.accessible) == (present, accessible)


@pytest.mark.parametrize(
    ("layer", "available"),
    [
        pytest.param({"proc/modules": "vfio_pci 1 0 - Live 0x0\n"}, "loaded", id="loaded"),
        pytest.param({"sys/bus/pci/drivers": "pcieport vfio-pci"}, "builtin", id="registered"),
        pytest.param({"commands/vfio-modules": "kernel/vfio-pci.ko.xz: kernel/vfio.ko.xz"}, "module", id="modules.dep"),
        pytest.param({"commands/vfio-modules": "kernel/vfio-pci.ko:"}, "module", id="modules.dep-no-dependency"),
        pytest.param({"commands/vfio-modules": "kernel/vfio-pci.ko"}, "builtin", id="modules.builtin"),
        pytest.param({"commands/vfio-modules": "/lib/modules/6/vfio-pci.ko"}, "module", id="modinfo"),
        pytest.param({"commands/vfio-modules": "(builtin)"}, "builtin", id="modinfo-builtin"),
        pytest.param({"commands/vfio-modules": ""}, "missing", id="missing"),
        pytest.param({"proc/modules": "vfio_pci_core 1 0 - Live 0x0\n"}, "unknown", id="its-library-is-not-it"),
    ],
)
def test_vfio_is_found(layer: Files, available: str) -> None:
    """vfio-pci is found loaded, registered, or as a file; without a listing of files it is unknown."""
    assert read_vfio(make_capture(without(BASE, "proc/modules", "sys/bus/pci/drivers"), layer)).available == available


def test_vfio_listing_that_was_cut_off_is_unknown() -> None:
    """A listing that did not end in time tells nothing."""
    assert parse_module_listing(Item(Status.TIMED_OUT, b"kernel/vfio-pci.ko:")) == "unknown"


def test_vfio_switches() -> None:
    """Both unsafe switches are read; a module that is not loaded has them off."""
    files: Files = {
        "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts": "Y",
        "sys/module/vfio/parameters/enable_unsafe_noiommu_mode": "Y",
    }

    assert read_vfio(make_capture(files)).unsafe_interrupts
    assert read_vfio(make_capture(files)).noiommu
    assert not read_vfio(make_capture()).unsafe_interrupts


def test_qemu_version_is_one_line() -> None:
    """The first line is kept; without QEMU it is empty."""
    assert read_qemu_version(make_capture(BASE)) == "QEMU emulator version 10.0.0 (Example)"
    assert read_qemu_version(make_capture()) == ""


def test_kernel_release_of_uname() -> None:
    """Where nothing of /proc is there, `uname -a` tells the release."""
    assert read_kernel(make_capture({"commands/uname": "Linux board 5.14.0-1 #1 SMP x86_64 GNU/Linux"})).release == "5.14.0-1"


@pytest.mark.parametrize(
    ("files", "xen"),
    [
        pytest.param({}, "", id="none"),
        pytest.param({"proc/xen/capabilities": "control_d", "sys/hypervisor/type": "xen"}, "dom0", id="dom0"),
        pytest.param({"proc/xen/capabilities": "", "sys/hypervisor/type": "xen"}, "domU", id="domU"),
        pytest.param(
            {"sys/hypervisor/type": "xen", "sys/hypervisor/uuid": "00000000-0000-0000-0000-000000000000"}, "dom0", id="no-xenfs"
        ),
        pytest.param(
            {"sys/hypervisor/type": "xen", "sys/hypervisor/uuid": "1bd1f3a1-0000-0000-0000-000000000001"}, "domU", id="uuid"
        ),
        pytest.param({"sys/hypervisor/type": "other"}, "", id="other"),
    ],
)
def test_kernel_under_xen(files: Files, xen: str) -> None:
    """Xen's control domain is told from a guest of Xen, with xenfs or without."""
    assert read_kernel(make_capture(files)).xen == xen


@pytest.mark.parametrize(
    ("line", "kib"),
    [
        ("Max locked memory         8388608              16777216             bytes     ", 8192),
        ("Max locked memory         unlimited            unlimited            bytes     ", -1),
        ("Max open files            1024                 524288               files     ", None),
        ("", None),
    ],
)
def test_kernel_locked_memory(line: str, kib: int | None) -> None:
    """The soft limit counts, -1 is no limit, and without the line it is unknown."""
    assert parse_memlock(f"Limit                     Soft Limit           Hard Limit           Units     \n{line}\n") == kib


def test_kernel_consoles_and_boot() -> None:
    """The consoles in use come from /proc/consoles or, without it, from sysfs; the boot has an identity."""
    files: Files = {
        "proc/consoles": "tty0 -WU (EC p ) 4:1\nttyUSB0 -W- (E p ) 188:0\n",
        "proc/sys/kernel/random/boot_id": "a-b\n",
    }

    kernel = read_kernel(make_capture(files))

    assert (kernel.consoles, kernel.boot_id) == (("tty0", "ttyUSB0"), "a-b")
    assert read_kernel(make_capture({"sys/class/tty/console/active": "tty0 ttyS0\n"})).consoles == ("tty0", "ttyS0")


def test_vfio_ids_that_are_claimed_at_boot() -> None:
    """Ids on the command line and in modprobe.d are told once each, in one spelling, and comments are none."""
    files: Files = {
        "proc/cmdline": "quiet vfio-pci.ids=1033:0194,10DE:13C2:1043:8413 pci-stub.ids=1912:0014 xvfio-pci.ids=dead:beef",
        "etc/modprobe.d/vfio.conf": "# options vfio-pci ids=aaaa:bbbb\noptions vfio_pci  disable_vga=1 ids=1033:0194,8086:1e31\n"
        "softdep xhci_pci pre: vfio-pci\nblacklist pcspkr\n",
        "etc/modprobe.d/old.bak": "options vfio-pci ids=cccc:dddd",
    }

    vfio = read_vfio(make_capture(files))

    assert vfio.claimed_ids == ("1033:0194", "10de:13c2", "1912:0014", "8086:1e31")
    assert vfio.options == ("options vfio_pci disable_vga=1 ids=1033:0194,8086:1e31", "softdep xhci_pci pre: vfio-pci")


@pytest.mark.parametrize(
    ("files", "node"),
    [
        ({"dev/vfio/vfio": ""}, "accessible"),
        ({"dev/vfio/vfio": Status.DENIED}, "denied"),
        ({}, "absent"),
        ({"sections/devices": Status.TIMED_OUT}, "unknown"),
    ],
)
def test_vfio_node(files: Files, node: str) -> None:
    """The node is there, closed, not there, or unknown."""
    assert read_vfio(make_capture(files)).node == node


def test_switches_that_nobody_asked_for_are_unknown() -> None:
    """In a capture of little, a switch is neither on nor off and a node neither there nor not."""
    capture = Capture({"proc/cmdline": Item(Status.READ, b"quiet"), "dev/vfio/vfio": Item(Status.READ)}, scope=())

    facts = read_facts(capture, {})

    assert (facts.vfio.unsafe_interrupts, facts.vfio.noiommu, facts.vfio.disable_idle_d3) == (None, None, None)
    assert (facts.kvm.asked, facts.vfio.node, facts.xhci_module) == (False, "accessible", "unknown")
    assert facts.section_timed_out("devices")


@pytest.mark.parametrize(
    ("files", "state"),
    [
        pytest.param({"proc/modules": "xhci_pci 24576 0 - Live 0x0\n"}, "loaded", id="module"),
        pytest.param({"commands/lsmod": "Module Size Used by\nxhci_pci 24576 0\n"}, "loaded", id="lsmod"),
        pytest.param({"proc/modules": "xhci_hcd 1 0 - Live 0x0\n", "sys/bus/pci/drivers": "xhci_hcd"}, "loaded", id="old-kernel"),
        pytest.param({"sys/module/xhci_pci/initstate": ""}, "loaded", id="sysfs"),
        pytest.param(
            {"proc/modules": "vfio 1 0 - Live 0x0\n", "sys/bus/pci/drivers": "pcieport xhci_hcd"}, "builtin", id="builtin"
        ),
        pytest.param({"sys/bus/pci/drivers": "xhci_hcd"}, "unknown", id="no-list-of-modules"),
        pytest.param({}, "unknown", id="nothing"),
    ],
)
def test_xhci_module(files: Files, state: str) -> None:
    """The driver is built in where it is registered and in no list of modules."""
    assert read_xhci_module(make_capture(files)) == state
