"""PCI functions: as sysfs shows them, else as lspci's texts tell of them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from harness.core.capture import Capture, Status
from harness.core.pci import USB_CLASS, XHCI_CLASS, PciAddress, PciId
from harness.facts.disagreement import Disagreement
from harness.facts.lspci import parse_lspci
from harness.facts.lspci_mm import parse_lspci_mm
from harness.facts.lspci_tree import parse_lspci_tree
from harness.facts.sysfs import exists, read_link_name, read_names, read_number, read_path, timed_out
from harness.facts.told import Told, fill, interface_of, join_outputs

_FOLDER, _REAL = "sys/bus/pci/devices", "/sys/devices/"
_SLOTS = "sys/bus/pci/slots"
_COMMANDS = ("commands/lspci", "commands/lspci-mm", "commands/lspci-tree")
# PCI Express numbers a port 0 whose device is built in; of several the kernel calls the next 0-1.
_NO_SLOT = re.compile(r"^0(?:-\d+)?$")
_PCI_BRIDGE = 0x0604
_HOST_BRIDGE = 0x0600
_LARGEST_ID = 0xFFFF
_LARGEST_CLASS = 0xFFFFFF


class PciDevice(msgspec.Struct, frozen=True):
    """One function. ``address`` is ``0000:01:00.0``, ``id`` and ``subsystem`` are ``1033:0194`` (empty: not known).

    ``reset_methods`` is None where the kernel offers no such file: no method, or older than 5.15 (then ``resettable`` tells).
    ``path`` is the real path in sysfs, which names the bridges above; ``driver_override`` is None when none is set.
    ``interrupts`` is ``msix``, ``msi``, ``intx`` or empty (unknown): in use now. ``slot`` is the physical one, if known.
    ``source`` is ``sysfs``, or the capture's item that told of a function which sysfs did not show (``commands/lspci``).
    ``class_known`` is off where no class was told, ``prog_if_known`` where a text gave the class without its last byte;
    ``driver_known`` is off where a function is without driver only because nothing shows drivers. ``label`` is the firmware's own
    name for what is built in. ``flr`` is what the capabilities say of a function level reset, None where no text shows
    them; ``resets_known`` is off where a function is without reset methods only because nobody asked for them. ``vfio_device`` is
    the name of its node in /dev/vfio/devices (Linux 6.6 and later).
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
    driver_known: bool = True
    label: str = ""
    flr: bool | None = None
    resets_known: bool = True
    vfio_device: str = ""

    @property
    def pci_address(self) -> PciAddress:
        """Return the address as a value that compares and sorts."""
        return PciAddress.parse(self.address)

    @property
    def slot_path(self) -> str:
        """Return the way from the host bridge, ``pci0000:00/0000:00:1c.0/0000:05:00.0``; empty: not known."""
        return plain_path(self.path) if self.path.startswith(_REAL) else ""

    @property
    def class_text(self) -> str:
        """Return the class as lspci -n spells it, with question marks for what is not known: ``0c0330``, ``0c03??``."""
        text = f"{self.class_code:06x}" if self.class_known else "??????"
        return text if self.prog_if_known else f"{text[:4]}??"

    @property
    def is_usb(self) -> bool:
        """Return whether this is of class 0c03, of whatever programming interface."""
        return self.class_code >> 8 == USB_CLASS

    @property
    def is_xhci(self) -> bool:
        """Return whether this is an xHCI controller; "USB controller" would be too wide."""
        return self.class_code == XHCI_CLASS and self.prog_if_known

    @property
    def is_bridge(self) -> bool:
        """Return whether it may share a group with a device that is given away: a PCI bridge, or a host bridge without driver."""
        kind = self.class_code >> 8
        return kind == _PCI_BRIDGE or (kind == _HOST_BRIDGE and self.driver is None)


def plain_path(path: str) -> str:
    """Return a path in sysfs from below /sys/devices."""
    return path.removeprefix(_REAL).strip("/").lower()


def read_pci(capture: Capture, names: Mapping[str, str], groups: Mapping[str, str] | None = None) -> tuple[PciDevice, ...]:
    """Read every function, by address. What sysfs shows is right; what it does not show is taken from lspci's texts.

    ``names`` gives the names of ids, ``groups`` the group of an address of which neither sysfs nor lspci tells one.
    """
    shown = _read_shown(capture)
    sources = _read_told(capture)
    drivers_shown = any(device.driver is not None for device in shown.values())
    found = []
    for address in sorted({*shown, *(address for told in sources.values() for address in told)}, key=PciAddress.parse):
        fitting = [(command, told[address]) for command, told in sources.items() if address in told]
        device = shown.get(address) or _unshown(address, fitting[0][0])
        told = Told(address)
        for _, more in fitting:
            told = fill(told, more)
        found.append(_complete(capture, device, told, names, groups or {}, drivers_shown=drivers_shown))
    return tuple(found)


