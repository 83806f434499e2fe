/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * qemu-replay pack: put a recording and the files that its replay needs into
 * one file.
 *
 * The pack is a zip file, because people can open it anywhere without this
 * program, and read one file of it without reading the others.  The first entry
 * is the manifest (manifest.c), so that "unpack" knows what has to come.  The
 * same files give the same pack: it has no times and no users in it.
 */

#include "qemu/osdep.h"
#include <archive.h>
#include <archive_entry.h>
#include "qapi/error.h"
#include "qapi/qmp/qdict.h"
#include "qemu/error-report.h"
#include "command.h"
#include "manifest.h"

#define KEY_FILE            REPLAY_LOG_KEY_INFO "file."
#define KEY_DIRECTORY       REPLAY_LOG_KEY_INFO "directory"

typedef struct Pack {
    Recording *r;
    Manifest *m;
    const char *directory;      /* in which relative paths begin */
    bool without_disks;
    uint64_t max_bytes;
    Error *err;                 /* the first one, owned; or NULL */

    const char *path;           /* of the pack */
    struct archive *out;
    uint8_t *buf;               /* PACK_BUFFER_BYTES */
} Pack;

/* --- The files of the recorder ------------------------------------------- */

/* Returns: the path under which the recorder's @name can be opened, owned. */
static char *pack_path(const Pack *p, const char *name)
{
    return g_path_is_absolute(name) ? g_strdup(name)
                                    : g_build_filename(p->directory, name,
                                                       NULL);
}

/*
 * Opens a file of the recorder.
 * @st_size: is set to its size
 * Returns: a descriptor; -1 with @errp set.
 */
static int pack_open(const Pack *p, const PackFile *file, uint64_t *len_bytes,
                     Error **errp)
{
    g_autofree char *path = pack_path(p, file->path);
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    off_t end;

    if (fd < 0 || fstat(fd, &st) < 0) {
        error_setg_errno(errp, errno, "cannot open '%s' (%s)", path,
                         file->role);
        error_append_hint(errp, "The command line of the recorder names it. If "
                          "the files have moved, --directory=DIR says where "
                          "relative names begin.\n");
    } else if (!S_ISREG(st.st_mode) && !(S_ISBLK(st.st_mode) && file->format)) {
        error_setg(errp, "'%s' (%s) is not a regular file", path, file->role);
    } else {
        end = lseek(fd, 0, SEEK_END);
        if (end >= 0 && lseek(fd, 0, SEEK_SET) == 0) {
            *len_bytes = end;
            return fd;
        }
        error_setg_errno(errp, errno, "cannot read '%s'", path);
    }
    if (fd >= 0) {
        close(fd);
    }
    return -1;
}

/*
 * Splits what the description says about a file.
 * Returns: its name, borrowed; NULL if it was not read.  @sha256 is set.
 */
static const char *pack_described(const char *value,
                                  char sha256[PACK_SHA256_DIGITS + 1])
{
    const char *name = strstr(value, " bytes, ");

    if (!name || strlen(value) <= PACK_SHA256_DIGITS ||
        value[PACK_SHA256_DIGITS] != ',') {
        return NULL;
    }
    memcpy(sha256, value, PACK_SHA256_DIGITS);
    sha256[PACK_SHA256_DIGITS] = '\0';
    return name + strlen(" bytes, ");
}

/* Checks that a file is the one that was recorded. */
static bool pack_check_file(const Pack *p, const PackFile *file, Error **errp)
{
    size_t i;

    for (i = 0; i < replay_log_description_count(p->r->desc); i++) {
        const char *value;
        const char *key = replay_log_description_nth(p->r->desc, i, &value);
        char sha256[PACK_SHA256_DIGITS + 1];
        const char *name;

        if (!g_str_has_prefix(key, KEY_FILE)) {
            continue;
        }
        name = pack_described(value, sha256);
        if (name && g_str_equal(name, file->path) &&
            !g_str_equal(sha256, file->sha256)) {
            error_setg(errp, "'%s' has changed since the recording: its "
                       "SHA-256 is %s, recorded was %s", file->path,
                       file->sha256, sha256);
            return false;
        }
    }
    return true;
}

