"""Rules about the controller itself: that it is the right one, and that it can be reset."""

from __future__ import annotations

from harness.core.finding import Evidence, Severity
from harness.core.pci import XHCI_CLASS, PciAddress
from harness.facts.host import HostFacts, find_controllers, find_functions
from harness.facts.pci import PciDevice, plain_path
from harness.rules.rule import Opinion, Target, controller_rule, host_rule

_PCI = "/sys/bus/pci/devices"
_FLR_BROKEN = {"1022:148c", "1022:149c"}  # they announce it and hang: Linux has a quirk for them since 5.8


@host_rule(
    "PCI001",
    title="Exactly one xHCI controller is what the bench file names",
    why="Addresses move when a card or the firmware changes, and identical cards look alike: the wrong one must never be passed.",
    remedy="name the controller beyond doubt in the bench file: [controller] id, address, subsystem, path",
    source="QubesOS/qubes-issues#7792, xcp-ng/xcp#412, xcp-ng/xcp#414, projectceladon/vm_manager#20",
    scope="controller",
    required=True,
    guards=True,
)
def one_controller(facts: HostFacts, target: Target) -> Opinion:
    """Compare what was asked for with the PCI functions of the host."""
    if target.controller is not None:
        controller = target.controller
        return Opinion(Severity.PASS, f"the controller is {describe(controller)}", (_evidence(controller),))
    if facts.section_timed_out("pci") or not facts.pci:
        return Opinion(Severity.UNKNOWN, "the host did not show its PCI devices")
    fitting = find_functions(facts, id=target.id, address=target.address, subsystem=target.subsystem, path=target.path)
    controllers = tuple(device for device in fitting if device.is_xhci)
    if len(controllers) > 1:
        return _ambiguous(target, controllers)
    if fitting and (target.id or target.address or target.subsystem or target.path):
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
    path = f", path {device.slot_path}" if device.slot_path else ""
    return Evidence(f"{_PCI}/{device.address}", text + path)


def _ambiguous(target: Target, controllers: tuple[PciDevice, ...]) -> Opinion:
    addresses = ", ".join(device.address for device in controllers)
    message = f"{len(controllers)} controllers fit {target.wish}: {addresses}"
    lines = ", or ".join(f'address = "{device.address}"' for device in controllers)
    remedy = f"pin one in the bench file: [controller] {lines}"
    return Opinion(Severity.REFUSAL, message, tuple(map(_evidence, controllers)), remedy)


def _wrong_class(fitting: tuple[PciDevice, ...]) -> Opinion:
    listed = ", ".join(f"{describe(device)} (class {device.class_text})" for device in fitting)
    message = f"what the bench file names is no xHCI controller (class {XHCI_CLASS:06x}): {listed}"
    return Opinion(Severity.REFUSAL, message, tuple(map(_evidence, fitting)))


def _not_found(facts: HostFacts, target: Target) -> Opinion:
    """Tell a missing controller from one that moved: there another device sits at its place, or it sits elsewhere."""
    others = find_controllers(facts)
    evidence = tuple(map(_evidence, others)) or (Evidence(_PCI, f"no function of class {XHCI_CLASS:06x}"),)
    occupant = _occupant(facts, target)
    if occupant is not None:
        return _judge_occupant(occupant, target, (_evidence(occupant), *evidence))
    place = target.address or target.path
    moved = find_controllers(facts, id=target.id, subsystem=target.subsystem) if target.id or target.subsystem else ()
    if moved and place:
        places = ", ".join(device.address for device in moved)
        message = f"nothing is at {place}, but what is named is at {places}: addresses moved"
        remedy = "see which card it is, then pin it in the bench file: " + " or ".join(map(_pin, moved))
        return Opinion(Severity.REFUSAL, message, evidence, remedy)
    listed = ", ".join(map(describe, others)) or "none"
    return Opinion(Severity.FAILURE, f"no PCI function fits {target.wish}; xHCI controllers of the host: {listed}", evidence)


def _occupant(facts: HostFacts, target: Target) -> PciDevice | None:
    """Return what sits at the pinned place."""
    found = find_functions(facts, address=target.address) if target.address else ()
    found = found or (find_functions(facts, path=target.path) if target.path else ())
    return next(iter(found), None)


def _judge_occupant(found: PciDevice, target: Target, evidence: tuple[Evidence, ...]) -> Opinion:
    """Compare what sits at the pinned place with each pin; what is not shown of it fits no more than it differs."""
    pins = {
        "id": (found.id, (target.id or "").lower()),
        "subsystem": (found.subsystem, (target.subsystem or "").lower()),
        "path": (found.slot_path, plain_path(target.path or "")),
        "address": (found.address, str(PciAddress.parse(target.address)) if target.address else ""),
    }
    hidden = [name for name, (there, pin) in pins.items() if pin and not there and found.source != "sysfs"]
    differing = {name: both for name, both in pins.items() if both[1] and both[0] != both[1] and name not in hidden}
    if not differing:
        return Opinion(Severity.UNKNOWN, f"the host does not show the {', '.join(hidden)} of {describe(found)}", evidence)
    told = "; ".join(f"{name} is {there or 'none'}, the bench file pins {pin}" for name, (there, pin) in differing.items())
    kind = "" if found.is_xhci else f" (class {found.class_text}, no xHCI controller)"
    message = f"at the pinned place is {describe(found)}{kind}, not {target.wish}: {told}: addresses moved"
    remedy = f"find the card again (lspci -D); if this one is meant, in the bench file: {_pin(found)}"
    return Opinion(Severity.REFUSAL, message, evidence, remedy if found.is_xhci else "")


def _pin(device: PciDevice) -> str:
    """Return the lines of a bench file that pin a function."""
    subsystem = f', subsystem = "{device.subsystem}"' if device.subsystem else ""
    path = f', path = "{device.slot_path}"' if device.slot_path else ""
    return f'[controller] address = "{device.address}", id = "{device.id}"{subsystem}{path}'
