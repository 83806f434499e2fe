/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * qemu-replay unpack: restore what is in a pack, and say how to replay it.
 *
 * A pack is data from a stranger.
 *
 * - The entries are read one after the other, and the first is the manifest.
 *   Of the others only those are written that the manifest has, once each, with
 *   exactly its bytes.  The sum is compared with a limit before.
 * - A name has one folder at most, which this file makes.  All is created by
 *   openat() below the folder of the user, which is new or empty, and a link is
 *   never followed.
 * - Memory: a manifest, and a buffer.  (The directory at the end of the zip
 *   file is not read.)
 * - After a mistake, all that was written is removed.
 * - An image names no file but its backing file, which is in the pack; the
 *   command names it, so that QEMU does not open what the header says.
 * - The command has nothing of the pack that may harm its user: see command.c.
 */

#include "qemu/osdep.h"
#include <archive.h>
#include <archive_entry.h>
#include "qapi/error.h"
#include "qapi/qmp/qdict.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu-version.h"
#include "command.h"
#include "manifest.h"

#define DEFAULT_QEMU        "qemu-system-x86_64"

typedef struct Unpack {
    const char *path;           /* of the pack */
    char *folder;               /* where to, absolute; owned */
    const char *qemu;           /* the program in the command */
    bool trusts_snapshot;
    uint64_t max_bytes;

    int fd;                     /* of the pack */
    struct archive *in;
    Manifest *m;                /* owned */
    uint8_t *buf;               /* PACK_BUFFER_BYTES */
    int dir_fd;
    bool made_folder;
    GPtrArray *made;            /* of char *, below dir_fd; folders first */
} Unpack;

/* --- The folder ---------------------------------------------------------- */

static bool unpack_is_empty(int dir_fd)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    bool is_empty = dir;

    while (dir && (entry = readdir(dir)) != NULL) {
        is_empty &= g_str_equal(entry->d_name, ".") ||
                    g_str_equal(entry->d_name, "..");
    }
    if (dir) {
        closedir(dir);
    }
    return is_empty;
}

static bool unpack_make_folder(Unpack *u, const char *name, Error **errp)
{
    if (mkdirat(u->dir_fd, name, 0700) < 0) {
        error_setg_errno(errp, errno, "cannot make '%s/%s'", u->folder, name);
        return false;
    }
    g_ptr_array_add(u->made, g_strdup(name));
    return true;
}

