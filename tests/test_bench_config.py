"""Bench files: what is accepted, and what is said of what is not."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bench.config import BenchConfig, find_bench_file, load_bench, parse_bench, shipped_benches
from harness.bench.wish import find_wished
from harness.core.errors import UsageError
from harness.facts.host import read_facts
from harness.rules.rule import Allowance
from tests.captures import CARD, INTEL_BOARD, make_capture

BOARD = """
schema = 1
name = "mine"
kind = "virtual"
[board]
iommu = "intel"
[[board.device]]
id = "card"
driver = "nec-usb-xhci"
[[board.stick]]
id = "s1"
on = "card"
[controller]
id = "1033:0194"
"""

HOST = """
schema = 1
name = "rack"
kind = "ssh"
[host]
address = "rack.example"
[controller]
address = "05:00.0"
"""

KEYS = sorted(
    {
        *("schema", "name", "kind", "board", "host", "controller", "storage", "throughput", "profile", "image", "iommu", "cpu"),
        *("vcpus", "memory_mib", "root", "device", "stick", "id", "driver", "bus", "options", "on", "usb", "serial", "address"),
    }
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["virtual", "ssh", "local", "intel", "card", "usb:s1", "bridge:b", "1033:0194", "root-port"])
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)


def refusal(text: str) -> str:
    """Return what is said of a text that is refused."""
    with pytest.raises(UsageError) as caught:
        parse_bench(text, "mine.toml")
    return str(caught.value)


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in shipped_benches()])
def test_bench_file_shipped_is_valid(path: Path) -> None:
    """Every shipped bench file is valid, is named for its file, and says in its first line what it is."""
    config = load_bench(path.stem)

    assert config.name == path.stem
    assert path.read_text(encoding="utf-8").startswith("# ")


def test_bench_file_defaults() -> None:
    """What a bench file leaves out has a value that needs no thought."""
    config = parse_bench(BOARD, "mine.toml")

    assert config.board is not None
    assert config.board.image == "debian13"
    assert config.board.stick[0].size_mib == 256
    assert config.controller.driver == "vfio-pci"
    assert config.storage.window_mib == 32
    assert config.throughput.profile is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param(
            "iommu", "imomu", ["unknown key 'board.imomu'", "did you mean 'iommu'?", "Known keys here"], id="unknown-key"
        ),
        pytest.param('"intel"', '"vt-d"', ["'board.iommu'", "'vt-d'", "allowed: 'intel', 'amd', 'none'"], id="value-not-allowed"),
        pytest.param('driver = "nec-usb-xhci"', "", ["'board.device[0].driver' is missing"], id="missing-key"),
        pytest.param("schema = 1", "schema = 2", ["'schema'", "2", "allowed: 1"], id="schema"),
        pytest.param("schema = 1", 'schema = "1"', ["'schema'", "'1'"], id="type"),
        pytest.param('"mine"', '"a b"', ["'name'", "'a b'"], id="name"),
        pytest.param('[[board.device]]\nid = "card"', '[[board.device]]\nid = "C,d"', ["'board.device[0].id'", "'C,d'"], id="id"),
        pytest.param('on = "card"', 'on = "cart"', ["stick 's1' is on 'cart'"], id="stick-on-nothing"),
        pytest.param('iommu = "intel"', 'root = "usb:s2"', ["'board.root'", "'s2'"], id="root-on-nothing"),
        pytest.param('"1033:0194"', '"1033"', ["'controller.id'", "'1033'", "1033:0194"], id="controller-id"),
        pytest.param('id = "1033:0194"', "", ["[controller] names nothing"], id="controller-empty"),
        pytest.param('id = "1033:0194"', 'driver = "uio"', ["'controller.driver'", "'uio'", "'vfio-pci'"], id="driver"),
        pytest.param(
            '"1033:0194"', '"1033:0194"\npath = "05:00.0"', ["'controller.path'", "'05:00.0'", "pci0000:00/"], id="path"
        ),
        pytest.param(
            '"1033:0194"',
            '"1033:0194"\naddress = "06:00.0"\npath = "pci0000:00/0000:00:1c.0/0000:05:00.0"',
            ["'controller.path'", "'06:00.0'"],
            id="path-of-another",
        ),
        pytest.param('"1033:0194"', '"1033:0194"\nsiblings = ["x"]', ["'controller.siblings[0]'", "'x'"], id="sibling"),
        pytest.param('"1033:0194"', '"1033:0194"\n[allow]\nkeyboard = ["1-1"]', ["'allow.keyboard'", "'keyboards'"], id="allow"),
        pytest.param('"1033:0194"', '"1033:0194"\n[allow]\ndisks = ["sda"]', ["unknown key 'allow.disks'"], id="allow-no-disk"),
        pytest.param('kind = "virtual"', 'kind = "ssh"', ["needs a [host] table"], id="ssh-without-host"),
        pytest.param(
            'driver = "nec-usb-xhci"',
            'driver = "nec-usb-xhci"\noptions = { p3 = "x" }',
            ["'board.device[0].options.p3'", "'x'"],
            id="ports",
        ),
        pytest.param(
            '"1033:0194"', '"1033:0194"\n[storage]\nserial = "TP9"', ["'storage.serial'", "'TP9'", "'TP0001'"], id="serial"
        ),
        pytest.param("schema = 1", "schema = ", ["not valid TOML", "line 2"], id="no-toml"),
    ],
)
def test_bench_file_error_names_key_value_and_remedy(old: str, new: str, said: list[str]) -> None:
    """A mistake is answered with the file, the key's path, the value found, and what would be allowed."""
    assert old in BOARD

    message = refusal(BOARD.replace(old, new, 1))

    assert message.startswith("mine.toml")
    assert [part for part in said if part not in message] == []


