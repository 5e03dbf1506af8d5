"""How a kernel argument is set: by the boot loader's own tool, which the distribution and the running command line hint at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.facts.kernel import Kernel

Steps = Callable[[str], str]


@dataclass(frozen=True)
class Way:
    """How a kind of host changes its kernel's command line: what to do for a given argument, without the reboot."""

    host: str
    setting: Steps
    removal: Steps


def _edit(file: str, update: str) -> tuple[Steps, Steps]:
    def add(argument: str) -> str:
        return f"add {argument} {file}, then {update}"

    def remove(argument: str) -> str:
        return f"remove {argument} {file.replace('to ', 'from ', 1)}, then {update}"

    return add, remove


def _command(add: str, remove: str) -> tuple[Steps, Steps]:
    return lambda argument: f"`{add.format(argument)}`", lambda argument: f"`{remove.format(argument)}`"


_ADD_ALL = "`kernel-install add-all` (before systemd 256: `kernel-install add VERSION IMAGE`)"
_GRUB_FILE = "to GRUB_CMDLINE_LINUX in /etc/default/grub"

UPDATE_GRUB = Way("Debian, Ubuntu with GRUB", *_edit(_GRUB_FILE, "`update-grub`"))
GRUBBY = Way("Fedora, RHEL", *_command('grubby --update-kernel=ALL --args="{}"', 'grubby --update-kernel=ALL --remove-args="{}"'))
MKCONFIG = Way("Arch and others with GRUB", *_edit(_GRUB_FILE, "`grub-mkconfig -o /boot/grub/grub.cfg`"))
MKCONFIG2 = Way("openSUSE with GRUB", *_edit(_GRUB_FILE, "`grub2-mkconfig -o /boot/grub2/grub.cfg`"))
SYSTEMD_BOOT = Way("systemd-boot", *_edit("to /etc/kernel/cmdline (or the entry's options line)", _ADD_ALL))
SDBOOTUTIL = Way("openSUSE with systemd-boot", *_edit("to /etc/kernel/cmdline", "`sdbootutil update-all-entries`"))
PROXMOX = Way("Proxmox VE with systemd-boot", *_edit("to /etc/kernel/cmdline", "`proxmox-boot-tool refresh`"))
KERNELSTUB = Way("Pop!_OS", *_command('kernelstub --add-options "{}"', 'kernelstub --delete-options "{}"'))
NIXOS = Way("NixOS", *_edit("to boot.kernelParams in configuration.nix", "`nixos-rebuild boot`"))
OSTREE = Way(
    "rpm-ostree (Silverblue, CoreOS)",
    *_command("rpm-ostree kargs --append-if-missing={}", "rpm-ostree kargs --delete-if-present={}"),
)

WAYS = (UPDATE_GRUB, GRUBBY, MKCONFIG, MKCONFIG2, SYSTEMD_BOOT, SDBOOTUTIL, PROXMOX, KERNELSTUB, NIXOS, OSTREE)
"""Every way that is known."""

_DEBIAN = {"debian", "ubuntu", "linuxmint", "pop", "proxmox", "raspbian"}
_RED_HAT = {"fedora", "rhel", "centos", "rocky", "almalinux", "ol"}
_SUSE = {"opensuse", "suse", "sles", "opensuse-leap", "opensuse-tumbleweed"}


def explain_setting(kernel: Kernel, argument: str) -> str:
    """Return how to add an argument to the kernel's command line on this host; takes effect with the next boot."""
    steps = "; ".join(_named(kernel, lambda way: way.setting(argument)))
    return f"set the kernel argument {argument}: {steps}; then reboot"


def explain_removal(kernel: Kernel, argument: str) -> str:
    """Return how to take an argument from the kernel's command line on this host."""
    steps = "; ".join(_named(kernel, lambda way: way.removal(argument)))
    return f"remove the kernel argument {argument}: {steps}; then reboot"


def explain_replacement(kernel: Kernel, argument: str, without: str) -> str:
    """Return how to take one value from an argument that is a list: ``relax_rmrr`` from ``intel_iommu=on,relax_rmrr``."""
    key, _, values = argument.partition("=")
    rest = ",".join(value for value in values.split(",") if value != without)
    removal = explain_removal(kernel, argument)
    return f"{removal.removesuffix('; then reboot')}; {explain_setting(kernel, f'{key}={rest}')}" if rest else removal


def find_ways(kernel: Kernel) -> tuple[Way, ...]:
    """Return the way that suits this host, or those that may: which boot loader runs is not always told."""
    names = {kernel.distribution_id, *kernel.distribution_like}
    own = ((kernel.ostree, OSTREE), ("nixos" in names, NIXOS), ("pop" in names, KERNELSTUB), (names & _RED_HAT, GRUBBY))
    if only := next((way for holds, way in own if holds), None):
        return (only,)
    grub = UPDATE_GRUB if names & _DEBIAN else MKCONFIG2 if names & _SUSE else MKCONFIG
    # Proxmox VE calls itself Debian; its kernel's name does not.
    entries = PROXMOX if "pve" in kernel.release else SDBOOTUTIL if names & _SUSE else SYSTEMD_BOOT
    # GRUB passes BOOT_IMAGE=; systemd-boot passes the initrd's path as EFI spells it.
    if kernel.argument("BOOT_IMAGE") is not None:
        return (grub,)
    if any(word.startswith("initrd=\\") for word in kernel.arguments):
        return (entries,)
    return (grub, entries)


def _named(kernel: Kernel, steps: Callable[[Way], str]) -> list[str]:
    ways = find_ways(kernel)
    texts = [steps(way) for way in ways]
    return texts if len(ways) == 1 else [f"with {_loader(way)}: {text}" for way, text in zip(ways, texts, strict=True)]


def _loader(way: Way) -> str:
    return "systemd-boot" if way in {SYSTEMD_BOOT, SDBOOTUTIL, PROXMOX} else "GRUB"
