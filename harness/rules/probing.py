"""Rules about the photograph itself: what the host would not say."""

from __future__ import annotations

from harness.core.finding import Evidence, Severity
from harness.facts.host import LISTS, HostFacts
from harness.rules.rule import Opinion, Target, host_rule

_NEEDED_TOOLS = ("fio", "dd", "timeout", "sha256sum")
_RELAYS = ("perl", "python3")
_SHOWN_BY = ("lspci", "lsusb")


@host_rule(
    "HST001",
    title="The host answered everything that was asked",
    why="What could not be read is unknown: a pass that rests on silence is none.",
    remedy="run as root; if a read does not end, look for a hung device in dmesg before anything else",
    source="openshift/sriov-network-operator#498, pop-os/linux#307",
    required=True,
    guards=True,
)
def answers(facts: HostFacts, _: Target) -> Opinion:
    """Name the gaps: what was cut off makes the photograph unsafe, what was denied has its own rules where it matters."""
    late = [gap for gap in facts.gaps if gap.endswith("timed out")]
    denied = [gap for gap in facts.gaps if gap not in late]
    evidence = tuple(_quote(gap) for gap in (*late, *denied))
    if not facts.kernel.release and not facts.pci:
        return Opinion(Severity.UNKNOWN, "the host answered nothing", evidence)
    if late:
        return Opinion(Severity.UNKNOWN, f"{len(late)} answer(s) did not come in time", evidence)
    if denied:
        return Opinion(Severity.INFORMATION, f"the host denied {len(denied)} of the answers", evidence)
    if missing := [name for name, there in _parts(facts).items() if not there]:
        evidence = (Evidence("capture", f"not in it: {', '.join(missing)}"),)
        return Opinion(Severity.INFORMATION, "the capture holds a part of what a host can tell; the rest is unknown", evidence)
    return Opinion(Severity.PASS, "the host answered everything", (Evidence("probe", f"complete, taken {facts.taken}"),))


@host_rule(
    "HST002",
    title="The host has the tools that the suites use",
    why="Speed is measured with fio, content read with dd and sha256sum, waits end with timeout, sockets are relayed.",
    remedy="install them on the host (Debian: fio, coreutils, perl or python3, pciutils, usbutils)",
    source="https://fio.readthedocs.io/en/latest/fio_doc.html",
    about="suite",
    required=True,
)
def tools(facts: HostFacts, _: Target) -> Opinion:
    """Name what is missing: no fault of the board's, but nothing can be proven without."""
    if facts.tools is None:
        return Opinion(Severity.UNKNOWN, "the host did not say which programs it has")
    evidence = (Evidence("command -v", " ".join(facts.tools) or "(none)"),)
    missing = [tool for tool in _NEEDED_TOOLS if tool not in facts.tools]
    missing += [] if any(tool in facts.tools for tool in _RELAYS) else [" or ".join(_RELAYS)]
    if missing:
        return Opinion(Severity.UNKNOWN, f"the host lacks {', '.join(missing)}", evidence)
    if missing := [tool for tool in _SHOWN_BY if tool not in facts.tools]:
        return Opinion(Severity.INFORMATION, f"the host has no {', '.join(missing)}: there is less evidence", evidence)
    return Opinion(Severity.PASS, "the host has every tool that the suites use", evidence)


@host_rule(
    "LCK001",
    title="The kernel is not locked down",
    why="Lockdown (Secure Boot) blocks some tools, but neither VFIO nor this suite, which use plain sysfs.",
    remedy="",
    source="intel/pf-bb-config#1, pop-os/system76-scheduler#50, https://man7.org/linux/man-pages/man7/kernel_lockdown.7.html",
    informs=True,
)
def lockdown(facts: HostFacts, _: Target) -> Opinion:
    """Tell the state of lockdown."""
    state = facts.kernel.lockdown
    evidence = (Evidence("/sys/kernel/security/lockdown", state or "(not shown)"),)
    if not state and facts.log.lockdown:
        evidence = (Evidence("dmesg", f"Kernel is locked down from {facts.log.lockdown}"),)
        return Opinion(Severity.INFORMATION, f"the kernel is locked down ({facts.log.lockdown})", evidence)
    if not state:
        return Opinion(Severity.UNKNOWN, "the kernel does not show whether it is locked down", evidence)
    if state == "none":
        return Opinion(Severity.PASS, "the kernel is not locked down", evidence)
    return Opinion(Severity.INFORMATION, f"the kernel is locked down ({state})", evidence)


def _parts(facts: HostFacts) -> dict[str, bool]:
    """Return what a capture should hold, and whether it does."""
    return {
        "the processor": facts.cpu.features_known or bool(facts.cpu.model),
        "the command line": bool(facts.kernel.cmdline),
        "PCI functions in sysfs": any(device.source == "sysfs" for device in facts.pci),
        "the kernel's log": facts.log.status != "unknown",
        **{name: name not in facts.unread for name in LISTS},
    }


def _quote(gap: str) -> Evidence:
    """Turn ``commands/dmesg denied`` into evidence: the command, or the path."""
    name, _, state = gap.partition(" ")
    return Evidence(name.removeprefix("commands/") if name.startswith("commands/") else f"/{name}", state)
