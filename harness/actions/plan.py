"""Plans of binding: facts go in, steps come out. Nothing here touches a host.

The kernel's ``driver_override`` names one device; ``new_id`` would take every card of the same model (field: twin cards lost).
All devices of a plan are unbound before the first is probed: parts of one card that return one at a time were seen to crash
(QubesOS/qubes-issues#8794).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.facts.pci import PciDevice
from harness.rules.groups import PASSING_DRIVERS

DEVICES = "/sys/bus/pci/devices"

IN_USE = 4
"""The exit status of a step that ends a plan before it has changed anything, since the host uses what is behind a device."""

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
class Aim:
    """A device, and the driver that it must have before the first step and after the last one ("" for none)."""

    address: str
    before: str
    after: str


@dataclass(frozen=True)
class Plan:
    """Steps in their order, and what they are for."""

    aims: tuple[Aim, ...]
    steps: tuple[Step, ...]


def plan_bind(devices: Sequence[PciDevice], driver: str) -> Plan:
    """Plan the way of devices from the drivers that they have to ``driver``; nothing to do gives no steps."""
    aims = tuple(Aim(device.address, device.driver or "", driver) for device in devices)
    moving = [device for device in devices if device.driver != driver]
    if not moving:
        return Plan(aims, ())
    guards = [step for device in moving for step in guard_steps(device.driver, device.address)]
    steps = (
        *guards,
        load_module(driver),
        *guards,  # loading takes seconds on a slow host: look again
        *(write("driver_override", driver, device.address) for device in moving),
        *(step for device in moving for step in unbind_steps(device.driver, device.address)),
        *(probe(device.address) for device in moving),
    )
    return Plan(aims, steps)


def plan_return(found: Sequence[PciDevice], now: Mapping[str, str]) -> Plan:
    """Plan the way back to what was found: ``now`` holds the driver that each address has at the moment.

    A device that was reserved by an id (``ids=``, ``new_id``) and has no override is brought back by one: several drivers fit it.
    """
    aims = tuple(Aim(device.address, now[device.address], device.driver or "") for device in found)
    moving = [aim for aim in aims if aim.before != aim.after]
    overrides = {device.address: device.driver_override or "" for device in found}
    lent = {aim.address: aim.after for aim in moving if aim.after in PASSING_DRIVERS and not overrides[aim.address]}
    steps = (
        *(step for aim in moving for step in guard_steps(aim.before, aim.address)),
        *(step for aim in moving for step in unbind_steps(aim.before, aim.address)),
        *(write("driver_override", lent.get(address, override), address) for address, override in overrides.items()),
        *(probe(aim.address) for aim in moving if aim.after),
        *(write("driver_override", "", address) for address in lent),
    )
    return Plan(aims, steps)


def guard_steps(driver: str | None, address: str) -> tuple[Step, ...]:
    """Make sure that the host uses nothing behind the device: an automounter may have taken a stick since the facts were read.

    Behind a reserving driver there is nothing to use.
    """
    if not driver or driver in PASSING_DRIVERS:
        return ()
    return (Step(f"see that nothing behind {address} is in use", _GUARD.format(address=address), IN_USE),)


def load_module(driver: str) -> Step:
    """Load a driver's module; one that is built in is there already."""
    return Step(f"load {driver}", f"[ -d /sys/bus/pci/drivers/{driver} ] || modprobe {driver}")


def write(attribute: str, value: str, address: str) -> Step:
    """Write an attribute of a device; an empty value clears driver_override (a lone line end, Linux 3.16 and later)."""
    shown = value or "nothing"
    return Step(f"write {shown} to {attribute} of {address}", f"echo '{value}' >{DEVICES}/{address}/{attribute}")


def unbind_steps(driver: str | None, address: str) -> tuple[Step, ...]:
    """Take a device from its driver, if it has one."""
    if not driver:
        return ()
    return (Step(f"unbind {address} from {driver}", f"echo {address} >{DEVICES}/{address}/driver/unbind"),)


def probe(address: str) -> Step:
    """Let the kernel look for a driver: it takes the one of driver_override, or the usual one if there is none."""
    return Step(f"probe for a driver of {address}", f"echo {address} >/sys/bus/pci/drivers_probe")


def writes_of(steps: Iterable[Step]) -> list[str]:
    """Return what steps do to a host, for people: each command that is no guard, in one line."""
    return [step.command for step in steps if step.status != IN_USE]
