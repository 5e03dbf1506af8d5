# shellcheck shell=sh disable=SC2317 # sections are called by name
# One photograph of a host: reads, prints, changes nothing. For dash, busybox ash and bash; fed to `sh -s`, all of it or
# the sections that are named behind.
#
# Every item is one header line and the data:   @tp STATUS LENGTH NAME \n DATA \n
# Processes are expensive under emulation (tens of ms each), so small files are read by `read` and links are followed by `cd -P`:
# 30 PCI devices cost no process at all. What is not printed was not there.
# THROUGHPASS_ROOT names another root to read (commands then come from its folder commands/); THROUGHPASS_TICK the watch's seconds.

LC_ALL=C # ${#value} counts bytes
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin
export LC_ALL PATH
unset CDPATH
root=${THROUGHPASS_ROOT:-}
tick=${THROUGHPASS_TICK:-5}
batch=
SECTIONS='kernel cpu iommu acpi pci links usb seat block mounts net modules devices holders log qemu tools'
LONGEST=8388608 # bytes of a command's output: the last ones

item() { # status name data
    batch="${batch}@tp $1 ${#3} $2
$3
"
    # One write for many items: each small write would become an SSH packet of its own.
    if [ "${#batch}" -gt 4000 ]; then flush; fi
}

flush() {
    printf '%s' "$batch"
    batch=
}

line() { # the first line of each of these files
    for file; do
        value=
        if IFS= read -r value <"$file" || [ -r "$file" ]; then
            item read "$file" "$value"
        elif [ -e "$file" ]; then
            item denied "$file" ""
        fi
    done
}

text() { # the whole of a file, by a process; it says whether one that seems empty may be read
    [ -e "$1" ] || return 0
    if value=$(cat "$1"); then item read "$1" "$value"; else item denied "$1" ""; fi
}

texts() { # the whole of several files, by one process: told apart by the headings that head gives to more than one
    [ $# -gt 0 ] || return 0
    if list=$(head -n 1000000 "$@" /dev/null); then failed=; else failed=yes; fi
    item texts "$1" "$list"
    [ -n "$failed" ] || return 0
    for file; do
        case $list in
        *"==> $file <==

==> "*) text "$file" ;; # empty or closed
        *"==> $file <=="*) ;;
        *) text "$file" ;; # not there or closed, or there is no head
        esac
    done
}

texts_of() { # what these sections read whole
    files=
    for name; do
        case $name in
        kernel) files="$files etc/os-release proc/self/status proc/self/limits proc/consoles proc/meminfo" ;;
        seat) files="$files proc/bus/input/devices" ;;
        cpu) files="$files proc/cpuinfo proc/interrupts" ;;
        mounts) files="$files proc/self/mountinfo proc/swaps" ;;
        net) files="$files proc/net/route proc/net/ipv6_route proc/net/if_inet6" ;;
        modules) files="$files proc/modules" ;;
        esac
    done
    # shellcheck disable=SC2086 # its words
    texts $files
}

binary() { # the bytes of a file, in hexadecimal; timed out where no program can tell them
    [ -e "$1" ] || return 0
    if [ ! -r "$1" ]; then
        item denied "$1" ""
        return
    fi
    value=$(od -An -v -tx1 "$1" || xxd -p "$1" || hexdump -v -e '1/1 "%02x\n"' "$1") || value=
    if [ -n "$value" ]; then
        item hex "$1" "$value"
        return
    fi
    item timed-out "$1" ""
}

link() { # the real path of a folder
    if cd -P "$1"; then
        value=${PWD#"$root"}
        cd "$root/" || exit 1
        item read "$1" "$value"
    fi
}

present() { # that a file exists; it is not opened
    if [ -e "$1" ]; then item read "$1" ""; fi
}

names() { # what a folder holds
    [ -d "$1" ] || return 0
    list=
    for entry in "$1"/*; do
        if [ -e "$entry" ]; then list="$list ${entry##*/}"; fi
    done
    item read "$1" "${list# }"
}

output() { # item command arguments...: what the command prints, denied if it fails, nothing if there is none
    into=commands/$1
    shift
    if [ -n "$root" ]; then
        text "$into"
    elif command -v "$1" >/dev/null; then
        if value=$("$@"); then item read "$into" "$value"; else item denied "$into" "$value"; fi
    fi
}

