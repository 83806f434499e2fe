/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Deterministic record and replay: what the rest of QEMU calls.
 *
 * Under -icount ...,rr=record everything that reaches the guest from outside
 * (clocks, packets, input, random numbers, results of host operations) is
 * written into a recording together with the number of instructions that the
 * guest had executed.  Under rr=replay it is taken from there at the same
 * instruction, and the outside is silent.
 *
 * How to read this file.  A device or back end that brings something from
 * outside does one of two things: it calls a pair of functions at the instant
 * at which the guest sees the value (a *synchronous* event: clocks, random
 * numbers, character writes), or it queues an *asynchronous* event (packets,
 * input, bottom halves, block completions), which the vCPU thread saves and
 * runs at its next checkpoint.  In a replay the same calls take the value, or
 * the event, from the recording.
 *
 * Locks.  The replay mutex is taken before the BQL, never after it.  The main
 * loop holds both except while it polls; the vCPU thread holds the replay
 * mutex while it executes guest code and runs events.  "Context: locked" below
 * means that the caller holds the replay mutex.  With replay_mode equal to
 * REPLAY_MODE_NONE no lock is needed and every call is cheap.
 *
 * See docs/replay.txt for the theory, the format of a recording and every
 * error message with its remedy.
 */

#ifndef SYSEMU_REPLAY_H
#define SYSEMU_REPLAY_H

#include "qapi/qapi-types-misc.h"
#include "qapi/qapi-types-qom.h"
#include "qapi/qapi-types-run-state.h"
#include "qapi/qapi-types-replay.h"
#include "qapi/qapi-types-ui.h"
#include "block/aio.h"
#include "net/queue.h"

/* Clocks whose values are recorded each time they are read, in ns. */
typedef enum ReplayClockKind {
    REPLAY_CLOCK_HOST,          /* QEMU_CLOCK_HOST */
    REPLAY_CLOCK_VIRTUAL_RT,    /* QEMU_CLOCK_VIRTUAL_RT */
    REPLAY_CLOCK_COUNT
} ReplayClockKind;

/* Places at which main loop and vCPU are brought into the recorded order. */
typedef enum ReplayCheckpoint {
    CHECKPOINT_CLOCK_WARP_START,
    CHECKPOINT_CLOCK_WARP_ACCOUNT,
    CHECKPOINT_RESET_REQUESTED,
    CHECKPOINT_SUSPEND_REQUESTED,
    CHECKPOINT_CLOCK_VIRTUAL,
    CHECKPOINT_CLOCK_HOST,
    CHECKPOINT_CLOCK_VIRTUAL_RT,
    CHECKPOINT_INIT,
    CHECKPOINT_RESET,
    CHECKPOINT_COUNT
} ReplayCheckpoint;

/*
 * Set once by replay_configure() before any thread starts, back to
 * REPLAY_MODE_NONE by replay_finish(); read without a lock.
 */
extern ReplayMode replay_mode;

/* The rrsnapshot= option, or NULL.  Set by replay_configure(); read-only. */
extern char *replay_snapshot;

/* --- The life of a recording ------------------------------------------- */

/**
 * replay_configure: take the rr options of -icount and open the recording
 * @opts: the -icount options (borrowed), or NULL if there are none
 *
 * Options that make no sense, a file that cannot be written, a file that is
 * not a recording: reported, and QEMU exits with status 1.
 *
 * Context: start-up, main thread, once; on return it holds the replay mutex.
 */
void replay_configure(struct QemuOpts *opts);

/**
 * replay_start: asynchronous events are queued and recorded from here on
 *
 * Exits with status 1 if the machine has something that forbids record and
 * replay (see replay_add_blocker()).
 *
 * Context: start-up, locked, after all devices of the command line exist.
 */
void replay_start(void);

/**
 * replay_finish: end the recording or the replay and free what it used
 *
 * A recording gets its end, is flushed to disk and closed; if that fails,
 * the reason is reported and replay_exit_status() turns into a failure.
 * Safe when nothing is recorded, and safe twice.
 *
 * Context: any thread at exit; no guest code runs any more.
 */
void replay_finish(void);

