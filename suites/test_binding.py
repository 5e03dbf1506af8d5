"""Stage 2: the controller is taken from its driver, if the host can spare it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fixtures.outcomes import require
from fixtures.run import BenchRun
from fixtures.storage import NoStick, Stick
from harness.actions.apply import drivers_query, parse_drivers
from harness.bench.host import Host
from harness.core.finding import Finding
from harness.facts.pci import PciDevice
from harness.machine.batch import Part, run_batch
from harness.machine.passthrough import PASSING

Require = Callable[[str], Finding]


def test_host_spares_its_disks(require_rule: Require) -> None:
    """The host uses no disk on the controller: not its root, nothing mounted, no swap."""
    require_rule("STO001")


def test_host_spares_its_network(require_rule: Require) -> None:
    """The way to the host does not go through the controller."""
    require_rule("NET001")


def test_host_spares_its_keyboard(require_rule: Require) -> None:
    """Nobody who works at the host is left without a keyboard."""
    require_rule("INP001")


def test_no_guest_has_the_controller(require_rule: Require) -> None:
    """No guest or program has the controller through VFIO."""
    require_rule("HLD001")


def test_no_program_has_a_device(require_rule: Require) -> None:
    """No program works with a USB device on the controller by itself."""
    require_rule("HLD002")


@pytest.fixture(scope="module")
def after_bind(host: Host, bound_controller: PciDevice) -> dict[str, Part]:
    """Return what the host shows once the controller is bound."""
    looks = {
        "driver": drivers_query((bound_controller.address,)),
        "node": f"ls -l {group_node(bound_controller)}",
        "tree": "lsusb -t",
        "buses": 'for bus in /sys/bus/usb/devices/usb*; do cd -P "$bus" 2>/dev/null && echo "$PWD"; done',
    }
    return run_batch(host.transport, looks)


def group_node(controller: PciDevice) -> str:
    """Return the node of the controller's group."""
    return f"/dev/vfio/{controller.group}"


def test_controller_is_taken(
    run: BenchRun, found_stick: Stick | NoStick, bound_controller: PciDevice, after_bind: dict[str, Part]
) -> None:
    """The controller is bound to the reserving driver, by its driver_override, and the driver's link in sysfs says so."""
    run.note(
        "the stick before the bind", found_stick.reason if isinstance(found_stick, NoStick) else found_stick.serial or "none yet"
    )
    driver = parse_drivers(after_bind["driver"].require().text)[bound_controller.address]
    run.note(f"/sys/bus/pci/devices/{bound_controller.address}/driver", driver)

    wanted = run.config.controller.driver
    require(driver == wanted, f"the controller is bound to {driver or 'nothing'}, not to {wanted}", "see the host's dmesg")


def test_group_has_a_node(run: BenchRun, bound_controller: PciDevice, after_bind: dict[str, Part]) -> None:
    """The group's node exists, through which QEMU opens the controller."""
    if run.config.controller.driver != PASSING:
        pytest.skip(f"the controller is reserved by {run.config.controller.driver}: VFIO takes it when the guest starts")
    node, listing = group_node(bound_controller), after_bind["node"]
    run.note(node, listing.text or listing.error_text)

    require(listing.status == 0, f"there is no {node}: VFIO did not take the controller's group", "see the host's dmesg for vfio")


def test_buses_are_gone(run: BenchRun, bound_controller: PciDevice, after_bind: dict[str, Part]) -> None:
    """The host's lsusb no longer shows the controller's buses."""
    tree = after_bind["tree"]
    run.note("lsusb -t on the host", tree.error_text if tree.status else tree.text or "(no bus at all)")
    buses = after_bind["buses"].text.splitlines()
    run.note("USB buses in sysfs", "\n".join(buses) or "(none)")

    kept = [bus.rpartition("/")[2] for bus in buses if f"/{bound_controller.address}/" in bus]
    require(not kept, f"the host still has the controller's buses {', '.join(kept)}", "see the host's dmesg for xhci_hcd")


def test_kernel_stays_calm(calm: Callable[[], None]) -> None:
    """Taking the controller draws no complaint from the host's kernel about it."""
    calm()