static bool unpack_open_folder(Unpack *u, const char *name, Error **errp)
{
    u->folder = tool_absolute(name);
    u->made_folder = mkdir(name, 0700) == 0;
    if (!u->made_folder && errno != EEXIST) {
        error_setg_errno(errp, errno, "cannot make '%s'", name);
        return false;
    }
    u->dir_fd = open(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (u->dir_fd < 0) {
        error_setg_errno(errp, errno, "cannot open the folder '%s'", name);
        return false;
    }
    if (!unpack_is_empty(u->dir_fd)) {
        error_setg(errp, "the folder '%s' is not empty: give a new one", name);
        return false;
    }
    return unpack_make_folder(u, PACK_FIRMWARE, errp) &&
           unpack_make_folder(u, PACK_OUTPUT, errp);
}

/* Removes what was made. */
static void unpack_remove(Unpack *u)
{
    unsigned i;

    for (i = u->made->len; i-- > 0;) {
        const char *name = g_ptr_array_index(u->made, i);

        if (unlinkat(u->dir_fd, name, 0) < 0) {
            unlinkat(u->dir_fd, name, AT_REMOVEDIR);
        }
    }
    if (u->made_folder) {
        rmdir(u->folder);
    }
}

/* --- Entries ------------------------------------------------------------- */

static bool unpack_bad(const Unpack *u, const char *what, const char *name,
                       Error **errp)
{
    g_autoptr(GString) shown = g_string_new(NULL);

    tool_escape(shown, (const uint8_t *)name,
                strnlen(name, PACK_NAME_MAX_BYTES));
    error_setg(errp, "'%s' is no valid pack: %s: '%s'", u->path, what,
               shown->str);
    return false;
}

static bool unpack_is_damaged(const Unpack *u, Error **errp)
{
    const char *text = archive_error_string(u->in) ?: "it is damaged";
    g_autoptr(GString) shown = g_string_new(NULL);

    tool_escape(shown, (const uint8_t *)text, strlen(text));
    error_setg(errp, "cannot read the pack '%s': %s", u->path, shown->str);
    return false;
}

/* Is it a file, and nothing that leads elsewhere? */
static bool unpack_is_file(struct archive_entry *entry)
{
    return archive_entry_filetype(entry) == AE_IFREG &&
           !archive_entry_hardlink(entry) && !archive_entry_symlink(entry) &&
           !archive_entry_is_encrypted(entry);
}

/* Reads the manifest, which is the first entry. */
static bool unpack_manifest(Unpack *u, Error **errp)
{
    struct archive_entry *entry;
    g_autoptr(GString) text = g_string_new(NULL);
    const char *name;
    ssize_t got;
    int status = archive_read_next_header(u->in, &entry);

    if (status != ARCHIVE_OK) {
        return status == ARCHIVE_EOF ? unpack_bad(u, "it is empty", "", errp)
                                     : unpack_is_damaged(u, errp);
    }
    name = archive_entry_pathname(entry);
    if (!name || !g_str_equal(name, MANIFEST_NAME) || !unpack_is_file(entry)) {
        return unpack_bad(u, "its first entry is not " MANIFEST_NAME,
                          name ?: "", errp);
    }
    while ((got = archive_read_data(u->in, u->buf, PACK_BUFFER_BYTES)) > 0) {
        if (got > MANIFEST_MAX_BYTES - text->len) {
            return unpack_bad(u, "an entry is too long", name, errp);
        }
        g_string_append_len(text, (const char *)u->buf, got);
    }
    if (got < 0) {
        return unpack_is_damaged(u, errp);
    }
    if (strlen(text->str) != text->len) {
        return unpack_bad(u, "it has a byte 0", name, errp);
    }
    u->m = manifest_load(text->str, errp);
    return u->m;
}

/* Writes a piece of a file; zeros become holes. */
static bool unpack_write(int fd, const uint8_t *buf, size_t len_bytes)
{
    if (buffer_is_zero(buf, len_bytes)) {
        return lseek(fd, len_bytes, SEEK_CUR) >= 0;
    }
    return qemu_write_full(fd, buf, len_bytes) == len_bytes;
}

/* Writes an entry into a file, whose name is valid, and compares it. */
static bool unpack_data(Unpack *u, PackFile *file, int fd, Error **errp)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    uint64_t done = 0;
    ssize_t got;

    while ((got = archive_read_data(u->in, u->buf, PACK_BUFFER_BYTES)) > 0) {
        if (got > file->bytes - done) {
            return unpack_bad(u, "an entry is longer than the manifest says",
                              file->name, errp);
        }
        done += got;
        g_checksum_update(sum, u->buf, got);
        if (!unpack_write(fd, u->buf, got)) {
            error_setg_errno(errp, errno, "cannot write '%s/%s'", u->folder,
                             file->name);
            return false;
        }
    }
    if (got < 0) {
        return unpack_is_damaged(u, errp);
    }
    if (done != file->bytes ||
        !g_str_equal(g_checksum_get_string(sum), file->sha256)) {
        return unpack_bad(u, "an entry has other bytes than the manifest says",
                          file->name, errp);
    }
    if (ftruncate(fd, done) < 0) {
        error_setg_errno(errp, errno, "cannot write '%s/%s'", u->folder,
                         file->name);
        return false;
    }
    return true;
}

/* Does the header of an image name the backing file that the manifest has? */
static bool unpack_check_image(Unpack *u, const PackFile *file, int fd,
                               Error **errp)
{
    PackImage image;
    bool ok;

    if (!file->format || g_str_equal(file->format, "raw")) {
        return true;
    }
    ok = pack_image_read(fd, file->name, &image, errp);
    if (ok && (!image.is_qcow2 || !image.backing != !file->backing)) {
        ok = unpack_bad(u, "an image has another header than the manifest "
                        "says", file->name, errp);
    }
    pack_image_clear(&image);
    return ok;
}