/* Returns: a name for a new file of the pack, owned. */
static char *pack_name(const Pack *p, const char *role, const char *suffix)
{
    char *name = g_strconcat(role, suffix, NULL);
    unsigned n;

    for (n = 1; manifest_file(p->m, name); n++) {
        g_free(name);
        name = g_strdup_printf("%s-%u%s", role, n, suffix);
    }
    return name;
}

/* Adds a file that the manifest does not have yet.  NULL after an error. */
static PackFile *pack_add(Pack *p, const char *name, const char *role,
                          const char *path)
{
    if (p->err) {
        return NULL;
    }
    if (!g_utf8_validate(path, -1, NULL)) {
        error_setg(&p->err, "the name of the file '%s' is not UTF-8: rename "
                   "it, and record again", path);
        return NULL;
    }
    if (p->m->files->len == PACK_FILES_MAX) {
        error_setg(&p->err, "a pack has at most %d files", PACK_FILES_MAX);
        return NULL;
    }
    return manifest_add(p->m, name, role, path);
}

/* --- Files that the command line names ----------------------------------- */

/* Is it the name of firmware that QEMU has found in its own folders? */
static bool pack_is_firmware(const Pack *p, const char *name)
{
    size_t i;

    for (i = 0; i < replay_log_description_count(p->r->desc); i++) {
        const char *value;
        const char *key = replay_log_description_nth(p->r->desc, i, &value);
        char sha256[PACK_SHA256_DIGITS + 1];
        const char *path = g_str_has_prefix(key, KEY_FILE) ?
                           pack_described(value, sha256) : NULL;

        if (path && !g_str_equal(path, name) && strrchr(path, '/') &&
            g_str_equal(strrchr(path, '/') + 1, name)) {
            return true;
        }
    }
    return false;
}

/* For CommandFiles: adds a file. */
static char *pack_find(void *opaque, const char *role, const char *name)
{
    Pack *p = opaque;
    g_autofree char *path = pack_path(p, name);
    g_autofree char *new_name = NULL;

    if (manifest_find(p->m, name) ||
        (!g_file_test(path, G_FILE_TEST_EXISTS) && pack_is_firmware(p, name))) {
        return g_strdup(name);
    }
    new_name = pack_name(p, role, "");
    return pack_add(p, new_name, role, name) ? g_strdup(name) : NULL;
}

static PackFile *pack_add_disk(Pack *p, const char *path, const char *role,
                               const char *format, unsigned depth);

/* Adds the backing file of @file, whose header is @image. */
static bool pack_add_backing(Pack *p, PackFile *file, const PackImage *image,
                             unsigned depth)
{
    g_autofree char *folder = g_path_get_dirname(file->path);
    g_autofree char *path = NULL;
    const PackFile *backing;

    if (strchr(image->backing, ':')) {
        error_setg(&p->err, "the backing file '%s' of '%s' cannot be in a "
                   "pack: its name has a colon", image->backing, file->path);
        return false;
    }
    path = g_path_is_absolute(image->backing) ? g_strdup(image->backing)
           : g_build_filename(folder, image->backing, NULL);
    backing = pack_add_disk(p, path, "backing", image->backing_format,
                            depth + 1);
    if (backing) {
        file->backing = g_strdup(backing->name);
    }
    return backing;
}

/* Adds the image that @file is to be, and its backing files. */
static bool pack_read_disk(Pack *p, PackFile *file, const char *format,
                           unsigned depth)
{
    PackImage image;
    uint64_t len_bytes;
    int fd = pack_open(p, file, &len_bytes, &p->err);
    bool ok = fd >= 0;

    if (ok && (!format || !g_str_equal(format, "raw"))) {
        ok = pack_image_read(fd, file->path, &image, &p->err);
        if (ok) {
            g_free(file->format);
            file->format = g_strdup(image.is_qcow2 ? "qcow2" : "raw");
            ok = !image.backing || pack_add_backing(p, file, &image, depth);
        }
        pack_image_clear(&image);
    }
    if (fd >= 0) {
        close(fd);
    }
    file->is_done = ok;
    return ok;
}

