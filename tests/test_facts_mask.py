"""Masking: what names a machine is gone everywhere, equal things stay equal, and the facts stay what they were."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.capture import Capture, Item, Status
from harness.facts.host import read_facts
from harness.facts.mask import mask
from tests.captures import CARD, INTEL_BOARD, Files, make_capture, usb_stick

SERIAL, MAC, HOST = "AA010203040506", "00:15:17:ab:cd:ef", "calliope"
NETWORK: Files = {
    "sys/class/net/enx001517abcdef": "/sys/devices/pci0000:00/0000:00:03.0/net/enx001517abcdef",
    "sys/class/net/enx001517abcdef/address": f"{MAC}\n",
    "proc/net/if_inet6": "fe80000000000000021517fffeabcdef 02 40 20 80 enx001517abcdef\n",
    "proc/net/ipv6_route": "fe800000000000000000000000000000 40 00000000000000000000000000000000 00 "
    "00000000000000000000000000000000 00000100 00000001 00000000 00000001 enx001517abcdef\n",
    "commands/ssh-connection": "fe80::215:17ff:feab:cde0%enx001517abcdef 40000 fe80::215:17ff:feab:cdef 22",
}
NAMED: Files = {
    "proc/sys/kernel/hostname": f"{HOST}\n",
    "proc/cmdline": f"root=/dev/mapper/{HOST}--vg-root systemd.hostname={HOST} intel_iommu=on",
    "sys/class/block/dm-0": "/sys/devices/virtual/block/dm-0",
    "sys/class/block/dm-0/dm/name": f"{HOST}--vg-root",
    "sys/class/block/sda1/holders": "dm-0",
    "proc/self/mountinfo": f"22 1 253:0 / / rw - ext4 /dev/mapper/{HOST}--vg-root rw\n",
    "commands/dmesg": (
        f"[    0.1] Command line: root=/dev/mapper/{HOST}--vg-root\n"
        f"[    1.2] usb 2-1: SerialNumber: {SERIAL}\n"
        "[    1.3] usb usb1: SerialNumber: 0000:00:14.0\n"
        f"[    1.4] e1000e 0000:00:19.0 eth0: (PCI Express:2.5GT/s:Width x1) {MAC}\n"
        f"[    2.0] systemd[1]: Hostname set to <{HOST}.example.org>.\n"
        f"[    2.1] systemd[1]: started for {HOST}.\n"
    ),
}
BOARD = make_capture(
    INTEL_BOARD, usb_stick(CARD["intel"], serial=SERIAL), NETWORK, NAMED, {"sys/bus/usb/devices/usb1/serial": "x"}
)


def masked(name: str, text: str, **others: str) -> str:
    """Return the text of one item after masking."""
    files: Files = {name: text, **{key.replace("__", "/"): value for key, value in others.items()}}
    return mask(make_capture(files)).items[name].data.decode()


def test_mask_removes_what_names_the_machine() -> None:
    """Nothing of the serial number, the MAC address in any form and the host's name is left, neither in contents nor in names."""
    capture = mask(BOARD)

    everything = "\n".join(f"{name}\n{item.data.decode('latin-1')}" for name, item in capture.items.items())
    for secret in (SERIAL, MAC, "001517abcdef", "021517ff", "215:17ff", HOST, "example.org"):
        assert secret not in everything, secret
    assert "usb 2-1: SerialNumber: SERIAL-0001\n" in everything
    assert "usb usb1: SerialNumber: 0000:00:14.0\n" in everything


def test_mask_leaves_the_facts() -> None:
    """The facts of a masked capture are those of the raw one, with pseudonyms in the places of what was masked."""
    raw = json.dumps(msgspec.to_builtins(read_facts(BOARD, {})))
    for secret, pseudonym in {
        SERIAL: "SERIAL-0001",
        MAC: "02:00:00:00:00:01",
        "001517abcdef": "020000000001",
        f"{HOST}.example.org": "host",
        HOST: "host",
    }.items():
        raw = raw.replace(secret, pseudonym)

    facts = read_facts(mask(BOARD), {})

    assert json.loads(json.dumps(msgspec.to_builtins(facts))) == json.loads(raw)
    assert any(interface.carries_ssh for interface in facts.network)
    assert [disk.used_for for disk in facts.disks if disk.name == "sda"] == [("root",)]


