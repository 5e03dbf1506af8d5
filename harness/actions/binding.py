"""Taking a controller from its driver, and giving it back: a plan from facts, one command, verified by the driver's link.

The command itself looks first whether the facts still hold, so that a plan needs one round trip and nothing comes in between.

The kernel's ``driver_override`` names one device; ``new_id`` would take every card of the same model (field: twin cards lost).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from harness.core.errors import BenchError, BoardError, RefusedError
from harness.facts.mounts import unescape
from harness.facts.pci import PciDevice
from harness.rules.groups import PASSING_DRIVERS
from harness.transport.aside import aside
from harness.transport.protocol import Transport

UNBIND_TIMEOUT_S = 60.0
"""A healthy xHCI is given up in well under a second, an emulated one in a few."""

_DEVICES = "/sys/bus/pci/devices"

IN_USE = 4
"""The exit status of a plan that ends before it has changed anything, since the host uses what is behind the device."""
STALE = 5
"""The same, since the device has another driver than the plan was made for; the script prints which."""
GONE = 6
"""The same, since there is no such device any more."""

_BOUND = """
bound() {{
    driver=
    if cd -P {folder}/driver; then driver=${{PWD##*/}}; fi
}} 2>/dev/null
[ -d {folder} ] || exit {gone}
bound
if [ "$driver" != {before} ]; then
    echo "$driver"
    exit {stale}
fi
"""

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
    """Steps in their order, and the driver that the device must have before the first and after the last one ("" for none)."""

    address: str
    steps: tuple[Step, ...]
    before: str
    driver: str


@dataclass(frozen=True)
class Stale:
    """What a plan that was not begun found: the device's driver, which is another than the plan's."""

    driver: str


def plan_bind(device: PciDevice, driver: str) -> Plan:
    """Plan the way of a device from the driver that it has to ``driver``; nothing to do gives no steps."""
    before = device.driver or ""
    if before == driver:
        return Plan(device.address, (), before, driver)
    steps = (
        *guard_steps(device.driver, device.address),
        load_module(driver),
        *guard_steps(device.driver, device.address),  # loading takes seconds on a slow host: look again
        write("driver_override", driver, device.address),
        *unbind_steps(device.driver, device.address),
        probe(device.address),
    )
    return Plan(device.address, steps, before, driver)


def plan_return(found: PciDevice, now: str) -> Plan:
    """Plan the way back to what was found: ``now`` is the driver that the device has at the moment."""
    original = found.driver or ""
    override = found.driver_override or ""
    steps = [*guard_steps(now, found.address), *unbind_steps(now, found.address)] if now != original else []
    steps.append(write("driver_override", override, found.address))
    if original and now != original:
        steps.append(probe(found.address))
    return Plan(found.address, tuple(steps), now, original)


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
    head = _BOUND.format(folder=f"{_DEVICES}/{plan.address}", before=shlex.quote(plan.before), gone=GONE, stale=STALE)
    lines = [
        f"({step.command}) || {{ echo 'throughpass: {step.sentence} failed' >&2; exit {step.status}; }}" for step in plan.steps
    ]
    return "\n".join([head, *lines, 'bound; echo "$driver"'])


def driver_query(address: str) -> str:
    """Return shell text that prints the driver of a device, an empty line for none, and fails if there is no such device."""
    return f'(cd -P {_DEVICES}/{address} || exit; cd -P driver 2>/dev/null || PWD=; echo "${{PWD##*/}}")'


def apply_plan(transport: Transport, plan: Plan) -> Stale | None:
    """Apply a plan and read the driver back; a plan that is out of date is not begun, and what it found is returned.

    Raises BoardError if the kernel refuses a step or another driver is bound in the end: a write may succeed and do nothing;
    RefusedError if the host uses a disk behind the device: then nothing was written. BenchError if the device is gone.
    """
    # Interrupted, the host would go on with the plan while the way back is planned from what it has not yet done.
    result = aside(lambda: transport.run(script(plan), timeout_s=UNBIND_TIMEOUT_S), to_the_end=True)
    driver = result.text.strip()
    if result.status == GONE:
        raise BenchError(f"{plan.address} is no longer there")
    if result.status == STALE:
        return Stale(driver)
    if result.status == IN_USE:
        raise _refusal(plan, result.error_text)
    if result.status != 0:
        raise BoardError(f"{plan.address} could not be given to {plan.driver or 'no driver'}", evidence=result.error_text)
    if driver != plan.driver:
        raise BoardError(
            f"{plan.address} is bound to {driver or 'no driver'}, not to {plan.driver or 'none'}", evidence=result.error_text
        )
    return None


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
        self._believed: str | None = found.driver or ""  # what is bound now, as far as we know; None after a failure
        self.touched = False

    def bind(self) -> Plan:
        """Give the device to the reserving driver; if that fails, put it back before the error goes on."""
        if self.found.driver is None and self.found.driver_override:
            raise RefusedError(
                f"{self.found.address} has a driver_override of its own and no driver: somebody else is at work on it"
            )
        before, self.touched = self.touched, True
        try:
            return self._apply(lambda now: plan_bind(msgspec.structs.replace(self.found, driver=now or None), self.driver))
        except RefusedError:
            self.touched = before
            raise
        except BoardError:
            self.give_back()
            raise

    def give_back(self) -> Plan:
        """Return the device to the driver that was found; safe to call twice."""
        plan = self._apply(lambda now: plan_return(self.found, now))
        self.touched = False
        return plan

    def current_driver(self) -> str:
        """Return the name of the driver that is bound now, or nothing."""
        result = self._transport.run(driver_query(self.found.address))
        if result.status != 0:
            raise BenchError(f"{self.found.address} is no longer there")
        return result.text.strip()

    def _apply(self, plan_for: Callable[[str], Plan]) -> Plan:
        """Plan from the driver that we believe to be bound, and once more if that was wrong; return the plan that was applied."""
        believed, self._believed = self._believed, None
        plan = plan_for(self.current_driver() if believed is None else believed)
        if stale := apply_plan(self._transport, plan):
            plan = plan_for(stale.driver)
            if again := apply_plan(self._transport, plan):
                raise BoardError(f"{plan.address} changes its driver by itself: it was {stale.driver!r}, then {again.driver!r}")
        self._believed = plan.driver
        return plan
