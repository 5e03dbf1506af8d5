"""The running system: kernel, distribution, board and firmware."""

from __future__ import annotations

import re
import shlex

import msgspec

from harness.core.capture import Capture
from harness.facts.sysfs import exists, read_path

_CONTAINER_HINTS = (".dockerenv", "run/.containerenv", "run/systemd/container")
_TTY = "sys/class/tty"
_NOBODY = "00000000-0000-0000-0000-000000000000"
# What firmware says when its maker filled nothing in.
_PLACEHOLDER = re.compile(
    r"^(to be filled by o\.?e\.?m\.?|system (manufacturer|product name)|default string|o\.?e\.?m\.?"
    r"|not applicable|undefined|n/?a)?$",
    re.IGNORECASE,
)


class Kernel(msgspec.Struct, frozen=True):
    """The running kernel and distribution; ``lockdown`` is ``none``, ``integrity``, ``confidentiality`` or empty.

    ``xen`` is ``dom0``, ``domU`` or empty. ``memlock_kib`` is the probe's limit of locked memory: -1 unlimited, None unknown.
    ``consoles`` are the devices of the kernel's console (``ttyS0``, ``ttyUSB0``), ``console_paths`` where those on USB hang, if
    that was read; ``boot_id`` changes with every boot.
    """

    release: str = ""
    version: str = ""
    cmdline: str = ""
    distribution: str = ""
    distribution_id: str = ""
    distribution_like: tuple[str, ...] = ()  # what it descends from: ID_LIKE of os-release
    ostree: bool = False
    lockdown: str = ""
    container: bool = False
    root: bool = False  # the probe ran as root
    memory_mib: int = 0
    xen: str = ""
    memlock_kib: int | None = None
    consoles: tuple[str, ...] = ()
    console_paths: tuple[str, ...] = ()
    boot_id: str = ""

    @property
    def arguments(self) -> tuple[str, ...]:
        """Return the arguments of the command line."""
        return tuple(self.cmdline.split())

    def argument(self, key: str) -> str | None:
        """Return the value of the last ``key=value`` or ``key`` (then empty), None without one."""
        values = [word.partition("=")[2] for word in self.arguments if word.partition("=")[0] == key]
        return values[-1] if values else None


class Board(msgspec.Struct, frozen=True):
    """The motherboard as SMBIOS names it; the system's name where the board has none."""

    vendor: str = ""
    name: str = ""
    firmware: str = ""


def read_kernel(capture: Capture) -> Kernel:
    """Read the kernel, the distribution and what limits the probe."""
    version = capture.text("proc/version") or ""
    release = capture.text("proc/sys/kernel/osrelease") or _word(version, 2) or _word(capture.text("commands/uname") or "", 2)
    distribution = parse_os_release(capture.text("etc/os-release") or "")
    lockdown = re.search(r"\[(\w+)\]", capture.text("sys/kernel/security/lockdown") or "")
    user = re.search(r"^Uid:\s+\d+\s+(\d+)", capture.text("proc/self/status") or "", re.MULTILINE)
    consoles = _read_consoles(capture)
    memory = re.search(r"^MemTotal:\s+(\d+) kB", capture.text("proc/meminfo") or "", re.MULTILINE)
    return Kernel(
        release=release,
        version=version,
        cmdline=capture.text("proc/cmdline") or "",
        distribution=distribution.get("PRETTY_NAME") or distribution.get("NAME", ""),
        distribution_id=distribution.get("ID", ""),
        distribution_like=tuple(distribution.get("ID_LIKE", "").split()),
        ostree=exists(capture.get("run/ostree-booted")),
        lockdown=lockdown[1] if lockdown else "",
        container=any(exists(capture.get(hint)) for hint in _CONTAINER_HINTS),
        root=user is not None and user[1] == "0",
        memory_mib=int(memory[1]) // 1024 if memory else 0,
        xen=_read_xen(capture),
        memlock_kib=parse_memlock(capture.text("proc/self/limits") or ""),
        consoles=consoles,
        console_paths=tuple(
            path for name in consoles if "USB" in name or "ACM" in name if (path := read_path(capture, f"{_TTY}/{name}"))
        ),
        boot_id=capture.text("proc/sys/kernel/random/boot_id") or "",
    )


def read_board(capture: Capture) -> Board:
    """Read the names in SMBIOS, without placeholders."""
    firmware = (_dmi(capture, "bios_vendor"), _dmi(capture, "bios_version"), _dmi(capture, "bios_date"))
    return Board(
        vendor=_dmi(capture, "board_vendor") or _dmi(capture, "sys_vendor"),
        name=_dmi(capture, "board_name") or _dmi(capture, "product_name"),
        firmware=" ".join(filter(None, firmware)),
    )


def parse_memlock(text: str) -> int | None:
    """Return the soft limit of locked memory in /proc/self/limits, in KiB: -1 without a limit, None if it is not told."""
    match = re.search(r"^Max locked memory\s+(unlimited|\d+)\s", text, re.MULTILINE)
    if match is None:
        return None
    return -1 if match[1] == "unlimited" else int(match[1]) // 1024


def parse_os_release(text: str) -> dict[str, str]:
    """Return the assignments of an os-release file, unquoted; lines that are none are left out."""
    values = {}
    for line in text.splitlines():
        key, sign, value = line.strip().partition("=")
        if sign and key.isidentifier():
            values[key] = _unquote(value)
    return values


def _read_xen(capture: Capture) -> str:
    """Return ``dom0``, ``domU`` or nothing: only dom0 has control, and the identity of zeros."""
    capabilities = capture.text("proc/xen/capabilities") or ""
    if "control_d" in capabilities.split():
        return "dom0"
    if capture.text("sys/hypervisor/type") != "xen" and not capture.has("proc/xen"):
        return ""
    return "dom0" if capture.text("sys/hypervisor/uuid") == _NOBODY else "domU"


def _read_consoles(capture: Capture) -> tuple[str, ...]:
    """Return the consoles that are in use: /proc/consoles, or what sysfs says of the device ``console``; else those asked for."""
    lines = (capture.text("proc/consoles") or "").splitlines()
    found = [line.split()[0] for line in lines if line.split()]
    words = (capture.text("proc/cmdline") or "").split()
    asked = [word.removeprefix("console=").partition(",")[0] for word in words if word.startswith("console=")]
    return tuple(found or (capture.text(f"{_TTY}/console/active") or "").split() or asked)


def _unquote(value: str) -> str:
    try:
        return " ".join(shlex.split(value))
    except ValueError:  # an unpaired quotation mark
        return value.strip("\"'")


def _dmi(capture: Capture, attribute: str) -> str:
    text = capture.text(f"sys/class/dmi/id/{attribute}") or ""
    return "" if _PLACEHOLDER.match(text) else text


def _word(text: str, index: int) -> str:
    words = text.split()
    return words[index] if index < len(words) else ""
