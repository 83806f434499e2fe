/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Checkpoints of the machine: states of a replay that are kept in memory, so
 * that the replay can go back to them.
 *
 * A replay is deterministic, so it gets to any place again if it begins at an
 * earlier state.  While somebody looks at a replay, QEMU keeps such states: the
 * first before the first instruction, and then one after each INTERVAL_NS of
 * replay.  So the replay goes to any place within about that time.  A replay at
 * which nobody looks makes no checkpoint, and logs no changed pages.
 *
 * A checkpoint consists of
 *
 *   - the state of all devices, as a snapshot would save it, and with it the
 *     position in the recording (replay-snapshot.c);
 *   - the content of the memory, as a tree: a root has leaves of LEAF_PAGES
 *     pages.  Trees share the leaves, and leaves the pages, that are the same.
 *     A page of zeros is NULL;
 *   - a snapshot of the overlay of each disk, inside of the overlay
 *     (replay-disk.c).
 *
 * The tree "now" is the memory as it was when it was last looked at, and the
 * log of QEMU's migration (DIRTY_MEMORY_MIGRATION) has the pages that were
 * written since then.  In order to make a checkpoint, the pages in the log are
 * compared with the tree and replaced in it where they differ; the checkpoint
 * is a second reference to the tree.  In order to load one, each page is
 * written that is in the log, or differs between the two trees.
 *
 * When the checkpoints need more memory than the budget, those are freed that
 * are missed least: where few of them are missing nothing, and far away.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/units.h"
#include "block/aio.h"
#include "exec/cpu-common.h"
#include "exec/memory.h"
#include "hw/core/cpu.h"
#include "io/channel-buffer.h"
#include "migration/global_state.h"
#include "migration/qemu-file.h"
#include "migration/savevm.h"
#include "sysemu/cpu-timers.h"
#include "sysemu/cpus.h"
#include "sysemu/replay-base.h"
#include "sysemu/replay.h"
#include "sysemu/runstate.h"
#include "sysemu/sysemu.h"
#include "trace.h"
#include "replay-events.h"
#include "replay-kinds.h"
#include "replay-machine.h"
#include "replay-stream.h"

#define PAGE_BYTES      4096
#define LEAF_PAGES      256
#define LEAF_BYTES      (LEAF_PAGES * PAGE_BYTES)

/* The replay between two checkpoints, ns of the host. */
#define INTERVAL_NS     (NANOSECONDS_PER_SECOND / 2)
/* How often to look whether a checkpoint is due, and again if not possible. */
#define TICK_NS         (50 * SCALE_MS)
#define RETRY_NS        SCALE_MS
/* A checkpoint may cost at most one part in COST_PARTS of the time. */
#define COST_PARTS      12

#define BUDGET_MAX_BYTES (2 * (uint64_t)GiB)

/* "QEVM" and the version, with which device states begin. */
#define STATE_HEAD_BYTES 8

typedef struct Page {
    unsigned refs;
    uint8_t data[PAGE_BYTES];
} Page;

typedef struct Leaf {
    unsigned refs;
    Page *page[LEAF_PAGES];     /* NULL: all zeros */
} Leaf;

/* The memory of the machine; leaves are numbered block by block. */
typedef struct Tree {
    Leaf **leaf;                /* NULL: all zeros */
} Tree;

typedef struct Checkpoint {
    ReplayPlace place;
    uint64_t packet;
    int64_t replay_ns;          /* host's time of the replay up to here */
    uint64_t bytes;             /* that making it has added */
    GByteArray *devices;        /* owned */
    Tree memory;
    unsigned disks;             /* number of the snapshot of the disks */
} Checkpoint;

/* BQL */
static struct {
    uint64_t budget_bytes;      /* 0: make none */
    bool wanted;
    GPtrArray *list;            /* of Checkpoint, in the order of places */
    uint64_t bytes;             /* of all trees and device states */

    Tree now;
    bool now_is_valid;          /* all pages that differ are in the log */
    unsigned n_leaves;

    QEMUTimer *timer;           /* a checkpoint may be due */
    int64_t replay_ns;          /* host's time of the replay when it ran last */
    int64_t since_ns;           /* it runs since then; 0 if it does not */
    int64_t cost_ns;            /* of the last checkpoint */
    unsigned next_disks;
} store = { .budget_bytes = UINT64_MAX };

