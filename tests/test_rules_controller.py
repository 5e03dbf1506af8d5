"""Rules about the controller, its group, and what the host would lose with it: every guard fires."""

from __future__ import annotations

import pytest

from harness.core.capture import Capture, Status
from harness.core.finding import Finding, Severity
from harness.facts.host import read_facts
from harness.rules.blast import find_blast
from harness.rules.registry import judge
from harness.rules.rule import find_target
from tests.captures import AMD_BOARD, CARD, INTEL_BOARD, Files, Layer, group, make_capture, pci_function, usb_stick, without

PATH = f"pci0000:00/0000:00:01.0/{CARD['intel']}"
SECOND = pci_function("0000:02:00.0", "1033:0194", "0c0330", driver="xhci_hcd", group="5")
AUDIO = pci_function("0000:01:00.1", "10de:0fb9", "040300", driver="snd_hda_intel", group="2")
STICK = usb_stick(CARD["intel"])


def find(rule: str, *layers: Layer, pair: str | None = "1033:0194", address: str | None = None) -> Finding:
    """Judge the board with VT-d by one rule."""
    facts = read_facts(make_capture(INTEL_BOARD, *layers), {})
    return judge(rule, facts, find_target(facts, id=pair, address=address))


def test_pci001_one_controller() -> None:
    """The one controller that fits is named, with its ids, class and driver as evidence."""
    finding = find("PCI001")

    assert finding.severity is Severity.PASS
    assert finding.evidence[0].text == f"id 1033:0194, subsystem 1af4:1100, class 0c0330, driver xhci_hcd, path {PATH}"


def test_pci001_several_controllers_are_refused() -> None:
    """Identical cards are refused, both addresses are named, and the remedy is to pin one."""
    finding = find("PCI001", SECOND)

    assert finding.severity is Severity.REFUSAL
    assert finding.message == "2 controllers fit id 1033:0194: 0000:01:00.0, 0000:02:00.0"
    assert "[controller] address" in finding.remedy


def test_pci001_pinned_controller() -> None:
    """An address decides between identical cards."""
    assert find("PCI001", SECOND, address="02:00.0").severity is Severity.PASS


def test_pci001_missing_controller_fails() -> None:
    """A controller that is nowhere fails the board, and the ones that are there are named."""
    finding = find("PCI001", pair="1912:0014")

    assert finding.severity is Severity.FAILURE
    assert "no PCI function fits id 1912:0014" in finding.message
    assert CARD["intel"] in finding.message


@pytest.mark.parametrize("address", ["0000:00:01.0", "0000:44:00.0"], ids=["another-device-there", "nothing-there"])
def test_pci001_moved_controller_is_refused(address: str) -> None:
    """Where the address does not hold what is named, addresses have moved: refused, nothing is guessed."""
    finding = find("PCI001", address=address)

    assert finding.severity is Severity.REFUSAL
    assert finding.message.endswith("addresses moved")


@pytest.mark.parametrize("kind", ["0c0320", "0c03fe", "010802"], ids=["ehci", "device-controller", "nvme"])
def test_pci001_other_classes_are_refused(kind: str) -> None:
    """What is named but is no xHCI controller is refused."""
    finding = find("PCI001", pci_function("0000:03:00.0", "8086:1234", kind), pair="8086:1234")

    assert finding.severity is Severity.REFUSAL
    assert f"class {kind}" in finding.message


def test_pci001_without_an_answer_is_unknown() -> None:
    """A list of devices that was cut off proves no absence."""
    assert find("PCI001", {"sections/pci": Status.TIMED_OUT}, pair="1912:0014").severity is Severity.UNKNOWN


