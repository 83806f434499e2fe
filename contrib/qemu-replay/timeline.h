/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Traffic and instructions over the guest's virtual time, in a fixed number of
 * bins, however long the recording is.
 */

#ifndef QEMU_REPLAY_TIMELINE_H
#define QEMU_REPLAY_TIMELINE_H

#include "replay/replay-log.h"

#define TIMELINE_BINS   400

typedef struct TimelineBin {
    uint64_t received_bytes, received_packets;
    uint64_t sent_bytes, sent_packets;
    uint64_t instructions;
    uint64_t others;            /* events of other kinds */
} TimelineBin;

/* Begin with zeros. */
typedef struct Timeline {
    uint64_t width_ns;          /* of a bin; 0 before the first event */
    uint64_t end_ns;            /* the time of the last event */
    TimelineBin bin[TIMELINE_BINS];
} Timeline;

/*
 * Returns: the bin for @time_ns, which the caller adds to; borrowed until the
 * next call.  If the time is beyond the last bin, bins become wider.
 */
TimelineBin *timeline_bin(Timeline *t, uint64_t time_ns);

/* Adds an event to its bin. */
void timeline_add(Timeline *t, uint64_t time_ns, const ReplayLogEvent *ev);

/* Returns: how many bins are in use. */
unsigned timeline_used(const Timeline *t);

/*
 * Appends an SVG image of the timeline: a panel for the bytes in both
 * directions, and one for the instructions.
 */
void timeline_svg(GString *out, const Timeline *t);

#endif
