/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Requests to shut down or reset the machine, and with them its end.
 *
 * A request that the guest makes is an event that it makes again in a replay,
 * at the same instruction.  A request of the host (a monitor command, a signal)
 * is recorded when it is made, and no code makes it again: the replay notes it
 * and carries it out when the recording ends, because between the request and
 * the moment the recorder's main loop stopped the vCPU, the guest went on.
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "sysemu/cpus.h"
#include "sysemu/runstate.h"
#include "replay-kinds.h"
#include "replay-report.h"
#include "replay-stream.h"

/* Replay mutex. */
static struct {
    bool recorded;              /* record: a request was put */
    bool by_guest;              /* replay: the guest has ended the machine */
    /* replay: and executes recorded instructions until it is stopped; atomic */
    bool has_tail;
    ShutdownCause by_host;      /* replay: what ended the recorder */
} request;

void replay_shutdown_request(ShutdownCause cause)
{
    if (replay_mode == REPLAY_MODE_RECORD && replay_stream_is_open()) {
        replay_catch_up();
        replay_put1(REPLAY_EV_SHUTDOWN, cause);
        request.recorded = true;
    } else if (replay_mode == REPLAY_MODE_PLAY && qemu_in_vcpu_thread()
               && shutdown_caused_by_guest(cause) && !replay_has_failed()) {
        replay_catch_up();
        if (replay_now.next.kind != REPLAY_EV_SHUTDOWN
            || replay_now.next.num[0] != cause) {
            replay_mismatch(REPLAY_EV_SHUTDOWN);
            return;
        }
        request.by_guest = true;
        qatomic_set(&request.has_tail, true);
        replay_take_next();
    }
}

/*
 * The recorder's vCPU went on until its main loop stopped it, sooner or later.
 * The vCPU of a replay executes as many instructions, so that both end with the
 * same guest.
 */
bool replay_shutdown_waits(ShutdownCause cause)
{
    return qatomic_read(&request.has_tail) && shutdown_caused_by_guest(cause)
           && replay_machine_is_live() && !replay_has_failed();
}

bool replay_shutdown_pass(const ReplayLogEvent *ev)
{
    uint64_t cause = ev->num[0];

    if (ev->kind != REPLAY_EV_SHUTDOWN) {
        return false;
    }
    if (cause == SHUTDOWN_CAUSE_NONE || cause >= SHUTDOWN_CAUSE__MAX) {
        replay_fail(REPLAY_END_REASON_DAMAGED, NULL, "unknown shutdown cause %"
                    PRIu64, cause);
        return false;
    }
    if (shutdown_caused_by_guest(cause)) {
        return false;
    }
    request.by_host = cause;
    return true;
}

void replay_shutdown_at_end(void)
{
    if (request.by_guest) {
        qatomic_set(&request.has_tail, false);
        qemu_notify_event();
    } else if (request.by_host) {
        qemu_system_shutdown_request(request.by_host);
    }
}

void replay_shutdown_in_device(void)
{
    request.by_guest = true;
}

bool replay_shutdown_is_by_guest(void)
{
    return request.by_guest || replay_now.next.kind == REPLAY_EV_SHUTDOWN;
}

void replay_shutdown_finish(void)
{
    if (!request.recorded) {
        /* A signal ends QEMU: its handler can put nothing. */
        replay_put1(REPLAY_EV_SHUTDOWN, SHUTDOWN_CAUSE_HOST_SIGNAL);
    }
}
