/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Tests of recordings as files: the reader reads what the writer has written,
 * and refuses any other bytes without a crash.  Hand-made files have correct
 * checksums, so that the tests reach the checks that follow these.  The
 * checksums come from QEMU's crc32c(), because the reader may use another
 * implementation.
 */

#include "qemu/osdep.h"
#include <dlfcn.h>
#include <glib/gstdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <zlib.h>
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/crc32c.h"
#include "replay/replay-log.h"

static char *tmp_dir;

/* Returns: an owned path that no other test uses. */
static char *test_path(void)
{
    static unsigned n;

    return g_strdup_printf("%s/rec-%u", tmp_dir, n++);
}

/* A message must not be empty, nor contain control characters. */
static void check_message(Error *err)
{
    const char *p;

    g_assert_nonnull(err);
    g_assert_cmpstr(error_get_pretty(err), !=, "");
    for (p = error_get_pretty(err); *p; p++) {
        g_assert_true((uint8_t)*p >= 0x20 && (uint8_t)*p != 0x7f);
    }
}

static void check_message_has(Error *err, const char *part)
{
    check_message(err);
    if (!strstr(error_get_pretty(err), part)) {
        g_test_message("message: %s", error_get_pretty(err));
        g_test_message("lacks: %s", part);
        g_test_fail();
    }
    error_free(err);
}

/* --- Events to record ------------------------------------------------- */

typedef struct Event {
    uint8_t kind;
    uint64_t num[REPLAY_LOG_NUMS_MAX];
    uint8_t *data;
    size_t len_bytes;
    ReplayLogPos pos;           /* its place according to the writer */
} Event;

static void event_free(gpointer opaque)
{
    Event *e = opaque;

    g_free(e->data);
    g_free(e);
}

static uint64_t random_number(void)
{
    static const uint64_t extremes[] = {
        0, 1, 0x3f, 0x40, 0x7f, 0x80, 0x3fff, 0x4000, INT32_MAX, UINT32_MAX,
        INT64_MAX, INT64_MAX + 1ull, UINT64_MAX - 1, UINT64_MAX,
    };
    uint64_t n = (uint32_t)g_test_rand_int();

    n = n << 32 | (uint32_t)g_test_rand_int();
    if (g_test_rand_bit()) {
        return extremes[n % ARRAY_SIZE(extremes)];
    }
    return n >> g_test_rand_int_range(0, 64);
}

/* @texture: the data consists of bytes below this number */
static Event *event_new(uint8_t kind, size_t len_bytes, int texture)
{
    const char *fields = replay_log_event_fields(kind);
    Event *e = g_new0(Event, 1);
    size_t i;

    e->kind = kind;
    for (i = 0; fields[i]; i++) {
        if (fields[i] != 'b') {
            e->num[i] = random_number();
            continue;
        }
        e->len_bytes = len_bytes;
        e->data = g_malloc(len_bytes + 1);
        for (size_t k = 0; k < len_bytes; k++) {
            e->data[k] = g_test_rand_int_range(0, texture);
        }
    }
    if (kind == REPLAY_EV_INSTRUCTION) {
        e->num[0] = (e->num[0] >> 32) + 1;      /* do not overflow */
    } else if (kind == REPLAY_EV_ASYNC_NET) {
        e->num[0] &= 3;
    }
    return e;
}

/* Returns: @rounds events of each kind with random numbers and data. */
static GPtrArray *events_new(unsigned rounds, size_t len_max, int texture)
{
    GPtrArray *events = g_ptr_array_new_with_free_func(event_free);
    unsigned i, kind;

    for (i = 0; i < rounds; i++) {
        for (kind = 0; kind < REPLAY_LOG_KINDS; kind++) {
            if (replay_log_event_name(kind)) {
                size_t len = len_max ? g_test_rand_int_range(0, len_max) : 0;

                g_ptr_array_add(events, event_new(kind, len, texture));
            }
        }
    }
    return events;
}

/* Returns: @packets packets, and typical events of a busy guest between. */
static GPtrArray *traffic_new(unsigned packets, size_t len_max, int texture)
{
    static const uint8_t between[] = {
        REPLAY_EV_CHECKPOINT_CLOCK_VIRTUAL, REPLAY_EV_CLOCK_HOST,
        REPLAY_EV_INTERRUPT,
    };
    GPtrArray *events = g_ptr_array_new_with_free_func(event_free);
    unsigned i, k;

    for (i = 0; i < packets; i++) {
        size_t len = g_test_rand_int_range(0, len_max + 1);

        g_ptr_array_add(events, event_new(REPLAY_EV_ASYNC_NET, len, texture));
        for (k = 0; k < 12; k++) {
            Event *insns = event_new(REPLAY_EV_INSTRUCTION, 0, texture);
            Event *e = event_new(between[k % 3], 0, texture);

            insns->num[0] = g_test_rand_int_range(1, 100);
            e->num[0] = g_test_rand_int_range(0, 100);
            g_ptr_array_add(events, insns);
            g_ptr_array_add(events, e);
        }
    }
    return events;
}

static ReplayLogDescription *description_new(void)
{
    ReplayLogDescription *d = replay_log_description_new();

    replay_log_description_add(d, "machine", "pc-i440fx-7.2");
    replay_log_description_add(d, "ram", "134217728");
    replay_log_description_add(d, "info.empty", "");
    return d;
}

static ReplayLogWriter *writer_new(const char *path, unsigned flags)
{
    g_autoptr(ReplayLogDescription) d = description_new();
    ReplayLogWriter *w = replay_log_writer_open(path, flags, &error_abort);

    replay_log_writer_describe(w, d, &error_abort);
    return w;
}

static bool write_event(ReplayLogWriter *w, Event *e)
{
    e->pos = replay_log_writer_pos(w);
    return replay_log_write_event(w, e->kind, e->num, e->data, e->len_bytes);
}

/* @flush_each: flush after this number of events; 0: never */
static void write_events(ReplayLogWriter *w, GPtrArray *events,
                         unsigned flush_each)
{
    unsigned i;

    for (i = 0; i < events->len; i++) {
        g_assert_true(write_event(w, g_ptr_array_index(events, i)));
        if (flush_each && (i + 1) % flush_each == 0) {
            replay_log_writer_flush(w, &error_abort);
        }
    }
}

static void record(const char *path, unsigned flags, GPtrArray *events,
                   unsigned flush_each)
{
    ReplayLogWriter *w = writer_new(path, flags);

    write_events(w, events, flush_each);
    replay_log_writer_close(w, &error_abort);
}

/* --- Events that are read --------------------------------------------- */

static void check_event(const ReplayLogEvent *ev, const Event *e)
{
    const char *fields = replay_log_event_fields(e->kind);
    size_t n = strcspn(fields, "b");

    g_assert_cmpint(ev->kind, ==, e->kind);
    g_assert_cmpint(ev->n_nums, ==, n);
    for (size_t i = 0; i < n; i++) {
        g_assert_cmpint(ev->num[i], ==, e->num[i]);
    }
    g_assert_cmpint(!!ev->data, ==, fields[n] == 'b');
    g_assert_cmpmem(ev->data, ev->len_bytes, e->data, e->len_bytes);
    g_assert_cmpint(ev->number, ==, e->pos.event);
    g_assert_cmpint(ev->icount, ==, e->pos.icount);
    g_assert_cmpint(ev->packet, ==, e->pos.packet);
    g_assert_cmpint(ev->chunk, ==, e->pos.chunk);
}

/*
 * Reads to the end, and checks that the events are those in @events, beginning
 * with number @from.  Sets @n to the number of events that were read, and @err
 * to the message at the end.
 *
 * Returns: the status at the end.
 */
static ReplayLogStatus read_events(ReplayLogReader *r, GPtrArray *events,
                                   size_t from, size_t *n, Error **err)
{
    ReplayLogStatus status, again;
    ReplayLogEvent ev;
    Error *err_again = NULL;

    for (*n = 0; ; ++*n) {
        status = replay_log_read_event(r, &ev, err);
        if (status != REPLAY_LOG_OK) {
            break;
        }
        g_assert_null(*err);
        g_assert_cmpint(from + *n, <, events->len);
        check_event(&ev, g_ptr_array_index(events, from + *n));
    }
    check_message(*err);

    /* The status is final, and repeats. */
    again = replay_log_read_event(r, &ev, &err_again);
    g_assert_cmpint(again, ==, status);
    g_assert_cmpstr(error_get_pretty(err_again), ==, error_get_pretty(*err));
    error_free(err_again);
    g_assert_cmpint(replay_log_read_event(r, &ev, NULL), ==, status);
    return status;
}

static void check_reads(const char *path, GPtrArray *events,
                        ReplayLogStatus expected, size_t expected_n)
{
    ReplayLogReader *r = replay_log_reader_open(path, &error_abort);
    ReplayLogStatus status;
    ReplayLogInfo info;
    Error *err = NULL;
    size_t n;

    status = read_events(r, events, 0, &n, &err);
    g_assert_cmpint(status, ==, expected);
    g_assert_cmpint(n, ==, expected_n);
    error_free(err);

    info = replay_log_reader_info(r);
    g_assert_cmpint(info.complete, ==, expected == REPLAY_LOG_END);
    if (info.complete) {
        g_assert_cmpint(info.events, ==, expected_n);
    } else {
        g_assert_cmpint(info.events, <=, expected_n);
    }
    replay_log_reader_close(r);
}

/* --- Round trips ------------------------------------------------------ */

typedef struct RoundTrip {
    const char *name;
    unsigned flags;
    unsigned rounds;
    size_t len_max;
    int texture;
    unsigned flush_each;
    bool is_traffic;
} RoundTrip;

static GPtrArray *round_trip_events(const RoundTrip *t)
{
    return t->is_traffic ? traffic_new(t->rounds, t->len_max, t->texture)
                         : events_new(t->rounds, t->len_max, t->texture);
}

static const RoundTrip round_trips[] = {
    { "empty", REPLAY_LOG_COMPRESS },
    { "small", 0, 2, 20, 256 },
    { "small-compressed", REPLAY_LOG_COMPRESS, 40, 20, 4 },
    { "many-chunks", 0, 300, 1500, 256 },
    { "many-chunks-compressed", REPLAY_LOG_COMPRESS, 300, 1500, 3 },
    { "incompressible", REPLAY_LOG_COMPRESS, 300, 1500, 256 },
    { "flushed-each", REPLAY_LOG_COMPRESS, 10, 20, 256, 1 },
    { "flushed", REPLAY_LOG_COMPRESS, 100, 100, 8, 7 },
    { "packets-apart", REPLAY_LOG_COMPRESS, 500, 1514, 256,
      .is_traffic = true },
    { "packets-apart-flushed", REPLAY_LOG_COMPRESS, 50, 1514, 256, 30,
      .is_traffic = true },
    { "huge-packets-apart", REPLAY_LOG_COMPRESS, 4, REPLAY_LOG_DATA_MAX_BYTES,
      256, .is_traffic = true },
    { "huge-events", 0, 2, REPLAY_LOG_DATA_MAX_BYTES, 256 },
    { "huge-events-compressed", REPLAY_LOG_COMPRESS, 2,
      REPLAY_LOG_DATA_MAX_BYTES, 5 },
};

static void test_round_trip(gconstpointer opaque)
{
    const RoundTrip *t = opaque;
    g_autofree char *path = test_path();
    g_autoptr(GPtrArray) events = round_trip_events(t);

    record(path, t->flags, events, t->flush_each);
    check_reads(path, events, REPLAY_LOG_END, events->len);
}

static void test_largest_event(void)
{
    g_autofree char *path = test_path();
    g_autoptr(GPtrArray) events = events_new(0, 0, 0);
    int i;

    for (i = 0; i < 3; i++) {
        g_ptr_array_add(events, event_new(REPLAY_EV_ASYNC_NET,
                                          REPLAY_LOG_DATA_MAX_BYTES, 256));
    }
    record(path, REPLAY_LOG_COMPRESS, events, 0);
    check_reads(path, events, REPLAY_LOG_END, 3);
}