/**
 * replay_exit_status: what QEMU shall exit with
 * @status: what it would exit with if there were no recording
 *
 * Returns: @status; EXIT_FAILURE in its place when @status is 0 and a
 * recording could not be written to its end, or a replay could not go on.
 */
int replay_exit_status(int status);

/**
 * replay_add_blocker: forbid record and replay for this machine
 * @reason: why; owned by the replay subsystem from here on
 *
 * Context: start-up, before replay_start().
 */
void replay_add_blocker(Error *reason);

/**
 * replay_main_loop_timeout: how long the main loop may sleep
 * @timeout_ns: how long it would, ns; -1 is forever
 *
 * A replay does not wait for time to pass.  When the recording's next event is
 * the main loop's to make, it must not sleep; when it is the vCPU's, that one
 * is woken.  A replay in which neither makes it ends with a report.
 *
 * Context: main loop, with the BQL, once each time round; locked, unless that
 * is a round that replay_net_has_round() has found.
 * Returns: ns, or -1; @timeout_ns outside of a replay.
 */
int64_t replay_main_loop_timeout(int64_t timeout_ns);

/* --- Locking ----------------------------------------------------------- */

/**
 * replay_mutex_lock: take the replay mutex
 * replay_mutex_unlock: give it back
 *
 * The mutex is fair: threads get it in the order in which they asked, so that
 * neither the main loop nor the vCPU can starve the other.  Not recursive.
 * Both do nothing when replay_mode is REPLAY_MODE_NONE.
 *
 * Context: any thread that does not hold the BQL.
 */
void replay_mutex_lock(void);
void replay_mutex_unlock(void);

/* Returns: whether this thread has the replay mutex. */
bool replay_mutex_locked(void);

/**
 * replay_mutex_release: give the replay mutex back, if this thread has it
 *
 * Who waits for the vCPU thread lets it have the mutex.  Who takes it again
 * must not hold the BQL then.
 *
 * Context: any thread.
 * Returns: whether this thread had the mutex, and gave it back.
 */
bool replay_mutex_release(void);

/* --- Instructions ------------------------------------------------------ */

/* Returns: the number of instructions that the guest has executed. */
uint64_t replay_get_current_icount(void);

/**
 * replay_get_instructions: how far the vCPU may run in a replay
 *
 * Bounded, so that the main loop gets its turn even when the next event of
 * the recording is far away; 0 when something else has to happen first.
 *
 * Context: vCPU thread, not locked (takes the replay mutex).
 * Returns: a number of instructions.
 */
int replay_get_instructions(void);

/**
 * replay_account_executed_instructions: tell a replay how far the guest is
 *
 * Context: locked.  Does nothing outside of a replay.
 */
void replay_account_executed_instructions(void);

/* --- Interrupts and exceptions ----------------------------------------- */

/**
 * replay_exception: the vCPU is about to take an exception
 * replay_interrupt: the vCPU has taken an interrupt
 *
 * Context: vCPU thread, locked.
 * Returns: true when it happens now; false in a replay when the recording
 * has something else next.
 */
bool replay_exception(void);
bool replay_interrupt(void);

/**
 * replay_has_exception: is an exception the next thing in the recording?
 * replay_has_interrupt: likewise for an interrupt
 *
 * Nothing is consumed.
 *
 * Context: vCPU thread, locked.
 * Returns: true if so; always false outside of a replay.
 */
bool replay_has_exception(void);
bool replay_has_interrupt(void);

/**
 * replay_shutdown_request: the machine is asked to shut down or to reset
 * @cause: why; a replay makes the same request at the same instruction
 *
 * Context: locked.
 */
void replay_shutdown_request(ShutdownCause cause);

/**
 * replay_shutdown_waits: is it too early to shut down?
 * @cause: why the machine is to shut down, %SHUTDOWN_CAUSE_NONE if it is not
 *
 * A guest that has ended its machine executes some more instructions until it
 * is stopped.  A replay lets it execute those that are in the recording.
 *
 * Context: main loop, with the BQL.
 * Returns: true if the request has to wait; the main loop is notified when it
 * need not any longer.
 */
bool replay_shutdown_waits(ShutdownCause cause);

