"""Many records at once: of each only what a history needs, so that a thousand take seconds; what is no record is named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from harness.core.errors import UsageError
from harness.core.history import Skipped
from harness.core.judgement import Judgement
from harness.core.record import Environment, Outcome, Run, Verdict, decode_as
from harness.core.series import Series
from harness.measure.compare import find_emulation

RECORD = "record.json"


class CheckOutline(msgspec.Struct, frozen=True):
    """How a check of a stage ended."""

    stage: str
    outcome: Outcome


class Outline(msgspec.Struct, frozen=True):
    """The parts of a record that a history is made of; facts and evidence, most of its bytes, are read past."""

    schema: int
    run: Run
    verdict: Verdict
    environment: Environment
    checks: tuple[CheckOutline, ...] = ()
    series: tuple[Series, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    void_arms: tuple[str, ...] = ()
    facts: msgspec.Raw = msgspec.Raw(b"{}")


@dataclass(frozen=True)
class Entry:
    """One record of a history: its file, when it began, and what it says."""

    path: Path
    at: datetime
    emulated: bool
    outline: Outline


class _Cpu(msgspec.Struct):
    hypervisor: bool = False


class _Host(msgspec.Struct):
    cpu: _Cpu


class _Facts(msgspec.Struct):
    host: _Host


def read_outlines(root: Path) -> tuple[tuple[Entry, ...], tuple[Skipped, ...]]:
    """Return every record below a folder in the order of their time, and the files that are none, with the reason."""
    entries, skipped = [], []
    for path in sorted(_find_records(root)):
        try:
            entries.append(_read(path))
        except UsageError as error:
            skipped.append(Skipped(str(path), error.message))
    return tuple(sorted(entries, key=lambda entry: entry.at)), tuple(skipped)


def _find_records(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob(RECORD) if path.is_file())


def _read(path: Path) -> Entry:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    outline = decode_as(data, str(path), Outline)
    try:
        at = datetime.fromisoformat(outline.run.start)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{path} does not say when its run began, so it has no place in a history") from error
    return Entry(path, at, bool(find_emulation(outline.run, outline.environment, hypervisor=_tells_hypervisor(outline))), outline)


def _tells_hypervisor(outline: Outline) -> bool:
    try:
        return msgspec.json.decode(outline.facts, type=_Facts).host.cpu.hypervisor
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False  # a record without facts of a host, or of another form
