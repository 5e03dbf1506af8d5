"""Whether what is measured is true: sticks that QEMU holds to a known rate, on a virtual board, in a whole experiment.

    python -m benchmarks.calibration [--record FILE]

The board of calibration.toml has four sticks, of 10, 10 and 11 MiB/s, and one that falls from 20 to 5. The first is measured in
every arm, and once more in one of them, the others beside it through the same kind of arm. It is a qualification like any other;
``--record`` looks at one that has been made. See docs/measuring.md.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness.core.judgement import Call, Judgement
from harness.core.record import Record, decode

BENCH = Path(__file__).with_name("calibration.toml")
STAGES = "(readiness or binding or guest or throughput or return) and not usb"
SLOWS = "slows"
TRUE_MIB_S = {
    "native": 10,
    "pci": 10,
    "usb-host": 10,
    "virtio-blk": 10,
    "same": 10,
    "tenth-more": 11,
    SLOWS: 5,
    "usb-host-again": 10,
}
WITHIN = 0.02
CALLS = {
    ("pci", "usb-host"): Call.DEVICE_LIMITED,
    ("pci", "virtio-blk"): Call.DEVICE_LIMITED,
    ("same", "usb-host"): Call.EQUIVALENT,
    ("usb-host-again", "usb-host"): Call.EQUIVALENT,
    ("tenth-more", "usb-host"): Call.FASTER,
    (SLOWS, "pci"): Call.SLOWER,
}


def make_record(runs: Path) -> Record:
    """Qualify the board, and return the record."""
    argv = [sys.executable, "-m", "pytest", "suites", "--bench", str(BENCH), "--runs", str(runs), "-k", STAGES]
    status = subprocess.run(argv, cwd=BENCH.parents[1], check=False).returncode
    found = list(runs.glob("*/*/record.json"))
    if status not in {0, 1} or len(found) != 1:
        sys.exit(f"the qualification ended with status {status}: see above")
    return decode(found[0].read_bytes(), str(found[0]))


def check_rates(record: Record) -> Iterator[tuple[bool, str]]:
    """Yield for each arm whether its rate, the geometric mean over blocks, is the throttle's, and a line of a table."""
    for series in record.series:
        true = TRUE_MIB_S[series.arm]
        rates = series.rates_mib_s
        mean = math.exp(statistics.fmean(map(math.log, rates)))
        line = f"| {series.arm} | {true} | {mean:.3f} | {min(rates):.2f} to {max(rates):.2f} | {len(rates)} | {series.clock} |"
        yield abs(mean / true - 1) <= WITHIN, line


def check_cliffs(record: Record) -> Iterator[tuple[bool, str]]:
    """Yield for each arm whether it has a cliff in every run or in none, as is true, and a line of a table."""
    for series in record.series:
        cliffs = [sample.cliff_at is not None for sample in series.samples]
        yield cliffs.count(series.arm != SLOWS) == 0, f"| {series.arm} | {sum(cliffs)} of {len(cliffs)} |"


def check_calls(record: Record) -> Iterator[tuple[bool, str]]:
    """Yield for each comparison of a known truth whether it is called that and its interval holds it, and a line of a table."""
    made = {(each.arm, each.base): each for each in record.judgements}
    for key, call in CALLS.items():
        true = TRUE_MIB_S[key[0]] / TRUE_MIB_S[key[1]]
        judgement = made.get(key)
        if judgement is None or judgement.low is None:
            yield False, f"| {' / '.join(key)} | {true:.2f} | {judgement.sentence if judgement else 'was not judged'} | |"
        else:
            yield judgement.call is call and _holds(judgement, true), _spell(judgement, true)


def _holds(judgement: Judgement, true: float) -> bool:
    return judgement.low is not None and judgement.high is not None and judgement.low <= true <= judgement.high


def _spell(judgement: Judgement, true: float) -> str:
    ends = f"{judgement.ratio:.4f} [{judgement.low:.4f}, {judgement.high:.4f}]"
    return f"| {judgement.arm} / {judgement.base} | {true:.2f} | {ends} | {judgement.call.value} |"


def main() -> None:
    """Print the tables, and end with 1 where something is not as it is true."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--record", type=Path, help="a record of calibration.toml that has been made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="throughpass-calibration-") as runs:
        record = decode(options.record.read_bytes(), str(options.record)) if options.record else make_record(Path(runs))
    good = True
    for head, rows in (
        ("| arm | true MiB/s | measured | blocks from, to | blocks | clock |\n|---|---|---|---|---|---|", check_rates(record)),
        ("| arm | runs with a cliff |\n|---|---|", check_cliffs(record)),
        ("| comparison | true | measured | call |\n|---|---|---|---|", check_calls(record)),
    ):
        sys.stdout.write(f"\n{head}\n")
        for right, line in rows:
            good = good and right
            sys.stdout.write(f"{line}{'' if right else ' <- not as it is true'}\n")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
