"""Attributes that change with the driver: how a controller, and what is on it, may sleep and wake.

A driver that leaves takes them along: vfio-pci ends with ``power/control`` at "on" (it calls pm_runtime_forbid); root hubs
and the devices below them are made anew with the kernel's defaults. What somebody has set is put back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from harness.transport.protocol import Transport, check

DEVICES = "/sys/bus/pci/devices"

_BUS = re.compile(r"(^usb|(?<=/))\d+(?=/|-)")
"""The number of a bus in a path: ``usb3/3-1/3-1.2``."""

BACK_LIMIT_S = 10
"""How long the USB devices of a controller that was given back may take to come up: a few seconds behind two hubs."""

_NAMES = "power/control power/autosuspend_delay_ms power/wakeup d3cold_allowed authorized_default authorized"

# A reading that the kernel refuses is none: a delay has its file even where nothing uses it.
_READ = """
for address in {addresses}; do
    cd -P {devices}/$address || continue
    for folder in . usb* usb*/*-* usb*/*-*/*-* usb*/*-*/*-*/*-*; do
        case $folder in *:*) continue ;; esac # an interface
        for name in {names}; do
            [ -f "$folder/$name" ] && read -r value <"$folder/$name" || continue
            echo "$address/$folder/$name $value"
        done
    done
done 2>/dev/null
"""

# The end of an enumeration is no event that a shell could await: it looks again until all are there.
_RESTORE = """
cd {devices} || exit
turns={turns}
while :; do
    missing=
    while read -r path value; do
        if [ -e "$path" ]; then
            read -r now <"$path"
            [ "$now" = "$value" ] || echo "$value" >"$path"
        else
            missing="$missing $path"
        fi
    done <<'END' 2>/dev/null
{lines}
END
    [ -n "$missing" ] && [ $turns -gt 0 ] || break
    turns=$((turns - 1))
    sleep 0.1
done
for path in $missing; do echo "@missing $path"; done
while read -r path value; do
    [ -e "$path" ] && read -r now <"$path" || continue
    [ "$now" = "$value" ] || echo "@refused $path $value $now"
done <<'END' 2>/dev/null
{lines}
END
"""

_HUBS = "cd {devices} && for hub in {addresses}; do echo $hub; done"


def read_attributes(transport: Transport, addresses: Sequence[str]) -> dict[str, str]:
    """Return the attributes of PCI functions and of the USB devices on them, by their path below /sys/bus/pci/devices."""
    script = _READ.format(devices=DEVICES, addresses=" ".join(addresses), names=_NAMES)
    words = (line.partition(" ") for line in check(transport, script).text.splitlines())
    return {path.replace("/./", "/"): value for path, _, value in words}


class Unrestored(NamedTuple):
    """What is not as it was: devices that did not come back, and attributes that kept another value."""

    missing: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def restore_attributes(transport: Transport, attributes: Mapping[str, str]) -> Unrestored:
    """Write what differs, once the USB devices are up again, read all back, and return what is not as it was."""
    if not attributes:
        return Unrestored()
    attributes = _moved(transport, attributes)
    lines = "\n".join(f"{path} {value}" for path, value in attributes.items())
    script = _RESTORE.format(devices=DEVICES, turns=BACK_LIMIT_S * 10, lines=lines)
    said = check(transport, script, timeout_s=3 * BACK_LIMIT_S + 30.0).text.splitlines()
    missing = [line.split()[1] for line in said if line.startswith("@missing ")]
    refused = [line.split()[1:] for line in said if line.startswith("@refused ")]
    return Unrestored(
        tuple(dict.fromkeys(path.split("/power/")[0].rpartition("/")[2] for path in missing if "/power/" in path)),
        tuple(f"{path} ({' '.join(now)}, was {was})" for path, was, *now in refused),
    )


def _moved(transport: Transport, attributes: Mapping[str, str]) -> dict[str, str]:
    """Return the attributes where they are now: the buses of a controller that came back may have other numbers, in their order.

    So it is where two controllers are taken and come back the other way round.
    """
    addresses = dict.fromkeys(path.partition("/")[0] for path in attributes)
    patterns = " ".join(f"{address}/usb[0-9]*" for address in addresses)
    now = transport.run(_HUBS.format(devices=DEVICES, addresses=patterns)).text.split()
    numbers: dict[tuple[str, str], str] = {}
    for address in addresses:
        before, after = (_buses(paths, address) for paths in (attributes, now))
        numbers |= {(address, old): new for old, new in zip(before, after, strict=False)}

    def move(path: str) -> str:
        address, _, below = path.partition("/")
        new = numbers.get((address, _bus(below)))
        return f"{address}/{_BUS.sub(lambda found: f'{found[1]}{new}', below)}" if new else path

    return {move(path): value for path, value in attributes.items()}


def _buses(paths: Iterable[str], address: str) -> list[str]:
    """Return the numbers of a controller's buses that paths tell of, in their order."""
    found = {_bus(below) for above, _, below in (path.partition("/") for path in paths) if above == address}
    return sorted(filter(str.isdigit, found), key=int)


def _bus(below: str) -> str:
    """Return the number in ``usb3/3-1/power/control``, empty where the function itself is meant."""
    return below.partition("/")[0].removeprefix("usb")


def told_unrestored(unrestored: Unrestored) -> str:
    """Return what to add to a sentence about what is not as it was; empty if all is."""
    missing = f"; not back within {BACK_LIMIT_S} s: {', '.join(unrestored.missing)}" if unrestored.missing else ""
    return missing + (f"; not as before: {', '.join(unrestored.refused)}" if unrestored.refused else "")
