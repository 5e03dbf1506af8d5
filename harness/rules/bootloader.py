"""How a kernel argument is set: the command depends on the boot loader, and the distribution hints at that."""

from __future__ import annotations

from harness.facts.kernel import Kernel

_UPDATE_GRUB = {"debian", "ubuntu", "linuxmint", "pop", "proxmox", "raspbian"}
_GRUBBY = {"fedora", "rhel", "centos", "rocky", "almalinux", "ol"}
_SYSTEMD_BOOT = "with systemd-boot: in /etc/kernel/cmdline or the entry's options line, then `kernel-install add-all`"


def explain_setting(kernel: Kernel, argument: str) -> str:
    """Return how to add an argument to the kernel's command line on this host; takes effect with the next boot."""
    if kernel.ostree:
        return f"add the kernel argument: `rpm-ostree kargs --append-if-missing={argument}`, then reboot"
    if kernel.distribution_id in _GRUBBY:
        return f'add the kernel argument: `grubby --update-kernel=ALL --args="{argument}"`, then reboot'
    return f"add the kernel argument {argument}: {_explain_file(kernel)}; then reboot"


def explain_removal(kernel: Kernel, argument: str) -> str:
    """Return how to take an argument from the kernel's command line on this host."""
    if kernel.ostree:
        return f"remove the kernel argument: `rpm-ostree kargs --delete-if-present={argument}`, then reboot"
    if kernel.distribution_id in _GRUBBY:
        return f'remove the kernel argument: `grubby --update-kernel=ALL --remove-args="{argument}"`, then reboot'
    return f"remove the kernel argument {argument}: {_explain_file(kernel)}; then reboot"


def _explain_file(kernel: Kernel) -> str:
    update = (
        "`update-grub`" if kernel.distribution_id in _UPDATE_GRUB else "`grub-mkconfig -o /boot/grub/grub.cfg` (or grub2-...)"
    )
    return f"with GRUB: in GRUB_CMDLINE_LINUX of /etc/default/grub, then {update}; {_SYSTEMD_BOOT}"
