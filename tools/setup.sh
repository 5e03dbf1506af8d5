#!/bin/sh
# Installs what throughpass needs on Debian or Ubuntu: the Debian packages this machine lacks, then .venv with the Python packages that
# constraints.txt pins. It says what it will install before it does; where everything is there it installs nothing.
#
#   tools/setup.sh            install
#   tools/setup.sh --dry-run  only say what would be installed
#
# PYTHON names the Python to make .venv with; without it python3, then newer and older names are tried.
# Exit status: 0 done, 1 an installation failed, 2 something is missing that this script cannot install.
set -eu

say() { printf 'setup: %s\n' "$*"; }

die() { # STATUS MESSAGE...
    status=$1
    shift
    printf 'setup: %s\n' "$*" >&2
    exit "$status"
}

# --- what this machine must have -----------------------------------------------------------------------------------------------------

# One line each: what is looked for (a command, or a file by its absolute path), the Debian package that brings it, and what it is for.
needs() {
    cat <<'END'
qemu-system-x86_64 qemu-system-x86 plays the motherboard of the virtual bench
qemu-img qemu-utils makes the disks and sticks of the virtual bench
mmdebstrap mmdebstrap builds the system that runs on the virtual bench
mount mount lets mmdebstrap give that system its /proc and /sys
newuidmap uidmap lets mmdebstrap work without root
mke2fs e2fsprogs makes a disk from that system without mounting it
fio fio measures throughput when this machine is the host under test, and in the tests
lspci pciutils shows the PCI devices of this machine when it is the host under test
lsusb usbutils shows the USB devices of this machine when it is the host under test
ssh openssh-client tells what ~/.ssh/config makes of a host that is reached over SSH
/usr/share/hwdata/pci.ids hwdata names PCI and USB devices
END
    if [ "$(distribution)" != debian ]; then # a Debian system is built and must be verified with Debian's keys
        cat <<'END'
/usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring holds the keys that Debian signs its packages with
gpg gpg lets mmdebstrap find out which of these keys it needs
END
    fi
}

distribution() { # its ID of os-release(5), or nothing
    if [ -r /etc/os-release ]; then
        # shellcheck source=/dev/null
        (. /etc/os-release && printf '%s\n' "${ID:-}")
    fi
}

