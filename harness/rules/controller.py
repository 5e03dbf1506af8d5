"""Rules about the controller itself: that it is the right one, and that it can be reset."""

from __future__ import annotations

from harness.core.finding import Evidence, Severity
from harness.core.pci import XHCI_CLASS
from harness.facts.host import HostFacts, find_controllers, find_functions
from harness.facts.pci import PciDevice
from harness.rules.rule import Opinion, Target, controller_rule, host_rule

_PCI = "/sys/bus/pci/devices"
_FLR_BROKEN = {"1022:148c", "1022:149c"}  # they announce it and hang: Linux has a quirk for them since 5.8


@host_rule(
    "PCI001",
    title="Exactly one xHCI controller is what the bench file names",
    why="Addresses move when a card or the firmware changes, and identical cards look alike: the wrong one must never be passed.",
    remedy="name the controller beyond doubt in the bench file: [controller] id, address, subsystem",
    source="QubesOS/qubes-issues#7792, xcp-ng/xcp#412, xcp-ng/xcp#414, projectceladon/vm_manager#20",
    scope="controller",
    required=True,
)
def one_controller(facts: HostFacts, target: Target) -> Opinion:
    """Compare what was asked for with the PCI functions of the host."""
    if target.controller is not None:
        controller = target.controller
        return Opinion(Severity.PASS, f"the controller is {describe(controller)}", (_evidence(controller),))
    if facts.section_timed_out("pci") or not facts.pci:
        return Opinion(Severity.UNKNOWN, "the host did not show its PCI devices")
    fitting = find_functions(facts, id=target.id, address=target.address, subsystem=target.subsystem)
    controllers = tuple(device for device in fitting if device.is_xhci)
    if len(controllers) > 1:
        return _ambiguous(target, controllers)
    if fitting and (target.id or target.address or target.subsystem):
        return _wrong_class(fitting)
    return _not_found(facts, target)


@controller_rule(
    "RST001",
    title="The controller can be reset between owners",
    why="Without a reset the next owner finds the controller as the last one left it: the second start of a guest may fail.",
    remedy="put a card behind a root port, where the bus can be reset; one on the board needs a cold start between owners",
    source="QubesOS/qubes-issues#3262, QubesOS/qubes-issues#4853, QubesOS/qubes-issues#1144, hathach/tinyusb#3789",
)
def reset_method(_facts: HostFacts, _target: Target, controller: PciDevice) -> Opinion:
    """Look at reset_method; the file ``reset`` alone exists for any method and only counts on kernels before 5.15."""
    source = f"{_PCI}/{controller.address}/reset_method"
    if controller.reset_methods:
        methods = " ".join(controller.reset_methods)
        return Opinion(Severity.PASS, f"the controller can be reset by: {methods}", (Evidence(source, methods),))
    if controller.reset_methods is None and controller.resettable:
        evidence = (Evidence(source, "does not exist"), Evidence(f"{_PCI}/{controller.address}/reset", "exists"))
        return Opinion(Severity.PASS, "the controller can be reset; this kernel does not tell by which method", evidence)
    if controller.source != "sysfs" or not controller.resets_known:
        return _told_reset(controller)
    text = "does not exist" if controller.reset_methods is None else "(empty)"
    message = "the controller has no reset method: the next owner finds it as the last one left it"
    return Opinion(Severity.CONDITION, message, (Evidence(source, text),))


def describe(device: PciDevice) -> str:
    """Return a device in words: ``0000:01:00.0 NEC Corporation uPD720200 [1033:0194]``."""
    return " ".join(filter(None, (device.address, device.name, f"[{device.id}]" if device.id else "")))


def _told_reset(controller: PciDevice) -> Opinion:
    """Judge by the capabilities that lspci shows: they tell of the function's own reset, not of power and of the bus."""
    source = "lspci" if controller.source == "sysfs" else controller.source.removeprefix("commands/")
    if controller.flr and controller.id not in _FLR_BROKEN:
        return Opinion(Severity.PASS, "the controller can be reset by: flr", (Evidence(source, "FLReset+"),))
    evidence = (Evidence(source, "tells of no reset that works"),)
    return Opinion(Severity.UNKNOWN, "how else the controller can be reset is shown by sysfs alone", evidence)


def _evidence(device: PciDevice) -> Evidence:
    text = f"id {device.id}, subsystem {device.subsystem or 'none'}, class {device.class_text}, driver {device.driver or 'none'}"
    return Evidence(f"{_PCI}/{device.address}", text)


def _ambiguous(target: Target, controllers: tuple[PciDevice, ...]) -> Opinion:
    addresses = ", ".join(device.address for device in controllers)
    message = f"{len(controllers)} controllers fit {target.wish}: {addresses}"
    remedy = f"pin one in the bench file: [controller] address = one of {addresses}"
    return Opinion(Severity.REFUSAL, message, tuple(map(_evidence, controllers)), remedy)


def _wrong_class(fitting: tuple[PciDevice, ...]) -> Opinion:
    listed = ", ".join(f"{describe(device)} (class {device.class_text})" for device in fitting)
    message = f"what the bench file names is no xHCI controller (class {XHCI_CLASS:06x}): {listed}"
    return Opinion(Severity.REFUSAL, message, tuple(map(_evidence, fitting)))


def _not_found(facts: HostFacts, target: Target) -> Opinion:
    """Tell a missing controller from one that moved: there another device sits at the address, or it sits elsewhere."""
    others = find_controllers(facts)
    evidence = tuple(map(_evidence, others)) or (Evidence(_PCI, f"no function of class {XHCI_CLASS:06x}"),)
    occupant = facts.find_pci(target.address) if target.address else None
    if occupant is not None:
        there = f"{describe(occupant)}, subsystem {occupant.subsystem or 'none'}"
        message = f"at the address is {there}, not {target.wish}: addresses moved"
        return Opinion(Severity.REFUSAL, message, (_evidence(occupant), *evidence))
    moved = find_controllers(facts, id=target.id, subsystem=target.subsystem) if target.id or target.subsystem else ()
    if moved:
        places = ", ".join(device.address for device in moved)
        return Opinion(
            Severity.REFUSAL, f"nothing is at {target.address}, but what is named is at {places}: addresses moved", evidence
        )
    listed = ", ".join(map(describe, others)) or "none"
    return Opinion(Severity.FAILURE, f"no PCI function fits {target.wish}; xHCI controllers of the host: {listed}", evidence)