static bool unpack_entry(Unpack *u, struct archive_entry *entry, Error **errp)
{
    const char *name = archive_entry_pathname(entry) ?: "";
    PackFile *file = manifest_file(u->m, name);
    bool ok;
    int fd;

    if (!unpack_is_file(entry)) {
        return unpack_bad(u, "an entry is no file", name, errp);
    }
    if (!file || file->is_left_out) {
        return unpack_bad(u, "the manifest does not have an entry", name,
                          errp);
    }
    if (file->is_done) {
        return unpack_bad(u, "an entry is there twice", name, errp);
    }
    fd = openat(u->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW |
                O_CLOEXEC, 0600);
    if (fd < 0) {
        error_setg_errno(errp, errno, "cannot write '%s/%s'", u->folder, name);
        return false;
    }
    g_ptr_array_add(u->made, g_strdup(name));
    ok = unpack_data(u, file, fd, errp) &&
         unpack_check_image(u, file, fd, errp);
    if (close(fd) < 0 && ok) {
        error_setg_errno(errp, errno, "cannot write '%s/%s'", u->folder, name);
        ok = false;
    }
    file->is_done = ok;
    return ok;
}

static bool unpack_entries(Unpack *u, Error **errp)
{
    struct archive_entry *entry;
    uint64_t total = manifest_bytes(u->m);
    int status;
    unsigned i;

    if (total > u->max_bytes) {
        error_setg(errp, "the files of '%s' have %" PRIu64 " bytes, but the "
                   "limit is %" PRIu64, u->path, total, u->max_bytes);
        error_append_hint(errp, "--limit=BYTES changes the limit.\n");
        return false;
    }
    while ((status = archive_read_next_header(u->in, &entry)) == ARCHIVE_OK) {
        if (!unpack_entry(u, entry, errp)) {
            return false;
        }
    }
    if (status != ARCHIVE_EOF) {
        return unpack_is_damaged(u, errp);
    }
    for (i = 0; i < u->m->files->len; i++) {
        const PackFile *file = g_ptr_array_index(u->m->files, i);

        if (!file->is_left_out && !file->is_done) {
            return unpack_bad(u, "a file of the manifest is missing",
                              file->name, errp);
        }
    }
    return true;
}

/* --- The command --------------------------------------------------------- */

static char *unpack_path_of(void *opaque, const PackFile *file)
{
    const Unpack *u = opaque;

    return g_build_filename(u->folder, file->name, NULL);
}

/* For CommandFiles */
static char *unpack_find(void *opaque, const char *role, const char *name)
{
    const Unpack *u = opaque;
    const PackFile *file = manifest_find(u->m, name);

    if (!file && !strchr(name, '/')) {
        g_autofree char *firmware = g_strconcat(PACK_FIRMWARE "/", name, NULL);

        file = manifest_file(u->m, firmware);
    }
    return file ? unpack_path_of(opaque, file) : NULL;
}

/* For CommandFiles */
static QDict *unpack_find_disk(void *opaque, const char *name,
                               const char *format)
{
    const Unpack *u = opaque;
    const PackFile *file = manifest_find(u->m, name);

    return file && file->format ?
           pack_image_node(u->m, file, format, unpack_path_of, opaque) : NULL;
}

