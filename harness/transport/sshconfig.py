"""What ssh would do for a host: the options that `ssh -G` prints, as the values that our own connection is made from.

ssh itself reads the user's configuration, so aliases, Match and Include need no second reader. An option that changes the route
or what is trusted, and that our own SSH cannot honour, is an error. We are stricter than ssh may be told to be: a host key must
be known (StrictHostKeyChecking and VerifyHostKeyDNS change nothing), only keys log in, and nothing is forwarded.
"""

from __future__ import annotations

import functools
import os
import pwd
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.core.errors import UsageError
from harness.transport.known_hosts import KNOWN_HOSTS, SSH_PORT, host_name

RESOLVE_LIMIT_S = 30.0
"""The configuration may run commands of the user's (Match exec)."""

MAX_JUMPS = 8

_CONFIGS = (Path("~/.ssh/config"), Path("/etc/ssh/ssh_config"))
_DEFAULT_KEYS = tuple(Path(f"~/.ssh/id_{kind}") for kind in ("rsa", "ecdsa", "ecdsa_sk", "ed25519", "ed25519_sk"))
_FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
_TARGET = re.compile(r"(?:(?P<user>.+)@)?(?:\[(?P<v6>[^]\[]+)\]|(?P<host>[^@:\[\]]+))(?::(?P<port>\d{1,5}))?")
_UNSAFE = re.compile(r"^-|[\s'\"`$;&<>|(){},\\/]|[\x00-\x1f\x7f]")
_UNSAFE_USER = re.compile(r"^-|['\"`;&<>|(){}\x00-\x1f\x7f]|\\$")

_CANNOT = {
    "knownhostscommand": "KnownHostsCommand (host keys are taken from files: name them by UserKnownHostsFile)",
    "bindinterface": "BindInterface (give BindAddress, the interface's address, instead)",
    "pkcs11provider": "PKCS11Provider (load the token into an SSH agent: ssh-add -s PROVIDER)",
    "remotecommand": "RemoteCommand (the survey runs a command of its own: set RemoteCommand none for this host)",
    "refuseconnection": "RefuseConnection",
}
"""Options that are off unless they are set, and what to do instead."""


@dataclass(frozen=True)
class Algorithms:
    """What the user allows in the handshake and for keys, best first; empty: what is usual."""

    kex: tuple[str, ...] = ()
    ciphers: tuple[str, ...] = ()
    macs: tuple[str, ...] = ()
    host_keys: tuple[str, ...] = ()
    client_keys: tuple[str, ...] = ()
    rsa_bits: int = 1024


USUAL = Algorithms()


@dataclass(frozen=True)
class SshTarget:
    """A host and the way to it. ``identity`` is the one key to offer; without it, ssh's own choice of files and agent."""

    address: str
    user: str = "root"
    port: int = SSH_PORT
    identity: Path | None = None
    identities: tuple[Path, ...] = ()
    identities_named: bool = False  # by the user; ssh's own list of files names keys that need not be there
    identities_only: bool = False
    certificates: tuple[Path, ...] = ()
    agent: str = field(default_factory=lambda: os.environ.get("SSH_AUTH_SOCK", ""))  # its socket; empty: none
    host_key: str = ""  # the one that is expected; empty: the files of known hosts say
    known_as: str = ""
    known_hosts: tuple[Path, ...] = KNOWN_HOSTS
    revoked: Path | None = None
    proxy_command: str = ""
    jump: SshTarget | None = None
    family: int = socket.AF_UNSPEC
    bind_address: str = ""
    connect_timeout_s: float | None = None
    algorithms: Algorithms = USUAL
    called: str = field(default="", compare=False)  # what `ssh` takes to go the same way; empty: address and port

    @property
    def ssh_command(self) -> str:
        """Return how a user goes there by hand."""
        return f"ssh {self.called or (self.address if self.port == SSH_PORT else f'-p {self.port} {self.address}')}"

    @property
    def name(self) -> str:
        """Return what messages call it."""
        host = f"[{self.address}]" if ":" in self.address and self.port != SSH_PORT else self.address
        return f"{self.user}@{host}" + (f":{self.port}" if self.port != SSH_PORT else "")

    @property
    def known_name(self) -> str:
        """Return the name by which files of known hosts hold it."""
        return host_name(self.address, self.port, self.known_as)


@dataclass(frozen=True)
class Destination:
    """A target as the user wrote it; what is empty was not said."""

    host: str
    user: str = ""
    port: int | None = None


