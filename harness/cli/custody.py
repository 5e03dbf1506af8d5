"""Taking a controller by hand, and putting back what a dead run left on a host."""
# ruff: noqa: PLC0415 (imports of weight stand within the verbs: a listing must not wait for what only a boot needs)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.app import BenchArgument, app
from harness.cli.terminal import interruptible, say, tell
from harness.core.deadline import Deadline
from harness.core.errors import BenchError, UsageError
from reports.spelling import visible

if TYPE_CHECKING:
    from harness.actions.plan import Plan
    from harness.bench.config import BenchConfig
    from harness.facts.host import HostFacts
    from harness.facts.pci import PciDevice
    from harness.transport.protocol import Transport

REACH_LIMIT_S = 60.0
LOCAL = "local"
WaitOption = Annotated[int, typer.Option(min=0, help="seconds to wait for whoever has the controller")]


@app.command("bind")
def bind(
    bench: BenchArgument,
    wait: WaitOption = 0,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show the plan, and change nothing")] = False,
) -> None:
    """Take a bench's controller from its driver, as the suites do, and hold it until Ctrl-C or SIGTERM: then it goes back."""
    from harness.bench.config import load_bench
    from harness.facts.host import read_facts
    from harness.facts.probe import take_sections

    config = load_bench(bench)
    with interruptible(), open_host(config) as host:
        if dry_run:
            facts = read_facts(take_sections(host))
            _show_plan(facts, _cleared(config, facts, quiet=False), config.controller.driver)
        else:
            _hold(host, config, wait)


@app.command("restore")
def restore(
    bench: Annotated[
        str, typer.Argument(metavar="[BENCH]", help="the bench file of the host; without one, this machine")
    ] = LOCAL,
    wait: WaitOption = 0,
) -> None:
    """Put back what runs that died have left on a host: processes, drivers, modules, files. Nothing to do is no error."""
    from harness.actions.custody import Claim
    from harness.actions.restore import errors_of, restore_host
    from harness.bench.config import load_bench

    with interruptible(), open_host(None if bench == LOCAL else load_bench(bench)) as host:
        done = restore_host(host, who=Claim("restore").who, wait_s=wait, progress=tell)
        for each in done:
            say(visible(each.sentence))
        if not done:
            say(f"nothing to put back on {host.name}: no run has left a journal there")
    for error in errors_of(done):
        raise error


def _hold(host: Transport, config: BenchConfig, wait: int) -> None:
    """Take the controller and its siblings, and give them back when a signal comes. The lock comes before the facts."""
    from harness.actions.custody import Claim, custody, find_modules_before, locking
    from harness.bench.wish import find_address
    from harness.facts.host import read_facts
    from harness.facts.probe import take_sections

    _finish_dead_runs(host, wait)
    claim = Claim(config.name, wait_s=wait)
    address = find_address(config, host)
    if address is None:
        _cleared(config, read_facts(take_sections(host)), quiet=True)  # says why
        raise BenchError(f"the controller of {config.name} has come only just now", remedy="start again")
    with locking(host, address, claim, tell) as lock:
        devices = _cleared(config, read_facts(take_sections(host)), quiet=True)
        driver, modules = config.controller.driver, find_modules_before(host)
        with custody(host, lock, devices, driver, claim, modules=modules, progress=tell) as binding:
            _show_steps(binding.bind())
            tell(f"{devices[0].address} is bound to {driver} and held; Ctrl-C or SIGTERM gives it back")
            with suppress(KeyboardInterrupt):
                lock.wait_until_lost()
        tell(f"{address} was given back to {devices[0].driver or 'no driver'}")
        lock.require()


@contextmanager
def open_host(config: BenchConfig | None) -> Iterator[Transport]:
    """Hold the way to a host that outlives a run; None is this machine."""
    from harness.bench.real import reached, require_root
    from harness.transport.local import LocalTransport
    from harness.transport.resident import resident

    if config is None:
        require_root(LocalTransport())
        yield LocalTransport()
        return
    if config.kind == "virtual":
        raise UsageError(
            f"the bench {config.name} is virtual: its board lives only as long as its run; hold one by `throughpass bench up`"
        )
    with reached(config, Deadline.after(REACH_LIMIT_S, f"reaching {config.name}"), tell) as below, resident(below) as transport:
        yield transport


def _finish_dead_runs(host: Transport, wait: int) -> None:
    from harness.actions.custody import Claim
    from harness.actions.restore import restore_host

    for each in restore_host(host, who=Claim("bind").who, wait_s=wait, progress=tell):
        tell(each.sentence)
        if each.error is not None and each.error.remedy:
            tell(f"what to do: {each.error.remedy}")


def _cleared(config: BenchConfig, facts: HostFacts, *, quiet: bool) -> tuple[PciDevice, ...]:
    """Return the controller that the bench file names and its siblings, if no rule stands against it; say why it is allowed."""
    from harness.bench.wish import find_wished
    from harness.rules.clearance import clear
    from harness.rules.registry import RULES, judge_all

    target = find_wished(config, facts)
    devices = clear(facts, target)
    if not quiet:
        say(f"allowed, since no rule stands against taking {devices[0].address}:")
        for finding in judge_all(facts, target):
            if RULES[finding.rule].guards:
                say(f"  {finding.rule}  {visible(finding.message)}")
    return devices


def _show_plan(facts: HostFacts, devices: Sequence[PciDevice], driver: str) -> None:
    """Say what would be written, and what the host would lose."""
    from harness.actions.plan import plan_bind, plan_return
    from harness.rules.blast import find_blast

    say(visible(find_blast(facts, devices[0]).sentence))
    there = plan_bind(devices, driver)
    if not there.steps:
        say(f"nothing to do: {devices[0].address} has {driver} already")
        return
    _show_steps(there)
    say("and back:")
    _show_steps(plan_return(devices, dict.fromkeys((device.address for device in devices), driver)))


def _show_steps(plan: Plan) -> None:
    from harness.actions.plan import IN_USE

    for number, step in enumerate(plan.steps, start=1):
        say(f"  {number}. {step.sentence}")
        if step.status != IN_USE:
            say(f"       {step.command}")
