"""A PCI driver of a running system, taken out and put in again."""

from __future__ import annotations

import shlex

from harness.core.deadline import Deadline
from harness.core.errors import BenchError, BoardError, DeadlineError
from harness.core.pci import PciAddress
from harness.transport.protocol import Transport

RELOAD_S = 60.0
"""For a driver's two ways, on an emulated machine."""

_BUILT_IN, _NOT_UNLOADED, _STILL_BOUND, _NOT_LOADED = 3, 4, 5, 6

# Only what can be unloaded counts its users; drivers that are built in have a folder as well (module_add_driver, Linux 2.6.21).
_RELOAD = f"""
cd -P {{device}}/driver/module || exit
module=${{{{PWD##*/}}}}
echo "$module"
[ -e "$PWD/refcnt" ] || exit {_BUILT_IN}
cd /
modprobe -r "$module" || exit {_NOT_UNLOADED}
[ ! -e {{device}}/driver ] || exit {_STILL_BOUND}
modprobe "$module" || exit {_NOT_LOADED}
"""

_WRONG = {
    _NOT_UNLOADED: "refuses to be unloaded",
    _STILL_BOUND: "is unloaded, and the controller is still bound",
    _NOT_LOADED: "cannot be loaded again",
}


def reload_driver(transport: Transport, address: str, deadline: Deadline) -> str:
    """Unload the module of a device's driver and load it again; return its name, or nothing where it is built in.

    Raises BoardError if it does not return: a driver waits for its device when it lets go of it.
    """
    device = shlex.quote(f"/sys/bus/pci/devices/{PciAddress.parse(address)}")
    limit = deadline.within(RELOAD_S, f"reloading the driver of {address} on {transport.name}")
    try:
        result = transport.run(_RELOAD.format(device=device), deadline=limit)
    except DeadlineError as error:
        if limit.cut:
            raise  # the stage's time was over
        told = f"the driver of {address} on {transport.name} was not reloaded within {limit.length_s:.0f} s"
        raise BoardError(
            told, evidence=error.evidence, remedy="see the guest's console: who hangs, the driver or the card"
        ) from error
    if result.status == _BUILT_IN:
        return ""
    if result.status != 0:
        what = _WRONG.get(result.status, "cannot be found")
        raise BenchError(f"the module {result.text or 'of ' + address} on {transport.name} {what}", evidence=result.error_text)
    return result.text
