"""The probe: what its script prints on a made-up root, and what its reader makes of any output."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.capture import Capture, Status
from harness.core.errors import BenchError, ThroughpassError
from harness.facts.host import read_facts
from harness.facts.probe import PROBE_SCRIPT, SECTIONS, parse_probe

SHELLS = [
    pytest.param(["sh"], id="sh"),
    pytest.param(["dash"], id="dash"),
    pytest.param(["bash", "--posix"], id="bash"),
    pytest.param(["busybox", "ash"], id="busybox"),
    pytest.param(["mksh"], id="mksh"),
    pytest.param(["ksh"], id="ksh"),
]
HOSTILE = "\\n@tp read 4 proc/cmdline\\nevil `id` $(id) %s \\\\ \x1b[31m é"


def run_probe(root: Path, shell: list[str], **environment: str) -> bytes:
    """Run the probe on another root, as a transport would: the script on standard input."""
    if shutil.which(shell[0]) is None:
        pytest.skip(f"{shell[0]} is not installed")
    environment = {**os.environ, "THROUGHPASS_ROOT": str(root), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", **environment}
    done = subprocess.run(
        [*shell, "-s"], input=PROBE_SCRIPT.encode(), env=environment, capture_output=True, timeout=60, check=True
    )
    assert done.stderr == b""
    return done.stdout


def write(root: Path, name: str, content: str | bytes = "") -> Path:
    """Write a file below a root, with the folders above it."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small root: one xHCI controller behind a root port in group 2, a stick on it, an ACPI table."""
    device = tmp_path / "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0"
    for name, text in {
        "vendor": "0x1033",
        "device": "0x0194",
        "class": "0x0c0330",
        "reset_method": "bus",
        "reset": "unread",
    }.items():
        write(device, name, text + "\n")
    stick = device / "usb2/2-1"
    write(stick, "idVendor", "46f4\n")
    write(stick, "serial", HOSTILE)
    write(tmp_path, "sys/kernel/iommu_groups/2/type", "DMA-FQ\n")
    write(tmp_path, "sys/kernel/iommu_groups/2/reserved_regions", "0x0 0xffffff direct-relaxable\n0xfee00000 0xfeefffff msi\n")
    write(tmp_path, "sys/firmware/acpi/tables/DMAR", bytes(range(256)))
    write(tmp_path, "proc/cmdline", "root=/dev/vda1 quiet\n")
    write(tmp_path, "commands/dmesg", "[    0.1] one\n[    0.2] two\n")
    (tmp_path / "sys/class/iommu").mkdir(parents=True)
    link(tmp_path, "sys/bus/pci/devices/0000:01:00.0", device)
    link(tmp_path, "sys/bus/usb/devices/2-1", stick)
    link(tmp_path, "sys/kernel/iommu_groups/2/devices/0000:01:00.0", device)
    (tmp_path / "sys/bus/pci/drivers/xhci_hcd").mkdir(parents=True)
    (device / "driver").symlink_to(tmp_path / "sys/bus/pci/drivers/xhci_hcd")
    (device / "iommu_group").symlink_to("../../../../kernel/iommu_groups/2")
    return tmp_path


def link(root: Path, name: str, target: Path) -> None:
    """Link a name below a root to a folder, relatively as sysfs does."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.relpath(target, path.parent))


@pytest.mark.parametrize("shell", SHELLS)
def test_probe_reads_a_root(root: Path, shell: list[str]) -> None:
    """Every common shell prints attributes, links, lists and binary tables so that they are read back as they are."""
    capture = parse_probe(run_probe(root, shell))
    device = "sys/bus/pci/devices/0000:01:00.0"

    assert capture.text(device) == "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0"
    assert capture.text(f"{device}/driver") == "/sys/bus/pci/drivers/xhci_hcd"
    assert capture.text(f"{device}/iommu_group") == "/sys/kernel/iommu_groups/2"
    assert capture.text("sys/kernel/iommu_groups/2/devices") == "0000:01:00.0"
    assert capture.text("sys/kernel/iommu_groups/2/reserved_regions") == (
        "0x0 0xffffff direct-relaxable\n0xfee00000 0xfeefffff msi"
    )
    assert capture.get("sys/firmware/acpi/tables/DMAR").data == bytes(range(256))
    assert capture.text("sys/class/iommu") == ""
    assert capture.text("commands/dmesg") == "[    0.1] one\n[    0.2] two"
    assert capture.taken.startswith("20")
    assert not [name for name, item in capture.items.items() if item.status is Status.TIMED_OUT]


@pytest.mark.parametrize("shell", SHELLS)
def test_probe_keeps_hostile_strings(root: Path, shell: list[str]) -> None:
    """A device's serial number is kept byte by byte, is not run, and cannot pretend to be another item."""
    capture = parse_probe(run_probe(root, shell))

    assert capture.get("sys/bus/usb/devices/2-1/serial").data == HOSTILE.encode()
    assert capture.text("proc/cmdline") == "root=/dev/vda1 quiet"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("lines", [0, 1, 79, 80, 81, 300])
