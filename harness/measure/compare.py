"""Two records become one comparison; what must never be compared is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.core.comparison import SCHEMA, Comparison, Side
from harness.core.errors import UsageError
from harness.core.record import Environment, Record, Run
from harness.measure.changes import find_check_changes, find_finding_changes
from harness.measure.differences import find_differences
from harness.measure.effects import METHOD, UNLIKE, find_effects, gives_verdict
from harness.measure.statistics import CONFIDENCE


def compare_records(before: Record, after: Record, names: tuple[str, str], despite: Sequence[str] = ()) -> Comparison:
    """Compare two records; ``names`` are those of their files, ``despite`` lists what may differ nevertheless (``UNLIKE``).

    Raises UsageError if one is of emulated hardware and the other is not, or if ``despite`` has a word that means nothing.
    """
    unknown = [word for word in despite if word not in UNLIKE]
    if unknown:
        raise UsageError(f"nothing is refused for {unknown[0]!r}: there are {', '.join(UNLIKE)}")
    require_alike(before, after, names)
    found = find_differences(before, after)
    return Comparison(
        schema=SCHEMA,
        before=_side(before, names[0]),
        after=_side(after, names[1]),
        emulated=bool(emulation_of(before)),
        confidence=CONFIDENCE,
        method=METHOD,
        effects=find_effects(before, after, despite),
        checks=find_check_changes(before, after),
        findings=find_finding_changes(before, after),
        differences=found.facts,
        told_before=found.told_before,
        told_after=found.told_after,
        notes=tuple(_notes(before, after)),
    )


def require_alike(before: Record, after: Record, names: tuple[str, str]) -> None:
    """Raise UsageError if only one of two records is of emulated hardware."""
    signs = emulation_of(before), emulation_of(after)
    if bool(signs[0]) is bool(signs[1]):
        return
    emulated, real = names if signs[0] else names[::-1]
    raise UsageError(
        f"{emulated} is of emulated hardware ({signs[0] or signs[1]}) and {real} is not: figures of the one say nothing of the "
        "other; compare two records of one kind"
    )


def emulation_of(record: Record) -> str:
    """Return the sign by which a record is of emulated hardware; empty without any. One sign is enough, whatever else it says."""
    host = record.facts.get("host")
    cpu = host.get("cpu") if isinstance(host, dict) else None
    return find_emulation(record.run, record.environment, hypervisor=isinstance(cpu, dict) and cpu.get("hypervisor") is True)


def find_emulation(run: Run, environment: Environment, *, hypervisor: bool) -> str:
    """Return the sign of emulation in the parts of a record; ``hypervisor`` says that the host's CPU tells of one."""
    if environment.emulated or run.kind == "virtual":
        return "its bench is virtual"
    if environment.bench_qemu or environment.bench_accelerator:
        return "a QEMU plays its board"
    return "its host runs under a hypervisor" if hypervisor else ""


def _side(record: Record, name: str) -> Side:
    run, environment = record.run, record.environment
    return Side(
        name=name,
        run=run.id,
        start=run.start,
        bench=run.bench,
        kind=run.kind,
        profile=run.profile,
        suite_version=run.suite_version,
        git=run.git,
        verdict=record.verdict.board,
        board=environment.board,
        firmware=environment.firmware,
        kernel=environment.kernel,
        qemu=environment.qemu,
        stick=environment.stick,
    )


def _notes(before: Record, after: Record) -> Iterator[str]:
    """Yield what a reader must know of the two records as a whole."""
    for what, ours, theirs in (
        ("profile", before.run.profile, after.run.profile),
        ("version of throughpass", before.run.suite_version, after.run.suite_version),
        ("number of cycles", str(before.run.cycles), str(after.run.cycles)),
    ):
        if ours != theirs:
            yield f"the {what} differs ({ours or 'unknown'}, now {theirs or 'unknown'})"
    if not all(gives_verdict(record) for record in (before, after)):
        yield "a record of a profile that gives no verdict is shown, and not judged"
    for word, record in (("before", before), ("now", after)):
        if not record.series:
            yield f"no throughput was measured {word}"
    if before == after:
        yield "the two records are the same"
