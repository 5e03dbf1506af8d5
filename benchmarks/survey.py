"""How long until the facts of N hosts are here, against pyinfra, Ansible and pytest-testinfra.

The hosts are addresses of the loopback behind one sshd, so both ends of each connection share this machine: what is compared
is work, not waiting. Each side is a process from its start to its end and logs in with a key to hosts that are known. Ours is
the probe with all its sections, hosts resolved by `ssh -G`, and the document of each with all rules judged. What the others
collect, `survey_peers` says.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.loopback import MOST, Hosts, require_sshd, serving_hosts
from benchmarks.paired import Comparison, Took, make_parser, run, tell
from benchmarks.survey_peers import COMMANDS, PACKAGES, require_peers, run_ansible, run_pyinfra, run_testinfra, timed
from harness.bench.cache import cache_folder, locked

CLAIM = "The facts of {count} hosts are here in 0.35 of the time of the fastest peer, or less."

_OURS = """
import functools, pathlib, sys
import msgspec
from harness.bench.fleet import survey_fleet
from harness.rules.survey import Source, survey_of
from harness.transport.sshconfig import resolve
complaints = []
for outcome in survey_fleet(sys.argv[2:], to_target=functools.partial(resolve, config=pathlib.Path(sys.argv[1]))):
    if outcome.capture:
        msgspec.json.encode(survey_of(outcome.capture, Source("ssh", outcome.target)))
    else:
        complaints.append(outcome.error.message)
sys.exit("\\n".join(complaints) or 0)
"""


def run_ours(hosts: Hosts) -> Took:
    """Survey all hosts."""
    checkout = str(Path(__file__).parents[1])
    return timed([sys.executable, "-c", _OURS, str(hosts.config), *hosts.addresses], {"PYTHONPATH": checkout})


@contextmanager
def open_comparison(options: argparse.Namespace) -> Iterator[Comparison]:
    """Serve the hosts and prepare the peers."""
    require_sshd()
    kept = cache_folder() / "benchmarks"
    kept.mkdir(exist_ok=True)
    with locked("benchmark-peer", wait=True, busy="another process prepares the peers", progress=tell):
        programs = require_peers(kept, tell)
    with (
        tempfile.TemporaryDirectory(prefix="throughpass-survey-") as scratch,
        serving_hosts(options.hosts, Path(scratch)) as hosts,
    ):
        yield Comparison(
            claim=CLAIM.format(count=options.hosts),
            sides={
                "ours": lambda: run_ours(hosts),
                "pyinfra": lambda: run_pyinfra(programs, hosts),
                "ansible setup": lambda: run_ansible(programs, hosts, Path(scratch)),
                "testinfra": lambda: run_testinfra(programs, hosts, Path(scratch)),
            },
            accelerator="none",
            versions=PACKAGES,
            details={"hosts": options.hosts, "commands_for_want_of_a_fact": list(COMMANDS)},
        )


def main() -> int:
    """Read the options and run the comparison."""
    parser = make_parser("benchmarks.survey", __doc__)
    parser.add_argument("--hosts", type=_hosts, default=40, metavar="N", help="how many hosts there are (default 40)")
    options = parser.parse_args()
    return run(open_comparison(options), options)


def _hosts(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of hosts: give 1 to {MOST}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
