/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Fuzz target for what qemu-replay makes of a recording: text, JSON, captures,
 * images and pages.  tests/fuzz/run builds the target with libFuzzer and
 * sanitizers, and runs it.
 *
 * An input is the content of a recording: 2 bytes with the length of the
 * description, the description, and then the events of one chunk.  The target
 * puts headers with good checksums around them.  fuzz-replay-log.c is for
 * recordings whose headers are not good.
 *
 * If REPLAY_FUZZ_SEEDS in the environment names a folder, the program only
 * writes a few inputs into this folder.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/memfd.h"
#include "contrib/qemu-replay/packet.h"
#include "contrib/qemu-replay/report.h"
#include "contrib/qemu-replay/timeline.h"
#include "contrib/qemu-replay/tool.h"
#include "libfuzzer.h"

/* The most bytes of an input, and the headers around them. */
#define FUZZ_MAX_BYTES  65536
#define FUZZ_HDR_BYTES  (REPLAY_LOG_HEADER_BYTES + \
                         2 * REPLAY_LOG_CHUNK_HDR_BYTES)

/* Aborts with the message @what unless @ok.  No input may cause this. */
static void fuzz_check(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "fuzz-qemu-replay: %s\n", what);
        abort();
    }
}

const char *tool_program = "fuzz";

/* A file in memory. */
typedef struct FuzzFile {
    int fd;
    char path[32];
} FuzzFile;

static void fuzz_file_open(FuzzFile *f)
{
    f->fd = memfd_create("fuzz", MFD_CLOEXEC);
    fuzz_check(f->fd >= 0, "cannot create a file in memory");
    snprintf(f->path, sizeof(f->path), "/proc/self/fd/%d", f->fd);
}

static uint8_t *fuzz_put_chunk(uint8_t *p, unsigned kind, unsigned number,
                               const uint8_t *payload, size_t len_bytes)
{
    memset(p, 0, REPLAY_LOG_CHUNK_HDR_BYTES);
    stw_le_p(p, kind);
    stl_le_p(p + 4, number);
    stl_le_p(p + 8, len_bytes);
    stl_le_p(p + 12, len_bytes);
    stl_le_p(p + 44, replay_log_crc32c(0, payload, len_bytes));
    stl_le_p(p + 48, replay_log_crc32c(0, p, 48));
    p += REPLAY_LOG_CHUNK_HDR_BYTES;
    memcpy(p, payload, len_bytes);
    return p + len_bytes;
}

/* Makes a recording of an input.  The recording has no end chunk. */
static void fuzz_make_recording(FuzzFile *f, const uint8_t *data, size_t size)
{
    static uint8_t file[FUZZ_HDR_BYTES + FUZZ_MAX_BYTES];
    size_t desc_bytes = MIN(lduw_le_p(data), size - 2);
    uint8_t *p = file;

    memcpy(p, "\x89QRR\r\n\x1a\n", 8);
    memset(p + 8, 0, REPLAY_LOG_HEADER_BYTES - 8);
    stl_le_p(p + 8, REPLAY_LOG_VERSION);
    stl_le_p(p + 36, replay_log_crc32c(0, p, 36));
    p += REPLAY_LOG_HEADER_BYTES;
    p = fuzz_put_chunk(p, REPLAY_LOG_CHUNK_DESCRIPTION, 0, data + 2,
                       desc_bytes);
    p = fuzz_put_chunk(p, REPLAY_LOG_CHUNK_EVENTS, 1, data + 2 + desc_bytes,
                       size - 2 - desc_bytes);
    fuzz_check(ftruncate(f->fd, 0) == 0 &&
               pwrite(f->fd, file, p - file, 0) == p - file,
               "no room in memory");
}

/* A terminal gets these, and a page has them. */
static void fuzz_check_text(const GString *text, bool is_html)
{
    gsize i;

    for (i = 0; i < text->len; i++) {
        fuzz_check(g_ascii_isprint(text->str[i]) ||
                   (is_html && text->str[i] == '\n'),
                   "a text has a character that is not printable");
        fuzz_check(!is_html || text->str[i] != '<', "a row of HTML has a tag");
    }
}