@pytest.mark.parametrize(
    ("driver", "severity"),
    [
        ("xhci-pci-renesas", Severity.PASS),
        ("vfio-pci", Severity.INFORMATION),
        ("pci-stub", Severity.INFORMATION),
        ("", Severity.REFUSAL),
    ],
)
def test_pci002_present_driver(driver: str, severity: Severity) -> None:
    """Any driver of the host is recorded, one that reserves too: it is given back to that; none has no way back."""
    layer = {f"sys/bus/pci/devices/{CARD['intel']}/driver": f"/sys/bus/pci/drivers/{driver}" if driver else Status.ABSENT}

    finding = find("PCI002", layer)

    assert finding.severity is severity
    assert finding.evidence[0].text == (driver or "(none)")
    assert bool(finding.remedy) is (severity is Severity.REFUSAL)


FOLDER = f"sys/bus/pci/devices/{CARD['intel']}"


@pytest.mark.parametrize(
    ("method", "reset", "severity"),
    [
        ("flr", "", Severity.PASS),
        (Status.ABSENT, "", Severity.PASS),
        (Status.ABSENT, Status.ABSENT, Severity.CONDITION),
        ("", "", Severity.CONDITION),
    ],
    ids=["method", "old-kernel", "none", "all-switched-off"],
)
def test_rst001_reset_method(method: str | Status, reset: str | Status, severity: Severity) -> None:
    """A method passes; the bare file reset counts only where the kernel tells no methods."""
    assert find("RST001", {f"{FOLDER}/reset_method": method, f"{FOLDER}/reset": reset}).severity is severity


def test_rst001_nobody_asked() -> None:
    """In a copy without the reset's files a controller is not said to have none; with the file it is, if it is empty."""
    files = without(INTEL_BOARD, f"sys/bus/pci/devices/{CARD['intel']}/reset")
    empty = files | {f"sys/bus/pci/devices/{CARD['intel']}/reset_method": ""}

    found = []
    for copy in (files, empty):
        facts = read_facts(Capture(make_capture(copy).items, scope=()), {})
        found.append(judge("RST001", facts, find_target(facts, id="1033:0194")).severity)

    assert found == [Severity.UNKNOWN, Severity.CONDITION]


def test_grp001_foreign_member_is_refused() -> None:
    """Another device in the group is refused and named; what to do is to part them."""
    layers = (AUDIO, group("2", CARD["intel"], "0000:01:00.1"))

    finding = find("GRP001", *layers)

    assert finding.severity is Severity.REFUSAL
    assert finding.message == "group 2 also holds 0000:01:00.1 [10de:0fb9]"
    assert "driver snd_hda_intel" in finding.evidence[0].text
    assert "move the other device" in finding.remedy


@pytest.mark.parametrize(
    ("driver", "severity", "words"),
    [
        ("", Severity.INFORMATION, "has no driver"),
        ("vfio-pci", Severity.CONDITION, "the same guest"),
        ("pci-stub", Severity.CONDITION, "the same guest"),
        ("intel_pch_thermal", Severity.REFUSAL, "also holds"),
    ],
)
def test_grp001_weighs_what_uses_the_sibling(driver: str, severity: Severity, words: str) -> None:
    """VFIO takes a group whose other members have no driver, as beside Intel's 00:14.0, or one that reserves them."""
    sibling = pci_function("0000:01:00.2", "8086:a36f", "050000", driver=driver, group="2")
    facts = read_facts(make_capture(INTEL_BOARD, group("2", CARD["intel"], "0000:01:00.2"), sibling), {})
    target = find_target(facts, id="1033:0194")
    finding = judge("GRP001", facts, target)

    assert finding.severity is severity
    assert words in finding.message
    assert target.controller is not None
    assert bool(find_blast(facts, target.controller).losses) is (severity is Severity.REFUSAL)


def test_grp001_bridges_are_no_strangers() -> None:
    """A root port, and a host bridge without driver, may share the group."""
    bridges = pci_function("0000:00:01.0", "1b36:000c", "060400", driver="pcieport", group="2")
    host = pci_function("0000:00:02.0", "1022:1632", "060000", group="2")

    assert find("GRP001", bridges, host, group("2", "0000:00:01.0", "0000:00:02.0", CARD["intel"])).severity is Severity.PASS


