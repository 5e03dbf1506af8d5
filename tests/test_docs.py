"""The documents keep what they promise."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from harness.bench.config import HostSection, parse_bench
from harness.bench.delivery import LIMIT_BYTES
from harness.bench.obstacles import OLDEST_QEMU, QEMU_MEMORY_MIB
from harness.bench.real import GUEST_IMAGE
from harness.machine.guest import MEMORY_MIB

CHECKOUT = Path(__file__).parents[1]


def test_docs_bench_files_are_valid() -> None:
    """The bench files that README.md explains are such as the harness accepts, and the real one leaves out no key of [host]."""
    examples = re.findall(r"```toml\n(.*?)```", (CHECKOUT / "README.md").read_text("utf-8"), re.DOTALL)
    virtual, real = (parse_bench(example, "README.md") for example in examples)

    assert (virtual.name, virtual.kind) == ("my-board", "virtual")
    assert (real.name, real.kind) == ("rack-7", "ssh")
    assert set(tomllib.loads(examples[1])["host"]) == set(HostSection.__struct_fields__)


def test_docs_tell_what_a_host_is_given() -> None:
    """README.md's real-hardware section names the folder and the bound that the code has, and the oldest QEMU."""
    text = (CHECKOUT / "README.md").read_text("utf-8")
    section = text.partition("## Real hardware")[2].partition("\n## ")[0]

    assert f"`{HostSection('').workdir}/{GUEST_IMAGE}-*`" in section
    assert f"{LIMIT_BYTES // 10**6} MB of disk" in section
    assert f"{MEMORY_MIB + QEMU_MEMORY_MIB} MiB of free memory" in section
    assert f"{'.'.join(map(str, OLDEST_QEMU))} or newer" in section


def test_docs_name_every_part_of_the_harness() -> None:
    """ARCHITECTURE.md names each package of the harness, and no other."""
    text = (CHECKOUT / "ARCHITECTURE.md").read_text("utf-8")
    described = set(re.findall(r"^  (\w+)/ ", text, re.MULTILINE))

    assert described == {path.parent.name for path in (CHECKOUT / "harness").glob("*/__init__.py")}