/* --- Clocks and other values that the guest reads ---------------------- */

/**
 * replay_save_clock: record a clock that is being read
 * @kind: which clock
 * @clock: its value, ns
 * @raw_icount: instructions executed; passed in, because callers hold locks
 *              that counting them here would take again
 *
 * Context: locked.
 * Returns: @clock.
 */
int64_t replay_save_clock(ReplayClockKind kind, int64_t clock,
                          int64_t raw_icount);

/**
 * replay_read_clock: the value that this clock had in the recording
 * @kind: which clock
 * @raw_icount: instructions executed
 *
 * Context: locked.
 * Returns: ns; the value last read if the recording has no new one here.
 */
int64_t replay_read_clock(ReplayClockKind kind, int64_t raw_icount);

/*
 * Record, replay or pass on the value of a clock.  @value is evaluated only
 * when it is used.  The second form is for callers inside vm_clock_seqlock.
 */
#define REPLAY_CLOCK_AT(kind, value, icount)                               \
    (replay_mode == REPLAY_MODE_NONE ? (value) :                           \
     replay_mode == REPLAY_MODE_PLAY ? replay_read_clock((kind), (icount)) \
                                     : replay_save_clock((kind), (value),  \
                                                         (icount)))
#define REPLAY_CLOCK(kind, value) \
    REPLAY_CLOCK_AT(kind, value, icount_get_raw())
#define REPLAY_CLOCK_LOCKED(kind, value) \
    REPLAY_CLOCK_AT(kind, value, icount_get_raw_locked())

/**
 * replay_save_random: record random bytes that the guest is given
 * @ret: what the generator returned
 * @buf: the bytes, borrowed
 * @len: how many
 *
 * Context: locked.
 */
void replay_save_random(int ret, void *buf, size_t len);

/**
 * replay_read_random: random bytes from the recording
 * @buf: filled in
 * @len: its size; a recording that has another number here does not match
 *
 * Context: locked.
 * Returns: what the generator returned while recording.
 */
int replay_read_random(void *buf, size_t len);

/* --- Asynchronous events ----------------------------------------------- */

/**
 * replay_checkpoint: a place that the recording knows
 * @checkpoint: which one
 *
 * Context: locked.
 * Returns: true when execution may go on; false in a replay when the
 * recording has something else first, and the caller must come again later.
 */
bool replay_checkpoint(ReplayCheckpoint checkpoint);

/**
 * replay_has_event: does the recording have a checkpoint or an asynchronous
 * event next?
 *
 * Context: locked.
 * Returns: true if so; always false outside of a replay.
 */
bool replay_has_event(void);

/**
 * replay_async_events: save and run what is queued, or replay what is next
 *
 * Context: vCPU thread, locked, with the BQL; not from within an event.
 */
void replay_async_events(void);

/* Returns: whether asynchronous events are queued. */
bool replay_events_enabled(void);

/**
 * replay_flush_events: run what is queued now, without recording it
 *
 * Context: locked, with the BQL.
 */
void replay_flush_events(void);

/**
 * replay_bh_schedule_event: schedule a bottom half that the guest can notice
 * @bh: borrowed until it ran, or is cancelled or deleted
 *
 * Takes the place of qemu_bh_schedule(): the bottom half runs in the vCPU
 * thread, at the same instruction in record and replay; once, however often
 * it is scheduled before that.
 *
 * Context: locked, with the BQL.
 */
void replay_bh_schedule_event(QEMUBH *bh);

/**
 * replay_bh_forget_event: a bottom half is cancelled or deleted
 * @bh: borrowed
 *
 * It is taken out of the queue, if it is there.
 *
 * Context: qemu_bh_cancel() and qemu_bh_delete(), any thread.
 */
void replay_bh_forget_event(QEMUBH *bh);

/**
 * replay_bh_schedule_oneshot_event: like aio_bh_schedule_oneshot()
 * @ctx: used when events are not enabled
 * @cb: called with @opaque
 *
 * Context: locked, with the BQL.
 */
void replay_bh_schedule_oneshot_event(AioContext *ctx,
                                      QEMUBHFunc *cb, void *opaque);

