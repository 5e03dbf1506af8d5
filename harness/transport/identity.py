"""Who we are to a host: private keys, their certificates, the agent."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from harness.core.errors import UsageError
from harness.transport.known_hosts import checked_key
from harness.transport.library import paramiko
from harness.transport.sshconfig import SshTarget

AGENT_LIMIT_S = 30.0
"""An agent may ask its user; one that hangs must not hold everything up."""


class LockedKeyError(UsageError):
    """A private key has a passphrase."""


@dataclass
class Credentials:
    """The keys to offer, in order, and a phrase for each that was left out."""

    keys: list[paramiko.PKey] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def add(self, key: paramiko.PKey) -> None:
        """Offer a key, once."""
        if all(key.asbytes() != other.asbytes() for other in self.keys):
            self.keys.append(key)


def read_identity(path: Path) -> paramiko.PKey:
    """Read a private key file without passphrase; raise UsageError that says what is wrong with it."""
    try:
        return paramiko.PKey.from_path(path)
    except OSError as error:
        raise UsageError(f"the private key {path} cannot be read: {error.strerror}") from error
    except (TypeError, paramiko.PasswordRequiredException) as error:  # TypeError: how cryptography asks for a passphrase
        raise LockedKeyError(
            f"the private key {path} has a passphrase: give it to an SSH agent (ssh-add {path}) and leave host.identity out"
        ) from error
    except (ValueError, paramiko.SSHException, paramiko.pkey.UnknownKeyType) as error:
        raise UsageError(f"{path} is no private key of a kind that can be used: ed25519, ECDSA or RSA") from error


@contextmanager
def credentials(target: SshTarget) -> Iterator[Credentials]:
    """Hold what to offer to a host: its one key, else as ssh does those of the agent that are named, its others, then files.

    Raises UsageError if there is none, with what was left out and why.
    """
    found = Credentials()
    with ExitStack() as stack:
        if target.identity is not None:
            found.add(read_identity(target.identity))
        else:
            _choose(target, stack.enter_context(_agent_keys(target.agent, found)), found)
        _allow(target, found)
        for path in target.certificates:
            _certify(path, found)
        if not found.keys:
            why = f" ({'; '.join(found.left_out)})" if found.left_out else ""
            raise UsageError(
                f"there is no key to log in to {target.name} with{why}: give host.identity in the bench file or IdentityFile in "
                "~/.ssh/config, a private key file, or start an SSH agent"
            )
        yield found


def _choose(target: SshTarget, agent: Sequence[paramiko.PKey], found: Credentials) -> None:
    """Choose among the agent's keys and the files."""
    from_files: list[paramiko.PKey] = []
    for path in target.identities:
        if (mine := _held_by(agent, path)) is not None:
            found.add(mine)
        elif path.exists():
            _read_into(from_files, path, found)
        elif target.identities_named:
            found.left_out.append(f"{path} is not there")
    for key in () if target.identities_only else agent:
        found.add(key)
    for key in from_files:
        found.add(key)


def _held_by(agent: Sequence[paramiko.PKey], path: Path) -> paramiko.PKey | None:
    """Return the agent's key whose public half lies at a path or beside it: the way to choose one, and to unlock none."""
    for public in (path, path.with_name(path.name + ".pub")):
        with suppress(OSError, UnicodeDecodeError, UsageError):
            line = checked_key(public.read_text(encoding="ascii"))
            return next((key for key in agent if key.get_base64() == line.split()[1]), None)
    return None


def _read_into(keys: list[paramiko.PKey], path: Path, found: Credentials) -> None:
    try:
        keys.append(read_identity(path))
    except LockedKeyError:
        found.left_out.append(f"{path} has a passphrase: ssh-add it")
    except UsageError as error:
        found.left_out.append(error.message)


def _allow(target: SshTarget, found: Credentials) -> None:
    """Leave out the keys that the configuration does not let log in."""
    for key in list(found.keys):
        kind, allowed = key.get_name(), target.algorithms.client_keys
        kinds = {"rsa-sha2-512", "rsa-sha2-256"} if kind == "ssh-rsa" else {kind}
        if allowed and not kinds & set(allowed):
            found.left_out.append(f"PubkeyAcceptedAlgorithms allows no {kind}")
        elif kind == "ssh-rsa" and key.get_bits() < target.algorithms.rsa_bits:
            found.left_out.append(f"RequiredRSASize is {target.algorithms.rsa_bits}, and an RSA key has {key.get_bits()} bits")
        else:
            continue
        found.keys.remove(key)


def _certify(path: Path, found: Credentials) -> None:
    """Let the key that a certificate is for present it."""
    try:
        certificate = paramiko.pkey.PublicBlob.from_file(str(path))
    except (OSError, ValueError, UnicodeDecodeError, paramiko.SSHException) as error:
        found.left_out.append(f"the certificate {path} cannot be read: {error}")
        return
    for key in found.keys:
        if _is_for(certificate.key_blob, key.asbytes()):
            key.load_certificate(str(path))
            return
    found.left_out.append(f"the certificate {path} is for none of the keys")


def _is_for(certificate: bytes, key: bytes) -> bool:
    """Return whether a certificate is for a key: behind its kind and a nonce stand the same parts."""
    signed, plain = paramiko.message.Message(certificate), paramiko.message.Message(key)
    kind, _ = signed.get_binary(), signed.get_binary()
    return kind.startswith(plain.get_binary()) and signed.get_remainder().startswith(plain.get_remainder())


class _Agent(paramiko.agent.AgentSSH):
    """The agent that listens on a socket; paramiko's own asks only the one of the environment."""

    def __init__(self, path: str) -> None:
        super().__init__()
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(AGENT_LIMIT_S)
        try:
            connection.connect(path)
            self._connect(connection)  # type: ignore[attr-defined] # paramiko has no public way in for a socket
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Let the agent go."""
        self._close()  # type: ignore[attr-defined] # as paramiko.Agent.close does


@contextmanager
def _agent_keys(path: str, found: Credentials) -> Iterator[Sequence[paramiko.PKey]]:
    """Hold the agent's keys, none where there is no agent that answers."""
    try:
        agent = _Agent(path) if path else None
    except (paramiko.SSHException, OSError) as error:
        found.left_out.append(f"the SSH agent at {path} does not answer: {error}")
        agent = None
    try:
        yield agent.get_keys() if agent else ()
    finally:
        if agent:
            agent.close()
