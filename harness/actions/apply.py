"""Applying a plan: one command, whose writes have a process and a limit of their own, verified by the drivers' links.

The command looks first whether the facts still hold, so that a plan needs one round trip and nothing comes in between. A write
that does not return is left behind with the kernel's stack of it: whoever waits for a wedged driver would wait for ever.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from harness.actions.plan import DEVICES, IN_USE, Plan
from harness.core.errors import BenchError, BoardError, RefusedError
from harness.facts.mounts import unescape
from harness.transport.aside import aside
from harness.transport.protocol import Transport

STEPS_LIMIT_S = 30
"""How long all steps of a plan may take: a healthy xHCI is given up in well under a second, an emulated one in a few."""

_SPARE_S = 30.0  # for all that is neither a step nor the wait for an older plan

STALE, GONE, HUNG, BUSY, LATE = 5, 6, 7, 8, 9
"""How a plan ends that was not begun since a device has another driver than it was made for, or is gone; whose write hangs; that
was not begun since an older plan has not ended, or since its run's journal is gone: somebody else has put all back meanwhile."""

_SCRIPT = """
folder={devices}
drivers() {{
    shown=
    for address in {addresses}; do
        driver=
        if cd -P "$folder/$address/driver"; then driver=${{PWD##*/}}; fi
        shown="$shown$address $driver
"
    done
}} 2>/dev/null
steps() {{
:
{steps}
}}
work() {{
    for address in {addresses}; do [ -d "$folder/$address" ] || {{ echo "@gone $address"; status={gone}; return; }}; done
    # The plan of a run that was killed goes on to its end here, and holds this meanwhile.
    exec 7>>"$folder/{first}/rescan" # which only root may open: nobody else can hold it, and nothing is written to it
    flock -n 7 || timeout {limit} flock 7 || {{ status={busy}; return; }}
    drivers
    [ "$shown" = {before} ] || {{ status={stale}; return; }}
    if [ {count} -eq 0 ]; then
        status=0
        return
    fi
    [ -z {permit} ] || [ -e {permit} ] || {{ status={late}; return; }}
    IFS=' ' read -r boss _ </proc/self/stat
    late=
    trap 'late=yes' USR1
    steps &
    writer=$!
    {{
        trap 'kill "$nap"; exit' TERM
        sleep {limit} &
        nap=$!
        wait "$nap"
        IFS=' ' read -r _ _ _ parent _ </proc/self/stat
        [ "$parent" != "$boss" ] || kill -USR1 "$boss" # one that has died may have given its number to somebody else
    }} 7<&- >/dev/null 2>&1 &
    timer=$!
    while :; do
        wait "$writer"
        status=$?
        [ "$status" -gt 128 ] && kill -0 "$writer" 2>/dev/null && [ -z "$late" ] || break
    done
    kill "$timer" 2>/dev/null
    if [ "$status" -gt 128 ] && kill -0 "$writer" 2>/dev/null; then
        status={hung}
        writers="$writer $(cat "/proc/$writer/task/$writer/children")"
        for process in $writers; do
            echo "the kernel's stack of $process:"
            cat "/proc/$process/stack" || cat "/proc/$process/wchan"
            echo
        done
        kill -9 $writers
    fi
    drivers
}}
{{ exec 2>&1 </dev/null; work; printf '@drivers\\n%s@end %s\\n' "$shown" "$status"; }} | sed '/^@end [0-9]*$/q'
"""
# A write that hangs keeps its process, which not even kill -9 ends, and with it the output open: sed goes when all is said. It is
# redirected by exec, for a shell keeps what a group redirects, and every process below it has that open, too.

_FREE = (
    "end what holds the device (a guest, a stopped process), then `throughpass restore`; "
    "if that hangs too, power the host off and on"
)

