"""The rule about keyboards: nobody who works at a host is left without one."""

from __future__ import annotations

from harness.core.finding import Evidence, Severity
from harness.facts.host import HostFacts
from harness.facts.pci import PciDevice
from harness.facts.seat import Seat
from harness.facts.usb import UsbDevice
from harness.rules.losses import shows_usb
from harness.rules.rule import Opinion, Target, bench_line, controller_rule


@controller_rule(
    "INP001",
    title="The only keyboard of a host that is worked at is not on the controller",
    why="With its last keyboard a host can no longer be operated at its own screen; one that is reached by SSH needs none.",
    remedy="plug a keyboard into another controller, or work over SSH",
    source="foxlet/macOS-Simple-KVM#373, https://www.freedesktop.org/software/systemd/man/latest/sd-login.html",
    guards=True,
)
def keyboards(facts: HostFacts, target: Target, controller: PciDevice) -> Opinion:
    """Name the keyboards that go; refuse where they are the last ones, and somebody works at the host itself."""
    taken = [device for address in target.addresses for device in facts.usb_on(address)]
    found = [device for device in taken if device.is_keyboard]
    evidence = tuple(Evidence(f"/sys/bus/usb/devices/{device.name}", f"{device.id} {device.product}".strip()) for device in found)
    if not found and not shows_usb(facts, controller):
        return Opinion(Severity.UNKNOWN, "the host does not show which USB devices are on the controller")
    if not found and (unclear := [device for device in taken if device.may_be_keyboard]):
        message = f"an input device is on the controller, and no text tells whether it is a keyboard: {unclear[0].name}"
        return Opinion(Severity.UNKNOWN, message, tuple(Evidence("lsusb", f"{item.name} {item.id}".strip()) for item in unclear))
    if not found:
        nothing = (Evidence("/sys/bus/usb/devices", f"no boot keyboard behind {controller.address}"),)
        return Opinion(Severity.PASS, "no USB keyboard is on the controller", nothing)
    names = ", ".join(device.name for device in found)
    if _has_others(facts, found, target):
        return Opinion(Severity.INFORMATION, f"a keyboard is on the controller: {names}", evidence)
    return _judge_last(facts, target, found, evidence)


def _judge_last(facts: HostFacts, target: Target, found: list[UsbDevice], evidence: tuple[Evidence, ...]) -> Opinion:
    """Judge the loss of the last keyboards by who works at the host, and by what the bench file allows."""
    message = f"a keyboard is on the controller: {', '.join(device.name for device in found)}, the host's only USB keyboard"
    worked_at, shown = _is_worked_at(facts.seat)
    evidence = (*evidence, shown)
    needed = [device for device in found if not {device.name, device.id} & {name.lower() for name in target.allow.keyboards}]
    if worked_at and needed:
        line = bench_line("allow", "keyboards", [device.name for device in found])
        remedy = f"plug a keyboard into another controller, or work over SSH; or, where it can be spared, {line}"
        return Opinion(Severity.REFUSAL, f"{message}, and somebody works at it", evidence, remedy)
    if worked_at is None and needed:
        return Opinion(Severity.UNKNOWN, f"{message}; who works at it is not shown", evidence)
    return Opinion(Severity.INFORMATION, message, evidence)


def _is_worked_at(seat: Seat) -> tuple[bool | None, Evidence]:
    """Return whether somebody needs the host's own keyboard, None where that is not known, and what shows it."""
    if seat.local:
        return True, Evidence("/run/systemd/sessions", f"session {', '.join(seat.local)} at the host's own screen")
    if seat.session == "local":
        return True, Evidence("SSH_CONNECTION", "not set: this session does not come over SSH")
    if seat.session == "ssh":
        return False, Evidence("SSH_CONNECTION", "set: the host is operated over SSH")
    return None, Evidence("SSH_CONNECTION", "(not read)")


def _has_others(facts: HostFacts, found: list[UsbDevice], target: Target) -> bool:
    """Return whether a keyboard stays: on another controller, or one that is none of USB's, as in a laptop."""
    if any(device.may_be_keyboard and device not in found for device in facts.usb):
        return True
    gone = set(target.addresses)
    return any(not gone & set(keyboard.pci_addresses) for keyboard in facts.seat.keyboards or ())
