/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Random bytes that the guest gets: one event for each request, or for each
 * REPLAY_LOG_DATA_MAX_BYTES bytes of a larger request.
 */

#include "qemu/osdep.h"
#include "sysemu/replay.h"
#include "replay-report.h"
#include "replay-stream.h"

void replay_save_random(int ret, void *buf, size_t len)
{
    const uint64_t num[] = { (int64_t)ret };
    const uint8_t *bytes = buf;

    replay_catch_up();
    do {
        size_t part_bytes = MIN(len, REPLAY_LOG_DATA_MAX_BYTES);

        replay_put(REPLAY_EV_RANDOM, num, bytes, part_bytes);
        bytes += part_bytes;
        len -= part_bytes;
    } while (len);
}

/*
 * If the recording has another number of bytes or another event here, reports
 * this and reads zeros.
 */
static int replay_random_read_part(void *buf, size_t len)
{
    const ReplayLogEvent *ev = &replay_now.next;
    int ret;

    if (!replay_expect(REPLAY_EV_RANDOM)) {
        memset(buf, 0, len);
        return 0;
    }
    if (ev->len_bytes != len) {
        replay_diverge("the guest asks for %zu random bytes, but the recording "
                       "has %zu", len, ev->len_bytes);
        memset(buf, 0, len);
        return 0;
    }
    memcpy(buf, ev->data, len);
    ret = (int64_t)ev->num[0];
    replay_take_next();
    return ret;
}

int replay_read_random(void *buf, size_t len)
{
    uint8_t *bytes = buf;
    int ret;

    do {
        size_t part_bytes = MIN(len, REPLAY_LOG_DATA_MAX_BYTES);

        ret = replay_random_read_part(bytes, part_bytes);
        bytes += part_bytes;
        len -= part_bytes;
    } while (len);
    return ret;
}