@pytest.mark.parametrize("ports", ["true", "-1", '"4x"', '""', "1000"])
def test_bench_file_ports_are_small_numbers(ports: str) -> None:
    """What is no number of ports is refused by its key before anybody counts with it; a number in quotes is one."""
    card = 'driver = "nec-usb-xhci"'

    assert "board.device[0].options.p2" in refusal(BOARD.replace(card, f"{card}\noptions = {{ p2 = {ports} }}"))
    assert parse_bench(BOARD.replace(card, f'{card}\noptions = {{ p2 = "4" }}'), "mine.toml").board is not None


def test_bench_file_serial_of_the_root_is_no_stick() -> None:
    """The stick that the board's root is on is not one to pass; a board without any says so."""
    root = BOARD.replace('iommu = "intel"', 'root = "usb:s1"') + '[storage]\nserial = "TP0001"\n'

    assert "has none that could be named" in refusal(root)


def test_bench_file_that_writes_names_the_disk() -> None:
    """Whoever permits writes names the disk by its serial; without that word a stick is only read."""
    assert not parse_bench(BOARD + '[storage]\nserial = "TP0001"\n', "x.toml").storage.write
    assert parse_bench(BOARD + '[storage]\nserial = "TP0001"\nwrite = true\n', "x.toml").storage.write
    with pytest.raises(UsageError, match=r"'storage\.write' is true, but 'storage\.serial' names no disk"):
        parse_bench(BOARD + "[storage]\nwrite = true\n", "x.toml")


def test_bench_file_twins_are_refused() -> None:
    """Two devices, or two sticks, of one id are refused by that id."""
    assert "two [[board.stick]] have the id 's1'" in refusal(BOARD + '[[board.stick]]\nid = "s1"\non = "card"\n')
    assert "two [[board.device]] have the id 'card'" in refusal(BOARD + '[[board.device]]\nid = "card"\ndriver = "x"\n')


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=8))
def test_bench_file_any_document_is_taken_or_refused(document: dict[str, Any]) -> None:
    """Whatever a TOML document holds, it is a bench or a UsageError."""
    text = _document({"schema": 1, "name": "x", "kind": "virtual"} | document)
    with suppress(UsageError):
        assert isinstance(parse_bench(text, "any.toml"), BenchConfig)


@given(st.text())
def test_bench_file_any_text_is_taken_or_refused(text: str) -> None:
    """Whatever a file holds, nothing but a UsageError comes of it."""
    with pytest.raises(UsageError):
        parse_bench(text, "any.toml")