static void test_description(void)
{
    g_autofree char *path = test_path();
    g_autofree char *too_long = g_strnfill(REPLAY_LOG_DESC_STR_MAX + 9, 'x');
    g_autoptr(ReplayLogDescription) d = replay_log_description_new();
    const ReplayLogDescription *got;
    ReplayLogWriter *w;
    ReplayLogReader *r;
    const char *key, *value;
    QemuUUID uuid;
    size_t i;

    replay_log_description_add(d, "machine", "pc");
    replay_log_description_add(d, "hostile", "a\033[2Jb\x7f\xc2\x9b");
    replay_log_description_add(d, "latin1", "caf\xe9");
    replay_log_description_add(d, "turned", "gpj.\xe2\x80\xae" "exe");
    replay_log_description_add(d, "long", too_long);
    replay_log_description_add(d, "empty", "");
    w = replay_log_writer_open(path, 0, &error_abort);
    uuid = *replay_log_writer_uuid(w);
    g_assert_false(qemu_uuid_is_null(&uuid));
    replay_log_writer_describe(w, d, &error_abort);
    replay_log_writer_close(w, &error_abort);

    r = replay_log_reader_open(path, &error_abort);
    g_assert_true(qemu_uuid_is_equal(&uuid, replay_log_reader_uuid(r)));
    got = replay_log_reader_description(r);
    g_assert_cmpint(replay_log_description_count(got), ==, 6);
    for (i = 0; i < 6; i++) {
        const char *value_of_d;
        const char *key_of_d = replay_log_description_nth(d, i, &value_of_d);

        key = replay_log_description_nth(got, i, &value);
        g_assert_cmpstr(key, ==, key_of_d);
        g_assert_cmpstr(value, ==, value_of_d);
        g_assert_true(value == replay_log_description_get(got, key));
    }
    g_assert_cmpstr(replay_log_description_get(got, "hostile"), ==,
                    "a?[2Jb??");
    g_assert_cmpstr(replay_log_description_get(got, "latin1"), ==,
                    "caf\xef\xbf\xbd");
    g_assert_cmpstr(replay_log_description_get(got, "turned"), ==,
                    "gpj.?exe");
    g_assert_cmpint(strlen(replay_log_description_get(got, "long")), ==,
                    REPLAY_LOG_DESC_STR_MAX);
    g_assert_null(replay_log_description_get(got, "none"));
    replay_log_reader_close(r);
}

static void test_description_adapters(void)
{
    g_autoptr(ReplayLogDescription) d = replay_log_description_new();

    replay_log_description_add(d, "adapter", "a key without the prefix's dot");
    replay_log_description_add(d, REPLAY_LOG_KEY_ADAPTER "n1", "NIC e1000");
    replay_log_description_add(d, REPLAY_LOG_KEY_INFO REPLAY_LOG_KEY_ADAPTER
                               "n1.backend", "user");
    replay_log_description_add(d, "ram", "134217728");
    replay_log_description_add(d, REPLAY_LOG_KEY_ADAPTER "n0.x", "no NIC");
    replay_log_description_add(d, REPLAY_LOG_KEY_ADAPTER, "no name");

    g_assert_cmpstr(replay_log_description_adapter(d, 0), ==, "n1");
    g_assert_cmpstr(replay_log_description_adapter(d, 1), ==, "n0.x");
    g_assert_cmpstr(replay_log_description_adapter(d, 2), ==, "");
    g_assert_null(replay_log_description_adapter(d, 3));
    g_assert_null(replay_log_description_adapter(d, UINT64_MAX));
}

static void test_description_no_adapters(void)
{
    g_autoptr(ReplayLogDescription) none = replay_log_description_new();
    g_autoptr(ReplayLogDescription) others = description_new();

    g_assert_null(replay_log_description_adapter(none, 0));
    g_assert_null(replay_log_description_adapter(others, 0));
}

static void test_description_too_large(void)
{
    g_autofree char *path = test_path();
    g_autofree char *value = g_strnfill(REPLAY_LOG_DESC_STR_MAX, 'x');
    g_autoptr(ReplayLogDescription) d = replay_log_description_new();
    ReplayLogWriter *w = replay_log_writer_open(path, 0, &error_abort);
    Error *err = NULL;
    int i;

    for (i = 0; i < REPLAY_LOG_DESC_MAX; i++) {
        g_autofree char *key = g_strdup_printf("key%d", i);

        replay_log_description_add(d, key, value);
    }
    g_assert_false(replay_log_writer_describe(w, d, &err));
    check_message_has(err, "but the limit is 1048576");
    replay_log_writer_close(w, &error_abort);
}

static void test_description_too_many(void)
{
    g_autofree char *path = test_path();
    g_autoptr(ReplayLogDescription) d = replay_log_description_new();
    ReplayLogWriter *w = replay_log_writer_open(path, 0, &error_abort);
    Error *err = NULL;
    int i;

    for (i = 0; i < REPLAY_LOG_DESC_MAX + 1; i++) {
        g_autofree char *key = g_strdup_printf("key%d", i);

        replay_log_description_add(d, key, "");
    }
    g_assert_false(replay_log_writer_describe(w, d, &err));
    check_message_has(err, "has 1025 entries, but the limit is 1024");
    replay_log_writer_close(w, &error_abort);
}

static int check_event_name(uint8_t kind, const char *name, const char *text,
                            const char *fields)
{
    g_autofree char *low = g_ascii_strdown(name, -1);
    size_t n = strcspn(fields, "b");

    g_assert_cmpstr(text, ==, g_strdelimit(low, "_", '-'));
    g_assert_cmpstr(replay_log_event_name(kind), ==, text);
    g_assert_cmpstr(replay_log_event_fields(kind), ==, fields);
    g_assert_cmpint(strspn(fields, "usci"), ==, n);
    g_assert_cmpint(n, <=, REPLAY_LOG_NUMS_MAX);
    g_assert_true(!fields[n] || !fields[n + 1]);        /* b is last */
    return 1;
}

