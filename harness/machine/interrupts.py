"""Interrupt counts of a PCI function, from /proc/interrupts."""

from __future__ import annotations

from harness.core.pci import PciAddress

_ROWS = """
numbers=' '
for number in {device}/msi_irqs/*; do
    if [ -e "$number" ]; then numbers="$numbers${{number##*/}} "; fi
done
if [ "$numbers" = ' ' ] && read -r number <{device}/irq; then numbers=" $number "; fi
echo "$numbers"
while read -r label counts; do
    case $numbers in *" ${{label%:}} "*) echo "$label $counts" ;; esac
done </proc/interrupts
"""


def interrupts_command(address: str) -> str:
    """Return shell text that prints a function's interrupt numbers and their rows of /proc/interrupts."""
    return _ROWS.format(device=f"/sys/bus/pci/devices/{PciAddress.parse(address)}")


def count_interrupts(text: str) -> int | None:
    """Return how many interrupts a function has raised since boot, over all vectors and CPUs; None if nothing tells.

    ``text`` is what ``interrupts_command`` printed.
    """
    numbers, _, table = text.partition("\n")
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
