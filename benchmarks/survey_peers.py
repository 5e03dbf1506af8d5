"""The peers of the fleet's survey: pyinfra, Ansible and pytest-testinfra, each as its own documentation runs it on many hosts.

- pyinfra by its API, all hosts at a time, over the SSH library that ours is made with.
- Ansible by `ansible -m setup`, a fork for each host, pipelining on: it was faster so.
- testinfra by pytest with xdist, a worker for each processor, over paramiko: its way to be fast. It only warns of unknown hosts.

What is collected is comparable: what ours prints of a host that the others have a fact for, they get by it; what they have none
for, pyinfra and testinfra read by a command. Ansible collects what its setup module does, and no more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.loopback import Hosts
from benchmarks.paired import Took
from harness.bench.cache import Progress
from harness.core.errors import BenchError, UsageError
from harness.transport.local import LocalTransport

PACKAGES: Mapping[str, str] = {
    "pyinfra": "3.10.0",
    "ansible-core": "2.19.14",
    "pytest-testinfra": "10.2.2",
    "paramiko": "4.0.0",
    "pytest-xdist": "3.8.0",
}
"""What is installed for the peers; pyinfra 3 takes no newer paramiko."""

_INSTALL_LIMIT_S = 900.0
_RUN_LIMIT_S = 900.0

COMMANDS: Sequence[str] = (
    "cat /proc/cmdline",
    "cat /proc/cpuinfo /proc/interrupts",
    "cat /proc/self/status /proc/swaps",
    "grep -r . /sys/class/iommu/*/*iommu /sys/kernel/iommu_groups/*/type /sys/kernel/iommu_groups/*/reserved_regions; true",
    "ls /sys/kernel/iommu_groups/*/devices; true",
    "od -An -v -tx1 /sys/firmware/acpi/tables/DMAR; od -An -v -tx1 /sys/firmware/acpi/tables/IVRS; true",
    "lspci -D -nn -k; true",
    "lsusb; true",
    "grep . /sys/bus/usb/devices/*/speed /sys/bus/usb/devices/*/serial; true",
    "cat /proc/net/route /proc/net/ipv6_route /proc/net/if_inet6",
    "grep . /sys/module/vfio*/parameters/* /sys/module/kvm_*/parameters/nested; true",
    "ls -l /dev/kvm /dev/vfio; true",
    "dmesg",
    "command -v fio perl python3 dd timeout sha256sum lspci lsusb; true",
)
"""What there is no fact for."""

_PYINFRA = """
from gevent import monkey; monkey.patch_all()
import json, sys
from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.facts import get_facts
from pyinfra.facts import hardware, server
hosts, data, commands = json.loads(sys.argv[1])
state = State(Inventory((hosts, data)), Config(PARALLEL=len(hosts)))
connect_all(state)
wanted = [(fact, {}) for fact in (
    server.Kernel, server.KernelVersion, server.Arch, server.LinuxDistribution, server.KernelModules, server.Mounts,
    hardware.Cpus, hardware.Memory, hardware.BlockDevices, hardware.NetworkDevices)]
wanted += [(server.Command, {"command": command}) for command in commands]
found = {host: 0 for host in hosts}
for fact, options in wanted:
    for host, value in get_facts(state, fact, kwargs=options).items():
        found[host.name] += 1
disconnect_all(state)
sys.exit(0 if set(found.values()) == {len(wanted)} else f"facts by host: {found}")
"""

_TESTINFRA = """
import json, pathlib
COMMANDS = json.loads(pathlib.Path(__file__).with_name("commands.json").read_text())

def test_facts(host):
    assert host.system_info.type and host.system_info.distribution and host.system_info.release and host.system_info.arch
    assert host.run("cat /proc/modules").rc in (0, 1) and host.file("/etc/os-release").exists
    assert host.mount_point("/").exists and host.mount_point.get_mountpoints()
    assert host.interface.names()
    assert host.file("/proc/meminfo").content_string
    for command in COMMANDS:
        assert host.run(command).rc == 0, command
