"""Real hosts' kernel logs: what they prove of the IOMMU, and what they do not."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

import pytest

from harness.core.capture import Capture, Item, Status
from harness.facts.host import HostFacts, read_facts
from harness.facts.log import LOG
from tests.corpus import Piece, pieces, score

Record = Callable[[str, object], None]

LARGE = 200_000
VENDORS = {"arm-smmu": "arm", "ppc-tce": "other"}
DOMAINS = {"-": "unknown"}
GROUPS = {  # the index counts lines that match, we count devices in groups
    "hp-proliant-dl388p-gen8": (62, 151),  # a serial console tore the lines of three groups and six devices
    "lenovo-20n2s0pg00": (19, 25),  # a dock was plugged in again and again: 47 lines, of 25 devices
    "hp-hp-omnibook-ultra": (36, 49),  # likewise: 59 lines, of 49 devices
}


@functools.cache
def read(piece: Piece) -> HostFacts:
    """Read the facts of a host that gave nothing but its kernel's log."""
    return read_facts(Capture({LOG: Item(Status.READ, piece.read())}), {})


def answer(said: str) -> str:
    """Return ours for the index's ``yes``, ``cannot tell (why)`` and the like."""
    word = said.split(" (", maxsplit=1)[0]
    return "unknown" if word == "cannot tell" else word


def spelled(ranges: object) -> str:
    """Return memory ranges as the index writes them."""
    assert isinstance(ranges, tuple)
    return ",".join(f"{found.first:x}-{found.last:x}" for found in ranges) or "-"


@pytest.mark.parametrize(
    ("key", "find", "truth"),
    [
        pytest.param("vendor", lambda facts: facts.iommu.vendor, lambda said: VENDORS.get(said, said), id="vendor"),
        pytest.param("dma_remap", lambda facts: facts.iommu.dma_remapping, answer, id="dma_remap"),
        pytest.param("irq_remap", lambda facts: facts.iommu.interrupt_remapping, answer, id="irq_remap"),
        pytest.param(
            "default_domain",
            lambda facts: facts.iommu.default_domain,
            lambda said: DOMAINS.get(said, said.lower()),
            id="default_domain",
        ),
        pytest.param("kernel", lambda facts: facts.log.release, str, id="kernel"),
        pytest.param("rmrr", lambda facts: spelled(facts.iommu.rmrr), str, id="rmrr"),
    ],
)
def test_corpus_dmesg(
    key: str, find: Callable[[HostFacts], object], truth: Callable[[str], str], record_property: Record
) -> None:
    """The log of a real host gives what a reader sees in it."""
    judged = [(piece.name, find(read(piece)), truth(piece.truth[key])) for piece in pieces("dmesg") if key in piece.truth]

    score(record_property, f"dmesg {key}", judged)


def test_corpus_dmesg_groups(record_property: Record) -> None:
    """All groups of a real host's log are found, and all devices in them."""
    judged = []
    for piece in pieces("dmesg"):
        if said := re.match(r"(\d+) \((\d+) devices\)", piece.truth.get("groups_in_log", "")):
            groups = read(piece).iommu.groups
            known = next((counts for name, counts in GROUPS.items() if name in piece.name), (int(said[1]), int(said[2])))
            judged.append((piece.name, (len(groups), sum(map(len, groups.values()))), known))

    score(record_property, "dmesg groups_in_log", judged)


def test_corpus_dmesg_rmrr_devices(record_property: Record) -> None:
    """The devices for which firmware reserves memory are those that the log names."""
    judged = []
    for piece in pieces("dmesg"):
        if said := piece.truth.get("rmrr_devices"):
            named = re.findall(r"[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", said.split(" (", maxsplit=1)[0])
            found = [address.removeprefix("0000:") for address in read(piece).iommu.rmrr_devices]
            judged.append((piece.name, found, named))

    score(record_property, "dmesg rmrr_devices", judged)


def test_corpus_dmesg_evidence(record_property: Record) -> None:
    """Every yes and no about DMA has evidence, and none of it is what the kernel prints before it has looked."""
    judged = []
    for piece in pieces("dmesg"):
        iommu = read(piece).iommu
        if iommu.dma_remapping in {"yes", "no"}:
            decoy = any("IOMMU enabled" in item.text for item in iommu.dma_evidence)
            judged.append((piece.name, (bool(iommu.dma_evidence), decoy), (True, False)))

    score(record_property, "dmesg evidence", judged)


def test_corpus_dmesg_cut(record_property: Record) -> None:
    """A log that is cut off, at its end or at its begin, never turns an answer round: it can only know less."""
    judged: list[tuple[str, object, object]] = []
    for piece in pieces("dmesg"):
        data, whole = piece.read(), read(piece).iommu
        for share in (0.05, 0.1, 0.3, 0.6) if len(data) < LARGE else ():
            at = int(share * len(data))
            for cut in (data[:at], data[at:]):
                iommu = read_facts(Capture({LOG: Item(Status.READ, cut)}), {}).iommu
                pairs = ((iommu.dma_remapping, whole.dma_remapping), (iommu.interrupt_remapping, whole.interrupt_remapping))
                judged.append((f"{piece.name} {share}", [found for found, truth in pairs if found not in {truth, "unknown"}], []))

    score(record_property, "dmesg cut", judged)
