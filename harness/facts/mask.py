"""A capture without what names one machine: serial numbers, MAC addresses, host names.

Equal things become equal pseudonyms everywhere in a capture, so that its facts are the same but for these values.
docs/captures.md tells users what is masked and what is not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from harness.core.capture import Capture, Item

HOST = "host"
_BINARY = "sys/firmware/"
_SERIAL_FILE = re.compile(
    r"(?:^|/)(?:serial|serial_number|(?:product|board|chassis)_serial|product_uuid|wwid|wwn|sas_address|unique_id|nguid|eui"
    r"|sys/hypervisor/uuid)$"
)
# Every repetition has a bound: a log of garbage must not cost the square of its length.
_SERIAL_IN_TEXT = (
    re.compile(r"\bSerialNumber: ?(\S[^\n]{0,126}?)[ \t\r]{0,9}$", re.MULTILINE),  # the kernel's usb core
    re.compile(r"\biSerial {1,40}\d{1,3} {1,9}(\S[^\n]{0,126}?)[ \t\r]{0,9}$", re.MULTILINE),  # lsusb -v
    re.compile(r"\bDevice Serial Number {1,9}([0-9a-fA-F-]{23})\b"),  # lspci -vv: often made of a MAC address
    re.compile(r"\b[Ss]erial [Nn](?:umber|o\.?)[:=]? {0,9}((?=[A-Za-z.-]{0,40}\d)[\w.-]{1,80})"),
    re.compile(r"\bS/N[:=]? {0,9}((?=[A-Za-z.-]{0,40}\d)[\w.-]{1,80})"),
    re.compile(r"\b(?:[Ww][Ww][PNpn]?[Nn]|[Ss][Aa][Ss][_ ]?[Aa]ddr(?:ess)?)\W{0,4}((?:0x)?[0-9a-f]{16})\b"),
    # The last part of a name below /dev/disk/by-id, before the interface or the partition.
    re.compile(
        r"\bby-id/(?!dm-name)(?:[a-z]{1,8}-){0,3}(?:[^\s/]{0,120}_)?([\w.]{5,80}?)(?=-\d{1,3}:\d|-part\d|[\s,;:\"']|$)",
        re.MULTILINE,
    ),
)
_NO_SERIAL = re.compile(
    r"^(?:[0-]+|SERIAL-\d{4,}|[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]|[\w-]+hcd\b.*|0{8}-(?:0{4}-){3}0{12})$"
)
_ROOT_HUB = re.compile(r"(?:^|/)usb\d+/serial$")  # the host controller's own name
_MAC = re.compile(
    r"(?<![0-9A-Za-z])(?<!(?<![0-9A-Za-z])[0-9a-fA-F]{2}[:-])[0-9a-fA-F]{2}([:-])(?:[0-9a-fA-F]{2}\1){4}[0-9a-fA-F]{2}"
    r"(?![0-9A-Za-z]|[:-][0-9a-fA-F]{2}(?![0-9A-Za-z]))"
)
_LONG_ADDRESS = re.compile(r"(?<![0-9A-Za-z:])(?:[0-9a-f]{2}:){7}(?:(?:[0-9a-f]{2}:){12})?[0-9a-f]{2}(?![0-9A-Za-z:])")
_MAC_IN_NAME = re.compile(r"(?<=enx)[0-9a-f]{12}\b")
_EUI = re.compile(r"(?<![\w.])([0-9a-f:]{0,24}:)?([0-9a-f]{1,4}):([0-9a-f]{0,2})ff:fe([0-9a-f]{2}):([0-9a-f]{1,4})(?![\w:])")
_EUI_BARE = re.compile(r"\b([0-9a-f]{16})([0-9a-f]{6})fffe([0-9a-f]{6})\b")
_NOBODY = {"000000000000", "ffffffffffff"}
_PSEUDONYM = "0200000"
_HOST_FILES = {"proc/sys/kernel/hostname", "etc/hostname"}
_SYSLOG = re.compile(r"^(?:[A-Z][a-z]{2} [ \d]\d [\d:]{8}|\d{4}-\d\d-\d\dT\S+) (\S+) kernel:", re.MULTILINE)
_ANY_LINE = re.compile(r"^(?:[A-Z][a-z]{2} [ \d]\d [\d:]{8}|\d{4}-\d\d-\d\dT\S+) (\S+) ", re.MULTILINE)
_MONOTONIC = re.compile(r"^\[ {0,9}\d{1,12}\.\d{1,9}\] (\S{1,64}) kernel:", re.MULTILINE)
_HOST_SET = re.compile(r"\b[Hh]ostname set to <([^>\n]{1,255})>|\bsystemd\.hostname=([^\s\"]{1,255})")
_UNAME = re.compile(r"\ALinux (\S+) ")
_DISTRIBUTIONS = {"debian", "fedora", "ubuntu", "archlinux", "centos", "gentoo", "nixos", "proxmox"}
_COMMON = _DISTRIBUTIONS | {"localhost", "linux", "kernel", "server", "board", "intel", "none", "serial"}
_WIDELY = re.compile(r"^(?:commands/.*|proc/(?:cmdline|swaps|self/mountinfo)|.*/dm/name)$")
_MOST_WORDS = 500
_SHORTEST = 5
_SHORTEST_NUMBER = 8


@dataclass
class _Pseudonyms:
    """What stands for what; made in the order in which things are met."""

    serials: dict[str, str] = field(default_factory=dict)
    macs: dict[str, str] = field(default_factory=dict)

    def serial(self, text: str) -> str:
        """Return the pseudonym of a serial number; what is none stays."""
        if _NO_SERIAL.match(text):
            return text
        return self.serials.setdefault(text, f"SERIAL-{len(self.serials) + 1:04}")

    def mac(self, digits: str) -> str:
        """Return twelve digits for twelve digits."""
        digits = digits.lower()
        if digits in _NOBODY or digits.startswith(_PSEUDONYM):
            return digits
        return self.macs.setdefault(digits, f"{_PSEUDONYM}{len(self.macs) + 1:05x}")


def mask(capture: Capture) -> Capture:
    """Return the capture with pseudonyms; binary tables are left as they are."""
    texts = {name: item.data.decode("utf-8", "surrogateescape") for name, item in sorted(capture.items.items())}
    names, hosts = _Pseudonyms(), _find_hosts(texts)
    known = _known_words(texts)
    for name, text in texts.items():
        for serial in _find_serials(name, text):
            names.serial(serial)
    everywhere = _replacer({text: names.serial(text) for text in names.serials if _is_telling(text, known)})
    hosts_everywhere = _host_replacer({host for host in hosts if _is_telling(host.lower(), known)})

    def masked(name: str, text: str) -> str:
        # First everywhere: what stands in a place may be a part of a pseudonym.
        text = hosts_everywhere(everywhere(text)) if _WIDELY.match(name) else text
        return _mask_macs(_mask_places(name, text, names, hosts), names)

    items = {}
    for name, item in sorted(capture.items.items()):
        data = item.data if name.startswith(_BINARY) else masked(name, texts[name]).encode("utf-8", "surrogateescape")
        items[_MAC_IN_NAME.sub(lambda match: names.mac(match[0]), name)] = Item(item.status, data)
    return Capture(items, capture.taken, capture.scope)


def _find_serials(name: str, text: str) -> Iterator[str]:
    if name.startswith(_BINARY) or _ROOT_HUB.search(name):
        return
    if _SERIAL_FILE.search(name):
        yield from filter(None, [text.strip()])
    elif _WIDELY.match(name):
        for pattern in _SERIAL_IN_TEXT:
            yield from (match[1] for match in pattern.finditer(text))


def _find_hosts(texts: Mapping[str, str]) -> set[str]:
    """Return the names under which the host is known, each whole and without its domain."""
    found = {text.strip() for name, text in texts.items() if name in _HOST_FILES}
    found.update(match[1] for match in [_UNAME.match(texts.get("commands/uname", ""))] if match)
    for name, text in texts.items():
        if _WIDELY.match(name):
            found.update(match[1] or match[2] for match in _HOST_SET.finditer(text))
            found.update(_find_log_hosts(text))
    found |= {host.partition(".")[0] for host in found}
    return {host for host in found if re.fullmatch(r"[\w.-]+", host)} - {HOST, "localhost"}


def _find_log_hosts(text: str) -> Iterator[str]:
    """Yield the hosts before ``kernel:`` in a journal's lines.

    Bare kernel lines have a word there too ("Booting kernel: ..."): one that most lines have is the host.
    """
    yield from {match[1] for match in _SYSLOG.finditer(text)}
    hosts = Counter(match[1] for match in _MONOTONIC.finditer(text))
    lines = text.count("\n") + 1
    yield from (host for host, count in hosts.items() if count > 1 and 2 * count > lines)


def _known_words(texts: Mapping[str, str]) -> set[str]:
    """Return words that mean something in a capture, whatever a host or a serial number may be called."""
    drivers = texts.get("sys/bus/pci/drivers", "").split()
    modules = [line.split()[0] for line in texts.get("proc/modules", "").splitlines() if line.split()]
    release = re.findall(r"\w+", texts.get("etc/os-release", ""))
    return {word.lower() for word in (*drivers, *modules, *release)} | _COMMON


def _is_telling(text: str, known: set[str]) -> bool:
    """Return whether a string may be replaced wherever it stands: short ones and numbers mean other things elsewhere."""
    return len(text) >= (_SHORTEST_NUMBER if text.isdecimal() else _SHORTEST) and text.lower() not in known


def _replacer(pseudonyms: Mapping[str, str]) -> Callable[[str], str]:
    """Return what replaces these strings where no letter or digit stands beside them."""
    if not pseudonyms:
        return lambda text: text
    longest_first = sorted(pseudonyms, key=len, reverse=True)[:_MOST_WORDS]
    pattern = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(map(re.escape, longest_first))})(?![A-Za-z0-9])")
    return lambda text: pattern.sub(lambda match: pseudonyms[match[0]], text)


def _host_replacer(hosts: set[str]) -> Callable[[str], str]:
    """Return what replaces host names, with the domain behind them."""
    if not hosts:
        return lambda text: text
    longest_first = sorted(hosts, key=lambda host: (-len(host), host))[:_MOST_WORDS]
    domain = r"(?:\.[A-Za-z][A-Za-z0-9-]{0,62}){0,5}"
    words = "|".join(map(re.escape, longest_first))
    pattern = re.compile(rf"(?<![A-Za-z0-9])(?:{words}){domain}(?![A-Za-z0-9])", re.IGNORECASE)
    return lambda text: pattern.sub(HOST, text)


def _mask_places(name: str, text: str, names: _Pseudonyms, hosts: set[str]) -> str:
    """Mask what stands where serial numbers and host names stand, however short it is."""
    if _SERIAL_FILE.search(name) and not _ROOT_HUB.search(name):
        return _within(text, names.serial)
    if name in _HOST_FILES:
        return _within(text, lambda host: HOST if host in hosts else host)
    if not _WIDELY.match(name):
        return text
    for pattern in _SERIAL_IN_TEXT:
        text = pattern.sub(lambda match: _put(match, 1, names.serial(match[1])), text)
    for pattern in (_ANY_LINE, _MONOTONIC, _UNAME, _HOST_SET):
        text = pattern.sub(lambda match: _mask_host(match, hosts), text)
    return text


def _mask_host(match: re.Match[str], hosts: set[str]) -> str:
    group = match.lastindex or 0
    return _put(match, group, HOST) if match[group] in hosts else match[0]


def _put(match: re.Match[str], group: int, text: str) -> str:
    start, end = (position - match.start() for position in match.span(group))
    return match[0][:start] + text + match[0][end:]


def _within(text: str, change: Callable[[str], str]) -> str:
    """Change a file's content and leave the white space round it."""
    core = text.strip()
    return text.replace(core, change(core), 1) if core else text


