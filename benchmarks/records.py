"""How long records take: two that are compared, and the history of a thousand, each with its page, imports counted apart.

The sides are whole commands, as a user starts them. ``compare`` is two records of the profile standard, ``history`` a thousand of
ten benches with documents of facts as large as a real host's (which a history reads past), ``imports`` a Python that only loads
what both need. The records are made before anything is timed.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.paired import Comparison, Run, Took, make_parser, run, seconds, tell
from harness.core.record import SCHEMA, BoardVerdict, Environment, Record, Verdict, encode
from harness.core.record import Run as RecordRun
from harness.core.series import Sample, Series
from harness.measure.design import PROFILES
from harness.measure.judge import judge_all
from harness.transport.local import LocalTransport
from harness.transport.protocol import check

CLAIM = "Two standard records are compared in less than a second beyond imports; the history of a thousand takes less than ten."
RECORDS, BENCHES = 1000, 10
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
RATES = {"native": 400.0, "pci": 396.0, "usb-host": 281.0}
STANDARD = PROFILES["standard"]
IMPORTS = "import scipy.stats, matplotlib.figure, matplotlib.backends.backend_svg, jinja2, harness.cli, harness.measure.compare"


def make_record(number: int) -> Record:
    """Return a record that nobody measured, a day after the one before of its bench."""
    draw = random.Random(number)  # noqa: S311 (rates of a benchmark)
    series = tuple(
        Series(
            cell.name, arm, tuple(Sample(at, at % 3, rate * draw.lognormvariate(0, 0.02), 5.0) for at in range(STANDARD.blocks))
        )
        for cell in STANDARD.cells
        for arm, rate in RATES.items()
    )
    bench, start = f"rack-{number % BENCHES}", (BEGIN + timedelta(days=number // BENCHES)).isoformat()
    made = RecordRun(f"{bench}/{number}", start, start, "0.1.0", "", bench, "ssh", STANDARD.name, 2)
    facts = {"host": {"pci": [{"address": f"0000:{bus:02x}:00.0", "text": "x" * 400} for bus in range(200)]}}
    verdict, environment = Verdict(BoardVerdict.QUALIFIED), Environment(emulated=False)
    return Record(SCHEMA, made, verdict, environment, facts, series=series, judgements=judge_all(series, STANDARD))


def write_records(root: Path) -> list[Path]:
    """Write all records below a folder as runs lie there, and return their files."""
    paths = [root / f"rack-{number % BENCHES}" / str(number) / "record.json" for number in range(RECORDS)]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True)
        path.write_bytes(encode(make_record(number)))
    return paths


def timed(*argv: str) -> Took:
    """Run a command that must end well, and return how long it took."""
    begun = time.monotonic()
    check(LocalTransport(), argv)
    return Took(time.monotonic() - begun)


def beyond_imports(runs: Sequence[Run]) -> dict[str, list[float]]:
    """Return in each round how many seconds each side took beyond the imports."""
    bare = seconds(runs, "imports")
    return {
        f"{side} beyond imports, s": [took - bare[number] for number, took in seconds(runs, side).items() if number in bare]
        for side in ("compare", "history")
    }


@contextmanager
def open_comparison() -> Iterator[Comparison]:
    """Write the records."""
    throughpass = str(Path(sys.executable).with_name("throughpass"))
    with tempfile.TemporaryDirectory(prefix="throughpass-records-") as scratch:
        folder = Path(scratch)
        tell(f"writing {RECORDS} records")
        first, _, second = map(str, write_records(folder / "runs")[:3])
        page = str(folder / "page.html")
        yield Comparison(
            claim=CLAIM,
            sides={
                "history": lambda: timed(throughpass, "history", str(folder / "runs"), "--html", page),
                "compare": lambda: timed(throughpass, "compare", first, second, "--html", page),
                "imports": lambda: timed(sys.executable, "-c", IMPORTS),
            },
            accelerator="none",
            versions={"python": sys.version.split()[0]},
            details={"records": RECORDS, "benches": BENCHES},
            figures=beyond_imports,
        )


def main() -> int:
    """Read the options and run the comparison."""
    options: argparse.Namespace = make_parser("benchmarks.records", __doc__).parse_args()
    return run(open_comparison(), options)


if __name__ == "__main__":
    sys.exit(main())