"""


def require_peers(folder: Path, tell: Progress) -> Path:
    """Return the folder of the peers' programs: a virtual environment of their own, made by pip if need be."""
    place = folder / ("survey-" + "-".join(PACKAGES.values()))
    done = place / "complete"
    if not done.is_file():
        tell(f"installing {', '.join(PACKAGES)} by pip into {place}, which nothing else uses")
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        wanted = [f"{name}=={version}" for name, version in PACKAGES.items()]
        for argv in ([sys.executable, "-m", "venv", "--clear", str(place)], [*pip, *wanted]):
            result = LocalTransport().run(argv, timeout_s=_INSTALL_LIMIT_S)
            if result.status != 0:
                raise UsageError(
                    f"the peers could not be installed by pip into {place}: it needs Python's venv and a package index",
                    evidence=result.error_text[-2000:],
                )
        done.touch()
    return place / "bin"


def run_pyinfra(programs: Path, hosts: Hosts) -> Took:
    """Collect facts of all hosts by pyinfra."""
    data = {
        "ssh_port": hosts.port,
        "ssh_user": hosts.user,
        "ssh_key": str(hosts.key),
        "ssh_known_hosts_file": str(hosts.known_hosts),
        "ssh_strict_host_key_checking": "yes",
    }
    return timed([str(programs / "python"), "-c", _PYINFRA, json.dumps([hosts.addresses, data, COMMANDS])])


def run_ansible(programs: Path, hosts: Hosts, folder: Path) -> Took:
    """Collect facts of all hosts by Ansible's setup module."""
    inventory = folder / "hosts.ini"
    inventory.write_text("\n".join(["[all]", *hosts.addresses, ""]), encoding="utf-8")
    options = {
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_SSH_ARGS": f"-F {hosts.config} -o ControlMaster=no",
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
        "ANSIBLE_HOME": str(folder / "ansible"),
    }
    argv = [str(programs / "ansible"), "-i", str(inventory), "all", "-m", "setup", "-f", str(len(hosts.addresses)), "-o"]
    return timed(argv, {**options, "PATH": f"{programs}:{os.environ['PATH']}"}, each="SUCCESS", count=len(hosts.addresses))


def run_testinfra(programs: Path, hosts: Hosts, folder: Path) -> Took:
    """Collect facts of all hosts by testinfra."""
    place = folder / "testinfra"
    place.mkdir(exist_ok=True)
    (place / "test_facts.py").write_text(_TESTINFRA, encoding="utf-8")
    (place / "commands.json").write_text(json.dumps(COMMANDS), encoding="utf-8")
    names = ",".join(f"paramiko://{address}" for address in hosts.addresses)
    argv = [str(programs / "python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--hosts={names}"]
    argv += [f"--ssh-config={hosts.config}", "-n", str(min(len(hosts.addresses), len(os.sched_getaffinity(0)))), str(place)]
    return timed(argv, each=f"{len(hosts.addresses)} passed", count=1)


def timed(argv: Sequence[str], options: Mapping[str, str] | None = None, *, each: str = "", count: int = 0) -> Took:
    """Run a command to its end and return how long that took; raise BenchError unless it did its work.

    It has when it ends with 0 and has printed ``each`` as often as ``count`` says.
    """
    began_s = time.monotonic()
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_RUN_LIMIT_S,
            check=False,
            env={**os.environ, "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "", **(options or {})},  # compiled once, as installed
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"{Path(argv[0]).name} did not end in {_RUN_LIMIT_S:g} s") from None
    took_s = time.monotonic() - began_s
    said = done.stdout.decode("utf-8", "replace")
    if done.returncode != 0 or (each and said.count(each) != count):
        evidence = (done.stderr.decode("utf-8", "replace") + said)[-2000:]
        raise BenchError(
            f"{Path(argv[0]).name} ended with status {done.returncode} without all that was asked", evidence=evidence
        )
    return Took(took_s)
