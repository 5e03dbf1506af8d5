"""Takes the controller of a bench as the suites do, and gives it back: a runner for tests that kill it.

Arguments: the bench file; then the number of the step before which the plan of the way there (``bind N``) or back (``return N``)
stops on the host until it is told to go on; or ``run``, for a runner that stops nowhere, or ``again``, for one that begins anew
until somebody ends it. What it prints tells how far it is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from harness.actions import binding as binding_module
from harness.actions.custody import Claim, custody, find_modules_before, locking
from harness.actions.plan import Plan, Step
from harness.bench.cache import silent
from harness.bench.config import load_bench
from harness.bench.real import reached
from harness.bench.wish import find_address
from harness.core.deadline import Deadline
from harness.facts.host import read_facts
from harness.facts.probe import take_sections
from harness.transport.resident import resident

BEGUN, GO = "/run/tp-begun", "/run/tp-go"
"""FIFOs on the host: the stopped plan opens the one for writing, and reads the other to its end."""


def stopping(planner: Callable[..., Plan], number: int) -> Callable[..., Plan]:
    """Return a planner whose plans stop before their step of that number."""

    def plan(*arguments: Any) -> Plan:
        made = planner(*arguments)
        stop = Step("stop", f"echo >{BEGUN}; cat {GO} >/dev/null")
        return Plan(made.aims, (*made.steps[:number], stop, *made.steps[number:])) if made.steps else made

    return plan


def tell(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Take the controller, and give it back."""
    config = load_bench(sys.argv[1])
    if sys.argv[2] not in {"run", "again"}:
        name = {"bind": "plan_bind", "return": "plan_return"}[sys.argv[2]]
        setattr(binding_module, name, stopping(getattr(binding_module, name), int(sys.argv[3])))
    with reached(config, Deadline.after(60, "reaching the board"), silent) as below, resident(below) as host:
        address, claim = find_address(config, host), Claim(config.name)
        assert address is not None
        with locking(host, address, claim, tell) as lock:
            controller = read_facts(take_sections(host)).find_pci(address)
            assert controller is not None
            modules = find_modules_before(host)
            tell("begin")
            again = True
            while again:
                with custody(host, lock, [controller], "vfio-pci", claim, modules=modules, progress=tell) as binding:
                    binding.bind()
                    tell(f"bound {binding.current_drivers()}")
                    binding.give_back()
                again = sys.argv[2] == "again"
        tell("returned")


if __name__ == "__main__":
    main()