/**
 * replay_block_event: a block request has completed
 * @bh: what continues it; borrowed
 * @id: from blkreplay_next_id(), when the request was made
 *
 * Context: locked, with the BQL.
 */
void replay_block_event(QEMUBH *bh, uint64_t id);

/* Returns: an id for a block request; the same in record and replay. */
uint64_t blkreplay_next_id(void);

/* --- Input ------------------------------------------------------------- */

/**
 * replay_input_event: somebody pressed a key or moved a pointer
 * @src: the console it comes from
 * @evt: borrowed
 * replay_input_sync_event: the end of a group of such events
 *
 * In a replay both are ignored: the recording has its own.
 *
 * Context: main loop.
 */
void replay_input_event(QemuConsole *src, InputEvent *evt);
void replay_input_sync_event(void);

/* --- Character devices ------------------------------------------------- */

/**
 * replay_register_char_driver: record what comes in through a character device
 * @chr: borrowed for the lifetime of QEMU
 *
 * Context: start-up; devices must be registered in the same order in record
 * and replay.
 */
void replay_register_char_driver(struct Chardev *chr);

/**
 * replay_chr_be_write: bytes have come in
 * @s: a registered device
 * @buf: the bytes; copied
 * @len: how many
 *
 * Context: locked, with the BQL; record only.
 */
void replay_chr_be_write(struct Chardev *s, const uint8_t *buf, int len);

/**
 * replay_chr_mux_be_write: bytes have come in for one of a device's front ends
 * @s: a registered device that is multiplexed
 * @frontend: index of the one that has the focus, and is no monitor
 * @buf: the bytes; copied
 * @len: how many
 *
 * In a replay they are ignored: the recording has its own.
 *
 * Context: locked, with the BQL.
 */
void replay_chr_mux_be_write(struct Chardev *s, int frontend,
                             const uint8_t *buf, int len);

/**
 * replay_char_write_event_save: record how a write to the back end went
 * @res: what it returned
 * @offset: bytes that it took
 * replay_char_write_event_load: the same from the recording
 * @offset: on entry the number of bytes that the guest writes; a recording
 *          that has more here does not match
 *
 * Context: locked.
 */
void replay_char_write_event_save(int res, int offset);
void replay_char_write_event_load(int *res, int *offset);

/**
 * replay_char_read_all_load: bytes that a synchronous read gave
 * @buf: filled in
 * @len: its size; a recording that has more bytes here does not match
 *
 * Context: locked.
 * Returns: their number, or the recorded error (negative).
 */
int replay_char_read_all_load(uint8_t *buf, int len);

/* Record the failure @res (negative), or the @offset bytes in @buf. */
void replay_char_read_all_save_error(int res);
void replay_char_read_all_save_buf(uint8_t *buf, int offset);

/* --- Network ----------------------------------------------------------- */

/**
 * replay_net_blocks_sender: must a netdev stop reading?
 * @sender: the netdev, whose packet a filter has just taken
 * @sent_cb: is called when the netdev may read again; NULL if the netdev cannot
 *           stop
 *
 * A NIC without room makes its netdev stop reading, and a flood is then left to
 * the kernel.  The filter of a recorder takes every packet, so this function
 * makes the netdev stop when many packets wait for the NIC.  @sent_cb is called
 * when half of them have gone.  The guest does not notice, and nothing is
 * recorded.
 *
 * Context: BQL.
 * Returns: whether the netdev has to wait for @sent_cb.
 */
bool replay_net_blocks_sender(NetClientState *sender, NetPacketSent *sent_cb);

/**
 * replay_net_nic_ready: the guest has made room in a NIC
 *
 * Packets for the NIC wait in its filter-replay, not in its netdev, and the
 * vCPU thread fetches them from there.
 *
 * Context: any thread, BQL.
 * Returns: false if the main loop has to look at its netdevs again.
 */
bool replay_net_nic_ready(void);

