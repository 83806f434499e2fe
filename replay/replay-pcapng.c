/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A capture of the packets of a recording, in the format pcapng
 * (draft-ietf-opsawg-pcapng).
 *
 * It has a section header, an interface description for each adapter in the
 * order of their numbers, an enhanced packet block for each packet, and an
 * interface statistics block for each adapter.  All numbers are little-endian.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/cutils.h"
#include "replay-pcapng.h"

/* The kinds of blocks. */
#define BLOCK_SECTION       0x0a0d0d0a
#define BLOCK_INTERFACE     1
#define BLOCK_STATISTICS    5
#define BLOCK_PACKET        6

#define BYTE_ORDER_MAGIC    0x1a2b3c4d
#define LINKTYPE_ETHERNET   1
/* The resolution of time stamps: 10^-9 s. */
#define RESOLUTION_NS       9

/* The options of blocks; a number has its meaning in its kind of block. */
#define OPTION_END          0
#define OPTION_COMMENT      1
#define SECTION_HARDWARE    2
#define SECTION_USERAPPL    4
#define INTERFACE_NAME      2
#define INTERFACE_DESC      3
#define INTERFACE_MAC       6
#define INTERFACE_TSRESOL   9
#define INTERFACE_HARDWARE  15
#define PACKET_FLAGS        2
#define PACKET_ID           5
#define STATISTICS_START    2
#define STATISTICS_END      3
#define STATISTICS_RECEIVED 4
#define STATISTICS_DELIVER  8

/* The bits of PACKET_FLAGS. */
#define PACKET_INBOUND      (1 << 0)
#define PACKET_OUTBOUND     (2 << 0)
#define PACKET_UNICAST      (1 << 2)
#define PACKET_MULTICAST    (2 << 2)
#define PACKET_BROADCAST    (3 << 2)
#define PACKET_CSUM_MISSING (1 << 9)
#define PACKET_CSUM_VALID   (1 << 10)
#define PACKET_SEGMENTED    (1 << 11)

/* struct virtio_net_hdr of the virtio specification, little-endian here. */
#define VNET_HDR_BYTES      10
#define VNET_HDR_MAX_BYTES  256
#define VNET_NEEDS_CSUM     1
#define VNET_DATA_VALID     2

/* A flag of QEMU's packets: there is no virtio header. */
#define PACKET_FLAG_RAW     1

/*
 * The longest packet that Wireshark accepts: it reads nothing behind a longer
 * one.  No NIC has such packets, but a hostile recording can.
 */
#define CAPTURED_MAX_BYTES  262144

/* Write when the buffer has this size. */
#define BUFFER_BYTES        (256 * 1024)

typedef struct Totals {
    uint64_t received, received_bytes;
    uint64_t sent, sent_bytes;
    uint64_t without_bytes;         /* of @sent: the capture lacks them */
} Totals;

struct ReplayPcapng {
    char *path;
    int fd;
    bool is_stdout;
    int error;                      /* errno of a failed write, or 0 */
    GByteArray *out;                /* what was not written yet */
    uint64_t time_ns;               /* of the last packet */
    unsigned n_adapters;
    ReplayPcapngAdapter adapter[REPLAY_LOG_ADAPTERS_MAX];
    Totals totals[REPLAY_LOG_ADAPTERS_MAX];
};

/* --- What the description and a packet say ------------------------------ */

/* Copies the text between @prefix and the next comma, or nothing. */
static void adapter_word(const char *value, const char *prefix, char *word,
                         size_t word_bytes)
{
    const char *p = strstr(value, prefix);

    *word = '\0';
    if (p) {
        p += strlen(prefix);
        pstrcpy(word, MIN(word_bytes, strcspn(p, ",") + 1), p);
    }
}

static bool adapter_mac(const char *value, uint8_t *mac)
{
    char word[18];
    unsigned i;

    adapter_word(value, ", MAC ", word, sizeof(word));
    if (strlen(word) != 17) {
        return false;
    }
    for (i = 0; i < 6; i++) {
        int high = g_ascii_xdigit_value(word[3 * i]);
        int low = g_ascii_xdigit_value(word[3 * i + 1]);

        if (high < 0 || low < 0 || (i < 5 && word[3 * i + 2] != ':')) {
            return false;
        }
        mac[i] = high << 4 | low;
    }
    return true;
}