def find_pci_disagreements(capture: Capture) -> tuple[Disagreement, ...]:
    """Return what lspci's texts say differently from sysfs of id, class, driver, group and revision; names are never compared."""
    sources = _read_told(capture)
    shown = _read_shown(capture) if sources else {}
    drivers_shown = any(device.driver is not None for device in shown.values())
    return tuple(
        Disagreement(address, what, sysfs, said, command)
        for command, functions in sources.items()
        for address, told in functions.items()
        if address in shown
        for what, sysfs, said in _compare(capture, shown[address], told, drivers_shown=drivers_shown)
        if sysfs and said and sysfs != said
    )


def _compare(capture: Capture, device: PciDevice, told: Told, *, drivers_shown: bool) -> list[tuple[str, str, str]]:
    """Return attribute, what sysfs shows and what the text says; empty where one of them does not tell."""
    kind = "" if told.kind is None else f"{told.kind:04x}" + ("" if told.prog_if is None else f"{told.prog_if:02x}")
    driver = "" if told.driver is None or not drivers_shown or not device.driver_known else told.driver or "none"
    revision = read_number(capture, f"{_FOLDER}/{device.address}/revision")
    return [
        ("id", device.id, told.id),
        ("class", device.class_text[: len(kind)] if device.class_known else "", kind),
        ("driver", device.driver or "none", driver),
        ("group", device.group or "", told.group or ""),
        ("revision", "" if revision is None else f"{revision:02x}", "" if told.revision is None else f"{told.revision:02x}"),
    ]


def _read_told(capture: Capture) -> dict[str, dict[str, Told]]:
    """Return what each command's text tells, by address. Whatever an item is named, its text may hold a list and a tree."""
    sources = {}
    for command in _COMMANDS:
        text = capture.text(command)
        if text is not None:
            parsers = (parse_lspci, parse_lspci_mm, parse_lspci_tree)
            found = join_outputs({told.address: told for told in parse(text)} for parse in parsers)
            sources[command] = {told.address: told for told in found}
    return sources


def _unshown(address: str, source: str) -> PciDevice:
    path = f"/{_FOLDER}/{address}"
    return PciDevice(address, path=path, source=source, class_known=False, prog_if_known=False, driver_known=False)


def _complete(
    capture: Capture,
    device: PciDevice,
    told: Told,
    names: Mapping[str, str],
    groups: Mapping[str, str],
    *,
    drivers_shown: bool,
) -> PciDevice:
    """Return a function with what sysfs does not show of it from the texts."""
    folder = f"{_FOLDER}/{device.address}"
    alike = ("id", "subsystem", "group", "numa_node", "interrupts", "slot", "label", "flr")
    links = ("link_speed", "link_width", "max_link_speed", "max_link_width")
    changes: dict[str, object] = {
        name: value
        for name in (*alike, *links)
        if getattr(device, name) in {None, ""}
        and (value := getattr(told, name)) not in {None, ""}
        and not (name == "slot" and _NO_SLOT.match(str(value)))
    }
    if read_number(capture, f"{folder}/revision") is None:
        changes["revision"] = told.revision or 0
    if not device.class_known and told.kind is not None:
        changes |= {"class_code": told.kind << 8 | (told.prog_if or 0), "class_known": True}
        changes["prog_if_known"] = told.prog_if is not None
    if not drivers_shown and told.driver is not None:
        module = told.modules[0] if told.driver and len(told.modules) == 1 else None
        changes |= {"driver": told.driver or None, "driver_known": True, "module": module}
    if device.path == f"/{folder}" and told.path:
        changes["path"] = told.path
    found = msgspec.structs.replace(device, **changes)
    return msgspec.structs.replace(
        found,
        name=names.get(found.id) or told.name or names.get(found.id[:4], ""),
        group=found.group or groups.get(found.address),
        **_settle_interface(found),
    )


def _settle_interface(device: PciDevice) -> dict[str, object]:
    """Return the programming interface of a USB controller of which only the driver tells it."""
    interface = interface_of(device.driver) if device.is_usb and not device.prog_if_known else None
    return {} if interface is None else {"class_code": device.class_code & ~0xFF | interface, "prog_if_known": True}