node() { # a device's file: whether this user may open it, which is not tried
    [ -e "$1" ] || return 0
    if [ -r "$1" ] && [ -w "$1" ]; then item read "$1" ""; else item denied "$1" ""; fi
}

lines() { # pattern files...: the lines of these files in which it is found, by one process
    pattern=$1
    shift
    list=$(grep -E -e "$pattern" "$@" /dev/null)
    status=$?
    if [ "$status" -gt 1 ]; then # a file that is closed, or there is no grep
        for file; do
            if [ -e "$file" ] && { [ ! -r "$file" ] || [ "$status" -ne 2 ]; }; then item denied "$file" ""; fi
        done
    fi
    item lines "$1" "$list"
}

section_kernel() {
    line proc/cmdline proc/version proc/sys/kernel/osrelease sys/kernel/security/lockdown run/systemd/container \
        proc/sys/kernel/hostname proc/sys/kernel/random/boot_id proc/xen/capabilities \
        sys/hypervisor/type sys/hypervisor/uuid sys/class/tty/console/active
    present run/ostree-booted
    present .dockerenv
    present run/.containerenv
    for attribute in sys_vendor product_name product_version board_vendor board_name bios_vendor bios_version bios_date; do
        line "sys/class/dmi/id/$attribute"
    done
    item read commands/ssh-connection "${SSH_CONNECTION:-}"
}

section_cpu() { :; }

