/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A page about a recording, which a browser shows without a network.
 */

#ifndef QEMU_REPLAY_REPORT_H
#define QEMU_REPLAY_REPORT_H

#include "tool.h"

/*
 * Appends the row of a packet to a block of the page.
 * @last: the packet of the row before, or zeros; is set to this one
 */
void report_row(GString *out, const Recording *r, const ReplayLogEvent *ev,
                ReplayPcapngPacket *last);

/* Appends the head of the page, up to the first block. */
void report_head(GString *out, const Recording *r);

#endif