def test_grp001_member_that_was_not_read_is_a_stranger() -> None:
    """A member of the group that is missing in the list of devices is refused."""
    finding = find("GRP001", group("2", CARD["intel"], "0000:01:00.7"))

    assert (finding.severity, "0000:01:00.7" in finding.message) == (Severity.REFUSAL, True)


def test_grp001_without_a_group_fails() -> None:
    """A controller in no group cannot be passed."""
    assert find("GRP001", {f"{FOLDER}/iommu_group": Status.ABSENT}).severity is Severity.FAILURE


@pytest.mark.parametrize(
    "layer",
    [
        pytest.param({"sections/iommu": Status.TIMED_OUT}, id="groups-late"),
        pytest.param({"sections/pci": Status.TIMED_OUT}, id="devices-late"),
        pytest.param({"sys/kernel/iommu_groups/2/devices": Status.DENIED}, id="members-denied"),
        pytest.param(
            {f"sys/kernel/iommu_groups/2/{name}": Status.ABSENT for name in ("devices", "type", "reserved_regions")}, id="hidden"
        ),
    ],
)
def test_grp001_group_that_was_not_read_is_unknown(layer: Layer) -> None:
    """A group that was not read in whole may hold anything."""
    assert find("GRP001", layer).severity is Severity.UNKNOWN


MSI = "0x00000000fee00000 0x00000000feefffff msi"


@pytest.mark.parametrize(
    ("regions", "severity"),
    [
        pytest.param(MSI, Severity.PASS, id="msi"),
        pytest.param(f"{MSI}\n0x000000fd00000000 0x000000ffffffffff reserved", Severity.PASS, id="reserved"),
        pytest.param(f"0x0000000000000000 0x0000000000ffffff direct-relaxable\n{MSI}", Severity.CONDITION, id="relaxable"),
        pytest.param(f"0x000000006c000000 0x00000000707fffff direct\n{MSI}", Severity.REFUSAL, id="direct"),
    ],
)
def test_res001_reserved_regions(regions: str, severity: Severity) -> None:
    """A direct region is refused, a relaxed one is a condition, msi and reserved ones are in order."""
    finding = find("RES001", group("2", CARD["intel"], regions=regions))

    assert finding.severity is severity
    assert finding.evidence[0].text == regions


def test_sto001_disk_in_use_is_refused() -> None:
    """The host's root on a stick on the controller is refused; disk and use are named."""
    finding = find("STO001", STICK, {"proc/self/mountinfo": "22 1 8:1 / / rw - ext4 /dev/sda1 rw"})

    assert finding.severity is Severity.REFUSAL
    assert finding.message == "the host uses a disk on the controller: sda (root)"
    assert finding.evidence[0].text.endswith("serial TP0001 (root)")


def test_sto001_idle_stick_passes() -> None:
    """A stick that nobody uses is what the suite needs."""
    assert find("STO001", STICK).severity is Severity.PASS


@pytest.mark.parametrize("section", ["block", "mounts", "usb"])
def test_sto001_without_an_answer_is_unknown(section: str) -> None:
    """Disks that could not be read are not taken for unused."""
    assert find("STO001", STICK, {f"sections/{section}": Status.TIMED_OUT}).severity is Severity.UNKNOWN


@pytest.mark.parametrize("status", [Status.DENIED, Status.ABSENT, Status.TIMED_OUT], ids=lambda status: status.value)
@pytest.mark.parametrize(
    ("rule", "name"),
    [("STO001", "proc/self/mountinfo"), ("STO001", "proc/swaps"), ("NET001", "proc/net/route")],
)
def test_losses_that_are_hidden_are_unknown(rule: str, name: str, status: Status) -> None:
    """A list that the host did not show, for whatever reason, proves that nothing is lost no more than a wrong one would."""
    finding = find(rule, STICK, {name: status})

    assert finding.severity is Severity.UNKNOWN
    assert f"/{name}" in finding.message


