/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Audio: synchronous events with the number of samples that the audio back end
 * played, and with the samples that it captured.  The recording stores a sample
 * as two little-endian 64-bit numbers, left and right.  If a back end captures
 * more than SAMPLES_MAX samples at once, the recorder drops the last of them,
 * so that the guest gets only those that fit into one event.
 */

#include "qemu/osdep.h"
#include "audio/audio.h"
#include "qemu/bswap.h"
#include "sysemu/replay.h"
#include "replay-report.h"
#include "replay-stream.h"

#define SAMPLE_BYTES    (2 * sizeof(uint64_t))
#define SAMPLES_MAX     (REPLAY_LOG_DATA_MAX_BYTES / SAMPLE_BYTES)

void replay_audio_out(size_t *played)
{
    if (replay_mode == REPLAY_MODE_RECORD) {
        replay_catch_up();
        replay_put1(REPLAY_EV_AUDIO_OUT, *played);
    } else if (replay_mode == REPLAY_MODE_PLAY
               && replay_expect(REPLAY_EV_AUDIO_OUT)) {
        if (replay_now.next.num[0] > *played) {
            replay_diverge("the recording played %" PRIu64 " audio samples, "
                           "but only %zu are available",
                           replay_now.next.num[0], *played);
            return;
        }
        *played = replay_now.next.num[0];
        replay_take_next();
    }
}

static void replay_audio_save(size_t recorded, void *samples, size_t wpos,
                              size_t size)
{
    g_autofree uint8_t *buf = g_malloc(recorded * SAMPLE_BYTES);
    const uint64_t num[] = { recorded, wpos };
    size_t first = (wpos + size - recorded) % size;
    size_t i;

    for (i = 0; i < recorded; i++) {
        uint64_t left, right;

        audio_sample_to_uint64(samples, (first + i) % size, &left, &right);
        stq_le_p(buf + i * SAMPLE_BYTES, left);
        stq_le_p(buf + i * SAMPLE_BYTES + sizeof(left), right);
    }
    replay_put(REPLAY_EV_AUDIO_IN, num, buf, recorded * SAMPLE_BYTES);
}

static void replay_audio_load(size_t *recorded, void *samples, size_t *wpos,
                              size_t size)
{
    const ReplayLogEvent *ev = &replay_now.next;
    uint64_t count = ev->num[0];
    size_t i;

    if (count > size || ev->num[1] >= size
        || ev->len_bytes != count * SAMPLE_BYTES) {
        replay_diverge("an audio event has %" PRIu64 " samples in %zu bytes, "
                       "for position %" PRIu64 " in a ring of %zu samples",
                       count, ev->len_bytes, ev->num[1], size);
        *recorded = 0;
        return;
    }
    *recorded = count;
    *wpos = ev->num[1];
    for (i = 0; i < count; i++) {
        const uint8_t *p = ev->data + i * SAMPLE_BYTES;

        audio_sample_from_uint64(samples, (*wpos + size - count + i) % size,
                                 ldq_le_p(p), ldq_le_p(p + sizeof(uint64_t)));
    }
}

void replay_audio_in(size_t *recorded, void *samples, size_t *wpos, size_t size)
{
    if (replay_mode == REPLAY_MODE_RECORD) {
        replay_catch_up();
        if (*recorded > SAMPLES_MAX) {
            size_t left_out = *recorded - SAMPLES_MAX;

            *wpos = (*wpos + size - left_out) % size;
            *recorded = SAMPLES_MAX;
        }
        replay_audio_save(*recorded, samples, *wpos, size);
    } else if (replay_mode == REPLAY_MODE_PLAY) {
        if (!replay_expect(REPLAY_EV_AUDIO_IN)) {
            *recorded = 0;
            return;
        }
        replay_audio_load(recorded, samples, wpos, size);
        replay_take_next();
    }
}
