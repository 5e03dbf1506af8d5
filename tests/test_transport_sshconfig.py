"""What ssh's configuration makes of a target: every option that leads or guards the way is honoured, or is an error."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import UsageError
from harness.transport import sshconfig
from harness.transport.sshconfig import Destination, SshTarget, parse_destination, parse_options, resolve
from tests.openssh import NEEDS_SSH


def resolved(tmp_path: Path, config: str, target: str = "rack", user: str = "") -> SshTarget:
    """Return what a configuration makes of a target."""
    file = tmp_path / "config"
    file.write_text(config, encoding="utf-8")
    return resolve(target, config=file, user=user)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rack", Destination("rack")),
        ("root@rack", Destination("rack", "root")),
        ("root@rack:2222", Destination("rack", "root", 2222)),
        ("ssh://root@rack:2222", Destination("rack", "root", 2222)),
        ("ssh://rack/", Destination("rack")),
        ("10.0.0.1:22", Destination("10.0.0.1", port=22)),
        ("[fe80::1%eth0]:2222", Destination("fe80::1%eth0", port=2222)),
        ("me@[::1]", Destination("::1", "me")),
        ("fe80::1%eth0", Destination("fe80::1%eth0")),
        ("first.last@lab@rack", Destination("rack", "first.last@lab")),
    ],
)
def test_sshconfig_target_is_read(text: str, expected: Destination) -> None:
    """Every way to write a host is read, IPv6 addresses with and without brackets."""
    assert parse_destination(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "@", "root@", "-oProxyCommand=x", "a b", "rack:0", "rack:65536", "rack:ssh", "[::1", "$(id)", "r;id", "-l@rack", "a/b"],
)
def test_sshconfig_target_that_is_none_is_refused(text: str) -> None:
    """What is no host, or would be an option or a command to ssh or a shell, is refused."""
    with pytest.raises(UsageError, match="is no SSH host"):
        parse_destination(text)


@given(st.text())
def test_sshconfig_any_target_is_survived(text: str) -> None:
    """Whatever is given as a target is read or refused; what is read is no option."""
    with suppress(UsageError):
        assert not parse_destination(text).host.startswith("-")


@given(st.text())
def test_sshconfig_any_output_is_survived(text: str) -> None:
    """Whatever ssh -G prints, every value is one that it printed."""
    assert all(value in text for values in parse_options(text).values() for value in values)


@NEEDS_SSH
def test_sshconfig_alias_is_resolved(tmp_path: Path) -> None:
    """An alias gives address, user, port, keys, known hosts and the way there."""
    target = resolved(
        tmp_path,
        f"""
Host rack
  HostName 10.1.2.3
  User admin
  Port 2222
  IdentityFile {tmp_path}/key-of-%h
  IdentityFile ~/.ssh/other
  IdentitiesOnly yes
  IdentityAgent none
  CertificateFile {tmp_path}/key-cert.pub
  UserKnownHostsFile {tmp_path}/a {tmp_path}/b
  GlobalKnownHostsFile none
  RevokedHostKeys {tmp_path}/revoked
  HostKeyAlias shelf
  AddressFamily inet
  BindAddress 10.1.2.1
  ConnectTimeout 7
""",
    )

    assert (target.address, target.user, target.port, target.name) == ("10.1.2.3", "admin", 2222, "admin@10.1.2.3:2222")
    assert target.identities[0] == tmp_path / "key-of-10.1.2.3"
    assert target.identities[1].is_absolute()
    assert (target.identities_only, target.identities_named, target.agent) == (True, True, "")
    assert target.certificates == (tmp_path / "key-cert.pub",)
    assert target.known_hosts[:2] == (tmp_path / "a", tmp_path / "b")
    assert (target.revoked, target.known_name) == (tmp_path / "revoked", "shelf")
    assert (target.family, target.bind_address, target.connect_timeout_s) == (socket.AF_INET, "10.1.2.1", 7)


@NEEDS_SSH
def test_sshconfig_what_is_said_outweighs_it(tmp_path: Path) -> None:
    """User and port of the target win over the configuration; without one, ssh's own defaults hold."""
    config = "Host rack\n  User admin\n  Port 2222\n"

    assert resolved(tmp_path, config, "root@rack:22").name == "root@rack"
    assert resolved(tmp_path, config, user="me").name == "me@rack:2222"
    assert not resolved(tmp_path, "", "other").identities_named


@NEEDS_SSH
def test_sshconfig_agent_by_socket_or_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent is that of the environment, of a path or of a variable, as IdentityAgent says."""
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/a")
    monkeypatch.setenv("OTHER", "/run/b")

    assert resolved(tmp_path, "").agent == "/run/a"
    assert resolved(tmp_path, "IdentityAgent SSH_AUTH_SOCK").agent == "/run/a"
    assert resolved(tmp_path, "IdentityAgent $OTHER").agent == "/run/b"
    assert resolved(tmp_path, "IdentityAgent /run/c").agent == "/run/c"


@NEEDS_SSH
def test_sshconfig_jumps_are_resolved_each(tmp_path: Path) -> None:
    """A chain of jump hosts is followed from the last one on, each with its own options."""
    config = """
Host rack
  ProxyJump one,me@two:33
Host one
  HostName 10.0.0.1