bool replay_pcapng_adapter(const ReplayLogDescription *d, uint64_t number,
                           ReplayPcapngAdapter *a)
{
    g_autofree char *key = NULL, *info = NULL;
    const char *value, *verify;
    const char *end;
    char word[16];

    *a = (ReplayPcapngAdapter) {
        .name = replay_log_description_adapter(d, number),
    };
    if (!a->name) {
        return false;
    }
    /* replay_net_describe_adapter() makes the value. */
    key = g_strconcat(REPLAY_LOG_KEY_ADAPTER, a->name, NULL);
    value = replay_log_description_get(d, key);
    if (g_str_has_prefix(value, "NIC ")) {
        adapter_word(value, "NIC ", a->nic, sizeof(a->nic));
    }
    a->has_mac = adapter_mac(value, a->mac);
    adapter_word(value, ", virtio header ", word, sizeof(word));
    if (qemu_strtoui(word, &end, 10, &a->vnet_hdr_bytes) < 0 ||
        a->vnet_hdr_bytes > VNET_HDR_MAX_BYTES) {
        a->vnet_hdr_bytes = 0;
    }
    info = g_strconcat(REPLAY_LOG_KEY_INFO, key, ".verify", NULL);
    verify = replay_log_description_get(d, info);
    a->sent_is_full = verify && g_str_equal(verify, "full");
    return true;
}

void replay_pcapng_frame(const ReplayPcapngAdapter *a, uint64_t flags,
                         const uint8_t *data, size_t len_bytes,
                         ReplayPcapngFrame *f)
{
    size_t hdr_bytes = flags & PACKET_FLAG_RAW ? 0 : a->vnet_hdr_bytes;

    *f = (ReplayPcapngFrame) {
        .data = data + MIN(hdr_bytes, len_bytes),
        .len_bytes = len_bytes - MIN(hdr_bytes, len_bytes),
    };
    if (hdr_bytes >= VNET_HDR_BYTES && len_bytes >= hdr_bytes) {
        f->has_vnet_hdr = true;
        f->vnet_flags = data[0];
        f->gso_type = data[1];
        f->gso_size = lduw_le_p(data + 4);
        f->csum_start = lduw_le_p(data + 6);
        f->csum_offset = lduw_le_p(data + 8);
    }
}

/* --- Blocks ------------------------------------------------------------ */

static void put_u16(GByteArray *out, uint16_t v)
{
    uint8_t bytes[2];

    stw_le_p(bytes, v);
    g_byte_array_append(out, bytes, sizeof(bytes));
}

static void put_u32(GByteArray *out, uint32_t v)
{
    uint8_t bytes[4];

    stl_le_p(bytes, v);
    g_byte_array_append(out, bytes, sizeof(bytes));
}

/* A time stamp has its upper half first, unlike other numbers. */
static void put_time(GByteArray *out, uint64_t time_ns)
{
    put_u32(out, time_ns >> 32);
    put_u32(out, time_ns);
}

static void put_padded(GByteArray *out, const void *data, size_t len)
{
    static const uint8_t zeros[4];

    g_byte_array_append(out, data, len);
    g_byte_array_append(out, zeros, -len & 3);
}

/* The description has no string with more than 64 KiB. */
static void put_option(GByteArray *out, uint16_t option, const void *data,
                       size_t len)
{
    put_u16(out, option);
    put_u16(out, len);
    put_padded(out, data, len);
}

static void put_option_str(GByteArray *out, uint16_t option, const char *s)
{
    put_option(out, option, s, strlen(s));
}

static void put_option_u64(GByteArray *out, uint16_t option, uint64_t v)
{
    uint8_t bytes[8];

    stq_le_p(bytes, v);
    put_option(out, option, bytes, sizeof(bytes));
}

static void put_option_time(GByteArray *out, uint16_t option, uint64_t time_ns)
{
    put_u16(out, option);
    put_u16(out, 8);
    put_time(out, time_ns);
}

/* Returns: where the block begins; its length is not known yet. */
static guint block_begin(GByteArray *out, uint32_t kind)
{
    guint at = out->len;

    put_u32(out, kind);
    put_u32(out, 0);
    return at;
}

static void block_end(GByteArray *out, guint at)
{
    uint32_t len = out->len - at + 4;

    put_u32(out, len);
    stl_le_p(out->data + at + 4, len);
}

static void block_end_options(GByteArray *out, guint at)
{
    put_u32(out, OPTION_END);
    block_end(out, at);
}

static bool pcapng_flush(ReplayPcapng *c)
{
    size_t done = 0;

    while (!c->error && done < c->out->len) {
        ssize_t n = write(c->fd, c->out->data + done, c->out->len - done);

        if (n > 0) {
            done += n;
        } else if (n == 0 || errno != EINTR) {
            c->error = n ? errno : ENOSPC;
        }
    }
    g_byte_array_set_size(c->out, 0);
    return !c->error;
}

