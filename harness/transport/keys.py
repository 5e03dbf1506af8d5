"""SSH keys that live as long as one run: a host key and a client key for every machine we start."""

from __future__ import annotations

import io
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness.transport.library import paramiko


@dataclass(frozen=True)
class KeyPair:
    """An ed25519 key: the private half as OpenSSH text, the public half as one line."""

    private: str
    public: str

    @property
    def key(self) -> paramiko.PKey:
        """Return the key for paramiko."""
        return paramiko.Ed25519Key.from_private_key(io.StringIO(self.private))


def make_key() -> KeyPair:
    """Return a new key pair."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return KeyPair(private.decode(), public.decode() + "\n")
