"""Many hosts on this machine: one sshd that listens on the whole loopback, whose addresses are as many hosts to an SSH client."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

from benchmarks.kernels import search_path
from harness.core.deadline import Deadline
from harness.core.errors import BenchError, UsageError
from harness.transport.keys import make_key

MOST = 200
_FIRST = 2
_START_LIMIT_S = 10.0


@dataclass(frozen=True)
class Hosts:
    """Where the hosts are and what opens them; ``config`` is for ssh's -F and holds all of it."""

    addresses: Sequence[str]
    port: int
    user: str
    key: Path
    known_hosts: Path
    config: Path


def require_sshd() -> Path:
    """Return sshd; raise UsageError with the packages that bring it and ssh."""
    sshd = shutil.which("sshd", path=search_path())
    if sshd is None or shutil.which("ssh") is None:
        raise UsageError("the hosts of this benchmark are an sshd on the loopback: install openssh-server and openssh-client")
    return Path(sshd)


@contextmanager
def serving_hosts(count: int, folder: Path) -> Iterator[Hosts]:
    """Serve SSH at ``count`` addresses, with keys of our own and nothing of the machine's configuration."""
    sshd = require_sshd()
    port = _free_port()
    hosts = _written(count, port, folder)
    argv = [str(sshd), "-D", "-e", "-f", str(folder / "sshd_config")]
    with (folder / "sshd.log").open("wb") as log, subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=log) as server:
        try:
            _await(port, server, folder / "sshd.log")
            yield hosts
        finally:
            server.terminate()


def _written(count: int, port: int, folder: Path) -> Hosts:
    """Write keys and configurations of both ends."""
    host, client = make_key(), make_key()
    addresses = [f"127.0.0.{_FIRST + number}" for number in range(count)]
    known = "".join(f"[{address}]:{port} {host.public}" for address in addresses)
    hosts = Hosts(addresses, port, getuser(), folder / "key", folder / "known_hosts", folder / "ssh_config")
    texts = {
        "host_key": host.private,
        "key": client.private,
        "authorized_keys": client.public,
        "known_hosts": known,
        "ssh_config": f"Host *\n  User {hosts.user}\n  Port {port}\n  IdentityFile {hosts.key}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {hosts.known_hosts}\n  StrictHostKeyChecking yes\n",
        # bash reads ~/.bashrc for a command that comes by SSH, unless SHLVL says that a shell has: whatever this machine's user
        # has there would be in every side's time, once for each of its commands.
        "sshd_config": f"ListenAddress 0.0.0.0:{port}\nHostKey {folder}/host_key\nAuthorizedKeysFile {folder}/authorized_keys\n"
        "PidFile none\nUsePAM no\nStrictModes no\nUseDNS no\nPasswordAuthentication no\nMaxStartups 1000\nMaxSessions 100\n"
        "SetEnv SHLVL=2\n",
    }
    for name, text in texts.items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
    return hosts


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _await(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    limit = Deadline.after(_START_LIMIT_S, "the start of sshd")
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=limit.left_s):
                return
        except OSError:
            if server.poll() is not None:
                raise BenchError("sshd ended at once", evidence=log.read_text(errors="replace")) from None
            limit.check()
