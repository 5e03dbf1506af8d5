"""The doctor: it looks for what setup installs, and says what to do about what is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.bench import doctor
from harness.bench.doctor import PROGRAMS, Program, look_at_python, look_at_space, look_for

SETUP = Path(__file__).parents[1] / "tools" / "setup.sh"


def test_doctor_looks_for_what_setup_installs() -> None:
    """The programs are those of tools/setup.sh, with the same Debian packages."""
    needs = re.findall(r"^needs\(\) \{\n +cat <<'END'\n(.*?)^END$", SETUP.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)[
        0
    ]
    wanted = {tuple(line.split(" ")[:2]) for line in needs.splitlines() if not line.startswith("/")}

    assert {(program.name, program.package) for program in PROGRAMS} == wanted


def test_doctor_tells_a_program_and_its_version() -> None:
    """A program that is there is told with the first line of its version."""
    answer = look_for(Program("mount", "mount", needed=True))

    assert answer.good
    assert "mount from util-linux" in answer.text


def test_doctor_tells_what_brings_a_missing_program() -> None:
    """A program that is missing is told with both ways to get it."""
    answer = look_for(Program("no-such-program", "its-package", needed=True))

    assert (answer.good, answer.needed) == (False, True)
    assert "make setup" in answer.text
    assert "apt-get install its-package" in answer.text


def test_doctor_python_is_new_enough() -> None:
    """The Python that runs this is new enough, or it would not run."""
    assert look_at_python().good


def test_doctor_cache_with_room_and_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is told with what it holds; too little room is a fault with a figure."""
    monkeypatch.setenv("THROUGHPASS_CACHE", str(tmp_path))
    (tmp_path / "sticks").mkdir()
    (tmp_path / "sticks" / "a").write_bytes(b"x" * (3 << 20))

    assert f"3 MiB of at most 4096 MiB in {tmp_path} (1 of sticks: 3 MiB);" in look_at_space().text
    monkeypatch.setattr(doctor, "BUILD_MIB", 1 << 40)
    assert not look_at_space().good
    assert look_at_space().text.endswith(f"{1 << 40} MiB are needed")
