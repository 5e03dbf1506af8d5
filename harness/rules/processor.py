"""Rules about what a guest runs on: the processor, KVM and QEMU."""

from __future__ import annotations

import re

from harness.core.finding import Evidence, Severity
from harness.facts.host import HostFacts
from harness.rules.rule import Opinion, Target, host_rule, no_sign

# "kvm: disabled by bios" of old kernels, "x86/cpu: VMX (outside TXT) disabled by BIOS" since 5.6, "SVM disabled (by BIOS) in
# MSR_VM_CR" since 6.6, and what kvm_intel and kvm_amd say when they are loaded.
_DISABLED = re.compile(r"(?:kvm|VMX|SVM).{0,200}(?:disabled|not enabled) \(?(?:by|in) bios\b", re.IGNORECASE)


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
        return Opinion(Severity.UNKNOWN, "/proc/cpuinfo was not read")
    if not facts.cpu.features_known or facts.cpu.architecture not in {"", "x86"}:
        return Opinion(Severity.UNKNOWN, "the host does not show the features of an x86 processor", _model(facts))
    evidence = Evidence("/proc/cpuinfo", f"{facts.cpu.model}, flags: neither vmx nor svm")
    return Opinion(Severity.CONDITION, "the processor shows neither vmx nor svm: the guest runs emulated", (evidence,))


@host_rule(
    "CPU002",
    title="The firmware does not switch virtualization off",
    why="A processor that has vmx or svm may still be forbidden to use it, by a lock that only the firmware's setup can change.",
    remedy="enable Intel VT-x or AMD SVM in the firmware's setup, then switch the power off and on: the lock outlives a reboot",
    source="virt/kvm/api.html, https://www.linux-kvm.org/page/FAQ",
)
def firmware_lock(facts: HostFacts, _: Target) -> Opinion:
    """Look for the log's lines; since Linux 5.6 the flag vmx goes away with the lock, before it stayed."""
    found = facts.log.find(_DISABLED)
    if found:
        return Opinion(Severity.CONDITION, "the firmware switches virtualization off: the guest runs emulated", found)
    return no_sign(facts, "virtualization that the firmware switched off")


@host_rule(
    "KVM001",
    title="/dev/kvm can be opened",
    why="QEMU runs the guest on the processor only through /dev/kvm. That it works too is shown by the guest's boot.",
    remedy="`modprobe kvm_intel`, or kvm_amd on AMD; and let the user into the group kvm",
    source="virt/kvm/api.html",
)
def kvm_device(facts: HostFacts, _: Target) -> Opinion:
    """Look for the node and the right to open it."""
    if facts.kvm.accessible:
        return Opinion(Severity.PASS, "/dev/kvm exists and may be opened", (Evidence("/dev/kvm", "readable and writable"),))
    if facts.section_timed_out("devices"):
        return Opinion(Severity.UNKNOWN, "/dev/kvm was not looked at")
    if facts.kvm.present:
        evidence = Evidence("/dev/kvm", "exists, permission denied")
        return Opinion(Severity.CONDITION, "/dev/kvm may not be opened by this user: the guest runs emulated", (evidence,))
    if facts.kernel.container:
        return Opinion(
            Severity.UNKNOWN, "a container shows no /dev/kvm, unless it is given to it", (Evidence("/dev/kvm", "not shown"),)
        )
    if not facts.kvm.asked:
        return Opinion(Severity.UNKNOWN, "the capture does not show the host's device nodes")
    return Opinion(Severity.CONDITION, "there is no /dev/kvm: the guest runs emulated", (Evidence("/dev/kvm", "does not exist"),))


@host_rule(
    "QEM001",
    title="QEMU is installed on the host",
    why="The guest that receives the controller is a QEMU on the host.",
    remedy="install QEMU for x86 on the host (Debian: qemu-system-x86, Fedora: qemu-kvm)",
    source="https://www.qemu.org/docs/master/system/invocation.html",
    about="suite",
    required=True,
)
def qemu(facts: HostFacts, target: Target) -> Opinion:
    """Look for what QEMU says of its version; its absence says nothing about the board."""
    asked = f"{target.qemu or 'qemu-system-x86_64'} --version"
    if facts.qemu_version:
        evidence = Evidence(asked, facts.qemu_version)
        return Opinion(Severity.PASS, "QEMU is installed", (evidence,))
    if facts.section_timed_out("qemu"):
        return Opinion(Severity.UNKNOWN, "QEMU was not asked for its version, or did not tell it in time")
    if target.qemu:
        evidence = Evidence(asked, "no answer")
        return Opinion(Severity.UNKNOWN, f"the host's QEMU, {target.qemu}, does not tell its version", (evidence,))
    evidence = Evidence(asked, "no such program in PATH, nor /usr/libexec/qemu-kvm")
    return Opinion(Severity.UNKNOWN, "there is no QEMU on the host: no guest can be started", (evidence,))


def _model(facts: HostFacts) -> tuple[Evidence, ...]:
    return (Evidence("/proc/cpuinfo", facts.cpu.model),) if facts.cpu.model else ()
