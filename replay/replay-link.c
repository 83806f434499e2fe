/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The link of a NIC.  When the user changes it with set_link, the change is an
 * asynchronous event.  A replay changes the link at the same instruction.
 */

#include "qemu/osdep.h"
#include "net/net.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "sysemu/replay-net.h"
#include "trace.h"
#include "replay-kinds.h"
#include "replay-stream.h"

/* set_link of a network client with a longer name is refused. */
#define NAME_MAX_BYTES      REPLAY_LOG_ADAPTER_NAME_MAX_BYTES

typedef struct ReplayLink {
    ReplayEvent ev;
    uint64_t up;                        /* 1: up; 0: down */
    char name[NAME_MAX_BYTES + 1];      /* of a network client */
} ReplayLink;

static ReplayEvent *replay_link_new(uint64_t up, const char *name)
{
    ReplayLink *s = g_new(ReplayLink, 1);

    s->ev.ops = &replay_link_ops;
    s->up = up;
    pstrcpy(s->name, sizeof(s->name), name);
    return &s->ev;
}

/*
 * Fills in @ncs with the clients named @name, or with all if it is NULL.
 * Returns: their number.
 */
static int replay_link_find(const char *name,
                            NetClientState *ncs[MAX_QUEUE_NUM])
{
    return MIN(qemu_find_net_clients_except(name, ncs, NET_CLIENT_DRIVER__MAX,
                                            MAX_QUEUE_NUM), MAX_QUEUE_NUM);
}

/*
 * A back end drops the packets that it receives while its own link is down.
 * The guest cannot see the link of the back end.  So this link goes up as soon
 * as the user says so, and the packets that the back end receives from then on
 * wait behind the event that makes the link of the NIC go up.
 */
static void replay_link_open(NetClientState **ncs, int count)
{
    int i;

    for (i = 0; i < count; i++) {
        if (ncs[i]->info->type != NET_CLIENT_DRIVER_NIC) {
            ncs[i]->link_down = false;
        }
    }
}

bool replay_link_set(const char *name, bool up, Error **errp)
{
    NetClientState *ncs[MAX_QUEUE_NUM];
    int count;

    if (!replay_has_begun()) {
        return false;
    }
    if (strlen(name) > NAME_MAX_BYTES) {
        error_setg(errp, "set_link: the name of the network client has %zu "
                   "bytes, and a change of its link is recorded only up to %d",
                   strlen(name), NAME_MAX_BYTES);
        return true;
    }
    count = replay_link_find(name, ncs);
    if (count == 0) {
        /* The caller reports that there is no such client. */
        return false;
    }
    if (replay_mode == REPLAY_MODE_RECORD) {
        replay_events_queue(replay_link_new(up, name));
        if (up) {
            replay_link_open(ncs, count);
        }
    }
    return true;
}

static void replay_link_save(const ReplayEvent *ev)
{
    const ReplayLink *s = container_of(ev, ReplayLink, ev);

    replay_put(REPLAY_EV_ASYNC_NET_LINK, &s->up, s->name, strlen(s->name));
}

/*
 * Returns: the client that was called @name while recording, borrowed, or NULL.
 * An id that QEMU has generated has other digits at its end in the replay.
 */
static NetClientState *replay_link_find_recorded(const char *name)
{
    NetClientState *ncs[MAX_QUEUE_NUM];
    g_autofree char *recorded = replay_net_name(name);
    int count = replay_link_find(name, ncs);
    int i;

    if (count) {
        return ncs[0];
    }
    count = replay_link_find(NULL, ncs);
    for (i = 0; i < count; i++) {
        g_autofree char *now = replay_net_name(ncs[i]->name);

        if (g_str_equal(now, recorded)) {
            return ncs[i];
        }
    }
    return NULL;
}

static ReplayEvent *replay_link_load(const ReplayLogEvent *logged, Error **errp)
{
    g_autofree char *name = NULL;
    NetClientState *nc;

    if (logged->num[0] > 1) {
        error_setg(errp, "invalid link state %" PRIu64 " (expected 0 or 1)",
                   logged->num[0]);
        return NULL;
    }
    name = g_strndup((const char *)logged->data,
                     MIN(logged->len_bytes, NAME_MAX_BYTES));
    nc = replay_link_find_recorded(name);
    if (strlen(name) != logged->len_bytes || !nc) {
        g_autofree char *printable = g_strescape(name, NULL);

        error_setg(errp, "the link of the network client '%s' changes, but "
                   "there is no such client", printable);
        return NULL;
    }
    return replay_link_new(logged->num[0], nc->name);
}

static void replay_link_run(ReplayEvent *ev)
{
    g_autofree ReplayLink *s = container_of(ev, ReplayLink, ev);

    trace_replay_net_link(s->name, replay_now.icount, s->up);
    net_set_link(s->name, s->up, NULL);
}

const ReplayEventOps replay_link_ops = {
    .kind = REPLAY_EV_ASYNC_NET_LINK,
    .save = replay_link_save,
    .load = replay_link_load,
    .run = replay_link_run,
};
