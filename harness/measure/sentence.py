"""Judgements in words: one sentence that says no more than the interval does."""

from __future__ import annotations

from dataclasses import dataclass

from harness.core.judgement import Call
from harness.measure.design import AGAIN, NATIVE, PCI, USB_HOST, VIRTIO_BLK
from harness.measure.statistics import Interval

_NAMES = {
    PCI: "PCI passthrough",
    USB_HOST: "USB-level passthrough",
    NATIVE: "the host itself",
    VIRTIO_BLK: "the host's block device",
}
_LARGEST = 1000


@dataclass(frozen=True)
class Subject:
    """Who is compared with whom, where and in how many blocks; ``measured`` counts blocks that lack one of the arms too."""

    cell: str
    arm: str
    base: str
    blocks: int
    measured: int

    @property
    def verb(self) -> str:
        """Return what the cell does: ``reads`` or ``writes``."""
        return "writes" if self.cell.endswith("write") else "reads"

    @property
    def scope(self) -> str:
        """Return what the figure rests on: ``6 blocks, SEQ1M Q8T1 read``."""
        count = f"{self.blocks} of {self.measured}" if self.blocks < self.measured else f"{self.blocks}"
        return f"{count} block{'' if self.measured == 1 else 's'}, {self.cell}"


def arm_name(arm: str) -> str:
    """Return an arm's name for readers; an unknown arm keeps its own."""
    kind, again, _ = arm.partition(AGAIN)
    return f"{_NAMES.get(kind, kind)} again" if again else _NAMES.get(arm, arm)


def judgement_sentence(subject: Subject, interval: Interval, call: Call, native: str) -> str:
    """Return the sentence for a call on an interval; NOT_JUDGED means that nobody asked for a verdict."""
    arm, base, verb = arm_name(subject.arm), arm_name(subject.base), subject.verb
    figures = ratio_text(interval)
    plain = f"{arm} {verb} {figures[0]}x as fast as {base} {figures[1]}, {subject.scope}"
    if call is Call.EQUIVALENT:
        return f"{arm} {verb} as fast as {base} within 3 %: {figures[0]}x {figures[1]}, {subject.scope}"
    if call is Call.INCONCLUSIVE:
        return f"inconclusive, {arm} may be slower or faster than {base}: {figures[0]}x {figures[1]}, {subject.scope}"
    if call is Call.UNFIT_BENCH:
        return f"unfit bench, nothing is said of {arm} against {base}: {figures[0]}x {figures[1]}, {subject.scope}"
    if call is Call.DEVICE_LIMITED:
        return f"device-limited, this disk cannot separate the arms (both equal {arm_name(native)}): {plain}"
    return f"not judged, this profile gives no verdict: {plain}" if call is Call.NOT_JUDGED else plain


def ratio_text(interval: Interval) -> tuple[str, str]:
    """Return ``("7.91", "[7.62, 8.20]")``."""
    return _figures(interval.ratio), f"[{_figures(interval.low)}, {_figures(interval.high)}]"


def _figures(ratio: float) -> str:
    """Return three significant figures; two blocks that disagree have ends that no reader needs in full."""
    if ratio >= _LARGEST:
        return f">{_LARGEST}"
    return f"<{1 / _LARGEST}" if ratio < 1 / _LARGEST else f"{ratio:#.3g}".rstrip(".")
