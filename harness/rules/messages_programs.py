"""What QEMU, libvirt, Xen's tools, Proxmox, libusb and a shell print when a passthrough fails.

The wording is that of QEMU 1.0 to 10, libvirt 1.0 to 11, libxl 4.5 to 4.19 and Proxmox VE 6 to 8.
"""

from __future__ import annotations

from harness.rules.message import RELEASE, TAKE, Message, message

HELD = "PCI002"
"""The rule about who has the device."""

PROGRAMS: tuple[Message, ...] = (
    message(
        "is not viable|are bound to their vfio|groupviable",
        r"group \d+ is not viable|all devices within the iommu_group are bound|\bGroupViable\b",
        "another device of the IOMMU group is still with a driver of the host",
        "GRP001",
    ),
    message(
        "which is not owned|used in multiple address|behind a switch lacking acs|not doing bus reset",
        r"depends on group \d+ which is not owned|group \d+ used in multiple address spaces|behind a switch lacking ACS"
        r"|devices on bus.{0,60}not doing bus reset",
        "the device shares a group or a bus with another one, which would have to go along",
        "GRP001",
    ),
    message(
        "dma_map|dmamap|map_dma|ioas_map|locked memory|lock memory|memlock",
        r"(?:dma_?map|map_dma|ioas_map)\b.*(?:-12\b|Cannot allocate memory|ENOMEM|code: 12\b)"
        r"|cannot (?:limit|set|adjust).{0,30}locked memory|(?:limit|set|adjust|rais"
        r"|increas)\w*\b.{0,40}memlock.{0,80}(?:fail|denied|not permitted)"
        r"|(?:fail|unable|cannot)\w*.{0,80}(?:memlock|(?:locked|lock) memory)",
        "the user may not lock as much memory as the guest has",
        "MEM001",
    ),
    message(
        "dma_map|map_dma|ioas_map|dmamap",
        r"(?:dma_?map|map_dma|ioas_map)\b.*(?:-22\b|Invalid argument|EINVAL|code: 22\b)",
        "the guest's memory lies where the group has a reserved region",
        "RES001",
    ),
    message(
        "iommu for container|iommu driver for",
        r"failed to set iommu for container.{0,20}Operation not permitted",
        "VFIO refuses the group: interrupts are not remapped, or firmware keeps memory for it (RES001); dmesg says which",
        "IRQ001",
        remedy="read dmesg: for `No interrupt remapping` see IRQ001, for `platform RMRR requirement` see RES001",
    ),
    message(
        "group container|group to container|iommu for container|to iommufd=|error attach",
        r"(?:failed to set (?:group|iommu for) container|cannot add vfio group to container"
        r"|error attach \S+).*(?:Invalid argument|error 22\b)",
        "the IOMMU does not take the group: firmware keeps memory mapped for it",
        "RES001",
    ),
    message(
        "iommu models|vfio_iommu|supported vfio version|iommu support for",
        r"No available IOMMU models|no vfio.?iommu (?:driver|type)|supported vfio version: \d+, reported"
        r"|Nested mode requested but",
        "VFIO has no driver for this IOMMU: vfio_iommu_type1 is not loaded, or VFIO works without one",
        "VFI001",
    ),
    message(
        "noiommu",
        r"(?:enable_unsafe_noiommu_mode|no-?iommu mode|vfio-noiommu|/dev/vfio/noiommu-\d+)",
        "VFIO is used without an IOMMU: nothing keeps the device from the host's memory",
        "VFI002",
    ),
    message(
        "/dev/vfio|/dev/iommu|vfio_device",
        r"/dev/(?:vfio\b|iommu\b).*(?:Permission denied|Operation not permitted|EACCES|EPERM)"
        r"|(?:apparmor=.?\"DENIED|avc:\s+denied).*(?:vfio|/dev/iommu)",
        "the user may not open the group",
        "VFI003",
    ),
    message(
        "/dev/vfio|/dev/iommu|active device|already attached|already in use|still in use|in use by|is in use|already opened"
        "|could not be acquired",
        r"/dev/vfio/\S*.*(?:Device or resource busy|EBUSY)|device \S* ?is already attached"
        r"|PCI device \S+ (?:is (?:still )?|already )in use\b|Not (?:detaching|reattaching"
        r"|resetting) active device|(?:device|group) \S+ is already (?:in use|opened)"
        r"|to iommufd=\d+: Device or resource busy",
        "another program has the device: a guest that runs already, or one that did not end",
        HELD,
        remedy=RELEASE,
    ),
    message(
        "to iommufd=",
        r"error bind device fd=-?\d+ to iommufd=-?\d+",
        "the device could not be tied to iommufd: it is not alone with vfio-pci, or another program has it",
        HELD,
        remedy=RELEASE,
    ),
    message(
        "/dev/vfio/vfio|/dev/iommu",
        r"(?:open|access)\w*.{0,20}/dev/(?:vfio/vfio\b|iommu\b).*(?:No such (?:file|device)|ENOENT)"
        r"|/dev/(?:vfio/vfio|iommu): No such",
        "VFIO is not there: its modules are not loaded",
        "VFI001",
    ),
    message(
        "iommu_group|iommu group|iommu not present|no iommu|without iommu|passthrough of host"
        "|host pci passthrough|iommu is not"
        "|pci passthrough",
        r"no iommu_group (?:found|for device)|(?:failed|unable|cannot|could not|couldn't) to? ?(?:find|get|obtain|determine"
        r"|resolve|read|locate).{0,60}iommu.?group"
        r"|cannot be assigned - no IOMMU|IOMMU not present|No IOMMU (?:found|detected|available)|without IOMMU"
        r"|iommu_group.{0,60}No such file"
        r"|host doesn.{0,5}t support (?:\w+ )*(?:passthrough|assignment) ?(?:of host)?|IOMMU is not (?:enabled"
        r"|active|supported)",
        "the device is in no IOMMU group: DMA is not remapped for it",
        "IOM001",
    ),
    message(
        "no such host device|not found|pci device|couldn't find|could not access|no pci device|non-endpoint|host device",
        r"vfio.{0,60}no such host device|PCI device \W?[0-9a-f:.]+\W? ?not found|(?:no|couldn.t find"
        r"|could not find) (?:the )?PCI device (?:found )?(?:for |at )?\W?[0-9a-f]*:?[0-9a-f]{2}:"
        r"|Non-endpoint PCI device"
        r"|Device \S+ not found: could not access /sys/bus/pci|couldn.t locate PCI device"
        r"|/sys/bus/pci/devices/[0-9a-f:.]+/?\S*:? .{0,12}No such file"
        r"|no node device with matching name .?pci_",
        "there is no such PCI function at that address, or it is a bridge",
        "PCI001",
    ),
    message(
        "getting device from group|occupying your device|failed to assign device|/dev/vfio|vfio-dev|detached from the host"
        "|not assignable|pci-assign|manually detached|pciback",
        r"error getting device from group|is occupying your device|Failed to assign device .{0,60}busy"
        r"|vfio-dev.{0,20}No such file"
        r"|(?:open|access)\w*.{0,20}/dev/vfio/\S+.*(?:No such|ENOENT)|must be manually detached from the host"
        r"|\bis not assignable|Device .pci-assign. could not be initialized|not (?:owned by|bound to) (?:xen-)?pciback",
        "the device is not with the driver that passes it",
        "PCI002",
        remedy=TAKE,
    ),
    message(
        "vfio",
        r"Module vfio.?\w* not found|modprobe.{0,60}vfio|could not insert .{0,3}vfio|(?:load"
        r"|insert)\w* (?:PCI )?(?:driver|stub)? ?(?:module )?.{0,4}vfio"
        r"|drivers/vfio-pci/\S+\W{1,4}No such file|(?:fail|unable|cannot)\w*.{0,20}\bbind .{0,60}(?:to|with).{0,12}vfio"
        r"|Failed to add PCI device ID .{0,40}vfio|Unknown driver .{0,3}vfio",
        "the driver vfio-pci could not be loaded or did not take the device",
        "VFI001",
    ),
    message(
        "write error",
        r"write error: (?:No such device|Device or resource busy|Invalid argument)",
        "sysfs refused the write: the device is not with that driver, has another one, or the driver was not told to take it",
        "PCI002",
        remedy=TAKE,
    ),
    message(
        "failed to unbind pci|failed to detach device",
        r"Failed to unbind PCI device|Failed to detach device [0-9a-f:.]{7,}",
        "the device's driver did not let it go",
        "PCI002",
        remedy="see dmesg for the driver, and who uses what is on the device: lsblk, fuser; unmount, then try again",
    ),
    message("write error", r"write error: File exists", "that id was given to the driver before", "PCI004", remedy=TAKE),
    message(
        "cannot reset device|reset pci device|reset mechanism|bus reset|reset from sysfs|pci device reset",
        r"Cannot reset device|no available reset mechanism|no FLR, PM reset or bus reset|(?:Unable|failed"
        r"|can.t) to reset PCI device|can.t reset PCI device"
        r"|doesn.t support reset from sysfs",
        "the device cannot be reset",
        "RST001",
    ),
    message(
        "stuck in d3|power on device",
        r"stuck in D3|Unable to power on device",
        "the device did not come back from a reset or from sleep",
        "RST002",
    ),
    message(
        "unrecoverable error detected|vfio_err_notifier",
        r"vfio_err_notifier_handler|Unrecoverable error detected.{0,80}guest",
        "the PCIe link reported an error that cannot be corrected, and QEMU stopped the guest",
        "AER001",
    ),
    message(
        "interrupt remapping|assign irq",
        r"platform does not support interrupt remapping|Failed to assign irq\b",
        "interrupts are not remapped, and VFIO refuses the device",
        "IRQ001",
    ),
    message(
        "kvm",
        r"Could not access KVM kernel module|failed to initialize (?:kvm|accel\w* kvm)"
        r"|KVM acceleration (?:can )?not (?:be )?(?:used|available)"
        r"|(?:open|access)\w*.{0,20}/dev/kvm|ioctl\(KVM_CREATE_VM\) failed|invalid accelerator kvm|KVM (?:is )?not supported"
        r"|/dev/kvm.{0,30}(?:denied|No such)",
        "KVM cannot be used: its module is not loaded, the user may not open /dev/kvm, or another hypervisor has the processor",
        "KVM001",
    ),
    message(
        "not a valid device model|kvm device assignment",
        r".(?:vfio-pci|pci-assign|usb-host|qemu-xhci). is not a valid device model name"
        r"|does not support KVM device assignment",
        "this QEMU was built without that device, or no longer has it (pci-assign left with QEMU 3.0)",
        "QEM001",
    ),
    message(
        "libusb|host usb device|usb device",
        r"libusb\w*.{0,60}(?:couldn.t open|-3 \[ACCESS\])|requires write access to USB device|failed to open host usb device"
        r"|libusb_\w+: -\d+ \[(?!NO_DEVICE|NOT_FOUND)\w+\]|claim(?:ing)? interface.{0,20}(?:fail|busy|errno)",
        "QEMU could not take the USB device: the user may not open its node, or a driver or program has it",
        "USB002",
    ),
    message(
        "host usb device|usb device|libusb",
        r"failed to find host usb device|Did not find USB device|host usb device .{0,30}not found"
        r"|libusb_\w+: -\d+ \[(?:NO_DEVICE|NOT_FOUND)\]"
        r"|Multiple USB devices for",
        "the USB device that QEMU was to take is not there, or there are several like it",
        "USB002",
        remedy="look for it with lsusb -t; name it by hostbus= and hostport=: its address changes with each plug",
    ),
    message(
        "speed mismatch",
        r"speed mismatch trying to attach usb device",
        "the guest's emulated USB controller is too old for the USB device's speed",
        "USB002",
        remedy="give the guest an xHCI: -device qemu-xhci, and the device on its bus",
    ),
    message(
        "container for group|failed to get group|failed to get device",
        r"vfio.{0,60}(?:failed to setup container for group \d+|failed to get (?:group \d+|device \S+))\s*$",
        "VFIO could not use the device's group: a line before this one says why",
        "PCI002",
        remedy=TAKE,
    ),
)
"""The first that fits a line explains it."""
