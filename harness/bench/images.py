"""Bench images: a Debian userland as a read-only disk, its kernel and an initramfs, built by mmdebstrap without root.

One image serves board and guest. The cache's key is a hash of the recipe and of every file that goes in; an image is built beside
its place and renamed into it, so that no half image is ever found. Beside its files lies a note of what they hold, made before
that: an image whose files are not as noted is none.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from harness.bench.cache import SCRATCH, Progress, cache_folder, full_disk_explained, locked, require_space, silent
from harness.bench.steps import follow
from harness.core.deadline import Deadline
from harness.core.errors import BenchError, UsageError
from harness.transport.local import LocalProcess, LocalTransport

RECIPES = Path(__file__).resolve().parents[2] / "fixtures" / "images"
CONTENT = "content"
"""The file of an image that notes the others: a line for each with its SHA-256, its size in bytes and its name."""

_FILES = ("vmlinux", "initrd", "root.ext4")
_IMAGE_MIB, _BUILD_MIB = 400, 1200  # the result; and beside it the unpacked root, the archives, and the result twice
_BUILD_LIMIT_S = 1800
MOUNT_TRIAL = "unshare --mount true"
_KEPT_S = 7 * 24 * 3600.0
_OUTSIDE = ("fetch.sh", "pack.sh")  # run in the build's place, not in the new root


@dataclass(frozen=True)
class Image:
    """A built image: files of this machine."""

    name: str
    folder: Path

    @property
    def kernel(self) -> Path:
        """Return the uncompressed kernel."""
        return self.folder / "vmlinux"

    @property
    def initrd(self) -> Path:
        """Return the initramfs."""
        return self.folder / "initrd"

    @property
    def root(self) -> Path:
        """Return the root file system: ext4, never written."""
        return self.folder / "root.ext4"

    @property
    def content(self) -> str:
        """Return a name for what the image holds. Two builds of one recipe differ in it: Debian moves on."""
        return hashlib.sha256((self.folder / CONTENT).read_bytes()).hexdigest()[:16]


@dataclass(frozen=True)
class Noted:
    """What a file of an image held when it was built."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Recipe:
    """What goes into an image."""

    name: str
    suite: str
    kernel: str
    packages: tuple[str, ...]
    key: str


def read_recipe(name: str) -> Recipe:
    """Read a shipped recipe and compute its key."""
    path = RECIPES / f"{name}.toml"
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    digest = hashlib.sha256()
    for part in (path, *sorted((RECIPES / "files").iterdir())):
        digest.update(part.name.encode() + b"\0" + part.read_bytes())
    digest.update(os.environ.get("THROUGHPASS_MIRROR", "").encode())
    return Recipe(name, document["suite"], document["kernel"], tuple(document["packages"]), digest.hexdigest()[:16])


def recipe_names() -> list[str]:
    """Return the names of the shipped recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def find_image(name: str) -> Image | None:
    """Return the image of that name as its recipe stands now, or None if it is not built, or not as it was built."""
    image = Image(name, _folder(read_recipe(name)))
    return image if damage(image.folder) == "" else None


def damage(folder: Path) -> str:
    """Say what is wrong with an image, or nothing: a note that cannot be read, a file that is missing or cut short."""
    noted = read_content(folder)
    if not noted:
        return "it does not say what it holds"
    for name, note in noted.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != note.size_bytes:
            return f"{name} has {path.stat().st_size} bytes, not {note.size_bytes}"
    return ""


def read_content(folder: Path) -> dict[str, Noted]:
    """Return what an image notes of each of its files, or nothing if that is not there whole."""
    try:
        text = (folder / CONTENT).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return {}
    lines = re.findall(r"^([0-9a-f]{64}) (\d+) (\S+)\n", text, re.MULTILINE)
    noted = {name: Noted(sha256, int(size)) for sha256, size, name in lines}
    return noted if tuple(noted) == _FILES else {}


def note_content(folder: Path) -> None:
    """Note what an image's files hold."""
    paths = [folder / name for name in _FILES]
    (folder / CONTENT).write_text("".join(f"{file_sha256(path)} {path.stat().st_size} {path.name}\n" for path in paths))


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_image(name: str, progress: Progress = silent) -> Image:
    """Return an image, building it first if need be; builders of the same image wait for one another."""
    if image := find_image(name):
        return _used(image)
    with locked(f"image-{name}", wait=True, busy=f"another process builds the image {name}", progress=progress):
        return _used(find_image(name) or build_image(read_recipe(name), progress))