static void test_event_names(void)
{
    int n = 0;

#define CHECK_EVENT(number, name, text, fields) \
    n += check_event_name(number, #name, text, fields);
    REPLAY_LOG_EVENTS(CHECK_EVENT)
#undef CHECK_EVENT

    for (int kind = 0; kind < REPLAY_LOG_KINDS; kind++) {
        g_assert_cmpint(!replay_log_event_name(kind), ==,
                        !replay_log_event_fields(kind));
        n -= replay_log_event_name(kind) != NULL;
    }
    g_assert_cmpint(n, ==, 0);
}

static void test_crc32c(void)
{
    uint8_t data[64];
    size_t i, from, len;

    for (i = 0; i < sizeof(data); i++) {
        data[i] = g_test_rand_int();
    }
    g_assert_cmphex(replay_log_crc32c(0, "123456789", 9), ==, 0xe3069283);
    for (from = 0; from < 8; from++) {
        for (len = 0; from + len <= sizeof(data); len++) {
            uint32_t crc = replay_log_crc32c(0, data + from, len / 2);

            crc = replay_log_crc32c(crc, data + from + len / 2, len - len / 2);
            g_assert_cmphex(crc, ==, crc32c(0xffffffff, data + from, len));
        }
    }
}

static void test_stats(void)
{
    g_autofree char *path = test_path();
    uint64_t num[2] = { 0 };
    ReplayLogWriter *w = writer_new(path, 0);
    ReplayLogStats before = replay_log_writer_stats(w);
    ReplayLogStats stats;

    g_assert_cmpint(before.stored_bytes, >, REPLAY_LOG_HEADER_BYTES +
                    REPLAY_LOG_CHUNK_HDR_BYTES);
    replay_log_writer_name_adapter(w, 0, "net0");
    replay_log_writer_name_adapter(w, UINT_MAX, "beyond");
    replay_log_write_event(w, REPLAY_EV_INTERRUPT, NULL, NULL, 0);
    replay_log_write_event(w, REPLAY_EV_ASYNC_NET, num, "packet", 6);
    num[0] = UINT64_MAX;
    replay_log_write_event(w, REPLAY_EV_ASYNC_NET, num, NULL, 0);
    replay_log_writer_flush(w, &error_abort);
    replay_log_writer_flush(w, &error_abort);

    stats = replay_log_writer_stats(w);
    g_assert_cmpint(stats.events, ==, 3);
    g_assert_cmpint(stats.packets, ==, 2);
    g_assert_cmpint(stats.packet_bytes, ==, 6);
    g_assert_cmpint(stats.raw_bytes, ==, 1 + (4 + 6) + (1 + 10 + 1 + 1));
    g_assert_cmpint(stats.stored_bytes, ==, before.stored_bytes +
                    REPLAY_LOG_CHUNK_HDR_BYTES + stats.raw_bytes);
    replay_log_writer_close(w, &error_abort);
}

/* After a chunk that is too small to shrink, the next one is deflated. */
static void test_small_chunk(void)
{
    g_autofree char *path = test_path();
    ReplayLogWriter *w = writer_new(path, REPLAY_LOG_COMPRESS);
    ReplayLogStats stats;
    unsigned i;

    replay_log_write_event(w, REPLAY_EV_INTERRUPT, NULL, NULL, 0);
    replay_log_writer_flush(w, &error_abort);
    for (i = 0; i < 40000; i++) {
        replay_log_write_event(w, REPLAY_EV_INTERRUPT, NULL, NULL, 0);
    }
    replay_log_writer_flush(w, &error_abort);
    stats = replay_log_writer_stats(w);
    g_assert_cmpint(stats.raw_bytes, ==, 40001);
    g_assert_cmpint(stats.stored_bytes, <, 2000);
    replay_log_writer_close(w, &error_abort);
}

static void test_info(void)
{
    g_autofree char *path = test_path();
    g_autoptr(GPtrArray) events = events_new(100, 1000, 4);
    ReplayLogWriter *w = writer_new(path, REPLAY_LOG_COMPRESS);
    ReplayLogReader *r;
    ReplayLogStats stats;
    ReplayLogInfo info;
    ReplayLogEvent ev;
    ReplayLogPos end;
    struct stat st;

    write_events(w, events, 0);
    replay_log_writer_flush(w, &error_abort);
    stats = replay_log_writer_stats(w);
    end = replay_log_writer_pos(w);
    r = replay_log_reader_open(path, &error_abort);
    info = replay_log_reader_info(r);
    g_assert_false(info.complete);
    g_assert_cmpint(info.chunks, ==, end.chunk);
    g_assert_cmpint(info.file_bytes, ==, stats.stored_bytes);
    g_assert_cmpint(info.raw_bytes, ==, stats.raw_bytes);

    /* The file grows while it is open, and the reader keeps its place. */
    g_assert_cmpint(replay_log_read_event(r, &ev, &error_abort), ==,
                    REPLAY_LOG_OK);
    replay_log_writer_close(w, &error_abort);
    info = replay_log_reader_info(r);
    g_assert_true(info.complete);
    g_assert_cmpint(info.chunks, ==, end.chunk + 1);
    g_assert_cmpint(info.events, ==, end.event);
    g_assert_cmpint(info.packets, ==, end.packet);
    g_assert_cmpint(info.icount, ==, end.icount);
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmpint(info.file_bytes, ==, st.st_size);
    g_assert_cmpint(replay_log_read_event(r, &ev, &error_abort), ==,
                    REPLAY_LOG_OK);
    g_assert_cmpint(ev.number, ==, 1);
    replay_log_reader_close(r);
}

/* What the end chunk says is what the events add up to. */
static void test_totals(void)
{
    g_autofree char *path = test_path();
    g_autofree ReplayLogTotals *totals = g_new(ReplayLogTotals, 1);
    g_autoptr(GPtrArray) events = events_new(100, 1000, 4);
    ReplayLogWriter *w = writer_new(path, REPLAY_LOG_COMPRESS);
    uint64_t by_kind[REPLAY_LOG_KINDS] = { };
    uint64_t packets[4] = { }, raw_bytes = 0;
    ReplayLogReader *r;
    ReplayLogEvent ev;
    unsigned i;

    g_assert_false(replay_log_is_recording("/dev/null"));
    write_events(w, events, 0);
    replay_log_writer_name_adapter(w, 2, "n2");
    replay_log_writer_flush(w, &error_abort);
    g_assert_true(replay_log_is_recording(path));
    r = replay_log_reader_open(path, &error_abort);
    g_assert_false(replay_log_reader_totals(r, totals));

    replay_log_writer_set_time(w, UINT64_C(0x0123456789abcdef));
    replay_log_writer_close(w, &error_abort);
    for (i = 0; i < events->len; i++) {
        g_assert_cmpint(replay_log_read_event(r, &ev, &error_abort), ==,
                        REPLAY_LOG_OK);
        by_kind[ev.kind]++;
        raw_bytes += ev.raw_bytes;
        if (ev.kind == REPLAY_EV_ASYNC_NET) {
            packets[ev.num[0]]++;
        }
        if (i == events->len / 2) {
            /* The reader keeps its place. */
            g_assert_true(replay_log_reader_totals(r, totals));
        }
    }
    g_assert_cmpint(raw_bytes, ==, replay_log_reader_info(r).raw_bytes);
    g_assert_cmpint(totals->events, ==, events->len);
    g_assert_cmpint(totals->icount, ==, replay_log_reader_pos(r).icount);
    g_assert_cmpint(totals->packets, ==, replay_log_reader_pos(r).packet);
    g_assert_cmpint(totals->chunks, ==, replay_log_reader_info(r).chunks);
    g_assert_cmpint(totals->file_bytes, ==,
                    replay_log_reader_info(r).file_bytes);
    g_assert_true(totals->has_time);
    g_assert_cmphex(totals->time_ns, ==, UINT64_C(0x0123456789abcdef));
    for (i = 0; i < REPLAY_LOG_KINDS; i++) {
        g_assert_cmpint(totals->by_kind[i], ==, by_kind[i]);
    }
    g_assert_cmpint(totals->n_adapters, ==, 4);
    for (i = 0; i < 4; i++) {
        g_assert_cmpint(totals->adapter[i].packets, ==, packets[i]);
        g_assert_cmpstr(totals->adapter[i].name, ==, i == 2 ? "n2" : "");
    }
    replay_log_reader_close(r);
}

/* --- Places ----------------------------------------------------------- */

static void check_seek(ReplayLogReader *r, GPtrArray *events, size_t i,
                       const ReplayLogPos *pos)
{
    ReplayLogPos now;
    ReplayLogEvent ev;

    replay_log_reader_seek(r, pos, &error_abort);
    now = replay_log_reader_pos(r);
    g_assert_cmpint(now.event, ==, i);
    g_assert_cmpint(now.icount, ==, pos->icount);
    g_assert_cmpint(now.packet, ==, pos->packet);
    if (i < events->len) {
        g_assert_cmpint(replay_log_read_event(r, &ev, &error_abort), ==,
                        REPLAY_LOG_OK);
        check_event(&ev, g_ptr_array_index(events, i));
    } else {
        g_assert_cmpint(replay_log_read_event(r, &ev, NULL), !=,
                        REPLAY_LOG_OK);
    }
}

static const RoundTrip seeks[] = {
    { "nothing" },
    { "chunks", 0, 40, 500, 256, 60 },
    { "chunks-compressed", REPLAY_LOG_COMPRESS, 100, 500, 4 },
    { "packets-apart", REPLAY_LOG_COMPRESS, 300, 1514, 256,
      .is_traffic = true },
};

/* Seeks to places from @start to @end in random order, then reads all. */
static void check_seeks(const char *path, GPtrArray *events,
                        const ReplayLogPos *start, const ReplayLogPos *end,
                        ReplayLogStatus expected)
{
    g_autofree ReplayLogPos *reader_pos = g_new(ReplayLogPos, events->len + 1);
    ReplayLogReader *r = replay_log_reader_open(path, &error_abort);
    ReplayLogEvent ev;
    Error *err = NULL;
    size_t i, n;

    check_seek(r, events, 0, start);
    replay_log_reader_seek(r, start, &error_abort);
    for (i = 0; i < events->len; i++) {
        reader_pos[i] = replay_log_reader_pos(r);
        g_assert_cmpint(replay_log_read_event(r, &ev, &error_abort), ==,
                        REPLAY_LOG_OK);
    }
    reader_pos[i] = replay_log_reader_pos(r);
    for (n = 0; n < MIN(events->len, 500); n++) {
        Event *e;

        i = g_test_rand_int_range(0, events->len);
        e = g_ptr_array_index(events, i);
        check_seek(r, events, i, &e->pos);
        i = g_test_rand_int_range(0, events->len + 1);
        check_seek(r, events, i, &reader_pos[i]);
    }
    check_seek(r, events, events->len, end);
    check_seek(r, events, 0, start);
    g_assert_cmpint(read_events(r, events, 1 % (events->len + 1), &n, &err),
                    ==, expected);
    error_free(err);
    replay_log_reader_close(r);
}

static void test_seek(gconstpointer opaque)
{
    const RoundTrip *t = opaque;
    g_autofree char *path = test_path();
    g_autoptr(GPtrArray) events = round_trip_events(t);
    ReplayLogWriter *w = writer_new(path, t->flags);
    ReplayLogPos start = replay_log_writer_pos(w);
    ReplayLogPos end;

    write_events(w, events, t->flush_each);
    replay_log_writer_flush(w, &error_abort);
    end = replay_log_writer_pos(w);

    check_seeks(path, events, &start, &end, REPLAY_LOG_CUT);
    replay_log_writer_close(w, &error_abort);
    check_seeks(path, events, &start, &end, REPLAY_LOG_END);
}

/* Returns: whether there is a @way to make @pos wrong, and it did so. */
static bool make_pos_wrong(ReplayLogPos *pos, int way)
{
    switch (way) {
    case 0:
        pos->offset_bytes++;
        return true;
    case 1:
        pos->event++;
        return true;
    case 2:
        pos->packet++;
        return true;
    case 3:
        pos->icount++;
        return true;
    case 4:
        pos->chunk++;
        return true;
    case 5:
        pos->chunk = UINT32_MAX;
        return true;
    case 6:
        pos->offset_bytes = UINT32_MAX;
        return true;
    case 7:
        pos->chunk = 0;
        return true;
    case 8:
        pos->chunk = UINT32_MAX;
        pos->offset_bytes = 0;
        return true;
    case 9:
        memset(pos, 0xff, sizeof(*pos));
        return true;
    default:
        return false;
    }
}

static void test_seek_wrong_place(void)
{
    g_autofree char *path = test_path();
    g_autoptr(GPtrArray) events = events_new(20, 50, 256);
    ReplayLogReader *r;
    ReplayLogPos wrong;
    ReplayLogEvent ev;
    int i;

    record(path, 0, events, 100);
    r = replay_log_reader_open(path, &error_abort);
    for (i = 0; ; i++) {
        Event *e = g_ptr_array_index(events, 50 * i + 7);
        Error *err = NULL;

        wrong = e->pos;
        if (!make_pos_wrong(&wrong, i)) {
            break;
        }
        replay_log_reader_seek(r, &e->pos, &error_abort);
        g_assert_false(replay_log_reader_seek(r, &wrong, &err));
        check_message(err);
        error_free(err);
        g_assert_cmpint(replay_log_read_event(r, &ev, &error_abort), ==,
                        REPLAY_LOG_OK);
        check_event(&ev, e);
    }
    g_assert_cmpint(i, ==, 10);
    replay_log_reader_close(r);
}

/* The recording has more chunks than the index has entries. */
static void test_seek_thinned_index(void)
{
    g_autofree char *path = test_path();
    g_autoptr(GPtrArray) events = events_new(1300, 0, 256);
    ReplayLogReader *r;
    int n;

    record(path, 0, events, 1);
    r = replay_log_reader_open(path, &error_abort);
    g_assert_cmpint(replay_log_reader_info(r).chunks, >, 33000);
    for (n = 0; n < 100; n++) {
        int i = g_test_rand_int_range(0, events->len);
        Event *e = g_ptr_array_index(events, i);

        check_seek(r, events, i, &e->pos);
    }
    replay_log_reader_close(r);
}

/* --- The writer and its file ------------------------------------------ */

static void test_mode(void)
{
    g_autofree char *path = test_path();
    struct stat st;

    replay_log_writer_close(writer_new(path, 0), &error_abort);
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 0777, ==, 0600);
}

static void check_open_fails(const char *path, unsigned flags,
                             const char *part)
{
    Error *err = NULL;

    g_assert_null(replay_log_writer_open(path, flags, &err));
    check_message_has(err, part);
}

static void test_existing(void)
{
    g_autofree char *path = test_path();
    g_autoptr(GPtrArray) events = events_new(3, 20, 256);
    g_autoptr(GPtrArray) none = events_new(0, 0, 0);
    ReplayLogWriter *w;

    record(path, 0, events, 10);
    check_open_fails(path, 0, "already a recording: complete");
    check_reads(path, events, REPLAY_LOG_END, events->len);

    /* With REPLAY_LOG_OVERWRITE it is kept until the description. */
    w = replay_log_writer_open(path, REPLAY_LOG_OVERWRITE, &error_abort);
    check_reads(path, events, REPLAY_LOG_END, events->len);
    replay_log_writer_close(w, &error_abort);
    check_reads(path, events, REPLAY_LOG_END, events->len);

    record(path, REPLAY_LOG_OVERWRITE, none, 0);
    check_reads(path, none, REPLAY_LOG_END, 0);

    g_assert_cmpint(truncate(path, 200), ==, 0);
    check_open_fails(path, 0, "already a recording: cut");
    g_assert_true(g_file_set_contents(path, "#!/bin/sh\n", -1, NULL));
    check_open_fails(path, 0, "is not a recording that this QEMU can replay");

    g_assert_cmpint(truncate(path, 0), ==, 0);
    record(path, 0, events, 0);
    check_reads(path, events, REPLAY_LOG_END, events->len);
}

static void test_lock(void)
{
    g_autofree char *path = test_path();
    g_autoptr(GPtrArray) none = events_new(0, 0, 0);
    ReplayLogWriter *w = writer_new(path, 0);

    check_open_fails(path, 0, "another process is recording");
    check_open_fails(path, REPLAY_LOG_OVERWRITE,
                     "another process is recording");
    check_reads(path, none, REPLAY_LOG_CUT, 0);
    replay_log_writer_close(w, &error_abort);
    replay_log_writer_close(writer_new(path, REPLAY_LOG_OVERWRITE),
                            &error_abort);
}

static void test_no_file(void)
{
    g_autofree char *path = test_path();
    g_autofree char *below = g_strdup_printf("%s/below", path);
    Error *err = NULL;

    check_open_fails(tmp_dir, 0, "is a directory");
    check_open_fails(tmp_dir, REPLAY_LOG_OVERWRITE, "is a directory");
    check_open_fails(below, 0, "No such file");
    check_open_fails("/dev/null", REPLAY_LOG_OVERWRITE, "is a device");
    g_assert_cmpint(mkfifo(path, 0600), ==, 0);
    check_open_fails(path, REPLAY_LOG_OVERWRITE, "is a FIFO");

    g_assert_null(replay_log_reader_open(path, &err));
    check_message_has(err, "is a FIFO");
    err = NULL;
    g_assert_null(replay_log_reader_open(tmp_dir, &err));
    check_message_has(err, "is a directory");
    err = NULL;
    g_assert_null(replay_log_reader_open("/dev/null", &err));
    check_message_has(err, "is a device");
    err = NULL;
    g_assert_null(replay_log_reader_open(below, &err));
    check_message_has(err, "cannot open");
}

static void test_undescribed(void)
{
    g_autofree char *path = test_path();
    g_autoptr(GPtrArray) events = events_new(100, 2000, 256);
    g_autoptr(ReplayLogDescription) d = description_new();
    ReplayLogWriter *w = replay_log_writer_open(path, 0, &error_abort);
    struct stat st;

    write_events(w, events, 50);
    replay_log_writer_flush(w, &error_abort);
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, 0);
    replay_log_writer_describe(w, d, &error_abort);
    replay_log_writer_close(w, &error_abort);
    check_reads(path, events, REPLAY_LOG_END, events->len);

    w = replay_log_writer_open(path, REPLAY_LOG_OVERWRITE, &error_abort);
    g_assert_cmpint(truncate(path, 0), ==, 0);
    write_events(w, events, 0);
    replay_log_writer_close(w, &error_abort);
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, 0);
}

/* A kill loses only the events that the writer has not flushed. */
static void test_killed(void)
{
    g_autofree char *twin = test_path();
    g_autofree char *path = test_path();
    g_autoptr(GPtrArray) events = events_new(20, 100, 256);
    int status;
    pid_t pid;

    record(twin, 0, events, 100);       /* sets the places of the events */
    pid = fork();
    if (!pid) {
        write_events(writer_new(path, 0), events, 100);
        kill(getpid(), SIGKILL);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFSIGNALED(status));
    check_reads(path, events, REPLAY_LOG_CUT, events->len / 100 * 100);
}

/* Limits the size of files to @bytes. */
static void limit_file_size(rlim_t bytes)
{
    struct rlimit limit;

    signal(SIGXFSZ, SIG_IGN);
    g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &limit), ==, 0);
    limit.rlim_cur = MIN(bytes, limit.rlim_max);
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &limit), ==, 0);
}

/*
 * The file system is full for a while.  Meanwhile the events in the file can be
 * read.  Once there is room again, the recording becomes complete.
 */
