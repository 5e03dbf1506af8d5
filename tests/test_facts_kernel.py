"""Processor, kernel, board, and what the host can start a guest with."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from harness.core.capture import Item, Status
from harness.facts.cpu import parse_cpuinfo
from harness.facts.kernel import parse_os_release, read_board, read_kernel
from harness.facts.modules import parse_module_listing, read_kvm, read_qemu_version, read_vfio
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
