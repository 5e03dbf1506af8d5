"""Images: which are kept and which are none, and what a build tells and leaves, whatever happens in its middle."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.bench import images
from harness.bench.doctor import look_at_mounts
from harness.bench.images import (
    CONTENT,
    Recipe,
    damage,
    file_sha256,
    find_image,
    note_content,
    read_recipe,
    recipe_names,
    remove_older,
    require_image,
    require_mounts,
)
from harness.core.errors import BenchError, UsageError

WEEK_S = 7 * 24 * 3600
RECIPE = Recipe("debian13", "trixie", "linux-image", (), "new")
FILES = ("vmlinux", "initrd", "root.ext4")
LIMIT_S = 60

MMDEBSTRAP = """#!{python}
import os, re, signal, sys
from pathlib import Path
folder = Path("{folder}")

def tidy_up(*_):
    print("I: removing tempdir", file=sys.stderr, flush=True)
    (folder / "tidied").touch()
    sys.exit(1)

signal.signal(signal.SIGTERM, tidy_up)
print("I: downloading packages", file=sys.stderr, flush=True)
with (folder / "builders").open("a") as builders:
    print(os.getpid(), file=builders)
if (folder / "broken").exists():
    sys.exit("E: Temporary failure resolving the mirror")
(folder / "gate").read_text()
for word in sys.argv:
    if found := re.fullmatch(r"--customize-hook=download /throughpass/(\\S+) '(.*)'", word):
        Path(found[2]).write_text(f"{{found[1]}} of {{os.getpid()}}")
"""
"""Does of mmdebstrap's work what we see of it, and waits at a gate in the middle: a named pipe that the test opens."""

UNSHARE = """#!/bin/sh
while [ "${1#--}" != "$1" ]; do shift; done
exec "$@"
"""
"""Whoever runs these tests may not be allowed to mount."""


class Builder:
    """A stand-in for mmdebstrap."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        os.mkfifo(folder / "gate")
        (folder / "bin").mkdir()
        mmdebstrap = MMDEBSTRAP.format(python=sys.executable, folder=folder)
        for name, text in {"mmdebstrap": mmdebstrap, "mke2fs": "", "unshare": UNSHARE}.items():
            path = folder / "bin" / name
            path.write_text(text)
            path.chmod(0o755)

    @property
    def builds(self) -> list[int]:
        """Return the processes that have built, or begun to."""
        path = self.folder / "builders"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def open_gate(self) -> None:
        """Let every builder through, without waiting for one."""
        (self.folder / "gate").unlink()
        (self.folder / "gate").touch()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of images of a cache of our own."""
    monkeypatch.setenv("THROUGHPASS_CACHE", str(tmp_path))
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Builder:
    """Put a stand-in for mmdebstrap in front of the real one."""
    folder = tmp_path / "builder"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}/bin", prepend=os.pathsep)
    return Builder(folder)


def make_image(cache: Path, name: str, age_s: float) -> Path:
    """Make an image that was last used so long ago."""
    folder = cache / name
    folder.mkdir()
    for file in FILES:
        (folder / file).write_text(f"{file} of {name}")
    note_content(folder)
    os.utime(folder, (time.time() - age_s,) * 2)
    return folder


def current(name: str) -> str:
    """Return the name of an image's folder as its recipe stands now."""
    return f"{name}-{read_recipe(name).key}"


def test_images_in_use_are_kept(cache: Path) -> None:
    """What was used within a week stays when another is built, since another checkout may be about to boot it."""
    old, recent = make_image(cache, "debian13-a", WEEK_S + 60), make_image(cache, "debian13-b", WEEK_S - 3600)
    other = make_image(cache, "debian12-a", 10 * WEEK_S)

    remove_older(RECIPE)

    assert (old.exists(), recent.exists(), other.exists()) == (False, True, True)


def test_images_note_their_use(cache: Path) -> None:
    """Whoever wants an image makes it young again; a mere look does not."""
    folder = make_image(cache, current("debian13"), 2 * WEEK_S)
    found = find_image("debian13")
    looked_at = folder.stat().st_mtime

    assert found == require_image("debian13")
    assert time.time() - looked_at > WEEK_S
    assert time.time() - folder.stat().st_mtime < 60


def test_images_of_a_root_who_may_not_mount(monkeypatch: pytest.MonkeyPatch) -> None:
    """A root without the right to mount is told in a sentence what he lacks, by the build and by the doctor."""
    monkeypatch.setattr(images, "MOUNT_TRIAL", "false")
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    with pytest.raises(UsageError, match=r"CAP_SYS_ADMIN.*--cap-add SYS_ADMIN"):
        require_mounts()

    assert not look_at_mounts().good


