/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the user may do to a machine that is recorded or replayed, after it has
 * run.
 *
 * Plugging and unplugging devices and netdevs, and announcing the guest's
 * address, are refused: there is no kind of event for them, so no recording
 * could say at which instruction they reach the guest.  Stopping and continuing
 * the machine needs no event, because the guest and its devices do not notice
 * it.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "sysemu/cpus.h"
#include "replay-now.h"

/* --- Stopping and continuing ------------------------------------------- */

bool replay_hides_vm_change(void)
{
    return replay_has_begun() && !qemu_in_vcpu_thread();
}

/* --- What is refused --------------------------------------------------- */

bool replay_allows_change(const char *what, bool before_start, Error **errp)
{
    if (replay_mode == REPLAY_MODE_NONE
        || (before_start && (!replay_has_begun() || replay_now.left))) {
        return true;
    }
    if (replay_now.left) {
        error_setg(errp, "%s: this is not possible in a QEMU that has begun as "
                   "a replay", what);
    } else if (replay_mode == REPLAY_MODE_RECORD) {
        error_setg(errp, "%s: the virtual machine is being recorded, and this "
                   "cannot be recorded", what);
    } else {
        error_setg(errp, "%s: the virtual machine is being replayed, and this "
                   "is not in the recording", what);
    }
    if (before_start) {
        error_append_hint(errp, "Change the machine on the command line, or "
                          "start QEMU with -S and change it before the first "
                          "'cont'.\n");
    }
    return false;
}
