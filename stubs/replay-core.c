/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Stubs of the core of record and replay, see replay-tools.c.  A program that
 * links the core itself, as its unit test does, goes without these and still
 * has the others.
 */

#include "qemu/osdep.h"
#include "sysemu/replay.h"

void replay_mutex_lock(void)
{
}

void replay_mutex_unlock(void)
{
}

bool replay_mutex_release(void)
{
    return false;
}

uint64_t replay_get_current_icount(void)
{
    return 0;
}
