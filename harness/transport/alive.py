"""Whether the other end of a connection still answers. TCP does not tell: a host that hangs closes nothing."""

from __future__ import annotations

import contextlib
import socket
import threading

from harness.transport.library import paramiko

ASK_S = 15.0
SILENCE_S = 90.0
"""What does not answer for so long is gone; the lock on the host gives a runner as long (harness/actions/lock.py)."""

_QUESTION = "keepalive@openssh.com"  # as OpenSSH's client asks; an sshd that does not know it answers, too


class Watch:
    """Asks the other end now and then, and ends the connection if no answer comes: whoever waits on it learns that it is lost."""

    def __init__(self, connection: paramiko.Transport) -> None:
        self.silent = False
        self._connection = connection
        threading.Thread(target=self._ask, daemon=True, name="watch over a connection").start()

    def _ask(self) -> None:
        while self._active_after_a_while():
            clock = threading.Timer(SILENCE_S, self._give_up)
            clock.daemon = True
            clock.start()
            with contextlib.suppress(OSError, EOFError, paramiko.SSHException):  # who uses the connection is told
                self._connection.global_request(_QUESTION, wait=True)
            clock.cancel()

    def _active_after_a_while(self) -> bool:
        self._connection.join(ASK_S)  # it is a thread, which ends with the connection
        return self._connection.is_active()

    def _give_up(self) -> None:
        self.silent = True
        end(self._connection)


def end(connection: paramiko.Transport) -> None:
    """End a connection, whoever still waits on it.

    paramiko's reader looks up only ten times a second, unless its socket ends: so that ends first.
    """
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