/* Returns: an image with its backing files; NULL after an error. */
static PackFile *pack_add_disk(Pack *p, const char *path, const char *role,
                               const char *format, unsigned depth)
{
    PackFile *file = manifest_find(p->m, path);
    g_autofree char *name = NULL;

    if (file) {
        if (!file->is_done || !file->format) {
            error_setg(&p->err, "the file '%s' is its own backing file, or is "
                       "not only a disk", path);
            return NULL;
        }
        return file;
    }
    if (depth > PACK_DEPTH_MAX) {
        error_setg(&p->err, "more than %d files are behind each other: '%s'",
                   PACK_DEPTH_MAX, path);
        return NULL;
    }
    name = pack_name(p, "disk", ".img");
    file = pack_add(p, name, role, path);
    if (!file) {
        return NULL;
    }
    file->format = g_strdup("raw");
    file->is_left_out = p->without_disks;
    return pack_read_disk(p, file, format, depth) ? file : NULL;
}

static char *pack_same_path(void *opaque, const PackFile *file)
{
    return g_strdup(file->path);
}

/* For CommandFiles: adds a disk image with its backing files. */
static QDict *pack_find_disk(void *opaque, const char *name,
                             const char *format)
{
    Pack *p = opaque;
    const PackFile *file = p->err ? NULL
                                  : pack_add_disk(p, name, "disk", format, 0);

    return file ? pack_image_node(p->m, file, format, pack_same_path, NULL)
                : NULL;
}

/* --- Firmware ------------------------------------------------------------ */

/* Adds the ROMs that QEMU has found in its own folders. */
static void pack_add_firmware(Pack *p)
{
    size_t i;

    for (i = 0; i < replay_log_description_count(p->r->desc); i++) {
        const char *value;
        const char *key = replay_log_description_nth(p->r->desc, i, &value);
        char sha256[PACK_SHA256_DIGITS + 1];
        g_autofree char *name = NULL;
        g_autofree char *base = NULL;
        const char *path;

        if (!g_str_has_prefix(key, KEY_FILE "rom.") &&
            !g_str_has_prefix(key, KEY_FILE "pci-rom.")) {
            continue;
        }
        path = pack_described(value, sha256);
        if (!path || manifest_find(p->m, path)) {
            continue;
        }
        base = g_path_get_basename(path);
        name = g_strconcat(PACK_FIRMWARE "/", base, NULL);
        if (!pack_name_is_valid(name) || manifest_file(p->m, name)) {
            error_free(p->err);
            p->err = NULL;
            error_setg(&p->err, "the ROM '%s' has a name that a pack cannot "
                       "have, or that another ROM has", path);
            return;
        }
        pack_add(p, name, "rom", path);
    }
}

/* --- The pack ------------------------------------------------------------ */

static bool pack_is_failed(const Pack *p, Error **errp)
{
    error_setg(errp, "cannot write '%s': %s", p->path,
               archive_error_string(p->out) ?: "unknown error");
    return false;
}

static bool pack_write_header(Pack *p, const char *name, uint64_t len_bytes,
                              Error **errp)
{
    struct archive_entry *entry = archive_entry_new();
    bool ok;

    archive_entry_set_pathname(entry, name);
    archive_entry_set_size(entry, len_bytes);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0600);
    ok = archive_write_header(p->out, entry) == ARCHIVE_OK;
    archive_entry_free(entry);
    return ok || pack_is_failed(p, errp);
}

/*
 * Reads a file, and computes its SHA-256; or, if the manifest has the SHA-256,
 * writes the file into the pack.
 */
