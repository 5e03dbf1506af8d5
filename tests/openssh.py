"""OpenSSH's own server on the loopback, where this machine has one: what a real host says, banners and refusals included."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from getpass import getuser
from pathlib import Path
from typing import Any

import pytest

from harness.core.deadline import Deadline
from harness.transport.keys import make_key
from harness.transport.sshconfig import SshTarget

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
NEEDS_SSHD = pytest.mark.skipif(SSHD is None, reason="openssh-server is not installed")
NEEDS_SSH = pytest.mark.skipif(shutil.which("ssh") is None, reason="openssh-client is not installed")


@dataclass(frozen=True)
class OpenSsh:
    """A running server, and what opens it."""

    port: int
    host_key: str
    key: Path

    def target(self, **changes: Any) -> SshTarget:
        """Return the server as a target."""
        plain = SshTarget("127.0.0.1", getuser(), self.port, identity=self.key, host_key=self.host_key, agent="")
        return replace(plain, **changes)


@contextmanager
def openssh(folder: Path, *lines: str) -> Iterator[OpenSsh]:
    """Run OpenSSH's server with these lines of configuration; every command begins as for a login without ~/.bashrc."""
    host, client = make_key(), make_key()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    usual = f"""
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
SetEnv SHLVL=2
"""
    config = "\n".join([*lines, usual])
    texts = {"host_key": host.private, "key": client.private, "authorized_keys": client.public, "sshd_config": config}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o600)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd locks itself in
    argv = [str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")]
    with (folder / "log").open("wb") as log, subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=log) as server:
        try:
            _await(port, server)
            yield OpenSsh(port, host.public.strip(), folder / "key")
        finally:
            server.terminate()


def _await(port: int, server: subprocess.Popen[bytes]) -> None:
    limit = Deadline.after(10, "the start of sshd")
    while server.poll() is None and not limit.expired:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
    pytest.skip("sshd does not run here")
