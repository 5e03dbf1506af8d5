"""Taking a controller from its driver, and giving it back: a plan from facts, one command, verified by the driver's link.

The kernel's ``driver_override`` names one device; ``new_id`` would take every card of the same model (field: twin cards lost).
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from harness.core.errors import BenchError, BoardError, RefusedError
from harness.facts.mounts import unescape
from harness.facts.pci import PciDevice
from harness.rules.drivers import PASSING_DRIVERS
from harness.transport.protocol import Transport

UNBIND_TIMEOUT_S = 60.0
"""A healthy xHCI is given up in well under a second, an emulated one in a few."""

_DEVICES = "/sys/bus/pci/devices"

IN_USE = 4
"""The exit status of a plan that ends before it has changed anything, since the host uses what is behind the device."""

_GUARD = """
address={address}
in_use() {{ printf 'throughpass: in use: %s\\n' "$1" >&2; exit 1; }}
[ -r /proc/self/mountinfo ] || in_use "perhaps, for the host does not show its mounts"
for block in /sys/class/block/*; do
    cd -P "$block" 2>/dev/null || continue
    case $PWD in */"$address"/*) ;; *) continue ;; esac
    name=${{block##*/}}
    for holder in holders/*; do
        if [ -e "$holder" ]; then in_use "$name is held by ${{holder##*/}}"; fi
    done
    number=
    read -r number <dev
    while read -r _ _ device _ point rest; do
        if [ "$device" = "$number" ]; then in_use "$name is mounted at $point"; fi
        case "$rest " in *" - "*" /dev/$name "*) in_use "$name is mounted at $point" ;; esac
    done </proc/self/mountinfo
    if [ -r /proc/swaps ]; then
        while read -r file _; do
            if [ "$file" = "/dev/$name" ]; then in_use "$name is swapped to"; fi
        done </proc/swaps
    fi
    for filesystem in /sys/fs/*/"$name" /sys/fs/btrfs/*/devices/"$name"; do
        if [ -e "$filesystem" ]; then in_use "$name is mounted out of sight"; fi
    done
done
"""
"""Builtins alone: a fork costs an emulated host tens of milliseconds. A mount of another namespace shows in /sys/fs only."""


@dataclass(frozen=True)
class Step:
    """One change of the host: shell text, the sentence for it, and the exit status of a plan that cannot take it."""

    sentence: str
    command: str
    status: int = 1


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
        *guard_steps(device.driver, device.address),
        load_module(driver),
        *guard_steps(device.driver, device.address),  # loading takes seconds on a slow host: look again
        write("driver_override", driver, device.address),
        *unbind_steps(device.driver, device.address),
        probe(device.address),
    )
    return Plan(device.address, steps, driver)


def plan_return(found: PciDevice, now: str) -> Plan:
    """Plan the way back to what was found: ``now`` is the driver that the device has at the moment."""
    original = found.driver or ""
    override = found.driver_override or ""
    steps = [*guard_steps(now, found.address), *unbind_steps(now, found.address)] if now != original else []
    steps.append(write("driver_override", override, found.address))
    if original and now != original:
        steps.append(probe(found.address))
    return Plan(found.address, tuple(steps), original)


def guard_steps(driver: str | None, address: str) -> tuple[Step, ...]:
    """Make sure that the host uses nothing behind the device: an automounter may have taken a stick since the facts were read.

    Behind a reserving driver there is nothing to use.
    """
    if not driver or driver in PASSING_DRIVERS:
        return ()
    return (Step("see that nothing behind the device is in use", _GUARD.format(address=address), IN_USE),)


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
    lines = [
        f"({step.command}) || {{ echo 'throughpass: {step.sentence} failed' >&2; exit {step.status}; }}" for step in plan.steps
    ]
    return "\n".join([*lines, f'link=$(readlink {_DEVICES}/{plan.address}/driver) || link=; echo "${{link##*/}}"'])


def apply_plan(transport: Transport, plan: Plan) -> None:
    """Apply a plan and read the driver back.

    Raises BoardError if the kernel refuses a step or another driver is bound in the end: a write may succeed and do nothing;
    RefusedError if the host uses a disk behind the device: then nothing was written.
    """
    result = transport.run(script(plan), timeout_s=UNBIND_TIMEOUT_S)
    if result.status == IN_USE:
        raise _refusal(plan, result.error_text)
    if result.status != 0:
        raise BoardError(f"{plan.address} could not be given to {plan.driver or 'no driver'}", evidence=result.error_text)
    if result.text.strip() != plan.driver:
        raise BoardError(
            f"{plan.address} is bound to {result.text.strip() or 'no driver'}, not to {plan.driver or 'none'}",
            evidence=result.error_text,
        )


def _refusal(plan: Plan, errors: str) -> RefusedError:
    mark = "throughpass: in use: "
    uses = [unescape(line.removeprefix(mark)) for line in errors.splitlines() if line.startswith(mark)]
    return RefusedError(
        f"the host uses a disk behind {plan.address}, which is left alone: {'; '.join(uses) or 'it does not say which'}",
        evidence=errors,
        remedy="unmount it (swapoff, stop the array), and see that no automounter takes it again",
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
        before, self.touched = self.touched, True
        try:
            apply_plan(self._transport, plan)
        except RefusedError:
            self.touched = before
            raise
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
