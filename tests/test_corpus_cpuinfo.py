"""Real hosts' processors, of many architectures, and their kernels' command lines."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.facts.cpu import Cpu, parse_cpuinfo
from harness.facts.kernel import Kernel
from tests.corpus import Piece, pieces, score

Record = Callable[[str, object], None]

MODELS = {"loongson_3a5000_hv": "Loongson-3A5000-HV"}
"""The index counted ``model name`` in small letters alone; LoongArch writes ``Model Name``."""

ARCHITECTURES = {"arm": "arm", "loongarch": "other", "ppc": "other", "rv64": "other", "s390": "other", "sparc": "other"}


def architecture_of(piece: Piece) -> str:
    """Return the architecture that a piece's name tells: those of PCs name none."""
    return next((ours for theirs, ours in ARCHITECTURES.items() if theirs in piece.name), "x86")


@pytest.mark.parametrize(
    ("key", "find", "truth"),
    [
        pytest.param("processors", lambda cpu: cpu.threads, lambda piece: int(piece.truth["processors"]), id="threads"),
        pytest.param("vendor", lambda cpu: cpu.vendor or "-", lambda piece: piece.truth["vendor"], id="vendor"),
        pytest.param(
            "model",
            lambda cpu: cpu.model or "-",
            lambda piece: next((name for part, name in MODELS.items() if part in piece.name), piece.truth["model"]),
            id="model",
        ),
        pytest.param("vmx", lambda cpu: str(cpu.virtualization == "vmx"), lambda piece: piece.truth["vmx"], id="vmx"),
        pytest.param("svm", lambda cpu: str(cpu.virtualization == "svm"), lambda piece: piece.truth["svm"], id="svm"),
        pytest.param(
            "hypervisor_flag", lambda cpu: str(cpu.hypervisor), lambda piece: piece.truth["hypervisor_flag"], id="hypervisor"
        ),
        pytest.param("architecture", lambda cpu: cpu.architecture, architecture_of, id="architecture"),
        pytest.param(
            "flags",
            lambda cpu: cpu.architecture == "x86" and cpu.features_known,
            lambda piece: piece.truth["flags"] != "0",
            id="features",
        ),
    ],
)
def test_corpus_cpuinfo(
    key: str, find: Callable[[Cpu], object], truth: Callable[[Piece], object], record_property: Record
) -> None:
    """A real host's processor is what its owner's file says."""
    judged = [
        (piece.name, find(parse_cpuinfo(piece.read().decode("utf-8", "replace"))), truth(piece)) for piece in pieces("cpuinfo")
    ]

    score(record_property, f"cpuinfo {key}", judged)


def test_corpus_command_lines(record_property: Record) -> None:
    """The arguments that concern the IOMMU are found in as many real command lines as have them."""
    (piece,) = pieces("cmdlines.txt")
    kernels = [Kernel(cmdline=line) for line in piece.read().decode("utf-8", "replace").splitlines() if line.strip()]
    begins = {"intel_iommu=": 15, "amd_iommu": 3, "iommu=": 5}  # amd_iommu_dump is one of the three
    judged = [
        (key, sum(any(word.startswith(key) for word in kernel.arguments) for kernel in kernels), truth)
        for key, truth in begins.items()
    ]

    score(record_property, "cmdline", [("lines", len(kernels), 175), *judged])
