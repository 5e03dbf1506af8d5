"""tools/setup.sh, with a PATH of our own: apt-get, sudo and Python are fakes that write down how they were called."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]

REAL_TOOLS = (
    "cat",
    "cp",
    "cut",
    "chmod",
    "dirname",
    "flock",
    "grep",
    "mkdir",
    "rm",
    "sh",
    "sha256sum",
    "tr",
    "true",
)  # every Debian has them

FAKE_PYTHON = """\
#!/bin/sh
# Passes every probe, makes virtual environments that hold a copy of itself, and fails when pip is called while no-network exists.
case "$*" in
    -V) echo "Python 3.11.2" ;;
    *_base_executable*) echo "$0" ;;
    *"import pip, sys"*) ;;
    *"import ensurepip"*) [ ! -e {state}/no-ensurepip ] ;;
    *"sys.version_info[:2]"*) echo 3.11 ;;
    "-I -m venv "*) echo "venv" >>{state}/calls; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
    "-I -m pip "*) echo "pip $*" >>{state}/calls; [ ! -e {state}/no-network ] ;;
    *) echo "unexpected: $*" >>{state}/calls; exit 1 ;;
esac
"""

FAKE_APT = """\
#!/bin/sh
# Installs by making the commands that the packages would bring.
echo "apt-get $DEBIAN_FRONTEND $*" >>{state}/calls
case "$*" in
    *" update") [ ! -e {state}/locked ] || { rm {state}/locked; echo "E: Could not get lock"; exit 100; } ;;
    *" install "*)
        for name in {brings}; do
            printf '#!/bin/sh\\n' >{bin}/$name
            chmod +x {bin}/$name
        done
        rm -f {state}/no-ensurepip
        ;;
