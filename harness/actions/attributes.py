"""Attributes that change with the driver: how a controller, and what is on it, may sleep and wake.

A driver that leaves takes them along: vfio-pci ends with ``power/control`` at "on" (it calls pm_runtime_forbid); root hubs
and the devices below them are made anew with the kernel's defaults. What somebody has set is put back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.transport.protocol import Transport, check

DEVICES = "/sys/bus/pci/devices"

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

# The end of an enumeration is no event that a shell could await: it looks again until all are there. What was on a bus that has
# another number now is not waited for.
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
            below=${{path#*/usb}}
            [ ! -d "${{path%%/*}}/usb${{below%%/*}}" ] || missing="$missing $path"
        fi
    done <<'END' 2>/dev/null
{lines}
END
    [ -n "$missing" ] && [ $turns -gt 0 ] || break
    turns=$((turns - 1))
    sleep 0.1
done
for path in $missing; do echo "$path"; done
"""


def read_attributes(transport: Transport, addresses: Sequence[str]) -> dict[str, str]:
    """Return the attributes of PCI functions and of the USB devices on them, by their path below /sys/bus/pci/devices."""
    script = _READ.format(devices=DEVICES, addresses=" ".join(addresses), names=_NAMES)
    words = (line.partition(" ") for line in check(transport, script).text.splitlines())
    return {path.replace("/./", "/"): value for path, _, value in words}


def restore_attributes(transport: Transport, attributes: Mapping[str, str]) -> tuple[str, ...]:
    """Write what differs, once the USB devices are up again; return the names of those that did not come back."""
    if not attributes:
        return ()
    lines = "\n".join(f"{path} {value}" for path, value in attributes.items())
    script = _RESTORE.format(devices=DEVICES, turns=BACK_LIMIT_S * 10, lines=lines)
    missing = check(transport, script, timeout_s=3 * BACK_LIMIT_S + 30.0).text.split()
    return tuple(dict.fromkeys(path.split("/power/")[0].rpartition("/")[2] for path in missing if "/power/" in path))


def told_missing(names: Sequence[str]) -> str:
    """Return what to add to a sentence about devices that did not come back; empty for none."""
    return f"; not back within {BACK_LIMIT_S} s: {', '.join(names)}" if names else ""