/* --- Pages --------------------------------------------------------------- */

static void replay_page_unref(Page *page)
{
    if (page && !--page->refs) {
        store.bytes -= sizeof(*page);
        g_free(page);
    }
}

static void replay_leaf_unref(Leaf *leaf)
{
    unsigned i;

    if (!leaf || --leaf->refs) {
        return;
    }
    for (i = 0; i < LEAF_PAGES; i++) {
        replay_page_unref(leaf->page[i]);
    }
    store.bytes -= sizeof(*leaf);
    g_free(leaf);
}

static Tree replay_tree_ref(const Tree *tree)
{
    Tree copy = { .leaf = g_new(Leaf *, store.n_leaves) };
    unsigned i;

    for (i = 0; i < store.n_leaves; i++) {
        copy.leaf[i] = tree->leaf[i];
        if (copy.leaf[i]) {
            copy.leaf[i]->refs++;
        }
    }
    store.bytes += store.n_leaves * sizeof(Leaf *);
    return copy;
}

static void replay_tree_unref(Tree *tree)
{
    unsigned i;

    if (!tree->leaf) {
        return;
    }
    for (i = 0; i < store.n_leaves; i++) {
        replay_leaf_unref(tree->leaf[i]);
    }
    store.bytes -= store.n_leaves * sizeof(Leaf *);
    g_free(tree->leaf);
    tree->leaf = NULL;
}

static Page *replay_tree_page(const Tree *tree, unsigned leaf, unsigned i)
{
    return tree->leaf[leaf] ? tree->leaf[leaf]->page[i] : NULL;
}

/* Returns: a leaf of the tree @now that no other tree has. */
static Leaf *replay_now_own_leaf(unsigned number)
{
    Leaf *old = store.now.leaf[number];
    Leaf *leaf;
    unsigned i;

    if (old && old->refs == 1) {
        return old;
    }
    leaf = g_new0(Leaf, 1);
    leaf->refs = 1;
    store.bytes += sizeof(*leaf);
    for (i = 0; old && i < LEAF_PAGES; i++) {
        leaf->page[i] = old->page[i];
        if (leaf->page[i]) {
            leaf->page[i]->refs++;
        }
    }
    replay_leaf_unref(old);
    store.now.leaf[number] = leaf;
    return leaf;
}

/* The page in the memory of the machine is @data. */
static void replay_now_set_page(unsigned number, unsigned i,
                                const uint8_t *data, size_t len_bytes)
{
    Page *old = replay_tree_page(&store.now, number, i);
    Leaf *leaf;

    if (old ? !memcmp(old->data, data, len_bytes)
            : buffer_is_zero(data, len_bytes)) {
        return;
    }
    leaf = replay_now_own_leaf(number);
    replay_page_unref(leaf->page[i]);
    leaf->page[i] = NULL;
    if (!buffer_is_zero(data, len_bytes)) {
        leaf->page[i] = g_new(Page, 1);
        leaf->page[i]->refs = 1;
        memcpy(leaf->page[i]->data, data, len_bytes);
        store.bytes += sizeof(Page);
    }
}

/* --- The memory of the machine ------------------------------------------- */

/* One block of RAM, while all of them are looked at in their order. */
typedef struct Block {
    MemoryRegion *mr;           /* borrowed */
    uint8_t *host;              /* borrowed */
    ram_addr_t len_bytes;
    unsigned first_leaf;
} Block;

typedef struct BlockWalk {
    void (*func)(const Block *block, DirtyBitmapSnapshot *dirty,
                 const Tree *target);
    const Tree *target;
    unsigned leaves;
} BlockWalk;

static int replay_block_visit(RAMBlock *rb, void *opaque)
{
    BlockWalk *walk = opaque;
    ram_addr_t offset;
    Block block = {
        .host = qemu_ram_get_host_addr(rb),
        .len_bytes = qemu_ram_get_used_length(rb),
        .first_leaf = walk->leaves,
    };

    if (!qemu_ram_is_migratable(rb) || !block.host) {
        return 0;
    }
    block.mr = memory_region_from_host(block.host, &offset);
    walk->leaves += DIV_ROUND_UP(block.len_bytes, LEAF_BYTES);
    if (walk->func) {
        g_autofree DirtyBitmapSnapshot *dirty =
            memory_region_snapshot_and_clear_dirty(block.mr, 0, block.len_bytes,
                                                   DIRTY_MEMORY_MIGRATION);

        walk->func(&block, dirty, walk->target);
    }
    return 0;
}