def _mask_macs(text: str, names: _Pseudonyms) -> str:
    """Mask MAC addresses in every form: with colons or dashes, in interfaces' names, and in IPv6 addresses made of them."""
    text = _MAC.sub(lambda match: _spell(names.mac(re.sub("[:-]", "", match[0])), match), text)
    text = _LONG_ADDRESS.sub(lambda match: names.serial(match[0]), text)
    text = _MAC_IN_NAME.sub(lambda match: names.mac(match[0]), text)
    if "ff:fe" in text:
        text = _EUI.sub(lambda match: _mask_eui(match, names), text)
    return _EUI_BARE.sub(lambda match: match[1] + _flipped(names, match[2] + match[3]), text)


def _spell(digits: str, match: re.Match[str]) -> str:
    text = match[1].join(digits[at : at + 2] for at in range(0, 12, 2))
    return text.upper() if match[0] != match[0].lower() else text


def _mask_eui(match: re.Match[str], names: _Pseudonyms) -> str:
    """Return an IPv6 address whose last half is another MAC address's; groups stand without leading zeros."""
    digits = match[2].zfill(4) + match[3].zfill(2) + match[4] + match[5].zfill(4)
    full = _flipped(names, digits)
    groups = [f"{int(full[at : at + 4], 16):x}" for at in range(0, 16, 4)]
    return (match[1] or "") + ":".join(groups)


def _flipped(names: _Pseudonyms, digits: str) -> str:
    """Return the sixteen digits of an interface identifier, in which the second bit of a MAC address is turned over."""
    other = names.mac(f"{int(digits[:2], 16) ^ 2:02x}{digits[2:]}")
    return f"{int(other[:2], 16) ^ 2:02x}{other[2:6]}fffe{other[6:]}"
