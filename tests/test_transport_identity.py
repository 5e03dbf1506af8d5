"""Keys, certificates and agents: what is offered to a host, and what is said of what is not."""

from __future__ import annotations

from pathlib import Path

import paramiko
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness.core.errors import UsageError
from harness.transport.identity import credentials, read_identity
from harness.transport.keys import make_key
from harness.transport.sshconfig import SshTarget

KEY = make_key().public.strip()


def test_identity_is_read(tmp_path: Path) -> None:
    """A private key without passphrase is read, and is the half of the public one."""
    pair = make_key()
    (tmp_path / "key").write_text(pair.private, encoding="utf-8")

    assert read_identity(tmp_path / "key").get_base64() == pair.public.split()[1]


def test_identity_with_passphrase_is_refused(tmp_path: Path) -> None:
    """A key with a passphrase is refused with the way that works: an agent."""
    private = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.BestAvailableEncryption(b"secret")
    )
    (tmp_path / "key").write_bytes(private)

    with pytest.raises(UsageError, match=r"has a passphrase: give it to an SSH agent"):
        read_identity(tmp_path / "key")


def test_identity_rsa_with_passphrase_in_pem_is_refused(tmp_path: Path) -> None:
    """The old form of an encrypted key is refused with the same words."""
    paramiko.RSAKey.generate(2048).write_private_key_file(str(tmp_path / "key"), password="secret")  # noqa: S106 (nobody's)

    with pytest.raises(UsageError, match="has a passphrase"):
        read_identity(tmp_path / "key")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "cannot be read: No such file", id="absent"),
        pytest.param(b"", "no private key of a kind that can be used", id="empty"),
        pytest.param(KEY.encode(), "no private key of a kind that can be used", id="public-half"),
        pytest.param(b"\x80" * 99, "no private key of a kind that can be used", id="noise"),
    ],
)
def test_identity_that_is_none_is_refused(tmp_path: Path, content: bytes | None, said: str) -> None:
    """A file that holds no private key is refused by its name."""
    if content is not None:
        (tmp_path / "key").write_bytes(content)

    with pytest.raises(UsageError, match=rf"{tmp_path}/key .*{said}"):
        read_identity(tmp_path / "key")


def test_identity_without_file_and_agent_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gives neither a key nor an agent is told both ways."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)

    with pytest.raises(UsageError, match=r"host.identity.*or start an SSH agent"), credentials(SshTarget("rack")):
        pass