def parse_destination(text: str) -> Destination:
    """Read ``host``, ``user@host:port``, ``ssh://user@host:port`` or an IPv6 address, bare or in brackets; raise UsageError."""
    plain = text.removeprefix("ssh://").removesuffix("/") if text.startswith("ssh://") else text
    user, _, host = plain.rpartition("@")
    if host.count(":") > 1 and "[" not in host:
        found = re.fullmatch(r"(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)(?P<host>)(?P<port>)", host)
    else:
        found = _TARGET.fullmatch(host)
    name = (found["v6"] or found["host"]) if found else ""
    port = int(found["port"]) if found and found["port"] else None
    if not name or _UNSAFE.search(name) or _UNSAFE_USER.search(user) or (port is not None and not 0 < port < 1 << 16):
        raise UsageError(f"{text!r} is no SSH host: give host, user@host, user@host:port, [IPv6]:port or a name of ~/.ssh/config")
    return Destination(name, user, port)


def resolve(
    target: str,
    *,
    user: str = "",
    port: int | None = None,
    identity: Path | None = None,
    host_key: str = "",
    config: Path | None = None,
) -> SshTarget:
    """Return what ssh's configuration makes of a target; what is given beside it wins over the configuration.

    ``config`` is read instead of the user's and the system's. Raises UsageError where the target, the configuration or an option
    in it cannot be followed.
    """
    said = parse_destination(target)
    said = Destination(said.host, user or said.user, port or said.port)
    if shutil.which("ssh") is None:
        return _without_ssh(said, identity, host_key, config)
    return _resolved(said, config, identity=identity, host_key=host_key)


def _resolved(
    said: Destination,
    config: Path | None,
    *,
    via: str = "",
    depth: int = 0,
    identity: Path | None = None,
    host_key: str = "",
) -> SshTarget:
    if depth > MAX_JUMPS:
        raise UsageError(f"ProxyJump leads over more than {MAX_JUMPS} hosts to {said.host}: does it lead in a circle?")
    options = Options(_print_config(said, config, via), said.host)
    options.require_possible()
    jumps, _, last = options.one("proxyjump").rpartition(",")
    jump = _resolved(parse_destination(last), config, via=jumps, depth=depth + 1) if last else None
    target = replace(options.target(identity, host_key), called=_by_hand(said, via))
    return target if jump is None else replace(target, jump=jump, proxy_command="")


def _by_hand(said: Destination, via: str) -> str:
    """Return a destination as the words for ssh."""
    words = [*(["-J", via] if via else []), *(["-p", str(said.port)] if said.port else [])]
    return " ".join([*words, f"{said.user}@{said.host}" if said.user else said.host])


def _print_config(said: Destination, config: Path | None, via: str = "") -> str:
    """Return what ``ssh -G`` prints of a host."""
    argv = ["ssh", "-G", *(["-F", str(config)] if config else [])]
    argv += [*(["-l", said.user] if said.user else []), *(["-p", str(said.port)] if said.port else [])]
    argv += [*(["-J", via] if via else []), "--", said.host]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=RESOLVE_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise UsageError(f"`ssh -G {said.host}` did not end in {RESOLVE_LIMIT_S:g} s: what does Match exec run?") from None
    if done.returncode != 0:
        errors = "; ".join(done.stderr.decode("utf-8", "replace").split("\n")).replace("\r", "").strip("; ")
        raise UsageError(f"ssh's configuration for {said.host} cannot be read: {errors or 'ssh -G gave no reason'}")
    return done.stdout.decode("utf-8", "replace")


@functools.cache
def _usual() -> Mapping[str, Sequence[str]]:
    """Return the options of this ssh where nothing is configured."""
    return parse_options(_print_config(Destination("nowhere"), Path("none")))


