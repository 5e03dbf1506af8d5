"""The virtual bench: QEMU plays the motherboard, as the bench file describes it."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from harness.bench.accelerator import choose_accelerator, qemu_version
from harness.bench.cache import SCRATCH, Progress, cache_folder, full_disk_explained, locked, require_space, write_whole
from harness.bench.config import BenchConfig, BoardSection, DeviceSection, StickSection
from harness.bench.host import Host
from harness.bench.images import Image, program_path, require_image
from harness.bench.obstacles import find_obstacles
from harness.bench.snapshots import Ingredients, Place, free_place
from harness.bench.upkeep import keep_within_limit, limit_bytes
from harness.core.deadline import Deadline
from harness.core.errors import BenchError, BoardError, UsageError
from harness.core.marker import Marker, encode_marker
from harness.core.pattern import pattern, pattern_sha256
from harness.machine.guest import GuestFiles
from harness.machine.running import Machine, start_machine
from harness.machine.spec import ROOT_NODE, Accelerator, Drive, Endpoints, MachineSpec, qemu_argv
from harness.transport.local import LocalTransport
from harness.transport.protocol import check

QEMU = "qemu-system-x86_64"
RESTORE_LIMIT_S = 60.0
"""Several times what a restore was seen to need on a busy machine: after it the board boots."""

UNPLUG_LIMIT_S = 30.0

STATE, STATE_LABEL = "state disk", "tp-state"
"""Its name among the files, which no stick can have, and the label by which the board's init finds it."""

_SECTOR_BYTES = 512
_USB3_PORTS = 4  # QEMU's xHCI has p2 = p3 = 4 unless the card's options say otherwise