esac
"""

FAKE_SUDO = """\
#!/bin/sh
echo "sudo $*" | cut -c 1-12 >>{state}/calls
[ ! -e {state}/password ] || exit 1
[ "$1" != -n ] || shift
exec "$@"
"""

ID_OF_USER = """\
#!/bin/sh
case $1 in -u) echo 1000 ;; *) echo somebody ;; esac
"""

LACKING = ("mmdebstrap", "qemu-img", "qemu-system-x86_64")


@dataclass(frozen=True)
class Machine:
    """A checkout in a folder whose name has a space, and a PATH that holds only what a test puts there."""

    root: Path

    @property
    def checkout(self) -> Path:
        """Return the checkout's folder."""
        return self.root / "a checkout"

    @property
    def calls(self) -> list[str]:
        """Return how the fakes were called, in order."""
        path = self.root / "state" / "calls"
        return path.read_text("utf-8").splitlines() if path.exists() else []

    def add(self, name: str, source: str = "#!/bin/sh\n") -> None:
        """Put a program onto the PATH."""
        path = self.root / "bin" / name
        filled = source.replace("{state}", str(self.root / "state")).replace("{bin}", str(self.root / "bin"))
        path.write_text(filled.replace("{brings}", " ".join(LACKING)), encoding="utf-8")
        path.chmod(0o755)

    def set_state(self, name: str, *, on: bool) -> None:
        """Change how the fakes behave."""
        path = self.root / "state" / name
        if on:
            path.touch()
        else:
            path.unlink()

    def setup(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the script, with no terminal and an environment that holds nothing but the PATH."""
        return subprocess.run(
            [self.root / "bin/sh", "tools/setup.sh", *arguments],
            cwd=self.checkout,
            env={"PATH": str(self.root / "bin")},
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # no terminal
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine with Python and all that is needed but QEMU and mmdebstrap; it has neither apt-get nor sudo."""
    made = Machine(tmp_path)
    for folder in ("bin", "state", "a checkout/tools"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("pyproject.toml", "constraints.txt", "tools/setup.sh"):
        shutil.copy(CHECKOUT / name, made.checkout / name)
    for name in REAL_TOOLS:
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or name)
    script = made.checkout / "tools/setup.sh"
    script.write_text(script.read_text("utf-8").replace("/usr/share/", f"{tmp_path}/share/"), encoding="utf-8")
    for line in _needs(script):
        probe = line.split()[0]
        if probe.startswith("/"):
            Path(probe).parent.mkdir(parents=True, exist_ok=True)
            Path(probe).touch()
        elif probe not in LACKING:
            made.add(probe)
    made.add("python3", FAKE_PYTHON)
    made.add("id", "#!/bin/sh\ncase $1 in -u) echo 0 ;; *) echo somebody ;; esac\n")
    return made


def _needs(script: Path) -> list[str]:
    """Return the lines of the script's tables of needs."""
    text = script.read_text("utf-8")
    return [line for part in text.split("<<'END'\n")[1:] for line in part.split("\nEND\n")[0].splitlines()]


def test_setup_names_what_is_missing_where_it_cannot_install(machine: Machine) -> None:
    """Without apt-get the script names each missing program and its purpose, touches nothing and ends with status 2."""
    done = machine.setup()

    assert done.returncode == 2
    assert "this system has no apt-get" in done.stderr
    assert all(name in done.stderr for name in LACKING)
    assert "plays the motherboard" in done.stderr
    assert "mke2fs" not in done.stderr
    assert machine.calls == []
    assert not (machine.checkout / ".venv").exists()


def test_setup_dry_run_only_says(machine: Machine) -> None:
    """A dry run says what would be installed, and why, and installs nothing."""
    machine.add("apt-get", FAKE_APT)

    done = machine.setup("--dry-run")

    assert done.returncode == 0
    assert "qemu-system-x86 " in done.stdout
    assert "builds the system that runs on the virtual bench" in done.stdout
    assert ".venv" in done.stdout
    assert machine.calls == []
    assert not (machine.checkout / ".venv").exists()


def test_setup_installs_what_is_missing_once(machine: Machine) -> None:
    """The first run installs the missing packages and no others, then the pinned Python packages; the second does nothing."""
    machine.add("apt-get", FAKE_APT)

    first = machine.setup()
    calls = machine.calls
    second = machine.setup()

    assert (first.returncode, first.stderr) == (0, "")
    update, install, venv, backend, project = calls
    assert update.startswith("apt-get noninteractive ")
    assert update.endswith(" update")
    assert install.endswith("install --yes --no-install-recommends --no-remove qemu-system-x86 qemu-utils mmdebstrap")
    assert venv == "venv"
    assert "--constraint constraints.txt setuptools" in backend
    assert project.endswith("--constraint constraints.txt --no-build-isolation --editable .[dev]")
    assert (second.returncode, second.stdout) == (0, "setup: nothing to do\n")
    assert machine.calls == calls


def test_setup_says_before_it_installs(machine: Machine) -> None:
    """What will be installed is said even if installing it then fails."""
    machine.add("apt-get", "#!/bin/sh\nexit 100\n")

    done = machine.setup()

    assert done.returncode == 1
    assert "will be installed with apt-get:\n  qemu-system-x86 " in done.stdout
    assert "apt-get install --no-install-recommends qemu-system-x86 qemu-utils mmdebstrap" in done.stderr


def test_setup_waits_for_another_apt(machine: Machine) -> None:
    """Where another apt-get holds the package lists, the script waits for it, as apt-get itself does only for dpkg."""
    machine.add("apt-get", FAKE_APT)
    machine.add("sleep")
    machine.set_state("locked", on=True)

    done = machine.setup()

    assert done.returncode == 0
    assert "waiting for another apt-get" in done.stdout
    assert [call.rsplit(" ", 1)[1] for call in machine.calls[:2]] == ["update", "update"]


def test_setup_interrupted_is_made_anew(machine: Machine) -> None:
    """A virtual environment that was left half made is thrown away by the next run."""
    machine.add("apt-get", FAKE_APT)
    machine.set_state("no-network", on=True)
    first = machine.setup()
    left = machine.checkout / ".venv/left"
    left.touch()
    machine.set_state("no-network", on=False)

    second = machine.setup()

    assert first.returncode == 1
    assert "pip could not install" in first.stderr
    assert second.returncode == 0
    assert not left.exists()
    assert machine.calls.count("venv") == 2


def test_setup_renews_when_the_pins_change(machine: Machine) -> None:
    """New versions in constraints.txt are installed into the virtual environment that is there."""
    machine.add("apt-get", FAKE_APT)
    machine.setup()
    before = len(machine.calls)
    with (machine.checkout / "constraints.txt").open("a", encoding="utf-8") as constraints:
        constraints.write("another==1\n")

    done = machine.setup()

    assert done.returncode == 0
    assert [call.split()[0] for call in machine.calls[before:]] == ["pip", "pip"]


def test_setup_of_a_moved_checkout_is_made_anew(machine: Machine) -> None:
    """After a checkout was moved its virtual environment, which names the old place, is made anew."""
    machine.add("apt-get", FAKE_APT)
    machine.setup()
    stamp = machine.checkout / ".venv/setup-stamp"
    stamp.write_text(stamp.read_text("utf-8").replace(str(machine.checkout), "/somewhere/else"), encoding="utf-8")

    done = machine.setup()

    assert done.returncode == 0
    assert machine.calls.count("venv") == 2


def test_setup_brings_the_module_that_makes_environments(machine: Machine) -> None:
    """Debian's Python without ensurepip gets the package that holds it."""
    machine.add("apt-get", FAKE_APT)
    machine.set_state("no-ensurepip", on=True)

    done = machine.setup()

    assert done.returncode == 0
    assert machine.calls[1].endswith(" mmdebstrap python3.11-venv")


def test_setup_needs_a_new_python(machine: Machine) -> None:
    """Without a Python that is new enough the script says which one it needs and ends with status 2."""
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        machine.add(name, "#!/bin/sh\nexit 1\n")

    done = machine.setup()

    assert done.returncode == 2
    assert "no Python 3.11 or newer was found" in done.stderr


def test_setup_uses_sudo(machine: Machine) -> None:
    """Who is not root installs with sudo, which is never left to wait for a password where there is no terminal."""
    machine.add("apt-get", FAKE_APT)
    machine.add("id", ID_OF_USER)
    machine.add("sudo", FAKE_SUDO)

    done = machine.setup()

    assert done.returncode == 0
    assert machine.calls[:2] == ["sudo -n true", "sudo -n sh -"]
    assert machine.calls[2].startswith("apt-get ")


@pytest.mark.parametrize("sudo", ["absent", "wants-password"])
def test_setup_without_sudo_says_what_root_must_do(machine: Machine, sudo: str) -> None:
    """Without a sudo that answers, the command that root must run is named, nothing is touched, and the status is 2."""
    machine.add("apt-get", FAKE_APT)
    machine.add("id", ID_OF_USER)
    if sudo == "wants-password":
        machine.add("sudo", FAKE_SUDO)
        machine.set_state("password", on=True)

    done = machine.setup()

    assert done.returncode == 2
    assert "apt-get install --no-install-recommends qemu-system-x86 qemu-utils mmdebstrap" in done.stderr
    assert not (machine.checkout / ".venv").exists()
    assert "apt-get" not in " ".join(machine.calls)


def test_setup_refuses_what_it_does_not_know(machine: Machine) -> None:
    """An unknown argument is answered with the usage and status 2."""
    done = machine.setup("--help-me")

    assert done.returncode == 2
    assert "usage: tools/setup.sh [--dry-run]" in done.stderr
