/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The value of an option of QEMU, as items with a key and a value:
 *
 *   e1000,netdev=n0,x            driver=e1000    netdev=n0       x
 *   {"driver": "e1000"}          driver=e1000
 */

#ifndef QEMU_REPLAY_ITEMS_H
#define QEMU_REPLAY_ITEMS_H

#include "qapi/qmp/qdict.h"

/* More items, or a longer key, are not for people. */
#define ITEMS_MAX           1024
#define ITEMS_KEY_MAX_BYTES 512

/* The strings are owned. */
typedef struct Item {
    char *key;
    char *value;                /* NULL: there is only a key */
    bool is_first;              /* items_text() leaves its key out */
} Item;

/* Returns: an array of Item, owned. */
GArray *items_new(void);

/**
 * items_parse: take a value apart
 * @first: the key of the first item, which can be left out; or NULL
 * @value: as on a command line
 *
 * Returns: the items, owned; NULL if they are too many, or if they are JSON and
 * no object, or one that has lists or objects in it.
 */
GArray *items_parse(const char *first, const char *value);

/*
 * Returns: the members of a JSON object as items, owned; or NULL.
 * @skips_lists: whether members that are lists or objects are left out; else
 *               there is no result if there is one
 */
GArray *items_parse_json(const char *text, bool skips_lists);

/* Returns: the items as the value of an option, owned. */
char *items_text(GArray *items);

Item *items_nth(GArray *items, unsigned i);

/* Returns: the value of the last item with this key, borrowed; or NULL. */
const char *items_get(GArray *items, const char *key);

void items_add(GArray *items, const char *key, const char *value);

/* Adds an item at the beginning, whose key is left out. */
void items_add_first(GArray *items, const char *key, const char *value);

/* Adds the options of a node of the block layer as "file.filename=...". */
void items_add_node(GArray *items, const char *prefix, const QDict *node);

/* Removes all items with this key. */
void items_remove(GArray *items, const char *key);

/* Removes the items whose keys are not among @keys. */
void items_keep_only(GArray *items, const char *keys);

/* Returns: whether @word is one of @words, which have spaces between them. */
bool items_has_word(const char *words, const char *word);

/* Could the value be the name of a file or of a socket?  It may be NULL. */
bool items_is_path(const char *value);

#endif