def parse_options(text: str) -> Mapping[str, Sequence[str]]:
    """Return the values of each option that ``ssh -G`` printed, in order; those of several lines have several."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        found.setdefault(key.lower(), []).append(value.strip())
    return found


class Options:
    """The printed options of one host, read one by one."""

    def __init__(self, printed: str, given: str) -> None:
        self._values = parse_options(printed)
        self._given = given  # as the user wrote it: %n

    def one(self, name: str) -> str:
        """Return an option's value, or nothing if it is not set."""
        value = self._values.get(name, [""])[0]
        return "" if value.lower() == "none" else value

    def require_possible(self) -> None:
        """Raise UsageError for the first option that would change the route or the trust, and cannot be honoured."""
        for name, meaning in _CANNOT.items():
            if value := self.one(name):
                raise self._cannot(f"{meaning}, which is set to {value!r}")
        if self.one("proxyusefdpass") == "yes":
            raise self._cannot("ProxyUseFdpass (use a ProxyCommand that carries the data itself, such as `nc %h %p`)")
        if self.one("pubkeyauthentication") in {"no", "false"}:
            raise self._cannot("PubkeyAuthentication no (only keys log in here: allow them for this host)")
        preferred = self.one("preferredauthentications")
        if preferred and "publickey" not in preferred.split(","):
            raise self._cannot(f"PreferredAuthentications {preferred} (only keys log in here: add publickey)")

    def target(self, identity: Path | None, host_key: str) -> SshTarget:
        """Return the target, its jump hosts apart."""
        timeout = self.one("connecttimeout")
        revoked = self._paths("revokedhostkeys")
        return SshTarget(
            address=self.one("hostname"),
            user=self.one("user"),
            port=int(self.one("port") or SSH_PORT),
            identity=identity,
            identities=self._paths("identityfile"),
            identities_named=self._values.get("identityfile") != _usual().get("identityfile"),
            identities_only=self.one("identitiesonly") == "yes",
            certificates=self._paths("certificatefile"),
            agent=self._agent(),
            host_key=host_key,
            known_as=self.one("hostkeyalias"),
            known_hosts=(*self._list("userknownhostsfile"), *self._list("globalknownhostsfile")),
            revoked=revoked[0] if revoked else None,
            proxy_command=self._expanded(self.one("proxycommand")),
            family=_FAMILIES.get(self.one("addressfamily"), socket.AF_UNSPEC),
            bind_address=self.one("bindaddress"),
            connect_timeout_s=float(timeout) if timeout.isdigit() else None,
            algorithms=self._algorithms(),
        )

    def _agent(self) -> str:
        value = self._values.get("identityagent", ["SSH_AUTH_SOCK"])[0]
        if value.lower() == "none":
            return ""
        if value == "SSH_AUTH_SOCK":
            return os.environ.get("SSH_AUTH_SOCK", "")
        if value.startswith("$"):
            return os.environ.get(value.removeprefix("$").strip("{}"), "")
        return str(self._path(value))

    def _paths(self, name: str) -> tuple[Path, ...]:
        return tuple(self._path(value) for value in self._values.get(name, []) if value.lower() != "none")

    def _list(self, name: str) -> tuple[Path, ...]:
        """Return the files of an option whose values stand in one line; ssh prints no quotes, so a whole line may be one name."""
        whole = self.one(name)
        names = [whole] if self._path(whole).is_file() else whole.split()
        return tuple(self._path(value) for value in names)

    def _path(self, value: str) -> Path:
        value = re.sub(r"\$\{(\w+)\}", lambda found: os.environ.get(found[1], ""), self._expanded(value))
        return Path(_home() + value[1:] if value == "~" or value.startswith("~/") else value).expanduser()

    def _expanded(self, text: str) -> str:
        """Return a text with ssh's %-tokens filled in."""
        return re.sub(r"%(.?)", lambda found: self._token(found[1]), text)

    def _token(self, letter: str) -> str:
        host = self.one("hostname")
        tokens = {
            "%": "%",
            "h": host,
            "n": self._given,
            "p": self.one("port"),
            "r": self.one("user"),
            "u": pwd.getpwuid(os.getuid()).pw_name,
            "d": _home(),
            "i": str(os.getuid()),
            "k": self.one("hostkeyalias") or self._given,
            "l": socket.gethostname(),
            "L": socket.gethostname().partition(".")[0],
            "j": self.one("proxyjump"),
        }
        if letter not in tokens:
            raise self._cannot(f"the token %{letter}")
        return tokens[letter]

    def _algorithms(self) -> Algorithms:
        """Return what the configuration allows where it says something else than ssh itself."""

        def unless_usual(name: str) -> tuple[str, ...]:
            value = self.one(name)
            return tuple(value.split(",")) if value and self._values.get(name) != _usual().get(name) else ()

        bits = self.one("requiredrsasize")
        return Algorithms(
            kex=unless_usual("kexalgorithms"),
            ciphers=unless_usual("ciphers"),
            macs=unless_usual("macs"),
            host_keys=unless_usual("hostkeyalgorithms"),
            client_keys=unless_usual("pubkeyacceptedalgorithms") or unless_usual("pubkeyacceptedkeytypes"),  # its name until 8.5
            rsa_bits=int(bits) if bits.isdigit() else USUAL.rsa_bits,
        )

    def _cannot(self, what: str) -> UsageError:
        return UsageError(f"ssh's configuration for {self._given} asks for what cannot be honoured here: {what}")


def _without_ssh(said: Destination, identity: Path | None, host_key: str, config: Path | None) -> SshTarget:
    """Return the target where there is no ssh to ask, and no configuration that it could have read."""
    for path in (config,) if config else _CONFIGS:
        if _says_something(path.expanduser()):
            raise UsageError(f"ssh is needed to read {path} for {said.host}, and is not installed: install openssh-client")
    user = said.user or pwd.getpwuid(os.getuid()).pw_name
    keys = tuple(path.expanduser() for path in _DEFAULT_KEYS)
    return SshTarget(said.host, user, said.port or SSH_PORT, identity=identity, identities=keys, host_key=host_key)


def _says_something(config: Path) -> bool:
    """Return whether a configuration file holds more than comments; one that cannot be read may."""
    try:
        lines = config.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return any(line.strip() and not line.strip().startswith("#") for line in lines)


def _home() -> str:
    """Return the home that ssh takes: that of the account, not $HOME."""
    return pwd.getpwuid(os.getuid()).pw_dir
