"""The processor as /proc/cpuinfo shows it, on several architectures."""

from __future__ import annotations

import pytest

from harness.facts.cpu import Cpu, parse_cpuinfo

PC = (
    "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel name\t: Demo CPU\n"
    "flags\t\t: fpu vmx sse2 hypervisor\nbogomips\t: 1\n"
)


def test_cpu_of_a_pc() -> None:
    """A PC tells its maker, its model and its features; in a virtual machine the flag says so."""
    assert parse_cpuinfo(f"{PC}\n{PC}") == Cpu(
        "Demo CPU", "GenuineIntel", "vmx", 2, hypervisor=True, architecture="x86", features_known=True
    )
    assert not parse_cpuinfo(PC.replace(" hypervisor", "")).hypervisor
    assert parse_cpuinfo(PC.replace("vmx", "svm")).virtualization == "svm"


@pytest.mark.parametrize(
    ("text", "architecture", "model", "threads"),
    [
        pytest.param("processor : 0\nFeatures : fp asimd\nCPU implementer : 0x41\n", "arm", "", 1, id="arm64"),
        pytest.param("processor : 0\nmodel name : ARMv7 rev 5\nCPU architecture: 7\n", "arm", "ARMv7 rev 5", 1, id="arm"),
        pytest.param("processor : 0\nhart : 1\nisa : rv64imafdc\n", "other", "", 1, id="riscv"),
        pytest.param("processor : 0\ncpu : POWER9, altivec supported\n", "other", "POWER9, altivec supported", 1, id="power"),
        pytest.param("processor : 0\nCPU Family : Demo-64bit\nModel Name : Demo-A\n", "other", "Demo-A", 1, id="loongarch"),
        pytest.param("vendor_id : IBM/S390\nfeatures : esan3\nprocessor 0: version = FF\n", "other", "", 0, id="s390"),
        pytest.param("cpu : Demo UltraSparc\nncpus probed : 2\n", "other", "Demo UltraSparc", 0, id="sparc"),
        pytest.param("", "", "", 0, id="nothing"),
        pytest.param("processor : 0\n", "", "", 1, id="cut"),
    ],
)
def test_cpu_of_other_architectures(text: str, architecture: str, model: str, threads: int) -> None:
    """Other architectures are known by their own keys, and have no x86 feature."""
    cpu = parse_cpuinfo(text)

    assert (cpu.architecture, cpu.model, cpu.threads, cpu.virtualization) == (architecture, model, threads, "")


@pytest.mark.parametrize(
    ("text", "known"),
    [
        pytest.param(PC, True, id="whole"),
        pytest.param(PC[: PC.index("vmx")], False, id="cut-within"),
        pytest.param(PC[: PC.index("flags")], False, id="cut-before"),
        pytest.param("flags : fpu\n", True, id="last-line"),
        pytest.param("", False, id="nothing"),
    ],
)
def test_cpu_features_known(text: str, *, known: bool) -> None:
    """A feature is missing only if the whole line is there; one that is cut may have lost it."""
    assert parse_cpuinfo(text).features_known is known
