"""A controller on its way: what was found, what is bound now, and the way back to exactly the former."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from harness.actions.apply import STEPS_LIMIT_S, Stale, apply_plan, drivers_query, parse_drivers
from harness.actions.plan import Plan, plan_bind, plan_return
from harness.core.errors import BenchError, BoardError, RefusedError
from harness.facts.pci import PciDevice
from harness.transport.protocol import Transport

Before = Callable[[Plan], None]
"""What is done before a plan is applied: a journal is put down before the first one."""


class ChangedError(BenchError):
    """A device that was not yet touched has another driver than the facts told."""


class Binding:
    """Devices of one IOMMU group, the controller first: what was found, what is now, and the way back."""

    def __init__(
        self,
        transport: Transport,
        devices: Sequence[PciDevice],
        driver: str,
        *,
        before_write: Before | None = None,
        believed: bool = True,
        limit_s: float = STEPS_LIMIT_S,
        permit: str = "",
    ) -> None:
        self.devices = tuple(devices)
        self.driver = driver
        self._transport = transport
        self._before_write = before_write
        self._limit_s = limit_s
        self._permit = permit
        # What is bound now, as far as we know; None after a failure.
        drivers = {device.address: device.driver or "" for device in self.devices}
        self._believed: Mapping[str, str] | None = drivers if believed else None
        self.touched = False

    @property
    def found(self) -> PciDevice:
        """Return the controller as it was found."""
        return self.devices[0]

    def bind(self, driver: str = "") -> Plan:
        """Give the devices to a reserving driver, the usual one if none is named; if that fails, put all back first."""
        for device in self.devices:
            if device.driver is None and device.driver_override:
                raise RefusedError(
                    f"{device.address} has a driver_override of its own and no driver: somebody else is at work on it"
                )
        wanted = driver or self.driver
        before, self.touched = self.touched, True
        first = not before and self._believed is not None
        try:
            return self._apply(lambda now: plan_bind([_with_driver(device, now) for device in self.devices], wanted), once=first)
        except (RefusedError, ChangedError):
            self.touched = before
            raise
        except BoardError:
            self.give_back()
            raise

    def give_back(self) -> Plan:
        """Return each device to the driver that it was found with; safe to call twice."""
        plan = self._apply(lambda now: plan_return(self.devices, now))
        self.touched = False
        return plan

    def current_drivers(self) -> dict[str, str]:
        """Return the name of the driver that each device has now, empty for none."""
        return read_drivers(self._transport, self.devices)

    def _apply(self, plan_for: Callable[[Mapping[str, str]], Plan], *, once: bool = False) -> Plan:
        """Plan from the drivers that we believe to be bound, and once more if that was wrong; return what was applied.

        ``once``: what was found and not yet touched has its driver from somebody else, if that is another now.
        """
        believed, self._believed = self._believed, None
        plan = plan_for(self.current_drivers() if believed is None else believed)
        if stale := self._permitted(plan):
            if once:
                self._believed = believed
                require_unchanged(self.devices, stale.drivers)
            plan = plan_for(stale.drivers)
            if again := self._permitted(plan):
                changes = f"it was {dict(stale.drivers)}, then {dict(again.drivers)}"
                raise BoardError(f"{self.found.address} changes its driver by itself: {changes}")
        self._believed = {aim.address: aim.after for aim in plan.aims}
        return plan

    def _permitted(self, plan: Plan) -> Stale | None:
        """Apply a plan once it may be."""
        if self._before_write is not None:
            self._before_write(plan)
        return apply_plan(self._transport, plan, limit_s=self._limit_s, permit=self._permit)


def read_drivers(transport: Transport, devices: Sequence[PciDevice]) -> dict[str, str]:
    """Return the driver that each device has now, empty for none; raise BenchError if one is not there."""
    addresses = tuple(device.address for device in devices)
    result = transport.run(drivers_query(addresses))
    drivers = parse_drivers(result.text)
    if result.status != 0:
        gone = next((address for address in addresses if address not in drivers), addresses[0])
        raise BenchError(f"{gone} is no longer there")
    return drivers


def require_unchanged(devices: Sequence[PciDevice], now: Mapping[str, str]) -> None:
    """Raise ChangedError if a device has another driver now than the facts told."""
    words = [
        f"{device.address} had {device.driver or 'no driver'} and has {now.get(device.address) or 'none'} now"
        for device in devices
        if now.get(device.address, "") != (device.driver or "")
    ]
    if words:
        raise ChangedError(f"{', '.join(words)}: somebody else is at work there", remedy="start again")


def _with_driver(device: PciDevice, now: Mapping[str, str]) -> PciDevice:
    return msgspec.structs.replace(device, driver=now[device.address] or None)
