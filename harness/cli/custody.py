"""Putting back what a dead run left on a host."""
# ruff: noqa: PLC0415 (imports of weight stand within the verbs: a listing must not wait for what only a boot needs)

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.app import app
from harness.cli.terminal import interruptible, say, tell
from harness.core.deadline import Deadline
from harness.core.errors import UsageError
from reports.spelling import visible

if TYPE_CHECKING:
    from harness.transport.protocol import Transport

REACH_LIMIT_S = 60.0
LOCAL = "local"


@app.command("restore")
def restore(
    bench: Annotated[
        str, typer.Argument(metavar="[BENCH]", help="the bench file of the host; without one, this machine")
    ] = LOCAL,
    wait: Annotated[int, typer.Option(min=0, help="seconds to wait for a run that still lives")] = 0,
) -> None:
    """Put back what runs that died have left on a host: processes, drivers, modules, files. Nothing to do is no error."""
    from harness.actions.custody import Claim
    from harness.actions.restore import errors_of, restore_host

    with interruptible(), _host(bench) as host:
        done = restore_host(host, who=Claim("restore").who, wait_s=wait, progress=tell)
        for each in done:
            say(visible(each.sentence))
        if not done:
            say(f"nothing to put back on {host.name}: no run has left a journal there")
    for error in errors_of(done):
        raise error


@contextmanager
def _host(bench: str) -> Iterator[Transport]:
    """Hold the way to a host that outlives a run."""
    from harness.bench.config import load_bench
    from harness.bench.real import reached, require_root
    from harness.transport.local import LocalTransport
    from harness.transport.resident import resident

    if bench == LOCAL:
        require_root(LocalTransport())
        yield LocalTransport()
        return
    config = load_bench(bench)
    if config.kind == "virtual":
        raise UsageError(f"the bench {config.name} is virtual: its board ends with its run, and there is nothing to put back")
    with reached(config, Deadline.after(REACH_LIMIT_S, f"reaching {config.name}"), tell) as below, resident(below) as transport:
        yield transport
