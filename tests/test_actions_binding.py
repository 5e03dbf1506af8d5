"""Plans that are applied: what a plan says when the kernel refuses, and what a binding makes of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness.actions import apply as apply_module
from harness.actions import plan as plan_module
from harness.actions.apply import STALE, Stale, apply_plan, drivers_query
from harness.actions.binding import Binding, ChangedError, read_drivers
from harness.actions.plan import IN_USE, Aim, Plan, Step, guard_steps
from harness.core.errors import BenchError, BoardError, RefusedError
from harness.facts.pci import PciDevice
from harness.transport.local import LocalTransport
from harness.transport.protocol import Result

ADDRESS = "0000:01:00.0"


def one(steps: tuple[Step, ...], before: str, after: str) -> Plan:
    """Return a plan for one device."""
    return Plan((Aim(ADDRESS, before, after),), steps)


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a device of a made-up host; it has no driver."""
    monkeypatch.setattr(plan_module, "DEVICES", str(tmp_path / "devices"))
    monkeypatch.setattr(apply_module, "DEVICES", str(tmp_path / "devices"))
    folder = tmp_path / "devices" / ADDRESS
    folder.mkdir(parents=True)
    (folder / "rescan").touch()
    return folder


def give_driver(device: Path, name: str) -> None:
    """Bind the made-up device to a driver."""
    driver = device.parents[1] / "drivers" / name
    driver.mkdir(parents=True, exist_ok=True)
    (device / "driver").unlink(missing_ok=True)
    (device / "driver").symlink_to(driver)


def test_apply_needs_its_permit(device: Path, tmp_path: Path) -> None:
    """A plan whose permit is gone writes nothing, and its run learns that somebody else has put back."""
    give_driver(device, "xhci_hcd")
    plan = one((Step("touch", f"touch {device}/touched"),), "xhci_hcd", "xhci_hcd")
    permit = tmp_path / "a permit"

    with pytest.raises(BenchError, match="was put back by somebody else meanwhile: nothing was written"):
        apply_plan(LocalTransport(), plan, permit=str(permit))
    assert not (device / "touched").exists()
    permit.touch()
    assert apply_plan(LocalTransport(), plan, permit=str(permit)) is None
    assert (device / "touched").exists()


@pytest.mark.usefixtures("device")
def test_apply_names_the_step_that_failed() -> None:
    """A step that the kernel refuses ends the plan there, and its sentence is in the evidence."""
    steps = (Step("do well", "true"), Step("write the override", "echo no room >&2; false"), Step("never", "echo later >&2"))

    with pytest.raises(BoardError, match="could not be given to vfio-pci") as caught:
        apply_plan(LocalTransport(), one(steps, "", "vfio-pci"))

    assert caught.value.evidence == "no room\nthroughpass: write the override failed"


@pytest.mark.usefixtures("device")
def test_apply_believes_the_link_alone() -> None:
    """Writes that succeed and do nothing are found out: the driver is read back."""
    plan = one((Step("pretend", "true"),), "", "vfio-pci")

    with pytest.raises(BoardError, match="is bound to no driver, not to vfio-pci"):
        apply_plan(LocalTransport(), plan)


def test_apply_reads_the_driver_from_the_link(device: Path) -> None:
    """What counts in the end is the driver that the device's link names."""
    give_driver(device, "xhci_hcd")
    step = Step("bind", f"rm {device}/driver && ln -s {device.parent} {device}/driver")

    assert apply_plan(LocalTransport(), one((), "xhci_hcd", "xhci_hcd")) is None
    assert read_drivers(LocalTransport(), [PciDevice(ADDRESS)]) == {ADDRESS: "xhci_hcd"}
    with pytest.raises(BoardError, match="is bound to devices, not to vfio-pci"):
        apply_plan(LocalTransport(), one((step,), "xhci_hcd", "vfio-pci"))


