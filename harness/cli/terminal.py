"""How the command speaks, and how it is interrupted."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import typer

from harness.core.errors import BoardError, ThroughpassError, UsageError
from reports.spelling import visible

FAILED, BAD_INPUT, UNDECIDED, INTERRUPTED = 1, 2, 3, 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def error_status(error: ThroughpassError) -> int:
    """Return the exit status for an error: whose fault it is."""
    if isinstance(error, UsageError):
        return BAD_INPUT
    return FAILED if isinstance(error, BoardError) else UNDECIDED


def tell_error(error: ThroughpassError) -> None:
    """Write an error to standard error: the sentence, what to do, and its evidence, with control characters made visible."""
    lines = [f"throughpass: {visible(error.message)}"]
    lines += [f"  {visible(error.remedy)}"] if error.remedy else []
    lines += [f"    {visible(line, keep=chr(9))}" for line in error.evidence.strip().splitlines()]
    typer.echo("\n".join(lines), err=True)


def tell(line: str) -> None:
    """Write a line about what is going on; standard output is for results."""
    typer.echo(visible(line), err=True)


def say(text: str) -> None:
    """Write to standard output; raise UsageError where it takes nothing, a reader apart who has gone: typer ends us quietly."""
    try:
        typer.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UsageError(f"the result cannot be written to standard output: {error.strerror or error}") from error


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP end the work once, and nothing interrupt the tidying that follows."""

    def interrupt(signum: int, _frame: FrameType | None) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt(signal.Signals(signum).name)

    before = signal_handlers()
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup has asked for that
            signal.signal(number, interrupt)
    try:
        yield
    except KeyboardInterrupt as interruption:
        before = {}  # nothing more may interrupt the way out
        tell(f"throughpass: interrupted by {interruption}")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        restore_signals(before)


def signal_handlers() -> dict[signal.Signals, Any]:
    """Return how the signals that end our work are handled now."""
    return {number: signal.getsignal(number) for number in _SIGNALS}


def restore_signals(handlers: dict[signal.Signals, Any]) -> None:
    """Let signals be handled as they were."""
    for number, handler in handlers.items():
        if handler is not None:  # None: nobody in Python knows
            signal.signal(number, handler)
