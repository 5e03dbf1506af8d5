"""Rules about what the user may do who starts the guest: lock its memory, open VFIO's node."""

from __future__ import annotations

import re

from harness.core.finding import Evidence, Severity
from harness.facts.host import HostFacts
from harness.rules.rule import Opinion, Target, host_rule

_EXCEEDED = re.compile(r"RLIMIT_MEMLOCK \(\d+\) exceeded", re.IGNORECASE)
_LIMITS = "/proc/self/limits"
_NODE = "/dev/vfio/vfio"
_SMALL_GUEST_MIB = 1024
_OVERHEAD_MIB = 1024  # what QEMU maps beside the guest's memory


@host_rule(
    "MEM001",
    title="The user may lock as much memory as a guest has",
    why="VFIO pins all of the guest's memory, and about 1 GiB more; over RLIMIT_MEMLOCK the guest does not start.",
    remedy="raise the limit: `ulimit -l` with /etc/security/limits.conf, LimitMEMLOCK= of the service, or run as root",
    source="cloud-hypervisor/cloud-hypervisor#165, kubevirt/kubevirt#8472, seapath/meta-seapath#166",
)
def memory_lock(facts: HostFacts, target: Target) -> Opinion:
    """Compare the limit with the guest's memory, or with a small guest's; root is not bound by it."""
    limit = facts.kernel.memlock_kib
    shown = "(not read)" if limit is None else "unlimited" if limit < 0 else f"{limit} KiB"
    evidence = (Evidence(_LIMITS, f"Max locked memory: {shown}"),)
    if facts.kernel.root:
        return Opinion(Severity.PASS, "root may lock any memory", (Evidence("/proc/self/status", "Uid: 0"), *evidence))
    if limit is not None and limit < 0:
        return Opinion(Severity.PASS, "the user may lock any memory", evidence)
    guest_mib = target.guest_memory_mib or _SMALL_GUEST_MIB
    if limit is not None:
        severity = Severity.PASS if limit >= (guest_mib + _OVERHEAD_MIB) * 1024 else Severity.CONDITION
        verb = "suits" if severity is Severity.PASS else "is too low for"
        return Opinion(severity, f"the limit of locked memory ({limit // 1024} MiB) {verb} a guest of {guest_mib} MiB", evidence)
    if exceeded := facts.log.find(_EXCEEDED):
        return Opinion(Severity.CONDITION, "the limit of locked memory stopped a guest before", exceeded)
    return Opinion(Severity.UNKNOWN, "the host does not show how much memory the user may lock", evidence)


@host_rule(
    "VFI003",
    title="/dev/vfio/vfio can be opened",
    why="QEMU opens it, and the node of the device's group beside it: a user who may not cannot pass anything.",
    remedy='run as root, or give the user the nodes: a udev rule for SUBSYSTEM=="vfio" with GROUP= and MODE="0660"',
    source="kubevirt/kubevirt#6771, kubevirt/kubevirt#18895",
)
def vfio_node(facts: HostFacts, _: Target) -> Opinion:
    """Look at the node; it comes with the module, so that its absence before the first bind means nothing."""
    node = facts.vfio.node
    evidence = (Evidence(_NODE, node),)
    if node == "accessible":
        return Opinion(Severity.PASS, f"{_NODE} exists and may be opened", evidence)
    if node == "denied":
        return Opinion(Severity.CONDITION, f"{_NODE} may not be opened by this user", evidence)
    if node == "absent":
        return Opinion(Severity.INFORMATION, f"{_NODE} is not there yet: it comes with the module vfio", evidence)
    return Opinion(Severity.UNKNOWN, "the capture does not show the host's device nodes", evidence)