static void put_section(ReplayPcapng *c, const QemuUUID *uuid,
                        const ReplayLogDescription *d, bool is_exact)
{
    guint at = block_begin(c->out, BLOCK_SECTION);
    const char *machine = replay_log_description_get(d, "machine");
    g_autofree char *text = qemu_uuid_unparse_strdup(uuid);
    g_autofree char *comment = NULL;

    comment = g_strdup_printf("packets of the recording %s; times are the "
                              "guest's virtual time%s", text,
                              is_exact ? "" : " without the time in which the "
                              "guest was idle");
    put_u32(c->out, BYTE_ORDER_MAGIC);
    put_u16(c->out, 1);                 /* version 1.0 */
    put_u16(c->out, 0);
    put_u32(c->out, -1);                /* the section's length: unknown */
    put_u32(c->out, -1);
    put_option_str(c->out, OPTION_COMMENT, comment);
    if (machine) {
        put_option_str(c->out, SECTION_HARDWARE, machine);
    }
    put_option_str(c->out, SECTION_USERAPPL, "QEMU record/replay");
    block_end_options(c->out, at);
}

static void put_interface(ReplayPcapng *c, const ReplayPcapngAdapter *a,
                          const ReplayLogDescription *d)
{
    guint at = block_begin(c->out, BLOCK_INTERFACE);
    g_autofree char *key = g_strconcat(REPLAY_LOG_KEY_ADAPTER, a->name, NULL);
    const uint8_t resolution = RESOLUTION_NS;

    put_u16(c->out, LINKTYPE_ETHERNET);
    put_u16(c->out, 0);
    put_u32(c->out, 0);                 /* packets are not cut */
    put_option_str(c->out, INTERFACE_NAME, a->name);
    put_option_str(c->out, INTERFACE_DESC, replay_log_description_get(d, key));
    if (a->has_mac) {
        put_option(c->out, INTERFACE_MAC, a->mac, sizeof(a->mac));
    }
    put_option(c->out, INTERFACE_TSRESOL, &resolution, 1);
    if (a->nic[0]) {
        put_option_str(c->out, INTERFACE_HARDWARE, a->nic);
    }
    block_end_options(c->out, at);
}

ReplayPcapng *replay_pcapng_open(const char *path, const QemuUUID *uuid,
                                 const ReplayLogDescription *d, bool is_exact,
                                 Error **errp)
{
    ReplayPcapng *c;
    bool is_stdout = g_str_equal(path, "-");
    int fd;

    if (replay_log_is_recording(path)) {
        error_setg(errp, "cannot write the capture '%s': the file is a "
                   "recording", path);
        return NULL;
    }
    fd = is_stdout ? STDOUT_FILENO
                   : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_BINARY |
                          O_CLOEXEC, 0600);
    if (fd < 0) {
        error_setg_errno(errp, errno, "cannot write the capture '%s'", path);
        return NULL;
    }
    c = g_new0(ReplayPcapng, 1);
    c->path = g_strdup(is_stdout ? "<stdout>" : path);
    c->fd = fd;
    c->is_stdout = is_stdout;
    c->out = g_byte_array_sized_new(BUFFER_BYTES);
    put_section(c, uuid, d, is_exact);
    while (c->n_adapters < REPLAY_LOG_ADAPTERS_MAX &&
           replay_pcapng_adapter(d, c->n_adapters,
                                 &c->adapter[c->n_adapters])) {
        put_interface(c, &c->adapter[c->n_adapters], d);
        c->n_adapters++;
    }
    return c;
}

/* Returns: the value of PACKET_FLAGS. */
static uint32_t packet_flags(const ReplayPcapngPacket *p,
                             const ReplayPcapngFrame *f)
{
    uint32_t flags = p->is_sent ? PACKET_OUTBOUND : PACKET_INBOUND;

    if (f->len_bytes >= 6) {
        static const uint8_t broadcast[6] = {
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff
        };

        flags |= !memcmp(f->data, broadcast, 6) ? PACKET_BROADCAST
                 : f->data[0] & 1 ? PACKET_MULTICAST : PACKET_UNICAST;
    }
    if (f->vnet_flags & VNET_NEEDS_CSUM) {
        flags |= PACKET_CSUM_MISSING;
    }
    if (f->vnet_flags & VNET_DATA_VALID) {
        flags |= PACKET_CSUM_VALID;
    }
    return flags | (f->gso_type ? PACKET_SEGMENTED : 0);
}

