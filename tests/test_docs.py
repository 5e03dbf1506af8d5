"""The documents keep what they promise."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from harness.actions.plan import plan_bind, plan_return
from harness.bench.config import HostSection, parse_bench
from harness.bench.delivery import LIMIT_BYTES
from harness.bench.obstacles import OLDEST_QEMU, QEMU_MEMORY_MIB
from harness.bench.real import GUEST_IMAGE
from harness.core.record import STAGES
from harness.facts.pci import PciDevice
from harness.machine.guest import MEMORY_MIB
from suites.test_cycles import FIRST

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


def test_docs_tell_every_stage() -> None:
    """README.md has a row for each stage, in their order, and names those of the first cycle; each module says its own number."""
    text = (CHECKOUT / "README.md").read_text("utf-8")
    section = text.partition("## What is checked")[2].partition("\n## ")[0]
    modules = [(CHECKOUT / "suites" / f"test_{stage}.py").read_text("utf-8") for stage in STAGES]

    assert re.findall(r"^\| (\w+) \|", section, re.MULTILINE)[1:] == list(STAGES)
    assert f"the stages {', '.join(FIRST[:-1])} and {FIRST[-1]}" in text
    assert [module[:11] for module in modules] == [f'"""Stage {number}:' for number in range(1, len(STAGES) + 1)]


def test_docs_count_the_steps_of_a_plan() -> None:
    """docs/kills.md knows how many steps a controller's way has, there and back."""
    found = PciDevice("0000:01:00.0", driver="xhci_hcd")
    there, back = plan_bind([found], "vfio-pci"), plan_return([found], {found.address: "vfio-pci"})
    text = (CHECKOUT / "docs" / "kills.md").read_text("utf-8")

    assert f"each of the {len(there.steps)} steps of the way there and the {len(back.steps)} of the way back" in text