/* Returns: the number of leaves. */
static unsigned replay_blocks_walk(void (*func)(const Block *block,
                                                DirtyBitmapSnapshot *dirty,
                                                const Tree *target),
                                   const Tree *target)
{
    BlockWalk walk = { .func = func, .target = target };

    WITH_RCU_READ_LOCK_GUARD() {
        qemu_ram_foreach_block(replay_block_visit, &walk);
    }
    return walk.leaves;
}

static bool replay_page_may_differ(const Block *block,
                                   DirtyBitmapSnapshot *dirty,
                                   ram_addr_t offset, size_t len_bytes)
{
    return !store.now_is_valid
           || memory_region_snapshot_get_dirty(block->mr, dirty, offset,
                                               len_bytes);
}

static void replay_ram_update(const Block *block, DirtyBitmapSnapshot *dirty,
                                const Tree *target)
{
    ram_addr_t offset;

    for (offset = 0; offset < block->len_bytes; offset += PAGE_BYTES) {
        size_t len_bytes = MIN(PAGE_BYTES, block->len_bytes - offset);

        if (replay_page_may_differ(block, dirty, offset, len_bytes)) {
            replay_now_set_page(block->first_leaf + offset / LEAF_BYTES,
                                offset / PAGE_BYTES % LEAF_PAGES,
                                block->host + offset, len_bytes);
        }
    }
}

/* Writes a page to the memory of the machine. */
static void replay_ram_write(const Block *block, ram_addr_t offset,
                               const Page *page, size_t len_bytes)
{
    uint8_t *host = block->host + offset;

    if (page) {
        memcpy(host, page->data, len_bytes);
    } else if (!buffer_is_zero(host, len_bytes)) {
        memset(host, 0, len_bytes);
    }
    if (memory_region_is_logging(block->mr, DIRTY_MEMORY_VGA)) {
        memory_region_set_dirty(block->mr, offset, len_bytes);
    }
}

static void replay_ram_load(const Block *block, DirtyBitmapSnapshot *dirty,
                              const Tree *target)
{
    ram_addr_t offset;

    for (offset = 0; offset < block->len_bytes; offset += PAGE_BYTES) {
        size_t len_bytes = MIN(PAGE_BYTES, block->len_bytes - offset);
        unsigned number = block->first_leaf + offset / LEAF_BYTES;
        unsigned i = offset / PAGE_BYTES % LEAF_PAGES;
        Page *page = replay_tree_page(target, number, i);

        if (replay_page_may_differ(block, dirty, offset, len_bytes)
            || replay_tree_page(&store.now, number, i) != page) {
            replay_ram_write(block, offset, page, len_bytes);
        }
    }
}

/* From here on, QEMU logs the pages that are written. */
static void replay_blocks_begin(void)
{
    store.n_leaves = replay_blocks_walk(NULL, NULL);
    store.now.leaf = g_new0(Leaf *, store.n_leaves);
    store.bytes += store.n_leaves * sizeof(Leaf *);
    store.now_is_valid = false;
    /* It fails for devices of the host, which cannot be replayed. */
    memory_global_dirty_log_start(GLOBAL_DIRTY_LIMIT, &error_abort);
}

void replay_checkpoints_forget_pages(void)
{
    store.now_is_valid = false;
}

/* --- The state of the devices -------------------------------------------- */

/* Returns: owned; NULL if a device cannot be saved. */
static GByteArray *replay_devices_save(void)
{
    QIOChannelBuffer *buffer = qio_channel_buffer_new(256 * KiB);
    QEMUFile *f = qemu_file_new_output(QIO_CHANNEL(buffer));
    GByteArray *state = NULL;
    bool valid = store.now_is_valid;

    global_state_store();
    if (qemu_save_device_state(f) >= 0) {
        qemu_fflush(f);
        state = g_byte_array_sized_new(buffer->usage);
        g_byte_array_append(state, buffer->data, buffer->usage);
    }
    qemu_fclose(f);
    object_unref(OBJECT(buffer));
    store.now_is_valid = valid;
    return state;
}

