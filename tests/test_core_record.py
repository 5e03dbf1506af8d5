"""Tests of the record: what is written is read back, and nothing else is."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import UsageError
from harness.core.finding import Evidence, Finding, Severity
from harness.core.judgement import Call, Judgement
from harness.core.record import (
    SCHEMA,
    STAGES,
    Attachment,
    BoardVerdict,
    Check,
    Environment,
    Outcome,
    Record,
    Run,
    StageTime,
    Verdict,
    decode,
    encode,
    json_schema,
)
from harness.core.series import Sample, Series
from harness.core.timeline import Span, SpanKind

FULL = Record(
    schema=SCHEMA,
    run=Run(
        id="20250101-120000-virtual-vtd",
        start="2025-01-01T12:00:00Z",
        end="2025-01-01T12:04:00Z",
        suite_version="0.1.0",
        git="63b9825",
        bench="virtual-vtd",
        kind="virtual",
        profile="quick",
        cycles=1,
        stages=(StageTime("boot", 31.5), StageTime("readiness", 1.0)),
        spans=(Span(SpanKind.BOOT, "boot", 0.01, 31.4), Span(SpanKind.FIO, "throughput", 40.0, 2.9, 1.8)),
    ),
    verdict=Verdict(BoardVerdict.CONDITIONAL, ("no KVM",)),
    environment=Environment(emulated=True, iommu="Intel VT-d"),
    facts={"host": {"cpu": {"vendor": "AuthenticAMD", "flags": ["svm"]}, "iommu": None}},
    findings=(Finding("iommu-in-use", Severity.PASS, "host", "DMA remapping is in use", (Evidence("dmesg", "DMAR: …"),)),),
    checks=(Check("usb/enumerates", "the stick comes up", "usb", Outcome.NOT_MEASURABLE, "no dmesg", duration_s=0.25),),
    series=(Series("SEQ1M Q8T1 read", "pci", (Sample(0, 2, 40.5, 2.003, 4.5, "fio/pci-0.json"),), {"driver": "uas"}),),
    judgements=(
        Judgement("SEQ1M Q8T1 read", "pci", "usb-host", 1, 1.41, None, None, 0.95, "t", Call.NOT_JUDGED, "…", primary=True),
    ),
    attachments=(Attachment("fio/pci-0.json", "0" * 64, "raw"),),
)

TEXT = st.text(max_size=20)
SECONDS = st.floats(allow_nan=False, allow_infinity=False)  # JSON has neither: msgspec writes null
EVIDENCE = st.lists(st.builds(Evidence, TEXT, TEXT), max_size=2).map(tuple)
RECORDS = st.builds(
    Record,
    schema=st.just(SCHEMA),
    run=st.just(FULL.run),
    verdict=st.builds(Verdict, st.sampled_from(BoardVerdict), st.lists(TEXT, max_size=2).map(tuple)),
    environment=st.builds(Environment, st.booleans(), TEXT),
    facts=st.dictionaries(TEXT, st.none() | st.booleans() | TEXT | st.lists(TEXT, max_size=2), max_size=3),
    findings=st.lists(st.builds(Finding, TEXT, st.sampled_from(Severity), TEXT, TEXT, EVIDENCE), max_size=2).map(tuple),
    checks=st.lists(st.builds(Check, TEXT, TEXT, TEXT, st.sampled_from(Outcome), duration_s=SECONDS), max_size=2).map(tuple),
)


def document(**changes: Any) -> bytes:
    """Return the full record as JSON with changed fields at the top."""
    return json.dumps({**json.loads(encode(FULL)), **changes}).encode()


def test_full_record_survives() -> None:
    """A record with something in every field is read back the same."""
    assert decode(encode(FULL), "record.json") == FULL


@given(RECORDS)
def test_any_record_survives(record: Record) -> None:
    """Records of any texts and finite numbers are read back the same."""
    assert decode(encode(record), "record.json") == record


def test_record_is_written_to_be_read() -> None:
    """The document is indented, ends with a line's end and keeps enums as words."""
    text = encode(FULL).decode()
    assert text.startswith('{\n  "schema": 1,\n  "run": {\n')
    assert text.endswith("}\n")
    assert '"outcome": "not measurable"' in text
    assert '"board": "CONDITIONAL"' in text


def test_fields_that_may_be_missing_have_defaults() -> None:
    """A record of head and verdict alone is a record."""
    least = {key: value for key, value in json.loads(encode(FULL)).items() if key in {"schema", "run", "verdict", "environment"}}
    record = decode(json.dumps(least).encode(), "record.json")
    assert (record.run, record.checks, record.series, record.facts) == (FULL.run, (), (), {})


def test_record_without_spans_is_whole() -> None:
    """A record from before there were spans is read, and one with spans holds nothing else that an older reader would miss."""
    old = json.loads(encode(FULL))
    del old["run"]["spans"]

    assert decode(json.dumps(old).encode(), "record.json") == msgspec.structs.replace(
        FULL, run=msgspec.structs.replace(FULL.run, spans=())
    )


def test_newer_version_is_refused_with_the_remedy() -> None:
    """A record of a later version is refused by its version, even if it has another shape."""
    with pytest.raises(UsageError, match=rf"^old/record.json is a record of version {SCHEMA + 1}.*newer throughpass"):
        decode(json.dumps({"schema": SCHEMA + 1, "run": "of another shape"}).encode(), "old/record.json")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b"\xff\xfe",
        encode(FULL)[:-20],
        document(schema="1"),
        document(schema=0),
        document(schema=-1),
        document(run=None),
        document(verdict={"board": "FINE"}),
    ],
    ids=[
        "empty",
        "text",
        "list",
        "no-schema",
        "binary",
        "cut-off",
        "schema-text",
        "schema-0",
        "schema-negative",
        "no-run",
        "verdict",
    ],
)
def test_anything_else_is_refused_by_name(data: bytes) -> None:
    """What is not a record of a known version is a UsageError that names the file."""
    with pytest.raises(UsageError, match=r"^some\.json is "):
        decode(data, "some.json")


def test_refusal_names_the_place() -> None:
    """The message of a malformed record names the field."""
    with pytest.raises(UsageError, match=r"\$\.verdict\.board"):
        decode(document(verdict={"board": "FINE"}), "record.json")


@given(st.binary())
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Garbage is a UsageError, never another exception."""
    with pytest.raises(UsageError):
        decode(data, "record.json")


def test_deep_nesting_is_refused() -> None:
    """A document that is nested beyond all reason is a UsageError too."""
    with pytest.raises(UsageError):
        decode(b'{"schema": 1, "facts": ' + b"[" * 100_000, "record.json")


def test_json_schema_describes_the_record() -> None:
    """The published schema names every field of a record, and the outcomes as words."""
    schema = json_schema()
    fields = schema["$defs"]["Record"]["properties"]
    assert set(fields) == {field.name for field in msgspec.structs.fields(Record)}
    assert schema["$defs"]["Outcome"]["enum"] == sorted(outcome.value for outcome in Outcome)


def test_stages_stand_in_the_order_of_a_qualification() -> None:
    """There are eight stages: the round trips come last, when the first one has returned."""
    assert STAGES == ("readiness", "binding", "guest", "usb", "integrity", "throughput", "return", "cycles")