section_iommu() {
    names sys/class/iommu
    for unit in sys/class/iommu/*; do
        line "$unit/intel-iommu/version" "$unit/intel-iommu/cap" "$unit/intel-iommu/ecap" "$unit/amd-iommu/features"
    done
    names sys/kernel/iommu_groups
    for group in sys/kernel/iommu_groups/*; do
        [ -d "$group" ] || continue
        line "$group/name" "$group/type"
        names "$group/devices"
        [ -r "$group/reserved_regions" ] || continue
        list=
        while IFS= read -r value; do
            list="$list$value
"
        done <"$group/reserved_regions"
        item read "$group/reserved_regions" "$list"
    done
}

section_acpi() {
    names sys/firmware/acpi/tables
    binary sys/firmware/acpi/tables/DMAR
    binary sys/firmware/acpi/tables/IVRS
}

section_pci() {
    names sys/bus/pci/drivers
    for device in sys/bus/pci/devices/*; do
        [ -e "$device" ] || continue
        link "$device"
        for attribute in vendor device class revision subsystem_vendor subsystem_device reset_method driver_override \
            numa_node label irq power/runtime_status; do
            line "$device/$attribute"
        done
        link "$device/driver"
        link "$device/driver/module"
        link "$device/iommu_group"
        present "$device/reset" # exists or not; reading is refused and writing resets the device
        names "$device/vfio-dev"
        names "$device/msi_irqs"
        for interrupt in "$device"/msi_irqs/*; do
            line "$interrupt" # msi or msix, which is the same for all
            break
        done
    done
    for slot in sys/bus/pci/slots/*; do line "$slot/address"; done
}

section_links() { # apart, for these read the devices' registers: of one that is gone the names are known nevertheless
    for device in sys/bus/pci/devices/*; do
        line "$device/current_link_speed" "$device/current_link_width" "$device/max_link_speed" "$device/max_link_width"
    done
}

section_usb() {
    for device in sys/bus/usb/devices/*; do
        [ -e "$device" ] || continue
        link "$device"
        case $device in
        *:*)
            line "$device/bInterfaceClass" "$device/bInterfaceSubClass" "$device/bInterfaceProtocol" \
                "$device/bInterfaceNumber"
            link "$device/driver"
            ;;
        *)
            for attribute in idVendor idProduct serial product manufacturer speed busnum devnum devpath version bDeviceClass \
                maxchild; do
                line "$device/$attribute"
            done
            ;;
        esac
    done
    for device in sys/class/tty/ttyUSB* sys/class/tty/ttyACM*; do
        if [ -e "$device" ]; then link "$device"; fi
    done
}

section_seat() { # who sits at the host's own screen; what systemd's logind keeps of each session
    names run/systemd/sessions
    for session in run/systemd/sessions/*; do
        [ -f "$session" ] || continue # beside them lie pipes, which would block
        list=
        while IFS= read -r value; do
            case $value in
            SEAT=* | REMOTE=* | CLASS=* | STATE=*)
                list="$list$value
"
                ;;
            esac
        done <"$session"
        item read "$session" "$list"
    done
}

section_block() {
    for block in sys/class/block/*; do
        case $block in
        */ram[0-9]* | */loop[0-9]*)
            line "$block/loop/backing_file" # of most there is none
            continue
            ;;
        esac
        [ -e "$block" ] || continue
        link "$block"
        for attribute in dev size ro removable partition device/vendor device/model device/serial dm/name queue/scheduler; do
            line "$block/$attribute"
        done
        names "$block/holders"
    done
    # A mount that no process can reach (below an overlay, in an abandoned initramfs) still shows here.
    for kind in ext4 xfs f2fs erofs; do names "sys/fs/$kind"; done
    for pool in sys/fs/btrfs/*/devices; do names "$pool"; done
    # What a disk is a member of though nothing is built upon it now: udev keeps what it saw there.
    if [ -d run/udev/data ]; then
        item read commands/udev-filesystems "$(grep -E '^E:ID_FS_TYPE=' run/udev/data/b* /dev/null)"
    fi
    # ZFS alone says which disks it has. Its program would load a module that is not there.
    if [ -d sys/module/zfs ] || [ -n "$root" ]; then output zpool zpool status -LP; fi
}

section_mounts() { :; }

section_net() {
    for interface in sys/class/net/*; do
        [ -e "$interface" ] || continue
        link "$interface"
        line "$interface/address" "$interface/operstate"
        for lower in "$interface"/lower_*; do link "$lower"; done
    done
}

section_modules() {
    for module in vfio vfio_pci vfio_iommu_type1 pci_stub xhci_hcd xhci_pci kvm kvm_intel kvm_amd; do
        present "sys/module/$module"
        present "sys/module/$module/initstate" # of a module that was loaded; what is built in has none
    done
    line sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts sys/module/vfio/parameters/enable_unsafe_noiommu_mode \
        sys/module/vfio_pci/parameters/disable_idle_d3 \
        sys/module/kvm_intel/parameters/nested sys/module/kvm_amd/parameters/nested
    names etc/modprobe.d
    names lib/modprobe.d
    lines '^[^#]*(vfio|xhci|pci[-_]stub|kvm)' etc/modprobe.d/*.conf lib/modprobe.d/*.conf
    release=
    IFS= read -r release <proc/sys/kernel/osrelease
    # NixOS and Guix have no lib/modules.
    for folder in lib/modules run/booted-system/kernel-modules/lib/modules run/booted-system/kernel/lib/modules; do
        folder=$folder/$release
        [ -r "$folder/modules.dep" ] || continue
        item read commands/vfio-modules "$(grep -hE '^[^:]*/vfio-pci\.ko' "$folder/modules.dep" "$folder/modules.builtin")"
        break
    done
}

section_devices() {
    names dev/vfio
    for file in dev/kvm dev/vfio/*; do
        if [ ! -d "$file" ]; then node "$file"; fi
    done
}

section_holders() { # who has a node of VFIO or of a USB device open: three processes, however many there are on the host
    [ -d proc/1 ] || [ -d proc/self ] || return 0
    # shellcheck disable=SC2012 # names of descriptors are numbers, and find prints no links everywhere
    # Under the heading of its folder, each link to such a node; names of owners (-n) might be asked of a network. What is no folder
    # is listed first: without that line ls did not run, be it that there are more processes than arguments.
    found=$(ls -ln /dev/null proc/[0-9]*/fd | sed -n -e 1p -e '/^proc.*:$/h' \
        -e '/ -> \/dev\/vfio\//b told' -e '/ -> \/dev\/bus\/usb\//b told' -e '/ -> anon_inode:\[vfio-device\]/b told' -e d \
        -e ': told' -e 'x;p;x;p')
    newline='