def test_apply_does_not_begin_a_plan_for_another_driver(device: Path) -> None:
    """A plan for a driver that the device no longer has is not begun: its guards would be the wrong ones."""
    give_driver(device, "xhci-pci-renesas")
    touch = Step("touch", f"touch {device}/touched")

    assert apply_plan(LocalTransport(), one((touch,), "xhci_hcd", "vfio-pci")) == Stale({ADDRESS: "xhci-pci-renesas"})
    assert apply_plan(LocalTransport(), one((touch,), "", "vfio-pci")) == Stale({ADDRESS: "xhci-pci-renesas"})
    assert not (device / "touched").exists()


def test_apply_tells_a_device_that_is_gone(device: Path) -> None:
    """A device that is no longer there is our bench's trouble, and nothing is written."""
    (device / "rescan").unlink()
    device.rmdir()

    with pytest.raises(BenchError, match=f"{ADDRESS} is no longer there"):
        apply_plan(LocalTransport(), one((), "", "vfio-pci"))
    with pytest.raises(BenchError, match=f"{ADDRESS} is no longer there"):
        Binding(LocalTransport(), [PciDevice(ADDRESS)], "vfio-pci").current_drivers()


def test_binding_refuses_what_somebody_else_prepares() -> None:
    """A device with an override of its own and no driver is somebody else's: nothing is written."""
    binding = Binding(LocalTransport(), [PciDevice(ADDRESS, driver_override="pci-stub")], "vfio-pci")

    with pytest.raises(RefusedError, match="somebody else is at work"):
        binding.bind()

    assert not binding.touched


class Sysfs:
    """A made-up host with a stick on the card (sda, 8:0; sda1, 8:1) and a disk elsewhere (vda, 254:0)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        card = f"sys/devices/pci0000:00/0000:00:01.0/{ADDRESS}/usb2/2-1/2-1:1.0/host6/target6:0:0/6:0:0:0/block/sda"
        self.write("proc/self/mountinfo", "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n")
        self.write("proc/swaps", "Filename Type Size Used Priority\n/dev/vda partition 1 0 -2\n")
        for name, path, number in (
            ("sda", card, "8:0"),
            ("sda1", f"{card}/sda1", "8:1"),
            ("vda", "sys/devices/pci0000:00/0000:00:04.0/virtio1/block/vda", "254:0"),
        ):
            self.write(f"{path}/dev", number + "\n")
            (root / path / "holders").mkdir()
            link = root / "sys/class/block" / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(root / path)

    def write(self, name: str, text: str) -> None:
        """Write a file of the host."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def here(self, text: str) -> str:
        """Return a script that looks at this host instead of the machine of the tests."""
        return text.replace("/sys/", f"{self.root}/sys/").replace("/proc/", f"{self.root}/proc/")

    def apply(self) -> None:
        """Apply a plan with the guard, and one write after it."""
        (guard,) = guard_steps("xhci_hcd", ADDRESS)
        guard = Step(guard.sentence, self.here(guard.command), guard.status)
        apply_plan(LocalTransport(), one((guard, Step("write", f"echo x >{self.root}/written")), "", ""))


@pytest.fixture
def sysfs(tmp_path: Path, device: Path) -> Sysfs:
    """Return a host whose stick nobody uses."""
    assert device.is_dir()
    return Sysfs(tmp_path)


def test_guard_lets_an_idle_stick_go(sysfs: Sysfs) -> None:
    """A stick that nobody uses is no reason to stop, whatever is used elsewhere."""
    sysfs.apply()

    assert (sysfs.root / "written").exists()


