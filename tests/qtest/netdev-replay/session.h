/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Recording and replaying in netdev-replay-test: command lines, the life of a
 * recorder and of a replay, and checks of their consoles and output.
 *
 * QEMU records into the file "recording".  The guest writes to the file
 * "console"; once a recorder has ended, its console is "console.recorded".
 */

#ifndef NETDEV_REPLAY_SESSION_H
#define NETDEV_REPLAY_SESSION_H

#include "guest.h"
#include "vm.h"

/* --- Command lines ----------------------------------------------------- */

/* QEMU's exit status after COMMAND_EXIT, from isa-debug-exit. */
#define EXIT_STATUS         (EXIT_ARGUMENT << 1 | 1)

#define MACHINE \
    " -accel tcg -cpu qemu32,-apic -m 2 -nodefaults -display none" \
    " -no-reboot -bios bios -debugcon file:console" \
    " -device isa-debug-exit,iobase=0xf4,iosize=1"

#define DGRAM(n) \
    " -netdev dgram,id=n" #n ",local.type=unix,local.path=n" #n ".qemu," \
    "remote.type=unix,remote.path=n" #n ".peer"
#define NIC(n, where) \
    " -device ne2k_isa,netdev=n" #n ",mac=52:54:00:12:34:0" #n "," where
#define NIC0                NIC(0, "iobase=0x300,irq=9")
#define NIC1                NIC(1, "iobase=0x320,irq=10")
#define FILTER(n)           " -object filter-replay,id=f" #n ",netdev=n" #n

/* One adapter without and with a filter, and two adapters. */
#define NO_FILTER           MACHINE DGRAM(0) NIC0
#define ONE                 NO_FILTER FILTER(0)
#define TWO                 MACHINE DGRAM(0) DGRAM(1) NIC0 NIC1 \
                            FILTER(0) FILTER(1)

#define RECORD              " -icount shift=3,rr=record,rrfile=recording"
#define REPLAY              " -icount shift=3,rr=replay,rrfile=recording"

/* --- Recording --------------------------------------------------------- */

/*
 * Opens peers for @adapters adapters, starts QEMU with @options, and waits
 * until the guest has started its adapters.
 */
Vm *recorder_start(unsigned adapters, const char *options);

/*
 * Waits until @vm has ended with @status and without a message, then calls
 * recorder_keep_console().
 */
void recorder_finish(Vm *vm, int status);

/*
 * Kills the recorder once the recording has all that was exchanged until now,
 * then calls recorder_keep_console().
 */
void recorder_kill(Vm *vm);

/*
 * Checks the console, then calls recorder_end().  The console must have one
 * line for each frame that was exchanged, and nothing else.
 */
void recorder_keep_console(void);

/* Keeps the console as "console.recorded", and removes the peers. */
void recorder_end(void);

/* Exchanges @frames frames with one adapter, then makes the guest exit. */
void record(unsigned frames, const char *options);

/* The same, but the recording ends because the user quits QEMU. */
void record_to_quit(unsigned frames, const char *options);

/* --- Replaying --------------------------------------------------------- */

/* The console of the replay is the console of the recorder. */
void assert_identical(void);

/* The console of the replay is a part of it, from its beginning. */
void assert_prefix(void);

/*
 * Waits until the replay @vm has ended with @status and without a message;
 * it must be identical.
 */
void replay_finish_identical(Vm *vm, int status);

/* Starts QEMU with @options; the replay ends because the guest exits. */
void assert_replays(const char *options);

/* --- QEMU's output ----------------------------------------------------- */

/* Strings for the functions below, up to a NULL. */
#define SAYS(...) ((const char *const[]) { __VA_ARGS__, NULL })

/* There is none. */
void assert_quiet(const char *output);

/* It contains each of the strings. */
void assert_says(const char *output, const char *const *says);

/* It has one message that is not a warning. */
void assert_one_message(const char *output);

/* It is one warning, which contains each of the strings. */
void assert_warns_once(const char *output, const char *const *says);

/* QEMU exits with status 1 and one message, which has all the strings. */
void assert_fails(Vm *vm, const char *const *says);

/* The same, and the guest has not run. */
void assert_refused(Vm *vm, const char *const *says);

#endif
