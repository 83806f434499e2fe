/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The manifest of a pack, as JSON, and the names of files in it.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qjson.h"
#include "qapi/qmp/qlist.h"
#include "qapi/qmp/qstring.h"
#include "manifest.h"

/* --- In memory ----------------------------------------------------------- */

static void pack_file_free(void *opaque)
{
    PackFile *file = opaque;

    g_free(file->name);
    g_free(file->role);
    g_free(file->path);
    g_free(file->format);
    g_free(file->backing);
    g_free(file);
}

Manifest *manifest_new(void)
{
    Manifest *m = g_new0(Manifest, 1);

    m->argv = g_ptr_array_new_with_free_func(g_free);
    m->files = g_ptr_array_new_with_free_func(pack_file_free);
    return m;
}

void manifest_free(Manifest *m)
{
    g_free(m->qemu);
    g_free(m->uuid);
    g_ptr_array_unref(m->argv);
    g_ptr_array_unref(m->files);
    g_free(m);
}

PackFile *manifest_add(Manifest *m, const char *name, const char *role,
                       const char *path)
{
    PackFile *file = g_new0(PackFile, 1);

    file->name = g_strdup(name);
    file->role = g_strdup(role);
    file->path = g_strdup(path);
    g_ptr_array_add(m->files, file);
    return file;
}

PackFile *manifest_file(const Manifest *m, const char *name)
{
    unsigned i;

    for (i = 0; i < m->files->len; i++) {
        PackFile *file = g_ptr_array_index(m->files, i);

        if (g_str_equal(file->name, name)) {
            return file;
        }
    }
    return NULL;
}

PackFile *manifest_find(const Manifest *m, const char *path)
{
    unsigned i;

    for (i = 0; i < m->files->len; i++) {
        PackFile *file = g_ptr_array_index(m->files, i);

        if (g_str_equal(file->path, path)) {
            return file;
        }
    }
    return NULL;
}

uint64_t manifest_bytes(const Manifest *m)
{
    uint64_t sum = 0;
    unsigned i;

    for (i = 0; i < m->files->len; i++) {
        const PackFile *file = g_ptr_array_index(m->files, i);

        if (!file->is_left_out) {
            sum = sum + file->bytes < sum ? UINT64_MAX : sum + file->bytes;
        }
    }
    return sum;
}

bool pack_name_is_valid(const char *name)
{
    static const char letters[] =
        G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "-_+.";

    if (strlen(name) > PACK_NAME_MAX_BYTES) {
        return false;
    }
    if (g_str_has_prefix(name, PACK_FIRMWARE "/")) {
        name += strlen(PACK_FIRMWARE "/");
    }
    return g_ascii_isalnum(*name) && strspn(name, letters) == strlen(name);
}

/* --- As JSON ------------------------------------------------------------- */

char *manifest_save(const Manifest *m)
{
    g_autoptr(JSONWriter) w = json_writer_new(true);
    unsigned i;

    json_writer_start_object(w, NULL);
    json_writer_str(w, "format", MANIFEST_FORMAT);
    json_writer_int64(w, "version", MANIFEST_VERSION);
    json_writer_str(w, "qemu", m->qemu);
    json_writer_str(w, "uuid", m->uuid);
    json_writer_start_array(w, "command");
    for (i = 0; i < m->argv->len; i++) {
        json_writer_str(w, NULL, g_ptr_array_index(m->argv, i));
    }
    json_writer_end_array(w);
    json_writer_start_array(w, "files");
    for (i = 0; i < m->files->len; i++) {
        const PackFile *file = g_ptr_array_index(m->files, i);

        json_writer_start_object(w, NULL);
        json_writer_str(w, "name", file->name);
        json_writer_str(w, "role", file->role);
        json_writer_str(w, "path", file->path);
        json_writer_uint64(w, "bytes", file->bytes);
        json_writer_str(w, "sha256", file->sha256);
        if (file->format) {
            json_writer_str(w, "disk-format", file->format);
        }
        if (file->backing) {
            json_writer_str(w, "backing", file->backing);
        }
        json_writer_bool(w, "left-out", file->is_left_out);
        json_writer_end_object(w);
    }
    json_writer_end_array(w);
    json_writer_end_object(w);
    return g_strconcat(json_writer_get(w), "\n", NULL);
}

/* @found: from a stranger, or NULL */
static bool manifest_bad(Error **errp, const char *what, const char *found)
{
    g_autoptr(GString) shown = g_string_new(NULL);

    if (found) {
        g_string_append(shown, ", found '");
        tool_escape(shown, (const uint8_t *)found,
                    strnlen(found, PACK_NAME_MAX_BYTES));
        g_string_append_c(shown, '\'');
    }
    error_setg(errp, MANIFEST_NAME " is damaged: %s%s", what, shown->str);
    return false;
}

