/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Makes a faulty copy of a recording, whose replay a test then checks.  The
 * recorder's own writer writes the copy, so that all checksums are correct and
 * only the content of events is wrong.  Given only a recording, the program
 * lists its events, from which the test chooses.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "replay/replay-log.h"

#define ADAPTER_KEY     "adapter."

/* An event in memory. */
typedef struct FaultEvent {
    ReplayLogEvent ev;
    uint8_t *data;              /* owned; used instead of ev.data */
    size_t len_bytes;
    bool dropped;
} FaultEvent;

typedef struct Recording {
    const ReplayLogDescription *description;    /* borrowed */
    GPtrArray *events;                          /* of FaultEvent, owned */
    bool without_end;
} Recording;

/* The words of the command line that have not been used yet. */
typedef struct Words {
    char **word;
    int count;
} Words;

typedef struct Fault {
    const char *name;
    const char *args;
    const char *help;
    void (*make)(Recording *rec, Words *words);
} Fault;

static G_NORETURN void G_GNUC_PRINTF(1, 2) die(const char *fmt, ...)
{
    va_list ap;

    fputs("replay-fault: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(EXIT_FAILURE);
}

static G_NORETURN void die_err(Error *err)
{
    die("%s", error_get_pretty(err));
}

/* --- Events ------------------------------------------------------------- */

/*
 * Copies @data, which is NULL if events of this kind have no bytes.
 *
 * Returns: owned
 */
static FaultEvent *new_event(const ReplayLogEvent *ev, const uint8_t *data,
                             size_t len_bytes)
{
    FaultEvent *e = g_new0(FaultEvent, 1);

    e->ev = *ev;
    e->ev.data = NULL;
    if (data) {
        /* The copy is not NULL even if @len_bytes is 0. */
        e->data = g_malloc(len_bytes + 1);
        memcpy(e->data, data, len_bytes);
        e->len_bytes = len_bytes;
    }
    return e;
}

static void free_event(gpointer opaque)
{
    FaultEvent *e = opaque;

    g_free(e->data);
    g_free(e);
}

/* --- The command line -------------------------------------------------- */

static const char *next_word(Words *words)
{
    if (!words->count) {
        die("a word is missing; see replay-fault --help");
    }
    words->count--;
    return *words->word++;
}

static uint64_t next_number(Words *words)
{
    const char *word = next_word(words);
    uint64_t number;
    int64_t negative;

    if (!qemu_strtou64(word, NULL, 0, &number)) {
        return number;
    }
    if (qemu_strtoi64(word, NULL, 0, &negative)) {
        die("'%s' is not a number", word);
    }
    return negative;
}

/* Returns: the index of the event whose number in IN is the next word. */
static guint next_index(Recording *rec, Words *words)
{
    uint64_t number = next_number(words);
    guint i;

    for (i = 0; i < rec->events->len; i++) {
        const FaultEvent *e = g_ptr_array_index(rec->events, i);

        if (e->ev.number == number && !e->dropped) {
            return i;
        }
    }
    die("there is no event %" PRIu64, number);
}

static FaultEvent *next_event(Recording *rec, Words *words)
{
    return g_ptr_array_index(rec->events, next_index(rec, words));
}

/* --- Faults ------------------------------------------------------------ */

static void fault_flip(Recording *rec, Words *words)
{
    FaultEvent *e = next_event(rec, words);
    uint64_t offset = next_number(words);
    uint64_t bit = next_number(words);

    if (offset >= e->len_bytes || bit > 7) {
        die("event %" PRIu64 " has %zu bytes of 8 bits", e->ev.number,
            e->len_bytes);
    }
    e->data[offset] ^= 1 << bit;
}

static void fault_resize(Recording *rec, Words *words)
{
    FaultEvent *e = next_event(rec, words);
    uint64_t len_bytes = next_number(words);
    uint8_t *data;

    if (!e->data || len_bytes > REPLAY_LOG_DATA_MAX_BYTES) {
        die("event %" PRIu64 " cannot have %" PRIu64 " bytes", e->ev.number,
            len_bytes);
    }
    data = g_malloc0(len_bytes + 1);
    memcpy(data, e->data, MIN(len_bytes, e->len_bytes));
    g_free(e->data);
    e->data = data;
    e->len_bytes = len_bytes;
}

static void fault_add(Recording *rec, Words *words)
{
    FaultEvent *e = next_event(rec, words);
    uint64_t field = next_number(words);

    if (field >= e->ev.n_nums) {
        die("event %" PRIu64 " has %u numbers", e->ev.number, e->ev.n_nums);
    }
    e->ev.num[field] += next_number(words);
}

static void fault_kind(Recording *rec, Words *words)
{
    FaultEvent *e = next_event(rec, words);
    const char *name = next_word(words);
    unsigned kind;

    for (kind = 0; kind < REPLAY_LOG_KINDS; kind++) {
        if (!g_strcmp0(replay_log_event_name(kind), name)) {
            break;
        }
    }
    if (kind == REPLAY_LOG_KINDS
        || strcmp(replay_log_event_fields(kind),
                  replay_log_event_fields(e->ev.kind))) {
        die("event %" PRIu64 " cannot become '%s'", e->ev.number, name);
    }
    e->ev.kind = kind;
}

static void fault_drop(Recording *rec, Words *words)
{
    next_event(rec, words)->dropped = true;
}

/* Inserts a copy of @e before the event whose number is the next word. */
static FaultEvent *fault_put(Recording *rec, const FaultEvent *e, Words *words)
{
    guint to = next_index(rec, words);
    FaultEvent *copy = new_event(&e->ev, e->data, e->len_bytes);

    g_ptr_array_insert(rec->events, to, copy);
    return copy;
}

static void fault_copy(Recording *rec, Words *words)
{
    /* Later faults with this number change the original. */
    fault_put(rec, next_event(rec, words), words)->ev.number = UINT64_MAX;
}

static void fault_move(Recording *rec, Words *words)
{
    FaultEvent *e = next_event(rec, words);

    fault_put(rec, e, words);
    e->dropped = true;
}

static void fault_end(Recording *rec, Words *words)
{
    guint i = next_index(rec, words);

    g_ptr_array_set_size(rec->events, i);
}

static void fault_cut(Recording *rec, Words *words)
{
    fault_end(rec, words);
    rec->without_end = true;
}

static const Fault faults[] = {
    { "flip", "EVENT BYTE BIT", "flip a bit of its bytes", fault_flip },
    { "resize", "EVENT LENGTH", "give it LENGTH bytes, new ones are 0",
      fault_resize },
    { "add", "EVENT FIELD N", "add N to one of its numbers", fault_add },
    { "kind", "EVENT KIND", "give it a kind with the same fields", fault_kind },
    { "drop", "EVENT", "leave it out", fault_drop },
    { "copy", "EVENT EVENT", "insert a copy of the first before the second",
      fault_copy },
    { "move", "EVENT EVENT", "move the first before the second", fault_move },
    { "end", "EVENT", "end the recording before it", fault_end },
    { "cut", "EVENT", "cut the recording before it, as SIGKILL would",
      fault_cut },
    { }
};

static void print_help(void)
{
    const Fault *fault;

    printf("usage: replay-fault IN\n"
           "       replay-fault IN OUT [FAULT...]\n"
           "\n"
           "The first form lists the events of IN: number, icount, packets\n"
           "before the event, chunk, file offset, kind, numbers, and bytes in\n"
           "hexadecimal after an 'x'.  The second form copies IN to OUT with\n"
           "these faults, where EVENT is the number of an event in IN:\n");
    for (fault = faults; fault->name; fault++) {
        printf("  %-6s %-16s %s\n", fault->name, fault->args,
               fault->help);
    }
}

/* --- Reading and writing ----------------------------------------------- */

static void list_event(const ReplayLogEvent *ev)
{
    size_t i;

    printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu32 " %" PRIu64 " %s",
           ev->number, ev->icount, ev->packet, ev->chunk, ev->file_offset,
           replay_log_event_name(ev->kind));
    for (i = 0; i < ev->n_nums; i++) {
        printf(" %" PRId64, (int64_t)ev->num[i]);
    }
    if (ev->data) {
        printf(" x");
        for (i = 0; i < ev->len_bytes; i++) {
            printf("%02x", ev->data[i]);
        }
    }
    printf("\n");
}

