/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The disks of a command line.
 */

#ifndef QEMU_REPLAY_DISKS_H
#define QEMU_REPLAY_DISKS_H

#include "items.h"

/*
 * Returns: the options of the block layer for a disk image, owned; NULL if
 * there is no such image.
 * @name: as the command line calls it
 * @format: "raw", "qcow2"; NULL if the command line does not say
 */
typedef QDict *DisksFind(void *opaque, const char *name, const char *format);

typedef struct Disks {
    DisksFind *find;
    void *opaque;           /* for @find */
    GHashTable *nodes;      /* char * to char *: which image a node has */
} Disks;

/*
 * Takes the options of the node of a -drive out of @items.
 * Returns: false if the node must not be, or is not there.  *@node: owned;
 * NULL if the drive is empty.
 */
bool disks_drive(Disks *s, GArray *items, QDict **node);

/*
 * Returns: the node of a -blockdev, owned; NULL if it must not be, or is not
 * there.
 */
QDict *disks_blockdev(Disks *s, const char *value);

#endif
