"""PCI functions as lspci prints them, in its many forms and as they survive mails and web pages."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.facts.lspci import parse_lspci
from harness.facts.told import Told, find_address
from tests.texts import damaged

DETAILS = """\
00:00.0 Host bridge [0600]: Example Corp. Root Complex [a0a0:0001] (rev 02)
	Subsystem: Boards Inc. Device [b0b0:0001]
	Flags: bus master, fast devsel, latency 0, NUMA node 0, IOMMU group 0
	Capabilities: [40] Vendor Specific Information: Len=10 <?>

00:1c.0 PCI bridge [0604]: Example Corp. Root Port #1 [a0a0:0010] (rev f0) (prog-if 00 [Normal decode])
	Flags: bus master, fast devsel, latency 0, IRQ 120, IOMMU group 3
	Bus: primary=00, secondary=05, subordinate=05, sec-latency=0
	I/O behind bridge: 3000-3fff [size=4K] [16-bit]
	Capabilities: [90] MSI: Enable+ Count=1/1 Maskable- 64bit-
	Kernel driver in use: pcieport

05:00.0 USB controller [0c03]: Cards Ltd. Four Port Card [c0c0:0194] (rev 04) (prog-if 30 [XHCI])
	DeviceName: Front ports
	Subsystem: Cards Ltd. Four Port Card [c0c0:0001]
	Physical Slot: 4
	Control: I/O- Mem+ BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx+
	Interrupt: pin A routed to IRQ 19
	NUMA node: 1
	IOMMU group: 12
	Capabilities: [50] Power Management version 3
		Flags: PMEClk- DSI- D1- D2- AuxCurrent=375mA PME(D0+,D1-,D2-,D3hot+,D3cold+)
	Capabilities: [70] MSI: Enable- Count=1/8 Maskable- 64bit+
	Capabilities: [90] MSI-X: Enable+ Count=8 Masked-
	Capabilities: [a0] Express (v2) Endpoint, MSI 00
		DevCap:	MaxPayload 128 bytes, PhantFunc 0, Latency L0s unlimited, L1 unlimited
			ExtTag- AttnBtn- AttnInd- PwrInd- RBE+ FLReset+ SlotPowerLimit 10W
		DevCtl:	CorrErr- NonFatalErr- FatalErr- UnsupReq-
			RlxdOrd+ ExtTag- PhantFunc- AuxPwr- NoSnoop+ FLReset-
		LnkCap:	Port #0, Speed 5GT/s, Width x1, ASPM L0s L1, Exit Latency L0s <4us, L1 unlimited
		LnkSta:	Speed 2.5GT/s (downgraded), Width x1
		LnkCap2: Supported Link Speeds: 2.5-5GT/s, Crosslink- Retimer- 2Retimers- DRS-
	Kernel driver in use: xhci_hcd
	Kernel modules: xhci_pci

06:00.0 Ethernet controller [0200]: Example Corp. Network [a0a0:0200]
	Flags: fast devsel, IRQ 18
	Capabilities: <access denied>
	Kernel modules: one, two
"""


def one(text: str) -> Told:
    """Return the only function of a text."""
    (told,) = parse_lspci(text)
    return told


def test_lspci_details_are_read() -> None:
    """All that the details tell of a controller is read, from its ids to the bridge above it."""
    host, _, card, network = parse_lspci(DETAILS)

    assert card == Told(
        "0000:05:00.0",
        id="c0c0:0194",
        kind=0x0C03,
        prog_if=0x30,
        name="Cards Ltd. Four Port Card",
        subsystem="c0c0:0001",
        revision=4,
        driver="xhci_hcd",
        modules=("xhci_pci",),
        group="12",
        numa_node=1,
        link_speed="2.5 GT/s PCIe",
        link_width="1",
        max_link_speed="5.0 GT/s PCIe",
        max_link_width="1",
        interrupts="msix",
        slot="4",
        label="Front ports",
        flr=True,
        path="/sys/devices/pci0000:00/0000:00:1c.0/0000:05:00.0",
    )
    assert (host.group, host.numa_node, host.driver) == ("0", 0, "")
    assert (network.modules, network.interrupts) == (("one", "two"), "")


def test_lspci_text_that_may_be_cut_tells_no_missing_driver() -> None:
    """The last function may have lost its line with the driver: that it has none is not known."""
    *_, network = parse_lspci(DETAILS)

    assert network.driver is None


@pytest.mark.parametrize(
    "text",
    [
        DETAILS.replace("\t", ""),
        DETAILS.replace("\n", "\r\n"),
        DETAILS.replace("\t", "        "),
        "".join(f"> {line}\n" for line in DETAILS.splitlines()),
        DETAILS.replace("\n\n", "\n"),
        DETAILS.replace("\t", 4 * "\u00a0"),
        "$ lspci -nnvv\n" + DETAILS,
        "lspci\n" + DETAILS,
    ],
    ids=["indents-lost", "crlf", "spaces", "quoted", "no-blank-lines", "hard-spaces", "prompt", "command"],
)
def test_lspci_form_of_the_text_does_not_matter(text: str) -> None:
    """Details without indents, of another system's line ends, or quoted in a mail give the same functions."""
    assert parse_lspci(text) == parse_lspci(DETAILS)


