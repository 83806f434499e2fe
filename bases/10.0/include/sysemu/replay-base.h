/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Record and replay: names that our files use and that are not the same in each
 * QEMU.  This QEMU has them all.
 */

#ifndef SYSEMU_REPLAY_BASE_H
#define SYSEMU_REPLAY_BASE_H

#include "exec/cputlb.h"
#include "net/net.h"
#include "qemu/main-loop.h"

#define replay_base_use_vnet_hdr(nc, len_bytes) \
    qemu_set_vnet_hdr_len(nc, len_bytes)

#endif
