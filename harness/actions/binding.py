"""Taking a controller from its driver, and giving it back: a plan from facts, one command, verified by the driver's link.

The kernel's ``driver_override`` names one device; ``new_id`` would take every card of the same model (field: twin cards lost).
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from harness.core.errors import BenchError, BoardError, RefusedError
from harness.facts.pci import PciDevice
from harness.transport.protocol import Transport

UNBIND_TIMEOUT_S = 60.0
"""A healthy xHCI is given up in well under a second, an emulated one in a few."""

_DEVICES = "/sys/bus/pci/devices"


@dataclass(frozen=True)
class Step:
    """One change of the host: shell text, and the sentence for it."""

    sentence: str
    command: str


@dataclass(frozen=True)
class Plan:
    """Steps in their order, and the driver that the device must have after the last one ("" for none)."""

    address: str
    steps: tuple[Step, ...]
    driver: str


def plan_bind(device: PciDevice, driver: str) -> Plan:
    """Plan the way of a device from the driver that it has to ``driver``; nothing to do gives no steps."""
    if device.driver == driver:
        return Plan(device.address, (), driver)
    steps = (
        load_module(driver),
        write("driver_override", driver, device.address),
        *unbind_steps(device.driver, device.address),
        probe(device.address),
    )
    return Plan(device.address, steps, driver)


def plan_return(found: PciDevice, now: str) -> Plan:
    """Plan the way back to what was found: ``now`` is the driver that the device has at the moment."""
    original = found.driver or ""
    override = found.driver_override or ""
    steps = [*unbind_steps(now, found.address)] if now != original else []
    steps.append(write("driver_override", override, found.address))
    if original and now != original:
        steps.append(probe(found.address))
    return Plan(found.address, tuple(steps), original)


def load_module(driver: str) -> Step:
    """Load a driver's module; one that is built in is there already."""
    return Step(f"load {driver}", f"[ -d /sys/bus/pci/drivers/{driver} ] || modprobe {driver}")


def write(attribute: str, value: str, address: str) -> Step:
    """Write an attribute of the device; an empty value clears driver_override (a lone line end, Linux 3.16 and later)."""
    shown = value or "nothing"
    return Step(f"write {shown} to {attribute}", f"echo '{value}' >{_DEVICES}/{address}/{attribute}")


def unbind_steps(driver: str | None, address: str) -> tuple[Step, ...]:
    """Take the device from its driver, if it has one."""
    if not driver:
        return ()
    return (Step(f"unbind from {driver}", f"echo {address} >{_DEVICES}/{address}/driver/unbind"),)


def probe(address: str) -> Step:
    """Let the kernel look for a driver: it takes the one of driver_override, or the usual one if there is none."""
    return Step("probe for a driver", f"echo {address} >/sys/bus/pci/drivers_probe")


def script(plan: Plan) -> str:
    """Return the whole plan as one command: it names the step that failed, and ends with the driver that is bound."""
    lines = [f"({step.command}) || {{ echo 'throughpass: {step.sentence} failed' >&2; exit 1; }}" for step in plan.steps]
    return "\n".join([*lines, f'link=$(readlink {_DEVICES}/{plan.address}/driver) || link=; echo "${{link##*/}}"'])


def apply_plan(transport: Transport, plan: Plan) -> None:
    """Apply a plan and read the driver back.

    Raises BoardError if the kernel refuses a step or another driver is bound in the end: a write may succeed and do nothing.
    """
    result = transport.run(script(plan), timeout_s=UNBIND_TIMEOUT_S)
    if result.status != 0:
        raise BoardError(f"{plan.address} could not be given to {plan.driver or 'no driver'}", evidence=result.error_text)
    if result.text.strip() != plan.driver:
        raise BoardError(
            f"{plan.address} is bound to {result.text.strip() or 'no driver'}, not to {plan.driver or 'none'}",
            evidence=result.error_text,
        )


class Binding:
    """A controller on its way: remembers what was found, knows what is now, and gives back exactly the former."""

    def __init__(self, transport: Transport, found: PciDevice, driver: str) -> None:
        self.found = found
        self.driver = driver
        self._transport = transport
        self.touched = False

    def bind(self) -> Plan:
        """Give the device to the reserving driver; if that fails, put it back before the error goes on."""
        if self.found.driver is None and self.found.driver_override:
            raise RefusedError(
                f"{self.found.address} has a driver_override of its own and no driver: somebody else is at work on it"
            )
        plan = plan_bind(self._device_now(), self.driver)
        self.touched = True
        try:
            apply_plan(self._transport, plan)
        except BoardError:
            self.give_back()
            raise
        return plan

    def give_back(self) -> Plan:
        """Return the device to the driver that was found; safe to call twice."""
        plan = plan_return(self.found, self.current_driver())
        apply_plan(self._transport, plan)
        self.touched = False
        return plan

    def current_driver(self) -> str:
        """Return the name of the driver that is bound now, or nothing."""
        path = f"{_DEVICES}/{self.found.address}"
        result = self._transport.run(f'[ -d {path} ] && {{ link=$(readlink {path}/driver || :); echo "${{link##*/}}"; }}')
        if result.status != 0:
            raise BenchError(f"{self.found.address} is no longer there")
        return result.text.strip()

    def _device_now(self) -> PciDevice:
        return msgspec.structs.replace(self.found, driver=self.current_driver() or None)
