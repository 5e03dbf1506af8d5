"""A survey for people: one screen that says what the board is, what may be given away at what cost, and what to do."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from harness.core.finding import Finding
from harness.rules.rule import HOST
from harness.rules.survey import Fleet, FleetHost, Survey, UsbController
from harness.rules.verdict import find_reasons

_VENDORS = {"intel": "Intel VT-d", "amd": "AMD-Vi", "arm": "Arm SMMU", "other": "of another kind"}
_SHORT_DOMAIN = "0000:"


class Line(NamedTuple):
    """A line of the screen, and what it is about: ``head``, a verdict's word, or nothing."""

    text: str
    mark: str = ""


def show_survey(survey: Survey, width: int = 100) -> Iterator[Line]:
    """Yield the lines of the screen, none wider than ``width``. Texts are the host's: whoever prints them makes them visible."""
    yield from (line._replace(mark="head") for line in _wrapped(" · ".join(filter(None, _headline(survey))), width))
    yield from _wrapped(f"IOMMU: {_describe_iommu(survey)}", width)
    yield from _wrapped(_describe_guests(survey), width)
    for controller in survey.usb_controllers:
        yield Line("")
        yield from _show_controller(controller, _describe_driver(survey, controller), width)
    if not survey.usb_controllers:
        yield Line("")
        yield Line("no USB controller is known of this host")
    yield from _show_remedies(survey, width)
    if survey.gaps:
        yield Line("")
        yield from _wrapped(f"not read: {_shorten(survey.gaps)}", width)


def _headline(survey: Survey) -> tuple[str, ...]:
    board = " ".join(filter(None, (survey.board.vendor, survey.board.name))) or "a board that does not tell its name"
    system = " ".join(filter(None, ("Linux", survey.kernel.release)))
    processor = " ".join(survey.cpu.model.split())  # makers pad the name
    return (board, survey.board.firmware, processor, system if survey.kernel.release else "", survey.kernel.distribution)


def _describe_iommu(survey: Survey) -> str:
    iommu = survey.iommu
    parts = [
        _VENDORS.get(iommu.vendor, iommu.vendor),
        f"DMA remapping {iommu.dma_remapping}",
        f"interrupt remapping {iommu.interrupt_remapping}",
        _count_groups(survey),
    ]
    if iommu.default_domain != "unknown" and iommu.dma_remapping == "yes":  # the kernel names its default without an IOMMU too
        parts.append(f"the host's own DMA is {'translated' if iommu.default_domain == 'translated' else 'passed through'}")
    return ", ".join(parts)


def _count_groups(survey: Survey) -> str:
    if not survey.groups:
        return "no groups" if survey.iommu.dma_remapping == "no" else "groups not known"
    return f"{len(survey.groups)} group{'s' if len(survey.groups) > 1 else ''}"


def _describe_guests(survey: Survey) -> str:
    missing = "not there" if survey.kvm.asked else "not seen"
    kvm = "usable" if survey.kvm.accessible else "not to be opened" if survey.kvm.present else missing
    return f"guests: {survey.cpu.virtualization or 'no vmx or svm seen'}, /dev/kvm {kvm}, {survey.qemu_version or 'no QEMU seen'}"


def _describe_driver(survey: Survey, controller: UsbController) -> str:
    """Return a controller's driver, or that it has none, or that nothing shows it."""
    known = any(device.driver_known for device in survey.pci if device.address == controller.address)
    return controller.driver or ("no driver" if known else "driver unknown")


