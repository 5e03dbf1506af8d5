"""What is refused, each kind on a host of its own, and what the bench file can allow."""

from __future__ import annotations

from typing import Any

import pytest

from harness.core.capture import Status
from harness.core.finding import Finding, Severity
from harness.facts.host import read_facts
from harness.rules.registry import judge
from harness.rules.rule import Allowance, find_target, members_to_bind
from tests.captures import CARD, INTEL_BOARD, Files, group, make_capture, pci_function, usb_stick

ADDRESS, PORT = CARD["intel"], "0000:00:01.0"
FOLDER = f"sys/bus/pci/devices/{ADDRESS}"
BEHIND = f"/sys/devices/pci0000:00/{PORT}/{ADDRESS}"
PATH = f"pci0000:00/{PORT}/{ADDRESS}"
SIBLING = "0000:01:00.1"
ROUTES = "Iface Destination Gateway Flags RefCnt Use Metric Mask\n"
KEYS = "402000007 ff9f207ac14057ff febeffdfffefffff fffffffffffffffe"


def find(rule: str, *layers: Files, **wish: Any) -> Finding:
    """Judge the board with VT-d and these files by one rule; the card is asked for by its id unless told otherwise."""
    facts = read_facts(make_capture(INTEL_BOARD, *layers), {})
    return judge(rule, facts, find_target(facts, **({"id": "1033:0194"} | wish)))


def sibling(driver: str = "snd_hda_intel", pair: str = "10de:0fb9", kind: str = "040300") -> Files:
    """Return a second function of the card, in its group."""
    function = pci_function(SIBLING, pair, kind, driver=driver, group="2", above=PORT)
    return group("2", ADDRESS, SIBLING) | function


def keyboard(name: str, behind: str = BEHIND) -> Files:
    """Return a USB keyboard."""
    device = f"sys/bus/usb/devices/{name}"
    interface = {"bInterfaceClass": "03", "bInterfaceSubClass": "01", "bInterfaceProtocol": "01"}
    files: Files = {device: f"{behind}/usb{name[0]}/{name}", f"{device}/idVendor": "045e", f"{device}/idProduct": "0746"}
    return files | {f"{device}:1.0/{key}": value for key, value in interface.items()}


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"address": ADDRESS, "id": "1912:0014"}, "id is 1033:0194, the bench file pins 1912:0014"),
        ({"address": ADDRESS, "subsystem": "1234:5678"}, "subsystem is 1af4:1100, the bench file pins 1234:5678"),
        ({"path": PATH, "subsystem": "1234:5678"}, "subsystem is 1af4:1100, the bench file pins 1234:5678"),
        (
            {"address": ADDRESS, "path": f"pci0000:00/0000:00:1c.0/{ADDRESS}"},
            f"path is {PATH}, the bench file pins pci0000:00/0000:00:1c.0/{ADDRESS}",
        ),
    ],
    ids=["id", "subsystem", "subsystem-by-path", "path"],
)
def test_pci001_pin_that_does_not_fit(wish: dict[str, str], told: str) -> None:
    """A card that is not what was pinned is refused: what was found and what was pinned are named, and the line to pin it."""
    finding = find("PCI001", **wish)

    assert finding.severity is Severity.REFUSAL
    assert told in finding.message
    assert f'[controller] address = "{ADDRESS}", id = "1033:0194", subsystem = "1af4:1100", path = "{PATH}"' in finding.remedy


@pytest.mark.parametrize("path", [PATH, f"/sys/devices/{PATH}/", PATH.upper().replace("PCI", "pci")])
def test_pci001_pins_that_fit(path: str) -> None:
    """All pins together, the path in any spelling of sysfs, or the path alone name the card."""
    pins = {"address": "01:00.0", "subsystem": "1AF4:1100", "path": path}

    assert find("PCI001", **pins).severity is Severity.PASS
    assert find("PCI001", id=None, path=path).severity is Severity.PASS


def test_pci001_path_that_moved() -> None:
    """A card that sits elsewhere than its path says is refused, and the remedy pins where it is."""
    finding = find("PCI001", path="pci0000:00/0000:00:1c.0/0000:05:00.0")

    assert finding.severity is Severity.REFUSAL
    assert finding.message.endswith("addresses moved")
    assert f'path = "{PATH}"' in finding.remedy