def test_mask_twice_is_mask_once() -> None:
    """Pseudonyms are left alone."""
    assert mask(mask(BOARD)) == mask(BOARD)


def test_mask_equal_things_are_equal() -> None:
    """The same serial number or address has the same pseudonym everywhere, another one another."""
    capture = mask(
        make_capture(
            {
                "sys/bus/usb/devices/1-1/serial": "ABC123456\n",
                "sys/bus/usb/devices/1-2/serial": "XYZ987654",
                "sys/bus/usb/devices/1-3/serial": "ABC123456",
                "commands/dmesg": "scsi: ABC123456 found; AB-CD-EF-01-02-03 and ab:cd:ef:01:02:03, not ABC1234567",
            }
        )
    )

    serials = [capture.text(f"sys/bus/usb/devices/1-{port}/serial") for port in (1, 2, 3)]
    assert serials == ["SERIAL-0001", "SERIAL-0002", "SERIAL-0001"]
    assert capture.text("commands/dmesg") == ("scsi: SERIAL-0001 found; 02-00-00-00-00-01 and 02:00:00:00:00:01, not ABC1234567")


@pytest.mark.parametrize("serial", ["0", "123", "0000:00:14.0", "xhci", "1234567", "debian"])
def test_mask_short_strings_are_masked_in_their_place_alone(serial: str) -> None:
    """A serial number that may mean something else is replaced where serial numbers stand, and left in every other text."""
    log = f"[  123.0] usb 1-1: speed {serial} of {serial}, 0000:00:14.0 xhci 1234567 debian\n"
    capture = mask(make_capture({"sys/bus/usb/devices/1-1/serial": serial, "commands/dmesg": log, "etc/os-release": "ID=debian"}))

    assert capture.text("commands/dmesg") == log.strip()
    assert (capture.text("sys/bus/usb/devices/1-1/serial") == serial) == (serial in {"0", "0000:00:14.0"})


