/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The disks of the guest.
 *
 * Two things about a disk come from outside: the moment at which a request
 * completes, and the content that the disk has when the guest first runs.
 * QEMU's driver blkreplay makes an event of each completion (replay-bh.c).  The
 * content is not recorded, so it must be the same in each replay, and nothing
 * that the guest writes may reach the image.
 *
 * Therefore each disk that a device of the guest uses gets two nodes of the
 * block layer, whichever options made the disk:
 *
 *     device -> BlockBackend -> blkreplay -> overlay -> the user's node
 *
 * The overlay is a temporary qcow2 image that has no name on the host once it
 * is open.  A disk that is read-only needs none, and neither does one for which
 * the user has asked for one (snapshot=on).  A user who wants something else
 * puts blkreplay above the image himself; such a disk is left as it is.
 */

#include "qemu/osdep.h"
#include "qemu/crc32c.h"
#include "qemu/cutils.h"
#include "qemu/units.h"
#include "block/block.h"
#include "block/block_int.h"
#include "block/snapshot.h"
#include "qapi/error.h"
#include "qapi/qmp/qdict.h"
#include "qemu/error-report.h"
#include "qemu/option.h"
#include "hw/qdev-core.h"
#include "qom/object.h"
#include "sysemu/block-backend.h"
#include "sysemu/replay.h"
#include "replay-machine.h"
#include "replay-now.h"

/*
 * What is compared of the content of a disk: its beginning, and small pieces
 * at equal distances.  To read all of a large disk would take minutes, and a
 * host or guest that mounts a file system writes near its beginning.  A disk of
 * at most WHOLE_MAX_BYTES, such as firmware or a boot medium, is compared as a
 * whole.
 */
#define WHOLE_MAX_BYTES         (64 * MiB)
#define WHOLE_PIECE_BYTES       (1 * MiB)
#define SAMPLE_HEAD_BYTES       (2 * MiB)
#define SAMPLE_PIECES           64
#define SAMPLE_PIECE_BYTES      (4 * KiB)

/* In place of a checksum, when the host cannot read the disk. */
#define UNREADABLE              "unreadable"

/* A number follows, the same for both keys of a disk. */
#define KEY_CONTENT             REPLAY_LOG_KEY_INFO "content."
#define KEY_WHOLE               REPLAY_LOG_KEY_INFO "disk."

/* The disks that have got an overlay here; main thread, start-up.  Or NULL. */
static GString *overlaid;

/* What is noted of the content of a disk.  The strings are owned. */
typedef struct DiskContent {
    char *samples;              /* their checksum, and the disk */
    char *whole;                /* SHA-256 of all, and the disk; or NULL */
} DiskContent;

/* Of DiskContent, owned; or NULL.  Main thread, start-up. */
static GPtrArray *contents;

/* --- What a disk consists of --------------------------------------------- */

static bool replay_disk_has_driver(BlockDriverState *bs, const char *name)
{
    return bs->drv && g_str_equal(bs->drv->format_name, name);
}

/* Returns: whether @bs is blkreplay, or has it below. */
static bool replay_disk_is_recorded(BlockDriverState *bs)
{
    BdrvChild *child;

    if (replay_disk_has_driver(bs, "blkreplay")) {
        return true;
    }
    QLIST_FOREACH(child, &bs->children, next) {
        if (replay_disk_is_recorded(child->bs)) {
            return true;
        }
    }
    return false;
}

/* Returns: whether @bs is an image that is deleted when QEMU closes it. */
static bool replay_disk_is_temporary(BlockDriverState *bs)
{
    return replay_disk_has_driver(bs, "qcow2")
           && (bs->open_flags & BDRV_O_TEMPORARY);
}

/* Returns: the temporary overlay of @bs, borrowed; NULL if it has none. */
static BlockDriverState *replay_disk_overlay(BlockDriverState *bs)
{
    while (bs && !replay_disk_is_temporary(bs)) {
        bs = bdrv_filter_bs(bs);
    }
    return bs;
}

/* Returns: the name that the user knows for the disk, owned. */
static char *replay_disk_name(BlockBackend *blk)
{
    BlockDriverState *bs;

    if (*blk_name(blk)) {
        return g_strdup(blk_name(blk));
    }
    for (bs = blk_bs(blk); bs; bs = bdrv_filter_or_cow_bs(bs)) {
        /* The block layer makes names that begin with '#'. */
        if (*bdrv_get_node_name(bs) && *bdrv_get_node_name(bs) != '#') {
            return g_strdup(bdrv_get_node_name(bs));
        }
    }
    return blk_get_attached_dev_id(blk);
}