@pytest.mark.parametrize("kind", ["0c0320", "0c0340", "0c03fe"], ids=["ehci", "usb4", "xdci"])
@pytest.mark.parametrize("pair", [None, "1033:0194"], ids=["address", "address-and-id"])
def test_pci001_other_class_at_the_pinned_place(kind: str, pair: str | None) -> None:
    """What sits at the pinned address and is no xHCI controller is refused with its class; no line makes it one."""
    finding = find("PCI001", {f"{FOLDER}/class": f"0x{kind}", f"{FOLDER}/device": "0x9999"}, address=ADDRESS, id=pair)

    assert finding.severity is Severity.REFUSAL
    assert f"class {kind}" in finding.message
    assert "if this one is meant" not in finding.remedy


def test_pci001_pin_that_is_not_shown_is_unknown() -> None:
    """A listing without subsystems neither fits a pinned one nor differs from it."""
    listing = f"{ADDRESS} USB controller [0c03]: NEC [1033:0194] (prog-if 30 [XHCI])\n"
    facts = read_facts(make_capture({"commands/lspci": listing}), {})
    target = find_target(facts, id="1033:0194", address=ADDRESS, subsystem="1af4:1100")

    assert target.controller is None
    assert judge("PCI001", facts, target).severity is Severity.UNKNOWN


@pytest.mark.parametrize("name", [SIBLING, "01:00.1", "10de:0fb9", "10DE:0FB9"])
def test_grp001_sibling_by_name(name: str) -> None:
    """A foreign function is refused with the line that allows it; named so, by address or id, it is bound too."""
    refused, allowed = find("GRP001", sibling()), find("GRP001", sibling(), siblings=[name])

    assert refused.severity is Severity.REFUSAL
    assert f'in the bench file: [controller] siblings = ["{SIBLING}"]' in refused.remedy
    assert (allowed.severity, "bound too" in allowed.message) == (Severity.INFORMATION, True)


def test_grp001_one_sibling_of_two() -> None:
    """A function that the bench file does not name is refused beside one that it names, and the line names both."""
    third = pci_function("0000:01:00.2", "8086:0001", "020000", driver="e1000e", group="2", above=PORT)

    finding = find("GRP001", sibling(), third, group("2", ADDRESS, SIBLING, "0000:01:00.2"), siblings=[SIBLING])

    assert finding.severity is Severity.REFUSAL
    assert SIBLING not in finding.message
    assert f'siblings = ["{SIBLING}", "0000:01:00.2"]' in finding.remedy


@pytest.mark.parametrize("name", ["0000:09:00.0", "dead:beef"])
def test_grp001_sibling_that_is_not_there(name: str) -> None:
    """A bench file that names a sibling which the group does not hold was written for another host."""
    finding = find("GRP001", siblings=[name])

    assert finding.severity is Severity.REFUSAL
    assert name in finding.message


def test_members_to_bind() -> None:
    """The controller comes first, named siblings follow, bridges and unnamed idle functions stay; of facts without it, none."""
    bridge = pci_function(PORT, "1b36:000c", "060400", driver="pcieport", group="2")
    idle = pci_function("0000:01:00.2", "8086:0001", "050000", group="2", above=PORT)
    layers = (sibling(), bridge, idle, group("2", PORT, ADDRESS, SIBLING, "0000:01:00.2"))
    facts = read_facts(make_capture(INTEL_BOARD, *layers), {})
    target = find_target(facts, id="1033:0194", siblings=[PORT, SIBLING])
    gone = read_facts(make_capture(INTEL_BOARD), {})

    assert [device.address for device in members_to_bind(facts, target)] == [ADDRESS, SIBLING]
    assert members_to_bind(gone, target) == ()
    assert members_to_bind(facts, find_target(facts, id="dead:beef")) == ()
    assert judge("GRP001", facts, target).severity is Severity.INFORMATION