class VirtualBench:
    """A board of our own making. ``machine`` is there while it is open."""

    def __init__(self, config: BenchConfig, *, cold: bool = False) -> None:
        assert config.board is not None
        self.config = config
        self.cold = cold
        self.board = config.board
        self._machine: Machine | None = None

    @property
    def can_plug(self) -> bool:
        """Return True: QMP is the hand."""
        return True

    @property
    def can_plug_any(self) -> bool:
        """Return False: there are no sticks but those of the bench file."""
        return False

    @property
    def machine(self) -> Machine:
        """Return the running board; raise BenchError when it is not open."""
        if self._machine is None:
            raise BenchError(f"the board {self.config.name} is not running")
        return self._machine

    @contextmanager
    def open(self, logs: Path, deadline: Deadline, progress: Progress) -> Iterator[Host]:
        """Boot the board, or restore it, and hold it; one board of a name runs at a time."""
        if shutil.which(QEMU) is None:
            raise UsageError(f"{QEMU} is not installed, and the virtual bench is made of it: run make setup")
        busy = f"another run holds the bench {self.config.name}"
        limit_bytes()  # one that cannot be read is said now, not after minutes
        with ExitStack() as stack:
            stack.enter_context(locked(f"bench-{self.config.name}", wait=True, busy=busy, progress=progress))
            image = require_image(self.board.image, progress)
            accelerator = choose_accelerator(image, progress)
            sticks = stack.enter_context(ExitStack())
            scratch = Path(sticks.enter_context(tempfile.TemporaryDirectory(prefix=f"throughpass-sticks-{self.config.name}-")))
            files = {stick.id: stick_file(stick, scratch) for stick in self.board.stick if not is_root(self.board, stick)}
            if self.board.state_mib:
                files[STATE] = state_file(self.board.state_mib, scratch)
            keep_within_limit({image.folder})
            spec = board_spec(self.config.name, self.board, image, files, accelerator)
            deadline = Deadline.after(deadline.length_s, deadline.purpose)  # neither a lock nor an image is the board's fault
            place = None
            if (self.board.qemu_args or self.board.state_mib) and not self.cold:
                why = (
                    "its qemu_args may name what changes" if self.board.qemu_args else "it would remember another state_mib disk"
                )
                progress(f"no snapshot of {self.config.name}, it boots each time: {why}")
            elif not self.cold:
                key = snapshot_key(self.board, image, accelerator)
                place = stack.enter_context(free_place(key, self.config.name, {image.folder}, progress))
            self._machine = stack.enter_context(started_board(spec, place, logs, deadline, progress))
            sticks.close()  # QEMU has them open, and whoever is killed from here on leaves nothing
            stack.callback(setattr, self, "_machine", None)
            yield self._host(accelerator)

    def find_stick(self) -> StickSection | None:
        """Return the stick that the bench file's [storage] names, or the only one."""
        wanted = self.config.storage.serial
        found = [stick for stick in self.board.stick if not is_root(self.board, stick) and wanted in {"", stick.serial}]
        return found[0] if found else None

    def loose_sticks(self) -> list[StickSection]:
        """Return the sticks that are not plugged in when the board starts."""
        return [stick for stick in self.board.stick if not stick.plugged and not is_root(self.board, stick)]

    def plug(self, stick: StickSection) -> None:
        """Plug a stick into its card."""
        for device in stick_devices(self.board, stick):
            self.machine.qmp.execute("device_add", device)
        if stick.protocol == "uas":
            self.machine.qmp.execute(
                "qom-set", {"path": f"/machine/peripheral/{stick.id}", "property": "attached", "value": True}
            )

    def unplug(self, stick: StickSection) -> None:
        """Pull a stick out; returns when QEMU has let go of its content, so that it can be plugged in again."""
        limit = Deadline.after(UNPLUG_LIMIT_S, f"pulling the stick {stick.id} out of {self.config.name}")
        self.machine.qmp.clear_events()
        self.machine.qmp.execute("device_del", {"id": stick.id})
        self.machine.qmp.wait_for_event("DEVICE_DELETED", limit, device=stick.id)

    def let_reboot(self) -> None:
        """Let the board reboot from now on, as a real one does, after a panic too; until then a reset ends it."""
        self.machine.qmp.execute("set-action", {"reboot": "reset"})  # QEMU 6.0

    def _host(self, accelerator: Accelerator) -> Host:
        return Host(
            transport=self.machine.ssh,
            qemu=QEMU,
            emulated=True,
            guest_files=self._guest_files,
            find_obstacles=partial(find_obstacles, self.machine.ssh),
            bench_qemu=qemu_version().partition("\n")[0],
            bench_accelerator=accelerator,
        )

    def _guest_files(self) -> GuestFiles:
        """One image serves both levels: the guest boots from the board's own read-only disk."""
        root = check(self.machine.ssh, "busybox findfs LABEL=throughpass").text
        folder = "/usr/lib/throughpass"
        return GuestFiles(f"{folder}/vmlinux", f"{folder}/initrd", root, root_is_device=True)


def is_root(board: BoardSection, stick: StickSection) -> bool:
    """Return whether a stick is the root disk."""
    return board.root == f"usb:{stick.id}"


def snapshot_key(board: BoardSection, image: Image, accelerator: Accelerator) -> str:
    """Return what the snapshot of a board is found by: its command line too, with names in place of what only one run has."""
    files = {stick.id: Path(f"stick-{stick.id}") for stick in board.stick if not is_root(board, stick)}
    spec = board_spec("board", board, Image(image.name, Path("image")), files, accelerator)
    argv = qemu_argv(spec, Endpoints(PurePosixPath("run")))
    return Ingredients(board, image.content, Path(shutil.which(QEMU) or QEMU), argv).key()