static bool pack_read(Pack *p, PackFile *file, bool is_written, Error **errp)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    uint64_t len_bytes, done = 0;
    int fd = pack_open(p, file, &len_bytes, errp);
    ssize_t got = 1;
    bool ok = fd >= 0;

    if (ok && is_written) {
        ok = pack_write_header(p, file->name, file->bytes, errp);
    }
    while (ok && got > 0) {
        got = read(fd, p->buf, PACK_BUFFER_BYTES);
        if (got < 0 && errno == EINTR) {
            got = 1;
        } else if (got < 0) {
            error_setg_errno(errp, errno, "cannot read '%s'", file->path);
            ok = false;
        } else {
            g_checksum_update(sum, p->buf, got);
            done += got;
            if (is_written && got &&
                archive_write_data(p->out, p->buf, got) != got) {
                ok = pack_is_failed(p, errp);
            }
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    if (ok && !is_written) {
        file->bytes = done;
        strcpy(file->sha256, g_checksum_get_string(sum));
    } else if (ok && (done != file->bytes ||
                      !g_str_equal(file->sha256, g_checksum_get_string(sum)))) {
        error_setg(errp, "'%s' is changing: no process may write to it",
                   file->path);
        ok = false;
    }
    return ok;
}

/* Finds out what each file is, before anything is written. */
static bool pack_describe_files(Pack *p, Error **errp)
{
    uint64_t total;
    unsigned i;

    for (i = 0; i < p->m->files->len; i++) {
        PackFile *file = g_ptr_array_index(p->m->files, i);
        int fd = pack_open(p, file, &file->bytes, errp);

        if (fd < 0) {
            return false;
        }
        close(fd);
    }
    total = manifest_bytes(p->m);
    if (total > p->max_bytes) {
        error_setg(errp, "the files have %" PRIu64 " bytes, but the limit is "
                   "%" PRIu64, total, p->max_bytes);
        error_append_hint(errp, "--without-disks leaves the disks out, "
                          "--limit=BYTES changes the limit.\n");
        return false;
    }
    for (i = 0; i < p->m->files->len; i++) {
        PackFile *file = g_ptr_array_index(p->m->files, i);

        if (!pack_read(p, file, false, errp) ||
            !pack_check_file(p, file, errp)) {
            return false;
        }
    }
    return true;
}

static bool pack_write_all(Pack *p, const char *manifest, Error **errp)
{
    size_t len_bytes = strlen(manifest);
    unsigned i;

    if (!pack_write_header(p, MANIFEST_NAME, len_bytes, errp)) {
        return false;
    }
    if (archive_write_data(p->out, manifest, len_bytes) != len_bytes) {
        return pack_is_failed(p, errp);
    }
    for (i = 0; i < p->m->files->len; i++) {
        PackFile *file = g_ptr_array_index(p->m->files, i);

        if (!file->is_left_out && !pack_read(p, file, true, errp)) {
            return false;
        }
    }
    return archive_write_close(p->out) == ARCHIVE_OK || pack_is_failed(p, errp);
}

/* Writes the pack; removes what was written if that fails. */
static bool pack_write(Pack *p, const char *manifest, Error **errp)
{
    int fd = open(p->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool ok;

    if (fd < 0 && errno == EEXIST) {
        error_setg(errp, "'%s' already exists: remove it, or write to another "
                   "file", p->path);
        return false;
    }
    if (fd < 0) {
        error_setg_errno(errp, errno, "cannot write '%s'", p->path);
        return false;
    }
    p->out = archive_write_new();
    if (archive_write_set_format_zip(p->out) == ARCHIVE_OK &&
        archive_write_zip_set_compression_deflate(p->out) == ARCHIVE_OK &&
        archive_write_set_bytes_in_last_block(p->out, 1) == ARCHIVE_OK &&
        archive_write_open_fd(p->out, fd) == ARCHIVE_OK) {
        ok = pack_write_all(p, manifest, errp);
    } else {
        ok = pack_is_failed(p, errp);
    }
    archive_write_free(p->out);
    if (close(fd) < 0 && ok) {
        error_setg_errno(errp, errno, "cannot write '%s'", p->path);
        ok = false;
    }
    if (!ok) {
        unlink(p->path);
    }
    return ok;
}

static void pack_print(const Pack *p)
{
    unsigned i;

    for (i = 0; i < p->m->files->len; i++) {
        const PackFile *file = g_ptr_array_index(p->m->files, i);
        g_autoptr(GString) path = g_string_new(NULL);

        tool_escape(path, (const uint8_t *)file->path, strlen(file->path));
        printf("%-24s %12" PRIu64 "  %s%s\n", file->name, file->bytes,
               path->str, file->is_left_out ? "  (left out)" : "");
    }
}

/* Finds the files, and fills in the manifest. */
static bool pack_collect(Pack *p, Error **errp)
{
    const CommandFiles files = {
        .find = pack_find,
        .find_disk = pack_find_disk,
        .output = PACK_OUTPUT,
        .opaque = p,
    };
    g_auto(GStrv) argv = command_recorded(p->r->desc, errp);
    g_autoptr(Command) command = NULL;
    g_autofree char *path = NULL;
    unsigned i;

    if (!argv) {
        return false;
    }
    p->m->qemu = g_strdup(replay_log_description_get(
        p->r->desc, REPLAY_LOG_KEY_INFO "qemu") ?: "unknown");
    p->m->uuid = qemu_uuid_unparse_strdup(replay_log_reader_uuid(p->r->reader));
    for (i = 0; argv[i]; i++) {
        g_ptr_array_add(p->m->argv, g_strdup(argv[i]));
    }
    path = tool_absolute(p->r->path);
    pack_add(p, PACK_RECORDING, "recording", path);
    command = command_rewrite(p->r->desc, argv + 1, p->r->path, &files);
    pack_add_firmware(p);
    if (p->err) {
        error_propagate(errp, g_steal_pointer(&p->err));
        return false;
    }
    for (i = 0; i < command->warnings->len; i++) {
        warn_report("the replay elsewhere will lack something; %s",
                    (char *)g_ptr_array_index(command->warnings, i));
    }
    return true;
}

static bool pack_all(Pack *p, bool is_json, Error **errp)
{
    g_autofree char *manifest = NULL;
    Manifest *check;

    if (recording_is_locked(p->r->path)) {
        error_setg(errp, "a recorder is still writing '%s'", p->r->path);
        return false;
    }
    if (!pack_collect(p, errp) || !pack_describe_files(p, errp)) {
        return false;
    }
    manifest = manifest_save(p->m);
    check = manifest_load(manifest, errp);
    if (!check) {
        return false;
    }
    manifest_free(check);
    if (!pack_write(p, manifest, errp)) {
        return false;
    }
    if (is_json) {
        fputs(manifest, stdout);
    } else {
        pack_print(p);
    }
    return true;
}

static int pack_run(int argc, char **argv)
{
    g_autofree char *directory = NULL, *limit = NULL, *recorded = NULL;
    gboolean without_disks = false;
    const GOptionEntry entries[] = {
        { "without-disks", 0, 0, G_OPTION_ARG_NONE, &without_disks,
          "leave disk images out, and name their size and SHA-256", NULL },
        { "directory", 0, 0, G_OPTION_ARG_FILENAME, &directory,
          "where relative names of the command line begin", "DIR" },
        { "limit", 0, 0, G_OPTION_ARG_STRING, &limit,
          "refuse more bytes than this before compression (default 8 GiB)",
          "BYTES" },
        { }
    };
    ToolArgs args = {
        .usage = "FILE OUT.zip",
        .description =
            "The pack has the recording, kernel, initrd, firmware and disks, "
            "and the command\nline with all that is secret in it. It is a zip "
            "file.\n\n"
            "Example: take a recording to another machine\n"
            "  qemu-replay pack my.rr my.zip\n",
        .entries = entries,
        .n_min = 2,
        .n_max = 2,
        .has_json = true,
    };
    g_autofree uint8_t *buf = g_malloc(PACK_BUFFER_BYTES);
    g_autoptr(Manifest) m = manifest_new();
    g_autoptr(Recording) r = NULL;
    Pack p = { .m = m, .buf = buf, .max_bytes = PACK_MAX_BYTES };
    Error *err = NULL;

    if (!tool_parse(&tool_pack, &args, argc, argv) ||
        (limit && !tool_parse_u64("--limit", limit, &p.max_bytes))) {
        return TOOL_TROUBLE;
    }
    r = recording_open(args.arg[0], &err);
    if (!r) {
        return tool_fail(err);
    }
    p.r = r;
    p.path = args.arg[1];
    p.without_disks = without_disks;
    recorded = command_unescape(
        replay_log_description_get(r->desc, KEY_DIRECTORY) ?: ".");
    p.directory = directory ?: recorded ?: ".";
    if (!pack_all(&p, args.is_json, &err)) {
        error_free(p.err);
        return tool_fail(err);
    }
    return TOOL_OK;
}

const Tool tool_pack = {
    .name = "pack",
    .summary = "Put a recording and all that its replay needs into one file",
    .run = pack_run,
};
