/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Requests of the user to the machine: reset, power button, wake-up, NMI.  Each
 * is an asynchronous event, which a replay repeats at the same instruction.
 *
 * A device of the guest, such as a watchdog, makes its requests in the vCPU
 * thread.  It makes them again in a replay, so these are no events.
 */

#include "qemu/osdep.h"
#include "hw/nmi.h"
#include "qapi/error.h"
#include "sysemu/cpus.h"
#include "sysemu/runstate.h"
#include "replay-kinds.h"
#include "replay-report.h"
#include "replay-stream.h"

typedef struct ReplayRequestEvent {
    ReplayEvent ev;
    uint64_t request;                   /* a ReplayRequest */
} ReplayRequestEvent;

/*
 * Record: events of requests to a machine that the guest has suspended.  The
 * vCPU thread runs no events then, so a request to wake the machine would wait
 * for itself.  The main loop runs these events, at the same place of its round
 * as in a replay.  The vCPU stands still, so the instruction is known.  Replay
 * mutex.
 */
static GQueue to_suspended = G_QUEUE_INIT;

static ReplayEvent *replay_request_new(uint64_t request)
{
    ReplayRequestEvent *s = g_new(ReplayRequestEvent, 1);

    s->ev.ops = &replay_request_ops;
    s->request = request;
    return &s->ev;
}

static void replay_request_save(const ReplayEvent *ev)
{
    const ReplayRequestEvent *s = container_of(ev, ReplayRequestEvent, ev);

    replay_put1(REPLAY_EV_ASYNC_REQUEST, s->request);
}

static ReplayEvent *replay_request_load(const ReplayLogEvent *logged,
                                        Error **errp)
{
    if (logged->num[0] >= REPLAY_REQUEST_COUNT) {
        error_setg(errp, "unknown request %" PRIu64 " to the machine",
                   logged->num[0]);
        return NULL;
    }
    return replay_request_new(logged->num[0]);
}

static void replay_request_run(ReplayEvent *ev)
{
    g_autofree ReplayRequestEvent *s = container_of(ev, ReplayRequestEvent, ev);

    switch (s->request) {
    case REPLAY_REQUEST_RESET:
        qemu_system_reset_request(SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET);
        break;
    case REPLAY_REQUEST_POWERDOWN:
        qemu_system_powerdown();
        break;
    case REPLAY_REQUEST_WAKEUP:
        qemu_system_wakeup_request(QEMU_WAKEUP_REASON_OTHER, NULL);
        break;
    case REPLAY_REQUEST_NMI:
        nmi_monitor_handle(0, NULL);
        break;
    }
}

bool replay_request(ReplayRequest request)
{
    if (replay_mode == REPLAY_MODE_NONE || !replay_events_enabled()) {
        return false;
    }
    if (request == REPLAY_REQUEST_RESET && !replay_has_begun()) {
        /* The guest has done nothing yet that it could lose. */
        return false;
    }
    if (qemu_in_vcpu_thread()) {
        /* The main loop would carry it out at an instruction of its choice. */
        replay_request_run(replay_request_new(request));
    } else if (replay_mode == REPLAY_MODE_PLAY) {
        /* The recording has its own requests. */
    } else if (runstate_check(RUN_STATE_SUSPENDED)) {
        if (request == REPLAY_REQUEST_RESET) {
            /* QMP refuses it; VNC has no way to say so. */
            return true;
        }
        g_queue_push_tail(&to_suspended, replay_request_new(request));
    } else {
        replay_events_queue(replay_request_new(request));
    }
    return true;
}

static void replay_request_record_suspended(void)
{
    ReplayEvent *ev;

    while ((ev = g_queue_pop_head(&to_suspended))) {
        if (runstate_check(RUN_STATE_SUSPENDED)) {
            replay_catch_up();
            replay_request_save(ev);
            replay_request_run(ev);
        } else {
            replay_events_queue(ev);
        }
    }
}

static void replay_request_replay_suspended(void)
{
    while (runstate_check(RUN_STATE_SUSPENDED)
           && replay_now.next.kind == REPLAY_EV_ASYNC_REQUEST) {
        Error *err = NULL;
        ReplayEvent *ev = replay_request_load(&replay_now.next, &err);

        if (ev && replay_now.next.num[0] == REPLAY_REQUEST_RESET) {
            /* A recorder refuses it: the machine would not run afterwards. */
            error_setg(&err, "a suspended machine is reset");
            g_free(container_of(ev, ReplayRequestEvent, ev));
            ev = NULL;
        }
        if (!ev) {
            replay_fail_err(REPLAY_END_REASON_DAMAGED, "A program other than "
                            "QEMU has changed the recording.", err);
            return;
        }
        replay_take_next();
        replay_request_run(ev);
    }
}

void replay_requests_of_suspended(void)
{
    if (replay_mode == REPLAY_MODE_RECORD) {
        replay_request_record_suspended();
    } else if (replay_mode == REPLAY_MODE_PLAY) {
        replay_request_replay_suspended();
    }
}

const ReplayEventOps replay_request_ops = {
    .kind = REPLAY_EV_ASYNC_REQUEST,
    .save = replay_request_save,
    .load = replay_request_load,
    .run = replay_request_run,
};