static void unpack_print_json(const Unpack *u, const Command *c)
{
    JSONWriter *w = json_writer_new(true);
    g_autofree char *firmware = g_build_filename(u->folder, PACK_FIRMWARE,
                                                 NULL);
    unsigned i;

    json_writer_start_object(w, NULL);
    json_writer_str(w, "directory", u->folder);
    json_writer_str(w, "qemu", u->m->qemu);
    json_writer_str(w, "uuid", u->m->uuid);
    json_writer_start_array(w, "files");
    for (i = 0; i < u->m->files->len; i++) {
        const PackFile *file = g_ptr_array_index(u->m->files, i);

        json_writer_start_object(w, NULL);
        json_writer_str(w, "name", file->name);
        json_writer_str(w, "role", file->role);
        json_writer_uint64(w, "bytes", file->bytes);
        json_writer_str(w, "sha256", file->sha256);
        json_writer_bool(w, "left-out", file->is_left_out);
        json_writer_end_object(w);
    }
    json_writer_end_array(w);
    json_writer_start_array(w, "warnings");
    for (i = 0; i < c->warnings->len; i++) {
        json_writer_str(w, NULL, g_ptr_array_index(c->warnings, i));
    }
    json_writer_end_array(w);
    json_writer_start_array(w, "command");
    json_writer_str(w, NULL, u->qemu);
    json_writer_str(w, NULL, "-L");
    json_writer_str(w, NULL, firmware);
    for (i = 0; i < c->argv->len; i++) {
        json_writer_str(w, NULL, g_ptr_array_index(c->argv, i));
    }
    json_writer_end_array(w);
    json_writer_end_object(w);
    tool_print_json(w);
}

/* Prints the command on one line, so that it can be copied and run. */
static void unpack_print_command(const Unpack *u, const Command *c)
{
    g_autofree char *firmware = g_build_filename(u->folder, PACK_FIRMWARE,
                                                 NULL);
    g_autofree char *program = command_quote(u->qemu);
    g_autofree char *quoted = command_quote(firmware);
    unsigned i;

    printf("%s -L %s", program, quoted);
    for (i = 0; i < c->argv->len; i++) {
        g_autofree char *word = command_quote(g_ptr_array_index(c->argv, i));

        printf(" %s", word);
    }
    putchar('\n');
}

static void unpack_warn(const Unpack *u, const Command *c)
{
    unsigned i;

    for (i = 0; i < u->m->files->len; i++) {
        const PackFile *file = g_ptr_array_index(u->m->files, i);

        if (file->is_left_out) {
            warn_report("put the disk image with %" PRIu64 " bytes and SHA-256 "
                        "%s into '%s/%s'", file->bytes, file->sha256,
                        u->folder, file->name);
        }
    }
    for (i = 0; i < c->warnings->len; i++) {
        const char *text = g_ptr_array_index(c->warnings, i);
        g_autoptr(GString) shown = g_string_new(NULL);

        tool_escape(shown, (const uint8_t *)text, strlen(text));
        warn_report("the replay may differ; %s", shown->str);
    }
    if (!g_str_equal(u->m->qemu, QEMU_FULL_VERSION)) {
        g_autoptr(GString) shown = g_string_new(NULL);

        tool_escape(shown, (const uint8_t *)u->m->qemu, strlen(u->m->qemu));
        warn_report("the recording was made by QEMU %s, and this qemu-replay "
                    "belongs to QEMU " QEMU_FULL_VERSION, shown->str);
    }
}

/* Says how to replay.  Returns: the exit status. */
static int unpack_explain(Unpack *u, bool is_json, Error **errp)
{
    const CommandFiles files = {
        .find = unpack_find,
        .find_disk = unpack_find_disk,
        .opaque = u,
        .output = g_build_filename(u->folder, PACK_OUTPUT, NULL),
    };
    g_autofree char *output = (char *)files.output;
    g_autofree char *path = g_build_filename(u->folder, PACK_RECORDING, NULL);
    g_autoptr(Recording) r = recording_open(path, errp);
    g_auto(GStrv) argv = r ? command_recorded(r->desc, errp) : NULL;
    g_autoptr(Command) c = NULL;

    if (!argv) {
        return TOOL_TROUBLE;
    }
    c = command_rewrite(r->desc, argv + 1, path, &files);
    unpack_warn(u, c);
    if (*c->snapshot && !u->trusts_snapshot) {
        error_report("the replay begins at a snapshot in a disk image of the "
                     "pack, so no command is printed");
        error_printf("QEMU trusts what is in a snapshot. If you trust who made "
                     "the pack, unpack it into another folder with "
                     "--trust-snapshot.\n");
        return TOOL_FOUND;
    }
    if (is_json) {
        unpack_print_json(u, c);
    } else {
        unpack_print_command(u, c);
    }
    return TOOL_OK;
}

