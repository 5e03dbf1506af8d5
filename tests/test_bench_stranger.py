"""A stranger's host: a board of the other Debian flavour, without anything of ours on it, reached by SSH."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.bench.cache import silent
from harness.bench.config import load_bench
from harness.bench.delivery import LIMIT_BYTES, deliver
from harness.bench.images import require_image
from harness.bench.real import GUEST_IMAGE, connection_to
from harness.core.deadline import Deadline
from harness.core.errors import BenchError
from harness.core.record import STAGES, BoardVerdict, Outcome
from harness.transport.protocol import check
from harness.transport.ssh import SshTransport
from tests.custody import THROUGHPASS
from tests.qualification import CHECKOUT, qualify, started, wait_for_line
from tests.sights import NOT_ROOTS, Sight, watched
from tests.test_bench_up import held

pytestmark = [pytest.mark.bench, pytest.mark.xdist_group("stranger")]

PASSED, FAILED = 0, 1
NAME = "stranger"
WORKDIR = "/var/tmp/throughpass"  # noqa: S108 (the folder that README promises to be the only one)
SHIPPED = CHECKOUT / "fixtures" / "boards" / "virtual-vtd.toml"

# What our image has and no other host goes: its folder (sshd has read its configuration, and gets no SIGHUP here), the static
# tools, a stick that needs no time to settle. The kernel's own second for that comes back. The key may do what README says.
_ESTRANGE = """
set -e
mount -t tmpfs -o mode=0755 none /usr/lib/throughpass
mv /bin/busybox /bin/.away
rm /etc/modprobe.d/throughpass.conf
echo 1 >/sys/module/usb_storage/parameters/delay_use
keys=/sys/firmware/qemu_fw_cfg/by_name/opt/org.throughpass/authorized_keys/raw
{ printf '%s,from="10.0.2.2" ' "$1" && cat "$keys"; } >/root/keys
mount --bind /root/keys "$keys"
"""

_STATE = r"""
find / /tmp /run -xdev -path /run/throughpass/sshd.log -prune -o -type d -printf '%p %y %U %m\n' -o -printf '%p %y %s %U %m\n'
cut -d ' ' -f 1 /proc/modules
ls -d /sys/bus/pci/drivers/*/*:*
for file in /proc/[0-9]*/cmdline; do tr '\0\n' '  ' <"$file" && echo; done 2>/dev/null
"""
"""Prints what is on the host: files, modules, who drives which device, processes (those of the kernel have no command line)."""


@dataclass(frozen=True)
class Stranger:
    """The host: the bench file that ``bench up`` wrote, and a connection that is none of the suites'."""

    bench: Path
    ssh: SshTransport


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stranger]:
    """Hold a Debian 12 board by ``throughpass bench up`` and take away what makes it ours."""
    folder = tmp_path_factory.mktemp("stranger")
    text = SHIPPED.read_text(encoding="utf-8").replace('"virtual-vtd"', f'"{NAME}"').replace('"debian13"', '"debian12"')
    (folder / "board.toml").write_text(text, encoding="utf-8")
    with held(folder / "board.toml", folder / "held.toml"):
        host = load_bench(str(folder / "held.toml")).host
        assert host is not None
        with connection_to(host, Deadline.after(60, "connecting"), silent) as ssh:
            check(ssh, ["sh", "-c", _ESTRANGE, "estrange", least_privileges()])
            yield Stranger(folder / "held.toml", ssh)


def least_privileges() -> str:
    """Return the options that README.md gives the key, without the runner's address."""
    (options,) = re.findall(r"^(restrict,.*),from=", (CHECKOUT / "README.md").read_text("utf-8"), re.MULTILINE)
    return str(options)


def state(host: SshTransport) -> set[str]:
    """Return what is on the host, but for the folder that stays: files, modules, devices' drivers, processes."""
    mine = (WORKDIR, "find ", "tr ", "sh -c", "sshd: root")
    return {line for line in check(host, _STATE).text.splitlines() if line.strip() and not line.startswith(mine)}


def require_lent_as_long_as_needed(sights: list[Sight]) -> None:
    """QEMU gets the stick's node alone, which is root's again while the guest lives on; VFIO's container it opens once more."""
    lent = [number for number, sight in enumerate(sights) if sight.lent]

    assert lent, "USB-level passthrough was measured"
    assert [sights[number] for number in lent if sights[number].lent != [sights[number].stick]] == []
    assert [sights[number] for number in lent if not sights[number].guest] == []
    later = sights[lent[0] :]
    assert [sight for sight in later if sight.guest and sight.owners.get(sight.stick) == 0], later