static void test_full(void)
{
    g_autofree char *path = test_path();
    g_autoptr(GPtrArray) events = events_new(100, 1500, 256);
    ReplayLogWriter *w = writer_new(path, 0);
    ReplayLogReader *r;
    Error *err = NULL;
    struct stat st;
    bool ok = true;
    size_t i, n;

    limit_file_size(200 * 1000);
    for (i = 0; i < events->len; i++) {
        bool now = write_event(w, g_ptr_array_index(events, i));

        g_assert_true(ok || !now);      /* only a flush retries */
        ok = now;
        g_assert_cmpint(replay_log_writer_error(w), ==, ok ? 0 : EFBIG);
    }
    g_assert_false(ok);
    for (i = 0; i < 2; i++) {
        g_assert_false(replay_log_writer_flush(w, &err));
        check_message(err);
        g_assert_nonnull(strstr(error_get_pretty(err), path));
        g_assert_nonnull(strstr(error_get_pretty(err), strerror(EFBIG)));
        error_free(err);
        err = NULL;
    }

    /* The writer has removed the incomplete chunk. */
    r = replay_log_reader_open(path, &error_abort);
    g_assert_cmpint(read_events(r, events, 0, &n, &err), ==, REPLAY_LOG_CUT);
    error_free(err);
    err = NULL;
    g_assert_cmpint(n, >, 0);
    g_assert_cmpint(n, <, events->len);
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmpint(replay_log_writer_stats(w).stored_bytes, ==, st.st_size);
    replay_log_reader_close(r);

    limit_file_size(RLIM_INFINITY);
    replay_log_writer_flush(w, &error_abort);
    g_assert_cmpint(replay_log_writer_error(w), ==, 0);
    g_assert_true(replay_log_write_event(w, REPLAY_EV_INTERRUPT, NULL, NULL,
                                         0));
    g_ptr_array_add(events, event_new(REPLAY_EV_INTERRUPT, 0, 1));
    ((Event *)g_ptr_array_index(events, events->len - 1))->pos =
        replay_log_writer_pos(w);
    ((Event *)g_ptr_array_index(events, events->len - 1))->pos.event--;
    replay_log_writer_close(w, &error_abort);
    check_reads(path, events, REPLAY_LOG_END, events->len);
}

static void test_full_at_close(void)
{
    g_autofree char *path = test_path();
    g_autoptr(GPtrArray) events = events_new(100, 1500, 256);
    ReplayLogWriter *w = writer_new(path, 0);
    ReplayLogReader *r;
    Error *err = NULL;
    size_t i, n;

    limit_file_size(200 * 1000);
    for (i = 0; i < events->len; i++) {
        write_event(w, g_ptr_array_index(events, i));
    }
    g_assert_false(replay_log_writer_close(w, &err));
    limit_file_size(RLIM_INFINITY);
    check_message_has(err, "cannot write recording");
    err = NULL;
    r = replay_log_reader_open(path, &error_abort);
    g_assert_cmpint(read_events(r, events, 0, &n, &err), ==, REPLAY_LOG_CUT);
    error_free(err);
    g_assert_cmpint(n, >, 0);
    replay_log_reader_close(r);
}

static void test_full_at_description(void)
{
    g_autofree char *path = test_path();
    g_autoptr(ReplayLogDescription) d = description_new();
    ReplayLogWriter *w = replay_log_writer_open(path, 0, &error_abort);
    g_autoptr(GPtrArray) none = events_new(0, 0, 0);
    Error *err = NULL;
    struct stat st;

    limit_file_size(50);
    g_assert_false(replay_log_writer_describe(w, d, &err));
    limit_file_size(RLIM_INFINITY);
    check_message_has(err, "cannot write recording");
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, 0);
    replay_log_writer_describe(w, d, &error_abort);
    replay_log_writer_close(w, &error_abort);
    check_reads(path, none, REPLAY_LOG_END, 0);
}

/* The file system is full until the writer may not keep more events. */
static void test_full_for_too_long(void)
{
    g_autofree char *path = test_path();
    g_autoptr(GPtrArray) events = events_new(0, 0, 0);
    ReplayLogWriter *w = writer_new(path, 0);
    ReplayLogPos last;
    Error *err = NULL;
    int i, fits = 0;

    limit_file_size(200 * 1000);
    for (i = 0; i < 200; i++) {
        g_ptr_array_add(events, event_new(REPLAY_EV_ASYNC_NET, 0, 1));
    }
    for (i = 0; i < 200; i++) {
        Event *e = g_ptr_array_index(events, i);

        e->len_bytes = REPLAY_LOG_DATA_MAX_BYTES;
        g_free(e->data);
        e->data = g_malloc0(e->len_bytes);
        last = replay_log_writer_pos(w);
        write_event(w, e);
        fits += replay_log_writer_pos(w).event > last.event;
    }
    g_assert_cmpint(fits, >, 120);
    g_assert_cmpint(fits, <, 130);
    limit_file_size(RLIM_INFINITY);
    g_assert_false(replay_log_writer_flush(w, &err));
    check_message_has(err, "has ended");
    g_assert_cmpint(replay_log_writer_error(w), ==, ENOBUFS);
    g_assert_false(write_event(w, g_ptr_array_index(events, 0)));
    err = NULL;
    ((Event *)g_ptr_array_index(events, 0))->pos = (ReplayLogPos) {
        .chunk = 1,
    };
    g_assert_false(replay_log_writer_close(w, &err));
    check_message_has(err, "has ended");
    check_reads(path, events, REPLAY_LOG_CUT, fits);
}

/* --- Damage ----------------------------------------------------------- */

typedef struct Bytes {
    uint8_t *data;
    size_t len;
} Bytes;

static Bytes bytes_of(const char *path)
{
    Bytes b;

    g_assert_true(g_file_get_contents(path, (char **)&b.data, &b.len, NULL));
    return b;
}

/* Returns: a few events of all kinds, one of which can be deflated. */
static GPtrArray *small_events(void)
{
    GPtrArray *events = events_new(3, 12, 2);

    g_ptr_array_insert(events, 20, event_new(REPLAY_EV_RANDOM, 500, 1));
    return events;
}

/* Returns: the bytes of a small recording with several chunks. */
static Bytes small_recording(const char *path, GPtrArray *events)
{
    ReplayLogWriter *w = writer_new(path, REPLAY_LOG_COMPRESS);
    unsigned i;

    replay_log_writer_name_adapter(w, 0, "net0");
    for (i = 0; i < events->len; i++) {
        write_event(w, g_ptr_array_index(events, i));
        if (i % 30 == 29) {
            replay_log_writer_flush(w, &error_abort);
        }
    }
    replay_log_writer_set_time(w, 12345);
    replay_log_writer_close(w, &error_abort);
    return bytes_of(path);
}

/*
 * Checks that the events which can be read are the first ones of @events.
 *
 * Returns: the status after them.
 */
static ReplayLogStatus read_damaged(const char *path, GPtrArray *events)
{
    Error *err = NULL;
    ReplayLogReader *r = replay_log_reader_open(path, &err);
    ReplayLogStatus status;
    ReplayLogPos pos = { .chunk = 2 };
    Error *err_seek = NULL;
    size_t n;

    if (!r) {
        check_message(err);
        g_assert_nonnull(strstr(error_get_pretty(err), path));
        error_free(err);
        return REPLAY_LOG_DAMAGED;
    }
    status = read_events(r, events, 0, &n, &err);
    g_assert_nonnull(strstr(error_get_pretty(err), path));
    error_free(err);

    /* Info and seeking survive the damage, too. */
    replay_log_reader_info(r);
    if (!replay_log_reader_seek(r, &pos, &err_seek)) {
        check_message(err_seek);
        error_free(err_seek);
    }
    replay_log_reader_close(r);
    return status;
}

static void test_flipped_byte(void)
{
    static const uint8_t patterns[] = { 0x01, 0x80, 0xff };
    g_autofree char *path = test_path();
    g_autoptr(GPtrArray) events = small_events();
    Bytes b = small_recording(path, events);
    int fd = open(path, O_RDWR);
    size_t i, k;

    g_assert_cmpint(b.len, <, 4000);
    for (i = 0; i < b.len; i++) {
        for (k = 0; k < ARRAY_SIZE(patterns); k++) {
            uint8_t flipped = b.data[i] ^ patterns[k];

            g_assert_cmpint(pwrite(fd, &flipped, 1, i), ==, 1);
            g_assert_cmpint(read_damaged(path, events), ==,
                            REPLAY_LOG_DAMAGED);
        }
        g_assert_cmpint(pwrite(fd, b.data + i, 1, i), ==, 1);
    }
    close(fd);
    g_free(b.data);
    check_reads(path, events, REPLAY_LOG_END, events->len);
}

static void test_truncated(void)
{
    g_autofree char *path = test_path();
    g_autoptr(GPtrArray) events = small_events();
    Bytes b = small_recording(path, events);
    size_t described = 0;
    size_t len;

    for (len = b.len - 1; len > 0; len--) {
        ReplayLogStatus status;

        g_assert_cmpint(truncate(path, len), ==, 0);
        status = read_damaged(path, events);
        if (status == REPLAY_LOG_CUT) {
            g_assert_cmpint(described, ==, 0);
        } else {
            g_assert_cmpint(status, ==, REPLAY_LOG_DAMAGED);
            described = described ?: len + 1;
        }
    }
    /* A cut after the description leaves a recording that can be read. */
    g_assert_cmpint(described, ==, REPLAY_LOG_HEADER_BYTES +
                    REPLAY_LOG_CHUNK_HDR_BYTES +
                    ldl_le_p(b.data + REPLAY_LOG_HEADER_BYTES + 8));
    g_free(b.data);
}

/* Each chunk is whole, but a chunk is not in its place. */
static void test_moved_chunks(void)
{
    g_autofree char *path = test_path();
    g_autofree char *other = test_path();
    g_autoptr(GPtrArray) events = small_events();
    Bytes b = small_recording(path, events);
    Bytes b_other = small_recording(other, events);
    size_t offset[16];
    size_t i, n;

    offset[0] = REPLAY_LOG_HEADER_BYTES;
    for (n = 0; offset[n] < b.len; n++) {
        offset[n + 1] = offset[n] + REPLAY_LOG_CHUNK_HDR_BYTES +
                        ldl_le_p(b.data + offset[n] + 8);
    }
    g_assert_cmpint(n, >=, 4);
    for (i = 0; i < n; i++) {
        g_autoptr(GString) s = g_string_new_len((char *)b.data, b.len);

        /* A chunk is missing. */
        g_string_erase(s, offset[i], offset[i + 1] - offset[i]);
        g_file_set_contents(path, s->str, s->len, NULL);
        g_assert_cmpint(read_damaged(path, events), ==,
                        i == n - 1 ? REPLAY_LOG_CUT : REPLAY_LOG_DAMAGED);
        /* A chunk is there twice. */
        g_string_truncate(s, 0);
        g_string_append_len(s, (char *)b.data, offset[i + 1]);
        g_string_append_len(s, (char *)b.data + offset[i],
                            b.len - offset[i]);
        g_file_set_contents(path, s->str, s->len, NULL);
        g_assert_cmpint(read_damaged(path, events), ==, REPLAY_LOG_DAMAGED);
        /* The last chunks belong to an older recording. */
        g_string_truncate(s, 0);
        g_string_append_len(s, (char *)b.data, offset[i]);
        g_string_append_len(s, (char *)b_other.data + offset[i],
                            b_other.len - offset[i]);
        g_file_set_contents(path, s->str, s->len, NULL);
        g_assert_cmpint(read_damaged(path, events), ==, REPLAY_LOG_DAMAGED);
    }
    g_free(b.data);
    g_free(b_other.data);
}

/* --- Hand-made files -------------------------------------------------- */

#define FORGED_UUID "0123456789abcdef"
#define FORGED_TAG  0x33323130

static void forge_header(GByteArray *f, uint32_t version, uint32_t flags,
                         uint32_t reserved)
{
    uint8_t p[REPLAY_LOG_HEADER_BYTES] = "\x89QRR\r\n\x1a\n";

    stl_le_p(p + 8, version);
    stl_le_p(p + 12, flags);
    memcpy(p + 16, FORGED_UUID, 16);
    stl_le_p(p + 32, reserved);
    stl_le_p(p + 36, crc32c(0xffffffff, p, 36));
    g_byte_array_append(f, p, sizeof(p));
}

