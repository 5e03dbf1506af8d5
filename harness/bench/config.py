"""The bench file: which host is qualified, and what on it. One kind of TOML, unknown keys forbidden."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from harness.core.errors import UsageError
from harness.core.pci import PciAddress, PciId
from harness.measure.design import PRIMARY_CELL

BOARDS = Path(__file__).resolve().parents[2] / "fixtures" / "boards"
"""Where the shipped bench files lie."""

SCHEMA = 1

BOOT_LIMIT_S = 300.0
"""How long a board may take to come up for a command; a qualification gives its stages limits of their own."""

PORT_KEYS = {"p2", "p3"}
"""Options of QEMU's xHCI cards: how many ports of USB 2 and USB 3 they have."""

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Identifier = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]{0,30}$")]
Positive = Annotated[int, msgspec.Meta(ge=1)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the bench file: immutable, and a key that it does not know is an error."""


class DeviceSection(Section, frozen=True):
    """A PCI device of a virtual board: a QEMU device model and where it sits."""

    id: Identifier
    driver: str
    bus: Annotated[str, msgspec.Meta(pattern=r"^(root-port|pcie\.0|bridge:[a-z][a-z0-9_-]*)$")] = "root-port"
    options: dict[str, str | int | bool] = {}


class StickSection(Section, frozen=True):
    """A USB stick of a virtual board."""

    id: Identifier
    on: Identifier
    usb: Literal[2, 3] = 3
    protocol: Literal["bot", "uas"] = "bot"
    size_mib: Annotated[int, msgspec.Meta(ge=64, le=65536)] = 256
    serial: Annotated[str, msgspec.Meta(min_length=1, max_length=126)] = "TP0001"
    throttle_mib_s: Annotated[float, msgspec.Meta(ge=0)] = 0
    burst_mib_s: Annotated[float, msgspec.Meta(ge=0)] = 0  # how fast it is until burst_mib_s * burst_s MiB are through
    burst_s: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 1
    plugged: bool = False
    scratch: bool = False  # marked as scratch: its content may be written over


class BoardSection(Section, frozen=True):
    """The motherboard of a virtual bench."""

    image: Literal["debian13", "debian12"] = "debian13"
    iommu: Literal["intel", "amd", "none"] = "intel"
    interrupt_remapping: bool = True
    cpu: str = "max"
    vcpus: Positive = 1
    memory_mib: Annotated[int, msgspec.Meta(ge=1024, le=65536)] = 1536
    kernel_args: tuple[str, ...] = ()
    root: Annotated[str, msgspec.Meta(pattern=r"^(virtio|usb:[a-z][a-z0-9_-]*)$")] = "virtio"
    qemu_args: tuple[str, ...] = ()
    state_mib: Annotated[int, msgspec.Meta(ge=0, le=1024)] = 0  # a disk at /var/lib/throughpass that outlives the board's reboots
    device: tuple[DeviceSection, ...] = ()
    stick: tuple[StickSection, ...] = ()


class HostSection(Section, frozen=True):
    """A host that exists: where it is reached by SSH, and how its identity is known."""

    address: str  # or a name of ~/.ssh/config; what stands here wins over what that says
    user: str = "root"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None  # that of ~/.ssh/config, else 22
    identity: str = ""  # private key file; relative to the bench file; empty: those of ~/.ssh/config and the agent
    host_key: str = ""  # "ssh-ed25519 AAAA..."; empty: ~/.ssh/known_hosts must hold it
    qemu: str = "qemu-system-x86_64"
    workdir: str = "/var/tmp/throughpass"  # noqa: S108 (made with mode 0700, owner checked)


class ControllerSection(Section, frozen=True):
    """The controller to pass to the guest: as little as names it beyond doubt.

    ``siblings`` are the other functions of its IOMMU group that may be bound with it.
    """

    id: str = ""
    address: str = ""
    subsystem: str = ""
    path: str = ""  # where it is plugged in: below /sys/devices, "pci0000:00/0000:00:1c.0/0000:05:00.0"
    siblings: tuple[str, ...] = ()  # addresses or ids
    driver: Literal["vfio-pci", "pci-stub"] = "vfio-pci"


class AllowSection(Section, frozen=True):
    """What a person permits by name. What the host lives by has no key here: no disk in use, not the way of the session."""

    keyboards: tuple[str, ...] = ()  # ports ("1-1") or ids ("045e:0746"): the last keyboard of a host that is worked at
    interfaces: tuple[str, ...] = ()  # names: the only default route, where the session goes another way


class StorageSection(Section, frozen=True):
    """The stick that data flows from. It is only read unless ``write`` is true, its serial given, and it is marked as scratch."""

    serial: str = ""
    write: bool = False
    window_mib: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 32


class ArmSection(Section, frozen=True):
    """A way to a stick, under a name: the same way twice shows the noise, two sticks the same way compare the sticks."""

    name: Identifier
    kind: Literal["native", "pci", "usb-host", "virtio-blk"]
    stick: str = ""  # its serial, or a virtual board's id of it; empty: that of [storage]


CellName = Literal[
    "SEQ1M Q8T1 read",
    "SEQ1M Q1T1 read",
    "RND4K Q32T1 read",
    "RND4K Q1T1 read",
    "SEQ1M Q8T1 write",
    "SEQ1M Q1T1 write",
    "RND4K Q32T1 write",
    "RND4K Q1T1 write",
]
"""The cells of CrystalDiskMark's grid."""


class ThroughputSection(Section, frozen=True):
    """What is measured unless the command line says otherwise; ``cells`` and ``arm`` take the place of the profile's."""

    profile: Literal["smoke", "quick", "standard"] | None = None
    cells: tuple[CellName, ...] = ()
    allow_unlike: tuple[Literal["driver", "speed"], ...] = ()  # arms that differ in it are compared nevertheless
    arm: tuple[ArmSection, ...] = ()


class BenchConfig(Section, frozen=True):
    """A whole bench file."""

    schema: Literal[1]
    name: Name
    kind: Literal["virtual", "local", "ssh"]
    controller: ControllerSection
    board: BoardSection | None = None
    host: HostSection | None = None
    allow: AllowSection = AllowSection()
    storage: StorageSection = StorageSection()
    throughput: ThroughputSection = ThroughputSection()


def find_bench_file(name_or_path: str) -> Path:
    """Return the path of a shipped bench, or of a user's file; raise UsageError with what there is."""
    shipped = BOARDS / f"{name_or_path}.toml"
    if re.fullmatch(r"[\w.-]+", name_or_path) and shipped.is_file():
        return shipped
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.suffix == ".toml" or "/" in name_or_path:
        raise UsageError(f"there is no bench file {name_or_path}: give the path of a TOML file, or one of {_shipped_names()}")
    raise UsageError(f"no bench is called {name_or_path!r}: shipped are {_shipped_names()}; or give the path of a TOML file")


def load_bench(name_or_path: str) -> BenchConfig:
    """Read and check a bench file; raise UsageError that names the key, the value and what is allowed."""
    path = find_bench_file(name_or_path)
    try:
        return _with_identity_beside(parse_bench(path.read_text(encoding="utf-8"), str(path)), path)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the bench file {path} cannot be read: {error}") from error


def parse_bench(text: str, name: str) -> BenchConfig:
    """Turn the text of a bench file into its values; ``name`` is for messages."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name} is not valid TOML: {error}") from error
    try:
        config = msgspec.convert(document, BenchConfig)
    except msgspec.ValidationError as error:
        raise UsageError(f"{name}: {_explain(str(error), document)}") from error
    _check_consistency(config, name)
    return config


def _with_identity_beside(config: BenchConfig, path: Path) -> BenchConfig:
    """Return the configuration with host.identity as a whole path: it is relative to the bench file."""
    if config.host is None or not config.host.identity:
        return config
    identity = path.parent.resolve() / Path(config.host.identity).expanduser()
    return msgspec.structs.replace(config, host=msgspec.structs.replace(config.host, identity=str(identity)))


def shipped_benches() -> list[Path]:
    """Return the paths of the shipped bench files, sorted by name."""
    return sorted(BOARDS.glob("*.toml"))


def _shipped_names() -> str:
    return ", ".join(path.stem for path in shipped_benches())


def _explain(message: str, document: dict[str, Any]) -> str:
    """Add to msgspec's message the value that was found, and the nearest key to an unknown one."""
    path = re.search(r"at `(?:key in )?\$\.?([^`]*)`", message)
    where = path[1] if path else ""
    if unknown := re.search(r"unknown field `([^`]+)`", message):
        key = f"{where}.{unknown[1]}".strip(".")
        return f"unknown key {key!r}{_nearest(unknown[1], where)}"
    if missing := re.search(r"missing required field `([^`]+)`", message):
        return f"the key {f'{where}.{missing[1]}'.strip('.')!r} is missing"
    found = _value_at(document, where)
    return f"the key {where!r} has the value {found!r}: {message.split(' - at ', 1)[0]}{_allowed(where)}"


def _section_at(where: str) -> Any:
    """Return the type of the table at a path like ``board.device[0]``, or None."""
    found: Any = BenchConfig
    for part in filter(None, re.sub(r"\[[^]]*\]", "", where).split(".")):
        fields = {field.name: field.type for field in msgspec.structs.fields(found)} if _is_section(found) else {}
        found = _unwrapped(fields.get(part))
    return found


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _unwrapped(kind: Any) -> Any:
    """Return the section inside ``tuple[X, ...]``, ``X | None`` or ``Annotated[X, ...]``, else the type itself."""
    inner = [argument for argument in getattr(kind, "__args__", ()) if _is_section(argument)]
    return inner[0] if inner else kind


def _nearest(key: str, where: str) -> str:
    section = _section_at(where)
    if not _is_section(section):
        return ""
    known = [field.name for field in msgspec.structs.fields(section)]
    near = difflib.get_close_matches(key, known, n=1)
    return (f"; did you mean {near[0]!r}?" if near else "") + f" Known keys here: {', '.join(known)}"


def _allowed(where: str) -> str:
    """Return the values that a key allows, where they can be listed."""
    kind = _section_at(where)
    values = getattr(kind, "__args__", ()) if getattr(kind, "__origin__", None) is Literal else ()
    return f"; allowed: {', '.join(map(repr, values))}" if values else ""


def _value_at(document: Any, where: str) -> Any:
    found = document
    for part in filter(None, re.split(r"\.|\[(\d+)\]", where)):
        try:
            found = found[int(part)] if part.isdigit() else found[part]
        except (KeyError, IndexError, TypeError):
            return None
    return found


def _check_consistency(config: BenchConfig, name: str) -> None:
    """Check what one key alone cannot show."""
    if config.kind == "virtual" and config.board is None:
        raise UsageError(f'{name}: kind = "virtual" needs a [board] table')
    if config.kind == "ssh" and config.host is None:
        raise UsageError(f'{name}: kind = "ssh" needs a [host] table')
    if not (config.controller.id or config.controller.address or config.controller.path):
        raise UsageError(f'{name}: [controller] names nothing: give id = "1033:0194" or address = "0000:05:00.0"')
    if config.storage.write and not config.storage.serial:
        raise UsageError(f"{name}: the key 'storage.write' is true, but 'storage.serial' names no disk: give the serial of one")
    _check_names(config.controller, name)
    if config.board is not None:
        _check_board(config.board, name)
        _check_ports(config.board, name)
        _check_storage(config.board, config.storage, name)
    _check_arms(config, name)


def _check_names(controller: ControllerSection, name: str) -> None:
    values: list[tuple[str, str, Callable[[str], object]]] = [
        ("id", controller.id, PciId.parse),
        ("subsystem", controller.subsystem, PciId.parse),
        ("address", controller.address, PciAddress.parse),
        ("path", controller.path, _parse_path),
        *((f"siblings[{number}]", sibling, _parse_function) for number, sibling in enumerate(controller.siblings)),
    ]
    for key, value, parse in values:
        try:
            _ = parse(value) if value or "[" in key else None
        except ValueError as error:
            raise UsageError(f"{name}: the key 'controller.{key}': {error}") from error
    if controller.path and controller.address and _parse_path(controller.path) != PciAddress.parse(controller.address):
        raise UsageError(f"{name}: the key 'controller.path' ends in another function than {controller.address!r}, the address")


def _parse_path(text: str) -> PciAddress:
    """Return the function at the end of a path like ``pci0000:00/0000:00:1c.0/0000:05:00.0``; anything else is a ValueError."""
    *above, last = text.removeprefix("/sys/devices/").strip("/").split("/")
    if not any(re.fullmatch(r"pci[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}", part) for part in above):
        raise ValueError(f"{text!r} is not a path like pci0000:00/0000:00:1c.0/0000:05:00.0")
    return PciAddress.parse(last)


def _parse_function(text: str) -> PciAddress | PciId:
    """Read the address or the id of a function; anything else is a ValueError."""
    for parse in (PciAddress.parse, PciId.parse):
        with suppress(ValueError):
            return parse(text)
    raise ValueError(f"{text!r} is neither an address like 0000:05:00.1 nor an id like 1033:0194")


def _check_board(board: BoardSection, name: str) -> None:
    devices = [device.id for device in board.device]
    for table, ids in (("device", devices), ("stick", [stick.id for stick in board.stick])):
        twice = [each for each in ids if ids.count(each) > 1]
        if twice:
            raise UsageError(f"{name}: two [[board.{table}]] have the id {twice[0]!r}")
    for stick in board.stick:
        if stick.on not in devices:
            raise UsageError(f"{name}: stick {stick.id!r} is on {stick.on!r}, but no [[board.device]] has that id")
        if stick.burst_mib_s and not 0 < stick.throttle_mib_s < stick.burst_mib_s:
            raise UsageError(f"{name}: stick {stick.id!r} has a burst, which needs a lower 'throttle_mib_s' to fall to")
    root = board.root.partition(":")[2]
    if root and root not in {stick.id for stick in board.stick}:
        raise UsageError(f"{name}: the key 'board.root' names the stick {root!r}, but no [[board.stick]] has that id")


def _check_ports(board: BoardSection, name: str) -> None:
    """Check the numbers of a card's ports: we count with them, whatever else is passed on to QEMU as it is."""
    for number, device in enumerate(board.device):
        for key in PORT_KEYS & device.options.keys():
            if not re.fullmatch(r"\d{1,2}", found := str(device.options[key])):
                where = f"board.device[{number}].options.{key}"
                raise UsageError(f"{name}: the key {where!r} has the value {found!r}: that is no number of ports")


def _check_storage(board: BoardSection, storage: StorageSection, name: str) -> None:
    known = [stick.serial for stick in board.stick if board.root != f"usb:{stick.id}"]
    if storage.serial and storage.serial not in known:
        there = f"the serials are {', '.join(map(repr, known))}" if known else "the board has none that could be named"
        raise UsageError(f"{name}: the key 'storage.serial' names no stick of the board, {storage.serial!r}: {there}")


def _check_arms(config: BenchConfig, name: str) -> None:
    if config.throughput.cells and PRIMARY_CELL.name not in config.throughput.cells:
        raise UsageError(f"{name}: the key 'throughput.cells' lacks {PRIMARY_CELL.name!r}, the cell that decides")
    if not config.storage.write and (writing := [cell for cell in config.throughput.cells if cell.endswith("write")]):
        raise UsageError(f"{name}: the key 'throughput.cells' has {writing[0]!r}, which needs 'storage.write' to be true")
    names = [arm.name for arm in config.throughput.arm]
    if twice := [each for each in names if names.count(each) > 1]:
        raise UsageError(f"{name}: two [[throughput.arm]] have the name {twice[0]!r}")
    if len(names) == 1:
        raise UsageError(f"{name}: one [[throughput.arm]] can be compared with nothing: name two or more, or none")
    if config.board is None:
        return
    known = {word for stick in config.board.stick for word in (stick.id, stick.serial)}
    for number, arm in enumerate(config.throughput.arm):
        if arm.stick and arm.stick not in known:
            raise UsageError(f"{name}: the key 'throughput.arm[{number}].stick' names no stick of the board, {arm.stick!r}")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a bench file."""
    return msgspec.json.schema(BenchConfig)