def test_probe_reads_files_of_any_length(root: Path, shell: list[str], lines: int) -> None:
    """A file is the same whether it is read alone or with others: backslashes, blanks, and a last line that does not end."""
    text = "".join(f"  {number}\t\\n  x \n" for number in range(lines)) + "the end"
    for name in ("proc/modules", "proc/self/mountinfo", "proc/net/ipv6_route"):
        write(root, name, text)
    for name in ("proc/swaps", "proc/net/route"):
        write(root, name, "")

    capture = parse_probe(run_probe(root, shell))

    for name in ("proc/modules", "proc/self/mountinfo", "proc/net/ipv6_route"):
        assert capture.get(name).data == text.encode()
    for name in ("proc/swaps", "proc/net/route"):
        assert (capture.get(name).status, capture.text(name)) == (Status.READ, "")
    assert capture.get("proc/net/if_inet6").status is Status.ABSENT


def test_probe_takes_the_sections_that_are_named(root: Path) -> None:
    """Of named sections alone there are items; the others are not missing, for nobody asked for them."""
    argv, environment = ["/bin/sh", "-s", "pci", "usb"], {**os.environ, "THROUGHPASS_ROOT": str(root)}
    done = subprocess.run(argv, input=PROBE_SCRIPT.encode(), env=environment, capture_output=True, check=True)

    capture = parse_probe(done.stdout)

    assert {name for name in capture.items if name.startswith("sections/")} == {"sections/pci", "sections/usb"}
    assert capture.text("sys/bus/usb/devices/2-1/serial") is not None
    assert capture.get("proc/cmdline").status is Status.ABSENT
    assert read_facts(capture, {}).gaps == ()


def test_probe_sections_are_those_of_the_script() -> None:
    """What can be named is what the script photographs when nothing is named, in the same order."""
    assert f"SECTIONS='{' '.join(SECTIONS)}'" in PROBE_SCRIPT


def test_probe_names_the_tools(root: Path) -> None:
    """The programs that the suites use are named; on another root a file names them."""
    write(root, "commands/tools", "fio perl\n")

    assert read_facts(parse_probe(run_probe(root, ["sh"])), {}).tools == ("fio", "perl")
    (root / "commands/tools").unlink()
    assert read_facts(parse_probe(run_probe(root, ["sh"])), {}).tools is None


def test_probe_never_opens_reset(root: Path) -> None:
    """The file reset is noted and neither read nor written."""
    reset = root / "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/reset"

    capture = parse_probe(run_probe(root, ["sh"]))

    item = capture.get("sys/bus/pci/devices/0000:01:00.0/reset")
    assert (item.status, item.data) == (Status.READ, b"")
    assert reset.read_text(encoding="utf-8") == "unread\n"
    assert '/reset"' not in PROBE_SCRIPT.replace('present "$device/reset"', "")


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("hanging", [("pci",), ("links", "usb"), ("kernel", "tools")])
def test_probe_leaves_a_hung_read_behind(root: Path, shell: list[str], hanging: tuple[str, ...]) -> None:
    """A read that never ends costs its own section alone, and that section is marked; the others come, in one process or more."""
    files = {
        "pci": "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/revision",
        "links": "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/max_link_width",
        "usb": "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/usb2/2-1/product",
        "kernel": "proc/version",
        "tools": "commands/tools",
    }
    for section in hanging:
        path = root / files[section]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        os.mkfifo(path)  # opening it for reading waits for a writer that never comes

    capture = parse_probe(run_probe(root, shell, THROUGHPASS_TICK="0.2"))

    ended = {section: capture.get(f"sections/{section}").status for section in SECTIONS}
    assert ended == {section: Status.TIMED_OUT if section in hanging else Status.READ for section in SECTIONS}
    assert capture.text("commands/dmesg") is not None
    assert all(read_facts(capture, {}).section_timed_out(section) for section in hanging)