@pytest.mark.parametrize("host", ["usb", "vfio", "debian", "xhci_pci", "kernel"])
def test_mask_host_names_that_are_words_stay_words(host: str) -> None:
    """A host that is called like a driver or a distribution is masked where its name stands, and breaks nothing else."""
    files: Files = {
        "proc/sys/kernel/hostname": host,
        "commands/uname": f"Linux {host} 6.1.0 x86_64",
        "commands/dmesg": f"Nov 22 10:00:00 {host} kernel: {host} 1-1: new device\nNov 22 10:00:01 {host} systemd[1]: x\n",
        "proc/modules": "xhci_pci 1 0 - Live 0x0\n",
        "etc/os-release": "ID=debian",
        "proc/cmdline": f"{host}.x=1",
    }

    capture = mask(make_capture(files))

    assert capture.text("proc/sys/kernel/hostname") == "host"
    assert capture.text("commands/uname") == "Linux host 6.1.0 x86_64"
    assert capture.text("commands/dmesg") == (
        f"Nov 22 10:00:00 host kernel: {host} 1-1: new device\nNov 22 10:00:01 host systemd[1]: x"
    )
    assert capture.text("proc/cmdline") == f"{host}.x=1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("  iSerial                 3 4C5300019\n", "  iSerial                 3 SERIAL-0001\n", id="lsusb"),
        pytest.param("  iSerial                 1 0000:00:14.0\n", "  iSerial                 1 0000:00:14.0\n", id="root-hub"),
        pytest.param("  iSerial                 0 \n", "  iSerial                 0 \n", id="no-serial"),
        pytest.param(
            "Device Serial Number 00-15-17-ff-ff-ab-cd-ef\n\tKernel driver in use: e1000e\n",
            "Device Serial Number SERIAL-0001\n\tKernel driver in use: e1000e\n",
            id="lspci",
        ),
        pytest.param("usb 1-1: SerialNumber: 0001-0001\n", "usb 1-1: SerialNumber: SERIAL-0001\n", id="like-a-pseudonym"),
        pytest.param("usb 1-1: SerialNumber: SERIAL\n", "usb 1-1: SerialNumber: SERIAL-0001\n", id="part-of-a-pseudonym"),
        pytest.param(
            "Device Serial Number 00-00-00-00-00-00-00-00\n", "Device Serial Number 00-00-00-00-00-00-00-00\n", id="zeros"
        ),
        pytest.param("[SN] Serial number: MT1750X01\n", "[SN] Serial number: SERIAL-0001\n", id="vpd"),
        pytest.param("Serial: 8250/16550 driver, 4 ports\n", "Serial: 8250/16550 driver, 4 ports\n", id="serial-port"),
        pytest.param(
            "on /dev/disk/by-id/usb-Maker_Stick_4C5300019-0:0-part1\n",
            "on /dev/disk/by-id/usb-Maker_Stick_SERIAL-0001-0:0-part1\n",
            id="by-id",
        ),
        pytest.param("by-id/wwn-0x5000c500a1b2c3d4 x\n", "by-id/wwn-SERIAL-0001 x\n", id="wwn"),
        pytest.param("mpt3sas: sas_addr(0x500605b001234567)\n", "mpt3sas: sas_addr(SERIAL-0001)\n", id="sas"),
        pytest.param("MAC:aa:bb:cc:dd:ee:0f.\n", "MAC:02:00:00:00:00:01.\n", id="mac"),
        pytest.param("ff:ff:ff:ff:ff:ff 00:00:00:00:00:00\n", "ff:ff:ff:ff:ff:ff 00:00:00:00:00:00\n", id="no-mac"),
        pytest.param("bytes 01 02 0000:00:1f.6 12:34:56 10:20\n", "bytes 01 02 0000:00:1f.6 12:34:56 10:20\n", id="others"),
        pytest.param("guid 00:15:17:ff:fe:ab:cd:ef\n", "guid SERIAL-0001\n", id="guid"),
        pytest.param("from 2001:db8::215:17ff:feab:cdef to\n", "from 2001:db8::0:ff:fe00:1 to\n", id="eui-64"),
    ],
)
def test_mask_texts(text: str, expected: str) -> None:
    """Each form in which programs print such numbers is masked, and what only looks alike stays."""
    assert masked("commands/dmesg", text) == expected


def test_mask_journal_of_the_kernel() -> None:
    """The host before each line of a journal is masked; a word that stands there once in a bare log is no host."""
    journal = "[    0.0] muse kernel: Linux version 6.1\n[    0.1] muse kernel: muse is a word here\n"
    assert masked("commands/dmesg", journal) == journal.replace("] muse kernel", "] host kernel")
    bare = "[    0.0] Linux version 6.1\n[    0.1] Booting kernel: `x' invalid\n[    0.2] usb 1-1: new\n"
    assert masked("commands/dmesg", bare) == bare


def test_mask_keeps_tables_and_states() -> None:
    """Binary tables, what was denied, what was asked for and the time are as they were."""
    table = b"DMAR" + bytes(range(256))
    capture = Capture(
        {"sys/firmware/acpi/tables/DMAR": Item(Status.READ, table), "commands/dmesg": Item(Status.DENIED)}, "2026", ("dev",)
    )

    assert mask(capture) == capture


@given(st.dictionaries(st.sampled_from(["commands/dmesg", "sys/bus/usb/devices/1-1/serial", "proc/cmdline"]), st.binary()))
def test_mask_survives_any_bytes(contents: dict[str, bytes]) -> None:
    """Whatever bytes a capture holds, it can be masked."""
    capture = mask(Capture({name: Item(Status.READ, data) for name, data in contents.items()}))

    assert set(capture.items) == set(contents)