_END = re.compile(r"^@drivers\n(?P<drivers>.*)^@end (?P<status>\d+)$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Stale:
    """What a plan that was not begun found: the drivers of its devices by address, which are others than the plan's."""

    drivers: Mapping[str, str]


def script(plan: Plan, *, limit_s: float = STEPS_LIMIT_S, permit: str = "") -> str:
    """Return the whole plan as one command: it names each step as it begins, and ends with the drivers that are bound."""
    steps = "\n".join(
        f"echo {shlex.quote(f'@step {step.sentence}')}\n({step.command}) || exit {step.status}" for step in plan.steps
    )
    return _SCRIPT.format(
        devices=DEVICES,
        addresses=" ".join(aim.address for aim in plan.aims),
        before=shlex.quote("".join(f"{aim.address} {aim.before}\n" for aim in plan.aims)),
        steps=steps,
        count=len(plan.steps),
        limit=f"{limit_s:g}",
        stale=STALE,
        gone=GONE,
        busy=BUSY,
        late=LATE,
        permit=shlex.quote(permit),
        first=plan.aims[0].address,
        hung=HUNG,
    )


def drivers_query(addresses: tuple[str, ...]) -> str:
    """Return shell text that prints ``ADDRESS DRIVER`` of each device, no driver for none, and fails if one is not there."""
    listed = " ".join(addresses)
    return (
        f"for address in {listed}; do (cd -P {DEVICES}/$address || exit; cd -P driver 2>/dev/null || PWD=; "
        'echo "$address ${PWD##*/}") || exit; done'
    )


def parse_drivers(text: str) -> dict[str, str]:
    """Return the driver of each address in lines of ``drivers_query``."""
    return {address: driver for address, _, driver in (line.partition(" ") for line in text.splitlines()) if address}


def apply_plan(transport: Transport, plan: Plan, *, limit_s: float = STEPS_LIMIT_S, permit: str = "") -> Stale | None:
    """Apply a plan and read the drivers back; a plan that is out of date is not begun, and what it found is returned.

    ``permit`` is a file of the host without which nothing is written. Raises BoardError if the kernel refuses a step, does not
    return from one, or binds another driver in the end: a write may succeed and do nothing; RefusedError if the host uses a disk
    behind a device: then nothing was written. BenchError if a device is gone.
    """
    # Interrupted, the host would go on with the plan while the way back is planned from what it has not yet done.
    text = script(plan, limit_s=limit_s, permit=permit)
    result = aside(lambda: transport.run(text, timeout_s=2 * limit_s + _SPARE_S), to_the_end=True)
    end = _END.search(result.text)
    if end is None:
        said = "\n".join(filter(None, (result.text, result.error_text)))
        raise BenchError(f"{transport.name} did not say what became of {_names(plan)}", evidence=said)
    said, drivers = result.text[: end.start()], parse_drivers(end["drivers"])
    _raise_unless_applied(plan, int(end["status"]), said, limit_s)
    if int(end["status"]) == STALE:
        return Stale(drivers)
    for aim in plan.aims:
        if drivers.get(aim.address) != aim.after:
            found = drivers.get(aim.address) or "no driver"
            raise BoardError(f"{aim.address} is bound to {found}, not to {aim.after or 'none'}", evidence=_errors(said))
    return None


def _raise_unless_applied(plan: Plan, status: int, said: str, limit_s: float) -> None:
    """Raise what the exit status of a plan means; what was applied, or not begun, raises nothing."""
    if status == GONE:
        raise BenchError(f"{said.rpartition('@gone ')[2].strip()} is no longer there")
    if status == BUSY:
        raise BoardError(f"an older plan for {_names(plan)} has not ended in {limit_s:g} s: a write hangs", remedy=_FREE)
    if status == LATE:
        raise BenchError(f"{_names(plan)} was put back by somebody else meanwhile: nothing was written", remedy="start again")
    if status == IN_USE:
        raise _refusal(plan, _errors(said))
    steps = re.findall(r"^@step (.*)$", said, re.MULTILINE)
    if status == HUNG:
        hung = steps[-1] if steps else "the plan"
        raise BoardError(f"{hung!r} did not return in {limit_s:g} s", evidence=_errors(said), remedy=_FREE)
    if status not in {0, STALE}:
        driver = ", ".join(sorted({aim.after or "no driver" for aim in plan.aims}))
        evidence = f"{_errors(said)}\nthroughpass: {steps[-1] if steps else 'the plan'} failed".lstrip()
        raise BoardError(f"{_names(plan)} could not be given to {driver}", evidence=evidence)


def _refusal(plan: Plan, errors: str) -> RefusedError:
    mark = "throughpass: in use: "
    uses = [unescape(line.removeprefix(mark)) for line in errors.splitlines() if line.startswith(mark)]
    return RefusedError(
        f"the host uses a disk behind {_names(plan)}, which is left alone: {'; '.join(uses) or 'it does not say which'}",
        evidence=errors,
        remedy="unmount it (swapoff, stop the array), and see that no automounter takes it again",
    )


def _errors(said: str) -> str:
    return "\n".join(line for line in said.splitlines() if not line.startswith("@")).strip()


def _names(plan: Plan) -> str:
    return ", ".join(aim.address for aim in plan.aims)
