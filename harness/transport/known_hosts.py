"""Which keys a host may present: the files of known hosts, read as ssh reads them."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path
from re import match

from harness.core.errors import UsageError
from harness.transport.library import paramiko

SSH_PORT = 22
KNOWN_HOSTS = tuple(
    map(Path, ("~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"))
)
_KRL = b"SSHKRL\n\0"


@dataclass(frozen=True)
class KnownKey:
    """A public key ("ssh-ed25519 AAAA..."), and where it stands: ``file:line``; a pinned one stands in no file."""

    line: str
    file: str = ""
    number: int = 0

    @property
    def place(self) -> str:
        """Return where a reader finds it."""
        return f"{self.file}:{self.number}" if self.file else "host.host_key"

    @property
    def fingerprint(self) -> str:
        """Return its fingerprint as ssh-keygen prints it."""
        try:
            return fingerprint(paramiko.PKey.from_type_string(self.line.split()[0], b64decode(self.line.split()[1])))
        except (paramiko.pkey.UnknownKeyType, paramiko.SSHException, ValueError, IndexError):
            return self.line.split()[0]


@dataclass(frozen=True)
class KnownHost:
    """What is known of a host: the keys that it may present, those that nobody may, and the authorities for its name."""

    name: str
    keys: tuple[KnownKey, ...]
    revoked: tuple[KnownKey, ...] = ()
    authorities: tuple[KnownKey, ...] = ()


def host_name(address: str, port: int, alias: str = "") -> str:
    """Return the name by which known_hosts knows a host."""
    return alias or (address if port == SSH_PORT else f"[{address}]:{port}")


def look_up(name: str, files: Iterable[Path]) -> KnownHost:
    """Return what the files say of a name; a host at a port of its own may be known without the port, as ssh has it."""
    lines = [entry for path in files for entry in _entries(path)]
    known = _found(name, lines)
    bare, _, port = name.rpartition(":")
    if not known.keys and port.isdigit() and bare.startswith("[") and bare.endswith("]"):
        known = KnownHost(name, _found(bare[1:-1], lines).keys, known.revoked, known.authorities)
    return known


def require_known(known: KnownHost, address: str, port: int, by_hand: str) -> Sequence[KnownKey]:
    """Return the keys that a host may present; raise UsageError if there is none: a key is never learned by connecting.

    ``by_hand`` is the command by which a user goes there.
    """
    revoked = {key.line for key in known.revoked}
    if keys := [key for key in known.keys if key.line not in revoked]:
        return keys
    where = address if port == SSH_PORT else f"-p {port} {address}"
    advice = f"connect once with `{by_hand}` and compare the fingerprint, or pin the key by host.host_key in the bench file"
    if known.keys:
        raise UsageError(f"the SSH host key of {known.name} ({known.keys[0].place}) is revoked: ask the host's administrator")
    if known.authorities:
        advice = (
            f"an authority vouches for it ({known.authorities[0].place}), but certificates of hosts cannot be checked here: "
            f"add the host's own key to known_hosts (`ssh-keyscan {where}`, compared with the host's), or pin it by host.host_key"
        )
    raise UsageError(f"the SSH host key of {known.name} is not known: {advice}")


def checked_key(line: str) -> str:
    """Return a public key line without its comment; raise UsageError if it is none."""
    if (key := _key_of(line.split())) is None:
        raise UsageError(f"host.host_key is not a public key like 'ssh-ed25519 AAAA...': {line!r}")
    return key


def read_revoked(path: Path) -> tuple[KnownKey, ...]:
    """Return the keys of a file that RevokedHostKeys names; raise UsageError if it cannot be read: then no key may be trusted."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"RevokedHostKeys names {path}, which cannot be read: {error.strerror}; so no host may be trusted"
        ) from error
    if content.startswith(_KRL):
        raise UsageError(
            f"RevokedHostKeys names {path}, a binary list (KRL), which cannot be read here: give a list of public keys"
        )
    lines = enumerate(content.decode("utf-8", "replace").splitlines(), 1)
    return tuple(KnownKey(key, str(path), number) for number, line in lines if (key := _key_of(line.split())) is not None)


def fingerprint(key: paramiko.PKey) -> str:
    """Return a key's fingerprint as ssh-keygen prints it."""
    return f"{key.get_name()} {key.fingerprint}"


@dataclass(frozen=True)
class _Entry:
    marker: str
    hosts: str
    key: KnownKey


def _found(name: str, entries: Iterable[_Entry]) -> KnownHost:
    mine = [entry for entry in entries if _names(name.lower(), entry.hosts)]

    def marked(marker: str) -> tuple[KnownKey, ...]:
        return tuple({entry.key.line: entry.key for entry in reversed(mine) if entry.marker == marker}.values())[::-1]

    return KnownHost(name, marked(""), marked("@revoked"), marked("@cert-authority"))


def _names(name: str, hosts: str) -> bool:
    """Return whether a line's list of names holds a name: one that is negated outweighs all others."""
    if hosts.startswith("|"):
        return _hash_matches(name, hosts)
    found = False
    for pattern in hosts.lower().split(","):
        if _matches(name, pattern.removeprefix("!")):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def _matches(name: str, pattern: str) -> bool:
    return match(translate(pattern.replace("[", "[[]")), name) is not None  # brackets are literal here, * and ? are not


def _hash_matches(name: str, hashed: str) -> bool:
    try:
        return hashed.startswith("|1|") and paramiko.HostKeys.hash_host(name, hashed) == hashed
    except (ValueError, AssertionError, IndexError):
        return False


def _entries(path: Path) -> Iterator[_Entry]:
    try:
        lines = path.expanduser().read_text(encoding="utf-8", errors="replace").split("\n")
    except (OSError, RuntimeError):
        return
    for number, line in enumerate(lines, 1):
        if (entry := _entry(line, str(path.expanduser()), number)) is not None:
            yield entry


def _entry(line: str, file: str, number: int) -> _Entry | None:
    """Return what a line says, or None where ssh would skip it too."""
    words = line.split()
    marker = words.pop(0) if words and words[0].startswith("@") else ""
    if not words or words[0].startswith("#") or (key := _key_of(words[1:])) is None:
        return None
    return _Entry(marker, words[0], KnownKey(key, file, number))


def _key_of(words: Sequence[str]) -> str | None:
    """Return ``type base64`` if these words begin with a public key."""
    try:
        blob = b64decode(words[1], validate=True)
        length = int.from_bytes(blob[:4], "big")
        if length and blob[4 : 4 + length].decode("ascii") == words[0]:
            return f"{words[0]} {words[1]}"
    except (IndexError, binascii.Error, ValueError):
        pass
    return None