def test_images_of_a_root_who_may_mount(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the trial works there is nothing to say; nobody but root is tried."""
    monkeypatch.setattr(images, "MOUNT_TRIAL", "true")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    require_mounts()
    assert look_at_mounts().good
    monkeypatch.setattr(images, "MOUNT_TRIAL", "false")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    require_mounts()


def test_image_notes_its_content(cache: Path) -> None:
    """The note has every file's sum and size, and its name changes with any of them."""
    folder = make_image(cache, current("debian13"), 0)
    image = find_image("debian13")
    assert image is not None
    first = image.content

    lines = [line.split() for line in (folder / CONTENT).read_text().splitlines()]
    image.initrd.write_text("another")
    note_content(folder)

    assert [name for _, _, name in lines] == list(FILES)
    assert lines[2][:2] == [file_sha256(image.root), str(image.root.stat().st_size)]
    assert image.content != first
    assert len(first) == len(image.content) == 16


def cut_short(path: Path) -> None:
    """Take the second half of a file away."""
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("name", "harm", "said"),
    [
        pytest.param("root.ext4", cut_short, r"root\.ext4 has \d+ bytes, not \d+", id="short"),
        pytest.param("vmlinux", Path.unlink, "vmlinux is missing", id="missing"),
        pytest.param(CONTENT, cut_short, "does not say what it holds", id="note-short"),
        pytest.param(CONTENT, Path.unlink, "does not say what it holds", id="note-missing"),
    ],
)
def test_damaged_image_is_built_again(cache: Path, builder: Builder, name: str, harm: Callable[[Path], None], said: str) -> None:
    """An image that is not as it was built is not found; whoever wants it is told, and gets a new one in its place."""
    folder = make_image(cache, current("debian13"), 0)
    harm(folder / name)
    builder.open_gate()
    heard: list[str] = []

    assert find_image("debian13") is None
    image = require_image("debian13", heard.append)

    assert damage(folder) == ""
    assert image.root.read_text() == f"root.ext4 of {builder.builds[0]}"
    assert [path.name for path in cache.iterdir()] == [folder.name]
    assert re.search(rf"is damaged: .*{said}", heard[0])


def test_build_tells_its_steps(cache: Path, builder: Builder) -> None:
    """A build tells what it does, keeps its image under the recipe's name, and leaves nothing else."""
    builder.open_gate()
    heard: list[str] = []

    image = require_image("debian13", heard.append)

    assert find_image("debian13") == image
    assert [path.name for path in cache.iterdir()] == [current("debian13")]
    assert heard[1] == "  debian13: downloading packages"
    assert heard[-1].startswith("image debian13 is ready")


def test_build_that_fails_leaves_nothing(cache: Path, builder: Builder) -> None:
    """A build that fails is explained in a sentence, with mmdebstrap's last words, and leaves nothing."""
    (builder.folder / "broken").touch()

    with pytest.raises(BenchError, match="could not be fetched: check the network") as caught:
        require_image("debian13")

    assert "E: Temporary failure" in caught.value.evidence
    assert not list(cache.iterdir())


def test_builders_wait_for_one_another(cache: Path, builder: Builder) -> None:
    """Who comes second says that he waits, and uses what the first has built."""
    waiting, heard, found = threading.Event(), list[str](), list[object]()

    def hear(line: str) -> None:
        heard.append(line)
        waiting.set()

    first = threading.Thread(target=lambda: found.append(require_image("debian13")))
    first.start()
    with (builder.folder / "gate").open("w"):  # the first is in the middle
        second = threading.Thread(target=lambda: found.append(require_image("debian13", hear)))
        second.start()
        assert waiting.wait(LIMIT_S)
    for thread in (first, second):
        thread.join(LIMIT_S)

    assert heard == ["another process builds the image debian13; waiting"]
    assert found == [find_image("debian13")] * 2
    assert len(builder.builds) == 1
    assert [path.name for path in cache.iterdir()] == [current("debian13")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_build_that_is_interrupted_leaves_no_image(cache: Path, builder: Builder, number: signal.Signals) -> None:
    """Whatever ends a build in its middle ends mmdebstrap in order; no image is found, and the next build tidies up."""
    program = "from harness.cli import main; main()"
    with (
        subprocess.Popen([sys.executable, "-c", program, "bench", "build", "debian13"], stderr=subprocess.DEVNULL) as run,
        (builder.folder / "gate").open("w"),  # it is in the middle
    ):
        descriptor = os.pidfd_open(builder.builds[0])
        run.send_signal(number)
        run.wait(LIMIT_S)
        assert select.select([descriptor], [], [], LIMIT_S)[0]
        os.close(descriptor)
    left = list(cache.iterdir())

    assert run.returncode != 0
    assert (builder.folder / "tidied").exists()
    assert find_image("debian13") is None
    assert len(left) == (1 if number == signal.SIGKILL else 0)
    builder.open_gate()
    require_image("debian13")
    assert [path.name for path in cache.iterdir()] == [current("debian13")]


@pytest.mark.bench
@pytest.mark.parametrize("name", recipe_names())
def test_images_are_small(name: str) -> None:
    """An image takes less than 400 MB, by its length and on the disk."""
    files = [path.stat() for path in require_image(name).folder.iterdir()]

    assert sum(file.st_size for file in files) < 400e6
    assert sum(file.st_blocks * 512 for file in files) < 400e6
