/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the user may do to a machine that is recorded or replayed, once it has
 * run.
 *
 * A change that would reach the guest at an instruction that no recording
 * knows (plugging devices and netdevs, announcing the guest's address) is
 * refused.  Stopping the machine and continuing it is no event at all: the
 * guest and its devices do not notice it.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "sysemu/cpus.h"
#include "replay-now.h"

/* --- Stopping and going on --------------------------------------------- */

bool replay_hides_vm_change(void)
{
    return replay_has_begun() && !qemu_in_vcpu_thread();
}

/* --- What is refused --------------------------------------------------- */

bool replay_allows_change(const char *what, bool before_start, Error **errp)
{
    if (replay_mode == REPLAY_MODE_NONE
        || (before_start && !replay_has_begun())) {
        return true;
    }
    error_setg(errp, "%s: the virtual machine is being %s, and the recording "
               "does not know at which instruction this %s", what,
               replay_mode == REPLAY_MODE_RECORD ? "recorded" : "replayed",
               replay_mode == REPLAY_MODE_RECORD ? "happens" : "happened");
    if (before_start) {
        error_append_hint(errp, "Change the machine on the command line, or "
                          "start QEMU with -S and change it before the first "
                          "'cont'.\n");
    }
    return false;
}
