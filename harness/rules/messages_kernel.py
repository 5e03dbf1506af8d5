"""What Linux and Xen print when a passthrough fails or a device dies: VFIO, the IOMMU drivers, PCI, xHCI, USB, the kernel itself.

The wording is that of Linux 2.6.35 to 6.17, where it changed in each of its forms.
"""

from __future__ import annotations

from harness.core.finding import Severity
from harness.rules.message import RELEASE, Message, message

INFORMATION, CONDITION, FAILURE = Severity.INFORMATION, Severity.CONDITION, Severity.FAILURE

KERNEL: tuple[Message, ...] = (
    # VFIO, and KVM's device assignment before it
    message(
        "ineligible for iommu domain|1:1 iommu mapping",
        r"ineligible for IOMMU domain attach|device have a 1:1 IOMMU mapping",
        "the firmware reserves memory for the device (an RMRR), and the kernel does not give it away",
        "RES001",
        FAILURE,
    ),
    message(
        "interrupt remapping support|irq remapping|irq-injection",
        r"No interrupt remapping (?:support|for)|Failed to enable irq remapping|irq-injection attacks",
        "interrupts are not remapped, and VFIO refuses the device",
        "IRQ001",
        CONDITION,
    ),
    message(
        "rlimit_memlock",
        r"RLIMIT_MEMLOCK",
        "the user may not lock as much memory as the guest has",
        "MEM001",
        FAILURE,
    ),
    message(
        "vfio-noiommu",
        r"vfio-noiommu",
        "VFIO is used without an IOMMU: nothing keeps the device from the host's memory",
        "VFI002",
        CONDITION,
    ),
    message(
        "with error -22",
        r"vfio.{0,80}(?:probe of \S+|probe with driver \S+) failed with error -22",
        "the device is in no IOMMU group: DMA is not remapped for it",
        "IOM001",
        FAILURE,
    ),
    message(
        "vfio|can't reserve",
        r"vfio.{0,80}(?:probe of \S+|probe with driver \S+) failed with error -\d+|vfio-pci.{0,40}can't reserve",
        "vfio-pci did not take the device: something else of the host has it",
        "PCI002",
        FAILURE,
        remedy="read the lines around it in dmesg: a frame buffer, another driver or another function has the device's memory",
    ),
    message(
        "relaying device request|until released by user|until device is released",
        r"Relaying device request to user|blocked until (?:released by user|device is released)",
        "vfio-pci waits until the program that has the device lets it go",
        "PCI002",
        CONDITION,
        remedy=RELEASE,
    ),
    # resets and power
    message(
        "not ready|pending transaction|power state|vfio_bar_restore|inaccessible|flr",
        r"vfio_bar_restore|not ready \d+ms after|not ready after|Unable to change power state|Refused to change power state"
        r"|can't change power state|timed out waiting for pending transaction|\bFLR\b.{0,60}(?:timed? ?out|fail)",
        "the device did not come back from a reset or from sleep",
        "RST002",
        CONDITION,
    ),
    message(
        "reset",
        r"no available reset mechanism|No reset method|\d\d\.[0-7]: (?:bus )?reset failed",
        "the device cannot be reset",
        "RST001",
        CONDITION,
    ),
    # PCIe's error reports: the wording of Linux up to 6.5, and since (correctable, uncorrectable)
    message(
        "pcie bus error|aer:|dpc:",
        r"AER: (?:Multiple )?Uncorrect\w+ .*(?:error|message).*received|severity=Uncorrect"
        r"|\bAER: .*(?:recovery failed|can't recover)"
        r"|DPC: (?:containment event|unmasked uncorrectable)",
        "the PCIe link reported an error that cannot be corrected",
        "AER001",
        FAILURE,
    ),
    message(
        "pcie bus error|aer:",
        r"AER: (?:Multiple )?Correct\w+ .*(?:error|message).*received|severity=Correct",
        "the PCIe link reported errors that it corrected",
        "AER001",
        CONDITION,
    ),
    message(
        "[hardware error]",
        r"\[Hardware Error\]:.*PCIe error",
        "the firmware reported an error of a PCIe link (APEI)",
        "AER001",
        CONDITION,
    ),
    # xHCI
    message(
        "assume dead|controller is dead|hc died|host system error|host controller error|hse|controller died",
        r"not responding, assume dead|assume controller is dead|\bHC died\b|WARNING: Host (?:System|Controller) Error"
        r"|xhci.{0,60}Host (?:System|Controller) Error",
        "the xHCI controller died",
        "XHC001",
        FAILURE,
    ),
    message(
        "not responding|abort|xhci|can't setup|startup error|host halt|host not halted|took too long",
        r"xHCI host not responding to|abort(?:ing)? (?:failed to stop )?(?:the )?command ring"
        r"|Abort failed to stop command|Host halt failed"
        r"|Host not halted after|Host took too long to start|can't setup: -\d+|xhci.{0,60}(?:startup error -\d+"
        r"|init \S+ fail, -\d+)"
        r"|xhci.{0,60}(?:probe of \S+|probe with driver \S+) failed with error -\d+|Controller not ready at resume"
        r"|PCI post-resume error",
        "the xHCI controller does not answer its driver",
        "XHC001",
        FAILURE,
    ),
    message(
        "xhci|setup device command|slot id|host controller resources|enough bandwidth|command timeout",
        r"Timeout while waiting for (?:a slot|\w+ (?:device )?command|setup device)"
        r"|Error while assigning device slot ID|xhci.{0,60}Command timeout"
        r"|Not enough host controller resources|Not enough bandwidth|Event TRB.{0,80}(?:with no TDs queued"
        r"|not part of current TD)"
        r"|Transfer event TRB DMA ptr not part|xhci.{0,60}ERROR (?:unknown|unexpected|Unknown)",
        "the xHCI controller or its driver lost track of commands or transfers",
        "XHC001",
        CONDITION,
    ),
    message(
        "renesas",
        r"renesas.{0,200}(?:fail|can't|unable|timed? ?out|not found|invalid)|(?:fail|can't|unable).{0,200}renesas_usb_fw",
        "the controller's firmware could not be loaded",
        "PCI005",
        CONDITION,
    ),
    # the IOMMU
    message(
        "request device|fault reason|event logged|handling fault|io_page_fault|unhandled context fault|arm-smmu|in root table",
        r"Request device \[|DMAR: ?\[fault reason|DRHD: handling fault status|Event logged \["
        r"|AMD-Vi: IO_PAGE_FAULT|Unhandled context fault"
        r"|arm-smmu\S* .{0,40}(?:event:? ?(?:0x10|F_TRANSLATION|F_ADDR_SIZE|F_ACCESS|F_PERMISSION))",
        "the IOMMU stopped an access or an interrupt of a device",
        "IOM005",
        FAILURE,
    ),
    message(
        "amd-vi|dmar|ivrs|iommu|wait loop|invalidation",
        r"AMD-Vi: (?:Error initialization|Failed to allocate)|Parse DMAR table failure|returns all ones"
        r"|Completion-Wait loop timed out"
        r"|VT-d detected Invalidation|Invalidation (?:Queue|Time-?out|Completion) Error|QI (?:stall|timeout)"
        r"|(?:DMAR|IOMMU|AMD-Vi): .{0,80}initialization failed",
        "the kernel gave the IOMMU up",
        "IOM004",
        FAILURE,
    ),
    message(
        "no mapping iommu|not in ivrs|disabling interrupt remapping|interrupt remapping on a chipset",
        r"has no mapping iommu|IOAPIC\[\d+\] not in IVRS|Disabling interrupt remapping"
        r"|interrupt remapping on a chipset that contains an erratum",
        "the firmware keeps interrupts from being remapped",
        "IRQ002",
        INFORMATION,
    ),
    message(
        "your bios is broken|firmware reserved region can cover|no iommu for device",
        r"(?:DMAR|dmar|IVRS|AMD-Vi|IOMMU|RMRR).{0,200}Your BIOS is broken|Your BIOS is broken.{0,60}(?:DMAR|IVRS|RMRR)"
        r"|No firmware reserved region can cover this RMRR|IVMD: no IOMMU for device",
        "the firmware describes the IOMMU wrongly",
        "ACP002",
        INFORMATION,
    ),
    message(
        "x2apic",
        r"x2apic (?:is disabled because BIOS sets|opt.?out)|BIOS set x2apic opt out",
        "the firmware keeps the kernel from x2APIC",
        "IRQ004",
        INFORMATION,
    ),
    message(
        "disabled by bios|disabled in bios|not supported by txt|locked by bios",
        r"(?:kvm|vmx|svm).{0,40}(?:disabled by bios|disabled in bios|not supported by TXT)",
        "the firmware switches virtualization off",
        "CPU002",
        INFORMATION,
    ),
    message(
        "lockdown: |kernel_lockdown",
        r"Lockdown: .{0,120} is restricted",
        "the kernel is locked down and refused an access to hardware",
        "LCK001",
        INFORMATION,
    ),
    # USB devices
    message(
        "over-current|overcurrent",
        r"\bover-?current (?:change|condition)",
        "a USB port was switched off: the device on it draws too much",
        "USB001",
        CONDITION,
    ),
    message(
        "cannot enable|unable to enumerate|not accepting address|descriptor read|can't set config"
        "|can't read config|unable to read config"
        "|cannot reset",
        r"Cannot enable(?: port \d+)?\. +Maybe the USB cable is bad|unable to enumerate USB device"
        r"|device not accepting address"
        r"|device descriptor read/\w+, error -\d+|can't set config #\d+, error|(?:can't"
        r"|unable to) read config(?:uration|urations| index)\b"
        r"|(?:usb|hub) \S+: cannot reset (?:port \d+ )?\(err = -\d+\)",
        "a USB device does not come up on its port: cable, port or device",
        "USB001",
        CONDITION,
    ),
    message(
        "uas_eh|uas_zap|tag#",
        r"\buas_(?:eh_\w+|zap_\w+)|\buas.{0,30}(?:abort|reset) (?:fail|timed)",
        "the stick's driver uas gave commands up",
        "USB001",
        CONDITION,
    ),
    message(
        "error, dev sd|did_error|did_transport",
        r"error, dev sd[a-z]|\[sd[a-z]+\].*hostbyte=DID_(?:ERROR|TRANSPORT)",
        "a disk did not do what it was asked to",
        "USB001",
        CONDITION,
    ),
    message(
        "usb device",
        r"\breset (?:(?:low|full|high|super)[ -]?speed(?:[ -]plus)?|SuperSpeed\S*)(?: \S+ ?\S*){0,4} USB device",
        "a USB device was reset, as on its way to a guest, or after an error",
        "USB001",
        INFORMATION,
    ),
    message(
        "usbfs: ",
        r"usbfs: (?:process .{0,60}did not claim interface|interface \d+ claimed by|USBDEVFS_\w+ failed)",
        "a program and a driver use the same USB device",
        "USB002",
        INFORMATION,
    ),
    # the kernel itself
    message(
        "kernel panic|bug: |oops|general protection|lockup",
        r"Kernel panic - not syncing|BUG: (?:unable to handle|kernel NULL pointer)|\bOops: \d"
        r"|general protection fault, |kernel BUG at|(?:soft|hard) lockup - |BUG: soft lockup"
        r"|hard LOCKUP",
        "the kernel met an error of its own",
        "LOG002",
        FAILURE,
    ),
    message(
        "blocked for more than|nobody cared|disabling irq",
        r"INFO: task \S+ blocked for more than \d+ seconds|irq \d+: nobody cared|Disabling IRQ #\d+",
        "a process hung in the kernel, or an interrupt found no driver",
        "LOG002",
        CONDITION,
    ),
    message(
        "suppressed|messages dropped|messages lost|missed ",
        r"\d+ callbacks suppressed|printk messages dropped|some messages lost|Missed \d+ kernel messages",
        "the kernel left out messages of which there were too many",
        "LOG001",
        INFORMATION,
    ),
)
"""The first that fits a line explains it."""