@pytest.mark.parametrize(
    ("line", "kind", "pair", "name"),
    [
        ("05:00.0 USB controller: Cards Ltd. Card (rev 04)", 0x0C03, "", "Cards Ltd. Card"),
        ("05:00.0 USB Controller: Cards Ltd. Card [Both] (rev 04)", 0x0C03, "", "Cards Ltd. Card [Both]"),
        ("05:00.0 0c03: c0c0:0194 (rev 04)", 0x0C03, "c0c0:0194", ""),
        ("05:00.0 Class 0c03: C0C0:0194 (rev 04)", 0x0C03, "c0c0:0194", ""),
        ("05:00.0 Class 0c03: c0c0:0194 xhci_hcd", 0x0C03, "c0c0:0194", ""),
        ("05:00.0 USB controller [0c03]: Cards Ltd. Device [c0c0:0194]", 0x0C03, "c0c0:0194", "Cards Ltd. Device"),
        ("05:00.0 USB controller: Device c0c0:0194 (rev 04)", 0x0C03, "c0c0:0194", ""),
        ("05:00.0 Serial bus controller [0cff]: Cards Ltd. Device 0194", 0x0CFF, "", "Cards Ltd. Device 0194"),
        ("05:00.0 No such class: Cards Ltd. Card", None, "", "Cards Ltd. Card"),
    ],
)
def test_lspci_heads(line: str, kind: int | None, pair: str, name: str) -> None:
    """Class, id and name are read as every version prints them, with names, numbers or both."""
    told = one(line)

    assert (told.address, told.kind, told.id, told.name) == ("0000:05:00.0", kind, pair, name)


@pytest.mark.parametrize(
    ("start", "address"),
    [("0000:05:00.0", "0000:05:00.0"), ("10000:e1:00.0", "10000:e1:00.0"), ("00:1c.0/05:00.0", "0000:05:00.0")],
    ids=["-D", "long-domain", "-PP"],
)
def test_lspci_addresses(start: str, address: str) -> None:
    """Domains of any length and the path of bridges before an address are read."""
    assert one(f"{start} USB controller: Cards Ltd. Card").address == address


def test_lspci_interface_is_never_guessed() -> None:
    """A marketing name tells no programming interface; a device that reads as ones tells nothing at all."""
    assert one("05:00.0 USB controller: Cards Ltd. USB 3.0 xHCI Controller (rev 04)").prog_if is None
    dead = one("05:00.0 USB controller: Cards Ltd. Card (rev ff) (prog-if ff)")
    assert (dead.prog_if, dead.revision) == (None, None)


def test_lspci_busybox_driver() -> None:
    """Busybox prints the driver behind the id."""
    assert one("05:00.0 Class 0c03: c0c0:0194 xhci_hcd").driver == "xhci_hcd"


def test_lspci_several_outputs_are_joined() -> None:
    """A list, the numbers and the details of one function tell together."""
    told = one(
        "$ lspci | grep USB\n05:00.0 USB controller: Cards Ltd. Card (rev 04)\n"
        "$ lspci -n | grep 05:00.0\n05:00.0 0c03: c0c0:0194 (rev 04)\n"
        "$ lspci -s 05:00.0 -v\n05:00.0 USB controller: Cards Ltd. Card (rev 04) (prog-if 30 [XHCI])\n"
        "Flags: bus master, fast devsel, latency 0, IRQ 19\nKernel driver in use: xhci_hcd\n"
    )

    assert (told.name, told.id, told.prog_if, told.driver) == ("Cards Ltd. Card", "c0c0:0194", 0x30, "xhci_hcd")


def test_lspci_last_word_on_the_driver() -> None:
    """Of two drivers of one function the later one is in use: it was bound in between."""
    head = "05:00.0 USB controller: Cards Ltd. Card\n"

    assert one(f"{head}\tKernel driver in use: xhci_hcd\n{head}\tKernel driver in use: vfio-pci\n").driver == "vfio-pci"


@pytest.mark.parametrize(
    "prompt", ["$ ", "# ", "[root@host ~]# ", "user@host:~$ sudo ", "host ~ # ", "bash-5.1# /usr/sbin/", "host% ", "> "]
)
def test_lspci_prompts(prompt: str) -> None:
    """A prompt ends a function's lines, however the shell spells it."""
    card = "05:00.0 USB controller: Cards Ltd. Company of Four Port Cards, Card Name of the First Kind"
    told = parse_lspci(f"{card}\n{prompt}lspci -nn\n06:00.0 USB controller: Cards Ltd. Card\n")

    assert [one.name for one in told] == [card.partition(": ")[2], "Cards Ltd. Card"]


