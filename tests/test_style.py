"""What no linter checks: sizes, docstrings of tests, reasons beside exceptions, and that the project speaks of itself alone."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
CODE = ("harness", "fixtures", "suites", "reports")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

FOREIGN = re.compile(  # put together here, so that this file does not hold what it looks for
    "|".join(
        [
            r"(?<![\w.$}~/-])/" + "work/",  # where a checkout lies on some machine
            "/" + r"root/\.(?:pyenv|cache|local)",
            "/" + r"home/\w+/",
            *(
                r"\b" + r"\.".join(host)  # an index is chosen by the machine, never by the project
                for host in [("pypi", "org"), ("pythonhosted", "org"), ("deb", "debian", "org"), ("registry", "npmjs", "org")]
            ),
        ]
    )
)


def list_files(*patterns: str) -> list[Path]:
    """Return the files that git tracks or would track, sorted; the patterns are git's."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=True).stdout.decode().split("\0")
    return sorted({CHECKOUT / name for name in names if name and (CHECKOUT / name).is_file()})


def find_long(source: str) -> Iterator[str]:
    """Yield what is too long in a source text: the file, or a function of it."""
    if (lines := len(source.splitlines())) > MAX_FILE_LINES:
        yield f"the file has {lines} lines"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            lines = node.end_lineno - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield f"{node.name} has {lines} lines"


def find_tests_without_sentence(source: str) -> Iterator[str]:
    """Yield the test functions whose docstring is missing or no sentence."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            text = ast.get_docstring(node) or ""
            if not re.match(r"\S.*[.!?]", text, re.DOTALL):
                yield f"{node.name} (line {node.lineno}) has no sentence that says what holds"


def find_sleeps(source: str) -> Iterator[str]:
    """Yield the places that sleep: what must be waited for is waited for, with a Deadline."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "time.sleep":
            yield f"line {node.lineno} sleeps"
        if isinstance(node, ast.ImportFrom) and node.module == "time" and any(alias.name == "sleep" for alias in node.names):
            yield f"line {node.lineno} imports sleep"


def find_broad_excepts(source: str) -> Iterator[str]:
    """Yield the handlers that swallow everything without a noqa that says why."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = (
            {"BaseException"} if node.type is None else {ast.unparse(part) for part in getattr(node.type, "elts", [node.type])}
        )
        raises_again = any(isinstance(inner, ast.Raise) for statement in node.body for inner in ast.walk(statement))
        if caught & {"Exception", "BaseException"} and not raises_again and not _has_reasoned_noqa(lines[node.lineno - 1]):
            yield f"line {node.lineno} catches everything without a reason"


def _has_reasoned_noqa(line: str) -> bool:
    comment = line.partition("#")[2]
    reason, count = re.subn(r"noqa:\s*[A-Z]+\d+(?:[,\s]+[A-Z]+\d+)*", "", comment)
    return count == 1 and re.search(r"\w{2}", reason) is not None


def find_foreign(text: str) -> Iterator[str]:
    """Yield the paths of some machine and the hosts of package indexes that a text names."""
    for number, line in enumerate(text.splitlines(), 1):
        if match := FOREIGN.search(line):
            yield f"line {number} names {match[0]}"


def find_settings(source: str) -> Iterator[str]:
    """Yield what a property test sets for itself: how many inputs, which ones and how long is set once, in conftest.py."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "hypothesis":
            yield from (
                f"{alias.name} of hypothesis" for alias in node.names if alias.name in {"settings", "seed", "HealthCheck"}
            )


def complaints(files: list[Path], find: Callable[[str], Iterable[str]]) -> list[str]:
    """Return what ``find`` yields for each file, with the file's name before it."""
    return [f"{path.relative_to(CHECKOUT)}: {found}" for path in files for found in find(path.read_text("utf-8", "replace"))]


def test_style_sizes() -> None:
    """No file of the project's code has more than 400 lines, and no function more than 60."""
    assert complaints(list_files(*(f"{top}/**.py" for top in CODE)), find_long) == []


