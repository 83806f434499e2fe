/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Fuzz target for what "qemu-replay unpack" reads: the command line of a
 * stranger, a manifest, and the header of a disk image.  tests/fuzz/run builds
 * the target with libFuzzer and sanitizers, and runs it.
 *
 * The first byte of an input says which of them follows.  A command line has
 * its arguments one behind the other, each with a byte 0 at its end.
 *
 * If REPLAY_FUZZ_SEEDS in the environment names a folder, the program only
 * writes a few inputs into this folder.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qmp/qdict.h"
#include "qemu/memfd.h"
#include "contrib/qemu-replay/command.h"
#include "contrib/qemu-replay/manifest.h"
#include "libfuzzer.h"

#define FUZZ_MAX_BYTES  65536

/* Where all files are, as far as the command knows. */
#define FUZZ_FOLDER     "/fuzz/"

const char *tool_program = "fuzz";

/* Aborts with the message @what unless @ok.  No input may cause this. */
static void fuzz_check(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "fuzz-replay-pack: %s\n", what);
        abort();
    }
}

/* --- The command line of a stranger ------------------------------------- */

static char *fuzz_find(void *opaque, const char *role, const char *name)
{
    return strlen(name) % 2 ? g_strdup(FUZZ_FOLDER "f") : NULL;
}

static QDict *fuzz_find_disk(void *opaque, const char *name,
                             const char *format)
{
    QDict *node, *file;

    if (strlen(name) % 2 == 0) {
        return NULL;
    }
    node = qdict_new();
    file = qdict_new();
    qdict_put_str(node, "driver", format ?: "raw");
    qdict_put_str(file, "driver", "file");
    qdict_put_str(file, "filename", FUZZ_FOLDER "f");
    qdict_put(node, "file", file);
    return node;
}

/* Are all names of files in @word those that the functions above gave? */
static bool fuzz_is_harmless(const char *word)
{
    const char *p = word;

    while ((p = strchr(p, '/')) != NULL) {
        if (!g_str_has_prefix(p, FUZZ_FOLDER)) {
            return false;
        }
        p += strlen(FUZZ_FOLDER);
    }
    return true;
}

static void fuzz_command(const uint8_t *data, size_t size)
{
    const CommandFiles files = {
        .find = fuzz_find,
        .find_disk = fuzz_find_disk,
        .output = "/fuzz",
    };
    /* a "/" in their values is part of a text for the guest */
    static const char texts[] = "-append -fw_cfg -smbios -object";
    g_autoptr(ReplayLogDescription) d = replay_log_description_new();
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(Command) c = NULL;
    size_t at, len_bytes;
    unsigned i;

    for (at = 0; at < size; at += len_bytes + 1) {
        len_bytes = strnlen((const char *)data + at, size - at);
        g_ptr_array_add(argv, g_strndup((const char *)data + at, len_bytes));
    }
    g_ptr_array_add(argv, NULL);
    c = command_rewrite(d, (char **)argv->pdata, FUZZ_FOLDER "r", &files);
    for (i = 0; i < c->argv->len; i++) {
        const char *word = g_ptr_array_index(c->argv, i);
        g_autofree char *quoted = command_quote(word);
        const char *p;

        for (p = quoted; *p; p++) {
            fuzz_check(g_ascii_isprint(*p), "a word is not printable");
        }
        if (i == 0 || !items_has_word(texts,
                                      g_ptr_array_index(c->argv, i - 1))) {
            fuzz_check(fuzz_is_harmless(word), word);
        }
    }
}

/* --- Manifest and image -------------------------------------------------- */

static char *fuzz_path_of(void *opaque, const PackFile *file)
{
    return g_strdup(file->name);
}

static void fuzz_manifest(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_strndup((const char *)data, size);
    g_autoptr(Manifest) m = manifest_load(text, NULL);
    g_autoptr(Manifest) again = NULL;
    g_autofree char *saved = NULL;
    unsigned i;

    if (!m) {
        return;
    }
    for (i = 0; i < m->files->len; i++) {
        const PackFile *file = g_ptr_array_index(m->files, i);

        fuzz_check(pack_name_is_valid(file->name), "a name is not valid");
        if (file->format) {
            qobject_unref(pack_image_node(m, file, NULL, fuzz_path_of, NULL));
        }
    }
    saved = manifest_save(m);
    again = manifest_load(saved, &error_abort);
    fuzz_check(again->files->len == m->files->len &&
               manifest_bytes(again) == manifest_bytes(m),
               "a manifest has changed");
}

static void fuzz_image(const uint8_t *data, size_t size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    PackImage image;

    fuzz_check(fd >= 0 && write(fd, data, size) == size, "no file in memory");
    pack_image_read(fd, "image", &image, NULL);
    pack_image_clear(&image);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > FUZZ_MAX_BYTES) {
        return 0;
    }
    switch (data[0] % 3) {
    case 0:
        fuzz_command(data + 1, size - 1);
        break;
    case 1:
        fuzz_manifest(data + 1, size - 1);
        break;
    case 2:
        fuzz_image(data + 1, size - 1);
        break;
    }
    return 0;
}

/* --- Seeds --------------------------------------------------------------- */

static void fuzz_seed(const char *dir, const char *name, const char *content,
                      size_t len_bytes)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);

    fuzz_check(g_file_set_contents(path, content, len_bytes, NULL),
               "cannot write a seed");
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char command[] =
        "\0-kernel\0a/b\0-drive\0file=json:{\"driver\":\"qcow2\",,\"file\":"
        "{\"driver\":\"file\",,\"filename\":\"abc\"}},if=virtio\0-drive\0"
        "driver=blkreplay,image.driver=raw,image.file.filename=abc\0-blockdev\0"
        "{\"driver\":\"file\",\"filename\":\"abc\",\"node-name\":\"b\"}\0"
        "-blockdev\0driver=qcow2,file=b,backing.driver=null-co\0-netdev\0"
        "user,id=n0,hostfwd=tcp::1-:2\0-device\0e1000,romfile=abc,x=/y\0"
        "-global\0a.b=c\0-chardev\0pty,id=c0,mux=on\0-serial\0pty\0-smbios\0"
        "type=1,serial=/\0-acpitable\0data=a:b/c\0-object\0secret,id=s,data=/"
        "\0-machine\0pc,accel=kvm\0-fda\0abc";
    static const char manifest[] =
        "\1{\"format\":\"qemu-replay-pack\",\"version\":1,\"qemu\":\"7\","
        "\"uuid\":\"u\",\"command\":[\"a\"],\"files\":[{\"name\":"
        "\"recording.rr\",\"role\":\"recording\",\"path\":\"a\",\"bytes\":1,"
        "\"sha256\":\"0123456789abcdef0123456789abcdef0123456789abcdef"
        "0123456789abcdef\",\"disk-format\":\"qcow2\",\"left-out\":false}]}";
    static const char image[] =
        "\2QFI\xfb\0\0\0\3\0\0\0\0\0\0\0\x80\0\0\0\4";
    const char *dir = getenv("REPLAY_FUZZ_SEEDS");

    if (dir) {
        fuzz_seed(dir, "seed-command", command, sizeof(command));
        fuzz_seed(dir, "seed-manifest", manifest, sizeof(manifest) - 1);
        fuzz_seed(dir, "seed-image", image, sizeof(image));
        _exit(0);
    }
    return 0;
}
