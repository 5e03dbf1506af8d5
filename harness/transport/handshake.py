"""The handshake: what is offered and asked for, whose key is refused, who we log in as, and what is said where that fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.core.deadline import Deadline
from harness.core.errors import HostLostError, UsageError
from harness.transport.known_hosts import KnownKey, checked_key, fingerprint
from harness.transport.library import paramiko
from harness.transport.sshconfig import USUAL, Algorithms

_SIGNATURES = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}
"""Key types whose algorithms in the handshake have other names."""

_SAME = {"curve25519-sha256": "curve25519-sha256@libssh.org"}
"""The name that paramiko knows an algorithm by; OpenSSH offers both since 7.4."""


@dataclass(frozen=True)
class Trust:
    """What a host must prove: which keys it may present, where they stand, those that are revoked, and algorithms."""

    keys: tuple[KnownKey, ...]
    known_as: str = ""
    revoked: tuple[KnownKey, ...] = ()
    algorithms: Algorithms = USUAL

    @classmethod
    def pinned(cls, host_key: str, algorithms: Algorithms = USUAL) -> Trust:
        """Return the trust in one key, "ssh-ed25519 AAAA..."; raise UsageError if it is none."""
        return cls((KnownKey(checked_key(host_key)),), algorithms=algorithms)

    @property
    def kinds(self) -> str:
        """Return the kinds of the known keys, for messages."""
        return ", ".join(sorted({key.line.split()[0] for key in self.keys}))


def narrow(transport: paramiko.Transport, trust: Trust, name: str) -> None:
    """Offer only what the user allows, and ask for a key of a type that we know; the host may have several."""
    options, allowed = transport.get_security_options(), trust.algorithms
    options.kex = _common("KexAlgorithms", [_SAME.get(kex, kex) for kex in allowed.kex], options.kex, name)
    options.ciphers = _common("Ciphers", allowed.ciphers, options.ciphers, name)
    options.digests = _common("MACs", allowed.macs, options.digests, name)
    types = _common("HostKeyAlgorithms", allowed.host_keys, options.key_types, name)
    wanted = {kind for key in trust.keys for kind in _SIGNATURES.get(key.line.split()[0], (key.line.split()[0],))}
    known = [kind for kind in types if kind in wanted]
    if not known and allowed.host_keys:
        raise UsageError(
            f"HostKeyAlgorithms in ssh's configuration for {name} allows no kind of key that is known of it: {trust.kinds}"
        )
    options.key_types = known or types


def _common(option: str, allowed: Sequence[str], possible: Sequence[str], name: str) -> Sequence[str]:
    """Return what is both allowed and possible, in the user's order."""
    if not allowed:
        return possible
    if not (common := [each for each in dict.fromkeys(allowed) if each in possible]):
        raise UsageError(
            f"{option} in ssh's configuration for {name} allows nothing that can be used here: add one of {', '.join(possible)}"
        )
    return common


def require_host_key(presented: paramiko.PKey, trust: Trust, name: str) -> None:
    """Raise HostLostError unless a host presented a key that it may present."""
    line = f"{presented.get_name()} {presented.get_base64()}"
    if revoked := next((key for key in trust.revoked if key.line == line), None):
        raise HostLostError(
            f"{name} presented an SSH host key ({fingerprint(presented)}) that {revoked.place} revokes: not connecting",
            remedy="ask the host's administrator: whoever presents that key may not be the host",
        )
    if line not in {key.line for key in trust.keys}:
        raise _changed(presented, trust, name)
    if presented.get_name() == "ssh-rsa" and presented.get_bits() < trust.algorithms.rsa_bits:
        least = trust.algorithms.rsa_bits
        raise HostLostError(f"{name} has an RSA host key of {presented.get_bits()} bits, and RequiredRSASize is {least}")


def _changed(presented: paramiko.PKey, trust: Trust, name: str) -> HostLostError:
    """Return the error for another key than the known one: both fingerprints, where the old one stands, what to do."""
    old = next((key for key in trust.keys if key.line.split()[0] == presented.get_name()), trust.keys[0])
    remedy = "find out why it changed; if the host was installed anew, give its new key as host.host_key"
    if old.file:
        remedy = (
            "ask the host's administrator for the new fingerprint, for somebody may stand between; if it is right, "
            f"`ssh-keygen -R '{trust.known_as}' -f {old.file}` removes the old key, and one `ssh` to the host learns the new one"
        )
    return HostLostError(
        f"{name} presented another SSH host key ({fingerprint(presented)}) than the one that is known "
        f"({old.fingerprint}, in {old.place}): not connecting",
        remedy=remedy,
    )


def log_in(
    transport: paramiko.Transport,
    user: str,
    keys: Sequence[paramiko.PKey],
    *,
    name: str,
    deadline: Deadline,
    left_out: Sequence[str],
) -> None:
    """Try each key in turn; raise HostLostError if none is accepted, DeadlineError if the host does not answer in time."""
    ways: Sequence[str] = ()
    for key in keys:
        transport.auth_timeout = max(0.5, deadline.left_s)
        try:
            if further := transport.auth_publickey(user, key):
                raise HostLostError(f"{name} wants more than a key: {', '.join(further)}")
        except paramiko.AuthenticationException as error:
            deadline.check(f"{name} was logging us in")
            if not transport.is_active():
                raise EOFError(f"it closed the connection when a key was offered ({error})") from error
            ways = getattr(error, "allowed_types", ())
            continue
        return
    offered = ", ".join(map(fingerprint, keys))
    other = f"; it takes only: {', '.join(ways)}" if ways else ""
    skipped = f"; not offered: {'; '.join(left_out)}" if left_out else ""
    raise HostLostError(
        f"{name} accepts none of the keys that were offered: {offered}{other}{skipped}",
        remedy=f"add the public key to ~{user}/.ssh/authorized_keys there",
    )


def explain(error: Exception, trust: Trust) -> str:
    """Return in words what paramiko says of a handshake that failed."""
    said = str(error) or type(error).__name__
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer) and "host key" in said:
        return f"it has no host key of a kind that is known ({trust.kinds}): somebody may stand between, or its keys changed"
    if "protocol banner" in said:
        return f"it closed the connection, or answered otherwise than an SSH server does ({said})"
    return said