static bool manifest_load_file(Manifest *m, GHashTable *names,
                               const QDict *dict, Error **errp)
{
    const char *name = qdict_get_try_str(dict, "name");
    const char *role = qdict_get_try_str(dict, "role");
    const char *path = qdict_get_try_str(dict, "path");
    const char *sha256 = qdict_get_try_str(dict, "sha256");
    const char *format = qdict_get_try_str(dict, "disk-format");
    int64_t bytes = qdict_get_try_int(dict, "bytes", -1);
    PackFile *file;

    if (!name || !role || !path || !sha256 || bytes < 0) {
        return manifest_bad(errp, "a file needs name, role, path, bytes and "
                            "sha256", name);
    }
    if (!pack_name_is_valid(name) || g_str_equal(name, MANIFEST_NAME)) {
        return manifest_bad(errp, "a file has an invalid name", name);
    }
    if (!g_hash_table_add(names, g_strdup(name))) {
        return manifest_bad(errp, "two files have the same name", name);
    }
    if (strlen(sha256) != PACK_SHA256_DIGITS ||
        strspn(sha256, "0123456789abcdef") != PACK_SHA256_DIGITS) {
        return manifest_bad(errp, "a SHA-256 needs 64 digits", sha256);
    }
    if (format && !g_str_equal(format, "raw") &&
        !g_str_equal(format, "qcow2")) {
        return manifest_bad(errp, "a disk is neither raw nor qcow2", format);
    }
    file = manifest_add(m, name, role, path);
    file->bytes = bytes;
    file->format = g_strdup(format);
    file->backing = g_strdup(qdict_get_try_str(dict, "backing"));
    file->is_left_out = qdict_get_try_bool(dict, "left-out", false);
    strcpy(file->sha256, sha256);
    return true;
}

/* Does each chain of backing files end? */
static bool manifest_check_backing(const Manifest *m, Error **errp)
{
    unsigned i, depth;

    for (i = 0; i < m->files->len; i++) {
        const PackFile *file = g_ptr_array_index(m->files, i);

        for (depth = 0; file && file->backing; depth++) {
            const char *backing = file->backing;

            if (!file->format || !g_str_equal(file->format, "qcow2")) {
                return manifest_bad(errp, "only qcow2 has a backing file",
                                    file->name);
            }
            file = manifest_file(m, backing);
            if (!file || !file->format || depth >= PACK_DEPTH_MAX) {
                return manifest_bad(errp, "a backing file is missing, or the "
                                    "chain of backing files is too long",
                                    backing);
            }
        }
    }
    return true;
}

static bool manifest_load_lists(Manifest *m, const QDict *dict, Error **errp)
{
    g_autoptr(GHashTable) names =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    const QList *argv = qobject_to(QList, qdict_get(dict, "command"));
    const QList *files = qobject_to(QList, qdict_get(dict, "files"));
    const QListEntry *e;

    if (!argv || !files) {
        return manifest_bad(errp, "it needs a command and files", NULL);
    }
    QLIST_FOREACH_ENTRY(argv, e) {
        QString *word = qobject_to(QString, qlist_entry_obj(e));

        if (!word) {
            return manifest_bad(errp, "an argument is no string", NULL);
        }
        g_ptr_array_add(m->argv, g_strdup(qstring_get_str(word)));
    }
    QLIST_FOREACH_ENTRY(files, e) {
        QDict *file = qobject_to(QDict, qlist_entry_obj(e));

        if (!file) {
            return manifest_bad(errp, "a file is no object", NULL);
        }
        if (m->files->len == PACK_FILES_MAX) {
            return manifest_bad(errp, "it has more than 4096 files", NULL);
        }
        if (!manifest_load_file(m, names, file, errp)) {
            return false;
        }
    }
    return manifest_check_backing(m, errp);
}

static bool manifest_load_dict(Manifest *m, const QDict *dict, Error **errp)
{
    const char *format = qdict_get_try_str(dict, "format");
    int64_t version = qdict_get_try_int(dict, "version", -1);
    const PackFile *recording;

    if (!format || !g_str_equal(format, MANIFEST_FORMAT)) {
        return manifest_bad(errp, "the format is not " MANIFEST_FORMAT,
                            format);
    }
    if (version != MANIFEST_VERSION) {
        error_setg(errp, "the pack has version %" PRId64 ", but this "
                   "qemu-replay reads only version %d", version,
                   MANIFEST_VERSION);
        return false;
    }
    m->qemu = g_strdup(qdict_get_try_str(dict, "qemu"));
    m->uuid = g_strdup(qdict_get_try_str(dict, "uuid"));
    if (!m->qemu || !m->uuid) {
        return manifest_bad(errp, "it needs qemu and uuid", NULL);
    }
    if (!manifest_load_lists(m, dict, errp)) {
        return false;
    }
    recording = manifest_file(m, PACK_RECORDING);
    if (!recording || recording->is_left_out) {
        return manifest_bad(errp, "it has no " PACK_RECORDING, NULL);
    }
    return true;
}

Manifest *manifest_load(const char *text, Error **errp)
{
    g_autoptr(Manifest) m = manifest_new();
    Error *err = NULL;
    QObject *obj = qobject_from_json(text, &err);
    QDict *dict = qobject_to(QDict, obj);
    bool ok;

    if (!obj) {
        manifest_bad(errp, "it is no JSON", error_get_pretty(err));
        error_free(err);
        return NULL;
    }
    ok = dict ? manifest_load_dict(m, dict, errp)
              : manifest_bad(errp, "it is no object", NULL);
    qobject_unref(obj);
    return ok ? g_steal_pointer(&m) : NULL;
}