static void fuzz_json(const Recording *r, const ReplayLogEvent *ev)
{
    JSONWriter *w = json_writer_new(false);
    g_autoptr(GString) json = NULL;

    json_writer_start_object(w, NULL);
    event_json(w, r, ev);
    json_writer_end_object(w);
    json = json_writer_get_and_free(w);
    fuzz_check_text(json, false);
}

static void fuzz_packet(const ReplayPcapngFrame *frame, size_t offset)
{
    if (frame->len_bytes) {
        g_autofree char *field = packet_field(frame->data, frame->len_bytes,
                                              offset % frame->len_bytes);

        fuzz_check(field && *field, "a byte belongs to no field");
    }
}

/* The blocks of a capture must lead from its begin to its end. */
static void fuzz_capture(const FuzzFile *f)
{
    g_autofree uint8_t *data = NULL;
    struct stat st;
    size_t at = 0;

    fuzz_check(fstat(f->fd, &st) == 0, "no capture");
    data = g_malloc(st.st_size);
    fuzz_check(pread(f->fd, data, st.st_size, 0) == st.st_size, "no capture");
    while (at < st.st_size) {
        uint32_t len;

        fuzz_check(st.st_size - at >= 12, "a block is not complete");
        len = ldl_le_p(data + at + 4);
        fuzz_check(len % 4 == 0 && len >= 12 && len <= st.st_size - at &&
                   ldl_le_p(data + at + len - 4) == len,
                   "a block has a wrong length");
        at += len;
    }
}

static void fuzz_event(const Recording *r, const ReplayLogEvent *ev,
                       ReplayPcapng *c, ReplayPcapngPacket *last)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autoptr(GString) row = g_string_new(NULL);
    ReplayPcapngPacket p;
    uint64_t adapter;

    event_summary(text, r, ev);
    fuzz_check_text(text, false);
    fuzz_json(r, ev);
    if (event_packet(r, ev, &p)) {
        ReplayPcapngFrame frame = event_frame(r, &p);

        fuzz_packet(&frame, ev->number * 7);
        replay_pcapng_put(c, &p);
    } else if (ev->kind == REPLAY_EV_NET_SENT) {
        replay_pcapng_put_length(c, MIN(ev->num[0], UINT_MAX), ev->num[1]);
    }
    if (event_adapter(ev, &adapter)) {
        report_row(row, r, ev, last);
        fuzz_check_text(row, true);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static FuzzFile recording, capture;
    static Timeline timeline;
    ReplayPcapngPacket last = { };
    ReplayLogEvent ev;
    ReplayPcapng *c;
    g_autoptr(Recording) r = NULL;
    g_autoptr(GString) page = NULL;

    if (size < 2 || size > FUZZ_MAX_BYTES) {
        return 0;
    }
    if (!recording.path[0]) {
        fuzz_file_open(&recording);
        fuzz_file_open(&capture);
    }
    fuzz_make_recording(&recording, data, size);
    r = recording_open(recording.path, NULL);
    if (!r) {
        return 0;
    }
    memset(&timeline, 0, sizeof(timeline));
    c = replay_pcapng_open(capture.path, replay_log_reader_uuid(r->reader),
                           r->desc, r->clock.is_exact, &error_abort);
    while (recording_next(r, &ev, NULL) == REPLAY_LOG_OK) {
        fuzz_event(r, &ev, c, &last);
        timeline_add(&timeline, r->time_ns, &ev);
    }
    replay_pcapng_close(c, &error_abort);
    fuzz_capture(&capture);
    page = g_string_new(NULL);
    report_head(page, r);
    fuzz_check(g_utf8_validate(page->str, page->len, NULL),
               "a page is not UTF-8");
    timeline_svg(page, &timeline);
    return 0;
}

/* --- Seeds ------------------------------------------------------------ */

static void fuzz_put_str(GByteArray *out, const char *s)
{
    uint8_t len = strlen(s);

    assert(len < 0x80);         /* one byte as a varint */
    g_byte_array_append(out, &len, 1);
    g_byte_array_append(out, (const uint8_t *)s, len);
}

static void fuzz_put_packet(GByteArray *out, const void *packet, uint8_t len)
{
    const uint8_t received[] = { REPLAY_EV_ASYNC_NET, 0, 0, len };
    const uint8_t sent[] = { REPLAY_EV_NET_SENT_DATA, 0, len };

    assert(len < 0x80);
    g_byte_array_append(out, received, sizeof(received));
    g_byte_array_append(out, packet, len);
    g_byte_array_append(out, sent, sizeof(sent));
    g_byte_array_append(out, packet, len);
}

