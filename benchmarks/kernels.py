"""An image's kernel as Debian packages it: what a peer needs that boots kernels of its own accord.

The image itself keeps the kernel uncompressed, and some modules. The package is fetched once, without root, and kept.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness.bench.cache import Progress, full_disk_explained, require_space
from harness.bench.images import Image, read_recipe, require_mounts
from harness.core.errors import BenchError, UsageError
from harness.transport.local import LocalTransport

_FETCH_LIMIT_S = 1200.0
_FETCH_MIB = 600  # the package and what it depends on, packed and unpacked
_KEPT_LISTS = ("modules.order", "modules.builtin", "modules.builtin.modinfo")
_VERSION_AT = 0x20E  # kernel_version of the boot protocol: Documentation/arch/x86/boot.rst
_SYSTEM_PATHS = ("/usr/sbin", "/sbin")


def search_path(*first: Path) -> str:
    """Return PATH with ``first`` before it and the folders that Debian keeps from users after it."""
    return os.pathsep.join([*map(str, first), os.environ.get("PATH", ""), *_SYSTEM_PATHS])


def packaged_kernel(image: Image, folder: Path, tell: Progress) -> Path:
    """Return the image's kernel as it was packaged, in a tree that has boot/ and usr/lib/modules; fetch it if need be.

    Raises UsageError where the archive has another build by now than the image was made of.
    """
    release = (image.folder / "release").read_text(encoding="ascii").strip()
    tree = folder / f"kernel-{release}"
    vmlinuz = tree / "boot" / f"vmlinuz-{release}"
    ours = build_of_vmlinux(image.kernel.read_bytes())
    if not (vmlinuz.is_file() and build_of_vmlinuz(vmlinuz.read_bytes()) == ours):
        shutil.rmtree(tree, ignore_errors=True)
        _fetch(image, release, tree, tell)
    if (theirs := build_of_vmlinuz(vmlinuz.read_bytes())) != ours:
        raise UsageError(
            f"the image {image.name} has the kernel build {ours!r}, the archive has {theirs!r} by now: "
            f"remove {image.folder}, so that the image is built again with the new one"
        )
    return vmlinuz


def build_of_vmlinuz(data: bytes) -> str:
    """Return which build a packed kernel is, "#1 SMP ... Debian 6.12.3-1 (2026-01-01)", from its header; "" if it has none."""
    start = int.from_bytes(data[_VERSION_AT : _VERSION_AT + 2], "little") + 0x200
    version = data[start : data.find(b"\0", start)].decode("ascii", "replace")
    return "".join(version.partition("#")[1:])


def build_of_vmlinux(data: bytes) -> str:
    """Return which build an unpacked kernel is, from its banner; "" if it has none."""
    found = re.search(rb"Linux version \d[^\0\n]*(#\d[^\0\n]*)", data)  # there is one without a number, too
    return found[1].decode("ascii", "replace") if found else ""


def fetch_argv(suite: str, release: str, archive: Path) -> list[str]:
    """Return the command line that fetches the kernel's package and what it depends on as a tar archive."""
    mirror = os.environ.get("THROUGHPASS_MIRROR")
    own_mounts = ["unshare", "--mount", "--"] if os.geteuid() == 0 else []  # as images.py does, for the same reason
    return [
        *("env", f"PATH={search_path()}", *own_mounts),
        *("mmdebstrap", "--quiet", "--variant=extract", "--format=tar", f"--include=linux-image-{release}"),
        *(suite, str(archive), *([mirror] if mirror else [])),
    ]


def _fetch(image: Image, release: str, tree: Path, tell: Progress) -> None:
    if shutil.which("mmdebstrap") is None:
        raise UsageError("mmdebstrap is not installed, and the peer's kernel cannot be fetched without it: run make setup")
    require_mounts()
    require_space(tree.parent, _FETCH_MIB, "the peer's kernel")
    suite = read_recipe(image.name).suite
    tell(f"fetching the package linux-image-{release} (Debian {suite}); it is kept in {tree}")
    with full_disk_explained(tree.parent), tempfile.TemporaryDirectory(prefix=".kernel-", dir=tree.parent) as scratch:
        archive = Path(scratch) / "tar"
        done = LocalTransport().run(fetch_argv(suite, release, archive), timeout_s=_FETCH_LIMIT_S)
        if done.status != 0:
            raise UsageError(
                f"linux-image-{release} could not be fetched from Debian {suite}: check the network and THROUGHPASS_MIRROR, "
                f"or, if the archive has a newer one by now, remove {image.folder}, so that the image is built again",
                evidence=done.error_text[-2000:],
            )
        _unpack(archive, Path(scratch) / "unpacked", release)
        index_modules(Path(scratch) / "unpacked", release)
        (Path(scratch) / "unpacked").rename(tree)


def _unpack(archive: Path, tree: Path, release: str) -> None:
    """Take the kernel and its modules out of the archive, wherever this Debian release keeps these."""
    tree.mkdir()
    wanted = ["--wildcards", f"./boot/vmlinuz-{release}", f"./*lib/modules/{release}/*"]
    _must(["tar", "-xf", str(archive), "-C", str(tree), "--no-same-owner", *wanted], "unpacking the peer's kernel")
    if (tree / "lib").is_dir():  # Debian 12 and before
        (tree / "usr").mkdir()
        (tree / "lib").rename(tree / "usr" / "lib")
    (tree / "lib").symlink_to("usr/lib")  # a kmod looks in the one place or the other


def index_modules(tree: Path, release: str) -> None:
    """Write what modprobe reads and packages do not bring; vng would do it in its first run."""
    _must(["env", f"PATH={search_path()}", "depmod", "-b", str(tree), release], "indexing the peer's modules")


def pruned_kernel(vmlinuz: Path, modules: Sequence[str]) -> Path:
    """Return the same kernel in a tree of its own that has only ``modules`` and what they need."""
    whole, release = vmlinuz.parents[1], vmlinuz.name.removeprefix("vmlinuz-")
    tree = whole / "pruned"
    if not tree.is_dir():
        with full_disk_explained(tree.parent), tempfile.TemporaryDirectory(prefix=".kernel-", dir=tree.parent) as scratch:
            made = Path(scratch) / "pruned"
            (made / "boot").mkdir(parents=True)
            shutil.copy(vmlinuz, made / "boot")
            place = Path("usr/lib/modules", release)
            needed = needed_files((whole / place / "modules.dep").read_text(encoding="utf-8"), modules)
            for name in (*needed, *_KEPT_LISTS):
                (made / place / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(whole / place / name, made / place / name)
            (made / "lib").symlink_to("usr/lib")
            index_modules(made, release)
            made.rename(tree)
    return tree / "boot" / vmlinuz.name


def needed_files(modules_dep: str, modules: Sequence[str]) -> list[str]:
    """Return the files of modules and of what they depend on; one that is not there is built into the kernel."""
    needed: set[str] = set()
    for line in modules_dep.splitlines():
        file, _, dependencies = line.partition(":")
        if Path(file).name.partition(".")[0] in modules:
            needed |= {file, *dependencies.split()}
    return sorted(needed)


def _must(argv: Sequence[str], purpose: str) -> None:
    done = LocalTransport().run(argv, timeout_s=_FETCH_LIMIT_S)
    if done.status != 0:
        raise BenchError(f"{purpose} failed with status {done.status}", evidence=done.error_text)