def test_probe_reads_texts_that_look_like_headings() -> None:
    """Of a bundle of files each has what head prints below its heading; a heading that comes again is not believed."""
    data = b"==> etc/os-release <==\nID=x\n\n==> proc/consoles <==\n\n==> proc/meminfo <==\nMem\n\n==> etc/os-release <==\nevil"
    end = b"\n==> /dev/null <=="
    bundle = b"@tp texts %d etc/os-release\n%s\n" % (len(data + end), data + end)

    capture = parse_probe(bundle + b"@tp read 0 end\n\n")

    found = {"etc/os-release": b"ID=x", "proc/consoles": b"", "proc/meminfo": b"Mem"}
    assert {name: item.data for name, item in capture.items.items()} == found
    cut = parse_probe(bundle[: -len(end) - 18]).items
    assert [item.status for item in cut.values()] == [Status.READ, Status.READ, Status.TIMED_OUT]


def test_probe_ends_beside_a_read_that_cannot_be_killed(root: Path) -> None:
    """A process that not even kill -9 ends keeps neither the probe's reader waiting nor the other sections from it."""
    hung = root / "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/revision"
    os.mkfifo(hung)
    script = PROBE_SCRIPT.replace('kill -9 "$section"', "true")
    assert script != PROBE_SCRIPT
    environment = {**os.environ, "THROUGHPASS_ROOT": str(root), "THROUGHPASS_TICK": "0.2"}

    try:
        done = subprocess.run(
            ["/bin/sh", "-s"], input=script.encode(), env=environment, capture_output=True, timeout=60, check=True
        )
    finally:
        os.close(os.open(hung, os.O_RDWR | os.O_NONBLOCK))  # the read ends now

    capture = parse_probe(done.stdout)
    assert capture.get("sections/pci").status is Status.TIMED_OUT
    assert capture.get("sections/tools").status is Status.READ


@pytest.mark.parametrize("shell", SHELLS)
def test_probe_reads_what_the_rules_need(root: Path, shell: list[str]) -> None:
    """Interrupts, links, slots, modules' origins and options, nodes and limits are brought, each in few words."""
    device = root / "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0"
    for name in ("24", "25"):
        write(device, f"msi_irqs/{name}", "msix\n")
    write(device, "max_link_speed", "5.0 GT/s PCIe\n")
    write(device, "power/runtime_status", "suspended\n")
    write(root, "sys/bus/pci/slots/3/address", "0000:01:00\n")
    write(root, "sys/module/xhci_pci/initstate", "live\n")
    write(root, "etc/modprobe.d/a.conf", "# vfio\noptions vfio-pci ids=1033:0194\nblacklist pcspkr\noptions kvm_intel nested=1\n")
    write(root, "etc/modprobe.d/b.conf", "blacklist pcspkr\n")
    write(root, "lib/modprobe.d/c.conf", "softdep xhci_pci pre: vfio-pci:x\noptions kvm a=b")
    write(root, "proc/self/limits", "Max locked memory         8388608              8388608              bytes     \n")
    write(root, "proc/sys/kernel/random/boot_id", "a-b\n")
    link(root, "sys/class/tty/ttyUSB0", device / "usb2/2-1")
    write(root, "dev/vfio/vfio")
    write(root, "dev/vfio/7")

    capture = parse_probe(run_probe(root, shell))

    folder = "sys/bus/pci/devices/0000:01:00.0"
    assert capture.text(f"{folder}/msi_irqs") == "24 25"
    assert [name for name in capture.items if name.startswith(f"{folder}/msi_irqs/")] == [f"{folder}/msi_irqs/24"]
    assert capture.text(f"{folder}/max_link_speed") == "5.0 GT/s PCIe"
    assert capture.text(f"{folder}/power/runtime_status") == "suspended"
    assert capture.text("sys/bus/pci/slots/3/address") == "0000:01:00"
    assert capture.text("sys/class/tty/ttyUSB0") == "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/usb2/2-1"
    assert capture.get("dev/vfio/7").status is Status.READ
    assert capture.text("etc/modprobe.d/a.conf") == "options vfio-pci ids=1033:0194\noptions kvm_intel nested=1"
    assert "etc/modprobe.d/b.conf" not in capture.items
    facts = read_facts(capture, {})
    assert (facts.kernel.memlock_kib, facts.kernel.boot_id, facts.xhci_module) == (8192, "a-b", "loaded")
    assert (facts.vfio.claimed_ids, facts.vfio.node) == (("1033:0194",), "accessible")