def test_stranger_is_qualified_twice(stranger: Stranger, tmp_path: Path) -> None:
    """All stages run on a host that has nothing of ours; QEMU is lent what it needs; one folder stays, brought once."""
    before = state(stranger.ssh)
    with watched(stranger.ssh) as sights:
        done = qualify(stranger.bench, tmp_path / "first", "--profile", "smoke", "--cycles", "1")
    after = state(stranger.ssh)
    record = done.record

    assert done.status == PASSED, done.output
    require_lent_as_long_as_needed(sights)
    assert record.verdict.board is BoardVerdict.CONDITIONAL
    assert {check.stage for check in record.checks} == set(STAGES)
    assert {each.id: each.outcome for each in record.checks if each.outcome is not Outcome.PASS} == {
        "usb/stick-is-hot-plugged": Outcome.NOT_APPLICABLE,
        "throughput/comparison": Outcome.CONDITION,  # this profile judges no speed
    }
    assert "bookworm" in record.environment.distribution
    assert record.environment.kernel.startswith("6.1.")
    assert record.environment.guest_kernel.startswith("6.12.")
    given = next(
        each.text for each in done.check("guest/guest-boots").evidence if each.source == "what QEMU is given on the host"
    )
    assert given.count(f"{WORKDIR}/{GUEST_IMAGE}-") == 3
    assert "/usr/lib/throughpass" not in given
    assert after == before
    assert check(stranger.ssh, NOT_ROOTS).text == ""
    assert "bringing the guest's files" in done.output

    again = qualify(
        stranger.bench, tmp_path / "second", "--profile", "smoke", "-k", "(readiness or binding or guest or return) and not usb"
    )
    assert again.status == PASSED, again.output
    assert "bringing the guest's files" not in again.output
    assert state(stranger.ssh) == before


LAB = """
rm -f /etc/sudoers.d/lab
grep -q '^lab:' /etc/passwd && exit
echo 'lab:x:1000:1000::/home/lab:/bin/sh' >>/etc/passwd
echo 'lab:*:19000::::::' >>/etc/shadow
mkdir -p /home/lab && chown 1000:1000 /home/lab
chmod 644 /root/keys
"""
"""A user who may log in as root does, and can do nothing."""

SUDOERS = "/etc/sudoers.d/lab"


def lab_at(stranger: Stranger, folder: Path) -> Path:
    """Make the user on the host, and return a bench file with that login."""
    check(stranger.ssh, LAB)
    bench = folder / "lab.toml"
    text = stranger.bench.read_text(encoding="utf-8").replace('user = "root"', 'user = "lab"')
    bench.write_text(text.replace("held.toml.key", str(stranger.bench.with_name("held.toml.key"))), encoding="utf-8")
    return bench


def test_stranger_by_sudo(stranger: Stranger, tmp_path: Path) -> None:
    """A login that is not root is told which line of sudoers it lacks; with that line it qualifies the host as root does."""
    bench = lab_at(stranger, tmp_path)
    refused = qualify(bench, tmp_path / "refused", "--profile", "smoke", "-k", "readiness")
    (line,) = re.findall(r'"(lab ALL=.*NOPASSWD: ALL)"', refused.output)[:1]
    check(stranger.ssh, f"echo '{line}' >{SUDOERS}")
    before = state(stranger.ssh)
    chosen = ("--profile", "smoke", "--cycles", "1", "-k", "readiness or binding or guest or return")
    done = qualify(bench, tmp_path / "runs", *chosen)
    after = state(stranger.ssh)

    assert refused.status != PASSED
    assert refused.check("readiness/host-answers").outcome is Outcome.ERROR
    assert done.status == PASSED, done.output
    assert {each.stage for each in done.record.checks} >= {"readiness", "binding", "guest", "return"}
    assert {line for line in after ^ before if "/run/sudo" not in line} == set()


def test_stranger_by_sudo_is_put_back(stranger: Stranger, tmp_path: Path) -> None:
    """A run by sudo that is killed while the guest has the controller leaves nothing lent after a restore by the same login."""
    bench = lab_at(stranger, tmp_path)
    check(stranger.ssh, f"echo 'lab ALL=(root) NOPASSWD: ALL' >{SUDOERS}")
    before = state(stranger.ssh)
    with started(bench, tmp_path / "runs", "--profile", "smoke", "--cycles", "1") as run:
        wait_for_line(run, "PASS           The guest answers")
        lent = check(stranger.ssh, NOT_ROOTS).text
        run.kill()
        run.communicate()
    done = subprocess.run(
        [THROUGHPASS, "restore", bench, "--wait", "60"], capture_output=True, text=True, check=False, timeout=200
    )

    assert "/dev/vfio/" in lent
    assert done.returncode == 0, done.stdout + done.stderr
    assert check(stranger.ssh, NOT_ROOTS).text == ""
    assert {line for line in state(stranger.ssh) ^ before if "/run/sudo" not in line} == set()