def test_sto001_disk_of_a_named_sibling() -> None:
    """A sibling may be named, and its disk with the host's root is refused all the same."""
    disk = f"/sys/devices/pci0000:00/{PORT}/{SIBLING}/nvme/nvme0/nvme0n1"
    files: Files = {
        "sys/class/block/nvme0n1": disk,
        "sys/class/block/nvme0n1/dev": "259:0",
        "sys/class/block/nvme0n1/holders": "",
        "proc/self/mountinfo": "22 1 259:0 / / rw - ext4 /dev/nvme0n1 rw\n",
    }
    nvme = sibling("nvme", "144d:a808", "010802")

    assert "nvme0n1 (root)" in find("STO001", nvme, files, siblings=[SIBLING]).message
    assert find("STO001", nvme, files).severity is Severity.PASS


def test_net001_interface_of_a_named_sibling() -> None:
    """A sibling that carries the session is refused, whatever the bench file allows."""
    nic: Files = {"sys/class/net/eth0": f"/sys/devices/pci0000:00/{PORT}/{SIBLING}/net/eth0"}

    finding = find("NET001", sibling("e1000e"), nic, siblings=[SIBLING], allow=Allowance(interfaces=("eth0",)))

    assert (finding.severity, finding.message) == (Severity.REFUSAL, "eth0 on the controller carries this session")


def test_net001_default_route_by_name() -> None:
    """The only default route is refused with the line that allows it; another's name allows nothing."""
    files: Files = {
        "sys/class/net/enx0": f"{BEHIND}/usb1/1-3/1-3:1.0/net/enx0",
        "proc/net/route": f"{ROUTES}enx0 00000000 0 0003 0 0 0 00000000\neth0 0002000A 0 0001 0 0 0 00FFFFFF\n",
    }

    refused = find("NET001", files)

    assert refused.severity is Severity.REFUSAL
    assert 'in the bench file: [allow] interfaces = ["enx0"]' in refused.remedy
    assert find("NET001", files, allow=Allowance(interfaces=("eth0",))).severity is Severity.REFUSAL
    assert find("NET001", files, allow=Allowance(interfaces=("enx0",))).severity is Severity.INFORMATION


PS2 = (
    'I: Bus=0011 Vendor=0001 Product=0001 Version=ab41\nN: Name="AT Translated Set 2 keyboard"\n'
    f"S: Sysfs=/devices/platform/i8042/serio0/input/input3\nB: KEY={KEYS}\n"
)
LOCAL: Files = {"commands/ssh-connection": ""}
SEATED: Files = {"run/systemd/sessions/2": "SEAT=seat0\nREMOTE=0\nCLASS=user\nSTATE=active\n"}


@pytest.mark.parametrize(
    ("layers", "severity"),
    [
        pytest.param([LOCAL], Severity.REFUSAL, id="local-session"),
        pytest.param([SEATED], Severity.REFUSAL, id="ssh-to-a-desktop-at-which-somebody-sits"),
        pytest.param([], Severity.INFORMATION, id="headless-by-ssh"),
        pytest.param([{"run/systemd/sessions/c1": "SEAT=seat0\nREMOTE=0\nCLASS=greeter\n"}], Severity.INFORMATION, id="greeter"),
        pytest.param([LOCAL, {"proc/bus/input/devices": PS2}], Severity.INFORMATION, id="ps2-keyboard-stays"),
        pytest.param(
            [LOCAL, keyboard("3-1", "/sys/devices/pci0000:00/0000:00:14.0")], Severity.INFORMATION, id="other-usb-keyboard-stays"
        ),
        pytest.param([LOCAL, keyboard("1-2")], Severity.REFUSAL, id="two-on-the-controller"),
        pytest.param([{"commands/ssh-connection": Status.DENIED}], Severity.UNKNOWN, id="session-not-known"),
    ],
)
def test_inp001_last_keyboard(layers: list[Files], severity: Severity) -> None:
    """The last keyboard is refused where somebody works at the host itself, and nowhere else."""
    assert find("INP001", keyboard("1-1"), *layers).severity is severity