def _read_shown(capture: Capture) -> dict[str, PciDevice]:
    """Return what sysfs shows, by address, without names of ids."""
    addresses = [address for address in read_names(capture, _FOLDER) if _is_address(address)]
    devices = {address: _read_device(capture, address) for address in addresses}
    slots = _read_slots(capture)
    messages = _read_messages(capture)
    late = timed_out(capture, "pci")
    drivers_shown = any(device.driver is not None for device in devices.values())
    for address, device in devices.items():
        link = capture.get(f"{_FOLDER}/{address}/driver").status
        known = device.driver is not None or (drivers_shown and link is Status.ABSENT and not late)
        devices[address] = msgspec.structs.replace(
            device,
            slot=slots.get(address.rpartition(".")[0], ""),
            interrupts=_interrupts(capture, device, messages),
            driver_known=known,
        )
    return devices


def _read_device(capture: Capture, address: str) -> PciDevice:
    folder = f"{_FOLDER}/{address}"
    override = capture.text(f"{folder}/driver_override")
    node = read_number(capture, f"{folder}/numa_node")
    methods = capture.get(f"{folder}/reset_method")
    kind = read_number(capture, f"{folder}/class")
    kind = kind if kind is not None and 0 <= kind <= _LARGEST_CLASS else None
    return PciDevice(
        address=address,
        id=_pair(capture, f"{folder}/vendor", f"{folder}/device"),
        subsystem=_pair(capture, f"{folder}/subsystem_vendor", f"{folder}/subsystem_device"),
        class_code=kind or 0,
        revision=read_number(capture, f"{folder}/revision") or 0,
        driver=read_link_name(capture, f"{folder}/driver"),
        module=read_link_name(capture, f"{folder}/driver/module"),
        driver_override=None if override in {None, "", "(null)"} else override,
        group=read_link_name(capture, f"{folder}/iommu_group"),
        reset_methods=tuple(methods.text.split()) if methods.status is Status.READ else None,
        resettable=exists(capture.get(f"{folder}/reset")),
        resets_known=methods.status is Status.READ
        or (methods.status is Status.ABSENT and capture.asked(f"{folder}/reset_method")),
        link_speed=_known(capture, f"{folder}/current_link_speed"),
        link_width=_known(capture, f"{folder}/current_link_width"),
        max_link_speed=_known(capture, f"{folder}/max_link_speed"),
        max_link_width=_known(capture, f"{folder}/max_link_width"),
        numa_node=None if node is None or node < 0 else node,
        path=read_path(capture, folder) or f"/{folder}",
        class_known=kind is not None,
        prog_if_known=kind is not None,
        label=capture.text(f"{folder}/label") or "",
        vfio_device=next(iter(read_names(capture, f"{folder}/vfio-dev")), ""),
    )


def _known(capture: Capture, name: str) -> str:
    """Return an attribute of a link, empty for what the kernel writes where there is none: ``Unknown``, 0 or 255 lanes."""
    text = capture.text(name) or ""
    return "" if text in {"0", "255"} or text.startswith("Unknown") else text


def _read_slots(capture: Capture) -> dict[str, str]:
    """Return the name of the physical slot by the address without function: ``0000:05:00``."""
    slots = {address: slot for slot in capture.children(_SLOTS) if (address := capture.text(f"{_SLOTS}/{slot}/address"))}
    return {address: slot for address, slot in slots.items() if not _NO_SLOT.match(slot)}


def _read_messages(capture: Capture) -> dict[str, set[str]]:
    """Return the kinds of message interrupts by address (``msix``), for each function whose ``msi_irqs`` was listed."""
    found: dict[str, set[str]] = {}
    for name, item in capture.items.items():
        if name.startswith(_FOLDER) and "/msi_irqs" in name and item.status is Status.READ:
            address, _, rest = name[len(_FOLDER) + 1 :].partition("/")
            kinds = found.setdefault(address, set())
            kinds |= {item.text} & {"msi", "msix"} if rest != "msi_irqs" else set(item.text.split()) and {"?"}
    return found


def _interrupts(capture: Capture, device: PciDevice, messages: Mapping[str, set[str]]) -> str:
    """Return what interrupts a function uses: a pin only where the capture shows who else uses messages (Linux 3.2 and later)."""
    kinds = messages.get(device.address, set())
    if kinds:
        return next((kind for kind in ("msix", "msi") if kind in kinds), "")
    irq = read_number(capture, f"{_FOLDER}/{device.address}/irq") or 0
    return "intx" if messages and irq > 0 and device.driver is not None else ""


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
