"""What a guest's QEMU may do on the host: it is started by root, and is not root.

It runs as a user of its own, without a capability and unable to get one, behind QEMU's system call filter, with so much memory to
lock as VFIO pins. Files it gets as descriptors, so that nobody's folder has to be opened to it; nodes are lent to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from harness.actions.lending import LEND

SPARE_MIB = 1024
"""Locked memory beside the guest's own, for what VFIO maps of devices; libvirt gives as much (qemuDomainGetMemLockLimitBytes)."""

KERNEL, INITRD, ROOT = "/proc/self/fd/3", "/proc/self/fd/4", "/dev/fdset/1"
"""What the command line of a confined QEMU calls its files; see ``descriptor_args``."""

SANDBOX = ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")

# A shell's descriptors have one digit (POSIX asks for no more): three files are descriptors, the secrets lie in the run's folder.
# What is read by its name needs a file that everybody may read, or a copy: a file that is opened again is asked again.
_LAUNCH = """
user=$1 memory=$2 folder=$3 nodes=$4 kernel=$5 initrd=$6 root=$7 own_nodes=$8
shift 8
fail() {
    echo "throughpass: $1" >&2
    exit 1
}
for tool in prlimit setpriv; do command -v "$tool" >/dev/null || fail "$tool (of util-linux) is missing"; done
! grep -qs "^Uid:.*[[:space:]]$user[[:space:]]" /proc/[0-9]*/status || fail "user $user has a process of its own: start again"
readable() {
    case $(stat -L -c %a "$1") in *[4567]) echo "$1" ;; *) cp "$1" "$folder/$2" && echo "$folder/$2" ;; esac
}
kernel=$(readable "$kernel" kernel) && initrd=$(readable "$initrd" initrd) && chown -R "$user:$user" "$folder" || exit
group=--clear-groups shared=
for node in $nodes; do
    case $(stat -L -c '%g %a' "$node") in
    "0 "* | *[67]) ;;
    *" "*[67]?) [ "$node" != /dev/kvm ] || { group="--groups=$(stat -L -c %g "$node")"; continue; } ;;
    esac
    case $node in */kvm | */vfio) ! lent_to_another "$node" || { shared="$shared $node"; continue; } ;; esac
    lend "$node" || exit
done
exec 3<"$kernel" 4<"$initrd" 5<"$root" || exit
program=$1
shift
said=$("$program" -sandbox on --version 2>&1 >/dev/null)
case $?/$said in
0/*) set -- SANDBOX "$@" ;;
*"-sandbox support is not enabled"*) # QEMU 2.12 and later, without libseccomp
    echo "throughpass: this QEMU was built without a filter of system calls (-sandbox)" >&2 ;;
*) fail "$program cannot be started with a filter of system calls (-sandbox): $(echo ${said:-it does not say why})" ;;
esac
prlimit --pid $$ --memlock="$memory:$memory" ||
    fail "$((memory >> 20)) MiB cannot be locked, a guest's memory and more: raise root's limit here (ulimit -Hl)"
set -- setpriv --reuid="$user" --regid="$user" "$group" --no-new-privs \\
    --inh-caps=-all --ambient-caps=-all --bounding-set=-all "$program" "$@"
[ -n "$shared" ] || exec "$@"
for tool in unshare mount; do command -v "$tool" >/dev/null || fail "$tool is missing, and another guest has$shared"; done
exec unshare --mount sh -c "$own_nodes" throughpass "$user" "$folder/nodes" "$shared" "$@"
""".replace("SANDBOX", " ".join(SANDBOX))

# A node has one owner. Whoever comes second sees one of its own in the place of what another run's guest was lent: in a mount
# namespace that ends with QEMU, so that nothing of the host's changes, and nothing has to be taken back.
_OWN_NODES = """
user=$1 place=$2 nodes=$3
shift 3
own() {
    copy=$place/${1##*/}
    mknod -m 0600 "$copy" c "$((0x$(stat -L -c %t "$1")))" "$((0x$(stat -L -c %T "$1")))" && chown "$user" "$copy" &&
        mount -n --bind "$copy" "$1"
}
fail() {
    echo "throughpass: another run's guest has$nodes, which root alone may open, and no second node can be mounted here" >&2
    exit 1
}
{ mkdir "$place" && mount -n -t tmpfs -o mode=0711,nosuid,noexec throughpass "$place"; } 2>/dev/null || fail
for node in $nodes; do
    own "$node" 2>/dev/null || fail
done
exec "$@"
"""


@dataclass(frozen=True)
class Privileges:
    """What a confined QEMU is given: files by descriptor, nodes that are lent to it, and memory that it may lock."""

    kernel: str
    initrd: str
    root: str
    nodes: tuple[str, ...]
    locked_mib: int

    def sentence(self, user: int) -> str:
        """Return what is given, for people."""
        files = f"kernel {self.kernel}, initrd {self.initrd}, disk {self.root} as descriptors 3 to 5"
        return f"user {user}, no capability; {files}; nodes {', '.join(self.nodes)}; {self.locked_mib} MiB of locked memory"


def descriptor_args() -> list[str]:
    """The root disk, opened by root: QEMU calls it ROOT."""
    return ["-add-fd", "fd=5,set=1"]


def confined_argv(privileges: Privileges, user: int, folder: PurePosixPath, argv: list[str]) -> list[str]:
    """Return the command by which root starts a QEMU as a user of its own; ``folder`` becomes that user's."""
    given = [str(user), str(privileges.locked_mib << 20), str(folder), " ".join(privileges.nodes)]
    files = [privileges.kernel, privileges.initrd, privileges.root]
    return ["sh", "-c", LEND + _LAUNCH, "throughpass", *given, *files, _OWN_NODES, *argv]