def _used(image: Image) -> Image:
    """Note that an image is in use: by the folder's time remove_older tells those that nobody wants any more."""
    with suppress(OSError):  # a cache that is shared by others and read-only for us
        os.utime(image.folder)
    return image


def build_image(recipe: Recipe, progress: Progress = silent) -> Image:
    """Build an image; raise UsageError where a tool, the network or space is missing."""
    for tool in ("mmdebstrap", "mke2fs"):
        if shutil.which(tool, path=program_path()) is None:
            raise UsageError(f"{tool} is not installed, and the image {recipe.name} cannot be built without it: run make setup")
    require_mounts()
    target = _folder(recipe)
    target.parent.mkdir(parents=True, exist_ok=True)
    require_space(target.parent, _IMAGE_MIB, f"building the image {recipe.name}")
    require_space(Path(tempfile.gettempdir()), _BUILD_MIB, f"building the image {recipe.name}", SCRATCH)
    for abandoned in target.parent.glob(f"{_unfinished(recipe)}*"):  # of a builder that was killed: we hold the lock now
        shutil.rmtree(abandoned, ignore_errors=True)
    if target.exists():
        progress(f"the image {target} is damaged: {damage(target)}; it is built again")
    progress(f"building the image {recipe.name} (Debian {recipe.suite}); it is kept in {target.parent}")
    with (
        full_disk_explained(target.parent),
        tempfile.TemporaryDirectory(prefix=_unfinished(recipe), dir=target.parent) as scratch,
    ):
        built = _run_mmdebstrap(recipe, Path(scratch), progress)
        note_content(built)
        remove_older(recipe)
        if target.exists():
            target.rename(Path(scratch) / "damaged")
        built.rename(target)
    progress(f"image {recipe.name} is ready: {sum(f.stat().st_blocks * 512 for f in target.iterdir()) >> 20} MiB")
    return Image(recipe.name, target)


def mmdebstrap_argv(recipe: Recipe, out: Path) -> list[str]:
    """Return the command line that builds an image into the folder ``out``."""
    return [
        *("mmdebstrap", "--variant=essential", "--format=null", "--skip=cleanup", f"--include={','.join(recipe.packages)}"),
        f"--extract-hook=upload {_quoted(RECIPES / 'files' / 'dpkg.cfg')} /etc/dpkg/dpkg.cfg.d/throughpass",
        *(f"--customize-hook={hook}" for hook in _hooks(recipe, out)),
        *(recipe.suite, "/dev/null"),
        *_mirror_args(),
    ]


def _hooks(recipe: Recipe, out: Path) -> list[str]:
    """Return what makes an image of the installed root, in its order.

    Scripts that run outside are passed as text: mmdebstrap may be another user there, who need not be able to read our files.
    """
    files = RECIPES / "files"
    inside = [_quoted(path) for path in sorted(files.iterdir()) if path.name not in _OUTSIDE]
    fetch, pack = ((files / name).read_text(encoding="utf-8") for name in _OUTSIDE)
    return [
        'mkdir "$1/throughpass"',
        " ".join(["copy-in", *inside, "/throughpass"]),
        f'set -- "$1" {recipe.kernel}\n{fetch}',
        'chroot "$1" sh /throughpass/build.sh',
        'chroot "$1" sh /throughpass/slim.sh',
        pack,
        *(f"download /throughpass/{name} {_quoted(out / name)}" for name in ("release", *_FILES)),
    ]


def _mirror_args() -> list[str]:
    mirror = os.environ.get("THROUGHPASS_MIRROR")
    return [mirror] if mirror else []


def _run_mmdebstrap(recipe: Recipe, scratch: Path, progress: Progress) -> Path:
    """Return the folder of the image that mmdebstrap built; nothing of it runs on when this is left."""
    out, log = scratch / "image", scratch / "log"
    out.mkdir()
    limit = Deadline.after(_BUILD_LIMIT_S, f"building the image {recipe.name}")
    with _started(["env", f"PATH={program_path()}", *_mount_namespace(), *mmdebstrap_argv(recipe, out)], log) as (
        process,
        output,
    ):
        follow(output, log, limit, lambda line: progress(f"  {recipe.name}: {line}"), lambda: process.poll() is not None)
        status = process.wait(limit)
    if status != 0:
        raise _build_error(recipe, log.read_text(errors="replace"))
    return out


