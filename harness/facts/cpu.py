"""What the processor says of itself. It says nothing of the IOMMU: that is another part, perhaps of another maker."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import msgspec

from harness.core.capture import Capture, Status
from harness.core.text import decode_text

_FEATURES = ("vmx", "svm")
# Keys as each architecture spells them; s390 shares vendor_id with x86, LoongArch writes "CPU Family".
_X86 = {"flags", "cpu family", "apicid", "fpu_exception", "cpuid level"}
_ARM = {"CPU implementer", "CPU architecture", "CPU part"}
_OTHER = {
    "isa",
    "hart",
    "cpu",
    "features",
    "ISA",
    "CPU Family",
    "cpu model",
    "ncpus probed",
    "machine",
    "platform",
    "system type",
}


class Cpu(msgspec.Struct, frozen=True):
    """The first processor: ``virtualization`` is ``vmx``, ``svm`` or empty.

    ``threads`` counts the ``processor: N`` entries (0: it has none, as s390 and sparc, or was not read).
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
    item = capture.get("proc/cpuinfo")
    return parse_cpuinfo(decode_text(item.data) if item.status is Status.READ else "")


def parse_cpuinfo(text: str) -> Cpu:
    """Return the first processor and how many there are; other architectures than x86 give what they name."""
    fields: dict[str, str] = {}
    threads = 0
    for line in text.splitlines():
        key, sign, value = (part.strip() for part in line.partition(":"))
        threads += bool(sign) and key == "processor"
        fields.setdefault(key, value)
    flags = fields.get("flags", "").split()
    # The end of a line that nothing follows may be missing, and with it a feature.
    cut = "" if text.endswith("\n") else text.rpartition("\n")[2].partition(":")[0].strip()
    return Cpu(
        model=fields.get("model name") or fields.get("Model Name") or fields.get("cpu", ""),
        vendor=fields.get("vendor_id", ""),
        virtualization=next((name for name in _FEATURES if name in flags), ""),
        threads=threads,
        hypervisor="hypervisor" in flags,
        architecture=_architecture(fields.keys()),
        features_known=any(fields.get(key) and key != cut for key in ("flags", "Features", "features")),
    )


def _architecture(keys: AbstractSet[str]) -> str:
    return next((name for name, own in (("x86", _X86), ("arm", _ARM), ("other", _OTHER)) if keys & own), "")