missing_needs() {
    needs | while read -r probe package reason; do
        case $probe in
            /*) [ -e "$probe" ] ;;
            *) command -v "$probe" >/dev/null ;;
        esac || printf '%s %s %s\n' "$probe" "$package" "$reason"
    done
}

find_python() { # the first Python that is new enough, as its own path: not a shim's, not that of an active virtual environment
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        "$candidate" -I -c 'import sys; print(sys._base_executable) if sys.version_info >= (3, 11) else sys.exit(1)' 2>/dev/null && return
    done
    return 0
}

# --- the state of .venv --------------------------------------------------------------------------------------------------------------

stamp=.venv/setup-stamp    # what .venv was made from; current: nothing to do
unfinished=.venv/unfinished # exists while .venv is being changed; found at the start: the last setup was interrupted

ingredients() {
    pwd # first: see has_moved
    .venv/bin/python -V
    sha256sum pyproject.toml constraints.txt tools/setup.sh
}

venv_is_current() {
    [ -e "$stamp" ] && [ ! -e "$unfinished" ] && [ -x .venv/bin/python ] && [ "$(ingredients 2>/dev/null)" = "$(cat "$stamp")" ]
}

has_moved() { # then the scripts in .venv/bin name a Python in the old place
    [ -e "$stamp" ] && read -r place <"$stamp" && [ "$place" != "$(pwd)" ]
}

venv_is_usable() {
    [ ! -e "$unfinished" ] && ! has_moved && [ -x .venv/bin/python ] &&
        .venv/bin/python -I -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# --- finding out and saying what is to be done ---------------------------------------------------------------------------------------

look() { # sets missing, python, venv (current | usable | absent)
    missing=$(missing_needs)
    python=
    if venv_is_current; then
        venv=current
    elif venv_is_usable; then
        venv=usable
    else
        venv=absent
        python=$(find_python)
        if [ -n "$python" ] && ! "$python" -I -c 'import ensurepip' 2>/dev/null; then
            version=$("$python" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])')
            missing="${missing:+$missing
}ensurepip python$version-venv makes the virtual environment"
        fi
    fi
}

packages() { printf '%s\n' "$missing" | cut -d ' ' -f 2 | tr '\n' ' '; }

stop_where_nothing_can_be_done() {
    if [ "$venv" = absent ] && [ -z "$python" ]; then
        die 2 "no Python 3.11 or newer was found (looked for ${PYTHON:-python3, python3.13, python3.12, python3.11}): install one, or name it by PYTHON=..."
    fi
    [ -n "$missing" ] || return 0
    if ! command -v apt-get >/dev/null; then
        die 2 "this system has no apt-get to install what is missing; install it by hand, then run make again:" \
            "$(printf '%s\n' "$missing" | while read -r probe _ reason; do printf '\n  %-20s %s' "$probe" "$reason"; done)"
    fi
    by_hand="as root, then make again as yourself: apt-get install --no-install-recommends $(packages)"
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || die 2 "root or sudo is needed to install what is missing; run $by_hand"
        has_terminal || sudo -n true || die 2 "sudo needs a password and there is no terminal to ask on; run $by_hand"
    fi
}

announce() {
    if [ -n "$missing" ]; then
        say "these Debian packages are missing and will be installed with apt-get:"
        printf '%s\n' "$missing" | while read -r _ package reason; do printf '  %-24s %s\n' "$package" "$reason"; done
    fi
    case $venv in
        usable) say "the Python packages pinned in constraints.txt will be installed into .venv" ;;
        absent) say "the Python packages pinned in constraints.txt will be installed into .venv, made anew with $python" ;;
    esac
}

# --- doing it ------------------------------------------------------------------------------------------------------------------------

wait_for_other_setup() { # held until this script ends; children must not inherit it (9<&-)
    command -v flock >/dev/null || return 0
    exec 9<tools/setup.sh
    flock -n 9 || {
        say "waiting for another setup of this checkout"
        flock 9
    }
}

has_terminal() { (: </dev/tty) 2>/dev/null; }

apt() {
    # umask: a strict one would make files that only root can read. needrestart: services of this machine are not ours to restart.
    set -- sh -c 'umask 022; LC_ALL=C DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l exec apt-get "$@"' apt -q -o DPkg::Lock::Timeout=300 "$@"
    if [ "$(id -u)" -eq 0 ]; then
        "$@" 9<&-
    elif has_terminal; then
        sudo "$@" 9<&-
    else
        sudo -n "$@" 9<&-
    fi
}

update_package_lists() { # waits for another apt-get up to five minutes: DPkg::Lock::Timeout does not hold for the lists
    say "asking which versions there are"
    tries=30
    until output=$(apt update 2>&1); do
        case $output in
            *"Could not get lock"*) tries=$((tries - 1)) ;;
            *) tries=0 ;;
        esac
        if [ "$tries" -eq 0 ]; then
            printf '%s\n' "$output" >&2
            say "apt-get update failed: going on with the package lists that are there" >&2
            return
        fi
        [ "$tries" -ne 29 ] || say "waiting for another apt-get"
        sleep 10
    done
}

install_system() {
    [ -n "$missing" ] || return 0
    update_package_lists
    # shellcheck disable=SC2046 # one word each
    apt install --yes --no-install-recommends --no-remove $(packages) ||
        die 1 "apt-get could not install what is missing (on Ubuntu the component universe must be enabled); by hand, as root:" \
            "apt-get install --no-install-recommends $(packages)"
    look
    [ -z "$missing" ] || die 1 "apt-get succeeded, and yet this is missing:
$missing"
}

install_python() {
    [ "$venv" != current ] || return 0
    if [ "$venv" = absent ]; then
        rm -rf .venv
        mkdir .venv
    fi
    : >"$unfinished"
    [ "$venv" = usable ] || "$python" -I -m venv .venv 9<&- || die 1 "$python could not make .venv"
    say "installing Python packages (a minute or two)"
    pip setuptools # the build backend, pinned like the rest, so that the build needs no environment of its own
    pip --no-build-isolation --editable '.[dev]'
    ingredients >"$stamp"
    rm "$unfinished"
}

pip() {
    PIP_USER=0 .venv/bin/python -I -m pip install --quiet --disable-pip-version-check --constraint constraints.txt "$@" 9<&- ||
        die 1 "pip could not install the Python packages; run make setup again once the cause named above is gone"
}

warn_without_subordinate_ids() {
    if [ "$(id -u)" -ne 0 ] && ! grep -qs -e "^$(id -un):" -e "^$(id -u):" /etc/subuid; then
        say "note: $(id -un) has no range in /etc/subuid, which mmdebstrap needs to work without root; to add one, as root:" \
            "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $(id -un)"
    fi
}

main() {
    cd "$(dirname "$0")/.."
    PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # where mke2fs lies, which a user's PATH may leave out
    look
    if [ -z "$missing" ] && [ "$venv" = current ]; then
        say "nothing to do"
        return
    fi
    stop_where_nothing_can_be_done
    announce
    [ "${1:-}" != --dry-run ] || return 0
    wait_for_other_setup
    look
    install_system
    install_python
    warn_without_subordinate_ids
    say "done"
}

case "$#:${1:-}" in
    0: | 1:--dry-run) main "$@" ;;
    *) die 2 "usage: tools/setup.sh [--dry-run]" ;;
esac