def _show_controller(controller: UsbController, driver: str, width: int) -> Iterator[Line]:
    slot = f"slot {controller.slot}" if controller.slot else ""
    group = f"group {controller.group}" if controller.group else ""
    identity = f"{controller.name} [{controller.id}]" if controller.id else controller.name
    facts = ", ".join(filter(None, (driver, group, slot)))
    head = f"{controller.address}  {controller.interface or controller.class_code}  {identity}"
    parts = [f"{head} ({facts})"] if len(head) + len(facts) + 3 <= width else [head, f"    ({facts})"]
    yield from (line._replace(mark="head") for part in parts for line in _wrapped(part, width, hang=4))
    if not controller.verdict:
        return
    yield Line(f"  {controller.verdict.value.upper()}", controller.verdict.value)
    for reason in controller.reasons:
        yield from _wrapped(f"  - {reason}", width, hang=4)
    yield from _wrapped(f"  {controller.blast_radius}", width, hang=4)


def _show_remedies(survey: Survey, width: int) -> Iterator[Line]:
    """Yield what to do about what the verdicts rest on; what several findings share is said once."""
    told: dict[str, list[str]] = {}
    for finding in _reasons(survey):
        if finding.remedy:
            told.setdefault(finding.remedy, []).append(finding.rule)
    if told:
        yield Line("")
        yield Line("what to do (`throughpass explain RULE` tells more)", "head")
    for remedy, rules in told.items():
        yield from _wrapped(f"  {', '.join(dict.fromkeys(rules))}  {remedy}", width, hang=4)


def _reasons(survey: Survey) -> Iterator[Finding]:
    """Yield the findings behind the verdicts, or those about the host where there is no controller to judge."""
    if not survey.usb_controllers:
        yield from find_reasons(survey.findings)
    for controller in survey.usb_controllers:
        rules = {reason.partition(" ")[0] for reason in controller.reasons}
        yield from (each for each in survey.findings if each.rule in rules and each.subject in {HOST, controller.address})


def _shorten(gaps: tuple[str, ...]) -> str:
    """Return the gaps by what ended them, long lists cut."""
    shown = 4
    parts = []
    for state, names in groupby(sorted(gaps, key=_state), key=_state):
        listed = [gap.removesuffix(f" {state}") for gap in names]
        more = f" and {len(listed) - shown} more" if len(listed) > shown else ""
        parts.append(f"{', '.join(listed[:shown])}{more} ({state})")
    return "; ".join(parts)


def _state(gap: str) -> str:
    return gap.partition(" ")[2]


def _wrapped(text: str, width: int, hang: int = 2) -> Iterator[Line]:
    for line in textwrap.wrap(text, width, subsequent_indent=" " * hang, break_long_words=False, break_on_hyphens=False):
        yield Line(line)


def show_fleet(fleet: Fleet, width: int = 100) -> Iterator[Line]:
    """Yield a table with a line for each host; a host that gave no survey has its reason there."""
    rows = [_row(host) for host in fleet.hosts]
    columns = ("host", "board", "IOMMU", "DMA", "IRQ", "xHCI")
    table = [columns, *(row for row in rows if isinstance(row, tuple))]
    widths = [max(len(row[at]) for row in table) for at in range(len(columns))]
    widths[1] = max(5, min(widths[1], width - sum(widths) + widths[1] - 2 * (len(columns) - 1)))
    yield Line(_aligned(columns, widths), "head")
    for host, row in zip(fleet.hosts, rows, strict=True):
        if isinstance(row, tuple):
            yield Line(_aligned(row, widths))
        else:
            yield from _wrapped(f"{host.target:<{widths[0]}}  {row}", width, hang=widths[0] + 2)


def _row(host: FleetHost) -> tuple[str, ...] | str:
    if host.survey is None:
        return host.error or "no answer"
    survey = host.survey
    board = " ".join(filter(None, (survey.board.vendor, survey.board.name))) or "-"
    verdicts = ", ".join(f"{address.removeprefix(_SHORT_DOMAIN)} {verdict.value}" for address, verdict in survey.verdict.items())
    iommu = survey.iommu
    return (host.target, board, iommu.vendor, iommu.dma_remapping, iommu.interrupt_remapping, verdicts or "none")


def _aligned(row: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(f"{cell[:width]:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