#define MACS        "\x52\x54\x00\x12\x34\x56\x52\x55\x0a\x00\x02\x02"
#define IPV4(p)     "\x08\x00\x45\x00\x00\x40\x00\x00\x00\x00\x40" p \
                    "\x00\x00\x0a\x00\x02\x0f\x0a\x00\x02\x03"

/* Appends a packet that is a string literal. */
#define fuzz_put_literal(out, s) fuzz_put_packet(out, s, sizeof(s) - 1)

static void fuzz_seed(const char *dir, const char *name, const char *shift,
                      const char *adapter, const char *verify)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    g_autoptr(GByteArray) out = g_byte_array_new();
    static const uint8_t others[] = {
        REPLAY_EV_INSTRUCTION, 100,
        REPLAY_EV_CHECKPOINT_WARP_START, REPLAY_EV_CLOCK_VIRTUAL_RT, 20,
        REPLAY_EV_CHECKPOINT_WARP_ACCOUNT, REPLAY_EV_CLOCK_VIRTUAL_RT, 40,
        REPLAY_EV_CHECKPOINT_CLOCK_VIRTUAL_RT, REPLAY_EV_CLOCK_VIRTUAL_RT, 2,
        REPLAY_EV_CLOCK_VIRTUAL_RT, 4, REPLAY_EV_CLOCK_VIRTUAL_RT, 6,
        REPLAY_EV_NET_SENT, 0, 60, 1,
        REPLAY_EV_ASYNC_NET_LINK, 1, 2, 'n', '0',
        REPLAY_EV_ASYNC_REQUEST, 1,
        REPLAY_EV_ASYNC_CHAR_READ, 0, 2, '<', '\\',
        REPLAY_EV_SHUTDOWN, 4,
    };

    g_byte_array_set_size(out, 2);
    fuzz_put_str(out, "icount.shift");
    fuzz_put_str(out, shift);
    fuzz_put_str(out, "icount.sleep");
    fuzz_put_str(out, "on");
    fuzz_put_str(out, "adapter.n0");
    fuzz_put_str(out, adapter);
    fuzz_put_str(out, "info.adapter.n0.verify");
    fuzz_put_str(out, verify);
    stw_le_p(out->data, out->len - 2);

    fuzz_put_literal(out, MACS "\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01"
                                "aaaaaabbbbccccccdddd");
    fuzz_put_literal(out, MACS IPV4("\x06") "\x00\x50\x80\x00\x00\x00"
                                "\x00\x01\x00\x00\x00\x02\x50\x12\xff\xff"
                                "\x00\x00\x00\x00" "payload");
    fuzz_put_literal(out, MACS IPV4("\x11") "\x80\x00\x00\x35\x00\x20"
                                "\x00\x00\x00\x01\x01\x00\x00\x01\x00\x00"
                                "\x00\x00\x00\x00\x07</scrip\x03org\x00\x00"
                                "\x01\x00\x01");
    fuzz_put_literal(out, MACS IPV4("\x01") "\x08\x00\x00\x00\x00\x01"
                                "\x00\x02" "ping");
    fuzz_put_literal(out, MACS "\x81\x00\x00\x07\x86\xdd\x60\x00\x00\x00"
                                "\x00\x10\x00\x40" "\xfe\x80\x00\x00\x00\x00"
                                "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"
                                "\xff\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00"
                                "\x00\x00\x00\x00\x02" "\x3a\x00\x05\x02\x00"
                                "\x00\x01\x00\x87\x00\x00\x00\x00\x00\x00"
                                "\x00");
    g_byte_array_append(out, others, sizeof(others));
    fuzz_check(g_file_set_contents(path, (const char *)out->data, out->len,
                                   NULL), "cannot write a seed");
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *dir = getenv("REPLAY_FUZZ_SEEDS");

    if (dir) {
        fuzz_seed(dir, "seed-fixed", "3", "NIC e1000, MAC 52:54:00:12:34:56, "
                  "virtio header 0 bytes", "on");
        fuzz_seed(dir, "seed-auto", "auto", "NIC virtio-net-pci, MAC "
                  "52:54:00:12:34:56, virtio header 12 bytes", "full");
        _exit(0);
    }
    return 0;
}
