/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Disk images of a pack.  Only their headers are read: which file has the data
 * that a qcow2 image lacks.  QEMU opens the file that the header names, so an
 * image of a stranger must name none but those of its pack.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qmp/qdict.h"
#include "qemu/bswap.h"
#include "manifest.h"

#define QCOW2_MAGIC             0x514649fb
#define QCOW2_HEADER_BYTES      104
#define QCOW2_V2_HEADER_BYTES   72
#define QCOW2_DATA_FILE         (1ULL << 2)     /* incompatible feature */
#define QCOW2_BACKING_FORMAT    0xe2792aca      /* header extension */
#define QCOW2_NAME_MAX_BYTES    1023
#define QCOW2_CLUSTER_MAX_BITS  21

/* The longest beginning of a file that is read: a cluster. */
#define HEADER_MAX_BYTES        (1 << QCOW2_CLUSTER_MAX_BITS)

/* Formats that QEMU recognizes, and that can name other files. */
static const struct {
    size_t offset;
    const char *magic;
    size_t len_bytes;
    const char *name;
} other_formats[] = {
    { 0, "KDMV", 4, "vmdk" },
    { 0, "COWD", 4, "vmdk" },
    { 0, "# Disk DescriptorFile", 21, "vmdk" },
    { 0, "conectix", 8, "vpc" },
    { 0, "vhdxfile", 8, "vhdx" },
    { 0x40, "\x7f\x10\xda\xbe", 4, "vdi" },
    { 0, "QED\0", 4, "qed" },
    { 0, "LUKS\xba\xbe", 6, "luks" },
    { 0, "WithoutFreeSpace", 16, "parallels" },
    { 0, "WithouFreSpacExt", 16, "parallels" },
    { 0, "Bochs Virtual HD Image", 22, "bochs" },
};

static bool image_bad(const char *name, const char *what, Error **errp)
{
    error_setg(errp, "the disk image '%s' cannot be in a pack: %s", name,
               what);
    return false;
}

/* Finds the format of the backing file among the header extensions. */
static void image_read_extensions(PackImage *image, const uint8_t *header,
                                  size_t at, size_t end)
{
    while (end - at >= 8) {
        uint32_t kind = ldl_be_p(header + at);
        uint32_t len_bytes = ldl_be_p(header + at + 4);

        at += 8;
        if (!kind || len_bytes > end - at) {
            return;
        }
        if (kind == QCOW2_BACKING_FORMAT) {
            g_free(image->backing_format);
            image->backing_format = g_strndup((const char *)header + at,
                                              len_bytes);
        }
        at += MIN(ROUND_UP((size_t)len_bytes, 8), end - at);
    }
}

static bool image_read_qcow2(PackImage *image, const uint8_t *header,
                             size_t len_bytes, const char *name, Error **errp)
{
    uint32_t version, name_bytes, header_bytes = QCOW2_V2_HEADER_BYTES;
    uint64_t name_at;

    if (len_bytes < QCOW2_HEADER_BYTES) {
        return image_bad(name, "it is cut in its header", errp);
    }
    version = ldl_be_p(header + 4);
    name_at = ldq_be_p(header + 8);
    name_bytes = ldl_be_p(header + 16);
    if (version != 2 && version != 3) {
        return image_bad(name, "it has an unknown version of qcow2", errp);
    }
    if (version == 3) {
        if (ldq_be_p(header + 72) & QCOW2_DATA_FILE) {
            return image_bad(name, "its data is in another file (data_file)",
                             errp);
        }
        header_bytes = ldl_be_p(header + 100);
    }
    image->is_qcow2 = true;
    if (!name_at) {
        return true;
    }
    if (name_bytes > QCOW2_NAME_MAX_BYTES || name_at > len_bytes ||
        name_bytes > len_bytes - name_at || header_bytes > name_at) {
        return image_bad(name, "its header is damaged", errp);
    }
    image->backing = g_strndup((const char *)header + name_at, name_bytes);
    image_read_extensions(image, header, header_bytes, name_at);
    return true;
}

bool pack_image_read(int fd, const char *name, PackImage *image, Error **errp)
{
    g_autofree uint8_t *header = g_malloc(HEADER_MAX_BYTES);
    size_t len_bytes = 0, i;
    ssize_t got;

    *image = (PackImage) { };
    while (len_bytes < HEADER_MAX_BYTES) {
        got = pread(fd, header + len_bytes, HEADER_MAX_BYTES - len_bytes,
                    len_bytes);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            error_setg_errno(errp, errno, "cannot read '%s'", name);
            return false;
        }
        if (!got) {
            break;
        }
        len_bytes += got;
    }
    if (len_bytes >= 4 && ldl_be_p(header) == QCOW2_MAGIC) {
        return image_read_qcow2(image, header, len_bytes, name, errp);
    }
    for (i = 0; i < ARRAY_SIZE(other_formats); i++) {
        size_t end = other_formats[i].offset + other_formats[i].len_bytes;

        if (len_bytes >= end &&
            memcmp(header + other_formats[i].offset, other_formats[i].magic,
                   other_formats[i].len_bytes) == 0) {
            g_autofree char *what =
                g_strdup_printf("it has the format %s", other_formats[i].name);

            image_bad(name, what, errp);
            error_append_hint(errp, "Use raw or qcow2 images: qemu-img convert "
                              "makes them.\n");
            return false;
        }
    }
    return true;
}

void pack_image_clear(PackImage *image)
{
    g_free(image->backing);
    g_free(image->backing_format);
    *image = (PackImage) { };
}

QDict *pack_image_node(const Manifest *m, const PackFile *file,
                       const char *format,
                       char *(*path_of)(void *opaque, const PackFile *file),
                       void *opaque)
{
    bool is_qcow2 = file->format && g_str_equal(file->format, "qcow2");
    g_autofree char *path = path_of(opaque, file);
    QDict *node, *child;

    if (format && !g_str_equal(format, "raw") &&
        !(is_qcow2 && g_str_equal(format, "qcow2"))) {
        return NULL;
    }
    node = qdict_new();
    child = qdict_new();
    qdict_put_str(node, "driver", format ?: is_qcow2 ? "qcow2" : "raw");
    qdict_put_str(child, "driver", "file");
    qdict_put_str(child, "filename", path);
    qdict_put(node, "file", child);
    if (file->backing && !g_str_equal(qdict_get_str(node, "driver"), "raw")) {
        const PackFile *backing = manifest_file(m, file->backing);

        qdict_put(node, "backing",
                  pack_image_node(m, backing, NULL, path_of, opaque));
    }
    return node;
}