@contextmanager
def started_board(
    spec: MachineSpec, place: Place | None, logs: Path, deadline: Deadline, progress: Progress
) -> Iterator[Machine]:
    """Start a board: from its snapshot if that is good, else by a boot, after which a snapshot is kept."""
    with ExitStack() as stack:
        machine = None
        if place is not None and (state := place.find()):
            progress(f"restoring the board {spec.name} from its snapshot ({spec.accelerator})")
            limit = deadline.within(RESTORE_LIMIT_S, f"restoring {spec.name}")
            try:
                machine = stack.enter_context(start_machine(spec, LocalTransport(), logs, limit, state=state))
            except (BenchError, BoardError, OSError) as error:
                deadline = Deadline.after(deadline.length_s, deadline.purpose)  # the boot shall not pay for it
                place.discard(f"it could not be restored ({error})")
        if machine is None:
            progress(f"booting the board {spec.name} ({spec.accelerator})")
            save = place.save if place is not None else None
            machine = stack.enter_context(start_machine(spec, LocalTransport(), logs, deadline, when_booted=save))
        yield machine


def board_spec(name: str, board: BoardSection, image: Image, files: Mapping[str, Path], accelerator: Accelerator) -> MachineSpec:
    """Return the machine that a bench file describes; ``files`` holds each stick's content by its id."""
    return MachineSpec(
        name=name,
        role="board",
        kernel=str(image.kernel),
        initrd=str(image.initrd),
        drives=tuple(board_drives(board, image, files)),
        qemu=QEMU,
        accelerator=accelerator,
        cpu=board.cpu,
        vcpus=board.vcpus,
        memory_mib=board.memory_mib,
        machine="q35,kernel-irqchip=split" if board.iommu == "intel" else "q35",
        kernel_args=board.kernel_args,
        root="usb" if board.root.startswith("usb:") else "virtio",
        devices=tuple(board_devices(board)),
        extra_args=board.qemu_args,
    )


def board_drives(board: BoardSection, image: Image, files: Mapping[str, Path]) -> Iterator[Drive]:
    """Yield the root disk and one node for each stick."""
    yield Drive(ROOT_NODE, str(image.root))
    for stick in board.stick:
        if stick.id in files:
            bps, burst = (int(mib_s * (1 << 20)) for mib_s in (stick.throttle_mib_s, stick.burst_mib_s))
            file = str(files[stick.id])
            yield Drive(f"stick-{stick.id}", file, read_only=False, bps=bps, burst_bps=burst, burst_s=stick.burst_s)
    if STATE in files:
        yield Drive(STATE_LABEL, str(files[STATE]), read_only=False)


def board_devices(board: BoardSection) -> Iterator[Mapping[str, Any]]:
    """Yield every device in an order that QEMU takes: the IOMMU first, each bus before what sits on it."""
    yield from iommu_devices(board)
    if board.state_mib:
        yield {"driver": "virtio-blk-pci", "drive": STATE_LABEL}
    buses: set[str] = set()
    for number, device in enumerate(board.device, start=1):
        yield from placed_device(msgspec.structs.replace(device, options=card_options(board, device)), number, buses)
    for stick in board.stick:
        if stick.plugged or is_root(board, stick):
            yield from stick_devices(board, stick)


def iommu_devices(board: BoardSection) -> Iterator[Mapping[str, Any]]:
    """Yield the board's IOMMU. Caching mode: without it VFIO on the board sees no mapping (lf-edge/eve#1204)."""
    intremap = "on" if board.interrupt_remapping else "off"
    if board.iommu == "intel":
        yield {"driver": "intel-iommu", "intremap": intremap, "caching-mode": True}
    elif board.iommu == "amd":
        yield {"driver": "amd-iommu", "intremap": intremap}


def placed_device(device: DeviceSection, number: int, buses: set[str]) -> Iterator[Mapping[str, Any]]:
    """Yield a device, and before it the port or bridge it sits on unless that is there."""
    bus = "pcie.0"
    if device.bus == "root-port":
        bus = f"port-{device.id}"
        yield {"driver": "pcie-root-port", "id": bus, "chassis": number, "slot": number}
    elif device.bus.startswith("bridge:"):
        bus = device.bus.removeprefix("bridge:")
        if bus not in buses:
            buses.add(bus)
            yield {"driver": "pcie-root-port", "id": f"port-{bus}", "chassis": 100 + number, "slot": 100 + number}
            yield {"driver": "pcie-pci-bridge", "id": bus, "bus": f"port-{bus}"}
    yield {"driver": device.driver, "id": device.id, "bus": bus, **device.options}