def test_lspci_function_twice_in_one_list() -> None:
    """A function that is listed twice, as after somebody's edit, costs none of the others."""
    found = parse_lspci("05:00.0 USB controller: Card\n05:00.0 Audio device: Other\n06:00.0 Ethernet controller: Card\n")

    assert [(told.address, told.kind) for told in found] == [("0000:05:00.0", 0x0C03), ("0000:06:00.0", 0x0200)]


def test_lspci_list_of_another_machine_is_left_out() -> None:
    """A list that contradicts the first one is the guest's: none of it is the host's."""
    found = parse_lspci(
        "00:00.0 Host bridge: Example Corp. Root Complex\n05:00.0 USB controller: Cards Ltd. Card\n"
        "$ lspci\n00:00.0 Host bridge: Virtual Inc. Chipset\n00:04.0 USB controller: Cards Ltd. Card\n"
    )

    assert [told.address for told in found] == ["0000:00:00.0", "0000:05:00.0"]


def test_lspci_wrapped_lines() -> None:
    """A head and a line of flags that a mail client broke are put together again."""
    told = one(
        "05:00.0 USB controller [0c03]: Cards Ltd. Company of Four Port Cards, Card\nName of the Second [c0c0:0194] (rev 04)\n"
        "(prog-if 30 [XHCI])\n\tFlags: bus master, fast devsel, latency 0, IRQ 19, NUMA node 0, IOMMU\ngroup 7\n"
    )

    assert told.name == "Cards Ltd. Company of Four Port Cards, Card Name of the Second"
    assert (told.id, told.prog_if, told.group) == ("c0c0:0194", 0x30, "7")


def test_lspci_dump_of_registers_is_no_name() -> None:
    """The hex dump of -x below a long head is left out."""
    name = "Cards Ltd. Company of Four Port Cards, Card Name of the Second Kind"

    assert one(f"05:00.0 USB controller: {name}\n00: c0 c0 94 01\n10: 00 00 00 00\n").name == name


def test_lspci_of_what_grep_left() -> None:
    """Where grep -A cut a function's lines away, a missing line does not mean that there is no driver."""
    first, second = parse_lspci(
        "00:14.0 USB controller: Cards Ltd. Card\n\tSubsystem: Cards Ltd. Card\n--\n"
        "05:00.0 USB controller: Cards Ltd. Card\n\tKernel driver in use: xhci_hcd\n"
    )

    assert (first.driver, second.driver) == (None, "xhci_hcd")


@pytest.mark.parametrize(
    ("line", "speed", "width"),
    [
        ("LnkSta: Speed 8GT/s (ok), Width x4 (ok)", "8.0 GT/s PCIe", "4"),
        ("LnkSta: Speed 5.0GT/s, Width x16, TrErr- Train-", "5.0 GT/s PCIe", "16"),
        ("Link: Speed 2.5Gb/s, Width x1", "2.5 GT/s PCIe", "1"),
        ("LnkSta: Speed unknown, Width x0", "", ""),
        ("LnkSta2: Current De-emphasis Level: -6dB, Speed 9GT/s", "", ""),
    ],
)
def test_lspci_link(line: str, speed: str, width: str) -> None:
    """The link's speed and width are spelled like sysfs'; no link is no speed."""
    told = one(f"05:00.0 USB controller: Cards Ltd. Card\n\t\t{line}\n")

    assert (told.link_speed, told.link_width) == (speed, width)


@pytest.mark.parametrize(
    ("lines", "interrupts"),
    [
        ("Capabilities: [90] MSI-X: Enable- Count=8\nCapabilities: [70] MSI: Enable+ Count=1/8\n", "msi"),
        ("Capabilities: [70] Message Signalled Interrupts: Mask- 64bit+ Queue=0/3 Enable+\n", "msi"),
        ("Capabilities: [70] MSI: Enable- Count=1/8\n", "intx"),
        ("Capabilities: [74] HyperTransport: MSI Mapping Enable+ Fixed+\n", "intx"),
        ("Control: Mem+ DisINTx+\nCapabilities: [70] MSI: Enable- Count=1/8\n", ""),
        ("Capabilities: <access denied>\n", ""),
        ("Capabilities:\n", ""),
    ],
)
def test_lspci_interrupts(lines: str, interrupts: str) -> None:
    """A pin is in use only where the capabilities were shown, no message is enabled and the pin is not switched off."""
    head = "05:00.0 USB controller: Cards Ltd. Card\nFlags: bus master, IRQ 19\n"

    assert one(f"{head}{lines}Kernel driver in use: xhci_hcd\n").interrupts == interrupts


