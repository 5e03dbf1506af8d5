"""Known hosts: whose key may be whose, in every form that ssh takes, and what is said where none may."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import NamedTemporaryFile

import paramiko
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import UsageError
from harness.transport.keys import make_key
from harness.transport.known_hosts import checked_key, look_up, read_revoked, require_known
from harness.transport.route import trust_of
from harness.transport.sshconfig import SshTarget

KEY, OTHER = (make_key().public.strip() for _ in range(2))


def find_known_keys(name: str, lines: Iterable[str]) -> list[str]:
    """Return the keys that a host of this name may present, by a file of these lines."""
    with NamedTemporaryFile() as file:
        file.write("\n".join(lines).encode())
        file.flush()
        known = look_up(name, [Path(file.name)])
    with suppress(UsageError):
        return [key.line for key in require_known(known, name, 22, f"ssh {name}")]
    return []


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


@pytest.mark.parametrize(
    ("hosts", "known"),
    [
        ("*.lab", True),
        ("rack?.lab", True),
        ("other,RACK1.LAB", True),
        ("*", True),
        ("*.lab,!rack1.lab", False),
        ("!rack1.lab,*.lab", False),
        ("!*.lab", False),
        ("rack[1].lab", False),
        ("rack1", False),
        ("|1|x|y", False),
        ("|2|x|y", False),
    ],
)
def test_known_hosts_patterns(hosts: str, *, known: bool) -> None:
    """Names are matched as ssh does: *, ?, lists, no matter which case, and a negation outweighs all."""
    assert (find_known_keys("rack1.lab", [f"{hosts} {KEY}"]) == [KEY]) is known


def test_known_hosts_of_a_port_by_pattern(tmp_path: Path) -> None:
    """Brackets of a name with a port are no pattern; a host that is known without the port is known."""
    (tmp_path / "known").write_text(f"[rack*]:22?? {KEY}\nshelf {OTHER}\n", encoding="utf-8")

    assert [key.line for key in look_up("[rack7]:2222", [tmp_path / "known"]).keys] == [KEY]
    assert [key.line for key in look_up("[shelf]:2222", [tmp_path / "known"]).keys] == [OTHER]
    assert not look_up("[rack7]:22", [tmp_path / "known"]).keys


def test_known_hosts_tell_the_place(tmp_path: Path) -> None:
    """Every key is known with its file and line, and its fingerprint is what ssh-keygen prints."""
    (tmp_path / "known").write_text(f"# mine\n\nhost {KEY} remark\n", encoding="utf-8")

    (key,) = look_up("host", [tmp_path / "absent", tmp_path / "known"]).keys

    assert key.place == f"{tmp_path}/known:3"
    assert key.fingerprint.startswith("ssh-ed25519 SHA256:")


def test_known_hosts_authority_is_told(tmp_path: Path) -> None:
    """A host that only an authority vouches for is unknown, and the reason is told with a way out."""
    (tmp_path / "known").write_text(f"@cert-authority *.lab {KEY}\n", encoding="utf-8")

    with pytest.raises(UsageError, match=r"rack\.lab is not known: an authority vouches for it \(.*known:1\).*ssh-keyscan"):
        trust_of(SshTarget("rack.lab", known_hosts=(tmp_path / "known",)))


def test_known_hosts_revoked_alone_is_told(tmp_path: Path) -> None:
    """A host whose only key is revoked is told so, with the place."""
    (tmp_path / "known").write_text(f"rack {KEY}\n@revoked * {KEY}\n", encoding="utf-8")

    with pytest.raises(UsageError, match=r"host key of rack \(.*known:1\) is revoked"):
        trust_of(SshTarget("rack", known_hosts=(tmp_path / "known",)))


def test_revoked_host_keys_are_read(tmp_path: Path) -> None:
    """A list of revoked keys is read; a binary one, or none, is an error: then no host may be trusted."""
    (tmp_path / "list").write_text(f"# bad\n{KEY} rack\n", encoding="utf-8")
    (tmp_path / "krl").write_bytes(b"SSHKRL\n\0\0\0\0\1")

    assert [key.line for key in read_revoked(tmp_path / "list")] == [KEY]
    for name in ("krl", "absent"):
        with pytest.raises(UsageError, match=f"RevokedHostKeys names .*{name}"):
            read_revoked(tmp_path / name)


@given(st.binary())
def test_known_hosts_any_file_is_survived(content: bytes) -> None:
    """Whatever a file of known hosts holds, nothing but keys come from it."""
    lines = content.decode("utf-8", "replace").splitlines()

    assert all(checked_key(key) == key for key in find_known_keys("host", [f"host {line}" for line in lines]))
