/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Requests to shut down the machine.
 *
 * The guest repeats its own request in a replay, at the same instruction.  A
 * host request (monitor, signal) is not repeated: the replay remembers it and
 * carries it out at the end of the recording, because the recorded guest kept
 * running until the main loop stopped the vCPU.
 *
 * Requests to reset do not come here: the checkpoint RESET_REQUESTED records
 * when the main loop carries them out.
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
    /* replay: by_guest, and recorded instructions remain; atomic */
    bool has_tail;
    ShutdownCause by_host;      /* replay: what ended the recorder */
} request;

static void replay_shutdown_record(ShutdownCause cause)
{
    replay_catch_up();
    replay_put1(REPLAY_EV_SHUTDOWN, cause);
    request.recorded = true;
}

/* Replay: guest code has made a request. */
static void replay_shutdown_replay(ShutdownCause cause)
{
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

void replay_shutdown_request(ShutdownCause cause)
{
    if (replay_mode == REPLAY_MODE_RECORD && replay_stream_is_open()) {
        replay_shutdown_record(cause);
    } else if (replay_mode == REPLAY_MODE_PLAY && qemu_in_vcpu_thread()
               && shutdown_caused_by_guest(cause) && !replay_has_failed()) {
        replay_shutdown_replay(cause);
    }
}

/*
 * The recorder's vCPU executed more instructions until its main loop stopped
 * it; a replay executes the same number of instructions, so that both end with
 * the same guest.
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

void replay_shutdown_forget(void)
{
    request.by_guest = false;
    qatomic_set(&request.has_tail, false);
    request.by_host = SHUTDOWN_CAUSE_NONE;
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
        /*
         * QEMU ends without a call of replay_shutdown_request().  The handler
         * of a signal must not put an event.  A guest reset under -no-reboot
         * sets shutdown_requested directly, and exit() or cpu_abort() needs no
         * request.  All of them are recorded as a signal.
         */
        replay_put1(REPLAY_EV_SHUTDOWN, SHUTDOWN_CAUSE_HOST_SIGNAL);
    }
}