def test_style_tests_say_what_holds() -> None:
    """Every test has a docstring that is a sentence: for a suite it is the line in the report."""
    assert complaints(list_files("tests/**.py", "suites/**.py"), find_tests_without_sentence) == []


def test_style_nothing_sleeps() -> None:
    """No code of the project waits by sleeping for a fixed time."""
    assert complaints(list_files(*(f"{top}/**.py" for top in CODE)), find_sleeps) == []


def test_style_property_tests_are_set_up_once() -> None:
    """No property test has settings or a seed of its own."""
    assert complaints(list_files("tests/test_*.py"), find_settings) == []


def test_style_broad_excepts_have_reasons() -> None:
    """Whoever catches everything says why on the line that does it."""
    assert complaints(list_files("*.py"), find_broad_excepts) == []


def test_style_speaks_of_itself_alone() -> None:
    """No file that is committed names a folder of somebody's machine or the host of a package index."""
    assert complaints(list_files(), find_foreign) == []


def test_style_shell_scripts() -> None:
    """Shellcheck has nothing to say about any shell script."""
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    scripts = [path for path in list_files() if path.suffix == ".sh" or re.match(rb"#!.*\b(ba|da)?sh\b", path.read_bytes()[:40])]

    # SC2187: busybox's shell is checked as dash, which it resembles
    command: list[str | Path] = [shellcheck, "--exclude=SC2187", *scripts]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)

    assert done.stdout + done.stderr == ""
    assert CHECKOUT / "tools/setup.sh" in scripts


@pytest.mark.parametrize(
    ("find", "source"),
    [
        pytest.param(find_long, "x = 1\n" * 401, id="long-file"),
        pytest.param(find_long, "def f():\n" + "    x = 1\n" * 60, id="long-function"),
        pytest.param(find_tests_without_sentence, "def test_a():\n    pass", id="no-docstring"),
        pytest.param(find_settings, "from hypothesis import given, settings", id="settings"),
        pytest.param(find_tests_without_sentence, "def test_a():\n    'works'", id="no-sentence"),
        pytest.param(find_sleeps, "import time\ntime.sleep(1)", id="sleep"),
        pytest.param(find_sleeps, "from time import sleep", id="sleep-imported"),
        pytest.param(find_broad_excepts, "try: x()\nexcept:\n    pass", id="bare-except"),
        pytest.param(find_broad_excepts, "try: x()\nexcept (OSError, Exception):\n    pass", id="broad-except"),
        pytest.param(find_broad_excepts, "try: x()\nexcept Exception:  # noqa: BLE001\n    pass", id="no-reason"),
        pytest.param(find_foreign, "see /" + "work/notes", id="folder"),
        pytest.param(find_foreign, "https://py" + "pi.org/simple", id="index"),
    ],
)
def test_style_rule_fires(find: Callable[[str], Iterable[str]], source: str) -> None:
    """A text that breaks a rule is found."""
    assert len(list(find(source))) == 1


@pytest.mark.parametrize(
    ("find", "source"),
    [
        pytest.param(find_broad_excepts, "try: x()\nexcept Exception:\n    undo()\n    raise", id="raised-again"),
        pytest.param(find_broad_excepts, "try: x()\nexcept Exception:  # noqa: BLE001 (a reason)\n    pass", id="reason-after"),
        pytest.param(find_broad_excepts, "try: x()\nexcept Exception:  # a reason  # noqa: BLE001\n    pass", id="reason-before"),
        pytest.param(find_tests_without_sentence, "def test_a():\n    'It holds.'", id="sentence"),
        pytest.param(find_settings, "from hypothesis import given", id="given"),
        pytest.param(find_foreign, "the guest's ~/work/ and $1/work/", id="other-folder"),
    ],
)
def test_style_rule_allows_what_is_right(find: Callable[[str], Iterable[str]], source: str) -> None:
    """A text that keeps a rule is let through."""
    assert list(find(source)) == []