typedef struct Forged {
    uint16_t kind;
    uint16_t flags;
    uint32_t seq;
    uint32_t stored_bytes;
    uint32_t raw_bytes;
    uint64_t icount;
    uint64_t event;
    uint64_t packet;
    uint32_t tag;
    const void *payload;
    size_t payload_len;
} Forged;

#define PAYLOAD(bytes) \
    .payload = (bytes), .payload_len = sizeof(bytes) - 1, \
    .stored_bytes = sizeof(bytes) - 1, .raw_bytes = sizeof(bytes) - 1

static void forge_chunk(GByteArray *f, const Forged *c)
{
    uint8_t p[REPLAY_LOG_CHUNK_HDR_BYTES];

    stw_le_p(p, c->kind);
    stw_le_p(p + 2, c->flags);
    stl_le_p(p + 4, c->seq);
    stl_le_p(p + 8, c->stored_bytes);
    stl_le_p(p + 12, c->raw_bytes);
    stq_le_p(p + 16, c->icount);
    stq_le_p(p + 24, c->event);
    stq_le_p(p + 32, c->packet);
    stl_le_p(p + 40, c->tag ?: FORGED_TAG);
    stl_le_p(p + 44, crc32c(0xffffffff, c->payload, c->payload_len));
    stl_le_p(p + 48, crc32c(0xffffffff, p, 48));
    g_byte_array_append(f, p, sizeof(p));
    g_byte_array_append(f, c->payload, c->payload_len);
}

static void forge_begin(GByteArray *f)
{
    Forged desc = { 1, PAYLOAD("\1k\1v") };

    forge_header(f, REPLAY_LOG_VERSION, 0, 0);
    forge_chunk(f, &desc);
}

/* Appends a valid end chunk for a recording of @events INTERRUPTs. */
static void forge_end(GByteArray *f, uint32_t seq, uint8_t events)
{
    uint8_t p[] = {
        0, events, 1, REPLAY_EV_INTERRUPT, events, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0
    };
    Forged end = {
        3, .seq = seq, .stored_bytes = sizeof(p), .raw_bytes = sizeof(p),
        .event = events, .payload = p, .payload_len = sizeof(p)
    };

    stq_le_p(p + 7, f->len);
    forge_chunk(f, &end);
}

static void check_bytes(const void *data, size_t len, ReplayLogStatus expected,
                        size_t expected_n, const char *part)
{
    g_autofree char *path = test_path();
    ReplayLogPos pos = { .chunk = 1 };
    ReplayLogReader *r;
    ReplayLogStatus status;
    ReplayLogEvent ev;
    Error *err = NULL;
    size_t n = 0;

    g_assert_true(g_file_set_contents(path, data, len, NULL));
    r = replay_log_reader_open(path, &err);
    if (!r) {
        g_assert_cmpint(expected, ==, REPLAY_LOG_IO_ERROR);
        check_message_has(err, part);
        return;
    }
    do {
        status = replay_log_read_event(r, &ev, &err);
        n += status == REPLAY_LOG_OK;
    } while (status == REPLAY_LOG_OK);
    g_assert_cmpint(status, ==, expected);
    g_assert_cmpint(n, ==, expected_n);
    check_message_has(err, part);
    replay_log_reader_info(r);
    replay_log_reader_seek(r, &pos, NULL);
    pos.chunk++;
    replay_log_reader_seek(r, &pos, NULL);
    replay_log_reader_close(r);
    g_unlink(path);
}

/* The first bytes of a file that is not a recording. */
typedef struct Foreign {
    const char *name;
    const char *bytes;
    size_t len;
    const char *part;
} Foreign;

#define BYTES(b) .bytes = (b), .len = sizeof(b) - 1

static const Foreign foreign[] = {
    { "empty-file", BYTES(""), .part = "is empty" },
    { "foreign-file", BYTES("\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\3\0>\0\1"),
      .part = "is not a recording" },
    { "one-byte", BYTES("x"), .part = "is not a recording" },
    { "text-mode", BYTES("\x89QRR\n\x1a\n\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
      .part = "damaged in its first bytes" },
    { "cut-magic", BYTES("\x89QR"), .part = "is cut within its header" },
    { "cut-version", BYTES("\x89QRR\r\n\x1a\n\1\0"),
      .part = "is cut within its header" },
    { "cut-header", BYTES("\x89QRR\r\n\x1a\n\1\0\0\0\0\0\0\0xxxx"),
      .part = "is cut within its header" },
    { "newer", BYTES("\x89QRR\r\n\x1a\n\2\0\0\0"),
      .part = "newer format: version 2" },
    { "old-7.2", BYTES("\0\xe0\x20\x0c\0\0\0\0\0\0\0\0\0\1\2\3"),
      .part = "version 0xe0200c: an unmodified QEMU 7.1 to 10.2" },
    { "old-newer", BYTES("\0\xe0\x20\x0d\0\0\0\0\0\0\0\0\0\1\2\3"),
      .part = "version 0xe0200d: an unmodified QEMU newer than 10.2" },
    { "old-newest", BYTES("\0\xe0\x20\x0e\0\0\0\0\0\0\0\0\0\1\2\3"),
      .part = "version 0xe0200e: an unmodified QEMU newer than 10.2" },
    { "old-older", BYTES("\0\xe0\x20\x09\0\0\0\0\0\0\0\0\0\1\2\3"),
      .part = "version 0xe02009: an unmodified QEMU older than 7.1" },
    { "old-killed", BYTES("\0\0\0\0\0\0\0\0\0\0\0\0\0\1\2\3"),
      .part = "begins with zeros" },
};

static void test_foreign(gconstpointer opaque)
{
    const Foreign *t = opaque;

    check_bytes(t->bytes, t->len, REPLAY_LOG_IO_ERROR, 0, t->part);
}

/* A header with a correct checksum, but with unknown values. */
typedef struct ForgedHeader {
    const char *name;
    uint32_t version;
    uint32_t flags;
    uint32_t reserved;
    const char *part;
} ForgedHeader;

static const ForgedHeader forged_headers[] = {
    { "newer-version", 2, 0, 0, "newer format: version 2" },
    { "newest-version", UINT32_MAX, 0, 0, "newer format" },
    { "version-0", 0, 0, 0, "version 0" },
    { "unknown-flags", 1, 0x80000000, 0, "flags 0x80000000" },
    { "reserved", 1, 0, 5, "reserved 0x5" },
};

static void test_header(gconstpointer opaque)
{
    const ForgedHeader *t = opaque;
    g_autoptr(GByteArray) f = g_byte_array_new();
    Forged desc = { 1, PAYLOAD("\1k\1v") };

    forge_header(f, t->version, t->flags, t->reserved);
    forge_chunk(f, &desc);
    check_bytes(f->data, f->len, REPLAY_LOG_IO_ERROR, 0, t->part);
}

/* The first chunk of a file. */
typedef struct ForgedChunk {
    const char *name;
    const char *part;
    Forged c;
    size_t events;              /* read before the error is found */
} ForgedChunk;

static const ForgedChunk forged_descriptions[] = {
    { "no-description", "not a description", { 2, PAYLOAD("\1") } },
    { "no-description-end", "not a description", { 3, PAYLOAD("\1") } },
    { "duplicate-key", "a duplicate key", { 1, PAYLOAD("\1k\1v\1k\1w") } },
    { "empty-key", "an empty key", { 1, PAYLOAD("\0\1v") } },
    { "key-without-value", "incomplete", { 1, PAYLOAD("\1k") } },
    { "value-beyond-end", "incomplete", { 1, PAYLOAD("\1k\2v") } },
    { "string-too-long", "too long",
      { 1, PAYLOAD("\xff\xff\xff\xff\xff\xff\xff\xff\xff\1k\1v") } },
    { "length-not-whole", "incomplete", { 1, PAYLOAD("\x80") } },
    { "key-escape", "not text", { 1, PAYLOAD("\3\33[m\1v") } },
    { "value-nul", "not text", { 1, PAYLOAD("\1k\1\0") } },
    { "value-delete", "not text", { 1, PAYLOAD("\1k\1\177") } },
    { "value-c1", "not text", { 1, PAYLOAD("\1k\2\xc2\x9b") } },
    { "value-not-utf8", "not text", { 1, PAYLOAD("\1k\1\xff") } },
    { "description-seq", "has number 1", { 1, .seq = 1, PAYLOAD("\1k\1v") } },
    { "description-event", "begin at instruction, event and packet 0",
      { 1, .event = 1, PAYLOAD("\1k\1v") } },
    { "description-flags", "flags 0x8",
      { 1, .flags = 8, PAYLOAD("\1k\1v") } },
    { "description-tag", "another recording",
      { 1, .tag = 1, PAYLOAD("\1k\1v") } },
    { "description-apart", "has no deflated events",
      { 1, .flags = 6, PAYLOAD("\1k\1v") } },
    { "description-not-deflated", "does not inflate to the length",
      { 1, .flags = 2, PAYLOAD("\1k\1v") } },
};

static void test_forged_description(gconstpointer opaque)
{
    const ForgedChunk *t = opaque;
    g_autoptr(GByteArray) f = g_byte_array_new();

    forge_header(f, REPLAY_LOG_VERSION, 0, 0);
    forge_chunk(f, &t->c);
    check_bytes(f->data, f->len, REPLAY_LOG_IO_ERROR, 0, t->part);
}

/* A description of a stranger turns the direction of text. */
static void test_forged_direction(void)
{
    g_autoptr(GByteArray) f = g_byte_array_new();
    g_autofree char *path = test_path();
    Forged desc = { 1, PAYLOAD("\1k\10a\xe2\x80\xae" "b\xd8\x9c" "c") };
    ReplayLogReader *r;

    forge_header(f, REPLAY_LOG_VERSION, 0, 0);
    forge_chunk(f, &desc);
    g_file_set_contents(path, (char *)f->data, f->len, NULL);
    r = replay_log_reader_open(path, &error_abort);
    g_assert_cmpstr(replay_log_description_get(
                        replay_log_reader_description(r), "k"), ==, "a?b?c");
    replay_log_reader_close(r);
}

static void test_too_many_keys(void)
{
    g_autoptr(GByteArray) f = g_byte_array_new();
    g_autoptr(GString) payload = g_string_new(NULL);
    Forged desc = { 1 };
    int i;

    for (i = 0; i <= REPLAY_LOG_DESC_MAX; i++) {
        g_string_append_printf(payload, "\4%04d%c", i, 0);
    }
    desc.payload = payload->str;
    desc.payload_len = payload->len;
    desc.stored_bytes = payload->len;
    desc.raw_bytes = payload->len;
    forge_header(f, REPLAY_LOG_VERSION, 0, 0);
    forge_chunk(f, &desc);
    check_bytes(f->data, f->len, REPLAY_LOG_IO_ERROR, 0, "too many keys");
}

/* A chunk between a valid description and a valid end chunk. */
static const ForgedChunk forged_chunks[] = {
    { "second-description", "second description",
      { 1, .seq = 1, PAYLOAD("\1k\1v") } },
    { "unknown-kind", "must not be skipped", { 77, .seq = 1, PAYLOAD("") } },
    { "unknown-kind-0", "must not be skipped", { 0, .seq = 1, PAYLOAD("") } },
    { "unknown-flags-of-chunk", "flags 0x8000",
      { 2, .flags = 0x8000, .seq = 1, PAYLOAD("\1") } },
    { "wrong-seq", "has number 2", { 2, .seq = 2, PAYLOAD("\1") } },
    { "wrong-tag", "another recording",
      { 2, .seq = 1, .tag = 5, PAYLOAD("\1") } },
    { "wrong-icount", "claims to begin at instruction 1",
      { 2, .seq = 1, .icount = 1, PAYLOAD("\1") } },
    { "wrong-event", "event 1,",
      { 2, .seq = 1, .event = 1, PAYLOAD("\1") } },
    { "wrong-packet", "packet 1,",
      { 2, .seq = 1, .packet = 1, PAYLOAD("\1") } },
    { "negative-icount", "out of range",
      { 2, .seq = 1, .icount = INT64_MAX + 1ull, PAYLOAD("\1") } },
    { "stored-above-limit", "the limit is",
      { 2, .seq = 1, .stored_bytes = REPLAY_LOG_CHUNK_MAX_BYTES + 1,
        .raw_bytes = REPLAY_LOG_CHUNK_MAX_BYTES + 1 } },
    { "raw-above-limit", "the limit is",
      { 2, .flags = 2, .seq = 1, .stored_bytes = 1, .raw_bytes = UINT32_MAX,
        .payload = "x", .payload_len = 1 } },
    { "raw-is-not-stored", "not deflated",
      { 2, .seq = 1, .stored_bytes = 1, .raw_bytes = 2, .payload = "\1\1",
        .payload_len = 1 } },
    { "not-deflated", "does not inflate to the length",
      { 2, .flags = 2, .seq = 1, PAYLOAD("\1\1\1\1") } },
    { "apart-not-deflated", "has no deflated events",
      { 2, .flags = 4, .seq = 1, PAYLOAD("\1") } },
    { "apart-of-the-end", "has no deflated events",
      { 3, .flags = 6, .seq = 1, PAYLOAD("\1") } },
    { "deflated-nothing", "does not inflate to the length",
      { 2, .flags = 2, .seq = 1, PAYLOAD("") } },
    { "unknown-event", "does not have: chunk 1 at offset 96: event 1 of kind",
      { 2, .seq = 1, PAYLOAD("\1\xff") }, 1 },
    { "number-not-there", "event 2 (instruction) has an incomplete",
      { 2, .seq = 1, PAYLOAD("\1\1\0") }, 2 },
    { "number-not-whole", "has an incomplete or invalid number",
      { 2, .seq = 1, PAYLOAD("\0\x80") } },
    { "number-overlong", "has an incomplete or invalid number",
      { 2, .seq = 1, PAYLOAD("\x20\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80"
                             "\1") } },
    { "number-too-large", "has an incomplete or invalid number",
      { 2, .seq = 1, PAYLOAD("\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\2") } },
    { "number-not-shortest", "has an incomplete or invalid number",
      { 2, .seq = 1, PAYLOAD("\x20\x81\0") } },
    { "bytes-beyond-end", "beyond the end of its chunk",
      { 2, .seq = 1, PAYLOAD("\x29\5abcd") } },
    { "bytes-above-limit", "more bytes than the limit allows",
      { 2, .seq = 1, PAYLOAD("\x29\xff\xff\xff\xff\xff\xff\xff\xff\xff\1") } },
    { "icount-overflow", "overflow",
      { 2, .seq = 1, PAYLOAD("\0\xff\xff\xff\xff\xff\xff\xff\xff\x7f\0\1") },
      1 },
    { "cut-by-length", "is cut",
      { 2, .seq = 1, .stored_bytes = 99999, .raw_bytes = 99999 } },
    { "end-empty", "differ from its header", { 3, .seq = 1, PAYLOAD("") } },
    { "end-wrong-icount", "differ from its header",
      { 3, .seq = 1, PAYLOAD("\1\0\0\0\0") } },
    { "end-wrong-events", "differ from its header",
      { 3, .seq = 1, PAYLOAD("\0\1\0\0\0") } },
    { "end-kinds-missing", "totals for the kinds of events",
      { 3, .seq = 1, PAYLOAD("\0\0") } },
    { "end-kinds-cut", "totals for the kinds of events",
      { 3, .seq = 1, PAYLOAD("\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\1") } },
    { "end-kinds-too-many", "totals for the kinds of events",
      { 3, .seq = 1, PAYLOAD("\0\0\1\1\1\0\0") } },
    { "end-kinds-twice", "totals for the kinds of events",
      { 3, .seq = 1, PAYLOAD("\0\0\2\1\0\1\0\0\0") } },
    { "end-adapters", "totals for the adapters",
      { 3, .seq = 1, PAYLOAD("\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff"
                             "\1") } },
    { "end-adapter-name", "totals for the adapters",
      { 3, .seq = 1, PAYLOAD("\0\0\0\1\1\33\0\0\0") } },
    { "end-adapter-packets", "totals for the adapters",
      { 3, .seq = 1, PAYLOAD("\0\0\0\1\1n\1\0\0") } },
    { "end-index-size", "index is invalid",
      { 3, .seq = 1, PAYLOAD("\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff"
                             "\1") } },
    { "end-index-seq", "index is invalid",
      { 3, .seq = 1, PAYLOAD("\0\0\0\0\1\1\1\0\0xxxxxxxx") } },
    { "end-trailer", "not its own offset",
      { 3, .seq = 1, PAYLOAD("\0\0\0\0\0\0\0\0\0\0\0\0\0") } },
    { "end-trailer-short", "not its own offset",
      { 3, .seq = 1, PAYLOAD("\0\0\0\0\0") } },
};

static void test_forged_chunk(gconstpointer opaque)
{
    const ForgedChunk *t = opaque;
    g_autoptr(GByteArray) f = g_byte_array_new();
    ReplayLogStatus expected = REPLAY_LOG_DAMAGED;

    forge_begin(f);
    forge_chunk(f, &t->c);
    if (t->c.stored_bytes == 99999) {
        expected = REPLAY_LOG_CUT;
    }
    forge_end(f, t->c.seq + 1, t->events);
    check_bytes(f->data, f->len, expected, t->events, t->part);
}

static void test_end_of_another_length(void)
{
    Forged two = { 2, .seq = 1, PAYLOAD("\1\1") };
    g_autoptr(GByteArray) f = g_byte_array_new();

    forge_begin(f);
    forge_chunk(f, &two);
    forge_end(f, 2, 2);
    check_bytes(f->data, f->len, REPLAY_LOG_END, 2, "ends at instruction 0");

    g_byte_array_set_size(f, 0);
    forge_begin(f);
    forge_chunk(f, &two);
    forge_end(f, 2, 3);
    check_bytes(f->data, f->len, REPLAY_LOG_DAMAGED, 2, "claims to begin");
}

static void test_end_of_other_kinds(void)
{
    Forged two = { 2, .seq = 1, PAYLOAD("\1\1") };
    Forged end = { 3, .seq = 2, .event = 2, PAYLOAD("\0\2\1\1\1\0\0") };
    g_autoptr(GByteArray) f = g_byte_array_new();

    forge_begin(f);
    forge_chunk(f, &two);
    forge_chunk(f, &end);
    check_bytes(f->data, f->len, REPLAY_LOG_DAMAGED, 2, "do not add up");
}

static void test_seek_past_damage(void)
{
    g_autofree char *path = test_path();
    Forged bad = { 2, .seq = 1, PAYLOAD("\1\xff\1") };
    Forged overflow = {
        2, .seq = 1, PAYLOAD("\0\xff\xff\xff\xff\xff\xff\xff\xff\x7f\0\1")
    };
    Forged *chunk[] = { &bad, &overflow };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(chunk); i++) {
        ReplayLogPos pos = {
            .chunk = 1, .offset_bytes = chunk[i]->payload_len, .event = 3
        };
        g_autoptr(GByteArray) f = g_byte_array_new();
        ReplayLogReader *r;
        Error *err = NULL;
        ReplayLogEvent ev;

        forge_begin(f);
        forge_chunk(f, chunk[i]);
        forge_end(f, 2, 3);
        g_file_set_contents(path, (char *)f->data, f->len, NULL);
        r = replay_log_reader_open(path, &error_abort);
        g_assert_false(replay_log_reader_seek(r, &pos, &err));
        check_message_has(err, ": event 1 ");
        g_assert_cmpint(replay_log_read_event(r, &ev, NULL), ==,
                        REPLAY_LOG_OK);
        g_assert_cmpint(replay_log_read_event(r, &ev, NULL), ==,
                        REPLAY_LOG_DAMAGED);
        pos = replay_log_reader_pos(r);
        g_assert_cmpint(pos.event, ==, 1);
        replay_log_reader_seek(r, &pos, &error_abort);
        g_assert_cmpint(replay_log_read_event(r, &ev, NULL), ==,
                        REPLAY_LOG_DAMAGED);
        replay_log_reader_close(r);
    }
}

