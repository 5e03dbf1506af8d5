"""What an experiment takes beside fio, read off records: the harness's own time, and what the kernels settle.

    throughpass qualify BENCH --profile standard; python -m benchmarks.shares RECORD...

One line for each record, of its stage throughput. The harness is all of the stage that is neither fio's process, from its start
to its end, nor a hot-plug that is waited for; it is given as a part of fio's time.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.core.overhead import Share, share_stages
from harness.core.record import decode
from harness.core.timeline import SpanKind

STAGE = "throughput"
HEAD = "| record | fio, s | settling, s | harness, s | harness / fio |\n|---|---|---|---|---|"


def share_of(path: Path) -> Share:
    """Return what the stage took; a record without it ends the script."""
    record = decode(path.read_bytes(), str(path))
    found = [share for share in share_stages(record.run) if share.stage == STAGE and share.parts_s[SpanKind.FIO]]
    return found[0] if found else sys.exit(f"{path}: this run has measured nothing")


def line(path: Path, share: Share) -> str:
    """Return a row of a table."""
    fio_s, settle_s = share.parts_s[SpanKind.FIO], share.parts_s[SpanKind.SETTLE]
    return f"| {path} | {fio_s:.0f} | {settle_s:.0f} | {share.harness_s:.0f} | {share.harness_s / fio_s:.1%} |"


def main() -> None:
    """Print a table of the records."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("records", type=Path, nargs="+")
    rows = [line(path, share_of(path)) for path in parser.parse_args().records]
    sys.stdout.write("\n".join([HEAD, *rows, ""]))


if __name__ == "__main__":
    main()
