"""Who may import whom: the layers of ARCHITECTURE.md, held by reading every import, those inside functions too."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]

LAYERS = ("core", "transport", "facts", "rules", "actions", "machine", "measure", "bench")
"""The layers of the harness: each imports only itself and what stands to its left."""

HARNESS = frozenset({"harness", *(f"harness.{layer}" for layer in LAYERS)})

MAY_IMPORT = {
    "harness": frozenset[str](),  # the package itself: imported with every layer, so it stands left of them all
    **{f"harness.{name}": frozenset({"harness", *(f"harness.{left}" for left in LAYERS[:at])}) for at, name in enumerate(LAYERS)},
    "harness.cli": HARNESS | {"fixtures", "reports"},
    "reports": frozenset({"harness", "harness.core"}),
    "fixtures": HARNESS | {"reports"},
    "suites": HARNESS | {"fixtures"},
    "benchmarks": HARNESS,
}
"""What each part of the project may import beside itself; what is not a key here is no part of it (tests)."""

ONLY_IN = {
    "paramiko": {"harness.transport", "benchmarks"},
    "pexpect": {"harness.machine"},
    "subprocess": {"harness.transport", "harness.machine", "harness.bench", "harness.cli", "benchmarks"},
    "scipy": {"harness.measure"},
    "otava": {"harness.measure"},
    "matplotlib": {"reports"},
    "pytest": {"harness.cli", "fixtures", "suites", "reports"},
}
"""Libraries that stop at a border, and the parts that may import them."""

OURS = {"harness", "fixtures", "suites", "reports", "tests", "benchmarks", "conftest"}


@dataclass(frozen=True)
class Import:
    """One import, as the full name of what is imported."""

    place: str
    importer: str
    target: str


def part_of(module: str) -> str:
    """Return the part of the project that a module belongs to: ``harness.core``, ``fixtures``; others: their first name."""
    names = module.split(".")
    return ".".join(names[:2]) if names[0] == "harness" else names[0]


def importer_of(path: Path, root: Path) -> str:
    """Return the part of the project that a file belongs to."""
    names = path.relative_to(root).with_suffix("").parts
    return part_of(".".join(names[:-1] if names[-1] == "__init__" else names))


def find_imports(path: Path, root: Path) -> Iterator[Import]:
    """Yield every import of a file, relative ones resolved, and calls of import_module with a literal name."""
    package = list(path.relative_to(root).parent.parts)
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        for target in _targets(node, package):
            yield Import(f"{path.relative_to(root)}:{getattr(node, 'lineno', 0)}", importer_of(path, root), target)


def _targets(node: ast.AST, package: list[str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        above = package[: len(package) - node.level + 1] if node.level else []
        module = ".".join([*above, *([node.module] if node.module else [])])
        return [f"{module}.{alias.name}" if module in MAY_IMPORT else module for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")) and node.args:
        name = node.args[0]
        return [name.value] if isinstance(name, ast.Constant) and isinstance(name.value, str) else []
    return []


def judge(found: Import) -> str | None:
    """Return what is wrong with an import, or None."""
    library = found.target.split(".", maxsplit=1)[0]
    if library in ONLY_IN and found.importer not in ONLY_IN[library]:
        return f"{found.place}: {library} may be imported only in {', '.join(sorted(ONLY_IN[library]))}"
    target = part_of(found.target)
    if library == "harness" and target not in MAY_IMPORT:
        target = "harness"  # a name that the package itself defines
    if library not in OURS or target == found.importer or target in MAY_IMPORT[found.importer]:
        return None
    return f"{found.place}: {found.importer} may not import {found.target}"


def find_violations(root: Path) -> list[str]:
    """Return a sentence for each file under ``root`` that has no place, and for each import that breaks a rule."""
    wrong: list[str] = []
    for path in sorted(
        path for top in ("harness", "fixtures", "suites", "reports", "benchmarks") for path in (root / top).rglob("*.py")
    ):
        if importer_of(path, root) in MAY_IMPORT:
            wrong += [sentence for found in find_imports(path, root) if (sentence := judge(found)) is not None]
        else:
            wrong.append(f"{path.relative_to(root)}:1: belongs to no layer")
    return wrong


def test_layering_holds() -> None:
    """Every import of harness, fixtures, suites, reports and benchmarks goes the way that the architecture allows."""
    assert find_violations(CHECKOUT) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        pytest.param("harness/core/a.py", "import harness.facts.pci", id="core-imports-facts"),
        pytest.param("harness/facts/a.py", "from harness.machine import spec", id="facts-import-machine"),
        pytest.param("harness/transport/a.py", "from harness import bench", id="name-of-a-layer"),
        pytest.param("harness/rules/a.py", "def f():\n    from harness.actions import plan", id="inside-a-function"),
        pytest.param("harness/machine/a.py", "from ..measure import fio", id="relative"),
        pytest.param("harness/core/__init__.py", "from ..bench import virtual", id="relative-in-package"),
        pytest.param("harness/core/a.py", "import importlib\nimportlib.import_module('harness.bench')", id="import_module"),
        pytest.param("harness/__init__.py", "from harness.core import record", id="package-imports-layer"),
        pytest.param("harness/bench/a.py", "import harness.cli", id="bench-imports-cli"),
        pytest.param("fixtures/a.py", "from harness import cli", id="fixtures-import-cli"),
        pytest.param("fixtures/a.py", "import suites.test_usb", id="fixtures-import-suites"),
        pytest.param("suites/a.py", "from reports import page", id="suites-import-reports"),
        pytest.param("harness/bench/a.py", "import fixtures", id="harness-imports-fixtures"),
        pytest.param("harness/core/a.py", "from tests import fakes", id="harness-imports-tests"),
        pytest.param("reports/a.py", "from harness.measure import statistics", id="reports-import-measure"),
        pytest.param("harness/facts/a.py", "import paramiko", id="paramiko"),
        pytest.param("harness/bench/a.py", "from pexpect import socket_pexpect", id="pexpect"),
        pytest.param("harness/actions/a.py", "import subprocess", id="subprocess"),
        pytest.param("fixtures/a.py", "from subprocess import run", id="subprocess-in-fixtures"),
        pytest.param("reports/a.py", "from scipy import stats", id="scipy"),
        pytest.param("harness/measure/a.py", "import matplotlib.pyplot", id="matplotlib"),
        pytest.param("harness/bench/a.py", "import pytest", id="pytest"),
        pytest.param("harness/bench/a.py", "from benchmarks import paired", id="harness-imports-benchmarks"),
        pytest.param("suites/a.py", "import benchmarks.paired", id="suites-import-benchmarks"),
        pytest.param("benchmarks/a.py", "from fixtures import bench", id="benchmarks-import-fixtures"),
        pytest.param("harness/extra.py", "", id="no-layer"),
    ],
)
def test_layering_rule_fires(tmp_path: Path, file: str, source: str) -> None:
    """A source text that breaks a rule is found, and named by file and line."""
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(source + "\n", encoding="utf-8")

    found = find_violations(tmp_path)

    assert len(found) == 1
    assert found[0].startswith(f"{file}:")


@pytest.mark.parametrize(
    ("file", "source"),
    [
        pytest.param("harness/bench/a.py", "from harness.core.errors import BenchError", id="to-the-left"),
        pytest.param("harness/bench/a.py", "from . import virtual", id="itself"),
        pytest.param("harness/measure/a.py", "from scipy import stats", id="library-at-home"),
        pytest.param("harness/core/a.py", "from harness import __version__", id="name-of-the-package"),
        pytest.param("harness/cli.py", "import pytest\nfrom reports import page\nimport harness.bench", id="cli"),
        pytest.param("reports/a.py", "from harness.core import record\nfrom reports import page", id="reports"),
        pytest.param("suites/a.py", "from fixtures.bench import Stage\nfrom harness.core import finding", id="suites"),
        pytest.param(
            "benchmarks/a.py", "import subprocess\nfrom benchmarks import paired\nimport harness.bench", id="benchmarks"
        ),
    ],
)
def test_layering_allows_what_is_right(tmp_path: Path, file: str, source: str) -> None:
    """An import to the left, within a part, or of a library in its own part is no violation."""
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(source + "\n", encoding="utf-8")

    assert find_violations(tmp_path) == []


@pytest.mark.parametrize("name", ["harness", "suites", "fixtures", "reports"])
def test_layering_names_resolve_to_checkout(name: str) -> None:
    """The four names that the project takes are this checkout's, not those of a library that is installed."""
    spec = importlib.util.find_spec(name)

    assert spec is not None
    assert spec.origin == str(CHECKOUT / name / "__init__.py")
