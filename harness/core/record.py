"""The record of a qualification: one JSON document from which every page is made.

Format history:
1: first version. Later additions, which an older throughpass reads past, and without which a record is whole: Run.spans,
   Check.rule, Check.required, Record.void_arms.
"""

from __future__ import annotations

import enum
from typing import Annotated, Any, TypeVar

import msgspec

from harness.core.errors import UsageError
from harness.core.finding import Evidence, Finding
from harness.core.judgement import Judgement
from harness.core.series import Series
from harness.core.timeline import Span

T = TypeVar("T")
SCHEMA = 1
STAGES = ("readiness", "binding", "guest", "usb", "integrity", "throughput", "return", "cycles")
"""The stages of a qualification, in their order."""


class Outcome(enum.Enum):
    """How a check ended, and what pytest says of it."""

    PASS = "pass"  # passed  # noqa: S105 (not a password)
    CONDITION = "condition"  # passed, and a named condition is weak
    FAIL = "fail"  # the board's fault: failed
    REFUSED = "refused"  # going on would harm the host: failed
    BLOCKED = "blocked"  # an earlier failure stands in the way: failed
    ERROR = "error"  # our bench or harness: error
    NOT_APPLICABLE = "not applicable"  # skipped
    NOT_MEASURABLE = "not measurable"  # the host would not say: failed where the check is required, else skipped


class BoardVerdict(enum.Enum):
    """What the record says of the board."""

    QUALIFIED = "QUALIFIED"
    CONDITIONAL = "CONDITIONAL"
    NOT_QUALIFIED = "NOT QUALIFIED"
    UNDECIDED = "UNDECIDED"
    PARTIAL = "PARTIAL"


class Verdict(msgspec.Struct, frozen=True):
    """The verdict and the reasons for it, the weightiest first; QUALIFIED has none."""

    board: BoardVerdict
    reasons: tuple[str, ...] = ()


class Check(msgspec.Struct, frozen=True):
    """One test of the suites: ``id`` is ``stage/name``, ``title`` a sentence that should hold.

    ``rule`` is the id of the rule that judged, empty without one. What is not ``required`` may stay unknown.
    """

    id: str
    title: str
    stage: str
    outcome: Outcome
    reason: str = ""
    remedy: str = ""
    evidence: tuple[Evidence, ...] = ()
    duration_s: float = 0.0
    rule: str = ""
    required: bool = True


class StageTime(msgspec.Struct, frozen=True):
    """How long a stage took; ``boot`` comes before the stages."""

    stage: str
    duration_s: float


class Run(msgspec.Struct, frozen=True):
    """Which run this was. Times are ISO 8601 in UTC."""

    id: str
    start: str
    end: str
    suite_version: str
    git: str
    bench: str
    kind: str  # virtual, local, ssh
    profile: str  # smoke, quick, standard
    cycles: int  # round trips that were asked for
    stages: tuple[StageTime, ...] = ()
    seed: int = 0  # of the order of the arms
    spans: tuple[Span, ...] = ()  # what was waited for in the stages; what is in none was the harness's own time


class Environment(msgspec.Struct, frozen=True):
    """What the figures depend on, in words for the head of a report; unknown values are empty."""

    emulated: bool  # a virtual bench: figures are not hardware figures
    board: str = ""  # "QEMU Standard PC (Q35 + ICH9, 2009)"
    firmware: str = ""
    cpu: str = ""
    kernel: str = ""
    distribution: str = ""
    qemu: str = ""  # the host's, which runs the guest
    accelerator: str = ""  # of the guest: kvm, tcg
    iommu: str = ""  # "Intel VT-d", "AMD-Vi", "none"
    controller: str = ""  # "0000:01:00.0 NEC Corporation uPD720200 ... [1033:0194]"
    controller_driver: str = ""  # the driver that was found, and is given back
    guest_kernel: str = ""
    stick: str = ""  # "46f4:0001 serial TP0001, 256 MiB"
    bench_qemu: str = ""  # of a virtual bench: the QEMU that plays the board
    bench_accelerator: str = ""


class Attachment(msgspec.Struct, frozen=True):
    """A file beside the record; ``name`` is relative to it."""

    name: str
    sha256: str
    description: str = ""


class Record(msgspec.Struct, frozen=True):
    """Everything that a run learned."""

    schema: int
    run: Run
    verdict: Verdict
    environment: Environment
    facts: dict[str, Any] = {}  # {"host": ..., "guest": ...}: the documents of harness.facts
    findings: tuple[Finding, ...] = ()
    checks: tuple[Check, ...] = ()
    series: tuple[Series, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    void_arms: tuple[str, ...] = ()  # their data were wrong: no figure of theirs counts


def encode(record: Record) -> bytes:
    """Return the record as indented JSON; raise ValueError for one that could not be read again (a float that is no number)."""
    data = msgspec.json.encode(record)
    try:
        msgspec.json.decode(data, type=Record)
    except msgspec.ValidationError as error:
        raise ValueError(f"a record that nobody could read again is not written: {error}") from error
    return msgspec.json.format(data, indent=2) + b"\n"


def decode(data: bytes, name: str) -> Record:
    """Read a record; ``name`` is the file's, for the message. Raises UsageError for anything but a record of a known version."""
    return decode_as(data, name, Record)


def decode_as(data: bytes, name: str, kind: type[T]) -> T:
    """Read of a record what a type asks for; the rest is read past, which is much faster. Errors are those of ``decode``."""
    try:
        version = msgspec.json.decode(data, type=_Version).schema
        if version > SCHEMA:
            raise UsageError(
                f"{name} is a record of version {version}, this throughpass reads up to {SCHEMA}: use a newer throughpass"
            )
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{name} is not a throughpass record: {error}") from error


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a record."""
    return msgspec.json.schema(Record)


class _Version(msgspec.Struct):
    schema: Annotated[int, msgspec.Meta(ge=1)]