/**
 * replay_net_only_moves_packets: is this round of the main loop for netdevs
 * alone?
 * @fds: the descriptors that GLib's sources have polled
 * @n: number of entries in @fds
 *
 * While recording, packets from a netdev are queued, and packets from the guest
 * have left it already.  If a round has nothing else to do, the main loop moves
 * these packets with the BQL alone, while the vCPU executes guest code, and
 * polls again.
 *
 * Context: main loop, between polling and taking its locks: without any.
 * Returns: false if this round needs the replay mutex.
 */
bool replay_net_only_moves_packets(const GPollFD *fds, int n);

/**
 * filter_replay_attach: a NIC is being put on a netdev
 * @ncs: the queues of the netdev, borrowed
 * @queues: number of entries in @ncs
 * @errp: set when packets of this netdev would bypass its filters
 *
 * Under record and replay a NIC must not receive packets that are not recorded:
 * a netdev (or port of a hub) without a filter-replay gets one with the id
 * "replay-NETDEV".
 *
 * Context: main loop, BQL; before the machine runs.
 * Returns: true; false with @errp set.
 */
bool filter_replay_attach(NetClientState **ncs, int queues, Error **errp);

/**
 * replay_link_set: somebody pulls a cable, or plugs it in
 * @name: of a network client, borrowed
 * @up: the new state of the link
 * @errp: set in a replay, whose links change as they were recorded
 *
 * While recording, the change becomes an asynchronous event, and the link
 * changes when the event runs.
 *
 * Context: main loop, locked, with the BQL.
 * Returns: true if the change is dealt with, or refused with @errp set; false
 * if the caller may change the link now.
 */
bool replay_link_set(const char *name, bool up, Error **errp);

/* --- What the user does to the machine --------------------------------- */

/**
 * replay_hides_vm_change: must the guest not notice that the machine stops?
 *
 * A replay stops at other places than its recording, or nowhere.  So a device
 * that cancels or restarts something in its VM state handler must leave it as
 * it is.
 *
 * Context: VM state handlers, BQL.
 * Returns: true while a machine that has run is recorded or replayed.
 */
bool replay_hides_vm_change(void);

/**
 * replay_allows_change: may something be plugged, unplugged or announced?
 * @what: the command, for the message
 * @before_start: whether it does no harm before the machine first runs
 *
 * Context: main loop, BQL.
 * Returns: true; false with @errp set when a machine is recorded or replayed:
 * no recording knows at which instruction this happens.
 */
bool replay_allows_change(const char *what, bool before_start, Error **errp);

/* --- Audio ------------------------------------------------------------- */

/**
 * replay_audio_out: how many samples the back end has played
 * @played: recorded, or overwritten with what was recorded
 *
 * Context: locked.
 */
void replay_audio_out(size_t *played);

/**
 * replay_audio_in: samples that came in
 * @recorded: how many
 * @samples: ring buffer of struct st_sample
 * @wpos: index behind the last one
 * @size: of the ring, in samples
 *
 * Context: locked.
 */
void replay_audio_in(size_t *recorded, void *samples, size_t *wpos,
                     size_t size);

/* --- State of the virtual machine -------------------------------------- */

/**
 * replay_vmstate_init: make or load the snapshot that rrsnapshot= names
 *
 * Context: start-up, locked, before the machine first runs.
 */
void replay_vmstate_init(void);

/* Returns: whether a snapshot can be made now (no event is in the queue). */
bool replay_can_snapshot(void);

/**
 * replay_can_load_snapshot: may the machine go to another state?
 * @errp: set while it is recorded: time would go back
 *
 * Context: main loop, before anything is loaded.
 * Returns: true; false with @errp set.
 */
bool replay_can_load_snapshot(Error **errp);

/* --- Debugging backwards ----------------------------------------------- */

/**
 * replay_reverse_step: go one instruction back
 * replay_reverse_continue: go back to the last breakpoint that was passed
 *
 * Context: gdbstub, locked, with the BQL.
 * Returns: true if the search has begun.
 */
bool replay_reverse_step(void);
bool replay_reverse_continue(void);

/* Returns: whether such a search is going on. */
bool replay_running_debug(void);

/* A breakpoint was passed during the search. */
void replay_breakpoint(void);

/* A debugger was attached: make a snapshot to go back to. */
void replay_gdb_attached(void);

#endif
