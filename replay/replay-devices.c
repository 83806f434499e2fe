/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The devices that can be recorded and replayed.  A device is refused if
 * something in it happens at an instruction that the recording does not know,
 * and also if nobody has looked at it.  docs/replay.txt ("Other devices") says
 * what each device was found to do.
 *
 * The table has the devices of all QEMUs that we support.  bases/BASE/devices
 * names those that only one of them has.
 *
 * Only devices that a user can add are looked up; the fixed parts of a machine
 * are those that the tests record.  CPUs are not devices in this sense.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qmp/qlist.h"
#include "qemu/error-report.h"
#include "hw/core/cpu.h"
#include "hw/qdev-core.h"
#include "qom/qom-qobject.h"
#include "replay-machine.h"
#include "replay-now.h"

typedef struct ReplayDevices {
    const char *refused;        /* the reason; NULL: recorded and replayed */
    const char *const *types;   /* QOM types, ends with NULL */
} ReplayDevices;

#define TYPES(...) ((const char *const[]) { __VA_ARGS__, NULL })

static const ReplayDevices groups[] = {
    /* Bridges and hubs */
    { NULL, TYPES(
        "cxl-downstream", "cxl-rp", "cxl-switch-mailbox-cci", "cxl-upstream",
        "i82801b11-bridge", "ioh3420", "pci-bridge", "pci-bridge-seat",
        "pcie-pci-bridge", "pcie-root-port", "pxb", "pxb-cxl", "pxb-pcie",
        "usb-hub", "x3130-upstream", "xio3130-downstream") },
    /* USB controllers */
    { NULL, TYPES(
        "ich9-usb-ehci1", "ich9-usb-ehci2", "ich9-usb-uhci1",
        "ich9-usb-uhci2", "ich9-usb-uhci3", "ich9-usb-uhci4",
        "ich9-usb-uhci5", "ich9-usb-uhci6", "nec-usb-xhci", "pci-ohci",
        "piix3-usb-uhci", "piix4-usb-uhci", "qemu-xhci", "usb-ehci") },
    /* Disks and their controllers */
    { NULL, TYPES(
        "am53c974", "dc390", "floppy", "ich9-ahci", "ide-cd", "ide-cf",
        "ide-hd", "isa-fdc", "isa-ide", "lsi53c810", "lsi53c895a", "megasas",
        "megasas-gen2", "mptsas1068", "nvme", "nvme-ns", "nvme-subsys",
        "piix3-ide", "piix4-ide", "pvscsi", "scsi-cd", "scsi-hd", "sd-card",
        "sd-card-spi", "sdhci-pci", "usb-bot", "usb-storage", "usb-uas",
        "virtio-blk-device", "virtio-blk-pci",
        "virtio-blk-pci-non-transitional", "virtio-blk-pci-transitional",
        "virtio-scsi-device", "virtio-scsi-pci",
        "virtio-scsi-pci-non-transitional", "virtio-scsi-pci-transitional") },
    /* Memory, and files that QEMU reads when it starts */
    { NULL, TYPES(
        "acpi-erst", "cxl-type3", "guest-loader", "loader", "nvdimm",
        "pc-dimm", "virtio-mem", "virtio-mem-pci") },
    /* Network devices */
    { NULL, TYPES(
        "e1000", "e1000-82544gc", "e1000-82545em", "e1000e", "i82550",
        "i82551", "i82557a", "i82557b", "i82557c", "i82558a", "i82558b",
        "i82559a", "i82559b", "i82559c", "i82559er", "i82562", "i82801",
        "igb", "ne2k_isa", "ne2k_pci", "pcnet", "rocker", "rtl8139", "tulip",
        "usb-net", "virtio-net-device", "virtio-net-pci",
        "virtio-net-pci-non-transitional", "virtio-net-pci-transitional",
        "vmxnet3") },
    { NULL, TYPES(
        "ctucan_pci", "kvaser_pci", "mioe3680_pci", "pcm3680_pci") },
    /* Character devices */
    { NULL, TYPES(
        "ipmi-bmc-extern", "ipoctal232", "isa-debugcon", "isa-parallel",
        "isa-serial", "pci-serial", "pci-serial-2x", "pci-serial-4x",
        "tpci200", "usb-braille", "usb-ccid", "usb-serial", "virtconsole",
        "virtio-serial-device", "virtio-serial-pci",
        "virtio-serial-pci-non-transitional",
        "virtio-serial-pci-transitional", "virtserialport") },
    /* Keyboards and pointers */
    { NULL, TYPES(
        "i8042", "usb-kbd", "usb-mouse", "usb-tablet", "usb-wacom-tablet",
        "virtio-keyboard-device", "virtio-keyboard-pci",
        "virtio-mouse-device", "virtio-mouse-pci", "virtio-tablet-device",
        "virtio-tablet-pci", "vmmouse") },
    /* Displays */
    { NULL, TYPES(
        "ati-vga", "bochs-display", "cirrus-vga", "i2c-ddc",
        "isa-cirrus-vga", "isa-vga", "ramfb", "secondary-vga", "sga",
        "VGA", "virtio-gpu-device", "virtio-gpu-pci", "virtio-vga") },
    /* Sound */
    { NULL, TYPES(
        "AC97", "adlib", "ES1370", "hda-duplex", "hda-micro", "hda-output",
        "ich9-intel-hda", "intel-hda", "usb-audio",
        "virtio-sound-device", "virtio-sound-pci") },
    /* Clocks, watchdogs, sensors, IOMMUs, test devices */
    { NULL, TYPES(
        "amd-iommu", "AMDVI-PCI", "i6300esb", "ib700", "intel-iommu",
        "ipmi-bmc-sim", "isa-applesmc", "isa-debug-exit", "isa-ipmi-bt",
        "isa-ipmi-kcs", "mc146818rtc", "pc-testdev", "pci-ipmi-bt",
        "pci-ipmi-kcs", "pci-testdev", "pvpanic", "pvpanic-pci",
        "smbus-ipmi", "virtio-iommu-device", "virtio-iommu-pci",
        "vmcoreinfo") },
    { NULL, TYPES(
        "virtio-balloon-device", "virtio-balloon-pci",
        "virtio-balloon-pci-non-transitional",
        "virtio-balloon-pci-transitional", "virtio-rng-device",
        "virtio-rng-pci", "virtio-rng-pci-non-transitional",
        "virtio-rng-pci-transitional", "vmclock", "vmgenid") },

    { "a thread of its own computes while the guest runs", TYPES(
        "edu") },
    { "its ISA DMA goes on in a bottom half of the main loop", TYPES(
        "cs4231a", "gus", "sb16") },
    { "a bottom half of the main loop executes the guest's commands", TYPES(
        "ufs", "ufs-lu", "virtio-crypto-device", "virtio-crypto-pci") },
    { "it answers the guest in a bottom half of the main loop", TYPES(
        "i2c-echo") },
    { "touches are not recorded", TYPES(
        "virtio-multitouch-device", "virtio-multitouch-pci") },
    { "the guest changes a file that a replay would read when it starts", TYPES(
        "uefi-vars-sysbus", "uefi-vars-x64") },
    { "it executes the guest's commands when the display is refreshed", TYPES(
        "vmware-svga") },
    { "threads of the host complete its requests", TYPES(
        "scsi-block", "scsi-generic", "virtio-pmem", "virtio-pmem-pci") },
    { "other programs write to its memory", TYPES(
        "ivshmem-doorbell", "ivshmem-plain") },
    { "it reads files of the host while the guest runs", TYPES(
        "usb-mtp") },
    { "it is a device of the host", TYPES(
        "u2f-passthru", "vfio-pci", "vfio-pci-igd-lpc-bridge",
        "vfio-pci-nohotplug", "virtio-input-host-device",
        "virtio-input-host-pci") },
};