@pytest.mark.parametrize(
    ("lines", "flr"),
    [
        ("ExtTag- RBE+ FLReset- TEE-IO-", False),
        ("RlxdOrd- ExtTag- PhantFunc- AuxPwr- NoSnoop- FLReset-", None),
        ("AFCap: TP+ FLR+", True),
        ("AFCtrl: FLR-", None),
    ],
)
def test_lspci_function_level_reset(lines: str, flr: bool | None) -> None:  # noqa: FBT001 (a table's column)
    """A function level reset is offered by DevCap or AFCap, not by the bits that start one."""
    assert one(f"05:00.0 USB controller: Cards Ltd. Card\n\t\t\t{lines}\n").flr is flr


@pytest.mark.parametrize("text", ["", "\n\n", "05:00.0", "no list", "99:99.9 USB controller: Card", "--\n", "05:00.0 : \n"])
def test_lspci_nothing_is_no_function(text: str) -> None:
    """A text without functions gives none."""
    assert parse_lspci(text) == ()


@given(damaged(DETAILS))
def test_lspci_survives_damage(text: str) -> None:
    """A text cut off anywhere, with other characters in it, is read without an error, and its addresses are addresses."""
    assert all(find_address(told.address) == told.address for told in parse_lspci(text))


@given(st.integers(0, len(DETAILS)))
def test_lspci_cut_off_is_never_another_answer(length: int) -> None:
    """A text that is cut off tells less of a function's driver and interface, never something else."""
    whole = {told.address: told for told in parse_lspci(DETAILS)}

    for told in parse_lspci(DETAILS[:length]):
        assert told.prog_if in {None, whole[told.address].prog_if}
        assert told.driver is None or (whole[told.address].driver or "").startswith(told.driver)


CONFIG = """05:00.0 USB controller: Cards Ltd. Card (rev 04)
00: c0 c0 94 01 06 04 10 00 04 30 03 0c 10 00 00 00
10: 04 00 00 fe 00 00 00 00 00 00 00 00 00 00 00 00
20: 00 00 00 00 00 00 00 00 00 00 00 00 c1 c1 02 00
30: 00 00 00 00 50 00 00 00 00 00 00 00 0b 01 00 00

"""
BRIDGE = """00:1c.0 PCI bridge: Cards Ltd. Port
00: c0 c0 1c 00 07 04 10 00 00 00 04 06 10 00 81 00
10: 00 00 00 00 00 00 00 00 00 05 05 00 f0 00 00 00
20: 00 fe 00 fe f1 ff 01 00 00 00 00 00 00 00 00 00
30: 00 00 00 00 40 00 00 00 00 00 00 00 0b 01 00 00

"""


def test_lspci_reads_configuration_space() -> None:
    """With -x the bytes tell the id, the interface, the subsystem and the bridge above; names are lspci's."""
    told = parse_lspci(BRIDGE + CONFIG)[1]

    assert (told.id, told.kind, told.prog_if, told.subsystem) == ("c0c0:0194", 0x0C03, 0x30, "c1c1:0002")
    assert (told.name, told.path) == ("Cards Ltd. Card", "/sys/devices/pci0000:00/0000:00:1c.0/0000:05:00.0")


@pytest.mark.parametrize(
    ("text", "prog_if", "subsystem"),
    [
        pytest.param(CONFIG.partition("10: ")[0], 0x30, "", id="one-row"),
        pytest.param(CONFIG.partition(" 10 00 00 00\n")[0], None, "", id="half-a-row"),
        pytest.param(CONFIG.partition("\n10: ")[0].replace("00: ", "10: "), None, "", id="other-offset"),
        pytest.param(re.sub(r"(?<= )[0-9a-f]{2}(?= |$)", "ff", CONFIG, flags=re.MULTILINE), None, "", id="dead"),
    ],
)
def test_lspci_broken_configuration_space(text: str, prog_if: int | None, subsystem: str) -> None:
    """Bytes that are cut off, or of a function that does not answer, tell nothing that they do not hold."""
    told = one(text.replace("05:ff.0", "05:00.0"))

    assert (told.prog_if, told.subsystem) == (prog_if, subsystem)


@pytest.mark.parametrize("kind", ["Class 0c0330", "0c0330", "USB controller [0c0330]"])
def test_lspci_class_of_six_digits(kind: str) -> None:
    """A class with its interface, as toybox prints it with -e, is a USB controller like any other."""
    told = one(f"05:00.0 {kind}: c0c0:0194 xhci_hcd\n")

    assert (told.kind, told.prog_if, told.id, told.driver) == (0x0C03, 0x30, "c0c0:0194", "xhci_hcd")