static bool replay_devices_load(const GByteArray *state)
{
    QIOChannelBuffer *buffer = qio_channel_buffer_new(state->len);
    QEMUFile *f;
    bool valid = store.now_is_valid;
    int ret;

    buffer->usage = state->len - STATE_HEAD_BYTES;
    memcpy(buffer->data, state->data + STATE_HEAD_BYTES, buffer->usage);
    f = qemu_file_new_input(QIO_CHANNEL(buffer));
    ret = qemu_load_device_state(f);
    qemu_fclose(f);
    object_unref(OBJECT(buffer));
    store.now_is_valid = valid;
    return ret >= 0;
}

/* --- Checkpoints --------------------------------------------------------- */

static Checkpoint *replay_checkpoint_nth(unsigned i)
{
    return g_ptr_array_index(store.list, i);
}

static void replay_checkpoint_free(gpointer opaque)
{
    Checkpoint *c = opaque;

    store.bytes -= c->devices->len;
    g_byte_array_unref(c->devices);
    replay_tree_unref(&c->memory);
    if (store.wanted) {
        replay_disk_delete_state(c->disks);
    }
    g_free(c);
}

/* Returns: the number of checkpoints before @place, and at it if @with. */
static unsigned replay_checkpoints_before(const ReplayPlace *place, bool with)
{
    unsigned i;

    for (i = 0; store.list && i < store.list->len; i++) {
        int order = replay_place_compare(&replay_checkpoint_nth(i)->place,
                                         place);

        if (order > 0 || (order == 0 && !with)) {
            break;
        }
    }
    return i;
}

/* Returns: host's time of the replay up to where it is. */
static int64_t replay_checkpoints_now_ns(void)
{
    return store.replay_ns
           + (store.since_ns ? qemu_clock_get_ns(QEMU_CLOCK_REALTIME)
                               - store.since_ns : 0);
}

/* Returns: how much a seek gets slower without checkpoint @i, per distance. */
static double replay_checkpoint_value(unsigned i, int64_t now_ns)
{
    int64_t before_ns = replay_checkpoint_nth(i - 1)->replay_ns;
    int64_t after_ns = i + 1 < store.list->len
                       ? replay_checkpoint_nth(i + 1)->replay_ns
                       : MAX(now_ns, replay_checkpoint_nth(i)->replay_ns);
    int64_t distance_ns = replay_checkpoint_nth(i)->replay_ns - now_ns;

    return (double)(after_ns - before_ns)
           / (ABS(distance_ns) + INTERVAL_NS);
}

/* Frees checkpoints until they fit the budget; the first one stays. */
static void replay_checkpoints_thin(void)
{
    int64_t now_ns = replay_checkpoints_now_ns();

    while (store.bytes > store.budget_bytes && store.list->len > 2) {
        unsigned i, least = 1;

        for (i = 2; i < store.list->len; i++) {
            if (replay_checkpoint_value(i, now_ns)
                < replay_checkpoint_value(least, now_ns)) {
                least = i;
            }
        }
        g_ptr_array_remove_index(store.list, least);
    }
}

/* Returns: whether a vCPU has an exception that it has not taken yet. */
static bool replay_checkpoints_exception_waits(void)
{
    CPUState *cpu;

    CPU_FOREACH(cpu) {
        if (cpu->exception_index != -1) {
            return true;
        }
    }
    return false;
}

/* Returns: whether a checkpoint would hold all that has begun here. */
static bool replay_checkpoints_possible(void)
{
    if (replay_checkpoints_exception_waits() || replay_has_failed()
        || replay_next_event_is(REPLAY_EV_NONE)
        || !replay_disk_can_keep_state(NULL)) {
        return false;
    }
    replay_block_settle();
    return replay_bh_can_save(NULL);
}

