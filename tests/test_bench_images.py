"""Images without building one: which are kept, and what is said where none can be built."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from harness.bench import images
from harness.bench.doctor import look_at_mounts
from harness.bench.images import Recipe, find_image, read_recipe, recipe_names, remove_older, require_image, require_mounts
from harness.core.errors import UsageError

WEEK_S = 7 * 24 * 3600
RECIPE = Recipe("debian13", "trixie", "linux-image", (), "new")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of images of a cache of our own."""
    monkeypatch.setenv("THROUGHPASS_CACHE", str(tmp_path))
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


def make_image(cache: Path, name: str, age_s: float) -> Path:
    """Make an image that was last used so long ago."""
    folder = cache / name
    folder.mkdir()
    (folder / "root.ext4").touch()
    os.utime(folder, (time.time() - age_s,) * 2)
    return folder


def test_images_in_use_are_kept(cache: Path) -> None:
    """What was used within a week stays when another is built, since another checkout may be about to boot it."""
    old, recent = make_image(cache, "debian13-a", WEEK_S + 60), make_image(cache, "debian13-b", WEEK_S - 3600)
    other = make_image(cache, "debian12-a", 10 * WEEK_S)

    remove_older(RECIPE)

    assert (old.exists(), recent.exists(), other.exists()) == (False, True, True)


def test_images_note_their_use(cache: Path) -> None:
    """Whoever wants an image makes it young again; a mere look does not."""
    folder = make_image(cache, f"debian13-{read_recipe('debian13').key}", 2 * WEEK_S)
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


@pytest.mark.bench
@pytest.mark.parametrize("name", recipe_names())
def test_images_are_small(name: str) -> None:
    """An image takes less than 400 MB, by its length and on the disk."""
    files = [path.stat() for path in require_image(name).folder.iterdir()]

    assert sum(file.st_size for file in files) < 400e6
    assert sum(file.st_blocks * 512 for file in files) < 400e6
