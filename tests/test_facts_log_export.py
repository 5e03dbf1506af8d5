"""Kernel logs that were written for programs give the messages that people see."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.facts.log_lines import parse_boot_log

MESSAGES = (
    "Linux version 6.1.0-demo (b@h) (gcc) #1 SMP",
    'Kernel command line: root=/dev/sda1 note="{a}" iommu=pt',
    "DMAR: Host address width 39",
)
PROGRAM = "DMAR: Intel(R) Virtualization Technology for Directed I/O"  # said by a program: proves nothing


def entry(message: object, transport: str = "kernel", name: str = "kernel") -> dict[str, object]:
    """Return an entry of the journal."""
    return {"__CURSOR": "s=0a;i=1", "_TRANSPORT": transport, "SYSLOG_IDENTIFIER": name, "MESSAGE": message}


def entries() -> list[dict[str, object]]:
    """Return a journal of all messages, and of one by a program."""
    return [*(entry(message) for message in MESSAGES), entry(PROGRAM, "syslog", "someone")]


def as_json(indent: int | None = None, before: str = "") -> str:
    """Return the journal in one of its JSON formats."""
    return "".join(f"{before}{json.dumps(one, indent=indent)}\n" for one in entries())


def as_fields(title: str, indent: str) -> str:
    """Return the journal in the format verbose or export."""
    return "".join(title + "".join(f"{indent}{key}={value}\n" for key, value in one.items()) for one in entries())


def as_dmesg() -> str:
    """Return what ``dmesg --json`` prints."""
    return json.dumps({"dmesg": [{"pri": 6, "time": 0.5, "msg": message} for message in MESSAGES]}, indent=3)


FORMATS: dict[str, Callable[[], str]] = {
    "json": as_json,
    "json-pretty": lambda: as_json(indent=8),
    "json-sse": lambda: as_json(before="data: "),
    "json-seq": lambda: as_json(before="\x1e"),
    "verbose": lambda: as_fields("Sat 2025-11-22 17:21:00.123456 CET [s=0a;i=1;b=0b;m=1;t=1;x=1]\n", "    "),
    "export": lambda: as_fields("\n", ""),
    "dmesg": as_dmesg,
}


@pytest.mark.parametrize("name", FORMATS)
def test_log_export_messages(name: str) -> None:
    """Every export gives the kernel's messages of a boot, and nobody else's."""
    boot = parse_boot_log(FORMATS[name]())

    assert boot.lines == MESSAGES
    assert boot.complete


def test_log_export_bytes() -> None:
    """A message that is no UTF-8 stands byte by byte, and several lines of one entry are lines."""
    text = json.dumps(entry([*b"one\xff"])) + json.dumps(entry("two\nthree"))

    assert parse_boot_log(text).lines == ("one\ufffd", "two", "three")


def test_log_export_reboot() -> None:
    """What stands before the line of another boot is left out."""
    text = as_fields("\n", "") + "-- Boot 0123456789abcdef0123456789abcdef --\n" + as_fields("\n", "")

    assert parse_boot_log(text).lines == MESSAGES


@given(st.data())
def test_log_export_damaged(data: st.DataObject) -> None:
    """An export that was cut off gives no message that the kernel did not say."""
    text = data.draw(st.sampled_from([make() for make in FORMATS.values()]))
    begin, end = sorted((data.draw(st.integers(0, len(text))), data.draw(st.integers(0, len(text)))))

    assert not any(line == PROGRAM for line in parse_boot_log(text[begin:end]).lines)
