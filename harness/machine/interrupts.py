"""Interrupt counts of a PCI function, from /proc/interrupts."""

from __future__ import annotations

from harness.core.pci import PciAddress
from harness.transport.protocol import Transport


def count_interrupts(transport: Transport, address: str) -> int | None:
    """Return how many interrupts a function has raised since boot, over all vectors and CPUs; None if nothing tells."""
    device = f"/sys/bus/pci/devices/{PciAddress.parse(address)}"
    result = transport.run(f"ls {device}/msi_irqs 2>/dev/null || cat {device}/irq; echo --; cat /proc/interrupts")
    numbers, _, table = result.text.partition("--\n")
    return parse_interrupts(table, frozenset(numbers.split()))


def parse_interrupts(table: str, numbers: frozenset[str]) -> int | None:
    """Return the sum over the rows of ``numbers`` in the text of /proc/interrupts; None if it has none of them."""
    found = None
    for line in table.splitlines():
        label, _, rest = line.partition(":")
        if label.strip() in numbers:
            counts = rest.split()
            row = sum(int(count) for count in counts[: _leading_numbers(counts)])
            found = (found or 0) + row
    return found


def _leading_numbers(words: list[str]) -> int:
    """Return how many of the first words are counts: one a CPU, then the interrupt's description."""
    for at, word in enumerate(words):
        if not word.isdigit():
            return at
    return len(words)
