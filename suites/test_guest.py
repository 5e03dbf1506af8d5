"""Stage 3: a guest boots on the host with the controller in it."""

from __future__ import annotations

import shlex

from fixtures.run import BenchRun
from harness.facts.host import HostFacts
from harness.machine.running import Machine
from harness.transport.protocol import check


def test_guest_boots(run: BenchRun, guest: Machine) -> None:
    """QEMU starts with the controller, and the guest boots: its console says so, and nothing deadly."""
    run.note("QEMU's command line", shlex.join(guest.argv))
    run.note("the end of the guest's console", guest.console.tail())
    warnings = guest.process.stderr_text()
    if warnings:
        run.note("QEMU's standard error", warnings)

    assert guest.process.poll() is None
    assert not guest.console.death()


def test_guest_answers(run: BenchRun, guest: Machine) -> None:
    """The guest answers over SSH, through the host."""
    answer = check(guest.ssh, "uname -a")
    run.note("uname -a in the guest", answer.text)

    assert answer.text.startswith("Linux guest")


def test_guest_runs_on_kvm(run: BenchRun, guest: Machine, host_facts: HostFacts) -> None:
    """The guest runs on the host's KVM."""
    answer = guest.qmp.execute("query-kvm")
    run.note("QMP query-kvm", str(answer))
    if not answer["enabled"]:
        run.condition("the guest runs emulated: the host has no usable KVM", "see the checks of /dev/kvm and of the processor")
    assert answer["enabled"] or not host_facts.kvm.accessible
