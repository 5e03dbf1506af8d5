"""What the processor says of itself. It says nothing of the IOMMU: that is another part, perhaps of another maker."""

from __future__ import annotations

import msgspec

from harness.core.capture import Capture

_FEATURES = ("vmx", "svm")


class Cpu(msgspec.Struct, frozen=True):
    """The first processor: ``virtualization`` is ``vmx``, ``svm`` or empty.

    ``hypervisor``: it runs inside a virtual machine. ``architecture`` is ``x86``, ``arm``, ``other`` or empty (unknown).
    ``features_known``: it shows its features, so that one that is not there is really missing.
    """

    model: str = ""
    vendor: str = ""
    virtualization: str = ""
    threads: int = 0
    hypervisor: bool = False
    architecture: str = ""
    features_known: bool = False


def read_cpu(capture: Capture) -> Cpu:
    """Read /proc/cpuinfo."""
    return parse_cpuinfo(capture.text("proc/cpuinfo") or "")


def parse_cpuinfo(text: str) -> Cpu:
    """Return the first processor and how many there are; other architectures than x86 give what they name."""
    fields: dict[str, str] = {}
    threads = 0
    for line in text.splitlines():
        key, _, value = line.partition(":")
        threads += key.strip() == "processor"
        fields.setdefault(key.strip().lower(), value.strip())
    flags = fields.get("flags", "").split()
    return Cpu(
        model=fields.get("model name", ""),
        vendor=fields.get("vendor_id", ""),
        virtualization=next((name for name in _FEATURES if name in flags), ""),
        threads=threads,
        features_known=bool(flags),
    )