static bool replay_checkpoints_save(unsigned at)
{
    int64_t start_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    int64_t devices_ns, disks_ns;
    uint64_t bytes = store.bytes;
    g_autoptr(GByteArray) devices = replay_devices_save();
    Checkpoint *c;

    devices_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    if (!devices || !replay_disk_save_state(store.next_disks)) {
        return false;
    }
    disks_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    c = g_new0(Checkpoint, 1);
    c->place = replay_here();
    c->packet = replay_now.pos.packet;
    c->replay_ns = replay_checkpoints_now_ns();
    c->devices = g_steal_pointer(&devices);
    c->disks = store.next_disks++;
    replay_blocks_walk(replay_ram_update, NULL);
    store.now_is_valid = true;
    c->memory = replay_tree_ref(&store.now);
    store.bytes += c->devices->len;
    c->bytes = store.bytes - bytes;
    g_ptr_array_insert(store.list, at, c);
    store.cost_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - start_ns;
    trace_replay_checkpoint_save(c->place.event, c->place.icount, c->bytes,
                                 (devices_ns - start_ns) / SCALE_US,
                                 (disks_ns - devices_ns) / SCALE_US,
                                 (store.cost_ns - (disks_ns - start_ns))
                                 / SCALE_US);
    replay_checkpoints_thin();
    return true;
}

bool replay_checkpoints_make(void)
{
    ReplayPlace here = replay_here();
    unsigned at;

    if (!store.wanted || !replay_now.begun) {
        return false;
    }
    if (!store.list) {
        store.list = g_ptr_array_new_with_free_func(replay_checkpoint_free);
        replay_blocks_begin();
    }
    at = replay_checkpoints_before(&here, true);
    if (at && !replay_place_compare(&replay_checkpoint_nth(at - 1)->place,
                                    &here)) {
        return true;
    }
    return replay_checkpoints_possible() && replay_checkpoints_save(at);
}

bool replay_checkpoints_find(const ReplayPlace *place, bool strictly,
                             ReplayPlace *found)
{
    unsigned i = replay_checkpoints_before(place, !strictly);

    if (!i) {
        return false;
    }
    *found = replay_checkpoint_nth(i - 1)->place;
    return true;
}

bool replay_checkpoints_load(const ReplayPlace *place, Error **errp)
{
    Checkpoint *c =
        replay_checkpoint_nth(replay_checkpoints_before(place, true) - 1);
    int64_t start_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    int64_t reset_ns, memory_ns;
    bool ok;

    /* What happens until the state is loaded is not in the recording. */
    replay_set_failed();
    replay_bh_abandon();
    /* Devices move their memory; once for all of them is faster. */
    memory_region_transaction_begin();
    qemu_system_reset(SHUTDOWN_CAUSE_SNAPSHOT_LOAD);
    memory_region_transaction_commit();
    reset_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    replay_blocks_walk(replay_ram_load, &c->memory);
    replay_tree_unref(&store.now);
    store.now = replay_tree_ref(&c->memory);
    store.now_is_valid = true;
    memory_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    ok = replay_disk_load_state(c->disks, errp);
    if (ok && !replay_devices_load(c->devices)) {
        error_setg(errp, "the state of the machine at icount %" PRIu64
                   " cannot be loaded", c->place.icount);
        ok = false;
    }
    if (!ok) {
        replay_set_failed();
        return false;
    }
    store.replay_ns = c->replay_ns;
    trace_replay_checkpoint_load(c->place.event, c->place.icount,
                                 (reset_ns - start_ns) / SCALE_US,
                                 (memory_ns - reset_ns) / SCALE_US,
                                 (qemu_clock_get_ns(QEMU_CLOCK_REALTIME)
                                  - memory_ns) / SCALE_US);
    return true;
}

/* --- While the replay runs ----------------------------------------------- */

/* Returns: whether a checkpoint here would make seeking faster. */
static bool replay_checkpoints_is_due(void)
{
    ReplayPlace here = replay_here();
    unsigned i = replay_checkpoints_before(&here, true);
    int64_t interval_ns = MAX(INTERVAL_NS, store.cost_ns * COST_PARTS);
    int64_t now_ns = replay_checkpoints_now_ns();

    if (i && now_ns - replay_checkpoint_nth(i - 1)->replay_ns < interval_ns) {
        return false;
    }
    return !store.list || i == store.list->len
           || replay_checkpoint_nth(i)->replay_ns - now_ns > interval_ns / 2;
}

