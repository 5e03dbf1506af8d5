"""Keys and known hosts: what may be used, and what is said of what may not."""

from __future__ import annotations

from pathlib import Path

import paramiko
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import UsageError
from harness.transport.identity import checked_key, client_keys, expected_host_keys, find_known_keys, read_identity
from harness.transport.keys import make_key

KEY, OTHER = (make_key().public.strip() for _ in range(2))


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

    with pytest.raises(UsageError, match=r"host.identity.*or start an SSH agent"), client_keys(None):
        pass


def test_known_hosts_of_a_port() -> None:
    """A host at another port than 22 has a name of its own."""
    lines = [f"host {OTHER}", f"[host]:2222,other {KEY} comment", "", "# remark", "host ssh-ed25519", "host ssh-ed25519 %%%"]

    assert find_known_keys("[host]:2222", lines) == [KEY]
    assert find_known_keys("host", lines) == [OTHER]
    assert find_known_keys("unknown", lines) == []


def test_known_hosts_hashed() -> None:
    """A hashed name is found as well."""
    line = f"{paramiko.HostKeys.hash_host('host')} {KEY}"

    assert find_known_keys("host", [line]) == [KEY]
    assert find_known_keys("host2", [line]) == []


def test_known_hosts_revoked_key_is_none() -> None:
    """A key that is marked as revoked lets nobody in, and an authority is no host key."""
    lines = [f"host {KEY}", f"@revoked * {KEY}", f"@cert-authority host {OTHER}"]

    assert find_known_keys("host", lines) == []


@given(st.text())
def test_known_hosts_any_line_is_survived(line: str) -> None:
    """Whatever a line holds, it lets no unknown host in."""
    assert find_known_keys("host", [line]) == []


def test_pinned_key_outweighs_known_hosts(tmp_path: Path) -> None:
    """With a pinned key known_hosts is not looked at."""
    (tmp_path / "known").write_text(f"host {OTHER}\n", encoding="utf-8")

    assert expected_host_keys("host", 22, f"{KEY} comment", [tmp_path / "known"]) == [KEY]
    assert expected_host_keys("host", 22, "", [tmp_path / "known"]) == [OTHER]


@given(st.text())
def test_pinned_key_that_is_none_is_refused(text: str) -> None:
    """A text that is no public key is refused, whatever it is."""
    with pytest.raises(UsageError, match=r"host.host_key is not a public key"):
        checked_key(text)


def test_pinned_key_whose_type_lies_is_refused() -> None:
    """A key under the name of another type is refused."""
    with pytest.raises(UsageError, match="not a public key"):
        checked_key(KEY.replace("ssh-ed25519", "ssh-rsa"))
