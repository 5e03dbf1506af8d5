"""How a kernel argument is set: one sentence for each distribution and boot loader."""

from __future__ import annotations

import pytest

from harness.facts.host import HostFacts
from harness.facts.iommu import Iommu
from harness.facts.kernel import Kernel
from harness.rules.bootloader import WAYS, explain_removal, explain_setting
from harness.rules.registry import judge
from harness.rules.rule import Target

GRUB = "BOOT_IMAGE=/boot/vmlinuz root=/dev/sda1"
STUB = r"initrd=\initramfs.img root=/dev/sda1"


@pytest.mark.parametrize(
    ("kernel", "setting", "removal"),
    [
        pytest.param(Kernel(distribution_id="debian", cmdline=GRUB), "`update-grub`", "from GRUB_CMDLINE_LINUX", id="debian"),
        pytest.param(Kernel(distribution_id="linuxmint", cmdline=GRUB), "`update-grub`", "`update-grub`", id="mint"),
        pytest.param(
            Kernel(distribution_id="zorin", distribution_like=("ubuntu", "debian"), cmdline=GRUB),
            "`update-grub`",
            "`update-grub`",
            id="descendant",
        ),
        pytest.param(
            Kernel(distribution_id="fedora", cmdline=GRUB),
            'grubby --update-kernel=ALL --args="a=b"',
            'grubby --update-kernel=ALL --remove-args="a=b"',
            id="fedora",
        ),
        pytest.param(
            Kernel(distribution_id="arch", cmdline=GRUB), "grub-mkconfig -o /boot/grub/grub.cfg", "grub-mkconfig", id="arch"
        ),
        pytest.param(
            Kernel(distribution_id="opensuse-leap", distribution_like=("suse", "opensuse"), cmdline=GRUB),
            "grub2-mkconfig -o /boot/grub2/grub.cfg",
            "grub2-mkconfig",
            id="suse",
        ),
        pytest.param(
            Kernel(distribution_id="arch", cmdline=STUB), "kernel-install add-all", "from /etc/kernel/cmdline", id="stub"
        ),
        pytest.param(
            Kernel(distribution_id="debian", release="6.8.12-1-pve", cmdline=STUB),
            "proxmox-boot-tool refresh",
            "proxmox-boot-tool refresh",
            id="proxmox",
        ),
        pytest.param(
            Kernel(distribution_id="debian", release="6.8.12-1-pve", cmdline=GRUB), "`update-grub`", "`update-grub`", id="pve"
        ),
        pytest.param(Kernel(distribution_id="pop", cmdline=STUB), "--add-options", '--delete-options "a=b"', id="pop"),
        pytest.param(Kernel(distribution_id="nixos", cmdline=STUB), "boot.kernelParams", "nixos-rebuild boot", id="nixos"),
        pytest.param(
            Kernel(distribution_id="fedora", ostree=True),
            "rpm-ostree kargs --append-if-missing=a=b",
            "rpm-ostree kargs --delete-if-present=a=b",
            id="ostree",
        ),
    ],
)
def test_bootloader_of_the_host(kernel: Kernel, setting: str, removal: str) -> None:
    """The remedy names the one command that suits the host, for setting and for removal."""
    for text, command in ((explain_setting(kernel, "a=b"), setting), (explain_removal(kernel, "a=b"), removal)):
        assert command in text
        assert "a=b" in text
        assert text.endswith("; then reboot")
        assert "with GRUB:" not in text


def test_bootloader_that_is_not_told() -> None:
    """Where the boot loader is not told, both ways are, each with its name."""
    text = explain_setting(Kernel(), "a=b")

    assert "with GRUB: add a=b to GRUB_CMDLINE_LINUX" in text
    assert "with systemd-boot: add a=b to /etc/kernel/cmdline" in text


def test_bootloader_ways_are_told_apart() -> None:
    """Each way has a host of its own, and both of its texts name the argument."""
    assert len({way.host for way in WAYS}) == len(WAYS)
    assert all("a=b" in way.setting("a=b") and "a=b" in way.removal("a=b") for way in WAYS)


@pytest.mark.parametrize(
    ("rule", "cmdline", "steps"),
    [
        ("RES002", "intel_iommu=on,relax_rmrr", ['--remove-args="intel_iommu=on,relax_rmrr"', '--args="intel_iommu=on"']),
        ("IOM002", "iommu=pt,off", ['--remove-args="iommu=pt,off"', '--args="iommu=pt"']),
        ("IRQ003", "intremap=off", ['--remove-args="intremap=off"']),
        ("IRQ003", "intremap=nosid,off", ['--remove-args="intremap=nosid,off"', '--args="intremap=nosid"']),
    ],
)
def test_one_value_of_a_list_is_taken_away(rule: str, cmdline: str, steps: list[str]) -> None:
    """The remedy names the argument as it stands on the command line, and keeps its other values."""
    kernel = Kernel(distribution_id="fedora", cmdline=f"root=/dev/sda1 {cmdline}")

    remedy = judge(rule, HostFacts(kernel=kernel, iommu=Iommu("intel", "no", "no")), Target()).remedy

    assert remedy.split("`")[1::2] == [f"grubby --update-kernel=ALL {step}" for step in steps]
    assert remedy.count("then reboot") == 1