'
    list=
    process=
    listed=
    set -f
    IFS=$newline
    for value in $found; do
        case $value in
        c*) listed=yes ;;
        proc/*)
            process=${value#proc/}
            process=${process%%/*}
            ;;
        *)
            program=
            IFS= read -r program <"proc/$process/comm"
            list="$list$process ${value##* -> }	$program$newline"
            ;;
        esac
    done
    unset IFS
    set +f
    if [ -n "$listed" ] && [ -r proc/1/fd ]; then item read commands/holders "$list"; else item denied commands/holders "$list"; fi
}

section_log() {
    if [ -n "$root" ]; then
        text commands/dmesg
        return
    fi
    ended=
    value=
    if command -v dmesg >/dev/null; then
        if value=$(dmesg); then ended='read'; else ended='denied'; fi
    fi
    # The journal may be open to a user to whom the ring buffer is closed (kernel.dmesg_restrict), and keeps what the ring lost:
    # without the boot's first line, nothing that the log does not say is proven.
    case $value in
    *'Linux version '*) ;;
    *)
        journal=$(journalctl -k -b --no-pager -q -o short-monotonic)
        better=
        case $journal in
        *'Linux version '*) better=yes ;;
        *' kernel: '*) if [ "$ended" != 'read' ] || [ -z "$value" ]; then better=yes; fi ;;
        esac
        if [ -n "$better" ]; then
            value=$journal
            ended='read'
        fi
        ;;
    esac
    [ -n "$ended" ] || return 0
    if [ "${#value}" -gt "$LONGEST" ]; then value=$(printf '%s' "$value" | tail -c "$LONGEST"); fi
    item "$ended" commands/dmesg "$value"
}

section_qemu() {
    for program in qemu-system-x86_64 /usr/libexec/qemu-kvm; do
        if [ -n "$root" ] || command -v "$program" >/dev/null; then
            output qemu "$program" --version
            break
        fi
    done
}

section_tools() {
    if [ -n "$root" ]; then
        text commands/tools
        return
    fi
    list=
    for tool in fio perl python3 dd timeout sha256sum lspci lsusb; do
        if command -v "$tool" >/dev/null; then list="$list $tool"; fi
    done
    item read commands/tools "${list# }"
}

watch() { # tells the photographer that time passes; ends with it
    trap 'kill "$nap"; exit' TERM
    while :; do
        sleep "$tick" &
        nap=$!
        wait "$nap"
        kill -USR1 "$photographer" || exit 0
    done
}

photograph() { # these sections in a process of their own: a read that hangs in the kernel cannot be interrupted, only left behind
    {
        texts_of "$@"
        for name; do
            [ "$name" = "$1" ] || kill -USR2 "$photographer" # one more has ended
            "section_$name"
            item read "sections/$name" ""
            flush
        done
    } &
    section=$!
    ticks=0
    ended=0
    while :; do
        wait "$section"
        [ $? -gt 128 ] || return 0 # else a signal came, to us or to the section
        kill -0 "$section" || return 1
        [ "$ticks" -lt 2 ] || break
    done
    kill -9 "$section"
    printf '\n' # it may have been killed in the middle of an item: begin a line
    return 1
}

main() {
    # shellcheck disable=SC2086 # its words
    [ $# -gt 0 ] || set -- $SECTIONS
    cd -P "${root:-/}" || exit 1
    root=${PWD%/}
    exec 2>/dev/null # what cannot be read is told by items; bash speaks of what it killed
    item read taken "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
    item read sections "$*"
    flush
    IFS=' ' read -r photographer _ </proc/self/stat # in a pipeline $$ is still the shell that began it
    trap 'ticks=$((ticks + 1))' USR1
    trap 'ticks=0 ended=$((ended + 1))' USR2
    watch >/dev/null </dev/null &
    watcher=$!
    until photograph "$@"; do
        # Two signals may arrive as one: then a section that had ended comes again.
        shift "$((ended + 1))"
    done
    kill "$watcher"
    item read end ""
    flush
}

# A read that the kernel never ends keeps its process, which not even kill -9 ends, and with it the output open: whoever reads would
# wait for ever. So somebody stands between who goes when all is said.
if command -v sed >/dev/null; then main "$@" | sed '/^@tp read 0 end$/q'; else main "$@"; fi
exit 0