/* Reads all events; dies if the recording is cut or damaged. */
static void read_events(ReplayLogReader *reader,
                        void (*take)(const ReplayLogEvent *ev, void *opaque),
                        void *opaque)
{
    ReplayLogStatus status;
    ReplayLogEvent ev;
    Error *err = NULL;

    while ((status = replay_log_read_event(reader, &ev, &err))
           == REPLAY_LOG_OK) {
        take(&ev, opaque);
    }
    if (status != REPLAY_LOG_END) {
        die_err(err);
    }
    error_free(err);
}

static void take_for_list(const ReplayLogEvent *ev, void *opaque)
{
    list_event(ev);
}

static void take_for_copy(const ReplayLogEvent *ev, void *opaque)
{
    GPtrArray *events = opaque;

    g_ptr_array_add(events, new_event(ev, ev->data, ev->len_bytes));
}

/* Names the adapters, as the recorder did: the end has totals for each. */
static void name_adapters(ReplayLogWriter *writer,
                          const ReplayLogDescription *description)
{
    unsigned id = 0;
    size_t i;

    for (i = 0; i < replay_log_description_count(description); i++) {
        const char *value;
        const char *key = replay_log_description_nth(description, i, &value);

        if (g_str_has_prefix(key, ADAPTER_KEY)) {
            replay_log_writer_name_adapter(writer, id++,
                                           key + strlen(ADAPTER_KEY));
        }
    }
}