/* --- Making the nodes ---------------------------------------------------- */

/*
 * @options: owned
 * @below: the node below the new one, borrowed
 *
 * Returns: the new node, owned; NULL with @errp set.
 */
static BlockDriverState *replay_disk_open(QDict *options, int flags,
                                          BlockDriverState *below,
                                          Error **errp)
{
    flags |= below->open_flags & BDRV_O_UNMAP;
    qdict_put_str(options, BDRV_OPT_READ_ONLY,
                  flags & BDRV_O_RDWR ? "off" : "on");
    return bdrv_open(NULL, NULL, options, flags, errp);
}

/* Returns: a file for an overlay of @bs, owned; NULL with @errp set. */
static char *replay_disk_create_file(BlockDriverState *bs, Error **errp)
{
    BlockDriver *qcow2 = bdrv_find_format("qcow2");
    g_autofree char *filename = NULL;
    QemuOpts *opts;
    int64_t length_bytes = bdrv_getlength(bs);
    int ret;

    if (length_bytes < 0) {
        error_setg_errno(errp, -length_bytes, "its size is not known");
        return NULL;
    }
    if (!qcow2) {
        error_setg(errp, "this QEMU has no driver for qcow2");
        return NULL;
    }
    filename = create_tmp_file(errp);
    if (!filename) {
        return NULL;
    }
    opts = qemu_opts_create(qcow2->create_opts, NULL, 0, &error_abort);
    qemu_opt_set_number(opts, BLOCK_OPT_SIZE, length_bytes, &error_abort);
    ret = bdrv_create(qcow2, filename, opts, errp);
    qemu_opts_del(opts);
    if (ret < 0) {
        unlink(filename);
        return NULL;
    }
    return g_steal_pointer(&filename);
}

/* Returns: an overlay of @bs, owned; NULL with @errp set. */
static BlockDriverState *replay_disk_open_overlay(BlockDriverState *bs,
                                                  Error **errp)
{
    g_autofree char *filename = replay_disk_create_file(bs, errp);
    BlockDriverState *overlay;
    QDict *options;

    if (!filename) {
        return NULL;
    }
    options = qdict_new();
    qdict_put_str(options, "driver", "qcow2");
    qdict_put_str(options, "file.driver", "file");
    qdict_put_str(options, "file.filename", filename);
    qdict_put_str(options, "backing", bdrv_get_node_name(bs));
    qdict_put_str(options, BDRV_OPT_CACHE_NO_FLUSH, "on");
    overlay = replay_disk_open(options, BDRV_O_RDWR | BDRV_O_TEMPORARY, bs,
                               errp);
    if (!overlay) {
        unlink(filename);
    }
    return overlay;
}

/*
 * Two devices may use one node.  They have to see what the other writes, so
 * they use the same overlay.
 *
 * Returns: the overlay that @bs has already, with a new reference; or NULL.
 */
static BlockDriverState *replay_disk_find_overlay(BlockDriverState *bs)
{
    BdrvNextIterator it;
    BlockDriverState *top;

    for (top = bdrv_first(&it); top; top = bdrv_next(&it)) {
        BlockDriverState *overlay = replay_disk_overlay(top);

        if (overlay && overlay != bs && bdrv_cow_bs(overlay) == bs) {
            bdrv_ref(overlay);
            bdrv_next_cleanup(&it);
            return overlay;
        }
    }
    return NULL;
}

/* Returns: @bs or its overlay, with a new reference; NULL with @errp set. */
static BlockDriverState *replay_disk_protect(BlockBackend *blk, Error **errp)
{
    BlockDriverState *bs = blk_bs(blk);
    BlockDriverState *overlay;
    g_autofree char *name = NULL;

    if (bdrv_is_read_only(bs) || replay_disk_overlay(bs)) {
        bdrv_ref(bs);
        return bs;
    }
    if (replay_mode == REPLAY_MODE_RECORD && replay_snapshot) {
        error_setg(errp, "the snapshot '%s' (rrsnapshot=) would be lost with "
                   "its temporary overlay", replay_snapshot);
        error_append_hint(errp, "Put the driver blkreplay above an image that "
                          "you keep, as docs/system/replay.rst shows.\n");
        return NULL;
    }
    overlay = replay_disk_find_overlay(bs);
    if (overlay) {
        return overlay;
    }
    overlay = replay_disk_open_overlay(bs, errp);
    if (overlay) {
        name = replay_disk_name(blk);
        if (!overlaid) {
            overlaid = g_string_new(NULL);
        }
        g_string_append_printf(overlaid, "%s'%s'", overlaid->len ? ", " : "",
                               name);
    }
    return overlay;
}

