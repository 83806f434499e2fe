/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The names of places in a replay: an instruction, a packet, an event.  This
 * file finds the place that a name stands for, before the replay gets there.
 *
 * It reads the recording with a reader of its own, which leaves the replay's
 * reader where it is.  What has been read is noted in an index: for about every
 * INDEX_EVENTS events a position, with the number of packets of each adapter
 * before it.  So each part of the recording is read once as a whole, and after
 * that only between two entries of the index.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qmp/qdict.h"
#include "qemu/cutils.h"
#include "qemu/keyval.h"
#include "sysemu/replay.h"
#include "replay-machine.h"
#include "replay-now.h"

/* Events between two entries of the index. */
#define INDEX_EVENTS    4096

/* The greatest number of adapters plus one: "not a packet of an adapter". */
#define NO_ADAPTER      REPLAY_LOG_ADAPTERS_MAX

/* Replay mutex. */
static struct {
    ReplayLogReader *reader;    /* owned; NULL until a place is asked for */
    GArray *positions;          /* of ReplayLogPos */
    GArray *packets;            /* of uint64_t: @adapters for each position */
    unsigned adapters;
} places;

/* The reader on its way through the recording. */
typedef struct ReplayPlaceWalk {
    ReplayLogEvent ev;          /* the event at the reader's place */
    /* of each adapter, before @ev */
    uint64_t packets[REPLAY_LOG_ADAPTERS_MAX];
} ReplayPlaceWalk;

/* --- The index ----------------------------------------------------------- */

static void replay_place_index(const ReplayLogPos *pos, const uint64_t *packets)
{
    unsigned n = places.positions->len;

    if (n && pos->event < g_array_index(places.positions, ReplayLogPos,
                                        n - 1).event + INDEX_EVENTS) {
        return;
    }
    g_array_append_vals(places.positions, pos, 1);
    g_array_append_vals(places.packets, packets, places.adapters);
}

static bool replay_place_open(Error **errp)
{
    static const uint64_t none[REPLAY_LOG_ADAPTERS_MAX];
    ReplayLogPos start;

    if (places.reader) {
        return true;
    }
    places.reader = replay_log_reader_open(replay_filename(), errp);
    if (!places.reader) {
        return false;
    }
    while (places.adapters < REPLAY_LOG_ADAPTERS_MAX
           && replay_log_description_adapter(
                  replay_log_reader_description(places.reader),
                  places.adapters)) {
        places.adapters++;
    }
    places.positions = g_array_new(false, false, sizeof(ReplayLogPos));
    places.packets = g_array_new(false, false, sizeof(uint64_t));
    start = replay_log_reader_pos(places.reader);
    replay_place_index(&start, none);
    return true;
}

void replay_place_close(void)
{
    if (places.reader) {
        replay_log_reader_close(g_steal_pointer(&places.reader));
        g_array_free(places.positions, true);
        g_array_free(places.packets, true);
        places.adapters = 0;
    }
}

/* --- The walk ------------------------------------------------------------ */

/* Returns: whether entry @i of the index is not behind the place @name. */
static bool replay_place_is_before(unsigned i, const ReplayPlaceName *name,
                                   unsigned adapter)
{
    const ReplayLogPos *pos = &g_array_index(places.positions, ReplayLogPos, i);

    if (name->has_event) {
        return pos->event <= name->event;
    }
    if (name->has_icount) {
        return pos->icount < name->icount;
    }
    if (adapter == NO_ADAPTER) {
        return pos->packet < name->packet;
    }
    return g_array_index(places.packets, uint64_t,
                         i * places.adapters + adapter) < name->packet;
}

/* Begins at entry @i of the index. */
static bool replay_place_walk_from(ReplayPlaceWalk *walk, unsigned i,
                                   Error **errp)
{
    memcpy(walk->packets,
           &g_array_index(places.packets, uint64_t, i * places.adapters),
           places.adapters * sizeof(uint64_t));
    return replay_log_reader_seek(places.reader,
                                  &g_array_index(places.positions,
                                                 ReplayLogPos, i), errp);
}

