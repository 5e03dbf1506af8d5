"""Kernel modules that a run loaded: what is taken out again, and what stays since others use it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.actions.modules import left_by_vfio, loaded_modules, unload_new_vfio
from harness.transport.local import LocalTransport
from harness.transport.protocol import Result


class Modules(LocalTransport):
    """A host with modules, each with those that use it; rmmod takes out what nobody uses."""

    def __init__(self, **users: str) -> None:
        self.users = {name: set(text.split()) for name, text in users.items()}
        self.removed: list[str] = []

    def run(self, command: str | Sequence[str], **_: Any) -> Result:
        """Answer as that host would."""
        text = str(command)
        found = re.search(r"for module in (.*); do", text)
        for name in found[1].split() if found else []:
            if not self.users.get(name, {"gone"}):
                self.removed.append(name)
                del self.users[name]
                self.users = {other: users - {name} for other, users in self.users.items()}
        answer = f"@bound\n{self.listing()}" if found else self.listing()
        return Result(self.name, text, 0, answer.encode(), b"")

    def listing(self) -> str:
        """Return what /proc/modules says."""
        rows = [
            f"{name} 4096 {len(users)} {''.join(f'{user},' for user in sorted(users)) or '-'} Live 0x0"
            for name, users in self.users.items()
        ]
        return "\n".join(rows) + "\n"


VFIO = {"vfio_pci": "", "vfio_pci_core": "vfio_pci", "vfio_iommu_type1": "", "vfio": "vfio_pci_core vfio_pci vfio_iommu_type1"}


def test_modules_are_listed() -> None:
    """Every module of /proc/modules is one name."""
    assert loaded_modules(Modules(kvm="kvm_amd", ext4="")) == {"kvm", "ext4"}


def test_modules_that_vfio_brought_go_with_it() -> None:
    """VFIO, and what it brought along, is taken out in the order in which it can be."""
    host = Modules(ext4="", **VFIO, iommufd="vfio", irqbypass="vfio_pci_core")

    left = unload_new_vfio(host, frozenset({"ext4"}))

    assert left == frozenset()
    assert list(host.users) == ["ext4"]


def test_modules_that_kvm_uses_stay() -> None:
    """What KVM uses as well stays, and is nothing that VFIO left."""
    host = Modules(**VFIO, irqbypass="vfio_pci_core kvm", kvm="")

    assert unload_new_vfio(host, frozenset({"ext4"})) == frozenset()
    assert set(host.users) == {"irqbypass", "kvm"}


def test_modules_that_were_there_stay() -> None:
    """What was loaded before is not touched."""
    host = Modules(**VFIO, irqbypass="vfio_pci_core")

    assert unload_new_vfio(host, frozenset(host.users)) == frozenset()
    assert host.removed == []


def test_modules_that_will_not_go_are_told() -> None:
    """A module of VFIO that somebody holds is named."""
    host = Modules(**(VFIO | {"vfio_pci": "somebody"}), irqbypass="vfio_pci_core")

    left = unload_new_vfio(host, frozenset())

    assert left == left_by_vfio(host.listing(), frozenset()) == {"vfio_pci", "vfio_pci_core", "vfio", "irqbypass"}


def test_modules_are_removed_by_one_rmmod(tmp_path: Path) -> None:
    """One rmmod is told the modules that are loaded and not built in, in their order, and not what a device is bound to."""
    for name in ("vfio_pci", "vfio", "vfio_iommu_type1"):
        (tmp_path / name).mkdir()
    for name in ("vfio_pci", "vfio"):
        (tmp_path / name / "refcnt").write_text("0\n")

    class Host(LocalTransport):
        def run(self, command: str | Sequence[str], **keywords: Any) -> Result:
            text = str(command).replace("/sys/module", str(tmp_path)).replace("/proc/modules", "/dev/null")
            text = text.replace("/sys/bus/pci/drivers", str(tmp_path))
            self.result = super().run(f"rmmod() {{ echo rmmod $*; }}; {text}", **keywords)
            return self.result

    host = Host()
    (tmp_path / "pci_stub").mkdir()
    (tmp_path / "pci_stub" / "refcnt").write_text("0\n")
    said = []
    for driver in ("pci-stub", "vfio-pci", ""):
        if driver:
            (tmp_path / driver / "0000:09:00.0").mkdir(parents=True)
        assert unload_new_vfio(host, frozenset({"irqbypass"})) == frozenset()
        assert host.result.error_text == ""
        said.append(host.result.text.splitlines()[0])
        if driver:
            (tmp_path / driver / "0000:09:00.0").rmdir()

    assert said == ["rmmod vfio_pci vfio", "rmmod pci_stub", "rmmod pci_stub vfio_pci vfio"]
