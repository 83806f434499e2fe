/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Stubs of record and replay for the tools, such as qemu-img, and for system
 * emulators without TCG.
 *
 * The linker takes this file from libqemuutil.a where replay/ is absent.
 * replay_mode is REPLAY_MODE_NONE there.  A stub that abort()s belongs to a
 * function that is called in the other two modes only.
 */

#include "qemu/osdep.h"
#include "block/aio.h"
#include "sysemu/replay.h"

/* --- The main loop ----------------------------------------------------- */

int64_t replay_main_loop_timeout(int64_t timeout_ns)
{
    return timeout_ns;
}

bool replay_net_only_moves_packets(const GPollFD *fds, int n)
{
    return false;
}

/* --- Clocks ------------------------------------------------------------ */

int64_t replay_save_clock(ReplayClockKind kind, int64_t clock,
                          int64_t raw_icount)
{
    abort();
}

int64_t replay_clock_offset(ReplayClockKind kind)
{
    return 0;
}

int64_t replay_read_clock(ReplayClockKind kind, int64_t raw_icount)
{
    abort();
}

/* --- Asynchronous events ----------------------------------------------- */

bool replay_checkpoint(ReplayCheckpoint checkpoint)
{
    return true;
}

bool replay_events_enabled(void)
{
    return false;
}

void replay_bh_schedule_event(QEMUBH *bh)
{
    qemu_bh_schedule(bh);
}

void replay_bh_created(QEMUBH *bh, const char *function,
                       MemReentrancyGuard *guard)
{
}

void replay_bh_forget_event(QEMUBH *bh)
{
}

void replay_bh_deleted(QEMUBH *bh)
{
}

void replay_bh_schedule_oneshot_event(AioContext *ctx,
                                      QEMUBHFunc *cb, void *opaque)
{
    aio_bh_schedule_oneshot(ctx, cb, opaque);
}

void replay_block_wait_begin(void)
{
}

void replay_block_wait_end(void)
{
}

bool replay_block_complete_one(void)
{
    return false;
}

void replay_block_wait_for_host(void)
{
}

void replay_disk_failed(BlockBackend *blk, bool is_read, int error)
{
}

/* --- Character devices ------------------------------------------------- */

void replay_register_char_driver(struct Chardev *chr)
{
}

bool replay_chr_needs_no_peer(const char *label)
{
    return false;
}

bool replay_chr_replace(const char *label, Error *err)
{
    return false;
}

int replay_chr_connect(struct QIOChannelSocket *sioc,
                       struct SocketAddress *addr, Error **errp)
{
    abort();
}

int replay_chr_can_read(struct Chardev *chr, int len)
{
    abort();
}

void replay_chr_be_write(struct Chardev *s, const uint8_t *buf, int len)
{
    abort();
}

void replay_chr_mux_be_write(struct Chardev *s, int frontend,
                             const uint8_t *buf, int len)
{
    abort();
}

void replay_chr_break(struct CharBackend *be)
{
    abort();
}

int replay_chr_write(struct Chardev *chr, const uint8_t *buf, int len)
{
    abort();
}

int replay_char_read_all_load(uint8_t *buf, int len)
{
    abort();
}

void replay_char_read_all_save_error(int res)
{
    abort();
}

void replay_char_read_all_save_buf(uint8_t *buf, int offset)
{
    abort();
}

/* --- Commands ---------------------------------------------------------- */

bool replay_allows_qmp(const char *name, const QDict *args, Error **errp)
{
    return true;
}

void replay_netdev_arguments(const char *command, QDict *arguments)
{
}