/* Puts blkreplay, and an overlay if there has to be one, below @blk. */
static bool replay_disk_insert(BlockBackend *blk, Error **errp)
{
    BlockDriverState *below = replay_disk_protect(blk, errp);
    BlockDriverState *top;
    QDict *options;
    int ret;

    if (!below) {
        return false;
    }
    options = qdict_new();
    qdict_put_str(options, "driver", "blkreplay");
    qdict_put_str(options, "image", bdrv_get_node_name(below));
    top = replay_disk_open(options,
                           bdrv_is_read_only(below) ? 0 : BDRV_O_RDWR, below,
                           errp);
    bdrv_unref(below);
    if (!top) {
        return false;
    }
    ret = blk_replace_bs(blk, top, errp);
    bdrv_unref(top);
    return ret >= 0;
}

static bool replay_disk_check(BlockBackend *blk, Error **errp)
{
    Object *dev = OBJECT(blk_get_attached_dev(blk));

    if (blk_is_sg(blk) || object_dynamic_cast(dev, "scsi-generic")
        || object_dynamic_cast(dev, "scsi-block")) {
        error_setg(errp, "%s passes the guest's commands to a device of the "
                   "host", object_get_typename(dev));
        error_append_hint(errp, "Use scsi-hd or scsi-cd.\n");
        return false;
    }
    if (blk_get_aio_context(blk) != qemu_get_aio_context()) {
        error_setg(errp, "its requests run in an iothread");
        error_append_hint(errp, "Leave iothread= out.\n");
        return false;
    }
    return true;
}

bool replay_disk_attach(BlockBackend *blk, Error **errp)
{
    ERRP_GUARD();
    g_autofree char *name = NULL;

    if (replay_mode == REPLAY_MODE_NONE || !blk_bs(blk)
        || replay_disk_is_recorded(blk_bs(blk))) {
        return true;
    }
    if (replay_disk_check(blk, errp)) {
        bool done;

        /* After -S, events are enabled already. */
        replay_block_wait_begin();
        done = replay_disk_insert(blk, errp);
        replay_block_wait_end();
        if (done) {
            return true;
        }
    }
    name = replay_disk_name(blk);
    error_prepend(errp, "disk '%s' cannot be %s: ", name,
                  replay_mode == REPLAY_MODE_RECORD ? "recorded" : "replayed");
    return false;
}

/* --- Errors of the host -------------------------------------------------- */

void replay_disk_failed(BlockBackend *blk, bool is_read, int error)
{
    g_autofree char *name = NULL;

    if (replay_mode == REPLAY_MODE_NONE) {
        return;
    }
    name = replay_disk_name(blk);
    warn_report_once("disk '%s': the host cannot %s: %s; this error is not "
                     "part of a recording, and a replay may end here", name,
                     is_read ? "read from it" : "write to it",
                     strerror(error));
}

/* --- Content ------------------------------------------------------------- */

static bool replay_disk_sum_range(BlockBackend *blk, int64_t offset,
                                  int64_t length_bytes, uint32_t *sum)
{
    g_autofree uint8_t *buf = g_malloc(length_bytes);

    if (blk_pread(blk, offset, length_bytes, buf, 0) < 0) {
        return false;
    }
    *sum = crc32c(*sum, buf, length_bytes);
    return true;
}

/*
 * Returns: a checksum of samples of @bs, or why there is none, owned; NULL if
 * the disk is empty.
 */
static char *replay_disk_sum(BlockDriverState *bs)
{
    BlockBackend *blk = blk_new(qemu_get_aio_context(),
                                BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);
    int64_t length_bytes = bdrv_getlength(bs);
    uint32_t sum = 0;
    bool done = false;
    int i;

    if (length_bytes > 0 && blk_insert_bs(blk, bs, NULL) >= 0) {
        done = replay_disk_sum_range(blk, 0,
                                     MIN(length_bytes, SAMPLE_HEAD_BYTES),
                                     &sum);
        for (i = 0; done && length_bytes > SAMPLE_HEAD_BYTES
                    && i < SAMPLE_PIECES; i++) {
            int64_t offset = (length_bytes - SAMPLE_PIECE_BYTES)
                             / SAMPLE_PIECES * i;

            done = replay_disk_sum_range(blk, offset, SAMPLE_PIECE_BYTES,
                                         &sum);
        }
    }
    blk_unref(blk);
    if (!length_bytes) {
        return NULL;
    }
    return done ? g_strdup_printf("0x%08x", sum) : g_strdup(UNREADABLE);
}

