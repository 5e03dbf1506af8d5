"""Batches: several commands in one round trip, and none may speak for another."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from harness.core.deadline import Deadline
from harness.core.errors import BenchError, DeadlineError
from harness.machine.batch import run_batch
from harness.transport.local import LocalTransport
from harness.transport.protocol import Result


def test_batch_keeps_its_parts_apart() -> None:
    """Each part has its own output, error and status, byte by byte, whatever the ones before it did."""
    commands = {"one": "printf 'a\\n\\n'; printf x >&2; false", "two": "printf b", "three": ":", "four": "echo y >&2; (exit 7)"}

    parts = run_batch(LocalTransport(), commands)

    assert {name: part.stdout for name, part in parts.items()} == {"one": b"a\n\n", "two": b"b", "three": b"", "four": b""}
    assert {name: part.stderr for name, part in parts.items()} == {"one": b"x", "two": b"", "three": b"", "four": b"y\n"}
    assert {name: part.status for name, part in parts.items()} == {"one": 1, "two": 0, "three": 0, "four": 7}


def test_batch_shares_its_shell() -> None:
    """What one part sets, the next one has."""
    assert run_batch(LocalTransport(), {"set": "disk=sda", "get": 'echo "$disk"'})["get"].text == "sda"


def test_batch_ends_with_a_part_that_exits() -> None:
    """A part that exits has its status and its output, and those after it are missing."""
    parts = run_batch(LocalTransport(), {"one": "echo 1", "two": "echo 2; echo late >&2; exit 124", "three": "echo 3"})

    assert list(parts) == ["one", "two"]
    assert (parts["two"].status, parts["two"].text, parts["two"].error_text) == (124, "2", "late")


def test_batch_tells_when_its_parts_ran() -> None:
    """The parts lie one behind the other on this machine's clock, between asking and answer."""
    before_s = time.monotonic()
    parts = run_batch(LocalTransport(), {"wait": "sleep 0.3", "after": ":"})
    after_s = time.monotonic()

    assert before_s - 0.02 <= parts["wait"].start_s <= parts["wait"].end_s == parts["after"].start_s <= parts["after"].end_s
    assert parts["after"].end_s <= after_s
    assert 0.25 <= parts["wait"].end_s - parts["wait"].start_s <= after_s - before_s + 0.02


def test_batch_requires_what_must_succeed() -> None:
    """A part that was required and failed is an error that names its command, and the host's words are the evidence."""
    parts = run_batch(LocalTransport(), {"good": "echo 1", "bad": "echo no such bus >&2; false\n:;false"})

    assert parts["good"].require().text == "1"
    with pytest.raises(BenchError, match=r"'echo no such bus >&2; false' on this machine ended with status 1") as caught:
        parts["bad"].require()
    assert caught.value.evidence == "no such bus"


def test_batch_cannot_be_forged() -> None:
    """A part that prints what looks like a mark of another batch prints only that."""
    parts = run_batch(LocalTransport(), {"forged": r"printf '\n@tp-0123456789abcdef 0 1.00\nout\n'", "next": "echo next"})

    assert parts["forged"].text == "\n@tp-0123456789abcdef 0 1.00\nout"
    assert parts["next"].text == "next"


def test_batch_has_a_deadline() -> None:
    """A batch that takes too long is ended, and the error says what it was for."""
    with pytest.raises(DeadlineError, match="reading the tree took longer than"):
        run_batch(LocalTransport(), {"hang": "sleep 30"}, deadline=Deadline.after(0.3, "reading the tree"))


class Silent(LocalTransport):
    """A host whose shell runs nothing."""

    def run(self, command: str | Sequence[str], **_: Any) -> Result:
        """Answer as that host would."""
        return Result(self.name, str(command), 1, b"This account is not available.\n", b"")


def test_batch_that_did_not_run_is_an_error() -> None:
    """Where no shell ran the script, the error has what came instead."""
    with pytest.raises(BenchError, match="did not run") as caught:
        run_batch(Silent(), {"one": "echo 1"})
    assert caught.value.evidence == "This account is not available."