/* The machine runs: pause the vCPU, make a checkpoint, go on. */
static bool replay_checkpoints_pause_and_make(void)
{
    bool made;

    replay_now.paused = true;
    pause_all_vcpus();
    cpu_disable_ticks();
    made = replay_checkpoints_make();
    cpu_enable_ticks();
    replay_now.paused = false;
    resume_all_vcpus();
    return made;
}

static void replay_checkpoints_tick(void *opaque)
{
    int64_t wait_ns = TICK_NS;

    if (!runstate_is_running() || replay_mode != REPLAY_MODE_PLAY) {
        return;
    }
    if (replay_checkpoints_is_due() && !replay_has_failed()
        && !replay_vcpu_is_held() && !replay_is_held()
        && !replay_checkpoints_pause_and_make()) {
        wait_ns = RETRY_NS;
    }
    timer_mod_ns(store.timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + wait_ns);
}

static void replay_checkpoints_start_timer(void)
{
    if (!store.timer) {
        store.timer = timer_new_ns(QEMU_CLOCK_REALTIME,
                                   replay_checkpoints_tick, NULL);
    }
    timer_mod_ns(store.timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + TICK_NS);
}

void replay_checkpoints_vm_change(bool running)
{
    store.replay_ns = replay_checkpoints_now_ns();
    store.since_ns = running ? qemu_clock_get_ns(QEMU_CLOCK_REALTIME) : 0;
    if (!store.wanted || replay_mode != REPLAY_MODE_PLAY) {
        return;
    }
    if (running && !store.list) {
        /* No instruction of the guest has been executed since it was asked. */
        replay_now.paused = true;
        replay_checkpoints_make();
        replay_now.paused = false;
    }
    if (running) {
        replay_checkpoints_start_timer();
    }
}

/* --- Options, life ------------------------------------------------------- */

/* Returns: a quarter of the memory that the host has free. */
static uint64_t replay_checkpoints_default_bytes(void)
{
#ifdef _SC_AVPHYS_PAGES
    uint64_t free_bytes = (uint64_t)sysconf(_SC_AVPHYS_PAGES)
                          * qemu_real_host_page_size();
#else
    uint64_t free_bytes = BUDGET_MAX_BYTES;
#endif

    return MIN(free_bytes / 4, BUDGET_MAX_BYTES);
}

void replay_checkpoints_configure(const char *value)
{
    store.budget_bytes = replay_checkpoints_default_bytes();
    if (!value) {
        return;
    }
    if (g_str_equal(value, "off")) {
        store.budget_bytes = 0;
    } else if (g_str_equal(value, "on")) {
        store.wanted = true;
    } else if (qemu_strtosz(value, NULL, &store.budget_bytes) < 0
               || !store.budget_bytes) {
        error_report("-icount rrcheckpoints='%s' is not valid", value);
        error_printf("It must be 'on', 'off', or the memory that the "
                     "checkpoints may use, as 500M or 2G.\n");
        exit(EXIT_FAILURE);
    } else {
        store.wanted = true;
    }
}

void replay_checkpoints_want(void)
{
    if (!store.budget_bytes || store.wanted) {
        return;
    }
    store.wanted = true;
    if (replay_now.begun && !runstate_is_running()) {
        replay_checkpoints_make();
    } else if (replay_now.begun) {
        replay_checkpoints_start_timer();
    }
}

ReplayCheckpointInfoList *replay_checkpoints_query(void)
{
    ReplayCheckpointInfoList *list = NULL;
    unsigned i;

    for (i = store.list ? store.list->len : 0; i; i--) {
        Checkpoint *c = replay_checkpoint_nth(i - 1);
        ReplayCheckpointInfo *info = g_new0(ReplayCheckpointInfo, 1);

        info->icount = c->place.icount;
        info->event = c->place.event;
        info->packets = c->packet;
        info->bytes = c->bytes;
        QAPI_LIST_PREPEND(list, info);
    }
    return list;
}

void replay_checkpoints_finish(void)
{
    if (store.timer) {
        timer_free(g_steal_pointer(&store.timer));
    }
    store.wanted = false;
    if (store.list) {
        g_ptr_array_free(g_steal_pointer(&store.list), true);
        replay_tree_unref(&store.now);
        memory_global_dirty_log_stop(GLOBAL_DIRTY_LIMIT);
    }
}
