/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The disks of a command line.  A node of the block layer stays if its driver
 * is file, raw, qcow2, blkreplay or null; the name of each file goes through
 * Disks.find.  The command line can come from a stranger.
 */

#include "qemu/osdep.h"
#include "qapi/qmp/qjson.h"
#include "qapi/qmp/qlist.h"
#include "qapi/qmp/qnull.h"
#include "qapi/qmp/qstring.h"
#include "block/qdict.h"
#include "disks.h"

/* A tree of nodes of the block layer has at most this depth. */
#define NODES_MAX_DEPTH     64

/* What the guest can see of a drive, and what happens when the host fails. */
#define DRIVE_KEYS  "if index bus unit media id snapshot readonly read-only " \
                    "werror rerror discard detect-zeroes serial copy-on-read"
/* Of any node. */
#define NODE_KEYS   "node-name read-only auto-read-only discard detect-zeroes"

/* Copies the members of @in that are strings or flags and have these keys. */
static void disks_copy_keys(const QDict *in, QDict *out, const char *keys)
{
    const QDictEntry *e;

    for (e = qdict_first(in); e; e = qdict_next(in, e)) {
        QObject *value = qdict_entry_value(e);
        QString *str = qobject_to(QString, value);

        if (items_has_word(keys, qdict_entry_key(e)) &&
            !(str && items_is_path(qstring_get_str(str))) &&
            !qobject_to(QDict, value) && !qobject_to(QList, value)) {
            qdict_put_obj(out, qdict_entry_key(e), qobject_ref(value));
        }
    }
}

/* Remembers which image a node of the block layer has; @name may be NULL. */
static void disks_note(Disks *s, const QDict *in, const char *name)
{
    const char *node = qdict_get_try_str(in, "node-name");

    if (node && name) {
        g_hash_table_insert(s->nodes, g_strdup(node), g_strdup(name));
    }
}

static QDict *disks_node(Disks *s, const QDict *in, unsigned depth);

/*
 * Gives @out the child @key of @in: a node, or a reference, which names a node
 * or a drive and so nothing of the host.  Returns: whether there is one.
 */
static bool disks_child(Disks *s, const QDict *in, QDict *out,
                        const char *key, unsigned depth)
{
    const char *reference = qdict_get_try_str(in, key);
    QDict *child = qobject_to(QDict, qdict_get(in, key));

    if (reference) {
        qdict_put_str(out, key, reference);
        return !items_is_path(reference);
    }
    child = child ? disks_node(s, child, depth + 1) : NULL;
    if (!child) {
        return false;
    }
    qdict_put(out, key, child);
    return true;
}

/* A node of the driver raw or qcow2, or of a driver that is not named. */
static QDict *disks_format_node(Disks *s, const QDict *in, unsigned depth)
{
    const char *driver = qdict_get_try_str(in, "driver");
    const char *reference = qdict_get_try_str(in, "file");
    QDict *child = qobject_to(QDict, qdict_get(in, "file"));
    bool is_raw = driver && g_str_equal(driver, "raw");
    bool is_part = qdict_haskey(in, "offset") || qdict_haskey(in, "size");
    const char *name = reference ? g_hash_table_lookup(s->nodes, reference)
                                 : NULL;
    QDict *out;

    if (child) {
        name = qdict_get_try_str(child, "filename");
    }
    if (!name && is_raw) {
        out = qdict_new();
        qdict_put_str(out, "driver", driver);
        if (!disks_child(s, in, out, "file", depth)) {
            qobject_unref(out);
            return NULL;
        }
    } else {
        /* what is in a part of a raw file was not looked at */
        out = name && (is_raw || !is_part) ?
              s->find(s->opaque, name, driver) : NULL;
        if (!out) {
            return NULL;
        }
        if (reference) {
            qdict_put_str(out, "file", reference);
        } else {
            disks_copy_keys(child, qdict_get_qdict(out, "file"), NODE_KEYS);
        }
    }
    if (is_raw) {
        disks_copy_keys(in, out, "offset size");
    } else if (qdict_haskey(in, "backing")) {
        qdict_del(out, "backing");
        if (!qobject_to(QNull, qdict_get(in, "backing")) &&
            !disks_child(s, in, out, "backing", depth)) {
            qobject_unref(out);
            return NULL;
        }
    }
    disks_note(s, in, is_part ? NULL : name);
    return out;
}

