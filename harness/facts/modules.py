"""KVM, VFIO, QEMU and other programs: what the host can start a guest with, and what the suites use there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from harness.core.capture import Capture, Item, Status
from harness.facts.sysfs import exists, read_names

_UNSAFE = "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
_NO_IOMMU = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
_IDLE_D3 = "sys/module/vfio_pci/parameters/disable_idle_d3"
_NESTED = ("sys/module/kvm_intel/parameters/nested", "sys/module/kvm_amd/parameters/nested")
# modules.builtin names a path without its dependencies, modules.dep puts a colon behind it, modinfo gives an absolute path.
_BUILTIN = re.compile(r"^[^/:][^:]*\.ko$")
_TRUE = {"Y", "y", "1"}
_OPTION = re.compile(r"vfio|xhci|pci[-_]stub|kvm")
_IDS_ARGUMENT = re.compile(r"^(?:vfio[-_]pci|pci[-_]stub)\.ids=(.*)$")
_IDS_OPTION = re.compile(r"^options\s+(?:vfio[-_]pci|pci[-_]stub)\s(?:.*\s)?ids=(\S+)")
_ID = re.compile(r"^[0-9a-fA-F]{4}:[0-9a-fA-F]{4}")


class Kvm(msgspec.Struct, frozen=True):
    """/dev/kvm: whether it exists, and whether the probe's user may open it. That it works is for a boot to show.

    ``asked``: the host was asked for it, so that one that is not present is not there.
    """

    present: bool = False
    accessible: bool = False
    nested: bool = False
    asked: bool = False


class Vfio(msgspec.Struct, frozen=True):
    """vfio-pci: ``available`` is loaded, module, builtin, missing or unknown; and the two switches that make it unsafe.

    A switch is None where nobody asked; one of a module that is not loaded is off. ``node`` is /dev/vfio/vfio: accessible,
    denied, absent or unknown. ``claimed_ids`` (``1033:0194``) are those that the command line or modprobe.d gives to vfio-pci or
    pci-stub, ``options`` the lines of modprobe.d that speak of VFIO, xHCI or KVM.
    """

    available: str = "unknown"
    unsafe_interrupts: bool | None = None
    noiommu: bool | None = None
    disable_idle_d3: bool | None = None
    node: str = "unknown"
    claimed_ids: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def read_kvm(capture: Capture) -> Kvm:
    """Read the device node and the nesting switch."""
    node = capture.get("dev/kvm")
    nested = any(capture.text(name) in _TRUE for name in _NESTED)
    return Kvm(present=exists(node), accessible=node.status is Status.READ, nested=nested, asked=capture.asked("dev/kvm"))


def read_vfio(capture: Capture) -> Vfio:
    """Read where vfio-pci is, its switches, and what is to be given to it at boot."""
    options = read_module_options(capture)
    words = (capture.text("proc/cmdline") or "").split()
    return Vfio(
        available=_available(capture),
        unsafe_interrupts=_read_switch(capture, _UNSAFE),
        noiommu=_read_switch(capture, _NO_IOMMU),
        disable_idle_d3=_read_switch(capture, _IDLE_D3),
        node=_read_node(capture, "dev/vfio/vfio"),
        claimed_ids=tuple(dict.fromkeys((*_ids_of_arguments(words), *_ids_of_options(options)))),
        options=options,
    )


def read_xhci_module(capture: Capture) -> str:
    """Return whether the host's xHCI driver for PCI is ``loaded``, ``builtin`` or ``unknown``.

    A driver that is built in takes its controllers before any module or option of modprobe.d can.
    """
    modules = capture.text("proc/modules") or capture.text("commands/lsmod")
    if re.search(r"^xhci_pci ", modules or "", re.MULTILINE) or exists(capture.get("sys/module/xhci_pci/initstate")):
        return "loaded"
    # Before Linux 3.18 there was one module, xhci_hcd, for both.
    if re.search(r"^xhci_hcd ", modules or "", re.MULTILINE):
        return "loaded"
    return "builtin" if modules and "xhci_hcd" in read_names(capture, "sys/bus/pci/drivers") else "unknown"


def read_module_options(capture: Capture) -> tuple[str, ...]:
    """Return the lines of modprobe.d that speak of VFIO, xHCI or KVM, without comments."""
    found = []
    for folder in ("etc/modprobe.d", "lib/modprobe.d"):
        for name in capture.children(folder):
            lines = (capture.text(f"{folder}/{name}") or "").splitlines() if name.endswith(".conf") else []
            found += [" ".join(line.split()) for line in lines if _OPTION.search(line) and not line.lstrip().startswith("#")]
    return tuple(found)


def read_qemu_version(capture: Capture) -> str:
    """Return the first line that the host's QEMU prints of itself, empty without one."""
    return next(iter((capture.text("commands/qemu") or "").splitlines()), "")


def read_tools(capture: Capture) -> tuple[str, ...] | None:
    """Return which of the programs that the suites use the host has, None if it did not say."""
    text = capture.text("commands/tools")
    return None if text is None else tuple(text.split())


def _available(capture: Capture) -> str:
    if re.search(r"^vfio_pci ", capture.text("proc/modules") or capture.text("commands/lsmod") or "", re.MULTILINE):
        return "loaded"
    if "vfio-pci" in read_names(capture, "sys/bus/pci/drivers"):
        return "builtin"
    return parse_module_listing(capture.get("commands/vfio-modules"))


def parse_module_listing(item: Item) -> str:
    """Tell ``module``, ``builtin``, ``missing`` or ``unknown`` from lines of modules.dep and modules.builtin, or from modinfo."""
    if item.status is not Status.READ:
        return "unknown"
    lines = item.text.splitlines()
    if any(line == "(builtin)" or _BUILTIN.match(line) for line in lines):
        return "builtin"
    return "module" if lines else "missing"


def _read_switch(capture: Capture, name: str) -> bool | None:
    text = capture.text(name)
    if text is not None:
        return text in _TRUE
    return False if capture.get(name).status is Status.ABSENT and capture.asked(name) else None


def _read_node(capture: Capture, name: str) -> str:
    status = capture.get(name).status
    if status is Status.READ:
        return "accessible"
    if status is Status.DENIED:
        return "denied"
    return "absent" if status is Status.ABSENT and capture.asked(name) else "unknown"


def _ids_of_arguments(words: Iterable[str]) -> Iterator[str]:
    for word in words:
        if match := _IDS_ARGUMENT.match(word):
            yield from _parse_ids(match[1])


def _ids_of_options(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if match := _IDS_OPTION.match(line):
            yield from _parse_ids(match[1])


def _parse_ids(text: str) -> Iterator[str]:
    """Yield vendor and device of each id in a list; a subsystem and a class that follow one are left out."""
    for part in text.strip("\"'").split(","):
        if match := _ID.match(part):
            yield match[0].lower()