static void test_more_after_end(void)
{
    Forged more = { 77, .flags = 1, .seq = 2, PAYLOAD("") };
    g_autoptr(GByteArray) f = g_byte_array_new();

    forge_begin(f);
    forge_end(f, 1, 0);
    forge_chunk(f, &more);
    check_bytes(f->data, f->len, REPLAY_LOG_DAMAGED, 0, "more data follows");
    g_byte_array_set_size(f, f->len - REPLAY_LOG_CHUNK_HDR_BYTES + 1);
    check_bytes(f->data, f->len, REPLAY_LOG_DAMAGED, 0, "more data follows");
    g_byte_array_set_size(f, f->len - 1);
    check_bytes(f->data, f->len, REPLAY_LOG_END, 0, "ends at instruction 0");
}

static void test_optional_chunk(void)
{
    Forged optional = { 77, .flags = 1, .seq = 1, PAYLOAD("whatever") };
    Forged event = { 2, .seq = 2, PAYLOAD("\1") };
    Forged empty = { 2, .seq = 3, .event = 1, PAYLOAD("") };
    g_autoptr(GByteArray) f = g_byte_array_new();
    size_t at;

    forge_begin(f);
    at = f->len + REPLAY_LOG_CHUNK_HDR_BYTES;
    forge_chunk(f, &optional);
    forge_chunk(f, &event);
    forge_chunk(f, &empty);
    forge_end(f, 4, 1);
    check_bytes(f->data, f->len, REPLAY_LOG_END, 1, "ends at instruction 0");
    f->data[at] ^= 1;
    check_bytes(f->data, f->len, REPLAY_LOG_DAMAGED, 0, "payload's checksum");
}

/* A recording without the time, or with something else in its place. */
static void test_no_time(void)
{
    static const Forged chunks[] = {
        { 4, .flags = 1, .seq = 1, PAYLOAD("\1\2\3\4\5\6\7\0") },
        { 4, .flags = 1, .seq = 1, PAYLOAD("\1\2\3\4\5\6\7") },
        { 4, .flags = 1, .seq = 1, PAYLOAD("\1\2\3\4\5\6\7\0\1") },
        { 77, .flags = 1, .seq = 1, PAYLOAD("\1\2\3\4\5\6\7\0") },
        { 2, .seq = 1, PAYLOAD("\1\1\1\1\1\1\1\1") },
        { 2, .seq = 1, PAYLOAD("") },
    };
    g_autofree ReplayLogTotals *totals = g_new(ReplayLogTotals, 1);
    g_autofree char *path = test_path();
    ReplayLogReader *r;
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(chunks); i++) {
        g_autoptr(GByteArray) f = g_byte_array_new();
        bool has_events = chunks[i].kind == 2 && chunks[i].payload_len;

        forge_begin(f);
        forge_chunk(f, &chunks[i]);
        forge_end(f, 2, has_events ? 8 : 0);
        g_file_set_contents(path, (char *)f->data, f->len, NULL);
        r = replay_log_reader_open(path, &error_abort);
        g_assert_true(replay_log_reader_totals(r, totals));
        g_assert_cmpint(totals->has_time, ==, i == 0);
        replay_log_reader_close(r);
    }
}

/*
 * A chunk with correct checksums, but with a zlib stream that is damaged or
 * differs from the lengths in the header.
 */
typedef struct Inflation {
    const char *name;
    uLong raw_bytes;            /* what the stream inflates to */
    uint32_t claimed_bytes;     /* the raw length in the header */
    int stored_excess;          /* bytes to append; negative: to remove */
    uint8_t adler_flips;        /* bits to flip in the stream's checksum */
    bool needs_dictionary;
    bool is_good;
} Inflation;

static const Inflation inflations[] = {
    { "bomb/reports", 8 * REPLAY_LOG_CHUNK_MAX_BYTES, 1000 },
    { "raw-too-short/reports", 1001, 1000 },
    { "raw-too-long/reports", 999, 1000 },
    { "more-stored/reports", 1000, 1000, .stored_excess = 1 },
    { "less-stored/reports", 1000, 1000, .stored_excess = -1 },
    { "wrong-adler/reports", 1000, 1000, .adler_flips = 1 },
    { "dictionary/reports", 1000, 1000, .needs_dictionary = true },
    { "largest/reads", REPLAY_LOG_CHUNK_MAX_BYTES, REPLAY_LOG_CHUNK_MAX_BYTES,
      .is_good = true },
};

