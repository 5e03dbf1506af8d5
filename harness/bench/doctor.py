"""What this machine has, and lacks, for the virtual bench."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.bench.accelerator import probe_kvm
from harness.bench.cache import Progress, cache_folder
from harness.bench.images import find_image, recipe_names, require_image, require_mounts
from harness.bench.upkeep import describe_cache
from harness.core.errors import ThroughpassError, UsageError
from harness.transport.local import LocalTransport

IMAGE = "debian13"
PYTHON = (3, 11)
BUILD_MIB, RUN_MIB = 2500, 600
"""Free space that the build of an image needs, and that a run needs."""


@dataclass(frozen=True)
class Program:
    """A program that is looked for, the Debian package that brings it, and the argument that makes it tell its version."""

    name: str
    package: str
    needed: bool
    version: str = "--version"


PROGRAMS = (
    Program("qemu-system-x86_64", "qemu-system-x86", needed=True),
    Program("qemu-img", "qemu-utils", needed=False),
    Program("mmdebstrap", "mmdebstrap", needed=True),
    Program("mount", "mount", needed=True),
    Program("newuidmap", "uidmap", needed=False, version=""),
    Program("mke2fs", "e2fsprogs", needed=True, version="-V"),
    Program("fio", "fio", needed=False),
    Program("lspci", "pciutils", needed=False),
    Program("lsusb", "usbutils", needed=False),
    Program("ssh", "openssh-client", needed=False, version="-V"),
)
"""The same as in tools/setup.sh, where each has its purpose."""


@dataclass(frozen=True)
class Answer:
    """What was found about one subject; what is ``needed`` and not ``good`` keeps the virtual bench from running."""

    subject: str
    good: bool
    text: str
    needed: bool = True


def examine(progress: Progress) -> Iterator[Answer]:
    """Yield an answer for each subject, the quick ones first. Builds the image if it is not there: KVM is tried by booting it."""
    answers = [look_at_python(), *map(look_for, PROGRAMS), look_at_namespaces(), look_at_space()]
    yield from answers
    if all(answer.good or not answer.needed for answer in answers):
        yield from try_kvm(progress)
    else:
        yield Answer("KVM", good=False, needed=False, text="not tried: that needs what is missing above")


def look_at_python() -> Answer:
    """Say which Python this is."""
    wanted = ".".join(map(str, PYTHON))
    return Answer("Python", good=sys.version_info >= PYTHON, text=f"{platform.python_version()} ({wanted} or newer is needed)")


def look_for(program: Program) -> Answer:
    """Look for one program where Debian puts it, and ask for its version."""
    found = shutil.which(program.name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
    if found is None:
        text = f"not found: make setup installs it, or apt-get install {program.package}"
        return Answer(program.name, good=False, needed=program.needed, text=text)
    if not program.version:
        return Answer(program.name, good=True, text=found)
    result = LocalTransport().run([found, program.version])
    said = (result.text or result.error_text).strip().splitlines()
    return Answer(program.name, good=True, text=said[0] if said else found)


def look_at_namespaces() -> Answer:
    """Say whether an image can be built by this user: root, or anybody who may have user namespaces and subordinate ids."""
    subject = "user namespaces"
    if os.geteuid() == 0:
        return look_at_mounts()
    user = LocalTransport().run("id -un").text
    lines = [line.split(":", 1)[0] for line in _read("/etc/subuid").splitlines()]
    if LocalTransport().run("unshare --user --map-root-user true").status != 0:
        return Answer(subject, good=False, text="not allowed: see kernel.unprivileged_userns_clone and AppArmor's restriction")
    if not {user, str(os.getuid())} & set(lines):
        text = f"no range in /etc/subuid; as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
        return Answer(subject, good=False, text=text)
    return Answer(subject, good=True, text="allowed, with a range in /etc/subuid")


def look_at_mounts() -> Answer:
    """Say whether root may mount, which is how he builds images."""
    try:
        require_mounts()
    except UsageError as error:
        return Answer("mounts", good=False, text=error.message)
    return Answer("mounts", good=True, text="allowed: root builds images without user namespaces")


def look_at_space() -> Answer:
    """Say where the cache is, what it holds, and whether there is room for what is still to come."""
    free_mib = shutil.disk_usage(cache_folder()).free >> 20
    wanted = RUN_MIB if find_image(IMAGE) else BUILD_MIB
    try:
        text = f"{describe_cache()}; {free_mib} MiB free on its disk"
    except UsageError as error:
        return Answer("cache", good=False, text=error.message)
    return Answer("cache", good=free_mib >= wanted, text=text if free_mib >= wanted else f"{text}: {wanted} MiB are needed")


def try_kvm(progress: Progress) -> Iterator[Answer]:
    """Build the image if need be, and boot it with KVM; emulation serves where KVM does not."""
    try:
        image = require_image(IMAGE, progress)
    except ThroughpassError as error:
        yield Answer("image", good=False, text=f"{error.message}\n{error.evidence}".strip())
        return
    built = [name for name in recipe_names() if find_image(name)]
    yield Answer("image", good=True, text=f"built: {', '.join(built)}")
    answer = probe_kvm(image, progress, fresh=True)
    yield Answer("KVM", good=answer.usable, needed=False, text=answer.reason)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