/* Returns: why devices of this type are refused; NULL if they are not. */
static const char *replay_devices_reason(const char *type)
{
    size_t i, j;

    for (i = 0; i < ARRAY_SIZE(groups); i++) {
        for (j = 0; groups[i].types[j]; j++) {
            if (g_str_equal(groups[i].types[j], type)) {
                return groups[i].refused;
            }
        }
    }
    return "it is not known to do everything at recorded instructions";
}

/* Returns: whether iothread-vq-mapping= gives the device threads. */
static bool replay_devices_has_iothreads(Object *obj)
{
    QObject *mapping = object_property_get_qobject(obj, "iothread-vq-mapping",
                                                   NULL);
    const QList *threads = qobject_to(QList, mapping);
    bool found = threads && !qlist_empty(threads);

    qobject_unref(mapping);
    return found;
}

/* An error for a device that is refused, which ends the walk. */
static int replay_devices_check_one(Object *obj, void *opaque)
{
    DeviceState *dev = (DeviceState *)object_dynamic_cast(obj, TYPE_DEVICE);
    Error **errp = opaque;
    const char *type = object_get_typename(obj);
    const char *reason;
    g_autofree char *path = NULL;
    Error *err = NULL;

    if (!dev || !DEVICE_GET_CLASS(dev)->user_creatable
        || object_dynamic_cast(obj, TYPE_CPU)) {
        return 0;
    }
    reason = replay_devices_reason(type);
    if (!reason && object_property_get_link(obj, "iothread", NULL)) {
        reason = "it works in a thread of its own (iothread=)";
    }
    if (!reason && replay_devices_has_iothreads(obj)) {
        reason = "it works in threads of its own (iothread-vq-mapping=)";
    }
    if (!reason) {
        return 0;
    }
    path = object_get_canonical_path(obj);
    error_setg(&err, "the device '%s' (%s) cannot be recorded or replayed: %s",
               type, dev->id ?: path, reason);
    if (replay_now.options.allow_unsafe
        || replay_mode == REPLAY_MODE_PLAY) {
        error_append_hint(&err, "A replay may differ from its recording.\n");
        warn_report_err(err);
        return 0;
    }
    error_append_hint(&err, "Remove the device. With rrunsafe=on this is only "
                      "a warning, and a replay may differ.\n");
    error_propagate(errp, err);
    return 1;
}

bool replay_devices_check(Error **errp)
{
    return !object_child_foreach_recursive(object_get_root(),
                                           replay_devices_check_one, errp);
}