static void test_inflation(gconstpointer opaque)
{
    const Inflation *t = opaque;
    uLongf len = compressBound(t->raw_bytes);
    g_autofree uint8_t *raw = g_malloc(t->raw_bytes);
    g_autofree uint8_t *stored = g_malloc0(len + 1);
    Forged c = {
        2, .flags = 2, .seq = 1, .payload = stored,
        .raw_bytes = t->claimed_bytes
    };
    g_autoptr(GByteArray) f = g_byte_array_new();

    memset(raw, REPLAY_EV_INTERRUPT, t->raw_bytes);
    g_assert_cmpint(compress(stored, &len, raw, t->raw_bytes), ==, Z_OK);
    stored[len - 1] ^= t->adler_flips;
    if (t->needs_dictionary) {
        stored[1] = 0x20;               /* FDICT, and its check bits */
        stored[1] += 31 - ((stored[0] << 8) + stored[1]) % 31;
    }
    c.stored_bytes = len + t->stored_excess;
    c.payload_len = c.stored_bytes;
    forge_begin(f);
    forge_chunk(f, &c);
    if (t->is_good) {
        check_bytes(f->data, f->len, REPLAY_LOG_CUT, t->raw_bytes, "is cut");
    } else {
        check_bytes(f->data, f->len, REPLAY_LOG_DAMAGED, 0,
                    "does not inflate to the length");
    }
}

static bool memory_is_short;

/* Takes the place of zlib's function, which fails if it gets no memory. */
int inflateInit_(z_streamp z, const char *version, int stream_size)
{
    int (*init)(z_streamp, const char *, int) = dlsym(RTLD_NEXT,
                                                      "inflateInit_");

    return memory_is_short ? Z_MEM_ERROR : init(z, version, stream_size);
}

/* The host has no memory for zlib: the recording is not called damaged. */
static void test_inflation_without_memory(void)
{
    g_autofree char *path = test_path();
    g_autoptr(GPtrArray) events = events_new(40, 20, 4);
    ReplayLogReader *r;
    ReplayLogEvent ev;
    Error *err = NULL;

    record(path, REPLAY_LOG_COMPRESS, events, 0);
    r = replay_log_reader_open(path, &error_abort);
    memory_is_short = true;
    g_assert_cmpint(replay_log_read_event(r, &ev, &err), ==,
                    REPLAY_LOG_IO_ERROR);
    memory_is_short = false;
    check_message_has(err, "cannot read recording");
    replay_log_reader_close(r);
}

/* An ASYNC_NET event with 200 bytes between two other events. */
#define APART_EVENTS    "\x01\x16\0\0\xc8\x01\x01"

typedef struct Apart {
    const char *name;
    const char *events;
    size_t events_bytes;
    size_t packets_bytes;
    int raw_excess;             /* of the raw length in the header */
    unsigned good;              /* events that are read */
    const char *part;           /* of the message; NULL: all is valid */
} Apart;

#define APART(bytes) .events = (bytes), .events_bytes = sizeof(bytes) - 1

static const Apart aparts[] = {
    { "right/reads-the-same", APART(APART_EVENTS), .packets_bytes = 200,
      .good = 3 },
    { "packet-too-short/reports", APART(APART_EVENTS), .packets_bytes = 199,
      .good = 1, .part = "beyond the end of its chunk" },
    { "packet-missing/reports", APART(APART_EVENTS),
      .good = 1, .part = "beyond the end of its chunk" },
    { "packet-too-many/reports", APART(APART_EVENTS), .packets_bytes = 400,
      .good = 3, .part = "belongs to no event" },
    { "no-event/reports", APART(""), .packets_bytes = 200,
      .part = "belongs to no event" },
    { "event-cut/reports", APART("\x01\x16\0\0\xc8"), .packets_bytes = 200,
      .good = 1, .part = "has an incomplete or invalid number" },
    { "event-unknown/reports", APART("\x01\xff"), .packets_bytes = 200,
      .good = 1, .part = "a feature that this QEMU does not have" },
    { "small-packet/reports", APART("\x01\x16\0\0\x7f"), .packets_bytes = 127,
      .good = 1, .part = "beyond the end of its chunk" },
    { "other-bytes/reports", APART("\x14\0\xc8\x01"), .packets_bytes = 200,
      .part = "beyond the end of its chunk" },
    { "raw-too-long/reports", APART(APART_EVENTS), .packets_bytes = 200,
      .raw_excess = 1, .part = "does not inflate to the length" },
    { "raw-too-short/reports", APART(APART_EVENTS), .packets_bytes = 200,
      .raw_excess = -1, .part = "does not inflate to the length" },
    { "raw-without-packets/reports", APART(APART_EVENTS), .packets_bytes = 200,
      .raw_excess = -200, .part = "does not inflate to the length" },
};

static void test_apart(gconstpointer opaque)
{
    const Apart *t = opaque;
    uint8_t stored[1000];
    uLongf len = sizeof(stored);
    Forged c = { 2, .flags = 6, .seq = 1, .payload = stored };
    g_autoptr(GByteArray) f = g_byte_array_new();

    g_assert_cmpint(compress(stored, &len, (const uint8_t *)t->events,
                             t->events_bytes), ==, Z_OK);
    memset(stored + len, 'x', t->packets_bytes);
    c.stored_bytes = len + t->packets_bytes;
    c.payload_len = c.stored_bytes;
    c.raw_bytes = t->events_bytes + t->packets_bytes + t->raw_excess;
    forge_begin(f);
    forge_chunk(f, &c);
    check_bytes(f->data, f->len, t->part ? REPLAY_LOG_DAMAGED : REPLAY_LOG_CUT,
                t->good, t->part ?: "is cut");
}

/* The bytes between random packets are deflated. */
static void test_apart_small(void)
{
    g_autofree char *path = test_path();
    g_autoptr(GPtrArray) events = traffic_new(500, 1514, 256);
    ReplayLogWriter *w = writer_new(path, REPLAY_LOG_COMPRESS);
    ReplayLogStats stats;
    uint64_t between, offset;
    unsigned apart = 0;
    g_autofree char *data = NULL;
    gsize len;

    write_events(w, events, 0);
    replay_log_writer_flush(w, &error_abort);
    stats = replay_log_writer_stats(w);
    between = stats.raw_bytes - stats.packet_bytes;
    g_assert_cmpint(between, >, stats.packet_bytes / 50);
    g_assert_cmpint(stats.stored_bytes, <,
                    stats.packet_bytes + between * 3 / 4);
    replay_log_writer_close(w, &error_abort);

    g_file_get_contents(path, &data, &len, NULL);
    for (offset = REPLAY_LOG_HEADER_BYTES; offset < len;
         offset += REPLAY_LOG_CHUNK_HDR_BYTES + ldl_le_p(data + offset + 8)) {
        apart += !!(lduw_le_p(data + offset + 2) & REPLAY_LOG_CHUNK_APART);
    }
    g_assert_cmpint(apart, >, 4);
}

static void check_seek_fails(const char *path, const ReplayLogPos *pos,
                             const char *part)
{
    ReplayLogReader *r = replay_log_reader_open(path, &error_abort);
    Error *err = NULL;

    g_assert_false(replay_log_reader_seek(r, pos, &err));
    check_message_has(err, part);
    g_assert_cmpint(replay_log_reader_pos(r).event, ==, 0);
    replay_log_reader_close(r);
}

static void test_seek_past_end(void)
{
    g_autofree char *path = test_path();
    ReplayLogPos pos = { .chunk = 4, .event = 1 };
    Forged event = { 2, .seq = 1, PAYLOAD("\1") };
    g_autoptr(GByteArray) f = g_byte_array_new();

    forge_begin(f);
    forge_chunk(f, &event);
    forge_end(f, 2, 1);
    g_file_set_contents(path, (char *)f->data, f->len, NULL);
    check_seek_fails(path, &pos, "chunk 3 at offset");
    pos.chunk = 0;
    check_seek_fails(path, &pos, "has no such place");
}

static void test_seek_past_cut(void)
{
    g_autofree char *path = test_path();
    ReplayLogPos pos = { .chunk = 2, .offset_bytes = 1, .event = 2 };
    Forged first = { 2, .seq = 1, PAYLOAD("\1") };
    Forged cut = { 2, .seq = 2, .event = 1, PAYLOAD("\1\1\1") };
    g_autoptr(GByteArray) f = g_byte_array_new();

    forge_begin(f);
    forge_chunk(f, &first);
    forge_chunk(f, &cut);
    g_file_set_contents(path, (char *)f->data, f->len - 1, NULL);
    check_seek_fails(path, &pos, "is cut");
}

/* The counts of an optional chunk may be anything, and lead to no place. */
static void test_seek_optional_chunk(void)
{
    g_autofree char *path = test_path();
    ReplayLogPos pos = { .chunk = 1, .event = 5, .icount = 7 };
    Forged optional = {
        77, .flags = 1, .seq = 1, .event = 5, .icount = 7, PAYLOAD("any")
    };
    Forged event = { 2, .seq = 2, PAYLOAD("\1") };
    g_autoptr(GByteArray) f = g_byte_array_new();

    forge_begin(f);
    forge_chunk(f, &optional);
    forge_chunk(f, &event);
    g_file_set_contents(path, (char *)f->data, f->len, NULL);
    check_seek_fails(path, &pos, "has no such place");
}

static void test_index_of_lies(void)
{
    g_autofree char *path = test_path();
    Forged event = { 2, .seq = 1, PAYLOAD("\1") };
    uint8_t p[] = {
        0, 2, 1, REPLAY_EV_INTERRUPT, 2, 0, 1,
        2, 50, 0, 0,            /* chunk 2 is not at offset 50 */
        0, 0, 0, 0, 0, 0, 0, 0
    };
    Forged end = {
        3, .seq = 3, .stored_bytes = sizeof(p), .raw_bytes = sizeof(p),
        .event = 2, .payload = p, .payload_len = sizeof(p)
    };
    ReplayLogPos pos = { .chunk = 2, .event = 1 };
    g_autoptr(GByteArray) f = g_byte_array_new();
    ReplayLogReader *r;
    ReplayLogEvent ev;

    forge_begin(f);
    forge_chunk(f, &event);
    event.seq = 2;
    event.event = 1;
    forge_chunk(f, &event);
    stq_le_p(p + sizeof(p) - 8, f->len);
    forge_chunk(f, &end);
    g_file_set_contents(path, (char *)f->data, f->len, NULL);
    r = replay_log_reader_open(path, &error_abort);
    replay_log_reader_seek(r, &pos, &error_abort);
    g_assert_cmpint(replay_log_read_event(r, &ev, NULL), ==, REPLAY_LOG_OK);
    g_assert_cmpint(ev.number, ==, 1);
    g_assert_cmpint(replay_log_read_event(r, &ev, NULL), ==, REPLAY_LOG_END);
    replay_log_reader_close(r);
}

/* --- The document ----------------------------------------------------- */

static char *document(void)
{
    /* G_TEST_SRCDIR is tests/unit or tests. */
    g_autofree char *path = g_test_build_filename(G_TEST_DIST, "..", "..",
                                                  "docs", "replay.txt", NULL);
    g_autofree char *path2 = g_test_build_filename(G_TEST_DIST, "..", "docs",
                                                   "replay.txt", NULL);
    char *text;

    if (!g_file_get_contents(path, &text, NULL, NULL) &&
        !g_file_get_contents(path2, &text, NULL, NULL)) {
        g_error("neither %s nor %s can be read", path, path2);
    }
    return text;
}

/* Compares rows such as "  0x16  async-net  uub  adapter, flags, packet". */
static void test_document_events(void)
{
    g_autofree char *text = document();
    g_autoptr(GRegex) row = g_regex_new(
        "^ +0x([0-9a-f]{2})  +([a-z-]+)  +([uscib]+|-)(  |$)",
        G_REGEX_MULTILINE, 0, NULL);
    GMatchInfo *match;
    bool seen[REPLAY_LOG_KINDS] = { };

    for (g_regex_match(row, text, 0, &match); g_match_info_matches(match);
         g_match_info_next(match, NULL)) {
        g_autofree char *value = g_match_info_fetch(match, 1);
        g_autofree char *name = g_match_info_fetch(match, 2);
        g_autofree char *fields = g_match_info_fetch(match, 3);
        unsigned kind = g_ascii_strtoull(value, NULL, 16);

        g_assert_false(seen[kind]);
        seen[kind] = true;
        g_assert_cmpstr(name, ==, replay_log_event_name(kind));
        g_assert_cmpstr(g_str_equal(fields, "-") ? "" : fields, ==,
                        replay_log_event_fields(kind));
    }
    g_match_info_free(match);
    for (int kind = 0; kind < REPLAY_LOG_KINDS; kind++) {
        g_assert_cmpint(seen[kind], ==, replay_log_event_name(kind) != NULL);
    }
}

