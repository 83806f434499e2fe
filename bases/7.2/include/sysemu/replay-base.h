/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Record and replay: names that our files use and that are not the same in each
 * QEMU.  The names are those of QEMU 10.0.
 */

#ifndef SYSEMU_REPLAY_BASE_H
#define SYSEMU_REPLAY_BASE_H

#include "exec/memory.h"
#include "net/net.h"
#include "qemu/main-loop.h"

#define cpus_queue      cpus
#define bql_lock()      qemu_mutex_lock_iothread()
#define bql_locked()    qemu_mutex_iothread_locked()

/* Here a netdev does not use its virtio header as soon as this has a length. */
static inline void replay_base_use_vnet_hdr(NetClientState *nc, int len_bytes)
{
    qemu_using_vnet_hdr(nc, true);
    qemu_set_vnet_hdr_len(nc, len_bytes);
}

/* Here only code for one target can include its header, exec/exec-all.h. */
void tlb_flush(CPUState *cpu);

/* Here it cannot fail. */
#define memory_global_dirty_log_start(flags, errp) \
    memory_global_dirty_log_start(flags)

#endif
