"""Stage 5: data stay the same whichever way they go. A way that spoils them has no speed."""

from __future__ import annotations

from collections.abc import Callable

from fixtures.integrity import told
from fixtures.outcomes import require
from fixtures.run import BenchRun
from harness.measure.integrity import Visit, Window, judge_visits, void_arms


def test_ways_agree(run: BenchRun, window: Window, visits: tuple[Visit, ...]) -> None:
    """What one way to the stick leaves, the next one finds: host, PCI passthrough, USB passthrough."""
    written = any(visit.wrote for visit in visits)
    done = "written and verified by fio (crc32c), and hashed" if written else "read and hashed: nothing may be written"
    run.note(f"{window.size_mib} MiB from {window.offset_mib} MiB on, {done}", told(visits))
    wrong = judge_visits(visits)
    if wrong:
        run.note("figures that do not count", ", ".join(void_arms(wrong)))

    require(
        not wrong,
        "data differ: " + "; ".join(each.sentence for each in wrong),
        "do not trust this board with data: look for DMAR or AMD-Vi faults in the host's log, try another port and stick",
    )


def test_kernel_stays_calm(calm: Callable[[], None]) -> None:
    """While data go each way, neither kernel tells of a fault of the controller's."""
    calm()
