"""Known hosts: whose key may be whose, in every form that ssh takes, and what is said where none may."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import paramiko
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import UsageError
from harness.transport.keys import make_key
from harness.transport.known_hosts import checked_key, find_known_keys
from harness.transport.route import trust_of
from harness.transport.sshconfig import SshTarget

KEY, OTHER = (make_key().public.strip() for _ in range(2))


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

    target = SshTarget("host", known_hosts=(tmp_path / "known",))

    assert [key.line for key in trust_of(replace(target, host_key=f"{KEY} comment")).keys] == [KEY]
    assert [key.line for key in trust_of(target).keys] == [OTHER]


@given(st.text())
def test_pinned_key_that_is_none_is_refused(text: str) -> None:
    """A text that is no public key is refused, whatever it is."""
    with pytest.raises(UsageError, match=r"host.host_key is not a public key"):
        checked_key(text)


def test_pinned_key_whose_type_lies_is_refused() -> None:
    """A key under the name of another type is refused."""
    with pytest.raises(UsageError, match="not a public key"):
        checked_key(KEY.replace("ssh-ed25519", "ssh-rsa"))