Host two
  HostName 10.0.0.2
  User nobody
"""
    target = resolved(tmp_path, config)

    assert target.jump is not None
    assert target.jump.name == "me@10.0.0.2:33"
    assert target.jump.jump is not None
    assert (target.jump.jump.address, target.jump.jump.jump) == ("10.0.0.1", None)


@NEEDS_SSH
def test_sshconfig_jumps_in_a_circle_are_refused(tmp_path: Path) -> None:
    """Jump hosts that lead to each other end in one sentence."""
    with pytest.raises(UsageError, match="in a circle"):
        resolved(tmp_path, "Host rack\n ProxyJump one\nHost one\n ProxyJump two\nHost two\n ProxyJump one\n")


@NEEDS_SSH
def test_sshconfig_proxy_command_is_filled_in(tmp_path: Path) -> None:
    """A proxy command gets the host, the port and the user; ProxyJump none means none."""
    config = "Host rack\n HostName 10.0.0.1\n User me\n ProxyCommand relay %h:%p %r %n 100%%\n"

    assert resolved(tmp_path, config).proxy_command == "relay 10.0.0.1:22 me rack 100%"
    assert resolved(tmp_path, "Host rack\n ProxyJump none\nHost *\n ProxyJump one\n").jump is None


@NEEDS_SSH
def test_sshconfig_algorithms_are_kept_where_they_are_chosen(tmp_path: Path) -> None:
    """Algorithms count where the configuration chooses them; ssh's own lists bind nobody."""
    chosen = resolved(tmp_path, "Ciphers aes256-ctr\nHostKeyAlgorithms ssh-ed25519\nRequiredRSASize 3072\n").algorithms
    usual = resolved(tmp_path, "").algorithms

    assert (chosen.ciphers, chosen.host_keys, chosen.kex, chosen.rsa_bits) == (("aes256-ctr",), ("ssh-ed25519",), (), 3072)
    assert (usual.ciphers, usual.kex, usual.host_keys, usual.client_keys) == ((), (), (), ())


@NEEDS_SSH
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("KnownHostsCommand /bin/keys %H", "KnownHostsCommand .*UserKnownHostsFile"),
        ("BindInterface lo", "BindInterface .*BindAddress"),
        ("PKCS11Provider /usr/lib/token.so", "PKCS11Provider .*ssh-add -s"),
        ("RemoteCommand tmux", "RemoteCommand .*none"),
        ("ProxyUseFdpass yes", "ProxyUseFdpass"),
        ("PubkeyAuthentication no", "PubkeyAuthentication no"),
        ("PreferredAuthentications password", "PreferredAuthentications password"),
        ("IdentityFile ~/key-%C", "token %C"),
    ],
)
def test_sshconfig_what_cannot_be_honoured_is_an_error(tmp_path: Path, line: str, said: str) -> None:
    """An option that changes the route or the trust and cannot be followed is named, with what to do instead."""
    with pytest.raises(UsageError, match=f"configuration for rack asks for what cannot be honoured here: .*{said}"):
        resolved(tmp_path, f"Host rack\n  {line}\n")


@NEEDS_SSH
def test_sshconfig_that_is_wrong_is_told(tmp_path: Path) -> None:
    """A configuration that ssh cannot read is refused with ssh's own words."""
    with pytest.raises(UsageError, match=r"configuration for rack cannot be read: .*[Bb]ad configuration option"):
        resolved(tmp_path, "Nonsense yes\n")


def test_sshconfig_without_ssh_a_plain_host_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no ssh and no configuration that it would have read, a host is what it is called."""
    monkeypatch.setenv("PATH", os.devnull)
    (tmp_path / "config").write_text("# nothing\n", encoding="utf-8")

    assert resolve("me@rack:2222", config=tmp_path / "config").name == "me@rack:2222"
    assert resolve("rack", config=tmp_path / "absent").address == "rack"


def test_sshconfig_without_ssh_a_configuration_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no ssh to read a configuration that is there, the package that brings it is named."""
    monkeypatch.setenv("PATH", os.devnull)
    (tmp_path / "config").write_text("Host rack\n  HostName 10.0.0.1\n", encoding="utf-8")

    with pytest.raises(UsageError, match="install openssh-client"):
        resolve("rack", config=tmp_path / "config")


@NEEDS_SSH
def test_sshconfig_that_never_ends_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command of the configuration that hangs ends in a sentence, not in a hang."""
    monkeypatch.setattr(sshconfig, "RESOLVE_LIMIT_S", 0.3)

    with pytest.raises(UsageError, match="did not end"):
        resolved(tmp_path, 'Match exec "sleep 5"\n  User x\n')


@NEEDS_SSH
def test_target_tells_how_to_go_there_by_hand(tmp_path: Path) -> None:
    """What a user is told to type is what the survey was given, so that ssh goes the same way; two spellings are one target."""
    config = tmp_path / "config"
    config.write_text("Host rack\n  HostName 192.0.2.7\n  Port 2222\n  HostKeyAlias lab\n", "utf-8")

    alias, port = (resolve(name, config=config) for name in ("rack", "me@rack:2022"))

    assert alias.ssh_command == "ssh rack"
    assert port.ssh_command == "ssh -p 2022 me@rack"
    assert alias == resolve("ssh://rack", config=config)