static QDict *disks_file_node(Disks *s, const QDict *in)
{
    const char *name = qdict_get_try_str(in, "filename");
    QDict *image = name ? s->find(s->opaque, name, NULL)
                        : NULL;
    QDict *out = image ? qdict_get_qdict(image, "file") : NULL;

    if (out) {
        qobject_ref(out);
        disks_note(s, in, name);
    }
    qobject_unref(image);
    return out;
}

/*
 * Returns: the options of a node of the block layer, owned; NULL if the node
 * has a driver that is not known, or a file that is not there.
 */
static QDict *disks_node(Disks *s, const QDict *in, unsigned depth)
{
    const char *driver = qdict_get_try_str(in, "driver");
    QDict *out;

    if (depth > NODES_MAX_DEPTH) {
        return NULL;
    }
    if (!driver && qdict_haskey(in, "filename")) {
        driver = "file";
    }
    if (!driver || items_has_word("raw qcow2", driver)) {
        out = disks_format_node(s, in, depth);
    } else if (items_has_word("file host_device host_cdrom", driver)) {
        out = disks_file_node(s, in);
    } else if (g_str_equal(driver, "blkreplay")) {
        out = qdict_new();
        qdict_put_str(out, "driver", driver);
        if (!disks_child(s, in, out, "image", depth)) {
            qobject_unref(out);
            return NULL;
        }
    } else if (items_has_word("null-co null-aio", driver)) {
        out = qdict_new();
        qdict_put_str(out, "driver", driver);
        disks_copy_keys(in, out, "size read-zeroes");
    } else {
        return NULL;
    }
    if (out) {
        disks_copy_keys(in, out, NODE_KEYS);
    }
    return out;
}

/* Returns: the node that an image of a drive is, owned; or NULL. */
static QDict *disks_image(Disks *s, const char *name, const char *format)
{
    QObject *obj;
    QDict *node = NULL;

    if (!g_str_has_prefix(name, "json:")) {
        return s->find(s->opaque, name, format);
    }
    obj = qobject_from_json(name + strlen("json:"), NULL);
    if (qobject_to(QDict, obj)) {
        node = disks_node(s, qobject_to(QDict, obj), 0);
    }
    qobject_unref(obj);
    return node;
}

bool disks_drive(Disks *s, GArray *items, QDict **node)
{
    g_autofree char *file = g_strdup(items_get(items, "file"));
    g_autofree char *format = g_strdup(items_get(items, "format") ?:
                                       items_get(items, "driver"));
    g_autoptr(QDict) flat = qdict_new();
    QObject *tree;
    unsigned i;

    *node = NULL;
    items_remove(items, "file");
    items_remove(items, "format");
    for (i = items->len; i-- > 0;) {
        Item *item = items_nth(items, i);

        if (items_has_word(DRIVE_KEYS, item->key)) {
            continue;
        }
        if (item->value && (g_str_equal(item->key, "driver") ||
                            strchr(item->key, '.') ||
                            items_has_word("image backing offset size "
                                           "node-name", item->key))) {
            qdict_put_str(flat, item->key, item->value);
        }
        g_array_remove_index(items, i);
    }
    if (file ? !*file : !qdict_size(flat)) {
        return true;
    }
    if (file) {
        *node = disks_image(s, file, format);
    } else {
        tree = qdict_crumple(flat, NULL);
        if (qobject_to(QDict, tree)) {
            *node = disks_node(s, qobject_to(QDict, tree), 0);
        }
        qobject_unref(tree);
    }
    if (*node && qdict_get_try_str(*node, "file")) {
        /* -drive takes it for the name of a file, not of a node */
        qobject_unref(*node);
        *node = NULL;
    }
    return *node;
}

QDict *disks_blockdev(Disks *s, const char *value)
{
    g_autoptr(GArray) items = NULL;
    g_autoptr(QDict) flat = qdict_new();
    QObject *tree = NULL;
    QDict *node = NULL;
    unsigned i;

    if (*value == '{') {
        tree = qobject_from_json(value, NULL);
    } else {
        items = items_parse("driver", value);
        for (i = 0; items && i < items->len; i++) {
            const Item *item = items_nth(items, i);

            qdict_put_str(flat, item->key, item->value ?: "on");
        }
        tree = items ? qdict_crumple(flat, NULL) : NULL;
    }
    if (qobject_to(QDict, tree)) {
        node = disks_node(s, qobject_to(QDict, tree), 0);
    }
    qobject_unref(tree);
    return node;
}
