"""A bench that exists: this machine, or a host that is reached by SSH."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

from harness.bench.cache import Progress, locked
from harness.bench.config import BenchConfig, HostSection, StickSection
from harness.bench.delivery import LIMIT_BYTES, PACKED_ROOT, content_name, deliver, delivered_files
from harness.bench.host import Host
from harness.bench.images import find_image, require_image
from harness.bench.obstacles import Delivery, Obstacle, find_obstacles
from harness.bench.operator import Operator
from harness.core.deadline import Deadline
from harness.core.errors import BenchError, UsageError
from harness.machine.guest import GuestFiles
from harness.transport.local import LocalTransport
from harness.transport.protocol import Transport, check, succeeds
from harness.transport.route import open_target
from harness.transport.ssh import AS_ROOT, SshTransport
from harness.transport.sshconfig import resolve

GUEST_IMAGE = "debian13"
"""What guests boot on every host: the runner's, never taken from the host's own file system."""


class RealBench:
    """A host that is there already. Nothing of it is started, and nothing but a folder of guest files stays on it.

    Its sticks are plugged by the ``operator``, if there is one.
    """

    def __init__(self, config: BenchConfig, operator: Operator | None = None) -> None:
        self.config = config
        self.operator = operator
        self.host = config.host or HostSection(address="localhost")

    @property
    def can_plug(self) -> bool:
        """Return whether somebody is there: a real stick needs a hand."""
        return self.operator is not None

    @property
    def can_plug_any(self) -> bool:
        """Return the same: the operator has whatever sticks there are."""
        return self.can_plug

    @contextmanager
    def open(self, logs: Path, deadline: Deadline, progress: Progress) -> Iterator[Host]:  # noqa: ARG002 (nothing boots here)
        """Reach the host and hold the connection; one run at a time uses a bench of that name."""
        busy = f"another run holds the bench {self.config.name}"
        with ExitStack() as stack:
            stack.enter_context(locked(f"bench-{self.config.name}", wait=True, busy=busy, progress=progress))
            deadline = Deadline.after(deadline.length_s, deadline.purpose)  # waiting for another run is not the host's fault
            transport = stack.enter_context(reached(self.config, deadline, progress))
            guest_files, workdir = partial(files_in_place, progress), None
            if isinstance(transport, SshTransport):
                workdir = self.host.workdir
                guest_files = partial(brought_files, transport, workdir, progress)
            yield Host(
                transport,
                self.host.qemu,
                emulated=is_emulated(transport),
                guest_files=guest_files,
                find_obstacles=partial(find_host_obstacles, transport, self.host.qemu, workdir),
            )

    def find_stick(self) -> StickSection | None:
        """Return None: what is plugged in, and what it holds, is not known."""
        return None

    def plug(self, stick: StickSection) -> None:
        """Have the stick plugged in by the operator; raise BenchError without one."""
        self._hand().plug(stick.serial, stick.on)

    def unplug(self, stick: StickSection) -> None:
        """Have the stick pulled out by the operator; raise BenchError without one."""
        self._hand().unplug(stick.serial, stick.on)

    def _hand(self) -> Operator:
        if self.operator is None:
            raise BenchError(f"the sticks of {self.config.name} are plugged by hand, and nobody is there: give --operator")
        return self.operator


@contextmanager
def reached(config: BenchConfig, deadline: Deadline, progress: Progress) -> Iterator[Transport]:
    """Hold the way to a bench's host, as root or by ``sudo -n``; raise UsageError if commands there run as somebody else."""
    with ExitStack() as stack:
        transport: Transport = LocalTransport()
        if config.kind != "local" and config.host is not None:
            transport = as_root(stack.enter_context(connection_to(config.host, deadline, progress)))
        require_root(transport)
        yield transport


def as_root(transport: SshTransport) -> SshTransport:
    """Return a transport whose commands run as root: by sudo, where the login is another user who may."""
    if check(transport, "id -u").text == "0":
        return transport
    return transport.as_root() if succeeds(transport, f"{AS_ROOT}true") else transport


def connection_to(host: HostSection, deadline: Deadline, progress: Progress) -> AbstractContextManager[SshTransport]:
    """Return the SSH connection to a bench file's host: what the file says wins over ssh's configuration."""
    identity = Path(host.identity) if host.identity else None
    target = resolve(host.address, user=host.user, port=host.port, identity=identity, host_key=host.host_key)
    progress(f"connecting to {target.user}@{target.address}, port {target.port}")
    return open_target(target, deadline)


def require_root(transport: Transport) -> None:
    """Raise UsageError unless commands run as root: drivers are bound and nodes are lent by root alone."""
    user = check(transport, "id -u; id -un").text.split()
    if user[0] == "0":
        return
    if isinstance(transport, SshTransport):
        raise UsageError(
            f"{transport.name} is not root, which binding a driver needs, and `sudo -n` does not make it root: put "
            f'"{user[-1]} ALL=(root) NOPASSWD: ALL" into a file of /etc/sudoers.d there, or give user = "root" in [host]'
        )
    raise UsageError("commands on this machine do not run as root, which binding a driver needs: start throughpass by sudo")


def is_emulated(transport: Transport) -> bool:
    """Return whether the host is itself a virtual machine: its figures are not hardware figures."""
    return succeeds(transport, "grep -qw hypervisor /proc/cpuinfo")


def files_in_place(progress: Progress) -> GuestFiles:
    """Return the guest's files where the runner keeps them."""
    image = require_image(GUEST_IMAGE, progress)
    return GuestFiles(str(image.kernel), str(image.initrd), str(image.root), root_is_device=False)


def brought_files(transport: SshTransport, workdir: str, progress: Progress) -> GuestFiles:
    """Return the guest's files on the host, brought there if they are not yet."""
    folder = deliver(transport, require_image(GUEST_IMAGE, progress), workdir, progress)
    return GuestFiles(f"{folder}/vmlinux", f"{folder}/initrd", f"{folder}/{PACKED_ROOT}", root_is_device=False, root_form="qcow2")


def find_host_obstacles(transport: Transport, qemu: str, workdir: str | None) -> tuple[Obstacle, ...]:
    """Return what is in the way of a guest; without a work folder its files need no bringing.

    Which files it will be is known where the image has been packed; before that they are counted as large as they may be.
    """
    if workdir is None:
        return find_obstacles(transport, qemu)
    image = find_image(GUEST_IMAGE)
    if image is None or not (image.folder / PACKED_ROOT).is_file():
        return find_obstacles(transport, qemu, Delivery(workdir, LIMIT_BYTES))
    files = delivered_files(image)
    size_bytes = sum(file.path.stat().st_size for file in files)
    return find_obstacles(transport, qemu, Delivery(workdir, size_bytes, f"{image.name}-{content_name(files)}"))
