"""Who we are to a host, and who the host must be: private keys, the agent, known_hosts."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import paramiko
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey
from paramiko.pkey import UnknownKeyType

from harness.core.errors import UsageError

SSH_PORT = 22
KNOWN_HOSTS = (Path("~/.ssh/known_hosts"), Path("/etc/ssh/ssh_known_hosts"))


def read_identity(path: Path) -> paramiko.PKey:
    """Read a private key file without passphrase; raise UsageError that says what is wrong with it."""
    try:
        return paramiko.PKey.from_path(path)
    except OSError as error:
        raise UsageError(f"the private key {path} cannot be read: {error.strerror}") from error
    except (TypeError, paramiko.PasswordRequiredException) as error:  # TypeError: how cryptography asks for a passphrase
        raise UsageError(
            f"the private key {path} has a passphrase: give it to an SSH agent (ssh-add {path}) and leave host.identity out"
        ) from error
    except (ValueError, paramiko.SSHException, UnknownKeyType) as error:
        raise UsageError(f"{path} is no private key of a kind that can be used: ed25519, ECDSA or RSA") from error


@contextmanager
def client_keys(identity: Path | None) -> Iterator[Sequence[paramiko.PKey]]:
    """Hold the keys to offer: that of the file, else all of the agent."""
    if identity is not None:
        yield [read_identity(identity)]
        return
    try:
        agent = paramiko.Agent()
    except (paramiko.SSHException, OSError) as error:
        raise UsageError(f"the SSH agent does not answer ({error}): give host.identity, a private key file") from error
    try:
        if not (keys := agent.get_keys()):
            raise UsageError("there is no key to log in with: give host.identity, a private key file, or start an SSH agent")
        yield keys
    finally:
        agent.close()


def expected_host_keys(address: str, port: int, pinned: str, files: Iterable[Path] = KNOWN_HOSTS) -> Sequence[str]:
    """Return the key lines ("ssh-ed25519 AAAA...") that the host may present: the pinned one, else those of known_hosts.

    Raises UsageError if there is none: a key is never learned by connecting.
    """
    if pinned:
        return [checked_key(pinned)]
    name = address if port == SSH_PORT else f"[{address}]:{port}"
    known = find_known_keys(name, (line for path in files for line in _lines(path.expanduser())))
    if not known:
        where = address if port == SSH_PORT else f"-p {port} {address}"
        raise UsageError(
            f"the SSH host key of {name} is not known: connect once with `ssh {where}` and compare the fingerprint, "
            "or pin the key by host.host_key in the bench file"
        )
    return known


def checked_key(line: str) -> str:
    """Return a public key line without its comment; raise UsageError if it is none."""
    words = line.split()
    try:
        blob = b64decode(words[1], validate=True)
        length = int.from_bytes(blob[:4], "big")
        if blob[4 : 4 + length].decode("ascii") == words[0]:
            return f"{words[0]} {words[1]}"
    except (IndexError, binascii.Error, ValueError):
        pass
    raise UsageError(f"host.host_key is not a public key like 'ssh-ed25519 AAAA...': {line!r}")


def find_known_keys(name: str, lines: Iterable[str]) -> Sequence[str]:
    """Return the keys that known_hosts lines hold for a name, without revoked ones; patterns and authorities are not followed."""
    known: list[str] = []
    revoked: set[str] = set()
    for line in lines:
        if line.startswith("@"):
            revoked.update(line.split()[3:4] if line.startswith("@revoked") else ())
        elif (entry := _entry(line)) is not None and any(_names(name, host) for host in entry.hostnames):
            known.append(f"{entry.key.get_name()} {entry.key.get_base64()}")
    return [key for key in dict.fromkeys(known) if key.split()[1] not in revoked]


def fingerprint(key: paramiko.PKey) -> str:
    """Return a key's fingerprint as ssh-keygen prints it."""
    return f"{key.get_name()} {key.fingerprint}"


def _names(name: str, host: str) -> bool:
    return host == name or (host.startswith("|1|") and paramiko.HostKeys.hash_host(name, host) == host)


def _entry(line: str) -> HostKeyEntry | None:
    try:
        return HostKeyEntry.from_line(line.strip()) if line.strip() and not line.startswith("#") else None
    except (paramiko.SSHException, InvalidHostKey, ValueError):
        return None  # a line that OpenSSH would skip too


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