MOUNT = "22 1 254:0 / / rw - ext4 /dev/vda rw\n30 22 {0} / /media/my\\040stick rw,relatime shared:1 - vfat {1} rw\n"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        pytest.param("proc/self/mountinfo", MOUNT.format("8:1", "/dev/root"), "sda1 is mounted at /media/my stick", id="mount"),
        pytest.param("proc/self/mountinfo", MOUNT.format("8:0", "/dev/sda"), "sda is mounted", id="whole-disk"),
        pytest.param("proc/self/mountinfo", MOUNT.format("0:44", "/dev/sda1"), "sda1 is mounted", id="btrfs-number"),
        pytest.param("proc/swaps", "Filename\n/dev/sda1 partition 1 0 -2\n", "sda1 is swapped to", id="swap"),
        pytest.param("sys/class/block/sda1/holders/dm-0/dev", "", "sda1 is held by dm-0", id="holder"),
        pytest.param("sys/fs/ext4/sda1/state", "", "sda1 is mounted out of sight", id="other-namespace"),
        pytest.param("sys/fs/btrfs/0-1/devices/sda/dev", "", "sda is mounted out of sight", id="btrfs-member"),
    ],
)
def test_guard_refuses_a_disk_in_use(sysfs: Sysfs, name: str, text: str, said: str) -> None:
    """A disk behind the device that is in use is refused by name and use, and nothing is written."""
    sysfs.write(name, text)

    with pytest.raises(RefusedError) as caught:
        sysfs.apply()

    assert f"a disk behind {ADDRESS}, which is left alone: {said}" in caught.value.message
    assert caught.value.remedy
    assert not (sysfs.root / "written").exists()


def test_guard_refuses_where_the_mounts_are_hidden(sysfs: Sysfs) -> None:
    """A host that does not show its mounts might have mounted the stick."""
    (sysfs.root / "proc/self/mountinfo").unlink()

    with pytest.raises(RefusedError, match="does not show its mounts"):
        sysfs.apply()


def said(name: str, command: str, status: int, driver: str, before: str = "") -> Result:
    """Return what a host says in the end of a plan, or of a look at a driver."""
    drivers = f"{ADDRESS} {driver}\n"
    text = f"{before}@drivers\n{drivers}@end {status}\n" if "@end" in command else drivers
    return Result(name, command, 0, text.encode(), b"")


class Refusing(LocalTransport):
    """A host whose controller has a driver, and on which a stick is mounted."""

    def run(self, command: str | Sequence[str], **_: Any) -> Result:
        """Answer as that host would."""
        text = str(command)
        if "driver/unbind" in text:
            return said(self.name, text, IN_USE, "xhci_hcd", "throughpass: in use: sda1 is mounted at /media\n")
        return said(self.name, text, 0, "xhci_hcd")


def test_binding_that_is_refused_has_touched_nothing() -> None:
    """What was refused needs no giving back."""
    binding = Binding(Refusing(), [PciDevice(ADDRESS, driver="xhci_hcd")], "vfio-pci")

    with pytest.raises(RefusedError, match="sda1 is mounted at /media"):
        binding.bind()

    assert not binding.touched


class Changing(LocalTransport):
    """A host on which somebody else has bound another driver since the facts were read; it keeps the scripts it was given."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        super().__init__()
        self.answers = list(answers)
        self.scripts: list[str] = []

    def run(self, command: str | Sequence[str], **_: Any) -> Result:
        """Answer as that host would."""
        self.scripts.append(str(command))
        status, driver = self.answers.pop(0)
        return said(self.name, str(command), status, driver)


def test_binding_plans_anew_for_the_driver_that_is_there() -> None:
    """Where another driver is bound on the way back than we believe, the plan is made again for that one, in one command more."""
    host = Changing((0, "vfio-pci"), (STALE, "xhci_hcd"), (0, "xhci_hcd"))
    binding = Binding(host, [PciDevice(ADDRESS, driver="xhci_hcd")], "vfio-pci")

    binding.bind()
    plan = binding.give_back()

    assert (plan.aims[0].before, plan.aims[0].after) == ("xhci_hcd", "xhci_hcd")
    assert ["driver/unbind" in script for script in host.scripts] == [True, True, False]


def test_binding_leaves_what_somebody_else_gave_away() -> None:
    """A device that has another driver than it was found with, before we touched it, is somebody else's now."""
    host = Changing((STALE, "vfio-pci"))
    binding = Binding(host, [PciDevice(ADDRESS, driver="xhci_hcd")], "vfio-pci")

    with pytest.raises(ChangedError, match=f"{ADDRESS} had xhci_hcd and has vfio-pci now: somebody else is at work there"):
        binding.bind()

    assert len(host.scripts) == 1
    assert not binding.touched