def test_inp001_keyboard_by_name() -> None:
    """The refusal names the line that allows it; each keyboard that goes must be named, by port or by id."""
    both = (keyboard("1-1"), keyboard("1-2"), LOCAL)

    assert find("INP001", *both).remedy.endswith('in the bench file: [allow] keyboards = ["1-1", "1-2"]')
    for names, severity in (
        (("1-1",), Severity.REFUSAL),
        (("1-1", "1-2"), Severity.INFORMATION),
        (("045E:0746",), Severity.INFORMATION),
        (("1-9",), Severity.REFUSAL),
    ):
        assert find("INP001", *both, allow=Allowance(keyboards=names)).severity is severity


VFIO: Files = {f"{FOLDER}/driver": "/sys/bus/pci/drivers/vfio-pci"}


@pytest.mark.parametrize(
    ("files", "severity"),
    [
        pytest.param(VFIO | {"commands/holders": "9 /dev/vfio/2\tqemu\n"}, Severity.REFUSAL, id="group"),
        pytest.param(
            VFIO | {f"{FOLDER}/vfio-dev": "vfio3", "commands/holders": "9 /dev/vfio/devices/vfio3\tqemu\n"},
            Severity.REFUSAL,
            id="device",
        ),
        pytest.param(VFIO | {"commands/holders": "9 /dev/vfio/22\tqemu\n"}, Severity.PASS, id="another-group"),
        pytest.param(VFIO | {"commands/holders": "9 anon_inode:[vfio-device]\tqemu\n"}, Severity.UNKNOWN, id="some-device"),
        pytest.param(VFIO | {"commands/holders": Status.DENIED}, Severity.UNKNOWN, id="denied"),
        pytest.param(VFIO | {"commands/holders": Status.ABSENT}, Severity.UNKNOWN, id="not-read"),
        pytest.param(VFIO | {".dockerenv": ""}, Severity.UNKNOWN, id="container"),
        pytest.param({"commands/holders": Status.DENIED}, Severity.PASS, id="on-the-hosts-driver"),
        pytest.param(
            {f"{FOLDER}/driver": "/sys/bus/pci/drivers/pci-stub", "commands/holders": Status.DENIED}, Severity.PASS, id="stub"
        ),
        pytest.param(sibling("vfio-pci") | {"commands/holders": Status.DENIED}, Severity.UNKNOWN, id="sibling-on-vfio"),
        pytest.param(sibling("vfio-pci") | {"commands/holders": "9 /dev/vfio/2\tqemu\n"}, Severity.REFUSAL, id="sibling-is-held"),
    ],
)
def test_hld001_group_in_use(files: Files, severity: Severity) -> None:
    """A group that somebody has open is refused; whether one has is asked only where a driver of VFIO makes it possible."""
    finding = find("HLD001", files)

    assert finding.severity is severity
    assert ("process 9 (qemu)" in finding.message) is (severity is Severity.REFUSAL)


@pytest.mark.parametrize(
    ("files", "severity"),
    [
        pytest.param({"commands/holders": "9 /dev/bus/usb/002/002\tqemu\n"}, Severity.REFUSAL, id="device"),
        pytest.param({"commands/holders": "9 /dev/bus/usb/020/002\tqemu\n"}, Severity.PASS, id="another-bus"),
        pytest.param({"commands/holders": Status.DENIED}, Severity.UNKNOWN, id="denied"),
        pytest.param({}, Severity.PASS, id="nobody"),
    ],
)
def test_hld002_usb_device_in_use(files: Files, severity: Severity) -> None:
    """A program that has a USB device of the controller open is refused."""
    assert find("HLD002", usb_stick(ADDRESS), files).severity is severity


def test_hld002_without_devices() -> None:
    """Where nothing is plugged in, nobody can have it open."""
    assert find("HLD002", {"commands/holders": Status.DENIED}).severity is Severity.PASS


def test_vfi001_is_not_needed_to_reserve() -> None:
    """A kernel without vfio-pci fails a controller that a guest shall get, and does not stop one that is only reserved."""
    missing: Files = {"proc/modules": "", "sys/bus/pci/drivers": "xhci_hcd", "commands/vfio-modules": ""}

    assert find("VFI001", missing).severity is Severity.FAILURE
    assert find("VFI001", missing, driver="pci-stub").severity is Severity.INFORMATION