/* Finds a field in a table "offset  size  field" of the document. */
static void document_field(const char *text, const char *table,
                           const char *field, size_t *offset, size_t *size)
{
    g_autofree char *pattern = g_strdup_printf("^ +(\\d+)  +(\\d+)  +%s(  |$)",
                                               field);
    g_autoptr(GRegex) row = g_regex_new(pattern, G_REGEX_MULTILINE, 0, NULL);
    const char *from = strstr(text, table);
    g_autofree char *s_offset = NULL;
    g_autofree char *s_size = NULL;
    GMatchInfo *match;

    g_assert_nonnull(from);
    if (!g_regex_match(row, from, 0, &match)) {
        g_error("no field '%s' below '%s'", field, table);
    }
    s_offset = g_match_info_fetch(match, 1);
    s_size = g_match_info_fetch(match, 2);
    g_match_info_free(match);
    *offset = g_ascii_strtoull(s_offset, NULL, 10);
    *size = g_ascii_strtoull(s_size, NULL, 10);
}

static uint64_t document_value(const char *text, const char *table,
                               const char *field, const uint8_t *p)
{
    size_t offset, size;

    document_field(text, table, field, &offset, &size);
    return ldn_le_p(p + offset, size);
}

/* Walks through a recording using only the tables of the document. */
static void test_document_layout(void)
{
    const char *header = "\nThe header\n";
    const char *chunk = "\nA chunk\n";
    g_autofree char *text = document();
    g_autofree char *path = test_path();
    g_autoptr(GPtrArray) events = small_events();
    Bytes b = small_recording(path, events);
    uint64_t offset, seq = 0, deflated = 0, time_end = 0;
    size_t at, size;

    document_field(text, header, "magic", &at, &size);
    g_assert_cmpmem(b.data + at, size, "\x89QRR\r\n\x1a\n", 8);
    g_assert_cmpint(document_value(text, header, "version", b.data), ==,
                    REPLAY_LOG_VERSION);
    g_assert_cmpint(document_value(text, header, "flags", b.data), ==, 0);
    g_assert_cmpint(document_value(text, header, "reserved", b.data), ==, 0);
    document_field(text, header, "checksum", &at, &size);
    g_assert_cmpint(at + size, ==, REPLAY_LOG_HEADER_BYTES);
    g_assert_cmphex(ldn_le_p(b.data + at, 4), ==,
                    crc32c(0xffffffff, b.data, at));

    document_field(text, chunk, "checksum", &at, &size);
    g_assert_cmpint(at + size, ==, REPLAY_LOG_CHUNK_HDR_BYTES);
    for (offset = REPLAY_LOG_HEADER_BYTES; offset < b.len; seq++) {
        const uint8_t *p = b.data + offset;
        uint64_t stored = document_value(text, chunk, "stored length", p);
        uint64_t flags = document_value(text, chunk, "flags", p);
        size_t uuid, uuid_size;

        g_assert_cmphex(ldn_le_p(p + at, 4), ==,
                        crc32c(0xffffffff, p, at));
        g_assert_cmpint(document_value(text, chunk, "payload checksum", p), ==,
                        crc32c(0xffffffff, p + REPLAY_LOG_CHUNK_HDR_BYTES,
                               stored));
        g_assert_cmpint(document_value(text, chunk, "number", p), ==, seq);
        document_field(text, header, "UUID", &uuid, &uuid_size);
        g_assert_cmpint(document_value(text, chunk, "tag", p), ==,
                        ldn_le_p(b.data + uuid, 4));
        if (flags & REPLAY_LOG_CHUNK_DEFLATED) {
            deflated++;
        } else {
            g_assert_cmpint(document_value(text, chunk, "raw length", p), ==,
                            stored);
        }
        if (seq == 0 || offset + REPLAY_LOG_CHUNK_HDR_BYTES + stored ==
                        b.len) {
            g_assert_cmpint(document_value(text, chunk, "kind", p), ==,
                            seq ? REPLAY_LOG_CHUNK_END :
                            REPLAY_LOG_CHUNK_DESCRIPTION);
        } else if (flags & REPLAY_LOG_CHUNK_OPTIONAL) {
            g_assert_cmpint(document_value(text, chunk, "kind", p), ==,
                            REPLAY_LOG_CHUNK_TIME);
            g_assert_cmpint(stored, ==, 8);
            time_end = offset + REPLAY_LOG_CHUNK_HDR_BYTES + stored;
        } else {
            g_assert_cmpint(document_value(text, chunk, "kind", p), ==,
                            REPLAY_LOG_CHUNK_EVENTS);
        }
        offset += REPLAY_LOG_CHUNK_HDR_BYTES + stored;
        if (offset == b.len) {
            g_assert_cmpint(document_value(text, chunk, "first event", p), ==,
                            events->len);
            g_assert_cmpint(document_value(text, chunk, "first packet", p), ==,
                            3);
            g_assert_cmpint(document_value(text, chunk, "first icount", p), >,
                            0);
            g_assert_cmpint(ldq_le_p(b.data + b.len - 8), ==, p - b.data);
            g_assert_cmpint(time_end, ==, p - b.data);
        }
    }
    g_assert_cmpint(offset, ==, b.len);
    g_assert_cmpint(deflated, >, 0);
    g_free(b.data);
}

/*
 * Returns: the checksum of a recording without its random UUID, and without the
 * tags and the checksums of headers, which depend on the UUID.
 */
static uint32_t checksum_without_uuid(const Bytes *b)
{
    size_t offset;

    memset(b->data + 16, 0, REPLAY_LOG_HEADER_BYTES - 16);
    for (offset = REPLAY_LOG_HEADER_BYTES; offset < b->len;
         offset += REPLAY_LOG_CHUNK_HDR_BYTES +
                   ldl_le_p(b->data + offset + 8)) {
        stl_le_p(b->data + offset + 40, 0);
        stl_le_p(b->data + offset + 48, 0);
    }
    return crc32c(0xffffffff, b->data, b->len);
}

/* Kinds that were added to version 1; test_fixed_events() leaves them out. */
static bool is_new_kind(unsigned kind)
{
    return kind == REPLAY_EV_VCPU || kind == REPLAY_EV_ASYNC_CHAR_BREAK
           || kind == REPLAY_EV_ASYNC_REQUEST || kind == REPLAY_EV_ASYNC_RNG;
}

/*
 * A change of the format needs a new REPLAY_LOG_VERSION, and then also a new
 * checksum here.  A new kind of event needs neither.  The recording is not
 * compressed, because the bytes depend on the version of zlib.
 */
static void test_fixed_events(void)
{
    g_autofree char *path = test_path();
    ReplayLogWriter *w = writer_new(path, 0);
    uint8_t data[700];
    unsigned round, kind;
    Bytes b;

    replay_log_writer_name_adapter(w, 0, "net0");
    replay_log_writer_name_adapter(w, 2, "net2");
    for (round = 0; round < 400; round++) {
        for (kind = 0; kind < REPLAY_LOG_KINDS; kind++) {
            uint64_t num[REPLAY_LOG_NUMS_MAX] = {
                round % 3, round * UINT64_C(0x0123456789abcdef),
                -(uint64_t)round, kind
            };

            if (replay_log_event_name(kind) && !is_new_kind(kind)) {
                memset(data, round, sizeof(data));
                replay_log_write_event(w, kind, num, data,
                                       round * kind % sizeof(data));
            }
        }
        if (round % 100 == 10) {
            replay_log_writer_flush(w, &error_abort);
        }
    }
    replay_log_writer_close(w, &error_abort);

    b = bytes_of(path);
    g_assert_cmphex(checksum_without_uuid(&b), ==, 0x528ef245);
    g_free(b.data);
}

/* --- Main ------------------------------------------------------------- */

typedef struct Test {
    const char *name;           /* "given/then" */
    GTestFunc func;
} Test;

static const Test tests[] = {
    { "largest-event/reads-the-same", test_largest_event },
    { "description/reads-the-same", test_description },
    { "description-with-adapters/finds-names-by-number",
      test_description_adapters },
    { "description-without-adapters/finds-no-name",
      test_description_no_adapters },
    { "description-too-large/reports", test_description_too_large },
    { "description-too-many/reports", test_description_too_many },
    { "event-names/match-the-enum", test_event_names },
    { "crc32c/equals-qemus", test_crc32c },
    { "fixed-events/give-the-same-bytes", test_fixed_events },
    { "written-events/are-counted", test_stats },
    { "small-chunk/next-is-deflated", test_small_chunk },
    { "random-packets/rest-is-deflated", test_apart_small },
    { "growing-file/has-info", test_info },
    { "end/has-totals", test_totals },
    { "recording-without-time/has-none", test_no_time },

    { "seek-to-wrong-place/reports-and-stays", test_seek_wrong_place },
    { "seek-with-thinned-index/finds-each-event", test_seek_thinned_index },
    { "seek-with-wrong-index/finds-the-event", test_index_of_lies },
    { "seek-past-end/reports", test_seek_past_end },
    { "seek-past-cut/reports", test_seek_past_cut },
    { "seek-to-optional-chunk/reports", test_seek_optional_chunk },

    { "new-file/is-private", test_mode },
    { "existing-file/is-kept", test_existing },
    { "two-writers/second-is-refused", test_lock },
    { "not-a-regular-file/reports", test_no_file },
    { "no-description/stays-in-memory", test_undescribed },
    { "killed-writer/reads-to-the-last-flush", test_killed },
    { "full-disk/loses-nothing", test_full },
    { "full-disk-at-close/reads-to-the-cut", test_full_at_close },
    { "full-disk-at-description/can-be-repeated", test_full_at_description },
    { "full-disk-for-too-long/ends-the-recording", test_full_for_too_long },

    { "flipped-byte/reports", test_flipped_byte },
    { "truncated-file/reads-to-the-cut", test_truncated },
    { "moved-chunks/reports", test_moved_chunks },

    { "forged-direction/is-replaced", test_forged_direction },
    { "too-many-keys/reports", test_too_many_keys },
    { "end-of-another-length/reports", test_end_of_another_length },
    { "end-of-other-kinds/reports", test_end_of_other_kinds },
    { "seek-past-damage/reports", test_seek_past_damage },
    { "more-after-end/reports", test_more_after_end },
    { "optional-chunk/is-skipped", test_optional_chunk },
    { "inflation-without-memory/reports", test_inflation_without_memory },

    { "document-events/match-the-enum", test_document_events },
    { "document-layout/reads-a-recording", test_document_layout },
};

/* A test for each row of a table. */
typedef struct TableTest {
    const char *given;          /* the name is @given, the row's, @then */
    const void *rows;           /* the first member of a row is its name */
    size_t n_rows;
    size_t row_bytes;
    const char *then;
    GTestDataFunc func;
} TableTest;

#define TABLE(table) \
    .rows = (table), .n_rows = ARRAY_SIZE(table), \
    .row_bytes = sizeof((table)[0])

static const TableTest table_tests[] = {
    { "", TABLE(round_trips), "/reads-the-same", test_round_trip },
    { "seek-", TABLE(seeks), "/finds-each-event", test_seek },
    { "", TABLE(foreign), "/reports", test_foreign },
    { "", TABLE(forged_headers), "/reports", test_header },
    { "", TABLE(forged_descriptions), "/reports", test_forged_description },
    { "", TABLE(forged_chunks), "/reports", test_forged_chunk },
    { "inflate-", TABLE(inflations), "", test_inflation },
    { "apart-", TABLE(aparts), "", test_apart },
};

static void add_tests(void)
{
    size_t i, k;

    for (i = 0; i < ARRAY_SIZE(tests); i++) {
        g_autofree char *path = g_strconcat("/replay-log/", tests[i].name,
                                            NULL);

        g_test_add_func(path, tests[i].func);
    }
    for (i = 0; i < ARRAY_SIZE(table_tests); i++) {
        const TableTest *t = &table_tests[i];

        for (k = 0; k < t->n_rows; k++) {
            const void *row = (const char *)t->rows + k * t->row_bytes;
            g_autofree char *path = g_strconcat("/replay-log/", t->given,
                                                *(const char *const *)row,
                                                t->then, NULL);

            g_test_add_data_func(path, row, t->func);
        }
    }
}

static void remove_tmp_dir(void)
{
    GDir *dir = g_dir_open(tmp_dir, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(tmp_dir, name, NULL);

        g_unlink(path);
    }
    g_dir_close(dir);
    g_rmdir(tmp_dir);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    tmp_dir = g_dir_make_tmp("test-replay-log-XXXXXX", NULL);
    g_assert_nonnull(tmp_dir);
    add_tests();
    ret = g_test_run();
    if (ret) {
        fprintf(stderr, "the recordings are in %s\n", tmp_dir);
    } else {
        remove_tmp_dir();
    }
    g_free(tmp_dir);
    return ret;
}
