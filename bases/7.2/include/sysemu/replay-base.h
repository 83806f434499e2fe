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

/* Here it cannot fail. */
#define memory_global_dirty_log_start(flags, errp) \
    memory_global_dirty_log_start(flags)

#endif
