"""Stage 3: a guest boots on the host with the controller in it."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from fixtures.outcomes import require
from fixtures.run import BenchRun
from harness.facts.host import HostFacts
from harness.machine.running import Machine
from harness.transport.protocol import check


def test_guest_boots(run: BenchRun, guest: Machine) -> None:
    """QEMU starts with the controller, and the guest boots: its console says so, and nothing deadly."""
    run.note("QEMU's command line", shlex.join(guest.argv))
    if guest.spec.privileges is not None and guest.user is not None:
        run.note("what QEMU is given on the host", guest.spec.privileges.sentence(guest.user))
    run.note("the end of the guest's console", guest.console.tail())
    warnings = guest.process.stderr_text()
    if warnings:
        run.note("QEMU's standard error", warnings)

    status = guest.process.poll()
    require(status is None, f"QEMU ended with status {status}", "see QEMU's standard error")
    death = guest.console.death()
    require(not death, f"the guest's kernel died: {death}", "see the guest's console")


def test_guest_answers(run: BenchRun, guest: Machine) -> None:
    """The guest answers over SSH, through the host."""
    answer = check(guest.ssh, "uname -a")
    run.note("uname -a in the guest", answer.text)

    require(answer.text.startswith("Linux guest"), f"somebody else answers: {answer.text}")


def test_guest_runs_on_kvm(run: BenchRun, guest: Machine, host_facts: HostFacts) -> None:
    """The guest runs on the host's KVM."""
    answer = guest.qmp.execute("query-kvm")
    run.note("QMP query-kvm", str(answer))
    if not answer["enabled"]:
        run.condition("the guest runs emulated: the host has no usable KVM", "see the checks of /dev/kvm and of the processor")
    refused = host_facts.kvm.accessible and not answer["enabled"]
    require(not refused, "the host's /dev/kvm can be opened, but the guest does not run on it", "see QEMU's standard error")


def test_kernel_stays_calm(calm: Callable[[], None]) -> None:
    """While the guest boots, neither its kernel nor the host's tells of a fault of the controller's."""
    calm()
