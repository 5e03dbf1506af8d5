"""The survey: one document of what a host says and what it means, the answer to "may this controller be given away?".

It is what ``throughpass survey --json`` prints and what a record keeps of its host.

Format history:
1: first version.
"""

from __future__ import annotations

import functools
from importlib.metadata import version
from typing import Any, Literal

import msgspec

from harness.core.capture import Capture
from harness.core.finding import Finding
from harness.facts.acpi import Acpi
from harness.facts.cpu import Cpu
from harness.facts.disagreement import Disagreement
from harness.facts.faults import Fault
from harness.facts.host import HostFacts, read_facts
from harness.facts.kernel import Board, Kernel
from harness.facts.members import find_group, find_members
from harness.facts.modules import Kvm, Vfio
from harness.facts.names import usb_interface
from harness.facts.network import NetworkInterface
from harness.facts.pci import PciDevice
from harness.facts.storage import Disk
from harness.facts.usb import UsbDevice
from harness.facts.usb_bus import UsbBus
from harness.rules.blast import Loss, find_blast
from harness.rules.verdict import ControllerVerdict, Readiness, judge_controllers

Known = Literal["yes", "no", "unknown"]


class Source(msgspec.Struct, frozen=True):
    """Where a survey was made; ``name`` is the host as it was called, the bench, or the capture's file."""

    kind: Literal["local", "ssh", "virtual", "capture", "guest"]
    name: str


class IommuState(msgspec.Struct, frozen=True):
    """The IOMMU in short; interrupt remapping is n/a where a platform has none.

    ``groups_source`` tells where the document's groups are from: ``sysfs``, ``commands/iommu-groups``, ``commands/dmesg`` or
    nowhere; unless ``groups_complete``, what is in no group of the document may be in one all the same.
    """

    vendor: Literal["intel", "amd", "arm", "other", "none", "unknown"]
    dma_remapping: Known
    interrupt_remapping: Literal["yes", "no", "unknown", "n/a"]
    default_domain: Literal["translated", "passthrough", "unknown"]
    units: tuple[str, ...] = ()
    interrupt_chips: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    groups_source: str = ""
    groups_complete: bool = False


class Link(msgspec.Struct, frozen=True):
    """A PCI Express link, as sysfs spells it: ``5.0 GT/s PCIe``, ``1``; empty: not known."""

    speed: str = ""
    width: str = ""
    max_speed: str = ""
    max_width: str = ""


class UsbController(msgspec.Struct, frozen=True):
    """One function of class 0c03, of whatever programming interface.

    ``class_code`` has question marks for what is not known (``0c03??``), ``prog_if`` is empty then; ``interface`` is it in words.
    ``group_members`` are the others in its IOMMU group. ``reset_methods`` is null where the kernel does not tell.
    ``losses`` is what the host loses with it, ``blast_radius`` the same as a sentence.
    ``verdict`` is null for what is no xHCI controller; ``reasons`` are what it rests on, the weightiest first, each with its
    rule's id; ``unknowns`` is what else is not known and did not decide.
    """

    address: str
    id: str
    subsystem: str
    name: str
    class_code: str
    prog_if: str
    interface: str
    driver: str | None
    driver_override: str | None
    group: str | None
    group_members: tuple[str, ...]
    reset_methods: tuple[str, ...] | None
    link: Link
    interrupts: str
    numa_node: int | None
    slot: str
    usb_devices: tuple[UsbDevice, ...]
    disks: tuple[Disk, ...]
    losses: tuple[Loss, ...]
    blast_radius: str
    verdict: Readiness | None
    reasons: tuple[str, ...]
    unknowns: tuple[str, ...]