@contextmanager
def _started(argv: Sequence[str], log: Path) -> Iterator[tuple[LocalProcess, FileIO]]:
    """Start a command, with a pipe that it speaks into; it is ended when this is left."""
    with _pipe() as (output, theirs):
        process = LocalProcess(argv, log, output=theirs.fileno())
        try:
            theirs.close()
            yield process, output
        finally:
            process.kill()
            process.wait(Deadline.after(60, "ending mmdebstrap"))


@contextmanager
def _pipe() -> Iterator[tuple[FileIO, FileIO]]:
    """Make a pipe whose writer may outlive us: it holds the pipe for reading too, and is not ended by our end in its tidying up.

    (mmdebstrap 1.3.5 dies of a broken pipe, and leaves its whole tree. Its last words, which nobody reads then, fit in a MiB.)
    """
    ours, unused = os.pipe()
    with FileIO(ours) as output:
        with FileIO(unused):
            theirs = os.open(f"/proc/self/fd/{ours}", os.O_RDWR)
        with FileIO(theirs, "r+") as writer:
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 20)
            yield output, writer


def require_mounts() -> None:
    """Raise UsageError for a root who may mount nothing, as in a container: mmdebstrap would say so at length, and late."""
    if os.geteuid() == 0 and LocalTransport().run(MOUNT_TRIAL).status != 0:
        raise UsageError(
            "root may not mount here (a container without CAP_SYS_ADMIN?), which building an image needs: "
            "start the container with --cap-add SYS_ADMIN or --privileged, or build as a user who is not root"
        )


def _mount_namespace() -> list[str]:
    """Return what keeps root's mounts out of this machine's table: killed, mmdebstrap leaves /proc, /sys and /dev in its tree.

    (mmdebstrap 1.3.5, mode root; a user's builds run in namespaces of their own anyway.)
    """
    return ["unshare", "--mount", "--"] if os.geteuid() == 0 else []


def _build_error(recipe: Recipe, text: str) -> BenchError:
    """Say in a sentence why a build failed, as far as its log tells."""
    tail = "\n".join(text.strip().splitlines()[-15:])
    causes: Sequence[tuple[str, str]] = (
        (r"No space left on device", "the disk is full: free some space, or set THROUGHPASS_CACHE and TMPDIR to other folders"),
        (
            r"Could not resolve|Failed to fetch|[Cc]ould not connect|Temporary failure|Unable to connect|not have a Release file",
            "Debian's packages could not be fetched: check the network, or set THROUGHPASS_MIRROR to a mirror within reach",
        ),
        (
            r"newuidmap|subuid|(?<!mode: )unshare",
            "user namespaces are needed to build without root: see /etc/subuid and kernel.unprivileged_userns_clone",
        ),
        (r"NO_PUBKEY|keyring|not signed", "Debian's archive keys are missing: install debian-archive-keyring"),
    )
    for pattern, cause in causes:
        if re.search(pattern, text):
            return BenchError(f"the image {recipe.name} could not be built: {cause}", evidence=tail)
    return BenchError(f"the image {recipe.name} could not be built: mmdebstrap failed", evidence=tail)


def remove_older(recipe: Recipe) -> None:
    """Remove images of the same name that nobody has used for a week: another checkout may have another recipe of that name."""
    for old in _folder(recipe).parent.glob(f"{recipe.name}-*"):
        with suppress(OSError):
            if time.time() - old.stat().st_mtime > _KEPT_S:
                shutil.rmtree(old, ignore_errors=True)


def _unfinished(recipe: Recipe) -> str:
    return f".build-{recipe.name}-"


def _folder(recipe: Recipe) -> Path:
    return cache_folder() / "images" / f"{recipe.name}-{recipe.key}"


def program_path() -> str:
    """Return PATH with the folders that Debian keeps from users: mke2fs and chroot live there."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def _quoted(path: str | Path) -> str:
    """Return a path for mmdebstrap's hooks, which split at white space as a shell does."""
    return "'" + str(path).replace("'", "'\\''") + "'"