def path_of(folder: Path, **programs: str) -> str:
    """Make a folder of programs, each a script, beside the few that every system has; return it as a PATH."""
    folder.mkdir()
    for name in ("cat", "date", "head", "sed", "sh", "sleep", "tail", "xxd", "od"):
        if (found := shutil.which(name)) and name not in programs:
            (folder / name).symlink_to(found)
    for name, text in programs.items():
        if text:
            write(folder, name, f"#!/bin/sh\n{text}\n").chmod(0o755)
    return str(folder)


def take_alone(path: str, section: str, **environment: str) -> Capture:
    """Take one section of this machine with other programs."""
    script = re.sub(r"^PATH=.*$", f"PATH={path}", PROBE_SCRIPT, flags=re.MULTILINE)
    done = subprocess.run(
        ["/bin/sh", "-s", section],
        input=script.encode(),
        env={"PATH": path, **environment},
        capture_output=True,
        timeout=60,
        check=True,
    )
    return parse_probe(done.stdout)


JOURNAL = "printf '[    0.0] board kernel: Linux version 6.1\\n'"


@pytest.mark.parametrize(
    ("programs", "status", "text"),
    [
        pytest.param({"dmesg": "echo ring"}, Status.READ, "ring", id="dmesg"),
        pytest.param({"dmesg": "echo Linux version 6.1", "journalctl": JOURNAL}, Status.READ, "Linux version 6.1", id="both"),
        pytest.param({"dmesg": "echo ring", "journalctl": "echo kernel: late"}, Status.READ, "ring", id="neither-begins"),
        pytest.param(
            {"dmesg": "echo ring", "journalctl": JOURNAL},
            Status.READ,
            "[    0.0] board kernel: Linux version 6.1",
            id="ring-is-full",
        ),
        pytest.param({"dmesg": "exit 1"}, Status.DENIED, None, id="denied"),
        pytest.param(
            {"dmesg": "exit 1", "journalctl": JOURNAL}, Status.READ, "[    0.0] board kernel: Linux version 6.1", id="journal"
        ),
        pytest.param({"dmesg": "exit 1", "journalctl": "echo '-- No entries --'"}, Status.DENIED, None, id="closed-journal"),
        pytest.param(
            {"dmesg": "true", "journalctl": JOURNAL}, Status.READ, "[    0.0] board kernel: Linux version 6.1", id="cleared"
        ),
        pytest.param({}, Status.ABSENT, None, id="neither"),
    ],
)
def test_probe_finds_a_log(tmp_path: Path, programs: dict[str, str], status: Status, text: str | None) -> None:
    """The log comes from dmesg, or where that is closed, missing or cleared from the journal, if this is open."""
    capture = take_alone(path_of(tmp_path / "bin", **programs), "log")

    assert (capture.get("commands/dmesg").status, capture.text("commands/dmesg")) == (status, text)


def test_probe_bounds_the_log(tmp_path: Path) -> None:
    """Of a log that never seems to end, the last 8 MiB come."""
    programs = {
        "dmesg": f"{shutil.which('dd')} if=/dev/zero bs=1M count=9 2>/dev/null | {shutil.which('tr')} '\\0' x; echo; echo end"
    }

    capture = take_alone(path_of(tmp_path / "bin", **programs), "log")

    assert len(capture.get("commands/dmesg").data) == 8 << 20
    assert capture.get("commands/dmesg").data.endswith(b"x\nend")


