"""What a bench file wishes to pass, found among a host's functions."""

from __future__ import annotations

from harness.bench.config import BenchConfig
from harness.facts.host import HostFacts, read_facts
from harness.facts.probe import take_sections
from harness.rules.rule import Allowance, Target, find_target
from harness.transport.protocol import Transport


def find_address(config: BenchConfig, host: Transport) -> str | None:
    """Return the address of a bench file's controller as the host shows it now, None unless exactly one fits."""
    found = find_wished(config, read_facts(take_sections(host, "pci"))).controller
    return found.address if found is not None else None


def find_wished(config: BenchConfig, facts: HostFacts, *, guest_memory_mib: int = 0, qemu: str = "") -> Target:
    """Return the target of a bench file on a host; all that names or permits something is taken from the file."""
    wanted = config.controller
    return find_target(
        facts,
        id=wanted.id or None,
        address=wanted.address or None,
        subsystem=wanted.subsystem or None,
        path=wanted.path or None,
        driver=wanted.driver,
        siblings=wanted.siblings,
        allow=Allowance(config.allow.keyboards, config.allow.interfaces),
        guest_memory_mib=guest_memory_mib,
        qemu=qemu,
    )
