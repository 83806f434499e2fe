/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What "pack" and "unpack" share: the manifest of a pack, and disk images.
 */

#ifndef QEMU_REPLAY_MANIFEST_H
#define QEMU_REPLAY_MANIFEST_H

#include "tool.h"

/* The first entry of a pack. */
#define MANIFEST_NAME           "manifest.json"
#define MANIFEST_MAX_BYTES      (4 * 1024 * 1024)
#define MANIFEST_FORMAT         "qemu-replay-pack"
#define MANIFEST_VERSION        1

/* The names in a pack. */
#define PACK_RECORDING          "recording.rr"
#define PACK_FIRMWARE           "firmware"
#define PACK_OUTPUT             "output"

#define PACK_NAME_MAX_BYTES     255
#define PACK_FILES_MAX          4096
/* A chain of backing files has at most this length. */
#define PACK_DEPTH_MAX          64

/* All files of a pack together, unless the user gives another limit. */
#define PACK_MAX_BYTES          (8ULL * 1024 * 1024 * 1024)

#define PACK_BUFFER_BYTES       (256 * 1024)

/* The hexadecimal digits of a SHA-256. */
#define PACK_SHA256_DIGITS      64

/* A file of a pack.  The strings are owned. */
typedef struct PackFile {
    char *name;             /* in the pack, and in the folder of unpack */
    char *role;             /* what it is for: "recording", "kernel", "disk" */
    char *path;             /* as the recorder called it */
    uint64_t bytes;
    char sha256[PACK_SHA256_DIGITS + 1];
    char *format;           /* of a disk: "raw", "qcow2"; or NULL */
    char *backing;          /* its backing file's name in the pack; or NULL */
    bool is_left_out;       /* the user has to put it into the folder */
    bool is_done;           /* unpack: it was in the pack */
} PackFile;

typedef struct Manifest {
    char *qemu;             /* the version of QEMU that made the recording */
    char *uuid;             /* of the recording */
    GPtrArray *argv;        /* of char *, the recorder's command line */
    GPtrArray *files;       /* of PackFile */
} Manifest;

Manifest *manifest_new(void);
void manifest_free(Manifest *m);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Manifest, manifest_free)

/* Adds a file, which the manifest owns; the strings are copied. */
PackFile *manifest_add(Manifest *m, const char *name, const char *role,
                       const char *path);

/* Returns: the file of this name in the pack, borrowed; or NULL. */
PackFile *manifest_file(const Manifest *m, const char *name);

/* Returns: the first file that the recorder called @path; or NULL. */
PackFile *manifest_find(const Manifest *m, const char *path);

/* Sums up the files that are in the pack, all saturating at UINT64_MAX. */
uint64_t manifest_bytes(const Manifest *m);

/* Returns: the manifest as JSON, owned. */
char *manifest_save(const Manifest *m);

/**
 * manifest_load: parse a manifest, which may be that of a stranger
 *
 * The names in it are valid and unique.  They have no "/" but that behind
 * PACK_FIRMWARE, and each backing file is a file of the manifest that is not
 * its own backing file, however far.
 *
 * Returns: the manifest, owned; NULL with @errp set.
 */
Manifest *manifest_load(const char *text, Error **errp);

/* Is it a name that a file of a pack can have? */
bool pack_name_is_valid(const char *name);

/* What the header of a disk image says.  The string is owned. */
typedef struct PackImage {
    bool is_qcow2;          /* else raw */
    char *backing;          /* its backing file as it is there; or NULL */
    char *backing_format;   /* or NULL */
} PackImage;

/**
 * pack_image_read: read the header of a disk image
 * @fd: of the image; the position does not matter, and does not change
 * @name: of the image, for messages
 * @image: is filled in; pack_image_clear() frees what is in it
 *
 * Returns: true; false with @errp set if the image has a format that a pack
 * cannot have, or data in other files.
 */
bool pack_image_read(int fd, const char *name, PackImage *image, Error **errp);
void pack_image_clear(PackImage *image);

/*
 * Returns: the options of the block layer for @file and its backing files,
 * owned.
 * @format: of the image, or NULL: what its header says
 * @path_of: gives the path of a file, owned
 */
QDict *pack_image_node(const Manifest *m, const PackFile *file,
                       const char *format,
                       char *(*path_of)(void *opaque, const PackFile *file),
                       void *opaque);

#endif