/*
 * Returns: the SHA-256 of all of @bs, or why there is none, owned; NULL if the
 * disk is empty or so large that it is not read.
 */
static char *replay_disk_hash(BlockDriverState *bs)
{
    BlockBackend *blk = blk_new(qemu_get_aio_context(),
                                BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_autofree uint8_t *buf = g_malloc(WHOLE_PIECE_BYTES);
    int64_t length_bytes = bdrv_getlength(bs);
    bool is_small = length_bytes > 0 && length_bytes <= WHOLE_MAX_BYTES;
    bool done = is_small && blk_insert_bs(blk, bs, NULL) >= 0;
    int64_t offset;

    for (offset = 0; done && offset < length_bytes;
         offset += WHOLE_PIECE_BYTES) {
        int64_t piece_bytes = MIN(length_bytes - offset, WHOLE_PIECE_BYTES);

        done = blk_pread(blk, offset, piece_bytes, buf, 0) >= 0;
        g_checksum_update(sum, buf, piece_bytes);
    }
    blk_unref(blk);
    if (!is_small) {
        return NULL;
    }
    return g_strdup(done ? g_checksum_get_string(sum) : UNREADABLE);
}

static void replay_disk_free_content(gpointer opaque)
{
    DiskContent *content = opaque;

    g_free(content->samples);
    g_free(content->whole);
    g_free(content);
}

/* Notes the content that the disk of @blk has before the guest runs. */
static void replay_disk_note_content(BlockBackend *blk)
{
    g_autofree char *name = replay_disk_name(blk);
    g_autofree char *sum = replay_disk_sum(blk_bs(blk));
    g_autofree char *hash = NULL;
    DiskContent *content;

    if (!sum) {
        return;
    }
    hash = replay_disk_hash(blk_bs(blk));
    content = g_new0(DiskContent, 1);
    content->samples = g_strdup_printf("%s of disk '%s'", sum, name);
    if (hash) {
        content->whole = g_strdup_printf("%s of disk '%s'", hash, name);
    }
    g_ptr_array_add(contents, content);
}

void replay_disk_describe(ReplayLogDescription *d)
{
    unsigned i;

    for (i = 0; contents && i < contents->len; i++) {
        const DiskContent *content = g_ptr_array_index(contents, i);
        g_autofree char *samples = g_strdup_printf(KEY_CONTENT "%u", i);
        g_autofree char *whole = g_strdup_printf(KEY_WHOLE "%u", i);

        replay_log_description_add(d, samples, content->samples);
        if (content->whole) {
            replay_log_description_add(d, whole, content->whole);
        }
    }
}

/*
 * Compares the values of the key that consists of @prefix and @number.
 * Returns: whether a line was appended to @differences.
 */
static bool replay_disk_compare_key(const ReplayLogDescription *recorded,
                                    const ReplayLogDescription *now,
                                    const char *prefix, unsigned number,
                                    GString *differences)
{
    g_autofree char *key = g_strdup_printf("%s%u", prefix, number);
    const char *then = replay_log_description_get(recorded, key);
    const char *value = replay_log_description_get(now, key);

    if (!then || !value || g_str_equal(value, then)) {
        return false;
    }
    g_string_append_printf(differences, "  content of a disk: recorded as %s, "
                           "now %s\n", then, value);
    return true;
}

void replay_disk_compare(const ReplayLogDescription *recorded,
                         const ReplayLogDescription *now, GString *differences)
{
    unsigned i;

    for (i = 0; contents && i < contents->len; i++) {
        if (!replay_disk_compare_key(recorded, now, KEY_CONTENT, i,
                                     differences)) {
            replay_disk_compare_key(recorded, now, KEY_WHOLE, i, differences);
        }
    }
}

/* --- When the machine first runs ----------------------------------------- */

/* Limits delay requests above blkreplay, by a clock of the host. */
static bool replay_disk_check_limits(BlockBackend *blk, Error **errp)
{
    ERRP_GUARD();
    g_autofree char *name = NULL;

    if (!blk_get_public(blk)->throttle_group_member.throttle_state) {
        return true;
    }
    name = replay_disk_name(blk);
    error_setg(errp, "disk '%s' has limits of its speed, which cannot be "
               "recorded or replayed", name);
    error_append_hint(errp, "Leave iops=, bps= and throttling.* out.\n");
    return false;
}

bool replay_disk_begin(Error **errp)
{
    BlockBackend *blk;

    contents = g_ptr_array_new_with_free_func(replay_disk_free_content);
    for (blk = blk_all_next(NULL); blk; blk = blk_all_next(blk)) {
        if (!blk_get_attached_dev(blk)) {
            continue;
        }
        if (!replay_disk_check_limits(blk, errp)
            || !replay_disk_attach(blk, errp)) {
            return false;
        }
        /* A snapshot may be of a later moment than the recording's begin. */
        if (blk_bs(blk)
            && (replay_mode == REPLAY_MODE_RECORD || !replay_snapshot)) {
            replay_disk_note_content(blk);
        }
    }
    if (overlaid) {
        info_report("what the guest writes to %s goes to temporary files, and "
                    "is lost when QEMU exits", overlaid->str);
        g_string_free(g_steal_pointer(&overlaid), true);
    }
    return true;
}

/* --- Snapshots ----------------------------------------------------------- */

bool replay_disk_can_save(Error **errp)
{
    BlockBackend *blk;

    if (replay_mode != REPLAY_MODE_RECORD) {
        return true;
    }
    for (blk = blk_all_next(NULL); blk; blk = blk_all_next(blk)) {
        g_autofree char *name = NULL;

        if (!blk_get_attached_dev(blk) || !blk_bs(blk)
            || !replay_disk_overlay(blk_bs(blk))) {
            continue;
        }
        name = replay_disk_name(blk);
        error_setg(errp, "disk '%s' is written to a temporary overlay: its "
                   "snapshot would be lost when the recorder exits", name);
        error_append_hint(errp, "Save the snapshot in a replay, or put the "
                          "driver blkreplay above an image that you keep, as "
                          "docs/system/replay.rst shows.\n");
        return false;
    }
    return true;
}

/*
 * @name: where the name of a disk that is written to, but has no temporary
 *        overlay, is put, owned; or NULL
 *
 * Returns: the names of the nodes of the overlays, owned; NULL if there are
 * none, or with *@ok false.
 */
static strList *replay_disk_overlays(bool *ok, char **name)
{
    strList *nodes = NULL;
    BlockBackend *blk;

    *ok = true;
    for (blk = blk_all_next(NULL); blk; blk = blk_all_next(blk)) {
        BlockDriverState *bs = blk_bs(blk);
        BlockDriverState *overlay = replay_disk_overlay(bs);

        if (!blk_get_attached_dev(blk) || !bs || bdrv_is_read_only(bs)) {
            continue;
        }
        if (overlay) {
            QAPI_LIST_PREPEND(nodes, g_strdup(bdrv_get_node_name(overlay)));
            continue;
        }
        *ok = false;
        if (name) {
            *name = replay_disk_name(blk);
        }
        break;
    }
    return nodes;
}

bool replay_disk_can_keep_state(Error **errp)
{
    g_autofree char *name = NULL;
    bool ok;

    qapi_free_strList(replay_disk_overlays(&ok, &name));
    if (!ok) {
        error_setg(errp, "the replay cannot go back, because the disk '%s' has "
                   "no temporary overlay", name);
        error_append_hint(errp, "Leave blkreplay out of the command line, or "
                          "load a snapshot that you have saved.\n");
    }
    return ok;
}

/* Returns: a name that no snapshot of the user has, owned. */
static char *replay_disk_state_name(unsigned number)
{
    return g_strdup_printf("replay-checkpoint-%u", number);
}

bool replay_disk_save_state(unsigned number)
{
    g_autofree char *name = replay_disk_state_name(number);
    QEMUSnapshotInfo info = { .icount = -1ULL };
    bool ok;
    strList *nodes = replay_disk_overlays(&ok, NULL);

    pstrcpy(info.name, sizeof(info.name), name);
    if (ok && nodes) {
        ok = bdrv_all_create_snapshot(&info, NULL, 0, true, nodes, NULL) >= 0;
    }
    qapi_free_strList(nodes);
    return ok;
}

bool replay_disk_load_state(unsigned number, Error **errp)
{
    g_autofree char *name = replay_disk_state_name(number);
    bool ok;
    strList *nodes = replay_disk_overlays(&ok, NULL);

    if (ok && nodes) {
        ok = bdrv_all_goto_snapshot(name, true, nodes, errp) >= 0;
    }
    qapi_free_strList(nodes);
    return ok;
}

void replay_disk_delete_state(unsigned number)
{
    g_autofree char *name = replay_disk_state_name(number);
    bool ok;
    strList *nodes = replay_disk_overlays(&ok, NULL);

    if (ok && nodes) {
        bdrv_all_delete_snapshot(name, true, nodes, NULL);
    }
    qapi_free_strList(nodes);
}