def card_options(board: BoardSection, device: DeviceSection) -> dict[str, str | int | bool]:
    """Return a device's options, with as many USB 2 ports beyond the USB 3 ones as there are sticks that want one."""
    slow = sum(1 for stick in board.stick if stick.on == device.id and stick.usb == 2)  # noqa: PLR2004 (USB 2)
    if not slow or "p2" in device.options:
        return device.options
    return {**device.options, "p2": int(device.options.get("p3", _USB3_PORTS)) + slow}


def stick_devices(board: BoardSection, stick: StickSection) -> Iterator[dict[str, Any]]:
    """Yield a stick's devices: one for bulk-only transport, two for UAS (attached by hand once its disk is there)."""
    node = ROOT_NODE if is_root(board, stick) else f"stick-{stick.id}"
    place = {"bus": f"{stick.on}.0", "port": str(usb_port(board, stick))}
    if stick.protocol == "bot":
        yield {"driver": "usb-storage", "id": stick.id, "drive": node, "serial": stick.serial, **place}
        return
    yield {"driver": "usb-uas", "id": stick.id, "serial": stick.serial, **place}
    yield {"driver": "scsi-hd", "id": f"{stick.id}-disk", "bus": f"{stick.id}.0", "drive": node, "serial": stick.serial[:36]}


def usb_port(board: BoardSection, stick: StickSection) -> int:
    """Return the port for a stick: SuperSpeed ones from 1 up; ports above the card's p3 are USB 2 alone."""
    options = next(device.options for device in board.device if device.id == stick.on)
    siblings = [other for other in board.stick if other.on == stick.on and other.usb == stick.usb]
    first = 1 if stick.usb == 3 else int(options.get("p3", _USB3_PORTS)) + 1  # noqa: PLR2004 (USB 3)
    return first + siblings.index(stick)


def state_file(size_mib: int, scratch: Path) -> Path:
    """Return a new disk of the run's own with an empty file system, whose journal brings it over a reset."""
    path = scratch / "state"
    require_space(scratch, size_mib, "the board's state_mib disk", SCRATCH)
    with full_disk_explained(scratch, SCRATCH):
        path.touch()
        os.truncate(path, size_mib << 20)
        check(LocalTransport(), f"PATH={program_path()} mke2fs -q -t ext4 -L {STATE_LABEL} {shlex.quote(str(path))}")
    return path


def stick_file(stick: StickSection, scratch: Path) -> Path:
    """Return a file of the run's own with the stick's known content; the content is kept in the cache."""
    folder = cache_folder() / "sticks"
    kept = folder / f"{hashlib.sha256(stick.serial.encode()).hexdigest()}-{stick.size_mib}"
    with full_disk_explained(folder):
        folder.mkdir(exist_ok=True)
        if kept.is_file():
            kept.touch()  # the order in which the cache is emptied
        else:
            require_space(folder, 2 * stick.size_mib, f"the stick {stick.id}")
            write_whole(kept, pattern(stick.serial, stick.size_mib))
    mine = scratch / stick.id
    require_space(scratch, stick.size_mib, f"the stick {stick.id} of this run", SCRATCH)
    with full_disk_explained(scratch, SCRATCH):
        shutil.copyfile(kept, mine)
        with mine.open("r+b") as file:
            file.write(marker_of(stick))
    return mine


def marker_of(stick: StickSection) -> bytes:
    """Return the scratch marker that a stick begins with, nothing for one that is not marked."""
    if not stick.scratch:
        return b""
    return encode_marker(Marker(stick.serial, stick.size_mib << 20, _SECTOR_BYTES, made="1970-01-01", by="the bench file"))


def stick_sha256(stick: StickSection, size_mib: int) -> str:
    """Return the SHA-256 of a stick's first ``size_mib`` MiB as its file is made."""
    return pattern_sha256(stick.serial, size_mib, start=marker_of(stick))