@pytest.mark.parametrize(("gone", "status"), [((), Status.READ), (("od",), Status.READ), (("od", "xxd"), Status.TIMED_OUT)])
def test_probe_reads_tables_without_od(root: Path, tmp_path: Path, gone: tuple[str, ...], status: Status) -> None:
    """Where od is missing another program tells the bytes; without any they are unknown, not absent."""
    if shutil.which("xxd") is None:
        pytest.skip("xxd is not installed")
    path = path_of(tmp_path / "bin", **dict.fromkeys(gone, ""))

    item = take_alone(path, "acpi", THROUGHPASS_ROOT=str(root)).get("sys/firmware/acpi/tables/DMAR")

    assert item.status is status
    assert item.data == (bytes(range(256)) if status is Status.READ else b"")


def test_probe_says_what_it_asked_for() -> None:
    """A whole probe asks for everything; of single sections, only what they ask for can be absent."""
    whole = parse_probe(b"@tp read 6 sections\n" + b"kernel" + b"\n@tp read 0 sections/kernel\n\n@tp read 0 end\n\n")

    assert whole.asked("proc/cmdline")
    assert not whole.asked("sys/bus/pci/devices")
    assert parse_probe(f"@tp read {len(' '.join(SECTIONS))} sections\n{' '.join(SECTIONS)}\n".encode()).scope is None


