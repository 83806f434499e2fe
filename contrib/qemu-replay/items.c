/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The value of an option of QEMU, as items with a key and a value.  The options
 * can come from a stranger.
 */

#include "qemu/osdep.h"
#include "qapi/qmp/qbool.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qjson.h"
#include "qapi/qmp/qnum.h"
#include "qapi/qmp/qstring.h"
#include "items.h"

static void items_clear_one(void *opaque)
{
    Item *item = opaque;

    g_free(item->key);
    g_free(item->value);
}

GArray *items_new(void)
{
    GArray *items = g_array_new(false, true, sizeof(Item));

    g_array_set_clear_func(items, items_clear_one);
    return items;
}

Item *items_nth(GArray *items, unsigned i)
{
    return &g_array_index(items, Item, i);
}

void items_add(GArray *items, const char *key, const char *value)
{
    Item item = { g_strdup(key), g_strdup(value) };

    g_array_append_val(items, item);
}

void items_add_first(GArray *items, const char *key,
                            const char *value)
{
    Item item = { g_strdup(key), g_strdup(value), true };

    g_array_prepend_val(items, item);
}

/* Takes one item from *@text, behind which two commas stand for one. */
static char *items_next(const char **text)
{
    GString *item = g_string_new(NULL);
    const char *p = *text;

    while (*p && (*p != ',' || p[1] == ',')) {
        p += *p == ',';
        g_string_append_c(item, *p++);
    }
    *text = *p ? p + 1 : p;
    return g_string_free(item, false);
}

GArray *items_parse_json(const char *text, bool skips_lists)
{
    QObject *obj = qobject_from_json(text, NULL);
    QDict *dict = qobject_to(QDict, obj);
    GArray *items = dict ? items_new() : NULL;
    const QDictEntry *e;

    for (e = dict ? qdict_first(dict) : NULL; e && items;
         e = qdict_next(dict, e)) {
        QObject *value = qdict_entry_value(e);
        QString *str = qobject_to(QString, value);
        QBool *flag = qobject_to(QBool, value);
        QNum *num = qobject_to(QNum, value);
        g_autofree char *number = num ? qnum_to_string(num) : NULL;

        if (!str && !flag && !num && skips_lists) {
            continue;
        }
        if ((!str && !flag && !num) || items->len == ITEMS_MAX) {
            g_array_unref(items);
            items = NULL;
            break;
        }
        items_add(items, qdict_entry_key(e),
                  str ? qstring_get_str(str) :
                  num ? number : qbool_get_bool(flag) ? "on" : "off");
    }
    qobject_unref(obj);
    return items;
}

GArray *items_parse(const char *first, const char *value)
{
    GArray *items;

    if (*value == '{') {
        return items_parse_json(value, false);
    }
    items = items_new();
    while (*value) {
        g_autofree char *item = items_next(&value);
        char *equals = strchr(item, '=');
        size_t key_bytes = equals ? equals - item : 0;

        if (items->len == ITEMS_MAX || key_bytes > ITEMS_KEY_MAX_BYTES) {
            g_array_unref(items);
            return NULL;
        }
        if (equals) {
            *equals = '\0';
            items_add(items, item, equals + 1);
        } else if (!items->len && first) {
            items_add_first(items, first, item);
        } else {
            items_add(items, item, NULL);
        }
    }
    return items;
}

const char *items_get(GArray *items, const char *key)
{
    unsigned i;

    for (i = items->len; i-- > 0;) {
        if (g_str_equal(items_nth(items, i)->key, key)) {
            return items_nth(items, i)->value;
        }
    }
    return NULL;
}

void items_remove(GArray *items, const char *key)
{
    unsigned i;

    for (i = items->len; i-- > 0;) {
        if (g_str_equal(items_nth(items, i)->key, key)) {
            g_array_remove_index(items, i);
        }
    }
}

bool items_has_word(const char *words, const char *word)
{
    g_auto(GStrv) all = g_strsplit(words ?: "", " ", 0);

    return g_strv_contains((const char *const *)all, word);
}

bool items_is_path(const char *value)
{
    return value && strchr(value, '/');
}

void items_keep_only(GArray *items, const char *keys)
{
    unsigned i;

    for (i = items->len; i-- > 0;) {
        if (!items_has_word(keys, items_nth(items, i)->key)) {
            g_array_remove_index(items, i);
        }
    }
}

void items_add_node(GArray *items, const char *prefix, const QDict *node)
{
    const QDictEntry *e;

    for (e = qdict_first(node); e; e = qdict_next(node, e)) {
        g_autofree char *key = g_strconcat(prefix, qdict_entry_key(e), NULL);
        QObject *value = qdict_entry_value(e);
        QString *str = qobject_to(QString, value);
        QBool *flag = qobject_to(QBool, value);
        QNum *num = qobject_to(QNum, value);
        QDict *child = qobject_to(QDict, value);

        if (child) {
            g_autofree char *below = g_strconcat(key, ".", NULL);

            items_add_node(items, below, child);
        } else if (str) {
            items_add(items, key, qstring_get_str(str));
        } else if (flag) {
            items_add(items, key, qbool_get_bool(flag) ? "on" : "off");
        } else if (num) {
            g_autofree char *number = qnum_to_string(num);

            items_add(items, key, number);
        }
    }
}

char *items_text(GArray *items)
{
    g_autoptr(GString) out = g_string_new(NULL);
    unsigned i;

    for (i = 0; i < items->len; i++) {
        const Item *item = items_nth(items, i);
        bool has_key = !item->is_first || i || !item->value;
        g_autofree char *text = g_strconcat(has_key ? item->key : "",
                                            has_key && item->value ? "=" : "",
                                            item->value, NULL);
        const char *p;

        if (i) {
            g_string_append_c(out, ',');
        }
        for (p = text; *p; p++) {
            g_string_append_c(out, *p);
            if (*p == ',') {
                g_string_append_c(out, ',');
            }
        }
    }
    return g_string_free(g_steal_pointer(&out), false);
}
