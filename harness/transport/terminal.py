"""A command or a shell on a host, joined to this process's own standard streams."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from harness.core.errors import HostLostError
from harness.transport.channels import exit_status
from harness.transport.library import paramiko
from harness.transport.ssh import SshTransport

_CHUNK = 65536
_STDIN = 0


def run_joined(transport: SshTransport, command: str) -> int:
    """Run a command with our standard streams (input only if it is no terminal) and return its exit status."""
    with transport.session() as channel:
        channel.exec_command(command)
        if os.isatty(_STDIN):
            channel.shutdown_write()
        else:
            _feed(channel)
        _copy_out(channel)
        return _status(channel, transport)


def run_shell(transport: SshTransport) -> int:
    """Run a login shell on a terminal of the host that follows ours, and return its exit status."""
    with transport.session() as channel:
        size = shutil.get_terminal_size()
        channel.get_pty(os.environ.get("TERM", "dumb"), size.columns, size.lines)
        with _raw_terminal(), _size_followed(channel):
            channel.invoke_shell()
            _feed(channel)
            _copy_out(channel)
        return _status(channel, transport)


def _feed(channel: paramiko.Channel) -> None:
    """Send our standard input from a thread: sending may have to wait until the host reads, while we must go on reading."""
    threading.Thread(target=_send_stdin, args=(channel,), daemon=True, name="stdin").start()


def _send_stdin(channel: paramiko.Channel) -> None:
    with suppress(OSError, EOFError, paramiko.SSHException):  # the command may end before it has read all
        while data := os.read(_STDIN, _CHUNK):
            channel.sendall(data)
        channel.shutdown_write()


def _copy_out(channel: paramiko.Channel) -> None:
    """Copy both outputs to their ends; two streams share one window, so neither may be left unread."""
    errors = threading.Thread(target=_copy_errors, args=(channel,), daemon=True, name="stderr")
    errors.start()
    while data := channel.recv(_CHUNK):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    errors.join()


def _copy_errors(channel: paramiko.Channel) -> None:
    with suppress(OSError):
        while data := channel.recv_stderr(_CHUNK):
            sys.stderr.buffer.write(data)
            sys.stderr.buffer.flush()


def _status(channel: paramiko.Channel, transport: SshTransport) -> int:
    try:
        return exit_status(channel)
    except EOFError:
        raise HostLostError(f"the connection to {transport.name} ended") from None


@contextmanager
def _raw_terminal() -> Iterator[None]:
    """Hand every key to the host as it is typed, if our input is a terminal."""
    if not os.isatty(_STDIN):
        yield
        return
    before = termios.tcgetattr(_STDIN)
    try:
        tty.setraw(_STDIN, termios.TCSADRAIN)  # what was typed while the board booted is kept
        yield
    finally:
        termios.tcsetattr(_STDIN, termios.TCSADRAIN, before)


@contextmanager
def _size_followed(channel: paramiko.Channel) -> Iterator[None]:
    """Tell the host whenever our window changes its size."""

    def tell(_signum: int, _frame: FrameType | None) -> None:
        size = shutil.get_terminal_size()
        with suppress(OSError, EOFError, paramiko.SSHException):
            channel.resize_pty(size.columns, size.lines)

    before = signal.signal(signal.SIGWINCH, tell)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
