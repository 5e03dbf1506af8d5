"""Rules about what a guest runs on: the processor, KVM and QEMU."""

from __future__ import annotations

from harness.core.finding import Evidence, Severity
from harness.facts.host import HostFacts
from harness.rules.rule import Opinion, Target, host_rule


@host_rule(
    "CPU001",
    title="The processor has hardware virtualization (vmx or svm)",
    why="Without it KVM cannot run a guest; the guest is emulated, which is slow but still shows whether the passthrough works.",
    remedy="enable Intel VT-x or AMD SVM in the firmware's setup; on a virtual board give its processor the flag (-cpu max)",
    source="cloud-hypervisor/cloud-hypervisor#5805",
)
def virtualization_flag(facts: HostFacts, _: Target) -> Opinion:
    """Look for the flag in /proc/cpuinfo."""
    flag = facts.cpu.virtualization
    if flag:
        return Opinion(
            Severity.PASS, f"the processor has {flag}", (Evidence("/proc/cpuinfo", f"{facts.cpu.model}, flags: {flag}"),)
        )
    if facts.section_timed_out("cpu"):
        return Opinion(Severity.UNKNOWN, "/proc/cpuinfo could not be read in time")
    evidence = Evidence("/proc/cpuinfo", f"{facts.cpu.model}, flags: neither vmx nor svm")
    return Opinion(Severity.CONDITION, "the processor shows neither vmx nor svm: the guest runs emulated", (evidence,))


@host_rule(
    "KVM001",
    title="/dev/kvm can be opened",
    why="QEMU runs the guest on the processor only through /dev/kvm. That it works too is shown by the guest's boot.",
    remedy="load kvm_intel or kvm_amd (`modprobe kvm_amd`), and let the user into the group kvm",
    source="Linux, Documentation/virt/kvm/api.rst",
)
def kvm_device(facts: HostFacts, _: Target) -> Opinion:
    """Look for the node and the right to open it."""
    if facts.kvm.accessible:
        return Opinion(Severity.PASS, "/dev/kvm exists and may be opened", (Evidence("/dev/kvm", "readable and writable"),))
    if facts.section_timed_out("devices"):
        return Opinion(Severity.UNKNOWN, "/dev/kvm could not be looked at in time")
    if facts.kvm.present:
        evidence = Evidence("/dev/kvm", "exists, permission denied")
        return Opinion(Severity.CONDITION, "/dev/kvm may not be opened by this user: the guest runs emulated", (evidence,))
    return Opinion(Severity.CONDITION, "there is no /dev/kvm: the guest runs emulated", (Evidence("/dev/kvm", "does not exist"),))


@host_rule(
    "QEM001",
    title="QEMU is installed on the host",
    why="The guest that receives the controller is a QEMU on the host.",
    remedy="install QEMU for x86 on the host (Debian: qemu-system-x86, Fedora: qemu-kvm)",
    source="QEMU, docs/system/invocation",
)
def qemu(facts: HostFacts, _: Target) -> Opinion:
    """Look for what QEMU says of its version; its absence says nothing about the board."""
    if facts.qemu_version:
        evidence = Evidence("qemu-system-x86_64 --version", facts.qemu_version)
        return Opinion(Severity.PASS, "QEMU is installed", (evidence,))
    if facts.section_timed_out("qemu"):
        return Opinion(Severity.UNKNOWN, "QEMU did not tell its version in time")
    evidence = Evidence("qemu-system-x86_64 --version", "no such program in PATH, nor /usr/libexec/qemu-kvm")
    return Opinion(Severity.UNKNOWN, "there is no QEMU on the host: no guest can be started", (evidence,))