def test_probe_names_that_no_tree_can_hold_are_left_out() -> None:
    """A host that prints names which lead out of a tree brings nothing with them."""
    capture = parse_probe(b"@tp read 1 ../../etc/x\n1\n@tp read 1 /abs\n1\n@tp read 1 a//b\n1\n@tp read 1 proc/x\n1\n")

    assert set(capture.items) == {"proc/x"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root is denied nothing")
def test_probe_tells_denied_from_absent(root: Path) -> None:
    """What may not be read is DENIED; what is not there is ABSENT."""
    (root / "sys/firmware/acpi/tables/DMAR").chmod(0)
    write(root, "proc/modules", "vfio 4096 0 - Live 0x0").chmod(0)

    capture = parse_probe(run_probe(root, ["sh"]))

    assert capture.get("proc/modules").status is Status.DENIED

    assert capture.get("sys/firmware/acpi/tables/DMAR").status is Status.DENIED
    assert capture.get("sys/firmware/acpi/tables/IVRS").status is Status.ABSENT


def test_probe_reads_this_machine() -> None:
    """On the machine of the tests, the probe ends at once and gives the running kernel."""
    done = subprocess.run(["/bin/sh", "-s"], input=PROBE_SCRIPT.encode(), capture_output=True, timeout=60, check=True)

    facts = read_facts(parse_probe(done.stdout), {})

    assert facts.kernel.release == os.uname().release
    assert facts.tools is not None
    assert {"dd", "timeout", "sha256sum", "python3"} <= set(facts.tools)
    assert done.stderr == b""


SAMPLE = (
    b"Welcome to the board!\n"
    b"@tp read 20 taken\n2026-01-01T00:00:00Z\n"
    b"@tp read 10 sections\nkernel pci\n"
    b"@tp read 5 proc/cmdline\nquiet\n"
    b"@tp denied 0 commands/dmesg\n\n"
    b"@tp hex 6 sys/firmware/acpi/tables/DMAR\n 44 4d\n"
    b"@tp read 0 sections/kernel\n\n"
    b"@tp read 0 sections/pci\n\n"
    b"@tp read 0 end\n\n"
)


def test_probe_output_is_read() -> None:
    """Headers, lengths and states become items; a banner before them is no item."""
    capture = parse_probe(SAMPLE)

    assert capture.taken == "2026-01-01T00:00:00Z"
    assert capture.text("proc/cmdline") == "quiet"
    assert capture.get("commands/dmesg").status is Status.DENIED
    assert capture.get("sys/firmware/acpi/tables/DMAR").data == b"\x44\x4d"
    assert set(capture.items) == {
        "proc/cmdline",
        "commands/dmesg",
        "sys/firmware/acpi/tables/DMAR",
        "sections/kernel",
        "sections/pci",
    }


def test_probe_output_cut_short_is_marked() -> None:
    """Output that ends inside an item gives what came before; the item and the missing sections are TIMED_OUT."""
    capture = parse_probe(SAMPLE[: SAMPLE.index(b"iet\n")])

    assert capture.get("proc/cmdline").status is Status.TIMED_OUT
    assert capture.text("proc/cmdline") is None
    assert capture.get("sections/kernel").status is Status.TIMED_OUT
    assert capture.get("sections/pci").status is Status.TIMED_OUT


def test_probe_output_with_a_killed_writer_is_read_on() -> None:
    """Where a section was killed in the middle of an item, the next header is found all the same."""
    output = (
        b"@tp read 3 sections\npci\n@tp read 4000 commands/dmesg\nonly a part\n@tp timed-out 0 sections/pci\n\n@tp read 0 end\n\n"
    )

    capture = parse_probe(output)

    assert capture.get("commands/dmesg").status is Status.TIMED_OUT
    assert capture.get("sections/pci").status is Status.TIMED_OUT


def test_probe_output_counted_in_characters_is_read() -> None:
    """A shell that counts characters and not bytes gives too small a length; the data is whole nevertheless."""
    output = "@tp read 4 sys/a\nzäöü\n@tp read 2 sys/b\nok\n".encode()

    capture = parse_probe(output)

    assert capture.text("sys/a") == "zäöü"
    assert capture.text("sys/b") == "ok"


@pytest.mark.parametrize("output", [b"", b"sh: syntax error\n", b"@tp read x y\n"])
def test_probe_output_without_an_item_is_an_error(output: bytes) -> None:
    """Output without any item is an error of the bench, with the output as evidence."""
    with pytest.raises(BenchError) as caught:
        parse_probe(output)

    assert caught.value.evidence == output.decode()


def parse_or_refuse(output: bytes) -> Capture | None:
    """Read output; None where it is refused as it should be."""
    try:
        return parse_probe(output)
    except ThroughpassError:
        return None


@given(st.binary(max_size=400))
def test_probe_output_of_any_bytes_is_survived(noise: bytes) -> None:
    """Any bytes are read or refused with an error of ours, and facts can be read of whatever came."""
    for output in (noise, b"@tp read 5 proc/cmdline\n" + noise, SAMPLE + noise):
        capture = parse_or_refuse(output)
        if capture is not None:
            read_facts(capture, {})


NAMES = st.sampled_from(
    [
        "proc/cpuinfo",
        "proc/interrupts",
        "proc/self/mountinfo",
        "proc/swaps",
        "proc/net/route",
        "proc/net/ipv6_route",
        "commands/ssh-connection",
        "commands/dmesg",
        "etc/os-release",
        "sys/firmware/acpi/tables/DMAR",
        "sys/firmware/acpi/tables/IVRS",
        "sys/bus/pci/devices/0000:01:00.0",
        "sys/bus/pci/devices/0000:01:00.0/vendor",
        "sys/bus/pci/devices/0000:01:00.0/device",
        "sys/bus/pci/devices/junk/vendor",
        "sys/bus/usb/devices/2-1/speed",
        "sys/class/block/sda",
        "sys/class/block/sda1",
        "sys/class/block/sda1/partition",
        "sys/class/block/sda/holders",
        "sys/kernel/iommu_groups/7/devices",
    ]
)


@given(st.dictionaries(NAMES, st.binary(max_size=80), max_size=8), st.integers(0, 400))
def test_probe_output_with_any_contents_is_survived(contents: dict[str, bytes], cut: int) -> None:
    """Whatever a host writes into its files, wherever the output is cut, facts can be read."""
    output = b"".join(b"@tp read %d %s\n%s\n" % (len(data), name.encode(), data) for name, data in contents.items())

    whole = parse_or_refuse(output)

    assert whole is None or {name: item.data for name, item in whole.items.items()} == contents
    for capture in (whole, parse_or_refuse(output[:cut])):
        if capture is not None:
            read_facts(capture, {})
