"""How a QEMU is confined: the real launcher, as root, with a program in QEMU's place that tells what it was given."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

from harness.actions.lending import FIRST_USER, LAST_USER, guest_user, lend, take_back
from harness.core.errors import BenchError
from harness.machine.privileges import SANDBOX, Privileges, confined_argv
from harness.transport.local import LocalTransport
from harness.transport.protocol import Result

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else"),
    pytest.mark.skipif(not (shutil.which("setpriv") and shutil.which("prlimit")), reason="util-linux is not whole here"),
]

HOST = LocalTransport()
SOMEBODY = 1234

LOCKED_MIB = 1
"""Less than any host's limit: a container's root may not raise one."""

TELLING = """#!/bin/sh
case "$*" in "-sandbox on --version") {sandbox} ;; esac
echo "args: $*"
node="{opening}"
[ -z "$node" ] || echo "opened: $(head -c 4 "$node" | wc -c) $(stat -c '%u %a' "$node")"
cat /proc/self/status
grep '^Max locked memory' /proc/self/limits
echo "files: $(cat /proc/self/fd/3) $(cat /proc/self/fd/4) $(cat <&5)"
"""


def told(result: Result) -> dict[str, list[str]]:
    """Return what the program told, by the name that begins each line."""
    return {name: words.split() for name, _, words in (line.partition(":") for line in result.text.splitlines())}


NO_FILTER = "qemu-system-x86_64: -sandbox on: -sandbox support is not enabled in this QEMU binary"


@dataclass
class Stage:
    """The files of a guest and a folder of a run, below a folder that only root can enter."""

    folder: Path
    user: int

    @property
    def run_folder(self) -> Path:
        """Return the folder that becomes the user's."""
        return self.folder / "run"

    def node(self, name: str, owner: int = 0, mode: int = 0o600) -> Path:
        """Make what stands for a node: the launcher asks for owner and mode alone."""
        path = self.folder / name
        path.touch()
        path.chmod(mode)
        os.chown(path, owner, -1)
        return path

    def launch(
        self,
        *nodes: Path | str,
        sandbox: str = "exit 0",
        mode: int = 0o755,
        opening: Path | str = "",
        below: tuple[str, ...] = (),
    ) -> Result:
        """Launch the program with these nodes.

        ``opening`` is a node that it opens, ``sandbox`` what it does when it is asked for a filter, ``below`` a command that runs
        the launcher.
        """
        qemu = Path("/tmp") / f"throughpass-stand-in-{os.getpid()}"  # noqa: S108 (its user may enter no folder of pytest's)
        qemu.write_text(TELLING.format(sandbox=sandbox, opening=opening), encoding="utf-8")
        qemu.chmod(mode)
        names = [str(self.folder / name) for name in ("kernel", "initrd", "root")]
        given = Privileges(names[0], names[1], names[2], tuple(map(str, nodes)), LOCKED_MIB)
        try:
            argv = [str(qemu), "-display", "none"]
            return HOST.run([*below, *confined_argv(given, self.user, PurePosixPath(self.run_folder), argv)])
        finally:
            qemu.unlink()


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Make the files, closed to everybody but root; the kernel alone may be read by all."""
    made = Stage(tmp_path, guest_user(tmp_path.name + str(os.getpid())))
    made.run_folder.mkdir(0o700)
    for name, mode in (("kernel", 0o644), ("initrd", 0o600), ("root", 0o600)):
        (tmp_path / name).write_text(name, encoding="utf-8")
        (tmp_path / name).chmod(mode)
    (made.run_folder / "host_key").write_text("secret", encoding="utf-8")
    return made


def owner(path: Path) -> int:
    """Return whose a file is."""
    return path.stat().st_uid


def test_launch_confines(stage: Stage) -> None:
    """What is launched has one user, no group, no capability and a limit, reads its files, and QEMU's filter is asked for."""
    done = stage.launch(stage.node("vfio-2"))
    seen = told(done)

    assert done.status == 0, done.error_text
    assert FIRST_USER <= stage.user <= LAST_USER
    assert seen["args"] == [*SANDBOX, "-display", "none"]
    assert seen["Uid"] == seen["Gid"] == [str(stage.user)] * 4
    assert seen["Groups"] == []
    assert {int(seen[f"Cap{name}"][0], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert seen["NoNewPrivs"] == ["1"]
    assert done.text.count(f" {LOCKED_MIB << 20} ") == 2, "the soft and the hard limit of locked memory"
    assert seen["files"] == ["kernel", "initrd", "root"]


def test_launch_gives_what_was_named(stage: Stage) -> None:
    """A closed node and the run's folder become the user's; an open node stays as it is, and so does each file and its mode."""
    closed, opened = stage.node("closed"), stage.node("opened", mode=0o666)

    assert stage.launch(closed, opened).status == 0
    assert (owner(closed), owner(opened)) == (stage.user, 0)
    assert {owner(path) for path in (stage.run_folder, *stage.run_folder.iterdir())} == {stage.user}
    assert sorted(path.name for path in stage.run_folder.iterdir()) == ["host_key", "initrd"], (
        "a copy of what nobody else may read"
    )
    kept = [(owner(path), stat.S_IMODE(path.stat().st_mode)) for path in (stage.folder / "initrd", stage.folder / "root")]
    assert kept == [(0, 0o600)] * 2


@pytest.mark.skipif(not Path("/dev/kvm").exists() or not Path("/dev/kvm").stat().st_gid, reason="no /dev/kvm of a group")
def test_launch_needs_only_the_group_of_kvm(stage: Stage) -> None:
    """A /dev/kvm that a group may open stays root's: the user is of that group and of no other, unless everybody may open it."""
    before = Path("/dev/kvm").stat()
    groups = [] if before.st_mode & 0o006 == 0o006 else [str(before.st_gid)]

    assert told(stage.launch("/dev/kvm"))["Groups"] == groups
    assert owner(Path("/dev/kvm")) == before.st_uid


def test_launch_without_a_filter_says_so(stage: Stage) -> None:
    """A QEMU that was built without a filter of system calls is started without, and the transcript says it."""
    done = stage.launch(sandbox=f"echo '{NO_FILTER}' >&2; exit 1")

    assert told(done)["args"] == ["-display", "none"]
    assert "without a filter of system calls" in done.error_text


@pytest.mark.parametrize(
    ("sandbox", "mode", "said"),
    [
        pytest.param("echo 'error while loading shared libraries: libvfio.so' >&2; exit 127", 0o755, "libvfio", id="library"),
        pytest.param("exit 1", 0o755, "it does not say why", id="silent"),
        pytest.param("exit 0", 0o644, "ermission denied", id="not-executable"),
    ],
)
def test_launch_leaves_the_filter_out_for_nothing_else(stage: Stage, sandbox: str, mode: int, said: str) -> None:
    """A QEMU that fails when it is asked for the filter is not started without: the sentence is ours and has its words."""
    done = stage.launch(sandbox=sandbox, mode=mode)

    assert (done.status, done.text) == (1, "")
    assert done.error_text.startswith("throughpass: /tmp/throughpass-stand-in-")
    assert "cannot be started with a filter of system calls" in done.error_text
    assert said in done.error_text
    assert len(done.error_text.splitlines()) == 1


def test_launch_refuses_a_number_that_somebody_has(stage: Stage) -> None:
    """A user that has a process already is not taken: each could read the other's memory; nothing is given."""
    node = stage.node("vfio-2")
    waiting = ["setpriv", f"--reuid={stage.user}", "--clear-groups", "sh", "-c", "echo here; read -r _"]
    with subprocess.Popen(waiting, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        done = stage.launch(node)
        other.communicate("\n")

    assert (done.status, done.text) == (1, "")
    assert f"user {stage.user} has a process of its own" in done.error_text
    assert (owner(node), owner(stage.run_folder)) == (0, 0)


def test_launch_names_the_tool_that_is_missing(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without setpriv nothing is started as root instead: the tool is named."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "prlimit", "grep", "stat", "cp", "chown"):
        (tools / tool).symlink_to(shutil.which(tool) or "")
    monkeypatch.setenv("PATH", str(tools))

    done = stage.launch()

    assert (done.status, done.text) == (1, "")
    assert "setpriv (of util-linux) is missing" in done.error_text


def test_launch_needs_its_memory(stage: Stage) -> None:
    """Where root itself may not raise the limit of locked memory, as in a container, what is too little is told."""
    least = ("prlimit", "--memlock=65536:65536", "setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource")
    done = stage.launch(below=least)

    assert (done.status, done.text) == (1, "")
    assert f"throughpass: {LOCKED_MIB} MiB cannot be locked" in done.error_text


def test_launch_takes_nobodys_node(stage: Stage) -> None:
    """A node that is another user's, or is not there, is named with whose it is; the program is not started."""
    others = stage.launch(stage.node("others", SOMEBODY))
    absent = stage.launch(stage.folder / "absent")

    assert (others.status, others.text, absent.status, absent.text) == (1, "", 1, "")
    assert f"{stage.folder}/others is user {SOMEBODY}'s" in others.error_text
    assert f"{stage.folder}/absent is not there" in absent.error_text
    assert owner(stage.folder / "others") == SOMEBODY


def test_lending_to_a_running_guest(stage: Stage) -> None:
    """A node is lent once or twice with the same end, taken back where it was asked for alone, and never another user's."""
    kept, stick = stage.node("kept"), stage.node("stick")
    for node in (kept, stick, stick):
        lend(HOST, stage.user, str(node))
    take_back(HOST, stage.user, str(stick))

    assert (owner(kept), owner(stick)) == (stage.user, 0)
    with pytest.raises(BenchError, match="cannot be given") as refused:
        lend(HOST, stage.user, str(stage.node("others", SOMEBODY)))
    assert f"is user {SOMEBODY}'s" in refused.value.evidence


@pytest.fixture
def kvm() -> Iterator[Path]:
    """Make a node of /dev/zero's under the name that is shared, closed to all but root, in a folder that all may enter."""
    if HOST.run("unshare --mount true").status != 0:
        pytest.skip("no mount namespace can be made here")
    folder = Path("/tmp") / f"throughpass-nodes-{os.getpid()}"  # noqa: S108 (as above)
    folder.mkdir(0o755)
    try:
        node = folder / "kvm"
        os.mknod(node, 0o600 | stat.S_IFCHR, Path("/dev/zero").stat().st_rdev)
        yield node
    finally:
        shutil.rmtree(folder)


def test_two_guests_have_one_kvm(stage: Stage, kvm: Path) -> None:
    """A node that every guest needs and only root may open serves two runs: the second one's own ends with its QEMU."""
    other = stage.user ^ 1
    lend(HOST, other, str(kvm))
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")

    done = stage.launch(kvm, opening=kvm)

    assert done.status == 0, done.error_text
    assert told(done)["opened"] == ["4", str(stage.user), "600"]
    assert told(done)["Uid"] == [str(stage.user)] * 4
    assert int(told(done)["CapBnd"][0], 16) == 0
    assert (owner(kvm), Path("/proc/self/mountinfo").read_text(encoding="utf-8")) == (other, mounts)


def test_kvm_that_came_back_is_lent_anew(stage: Stage, kvm: Path) -> None:
    """Once the first run's guest has ended the node itself is lent to the next one."""
    other = stage.user ^ 1
    lend(HOST, other, str(kvm))
    take_back(HOST, other, str(kvm.parent))

    assert told(stage.launch(kvm, opening=kvm))["opened"] == ["4", str(stage.user), "600"]
    assert owner(kvm) == stage.user


def test_second_kvm_that_cannot_be_made_is_told(stage: Stage, kvm: Path) -> None:
    """Where root itself may mount nothing, as in a container, the sentence is ours, and nothing is started."""
    lend(HOST, stage.user ^ 1, str(kvm))
    (stage.run_folder / "nodes").write_text("in the way", encoding="utf-8")

    done = stage.launch(kvm)

    assert (done.status, done.text) == (1, "")
    assert done.error_text.startswith(f"throughpass: another run's guest has {kvm}, which root alone may open")
    assert len(done.error_text.splitlines()) == 1


def test_group_of_another_run_is_not_shared(stage: Stage) -> None:
    """The node of a group is one run's alone: whoever comes second is told whose it is."""
    node = stage.node("12", stage.user ^ 1)

    done = stage.launch(node)

    assert (done.status, owner(node)) == (1, stage.user ^ 1)
    assert f"{node} is user {stage.user ^ 1}'s" in done.error_text


def test_folder_is_not_lent(stage: Stage) -> None:
    """What is no node, as the place of all groups' nodes, is nobody's to have: neither for a running guest nor at its start."""
    groups = stage.folder / "groups"
    groups.mkdir()

    with pytest.raises(BenchError, match="cannot be given") as refused:
        lend(HOST, stage.user, f"{groups}/")
    started = stage.launch(f"{groups}/")

    assert refused.value.evidence == f"throughpass: {groups}/ is a folder, and no node"
    assert (started.status, owner(groups)) == (1, 0)
    assert refused.value.evidence in started.error_text


def test_users_are_made_of_marks() -> None:
    """The same mark is the same user, which is how a restore finds it; two marks are two users as a rule."""
    users = {guest_user(f"run{number}") for number in range(100)}

    assert guest_user("run1") == guest_user("run1")
    assert len(users) > 90
    assert all(FIRST_USER <= user <= LAST_USER for user in users)