class Survey(msgspec.Struct, frozen=True):
    """The whole document. Addresses in memory are numbers, PCI addresses text; ``gaps`` names what the host would not say."""

    schema: Literal[1]
    suite_version: str
    source: Source
    taken: str
    board: Board
    cpu: Cpu
    kernel: Kernel
    iommu: IommuState
    groups: dict[str, tuple[str, ...]]
    group_types: dict[str, str]
    reserved_regions: dict[str, tuple[str, ...]]
    acpi: Acpi
    usb_controllers: tuple[UsbController, ...]
    usb_tree: tuple[UsbBus, ...]
    findings: tuple[Finding, ...]
    verdict: dict[str, Readiness]
    pci: tuple[PciDevice, ...]
    disks: tuple[Disk, ...]
    network: tuple[NetworkInterface, ...]
    kvm: Kvm
    vfio: Vfio
    qemu_version: str
    tools: tuple[str, ...] | None
    gaps: tuple[str, ...]
    disagreements: tuple[Disagreement, ...]


class FleetHost(msgspec.Struct, frozen=True):
    """One host of a fleet: its survey, or one sentence why there is none."""

    target: str
    survey: Survey | None = None
    error: str | None = None


class Fleet(msgspec.Struct, frozen=True):
    """Several hosts, in the order in which they were named."""

    schema: Literal[1]
    hosts: tuple[FleetHost, ...]


@functools.cache
def _version() -> str:
    return version("throughpass")


def survey_of(capture: Capture, source: Source) -> Survey:
    """Return what a capture says and what it means."""
    return make_survey(read_facts(capture), source)


def make_survey(facts: HostFacts, source: Source) -> Survey:
    """Return the document of a host's facts."""
    judged = judge_controllers(facts)
    return Survey(
        schema=1,
        suite_version=_version(),
        source=source,
        taken=facts.taken,
        board=facts.board,
        cpu=facts.cpu,
        kernel=facts.kernel,
        iommu=msgspec.convert(facts.iommu, IommuState, from_attributes=True),
        groups=facts.iommu.groups,
        group_types=facts.iommu.group_types,
        reserved_regions=facts.iommu.reserved_regions,
        acpi=facts.acpi,
        usb_controllers=tuple(_controller(facts, each) for each in judged.controllers),
        usb_tree=facts.usb_tree,
        findings=(*judged.findings, *(finding for each in judged.controllers for finding in each.findings)),
        verdict={each.controller.address: each.readiness for each in judged.controllers if each.readiness},
        pci=facts.pci,
        disks=facts.disks,
        network=facts.network,
        kvm=facts.kvm,
        vfio=facts.vfio,
        qemu_version=facts.qemu_version,
        tools=facts.tools,
        gaps=facts.gaps,
        disagreements=facts.disagreements,
    )


def _controller(facts: HostFacts, judged: ControllerVerdict) -> UsbController:
    device = judged.controller
    blast = find_blast(facts, device)
    prog_if = f"{device.class_code & 0xFF:02x}" if device.prog_if_known else ""
    return UsbController(
        address=device.address,
        id=device.id,
        subsystem=device.subsystem,
        name=device.name,
        class_code=device.class_text,
        prog_if=prog_if,
        interface=usb_interface(device),
        driver=device.driver,
        driver_override=device.driver_override,
        group=find_group(facts, device),
        group_members=tuple(address for address in find_members(facts, device) if address != device.address),
        reset_methods=device.reset_methods,
        link=Link(device.link_speed, device.link_width, device.max_link_speed, device.max_link_width),
        interrupts=device.interrupts,
        numa_node=device.numa_node,
        slot=device.slot,
        usb_devices=facts.usb_on(device.address),
        disks=facts.disks_on(device.address),
        losses=blast.losses,
        blast_radius=blast.sentence,
        verdict=judged.readiness,
        reasons=tuple(map(_told, judged.reasons)),
        unknowns=tuple(map(_told, judged.unknowns)),
    )


def _told(finding: Finding) -> str:
    return f"{finding.rule} {finding.message}"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a survey."""
    return msgspec.json.schema(Survey)


def fleet_schema() -> dict[str, Any]:
    """Return the JSON Schema of the surveys of several hosts."""
    return msgspec.json.schema(Fleet)