def test_bench_file_by_name_or_path(tmp_path: Path) -> None:
    """A bench is found by its shipped name or by a path; for anything else the shipped names are told."""
    mine = tmp_path / "mine.toml"
    mine.write_text(BOARD, encoding="utf-8")

    assert find_bench_file(str(mine)) == mine
    assert find_bench_file("virtual-vtd").name == "virtual-vtd.toml"
    for name in ("virtual-vdt", "no/such.toml", "", "../boards/virtual-vtd\n"):
        with pytest.raises(UsageError, match="virtual-amdvi, virtual-vtd"):
            find_bench_file(name)


def test_bench_file_unreadable_is_told(tmp_path: Path) -> None:
    """A file that is no text is refused by its name."""
    mine = tmp_path / "mine.toml"
    mine.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(UsageError, match=r"mine\.toml cannot be read"):
        load_bench(str(mine))


def test_bench_file_identity_is_relative_to_it(tmp_path: Path) -> None:
    """A private key is looked for beside the bench file, wherever the command is started."""
    mine = tmp_path / "rack.toml"
    mine.write_text(HOST.replace('"rack.example"', '"rack.example"\nidentity = "rack.key"'), encoding="utf-8")

    host = load_bench(str(mine)).host

    assert host is not None
    assert host.identity == str(tmp_path / "rack.key")
    assert (host.user, host.port) == ("root", None)


def _document(values: dict[str, Any]) -> str:
    """Return a document as TOML, tables inline; TOML knows no null."""
    return "\n".join(f"{key} = {_inline(value)}" for key, value in values.items() if value is not None)


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_inline(inner)}" for key, inner in value.items() if inner is not None) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(inner) for inner in value if inner is not None) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def test_bench_file_wish_is_found() -> None:
    """Pins, siblings, the driver and what is allowed go from the file into the target; the path alone names a controller."""
    config = parse_bench(
        HOST.replace('address = "05:00.0"', 'path = "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0"\ndriver = "pci-stub"\n')
        + 'siblings = ["0000:01:00.1", "10de:0fb9"]\n[allow]\nkeyboards = ["1-1"]\ninterfaces = ["enx0"]\n',
        "rack.toml",
    )

    target = find_wished(config, read_facts(make_capture(INTEL_BOARD), {}), guest_memory_mib=512, qemu="q")

    assert target.controller is not None
    assert target.controller.address == CARD["intel"]
    assert (target.driver, target.guest_memory_mib, target.qemu) == ("pci-stub", 512, "q")
    assert target.absent_siblings == ("0000:01:00.1", "10de:0fb9")
    assert target.allow == Allowance(("1-1",), ("enx0",))


ARMS = (
    BOARD
    + """
[throughput]
allow_unlike = ["driver"]
[[throughput.arm]]
name = "first"
kind = "usb-host"
[[throughput.arm]]
name = "second"
kind = "usb-host"
stick = "s1"
"""
)


def test_bench_file_names_arms() -> None:
    """Arms have a name, a kind and a stick, which is that of [storage] where none is named."""
    found = parse_bench(ARMS, "mine.toml").throughput

    assert [(arm.name, arm.kind, arm.stick) for arm in found.arm] == [("first", "usb-host", ""), ("second", "usb-host", "s1")]
    assert found.allow_unlike == ("driver",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(ARMS.replace("second", "first"), "two [[throughput.arm]] have the name 'first'", id="name-twice"),
        pytest.param(ARMS.replace("stick = ", 'stick = "s2" # '), "'throughput.arm[1].stick' names no stick", id="no-such-stick"),
        pytest.param(ARMS.partition('[[throughput.arm]]\nname = "second"')[0], "one [[throughput.arm]]", id="one-alone"),
        pytest.param(ARMS.replace('"usb-host"', '"usb"', 1), "throughput.arm[0].kind", id="no-such-kind"),
        pytest.param(ARMS.replace('["driver"]', '["scheduler"]'), "throughput.allow_unlike[0]", id="not-decisive"),
    ],
)
def test_bench_file_arms_refused(text: str, said: str) -> None:
    """Arms that cannot be told apart, compared or found are refused before anything begins."""
    assert said in refusal(text)
