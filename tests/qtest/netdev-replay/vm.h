/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A QEMU of netdev-replay-test, with QMP.
 *
 * qtest_init() is of no use here: its socket would be a character device of
 * the recording, and it does not give the output of a QEMU that refuses to
 * start.
 */

#ifndef NETDEV_REPLAY_VM_H
#define NETDEV_REPLAY_VM_H

#include "qapi/qmp/qdict.h"

typedef struct Vm {
    pid_t pid;              /* 0 once the process has been waited for */
    int output_fd;          /* its stdout and stderr; -1 after end of file */
    GString *output;        /* read from output_fd so far */
    int qmp_fd;
    bool greeted;           /* QMP takes commands */
    GQueue events;          /* of QDict, owned: QMP events not yet asked for */
} Vm;

/*
 * Starts QEMU.  The options are separated by spaces, as in a shell.  The Vm
 * belongs to rig.vms.
 */
Vm *G_GNUC_PRINTF(1, 2) vm_start(const char *fmt, ...);

/*
 * Waits until @vm has ended, and frees it.  It must exit with @status, or be
 * killed by signal -@status.  Returns: its output, owned.
 */
char *vm_finish(Vm *vm, int status);

/* Ends a replay that could not go on under rrerror=stop, and frees @vm. */
void vm_quit_failed(Vm *vm);

/* Kills @vm, and reads its output to the end.  @vm stays in rig.vms. */
void vm_kill(Vm *vm);

/* The free function of rig.vms. */
void vm_free(gpointer opaque);

/* Makes QMP ready for commands, if it is not ready yet. */
void vm_greet(Vm *vm);

/* Whether a QMP message can be read; does not wait. */
bool vm_has_message(Vm *vm);

/*
 * Executes a QMP command, which must succeed.
 * Returns: the reply, owned.
 */
QDict *G_GNUC_PRINTF(2, 3) vm_query(Vm *vm, const char *fmt, ...);

#define vm_command(vm, ...) qobject_unref(vm_query(vm, __VA_ARGS__))

/*
 * Sends two QMP commands at once, so that only a round of the main loop is
 * between them.  Both must succeed.
 */
void vm_command_pair(Vm *vm, const char *first, const char *second);

/*
 * Continues a machine whose guest then ends QEMU, perhaps before QEMU has
 * replied: nothing more can be read from QMP.
 */
void vm_continue(Vm *vm);

/* A QMP command that must fail, with @reason in the text of the error. */
void G_GNUC_PRINTF(3, 4) vm_refuses(Vm *vm, const char *reason,
                                    const char *fmt, ...);

/* Returns: the output of a command of the human monitor, owned. */
char *vm_human(Vm *vm, const char *line);

/*
 * Waits for the QMP event called @name, and forgets all events before it.
 * Returns: the event, owned.
 */
QDict *vm_wait_event(Vm *vm, const char *name);

/* Checks the status that query-status returns. */
void vm_assert_status(Vm *vm, const char *status);

/* Returns: the value of a property of the filter with the id @filter. */
uint64_t vm_counter(Vm *vm, const char *filter, const char *counter);

/* Waits until the counter is @value; it must not become greater. */
void vm_wait_counter(Vm *vm, const char *filter, const char *counter,
                     uint64_t value);

/* Adds the filter-replay 'f@n' to the netdev 'n@n'. */
void vm_add_filter(Vm *vm, unsigned n);

#endif
