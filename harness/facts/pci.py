"""PCI functions, as sysfs shows them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from harness.core.capture import Capture, Status
from harness.core.pci import XHCI_CLASS, PciAddress, PciId
from harness.facts.sysfs import exists, read_link_name, read_names, read_number, read_path

_FOLDER = "sys/bus/pci/devices"
_PCI_BRIDGE = 0x0604
_HOST_BRIDGE = 0x0600
_USB = 0x0C03
_LARGEST_ID = 0xFFFF


class PciDevice(msgspec.Struct, frozen=True):
    """One function. ``address`` is ``0000:01:00.0``, ``id`` and ``subsystem`` are ``1033:0194`` (empty: not known).

    ``reset_methods`` is None where the kernel offers no such file: no method, or older than 5.15 (then ``resettable`` tells).
    ``path`` is the real path in sysfs, which names the bridges above; ``driver_override`` is None when none is set.
    ``interrupts`` is ``msix``, ``msi``, ``intx`` or empty (unknown): in use now. ``slot`` is the physical one, if known.
    ``source`` is ``sysfs``, or the capture's item that told of a function which sysfs did not show (``commands/lspci``).
    ``class_known`` is off where no class was told, ``prog_if_known`` where a text gave the class without its last byte.
    """

    address: str
    id: str = ""
    subsystem: str = ""
    class_code: int = 0
    revision: int = 0
    name: str = ""
    driver: str | None = None
    module: str | None = None
    driver_override: str | None = None
    group: str | None = None
    reset_methods: tuple[str, ...] | None = None
    resettable: bool = False  # sysfs has a ``reset`` file; it is never opened
    link_speed: str = ""
    link_width: str = ""
    numa_node: int | None = None
    path: str = ""
    max_link_speed: str = ""
    max_link_width: str = ""
    interrupts: str = ""
    slot: str = ""
    source: str = "sysfs"
    class_known: bool = True
    prog_if_known: bool = True

    @property
    def pci_address(self) -> PciAddress:
        """Return the address as a value that compares and sorts."""
        return PciAddress.parse(self.address)

    @property
    def pci_id(self) -> PciId | None:
        """Return the id as a value, None if sysfs did not tell it."""
        return PciId.parse(self.id) if self.id else None

    @property
    def class_text(self) -> str:
        """Return the class as lspci -n spells it, with question marks for what is not known: ``0c0330``, ``0c03??``."""
        text = f"{self.class_code:06x}" if self.class_known else "??????"
        return text if self.prog_if_known else f"{text[:4]}??"

    @property
    def is_usb(self) -> bool:
        """Return whether this is of class 0c03, of whatever programming interface."""
        return self.class_code >> 8 == _USB

    @property
    def is_xhci(self) -> bool:
        """Return whether this is an xHCI controller; "USB controller" would be too wide."""
        return self.class_code == XHCI_CLASS and self.prog_if_known

    @property
    def is_bridge(self) -> bool:
        """Return whether it may share a group with a device that is given away: a PCI bridge, or a host bridge without driver."""
        kind = self.class_code >> 8
        return kind == _PCI_BRIDGE or (kind == _HOST_BRIDGE and self.driver is None)


def read_pci(capture: Capture, names: Mapping[str, str]) -> tuple[PciDevice, ...]:
    """Read every function, by address; ``names`` gives the names of ids."""
    found = [address for address in read_names(capture, _FOLDER) if _is_address(address)]
    return tuple(_read_device(capture, address, names) for address in sorted(found, key=PciAddress.parse))


def _read_device(capture: Capture, address: str, names: Mapping[str, str]) -> PciDevice:
    folder = f"{_FOLDER}/{address}"
    pair = _pair(capture, f"{folder}/vendor", f"{folder}/device")
    override = capture.text(f"{folder}/driver_override")
    node = read_number(capture, f"{folder}/numa_node")
    methods = capture.get(f"{folder}/reset_method")
    return PciDevice(
        address=address,
        id=pair,
        subsystem=_pair(capture, f"{folder}/subsystem_vendor", f"{folder}/subsystem_device"),
        class_code=read_number(capture, f"{folder}/class") or 0,
        revision=read_number(capture, f"{folder}/revision") or 0,
        name=names.get(pair) or names.get(pair[:4], ""),
        driver=read_link_name(capture, f"{folder}/driver"),
        module=read_link_name(capture, f"{folder}/driver/module"),
        driver_override=None if override in {None, "", "(null)"} else override,
        group=read_link_name(capture, f"{folder}/iommu_group"),
        reset_methods=tuple(methods.text.split()) if methods.status is Status.READ else None,
        resettable=exists(capture.get(f"{folder}/reset")),
        link_speed=capture.text(f"{folder}/current_link_speed") or "",
        link_width=capture.text(f"{folder}/current_link_width") or "",
        numa_node=None if node is None or node < 0 else node,
        path=read_path(capture, folder) or f"/{folder}",
    )


def _pair(capture: Capture, vendor: str, device: str) -> str:
    numbers = (read_number(capture, vendor), read_number(capture, device))
    if any(number is None or not 0 <= number <= _LARGEST_ID for number in numbers):
        return ""
    return str(PciId(*(number for number in numbers if number is not None)))


def _is_address(text: str) -> bool:
    try:
        return str(PciAddress.parse(text)) == text
    except ValueError:
        return False