static void put_packet_comment(GByteArray *out, const ReplayPcapngPacket *p,
                               const ReplayPcapngFrame *f)
{
    char comment[256];
    int n;

    n = snprintf(comment, sizeof(comment), "icount=%" PRIu64 " event=%" PRIu64,
                 p->icount, p->event);
    if (!p->is_sent) {
        n += snprintf(comment + n, sizeof(comment) - n, " packet=%" PRIu64,
                      p->packet);
    }
    if (f->vnet_flags & VNET_NEEDS_CSUM) {
        n += snprintf(comment + n, sizeof(comment) - n,
                      " csum-start=%u csum-offset=%u", f->csum_start,
                      f->csum_offset);
    }
    if (f->gso_type) {
        n += snprintf(comment + n, sizeof(comment) - n,
                      " gso-type=%u gso-size=%u", f->gso_type, f->gso_size);
    }
    put_option(out, OPTION_COMMENT, comment, n);
}

bool replay_pcapng_put(ReplayPcapng *c, const ReplayPcapngPacket *p)
{
    ReplayPcapngFrame f;
    size_t captured_bytes;
    uint8_t flags[4];
    Totals *t;
    guint at;

    if (p->adapter >= c->n_adapters) {
        return !c->error;
    }
    t = &c->totals[p->adapter];
    *(p->is_sent ? &t->sent : &t->received) += 1;
    *(p->is_sent ? &t->sent_bytes : &t->received_bytes) += p->len_bytes;
    replay_pcapng_frame(&c->adapter[p->adapter], p->flags, p->data,
                        p->len_bytes, &f);
    captured_bytes = MIN(f.len_bytes, CAPTURED_MAX_BYTES);

    c->time_ns = p->time_ns;
    at = block_begin(c->out, BLOCK_PACKET);
    put_u32(c->out, p->adapter);
    put_time(c->out, p->time_ns);
    put_u32(c->out, captured_bytes);
    put_u32(c->out, f.len_bytes);
    put_padded(c->out, f.data, captured_bytes);
    put_packet_comment(c->out, p, &f);
    stl_le_p(flags, packet_flags(p, &f));
    put_option(c->out, PACKET_FLAGS, flags, sizeof(flags));
    put_option_u64(c->out, PACKET_ID, p->event);
    block_end_options(c->out, at);
    return c->out->len < BUFFER_BYTES ? !c->error : pcapng_flush(c);
}

void replay_pcapng_put_length(ReplayPcapng *c, unsigned adapter,
                              uint64_t len_bytes)
{
    if (adapter < c->n_adapters) {
        c->totals[adapter].sent++;
        c->totals[adapter].sent_bytes += len_bytes;
        c->totals[adapter].without_bytes++;
    }
}

static void put_statistics(ReplayPcapng *c, unsigned adapter)
{
    guint at = block_begin(c->out, BLOCK_STATISTICS);
    const Totals *t = &c->totals[adapter];
    g_autofree char *comment =
        g_strdup_printf("received %" PRIu64 " packets, %" PRIu64 " bytes; sent "
                        "%" PRIu64 " packets, %" PRIu64 " bytes; %" PRIu64
                        " sent packets are not in this capture", t->received,
                        t->received_bytes, t->sent, t->sent_bytes,
                        t->without_bytes);

    put_u32(c->out, adapter);
    put_time(c->out, c->time_ns);
    put_option_str(c->out, OPTION_COMMENT, comment);
    put_option_time(c->out, STATISTICS_START, 0);
    put_option_time(c->out, STATISTICS_END, c->time_ns);
    put_option_u64(c->out, STATISTICS_RECEIVED, t->received);
    put_option_u64(c->out, STATISTICS_DELIVER,
                   t->received + t->sent - t->without_bytes);
    block_end_options(c->out, at);
}

bool replay_pcapng_close(ReplayPcapng *c, Error **errp)
{
    unsigned i;
    int error;

    for (i = 0; i < c->n_adapters; i++) {
        put_statistics(c, i);
    }
    pcapng_flush(c);
    if (!c->is_stdout && close(c->fd) < 0 && !c->error) {
        c->error = errno;
    }
    error = c->error;
    if (error) {
        error_setg_errno(errp, error, "cannot write the capture '%s'", c->path);
    }
    g_byte_array_unref(c->out);
    g_free(c->path);
    g_free(c);
    return !error;
}