def test_binding_needs_one_command_each_way() -> None:
    """What a verified plan has left is believed: there and back again are two commands."""
    host = Changing((0, "vfio-pci"), (0, "xhci_hcd"))
    binding = Binding(host, [PciDevice(ADDRESS, driver="xhci_hcd")], "vfio-pci")

    binding.bind()
    binding.give_back()

    assert len(host.scripts) == 2
    assert not binding.touched


def test_binding_that_failed_looks_again() -> None:
    """After a failure nothing is believed: the driver is read before the way back is planned."""
    host = Changing((1, ""), (0, ""), (0, "xhci_hcd"))
    binding = Binding(host, [PciDevice(ADDRESS, driver="xhci_hcd")], "vfio-pci")

    with pytest.raises(BoardError, match="could not be given to vfio-pci"):
        binding.bind()

    assert host.scripts[1] == drivers_query((ADDRESS,))
    assert "drivers_probe" in host.scripts[2]
    assert not binding.touched


def test_binding_gives_up_where_drivers_come_and_go() -> None:
    """A device that has another driver at each look is not chased."""
    host = Changing((0, "vfio-pci"), (STALE, "a"), (STALE, "b"))
    binding = Binding(host, [PciDevice(ADDRESS, driver="xhci_hcd")], "vfio-pci")
    binding.bind()

    with pytest.raises(BoardError, match=f"{ADDRESS} changes its driver by itself: it was .*'a'.*, then .*'b'"):
        binding.give_back()


def test_apply_leaves_a_write_that_hangs_behind(device: Path, tmp_path: Path) -> None:
    """A write that does not return costs its limit and no more; it is named, with the kernel's stack of whoever writes."""
    give_driver(device, "xhci_hcd")
    os.mkfifo(tmp_path / "unbind")  # opening it for writing waits for a reader that never comes
    steps = (Step("do well", "true"), Step("unbind it", f"echo x >{tmp_path}/unbind"), Step("never", f"touch {tmp_path}/later"))

    with pytest.raises(BoardError, match=r"'unbind it' did not return in 0\.5 s") as caught:
        apply_plan(LocalTransport(), one(steps, "xhci_hcd", "vfio-pci"), limit_s=0.5)

    assert "the kernel's stack of" in caught.value.evidence
    assert "throughpass restore" in caught.value.remedy
    assert not (tmp_path / "later").exists()


def test_binding_asks_before_each_write() -> None:
    """Whoever keeps the journal and the lock is asked before every plan, and a no leaves the host alone."""
    host = Changing((0, "vfio-pci"))
    asked: list[Plan] = []
    binding = Binding(host, [PciDevice(ADDRESS, driver="xhci_hcd")], "vfio-pci", before_write=asked.append)

    binding.bind()

    assert [aim.after for plan in asked for aim in plan.aims] == ["vfio-pci"]

    def refuse(plan: Plan) -> None:
        raise BenchError(f"not now: {plan.aims}")

    binding = Binding(host, [PciDevice(ADDRESS, driver="xhci_hcd")], "vfio-pci", before_write=refuse)
    with pytest.raises(BenchError, match="not now"):
        binding.bind()
    assert len(host.scripts) == 1


def test_apply_waits_for_the_plan_of_a_dead_run(device: Path, tmp_path: Path) -> None:
    """What a killed runner began goes on to its end on the host; the next plan begins after it, and says if that does not end."""
    give_driver(device, "xhci_hcd")
    begun, go = tmp_path / "begun", tmp_path / "go"
    os.mkfifo(begun)
    os.mkfifo(go)
    wait = Step("wait", f"echo >{begun}; cat {go} >/dev/null")
    older = one((wait, Step("write", f"touch {tmp_path}/older")), "xhci_hcd", "xhci_hcd")
    newer = one((Step("look", f"[ -e {tmp_path}/older ]"),), "xhci_hcd", "xhci_hcd")

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(apply_plan, LocalTransport(), older)
        begun.read_text(encoding="ascii")
        with pytest.raises(BoardError, match=r"an older plan for 0000:01:00\.0 has not ended in 0\.3 s"):
            apply_plan(LocalTransport(), newer, limit_s=0.3)
        threading.Timer(0.3, go.write_text, ["now"]).start()
        assert apply_plan(LocalTransport(), newer) is None
        assert running.result() is None