/* Begins at the last entry of the index before the place @name. */
static bool replay_place_walk_to(ReplayPlaceWalk *walk,
                                 const ReplayPlaceName *name, unsigned adapter,
                                 Error **errp)
{
    unsigned low = 0, high = places.positions->len;

    while (high - low > 1) {
        unsigned middle = low + (high - low) / 2;

        if (replay_place_is_before(middle, name, adapter)) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return replay_place_walk_from(walk, low, errp);
}

/* Returns: whether there is an event; then it is walk->ev. */
static bool replay_place_walk_read(ReplayPlaceWalk *walk)
{
    ReplayLogPos pos = replay_log_reader_pos(places.reader);

    replay_place_index(&pos, walk->packets);
    return replay_log_read_event(places.reader, &walk->ev, NULL)
           == REPLAY_LOG_OK;
}

static void replay_place_walk_pass(ReplayPlaceWalk *walk)
{
    if (walk->ev.kind == REPLAY_EV_ASYNC_NET
        && walk->ev.num[0] < places.adapters) {
        walk->packets[walk->ev.num[0]]++;
    }
}

/* --- From a text to a name ----------------------------------------------- */

static bool replay_place_parse_number(const QDict *dict, const char *key,
                                      bool *has, int64_t *number, Error **errp)
{
    const char *value = qdict_get_try_str(dict, key);

    *has = value;
    if (value && qemu_strtoi64(value, NULL, 0, number) < 0) {
        error_setg(errp, "%s='%s' is not a number", key, value);
        return false;
    }
    return true;
}

ReplayPlaceName *replay_place_parse(const char *text, Error **errp)
{
    g_autoptr(QDict) dict = keyval_parse(text, "icount", NULL, errp);
    g_autoptr(ReplayPlaceName) name = g_new0(ReplayPlaceName, 1);

    if (!dict
        || !replay_place_parse_number(dict, "icount", &name->has_icount,
                                      &name->icount, errp)
        || !replay_place_parse_number(dict, "packet", &name->has_packet,
                                      &name->packet, errp)
        || !replay_place_parse_number(dict, "event", &name->has_event,
                                      &name->event, errp)) {
        return NULL;
    }
    name->adapter = g_strdup(qdict_get_try_str(dict, "adapter"));
    return g_steal_pointer(&name);
}

/* --- From a name to a place ---------------------------------------------- */

/* Returns: whether the place @name is at the event, or inside of it. */
static bool replay_place_is_here(const ReplayPlaceWalk *walk,
                                 const ReplayPlaceName *name, unsigned adapter,
                                 ReplayPlace *place)
{
    const ReplayLogEvent *ev = &walk->ev;

    *place = (ReplayPlace) { .event = ev->number, .icount = ev->icount };
    if (name->has_event) {
        return ev->number == name->event;
    }
    if (name->has_icount) {
        if (ev->icount < name->icount && ev->kind == REPLAY_EV_INSTRUCTION
            && name->icount - ev->icount < ev->num[0]) {
            place->icount = name->icount;
            return true;
        }
        return ev->icount == name->icount;
    }
    if (ev->kind != REPLAY_EV_ASYNC_NET) {
        return false;
    }
    if (adapter == NO_ADAPTER) {
        return ev->packet == name->packet - 1;
    }
    return ev->num[0] == adapter
           && walk->packets[adapter] == name->packet - 1;
}

/* Returns: the adapter's number, or NO_ADAPTER; *@ok is false with @errp. */
static unsigned replay_place_adapter(const ReplayPlaceName *name, bool *ok,
                                     Error **errp)
{
    unsigned i;

    *ok = true;
    if (!name->adapter) {
        return NO_ADAPTER;
    }
    for (i = 0; i < places.adapters; i++) {
        if (g_str_equal(name->adapter, replay_log_description_adapter(
                            replay_log_reader_description(places.reader), i))) {
            return i;
        }
    }
    *ok = false;
    error_setg(errp, "the recording has no adapter '%s'", name->adapter);
    error_append_hint(errp, "'info replay' lists the adapters.\n");
    return NO_ADAPTER;
}

static bool replay_place_check(const ReplayPlaceName *name, Error **errp)
{
    if (name->has_icount + name->has_packet + name->has_event != 1
        || (name->adapter && !name->has_packet)) {
        error_setg(errp, "a place in the replay is one of icount=N, packet=N, "
                   "packet=N,adapter=NETDEV, event=N");
        return false;
    }
    if ((name->has_icount && name->icount < 0)
        || (name->has_event && name->event < 0)
        || (name->has_packet && name->packet < 1)) {
        error_setg(errp, "instructions and events are counted from 0, packets "
                   "from 1");
        return false;
    }
    return true;
}

static void replay_place_missing(const ReplayPlaceName *name,
                                 const ReplayPlaceWalk *walk, unsigned adapter,
                                 Error **errp)
{
    const ReplayLogPos end = replay_log_reader_pos(places.reader);

    if (name->has_icount) {
        error_setg(errp, "the recording ends after %" PRIu64 " instructions",
                   end.icount);
    } else if (name->has_event) {
        error_setg(errp, "the recording has only %" PRIu64 " events",
                   end.event);
    } else if (adapter == NO_ADAPTER) {
        error_setg(errp, "the recording has only %" PRIu64 " packets",
                   end.packet);
    } else {
        error_setg(errp, "the recording has only %" PRIu64 " packets for the "
                   "adapter '%s'", walk->packets[adapter], name->adapter);
    }
}

bool replay_place_find(const ReplayPlaceName *name, ReplayPlace *place,
                       Error **errp)
{
    g_autofree ReplayPlaceWalk *walk = g_new0(ReplayPlaceWalk, 1);
    unsigned adapter;
    bool ok;

    if (!replay_place_check(name, errp) || !replay_place_open(errp)) {
        return false;
    }
    adapter = replay_place_adapter(name, &ok, errp);
    if (!ok || !replay_place_walk_to(walk, name, adapter, errp)) {
        return false;
    }
    while (replay_place_walk_read(walk)) {
        if (replay_place_is_here(walk, name, adapter, place)) {
            return true;
        }
        replay_place_walk_pass(walk);
    }
    replay_place_missing(name, walk, adapter, errp);
    return false;
}

bool replay_place_at_icount(uint64_t icount, ReplayPlace *place)
{
    ReplayPlaceName name = { .has_icount = true, .icount = icount };

    return replay_place_find(&name, place, NULL);
}

/* --- Backwards by a step of gdb ------------------------------------------ */

static bool replay_place_is_stop(const ReplayLogEvent *ev)
{
    return ev->kind == REPLAY_EV_INTERRUPT || ev->kind == REPLAY_EV_EXCEPTION;
}

/*
 * Returns: whether there is a place at @icount where a step of gdb ends that is
 * not behind the event @before; then *@place is the last of them.
 */
static bool replay_place_last_stop(uint64_t icount, uint64_t before,
                                   ReplayPlace *place)
{
    ReplayPlaceName name = { .has_icount = true, .icount = icount };
    g_autofree ReplayPlaceWalk *walk = g_new0(ReplayPlaceWalk, 1);
    bool found = false;

    if (!replay_place_walk_to(walk, &name, NO_ADAPTER, NULL)) {
        return false;
    }
    while (replay_place_walk_read(walk) && walk->ev.icount <= icount
           && walk->ev.number <= before) {
        ReplayPlace here;

        if (!found) {
            found = replay_place_is_here(walk, &name, NO_ADAPTER, &here);
            if (found) {
                *place = here;
            }
        }
        if (found && replay_place_is_stop(&walk->ev)
            && walk->ev.number < before) {
            *place = (ReplayPlace) {
                .event = walk->ev.number + 1, .icount = icount
            };
        }
        replay_place_walk_pass(walk);
    }
    return found;
}

/*
 * Returns: whether an interrupt or exception happens at @from->icount before
 * @from; then *@event is the last of them.
 */
static bool replay_place_last_interrupt(const ReplayPlace *from,
                                        uint64_t *event)
{
    ReplayPlace first, last;

    if (!replay_place_at_icount(from->icount, &first)
        || !replay_place_last_stop(from->icount, from->event, &last)
        || replay_place_compare(&last, &first) <= 0) {
        return false;
    }
    *event = last.event - 1;
    return true;
}

bool replay_place_step_back(const ReplayPlace *from, ReplayPlace *place,
                            Error **errp)
{
    uint64_t event;

    if (!replay_place_open(errp)) {
        return false;
    }
    if (replay_place_last_interrupt(from, &event)) {
        /* The step took this interrupt; an earlier one may precede it. */
        return replay_place_last_stop(from->icount, event, place);
    }
    if (!from->icount) {
        error_setg(errp, "the replay is at its beginning");
        return false;
    }
    return replay_place_last_stop(from->icount - 1, UINT64_MAX, place);
}
