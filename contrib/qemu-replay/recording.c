/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A recording that is read from the beginning to the end, event by event, with
 * the guest's virtual time.  The memory that this takes does not depend on the
 * size of the recording.
 */

#include "qemu/osdep.h"
#ifndef _WIN32
#include <sys/file.h>
#endif
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "tool.h"

/* How often progress is shown, and how often a clock is read for that. */
#define PROGRESS_US         500000
#define PROGRESS_EVENTS     0x10000
/* How often --follow looks for more. */
#define FOLLOW_US           100000

Recording *recording_open(const char *path, Error **errp)
{
    ReplayLogReader *reader = replay_log_reader_open(path, errp);
    ReplayPcapngAdapter adapter;
    g_autoptr(GArray) adapters = NULL;
    Recording *r;

    if (!reader) {
        return NULL;
    }
    r = g_new0(Recording, 1);
    r->path = g_strdup(path);
    r->reader = reader;
    r->desc = replay_log_reader_description(reader);
    adapters = g_array_new(false, false, sizeof(adapter));
    while (replay_pcapng_adapter(r->desc, adapters->len, &adapter)) {
        g_array_append_val(adapters, adapter);
    }
    r->n_adapters = adapters->len;
    r->adapter = g_new(ReplayPcapngAdapter, r->n_adapters);
    if (r->n_adapters) {
        memcpy(r->adapter, adapters->data,
               r->n_adapters * sizeof(adapter));
    }
    vclock_init(&r->clock, r->desc);
    r->shows_progress = isatty(STDERR_FILENO);
    r->next_progress_us = g_get_monotonic_time() + PROGRESS_US;
    return r;
}

/* Removes what recording_progress() has shown. */
static void recording_progress_done(Recording *r)
{
    if (r->file_bytes) {
        fprintf(stderr, "\r     \r");
        r->file_bytes = 0;
    }
}

void recording_close(Recording *r)
{
    if (r) {
        recording_progress_done(r);
        replay_log_reader_close(r->reader);
        g_free(r->adapter);
        g_free(r->path);
        g_free(r);
    }
}

static void recording_progress(Recording *r)
{
    int64_t now_us = g_get_monotonic_time();

    if (now_us < r->next_progress_us) {
        return;
    }
    if (!r->file_bytes) {
        struct stat st;

        r->file_bytes = stat(r->path, &st) == 0 ? MAX(st.st_size, 1) : 1;
    }
    r->next_progress_us = now_us + PROGRESS_US;
    fprintf(stderr, "\r%3.0f %%", MIN(100.0, 100.0 *
            replay_log_reader_bytes(r->reader) / r->file_bytes));
    fflush(stderr);
}

ReplayLogStatus recording_next(Recording *r, ReplayLogEvent *ev, Error **errp)
{
    ReplayLogStatus status;
    Error *err = NULL;

    while ((status = replay_log_read_event(r->reader, ev, &err)) ==
           REPLAY_LOG_CUT && r->follows) {
        ReplayLogPos pos = replay_log_reader_pos(r->reader);

        error_free(err);
        err = NULL;
        fflush(stdout);
        if (recording_is_locked(r->path)) {
            g_usleep(FOLLOW_US);
        } else {
            /* The recorder has ended: take what it has written last. */
            r->follows = false;
        }
        replay_log_reader_seek(r->reader, &pos, NULL);
    }
    if (status != REPLAY_LOG_OK) {
        r->time_ns = vclock_end(&r->clock,
                                replay_log_reader_pos(r->reader).icount);
        if (r->shows_progress) {
            recording_progress_done(r);
        }
        error_propagate(errp, err);
        return status;
    }
    r->time_ns = vclock_event(&r->clock, ev);
    if (r->shows_progress && ev->number % PROGRESS_EVENTS == 0) {
        recording_progress(r);
    }
    return REPLAY_LOG_OK;
}

int recording_ended(Recording *r, ReplayLogStatus status, Error *err)
{
    if (status == REPLAY_LOG_END) {
        error_free(err);
        return TOOL_OK;
    }
    fflush(stdout);
    if (status == REPLAY_LOG_CUT) {
        warn_report_err(err);
        return TOOL_OK;
    }
    return tool_fail(err);
}

bool recording_is_locked(const char *path)
{
#ifdef _WIN32
    return false;
#else
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    bool is_locked = false;

    if (fd >= 0) {
        is_locked = flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
        close(fd);
    }
    return is_locked;
#endif
}

const char *recording_adapter(const Recording *r, uint64_t number)
{
    return number < r->n_adapters ? r->adapter[number].name : "?";
}
