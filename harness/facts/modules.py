"""KVM, VFIO, QEMU and other programs: what the host can start a guest with, and what the suites use there."""

from __future__ import annotations

import re

import msgspec

from harness.core.capture import Capture, Item, Status
from harness.facts.sysfs import exists, read_names

_UNSAFE = "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
_NO_IOMMU = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
_NESTED = ("sys/module/kvm_intel/parameters/nested", "sys/module/kvm_amd/parameters/nested")
# modules.builtin names a path without its dependencies, modules.dep puts a colon behind it, modinfo gives an absolute path.
_BUILTIN = re.compile(r"^[^/:][^:]*\.ko$")
_TRUE = {"Y", "y", "1"}


class Kvm(msgspec.Struct, frozen=True):
    """/dev/kvm: whether it exists, and whether the probe's user may open it. That it works is for a boot to show.

    ``asked``: the capture looked at device nodes, so that one that is not there is really missing.
    """

    present: bool = False
    accessible: bool = False
    nested: bool = False
    asked: bool = False


class Vfio(msgspec.Struct, frozen=True):
    """vfio-pci: ``available`` is loaded, module, builtin, missing or unknown; and the two switches that make it unsafe.

    ``node`` tells of /dev/vfio/vfio: accessible, denied, absent or unknown.
    """

    available: str = "unknown"
    unsafe_interrupts: bool = False
    noiommu: bool = False
    node: str = "unknown"


def read_kvm(capture: Capture) -> Kvm:
    """Read the device node and the nesting switch."""
    node = capture.get("dev/kvm")
    nested = any(capture.text(name) in _TRUE for name in _NESTED)
    return Kvm(present=exists(node), accessible=node.status is Status.READ, nested=nested, asked=_nodes_asked(capture))


def read_vfio(capture: Capture) -> Vfio:
    """Read where vfio-pci is, and its switches."""
    return Vfio(
        available=_available(capture),
        unsafe_interrupts=capture.text(_UNSAFE) in _TRUE,
        noiommu=capture.text(_NO_IOMMU) in _TRUE,
        node=_node(capture),
    )


def read_qemu_version(capture: Capture) -> str:
    """Return the first line that the host's QEMU prints of itself, empty without one."""
    return next(iter((capture.text("commands/qemu") or "").splitlines()), "")


def read_tools(capture: Capture) -> tuple[str, ...] | None:
    """Return which of the programs that the suites use the host has, None if it did not say."""
    text = capture.text("commands/tools")
    return None if text is None else tuple(text.split())


def _nodes_asked(capture: Capture) -> bool:
    section = capture.get("sections/devices").status
    return section is Status.READ or (section is not Status.TIMED_OUT and capture.has("dev"))


def _node(capture: Capture) -> str:
    states = {Status.READ: "accessible", Status.DENIED: "denied"}
    absent = "absent" if _nodes_asked(capture) else "unknown"
    return states.get(capture.get("dev/vfio/vfio").status, absent)


def _available(capture: Capture) -> str:
    if re.search(r"^vfio_pci ", capture.text("proc/modules") or "", re.MULTILINE):
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