def test_net001_hidden_routes_of_ipv6_are_unknown() -> None:
    """A host without IPv6 has no such routes; one that denies them hides them."""
    assert find("NET001", {"proc/net/ipv6_route": Status.ABSENT}).severity is Severity.PASS
    assert find("NET001", {"proc/net/ipv6_route": Status.DENIED}).severity is Severity.UNKNOWN


def test_losses_of_a_host_with_hidden_mounts_are_still_refused() -> None:
    """What is seen to be in use is refused, whatever else is hidden."""
    assert find("STO001", STICK, {"proc/swaps": Status.DENIED, "sys/fs/ext4": "sda1"}).severity is Severity.REFUSAL


NIC = f"/sys/devices/pci0000:00/0000:00:01.0/{CARD['intel']}/usb1/1-1/1-1:1.0/net/enx0"
HEAD = "Iface Destination Gateway Flags RefCnt Use Metric Mask\n"
OUT, LAB = "{0} 00000000 0 0003 0 0 0 00000000\n", "{0} 0002000A 0 0001 0 0 0 00FFFFFF\n"


@pytest.mark.parametrize(
    ("routes", "severity", "words"),
    [
        pytest.param(OUT.format("eth0") + LAB.format("enx0"), Severity.REFUSAL, "carries this session", id="session"),
        pytest.param(OUT.format("enx0") + LAB.format("eth0"), Severity.REFUSAL, "only default route", id="only-way-out"),
        pytest.param(
            OUT.format("enx0") + OUT.format("eth0") + LAB.format("eth0"),
            Severity.INFORMATION,
            "loses the interface enx0",
            id="two-ways",
        ),
        pytest.param(OUT.format("eth0"), Severity.INFORMATION, "loses the interface enx0", id="idle"),
    ],
)
def test_net001_network_on_the_controller(routes: str, severity: Severity, words: str) -> None:
    """The session's interface and the only way out are refused; any other is worth knowing."""
    finding = find("NET001", {"sys/class/net/enx0": NIC, "proc/net/route": HEAD + routes})

    assert finding.severity is severity
    assert words in finding.message


def test_net001_bridge_on_the_controller_is_no_other_way() -> None:
    """A bridge upon the controller's own interface is no second way out."""
    bridge = {
        "sys/class/net/enx0": NIC,
        "sys/class/net/br0": "/sys/devices/virtual/net/br0",
        "sys/class/net/br0/lower_enx0": NIC,
        "proc/net/route": HEAD + OUT.format("br0"),
        "commands/ssh-connection": "",
    }

    assert find("NET001", bridge).severity is Severity.REFUSAL


@pytest.mark.parametrize(("other", "words"), [(False, "the host's only USB keyboard"), (True, "1-1")])
def test_inp001_keyboard_is_information(other: bool, words: str) -> None:  # noqa: FBT001 (a table's column)
    """A keyboard on the controller is named, and that it is the only one."""
    keyboard = {"bInterfaceClass": "03", "bInterfaceSubClass": "01", "bInterfaceProtocol": "01"}
    path = f"/sys/devices/pci0000:00/0000:00:01.0/{CARD['intel']}/usb1/1-1"
    files: Files = {"sys/bus/usb/devices/1-1": path}
    files |= {f"sys/bus/usb/devices/1-1:1.0/{name}": value for name, value in keyboard.items()}
    if other:
        files["sys/bus/usb/devices/3-1"] = "/sys/devices/pci0000:00/0000:00:14.0/usb3/3-1"
        files |= {f"sys/bus/usb/devices/3-1:1.0/{name}": value for name, value in keyboard.items()}

    finding = find("INP001", files)

    assert finding.severity is Severity.INFORMATION
    assert words in finding.message
    assert ("only" in finding.message) is not other


def test_target_says_what_was_wished() -> None:
    """A target repeats the bench file's wish in words."""
    facts = read_facts(make_capture(AMD_BOARD), {})

    assert find_target(facts, id="1033:0194", address="00:05.0").wish == "id 1033:0194, address 00:05.0"
    assert find_target(facts).wish == "any xHCI controller"
    assert find_target(facts).controller == facts.find_pci(CARD["amd"])