def test_stranger_holds_what_was_promised(stranger: Stranger) -> None:
    """What stays on the host is one folder for root alone, of at most 150 MB, and its files are the runner's."""
    image = require_image(GUEST_IMAGE)
    folder = deliver(stranger.ssh, image, WORKDIR, silent)
    listing = check(stranger.ssh, f"cd {WORKDIR} && find . -printf '%P %m %u %s\\n' | sort").text.splitlines()
    name = folder.rpartition("/")[2]
    sizes = [int(line.rpartition(" ")[2]) for line in listing if line.count("/")]

    assert [line.rpartition(" ")[0] for line in listing] == [
        " 700 root",
        f"{name} 700 root",
        f"{name}/guest.qcow2 644 root",
        f"{name}/initrd 644 root",
        f"{name}/vmlinux 644 root",
    ]
    assert 0 < sum(sizes) <= LIMIT_BYTES


def test_stranger_without_room(stranger: Stranger, tmp_path: Path) -> None:
    """A host whose disk is too small for the guest's files is told so in stage 1, and the guest is blocked by that."""
    check(stranger.ssh, "mkdir -p /mnt/small && mount -t tmpfs -o size=20M,mode=0755 none /mnt/small")
    bench = tmp_path / "small.toml"
    text = stranger.bench.read_text(encoding="utf-8").replace(WORKDIR, "/mnt/small/deep/work")
    bench.write_text(text.replace("held.toml.key", str(stranger.bench.with_name("held.toml.key"))), encoding="utf-8")
    done = qualify(bench, tmp_path / "runs", "--profile", "smoke")
    can_run = done.check("readiness/guest-can-run")

    assert can_run.outcome is Outcome.NOT_MEASURABLE
    assert "MB under /mnt/small/deep/work on the host, 20 MB are free" in can_run.reason
    assert "host.workdir" in can_run.remedy
    assert {each.outcome for each in done.record.checks if each.stage == "guest"} == {Outcome.BLOCKED}
    assert "blocked by readiness (guest-can-run): the guest's files need" in done.check("guest/guest-boots").reason
    assert done.check("return/driver-is-back").outcome is Outcome.PASS
    assert done.record.verdict.board is BoardVerdict.UNDECIDED
    assert Outcome.ERROR not in {each.outcome for each in done.record.checks}
    assert check(stranger.ssh, "find /mnt/small -mindepth 1").text == ""


def test_stranger_whose_disk_fills_up(stranger: Stranger) -> None:
    """Where the room goes while the files come, there is one sentence, and nothing half of them stays."""
    check(stranger.ssh, "mkdir -p /mnt/full && mount -t tmpfs -o size=20M,mode=0755 none /mnt/full")
    with pytest.raises(BenchError, match=r"could not be laid into /mnt/full/work .*is there room for \d+ MB") as caught:
        deliver(stranger.ssh, require_image(GUEST_IMAGE), "/mnt/full/work", silent)

    assert "No space left on device" in caught.value.evidence
    assert check(stranger.ssh, "find /mnt/full/work -mindepth 1").text == ""


def test_stranger_without_tools(stranger: Stranger, tmp_path: Path) -> None:
    """A host without QEMU, KVM, fio and a relay is told so in stage 1, with what to do; nothing later is an error of ours."""
    away = "/usr/bin/qemu-system-x86_64 /usr/bin/fio /usr/bin/perl /dev/kvm"
    check(stranger.ssh, f"for name in {away}; do mv $name $name.away; done")
    try:
        done = qualify(stranger.bench, tmp_path, "--profile", "smoke")
    finally:
        check(stranger.ssh, f"for name in {away}; do mv $name.away $name; done")
    checks = {each.id: each for each in done.record.checks}

    assert checks["readiness/host-has-the-tools"].outcome is Outcome.NOT_MEASURABLE
    assert "fio, perl or python3" in checks["readiness/host-has-the-tools"].reason
    assert checks["readiness/kvm-usable"].outcome is Outcome.CONDITION
    assert checks["readiness/qemu-installed"].outcome is Outcome.NOT_MEASURABLE
    can_run = checks["readiness/guest-can-run"]
    assert can_run.outcome is Outcome.NOT_MEASURABLE
    assert "there is no program qemu-system-x86_64 on the host" in can_run.reason
    assert "the host lacks perl or python3" in can_run.reason
    assert all(each.remedy for each in checks.values() if each.outcome is Outcome.NOT_MEASURABLE)
    assert {each.outcome for each in checks.values() if each.stage in {"guest", "usb", "throughput"}} == {Outcome.BLOCKED}
    assert {each.outcome for each in checks.values() if each.stage == "return"} == {Outcome.PASS}
    assert Outcome.ERROR not in {each.outcome for each in checks.values()}
    assert "Traceback" not in done.output
    assert done.record.verdict.board is BoardVerdict.UNDECIDED
