"""Stage 2: the controller is taken from its driver, if the host can spare it."""

from __future__ import annotations

from collections.abc import Callable

from fixtures.outcomes import require
from fixtures.run import BenchRun
from fixtures.storage import Stick
from harness.actions.binding import Binding
from harness.bench.host import Host
from harness.core.finding import Finding
from harness.facts.pci import PciDevice

Require = Callable[[str], Finding]


def test_host_spares_its_disks(require_rule: Require) -> None:
    """The host uses no disk on the controller: not its root, nothing mounted, no swap."""
    require_rule("STO001")


def test_host_spares_its_network(require_rule: Require) -> None:
    """The way to the host does not go through the controller."""
    require_rule("NET001")


def test_host_spares_its_keyboard(require_rule: Require) -> None:
    """Keyboards on the controller are known (for information)."""
    require_rule("INP001")


def test_controller_is_taken(run: BenchRun, found_stick: Stick | None, binding: Binding, bound_controller: PciDevice) -> None:
    """The controller is bound to vfio-pci, by its driver_override, and the driver's link in sysfs says so."""
    run.note("the stick before the bind", found_stick.serial if found_stick else "none")
    driver = binding.current_driver()
    run.note(f"/sys/bus/pci/devices/{bound_controller.address}/driver", driver)

    wanted = run.config.controller.driver
    require(driver == wanted, f"the controller is bound to {driver or 'nothing'}, not to {wanted}", "see the host's dmesg")


def test_group_has_a_node(run: BenchRun, host: Host, bound_controller: PciDevice) -> None:
    """The group's node exists, through which QEMU opens the controller."""
    node = f"/dev/vfio/{bound_controller.group}"
    listing = host.transport.run(f"ls -l {node}")
    run.note(node, listing.text or listing.error_text)

    require(listing.status == 0, f"there is no {node}: VFIO did not take the controller's group", "see the host's dmesg for vfio")


def test_buses_are_gone(run: BenchRun, host: Host, bound_controller: PciDevice) -> None:
    """The host's lsusb no longer shows the controller's buses."""
    tree = host.transport.run("lsusb -t")
    run.note("lsusb -t on the host", tree.text or "(no bus at all)")
    buses = host.transport.run("readlink -f /sys/bus/usb/devices/usb*").text.splitlines()
    run.note("USB buses in sysfs", "\n".join(buses) or "(none)")

    kept = [bus.rpartition("/")[2] for bus in buses if f"/{bound_controller.address}/" in bus]
    require(not kept, f"the host still has the controller's buses {', '.join(kept)}", "see the host's dmesg for xhci_hcd")