static void write_recording(const char *path, const Recording *rec)
{
    ReplayLogWriter *writer;
    Error *err = NULL;
    guint i;

    writer = replay_log_writer_open(path, REPLAY_LOG_COMPRESS
                                    | REPLAY_LOG_OVERWRITE, &err);
    if (!writer || !replay_log_writer_describe(writer, rec->description,
                                               &err)) {
        die_err(err);
    }
    name_adapters(writer, rec->description);
    for (i = 0; i < rec->events->len; i++) {
        const FaultEvent *e = g_ptr_array_index(rec->events, i);

        if (!e->dropped) {
            replay_log_write_event(writer, e->ev.kind, e->ev.num, e->data,
                                   e->len_bytes);
        }
    }
    if (!replay_log_writer_flush(writer, &err)) {
        die_err(err);
    }
    /* A killed recorder does not close its writer, and so writes no end. */
    if (!rec->without_end && !replay_log_writer_close(writer, &err)) {
        die_err(err);
    }
}

static void make_fault(Recording *rec, Words *words)
{
    const char *name = next_word(words);
    const Fault *fault;

    for (fault = faults; fault->name; fault++) {
        if (g_str_equal(fault->name, name)) {
            fault->make(rec, words);
            return;
        }
    }
    die("there is no fault '%s'", name);
}

int main(int argc, char **argv)
{
    Words words = { .word = argv + 1, .count = argc - 1 };
    Recording rec = { };
    ReplayLogReader *reader;
    Error *err = NULL;
    const char *in, *out;

    if (argc > 1 && g_str_equal(argv[1], "--help")) {
        print_help();
        return EXIT_SUCCESS;
    }
    in = next_word(&words);
    reader = replay_log_reader_open(in, &err);
    if (!reader) {
        die_err(err);
    }
    if (!words.count) {
        read_events(reader, take_for_list, NULL);
        replay_log_reader_close(reader);
        return EXIT_SUCCESS;
    }

    out = next_word(&words);
    rec.description = replay_log_reader_description(reader);
    rec.events = g_ptr_array_new_with_free_func(free_event);
    read_events(reader, take_for_copy, rec.events);
    while (words.count) {
        make_fault(&rec, &words);
    }
    write_recording(out, &rec);
    g_ptr_array_free(rec.events, true);
    replay_log_reader_close(reader);
    return EXIT_SUCCESS;
}