/* Returns: the QEMU in the folder of this program, owned; or NULL. */
static char *unpack_qemu_beside(void)
{
    g_autofree char *folder = g_path_get_dirname(tool_program);
    g_autofree char *name = g_build_filename(folder, DEFAULT_QEMU, NULL);

    return strchr(tool_program, '/') &&
           g_file_test(name, G_FILE_TEST_IS_EXECUTABLE) ?
           tool_absolute(name) : NULL;
}

/* Returns: the exit status. */
static int unpack_all(Unpack *u, const char *folder, bool is_json,
                      Error **errp)
{
    int status;

    u->fd = open(u->path, O_RDONLY | O_CLOEXEC);
    if (u->fd < 0) {
        error_setg_errno(errp, errno, "cannot open the pack '%s'", u->path);
        return TOOL_TROUBLE;
    }
    if (archive_read_support_format_zip_streamable(u->in) != ARCHIVE_OK ||
        archive_read_open_fd(u->in, u->fd, PACK_BUFFER_BYTES) != ARCHIVE_OK) {
        unpack_is_damaged(u, errp);
        return TOOL_TROUBLE;
    }
    if (!unpack_manifest(u, errp)) {
        return TOOL_TROUBLE;
    }
    status = unpack_open_folder(u, folder, errp) && unpack_entries(u, errp) ?
             unpack_explain(u, is_json, errp) : TOOL_TROUBLE;
    if (status == TOOL_TROUBLE) {
        unpack_remove(u);
    }
    return status;
}

static int unpack_run(int argc, char **argv)
{
    g_autofree char *limit = NULL, *qemu = NULL, *beside = NULL;
    gboolean trusts_snapshot = false;
    const GOptionEntry entries[] = {
        { "qemu", 0, 0, G_OPTION_ARG_FILENAME, &qemu,
          "the program in the command (default: " DEFAULT_QEMU " beside "
          "this program, or else found by the shell)", "PROGRAM" },
        { "trust-snapshot", 0, 0, G_OPTION_ARG_NONE, &trusts_snapshot,
          "print a command that loads a snapshot of the pack", NULL },
        { "limit", 0, 0, G_OPTION_ARG_STRING, &limit,
          "refuse files with more bytes than this (default 8 GiB)", "BYTES" },
        { }
    };
    ToolArgs args = {
        .usage = "PACK.zip DIR",
        .description =
            "DIR must be new or empty. The command that replays the recording "
            "goes to stdout,\nwarnings go to stderr. It has only options that "
            "are known to touch nothing of this\nmachine but DIR.\n\n"
            "Example: replay a recording from another machine\n"
            "  qemu-replay unpack my.zip my && cat my/output/serial0\n",
        .entries = entries,
        .n_min = 2,
        .n_max = 2,
        .has_json = true,
    };
    g_autofree uint8_t *buf = g_malloc(PACK_BUFFER_BYTES);
    g_autoptr(GPtrArray) made = g_ptr_array_new_with_free_func(g_free);
    Unpack u = { .buf = buf, .max_bytes = PACK_MAX_BYTES, .fd = -1,
                 .dir_fd = -1 };
    Error *err = NULL;
    int status;

    if (!tool_parse(&tool_unpack, &args, argc, argv) ||
        (limit && !tool_parse_u64("--limit", limit, &u.max_bytes))) {
        return TOOL_TROUBLE;
    }
    u.path = args.arg[0];
    beside = unpack_qemu_beside();
    u.qemu = qemu ?: beside ?: DEFAULT_QEMU;
    u.trusts_snapshot = trusts_snapshot;
    u.made = made;
    u.in = archive_read_new();
    status = unpack_all(&u, args.arg[1], args.is_json, &err);
    archive_read_free(u.in);
    if (u.fd >= 0) {
        close(u.fd);
    }
    if (u.dir_fd >= 0) {
        close(u.dir_fd);
    }
    if (u.m) {
        manifest_free(u.m);
    }
    g_free(u.folder);
    return err ? tool_fail(err) : status;
}

const Tool tool_unpack = {
    .name = "unpack",
    .summary = "Restore what is in a pack, and say how to replay it",
    .run = unpack_run,
};
