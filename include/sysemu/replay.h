/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Deterministic record and replay: what the rest of QEMU calls.
 *
 * Under -icount ...,rr=record QEMU writes everything that reaches the guest
 * from outside (clocks, packets, input, random numbers, results of host
 * operations) into a recording, together with the number of instructions that
 * the guest had executed.  Under rr=replay QEMU takes all this from the
 * recording at the same instruction, and ignores the outside.
 *
 * How to read this file.  A device or back end that brings something from
 * outside does one of two things.  For a *synchronous* event (clocks, random
 * numbers, character writes), it calls a pair of functions at the instant at
 * which the guest sees the value.  For an *asynchronous* event (packets, input,
 * bottom halves, block completions), it queues the event, and the vCPU thread
 * saves the event and runs it between two pieces of guest code.  In a replay
 * the same calls take the value, or the event, from the recording.
 *
 * Locks.  A thread takes the replay mutex before the BQL, never after it.  The
 * main loop holds both except while it polls, and except in rounds that only
 * move packets (see replay_net_only_moves_packets()).  The vCPU thread holds
 * the replay mutex while it executes guest code and runs events.  "Context:
 * locked" below means that the caller holds the replay mutex.  With replay_mode
 * equal to REPLAY_MODE_NONE no lock is needed and every call is cheap.
 *
 * See docs/replay.txt for the theory, the format of a recording and every
 * error message with its remedy.
 */

#ifndef SYSEMU_REPLAY_H
#define SYSEMU_REPLAY_H

#include "qapi/qapi-types-run-state.h"
#include "qapi/qapi-types-replay.h"
#include "qapi/qapi-types-ui.h"
#include "qapi/qapi-types-net.h"
#include "block/aio.h"
#include "net/queue.h"

/**
 * enum ReplayClockKind - clocks whose values are recorded at each reading
 * @REPLAY_CLOCK_HOST: QEMU_CLOCK_HOST
 * @REPLAY_CLOCK_VIRTUAL_RT: QEMU_CLOCK_VIRTUAL_RT
 * @REPLAY_CLOCK_COUNT: number of these clocks
 */
typedef enum ReplayClockKind {
    REPLAY_CLOCK_HOST,
    REPLAY_CLOCK_VIRTUAL_RT,
    REPLAY_CLOCK_COUNT
} ReplayClockKind;

/**
 * enum ReplayCheckpoint - places that bring main loop and vCPU thread into the
 * recorded order
 * @CHECKPOINT_CLOCK_WARP_START: a warp of QEMU_CLOCK_VIRTUAL starts
 * @CHECKPOINT_CLOCK_WARP_ACCOUNT: a warp of QEMU_CLOCK_VIRTUAL is accounted for
 * @CHECKPOINT_RESET_REQUESTED: the main loop carries out a request to reset
 * @CHECKPOINT_SUSPEND_REQUESTED: the main loop carries out a request to suspend
 * @CHECKPOINT_CLOCK_VIRTUAL: timers of QEMU_CLOCK_VIRTUAL run
 * @CHECKPOINT_CLOCK_HOST: timers of QEMU_CLOCK_HOST run
 * @CHECKPOINT_CLOCK_VIRTUAL_RT: timers of QEMU_CLOCK_VIRTUAL_RT run
 * @CHECKPOINT_INIT: start-up, before the board is initialized
 * @CHECKPOINT_RESET: start-up, before the first reset
 * @CHECKPOINT_COUNT: number of these places
 */
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

/**
 * enum ReplayRequest - what the user may ask of the machine; the values are
 * those in a recording
 * @REPLAY_REQUEST_RESET: reset the machine
 * @REPLAY_REQUEST_POWERDOWN: press the power button
 * @REPLAY_REQUEST_WAKEUP: end the suspension
 * @REPLAY_REQUEST_NMI: send a non-maskable interrupt
 * @REPLAY_REQUEST_COUNT: number of requests
 */
typedef enum ReplayRequest {
    REPLAY_REQUEST_RESET,
    REPLAY_REQUEST_POWERDOWN,
    REPLAY_REQUEST_WAKEUP,
    REPLAY_REQUEST_NMI,
    REPLAY_REQUEST_COUNT
} ReplayRequest;

/*
 * The mode.  replay_configure() sets it once, before any other thread starts.
 * replay_finish() sets it back to REPLAY_MODE_NONE; if QEMU exits without
 * replay_finish(), exit() does so.  Read without a lock.
 */
extern ReplayMode replay_mode;

/*
 * The rrsnapshot= option, owned by the replay subsystem; NULL without it.  Set
 * by replay_configure(), then read-only until replay_finish().
 */
extern char *replay_snapshot;

/* --- The life of a recording ------------------------------------------- */

/**
 * replay_take_command_line: keep the command line for the description of a
 * recording, and change the one of a replay
 * @argc: number of arguments
 * @argv: the arguments, borrowed until QEMU exits
 *
 * A replay does without displays and sound that this QEMU does not have.
 *
 * Context: start-up, main thread, once; before the arguments are parsed.
 * Returns: as many arguments, which QEMU has to parse; @argv outside of a
 * replay.
 */
char **replay_take_command_line(int argc, char **argv);

/**
 * replay_configure: take the rr options of -icount and open the recording
 * @opts: the -icount options (borrowed), or NULL if there are none
 *
 * Context: start-up, main thread, once.  If it opens a recording, the thread
 * holds the replay mutex on return.
 *
 * Reports the following and exits with status 1: options that make no sense, a
 * file that cannot be written, a file that is not a recording.
 */
void replay_configure(struct QemuOpts *opts);

/**
 * replay_start: queue and record asynchronous events from now on
 *
 * Context: start-up, locked, after all devices of the command line exist.
 *
 * Reports the reason and exits with status 1 if this machine cannot be recorded
 * or replayed (for example because of replay_add_blocker()).
 */
void replay_start(void);

/**
 * replay_finish: end the recording or the replay and free what it used;
 * complete a recording, flush it to disk and close it
 *
 * Context: main thread at exit, when no guest code runs any more; or the vCPU
 * thread in cpu_abort(), which never returns to guest code.  Safe when nothing
 * is recorded or replayed, and safe to call twice.
 *
 * If the recording cannot be completed, the reason is reported, and
 * replay_exit_status() turns success into failure.
 */
void replay_finish(void);

/**
 * replay_exit_status: the status with which QEMU has to exit
 * @status: the exit status that QEMU would have without a recording
 *
 * Context: main thread, after replay_finish().
 * Returns: EXIT_FAILURE if @status is EXIT_SUCCESS, but the recording could not
 * be completed or the replay could not go on; otherwise @status.
 */
int replay_exit_status(int status);

/**
 * replay_add_blocker: forbid record and replay for this machine
 * @feature: what of the machine or which option forbids it; borrowed forever
 *
 * Context: start-up, before replay_start(), which reports @feature.
 */
void replay_add_blocker(const char *feature);

/**
 * replay_main_loop_timeout: how long the main loop may sleep
 * @timeout_ns: how long the main loop would sleep, in ns; -1 for ever
 *
 * A replay does not wait for time to pass.  If the main loop has to produce the
 * next event of the recording, it must not sleep.  If the vCPU thread has to
 * produce it, this function wakes the vCPU thread.
 *
 * Context: main loop, once in each round, with the BQL; locked, except in a
 * round that replay_net_only_moves_packets() has allowed.
 * Returns: a time in ns, or -1 for ever.
 *
 * A replay in which neither thread produces the next event ends with a report.
 */
int64_t replay_main_loop_timeout(int64_t timeout_ns);

/* --- Locking ----------------------------------------------------------- */

/**
 * replay_mutex_lock: take the replay mutex; without record or replay, do
 * nothing
 *
 * Context: any thread that holds neither the BQL nor the replay mutex, which is
 * not recursive.
 *
 * The mutex is fair: threads get it in the order in which they asked for it, so
 * that neither the main loop nor the vCPU thread can starve the other.
 */
void replay_mutex_lock(void);

/**
 * replay_mutex_unlock: give the replay mutex back; without record or replay, do
 * nothing
 *
 * Context: locked.
 */
void replay_mutex_unlock(void);

/**
 * replay_mutex_locked: does this thread hold the replay mutex?
 *
 * Context: any thread.
 * Returns: true if this thread holds it.
 */
bool replay_mutex_locked(void);

/**
 * replay_mutex_release: give the replay mutex back if this thread holds it
 *
 * Context: any thread.  Call this function before waiting for the vCPU thread,
 * which needs the mutex.  Drop the BQL before taking the mutex again.
 * Returns: true if this thread held the mutex and has given it back.
 */
bool replay_mutex_release(void);

/* --- Instructions ------------------------------------------------------ */

/**
 * replay_get_current_icount: the number of instructions that the guest has
 * executed
 *
 * Context: any thread, not inside of vm_clock_seqlock.
 * Returns: a number of instructions.
 */
uint64_t replay_get_current_icount(void);

/**
 * replay_get_instructions: how far the vCPU may run in a replay; limited, so
 * that the main loop gets its turn even if the next event is far away
 *
 * Context: vCPU thread, locked.
 * Returns: a number of instructions; 0 if something else has to happen first.
 */
int replay_get_instructions(void);

/**
 * replay_account_executed_instructions: tell a replay how many instructions the
 * guest has executed; do nothing outside of a replay
 *
 * Context: vCPU thread, locked.
 */
void replay_account_executed_instructions(void);

/* --- Interrupts and exceptions ----------------------------------------- */

/**
 * replay_exception: the vCPU is about to take an exception
 *
 * Context: vCPU thread, locked.
 * Returns: true if the vCPU takes the exception now; false in a replay whose
 * recording has another event next.
 */
bool replay_exception(void);

/**
 * replay_interrupt: the vCPU takes an interrupt
 *
 * Context: vCPU thread, locked.
 * Returns: true if this happens now; false in a replay whose recording has
 * another event next.
 */
bool replay_interrupt(void);

/**
 * replay_has_exception: is an exception the next event of the recording?
 *
 * Context: vCPU thread, locked.  The event stays the next one.
 * Returns: true if so; always false outside of a replay.
 */
bool replay_has_exception(void);

/**
 * replay_has_interrupt: is an interrupt the next event of the recording?
 *
 * Context: vCPU thread, locked.  The event stays the next one.
 * Returns: true if so; always false outside of a replay.
 */
bool replay_has_interrupt(void);

/**
 * replay_vcpu_stays_halted: does a vCPU that has work stay halted for now?
 *
 * Context: vCPU thread, locked.
 * Returns: true in a replay if other events precede the interrupt that ends the
 * halt.
 */
bool replay_vcpu_stays_halted(void);

/* --- Several vCPUs ----------------------------------------------------- */

/**
 * replay_vcpu_choose: which vCPU executes now?
 * @cpu: the one that the caller would take, borrowed; NULL: the first
 *
 * Under record and replay the vCPU thread asks this before each run of guest
 * code, so that events and timers have their turn between two vCPUs.
 *
 * Context: vCPU thread, locked, with the BQL.
 * Returns: a vCPU, borrowed, which may be halted or stopped.
 */
CPUState *replay_vcpu_choose(CPUState *cpu);

/**
 * replay_vcpu_begin: a vCPU that is not halted is about to execute, or to take
 * an interrupt
 * @cpu: which, borrowed
 *
 * Context: vCPU thread, locked.
 */
void replay_vcpu_begin(CPUState *cpu);

/**
 * replay_vcpu_yield: the vCPU that executes waits for another one (PAUSE)
 *
 * Context: vCPU thread.
 */
void replay_vcpu_yield(void);

/**
 * replay_vcpu_step_ends: does a step of gdb end with this run of guest code?
 * @cpu: the vCPU that has run, borrowed
 *
 * In a replay each step ends behind an instruction, also behind one that has
 * halted the vCPU or has ended its turn, where QEMU would go on.
 *
 * Context: vCPU thread, after replay_account_executed_instructions(), with the
 * BQL.
 * Returns: true in a replay if @cpu is stepped and has executed something.
 */
bool replay_vcpu_step_ends(const CPUState *cpu);

/**
 * replay_vcpu_slice: how many instructions may a vCPU execute before the next?
 * @insns: how many it could execute
 *
 * Context: vCPU thread, between two runs of guest code.
 * Returns: a number that is not greater than @insns.
 */
int64_t replay_vcpu_slice(int64_t insns);

/**
 * replay_vcpu_waits: does a vCPU of a replay stand still for now?
 * @cpu: which, borrowed
 *
 * Context: any thread, BQL.
 * Returns: true in a replay if another vCPU has to execute first.
 */
bool replay_vcpu_waits(const CPUState *cpu);

/* --- Requests to shut down --------------------------------------------- */

/**
 * replay_shutdown_request: the machine is asked to shut down
 * @cause: the cause.  In a replay the guest repeats its request at the same
 *         instruction.  A request of the host is carried out at the end of the
 *         recording.
 *
 * Context: locked.
 */
void replay_shutdown_request(ShutdownCause cause);

/**
 * replay_shutdown_waits: is it too early to shut down?
 * @cause: why the machine is to shut down; SHUTDOWN_CAUSE_NONE if it is not
 *
 * A guest that has ended its machine executes some more instructions until the
 * main loop stops the vCPU.  A replay lets the guest execute those that are in
 * the recording.
 *
 * Context: main loop, with the BQL.
 * Returns: true if the request has to wait; the main loop is notified when the
 * wait is over.
 */
bool replay_shutdown_waits(ShutdownCause cause);

/* --- Clocks and other values that the guest reads ---------------------- */

/**
 * replay_save_clock: record the value of a clock that is being read
 * @kind: the clock
 * @clock: the value of the clock, in ns
 * @raw_icount: number of instructions that the guest has executed; the caller
 *              passes it because counting here would take locks that the caller
 *              may hold
 *
 * Context: locked.
 * Returns: @clock, plus replay_clock_offset().
 */
int64_t replay_save_clock(ReplayClockKind kind, int64_t clock,
                          int64_t raw_icount);

/**
 * replay_clock_offset: how far a recorder's clock is from that of the host
 * @kind: the clock
 *
 * When the user leaves a replay, its clocks go on from where they are.
 *
 * Context: any thread; no lock is needed.
 * Returns: what is added to the host's clock, in ns; 0 in a recorder that has
 * not begun as a replay, and in a replay.
 */
int64_t replay_clock_offset(ReplayClockKind kind);

/**
 * replay_read_clock: take the value of a clock from the recording
 * @kind: the clock
 * @raw_icount: number of instructions that the guest has executed
 *
 * Context: locked.
 * Returns: the value in ns; if the recording has no reading of this clock here,
 * the value of the last reading.
 */
int64_t replay_read_clock(ReplayClockKind kind, int64_t raw_icount);

/**
 * REPLAY_CLOCK_AT: record, replay or pass on the value of a clock
 * @kind: the clock, a ReplayClockKind
 * @value: expression that reads the clock, in ns; not evaluated in a replay
 * @icount: expression for the number of executed instructions; not evaluated
 *          without record or replay
 *
 * Context: locked, under record and replay.
 * Returns: the value that the reader of the clock has to use, in ns.
 */
#define REPLAY_CLOCK_AT(kind, value, icount)                               \
    (replay_mode == REPLAY_MODE_NONE ? (value) :                           \
     replay_mode == REPLAY_MODE_PLAY ? replay_read_clock((kind), (icount)) \
                                     : replay_save_clock((kind), (value),  \
                                                         (icount)))

/**
 * REPLAY_CLOCK: REPLAY_CLOCK_AT() for callers outside of vm_clock_seqlock
 * @kind: the clock, a ReplayClockKind
 * @value: expression that reads the clock, in ns; not evaluated in a replay
 *
 * Context: locked, under record and replay.
 * Returns: the value that the reader of the clock has to use, in ns.
 */
#define REPLAY_CLOCK(kind, value) \
    REPLAY_CLOCK_AT(kind, value, icount_get_raw())

/**
 * REPLAY_CLOCK_LOCKED: REPLAY_CLOCK_AT() for callers inside of vm_clock_seqlock
 * @kind: the clock, a ReplayClockKind
 * @value: expression that reads the clock, in ns; not evaluated in a replay
 *
 * Context: locked, under record and replay.
 * Returns: the value that the reader of the clock has to use, in ns.
 */
#define REPLAY_CLOCK_LOCKED(kind, value) \
    REPLAY_CLOCK_AT(kind, value, icount_get_raw_locked())

/**
 * replay_save_random: record random bytes that the guest is given
 * @ret: the return value of the generator
 * @buf: the bytes, borrowed
 * @len: number of bytes
 *
 * Context: locked.
 */
void replay_save_random(int ret, void *buf, size_t len);

/**
 * replay_read_random: take random bytes from the recording
 * @buf: filled in, borrowed
 * @len: number of bytes
 *
 * Context: locked.
 * Returns: the return value that the generator had while recording.
 *
 * If the recording has another number of bytes, or no random bytes here, the
 * replay ends with a report, and @buf gets zeros.
 */
int replay_read_random(void *buf, size_t len);

/* --- Checkpoints ------------------------------------------------------- */

/**
 * replay_checkpoint: main loop or vCPU thread has come to a checkpoint
 * @checkpoint: the place
 *
 * Context: locked.
 * Returns: true if the caller may go on; false if it has to come again later,
 * in a replay whose recording has another event next, or for timers that wait
 * for a machine that is stopped.
 */
bool replay_checkpoint(ReplayCheckpoint checkpoint);

/**
 * replay_vcpu_is_held: is the main loop about to reset or suspend the machine?
 *
 * Context: vCPU thread, BQL.
 * Returns: true from the checkpoint of the request until replay_vcpu_release();
 * then the vCPU thread must not run events.
 */
bool replay_vcpu_is_held(void);

/**
 * replay_vcpu_release: the machine was reset, or has woken up
 *
 * Context: main loop, BQL.
 */
void replay_vcpu_release(void);

/**
 * replay_has_event: is a checkpoint or an asynchronous event the next event of
 * the recording?
 *
 * Context: locked.  The event stays the next one.
 * Returns: true if so; always false outside of a replay.
 */
bool replay_has_event(void);

/* --- Asynchronous events ----------------------------------------------- */

/**
 * replay_async_events: save and run the events in the queue; in a replay, run
 * the events that the recording has next
 *
 * Context: vCPU thread, locked, with the BQL; not from within an event.
 */
void replay_async_events(void);

/**
 * replay_events_enabled: are asynchronous events queued?
 *
 * Context: any thread.
 * Returns: true between replay_start() and replay_finish(), under record or
 * replay; otherwise events run at once.  If QEMU exits without replay_finish(),
 * events stay queued and do not run.
 */
bool replay_events_enabled(void);

/**
 * replay_bh_schedule_event: schedule a bottom half that the guest can notice
 * @bh: the bottom half; borrowed until it has run, or is cancelled or deleted
 *
 * Takes the place of qemu_bh_schedule().  The bottom half runs in the vCPU
 * thread, at the same instruction in record and replay.  A bottom half that is
 * scheduled several times before it runs, runs once.
 *
 * Context: locked, with the BQL.
 */
void replay_bh_schedule_event(QEMUBH *bh);

/**
 * replay_bh_forget_event: take a bottom half out of the queue, if it is there
 * @bh: the bottom half, borrowed
 *
 * Context: any thread; from qemu_bh_cancel().
 */
void replay_bh_forget_event(QEMUBH *bh);

/**
 * replay_bh_created: a device has made a bottom half
 * @bh: the bottom half, borrowed until replay_bh_deleted()
 * @function: name of the function that @bh calls; static
 * @guard: the guard of the device, borrowed
 *
 * A snapshot can hold the bottom half while it is scheduled, if the device has
 * made it before the machine runs.
 *
 * Context: with the BQL.
 */
void replay_bh_created(QEMUBH *bh, const char *function,
                       MemReentrancyGuard *guard);

/**
 * replay_bh_deleted: a bottom half is about to be freed: take it out of the
 * queue, and forget it
 * @bh: the bottom half, borrowed
 *
 * Context: any thread.
 */
void replay_bh_deleted(QEMUBH *bh);

/**
 * replay_bh_schedule_oneshot_event: schedule a function that the guest can
 * notice, in place of aio_bh_schedule_oneshot()
 * @ctx: the context, borrowed; used only while events are not enabled
 * @cb: the function, called once
 * @opaque: argument of @cb; borrowed until @cb has run
 *
 * Context: locked, with the BQL.
 */
void replay_bh_schedule_oneshot_event(AioContext *ctx,
                                      QEMUBHFunc *cb, void *opaque);

/**
 * replay_block_event: the host has completed a block request
 * @bh: the bottom half that continues the request; borrowed until it has run
 * @id: the return value of blkreplay_next_id() when the request was made
 *
 * Context: locked, with the BQL.
 */
void replay_block_event(QEMUBH *bh, uint64_t id);

/**
 * blkreplay_next_id: make an id for a block request, for which a replay waits
 * until replay_block_event() is called
 *
 * Context: locked, with the BQL.
 * Returns: the id, which is the same in record and replay; 0 while events are
 * not enabled.
 */
uint64_t blkreplay_next_id(void);

/**
 * replay_block_wait_begin: this thread starts a block request, and does nothing
 * else until the request has completed
 *
 * Context: any thread, outside of coroutines; calls can be nested.  The guest
 * does not run meanwhile, so the completion of such a request needs no event.
 * It must not be one either: this thread may be the vCPU thread, which runs the
 * events.
 */
void replay_block_wait_begin(void);

/**
 * replay_block_wait_end: the request that this thread has waited for is done
 *
 * Context: the thread that called replay_block_wait_begin().
 */
void replay_block_wait_end(void);

/**
 * replay_block_complete_one: this thread waits until block requests of the
 * guest have completed: run one event that this may depend on
 *
 * Context: any thread; nothing happens without the replay mutex.  A device that
 * is reset waits for its requests, mostly in the vCPU thread.  Their
 * completions are events, which nothing else runs meanwhile.  A thread that
 * waits calls this function before it polls, and again after each true, so that
 * the events run in the same place in record and replay.
 * Returns: whether an event was run.
 */
bool replay_block_complete_one(void);

/**
 * replay_block_begin: a device is about to make a request to its disk that it
 * can make again after a snapshot was loaded
 * @id: of the device, borrowed until replay_block_end().  If
 *      replay_block_load() was called with *@id, the request has this id once
 *      more, and its completion is the one that the recording has; else *@id
 *      becomes the id of the request.
 *
 * In a replay a snapshot can be saved while such a request is under way: the
 * device saves the request and *@id.  When the machine continues after the
 * snapshot was loaded, and before it executes guest code, the device makes the
 * request again.
 *
 * Context: with the BQL.
 */
void replay_block_begin(uint64_t *id);

/**
 * replay_block_end: the request after replay_block_begin() was made
 *
 * Context: with the BQL.
 */
void replay_block_end(void);

/**
 * replay_block_cannot_repeat: a device no longer waits for a request that the
 * disk is still working on, and would not make it again
 * @id: of the request, from replay_block_begin()
 *
 * Context: with the BQL.
 */
void replay_block_cannot_repeat(uint64_t id);

/**
 * replay_block_load: a device has loaded a request that was under way
 * @id: of the request
 *
 * Context: while a snapshot is loaded.
 * Returns: true; false if @id is not valid, which was reported.
 */
bool replay_block_load(uint64_t id);

/**
 * replay_block_wait_for_host: wait until the host works on no request to a disk
 *
 * Context: main loop, with the BQL; outside of coroutines.
 *
 * The completions of the requests stay in the queue.
 */
void replay_block_wait_for_host(void);

/* --- Disks ------------------------------------------------------------- */

/**
 * replay_disk_attach: a disk is being attached to a device of the guest
 * @blk: the block back end of the device, borrowed
 * @errp: set if the disk can be neither recorded nor replayed
 *
 * Under record and replay, requests of the guest to a disk must complete at
 * recorded instructions, and a replay must find the content that the recorder
 * found.  So the disk gets QEMU's driver blkreplay and, if it is writable, a
 * temporary overlay, unless the user has put blkreplay there.
 *
 * Context: main loop, BQL; before the machine runs.
 * Returns: true; false with @errp set.
 */
bool replay_disk_attach(BlockBackend *blk, Error **errp);

/**
 * replay_disk_failed: the host has failed a request of the guest to a disk
 * @blk: the block back end of the device, borrowed
 * @is_read: whether the request was to read
 * @error: errno value, positive
 *
 * Such an error is not recorded, so the user is warned once, with the name of
 * the disk.
 */
void replay_disk_failed(BlockBackend *blk, bool is_read, int error);

/* --- Random bytes from the host ------------------------------------------ */

/* The most bytes in one call of replay_rng_receive(). */
#define REPLAY_RNG_MAX_BYTES    (64 * 1024)

/**
 * typedef ReplayRngOps: a back end that reads random bytes from the host
 * @wants: returns whether a request of the guest waits, and sets *@len to the
 *         number of bytes that the first request asks for
 * @receive: completes the first request, if there is one, with the bytes
 * @open: the user leaves a replay: opens the file, if it is not open, and
 *        returns true; false with @errp set
 * @start: the replay was left: reads for the first request, if there is one
 *
 * Context: locked, with the BQL; vCPU thread, @open and @start main loop.
 */
typedef struct ReplayRngOps {
    bool (*wants)(void *opaque, size_t *len);
    void (*receive)(void *opaque, const void *buf, size_t len);
    bool (*open)(void *opaque, Error **errp);
    void (*start)(void *opaque);
} ReplayRngOps;

/**
 * replay_rng_register: record the bytes that a back end reads
 * @id: its id, borrowed until replay_rng_unregister()
 * @ops: borrowed forever
 * @opaque: argument of @ops
 *
 * Record and replay have to register the same back ends in the same order.
 *
 * Context: main thread.
 * Returns: a number for the functions below.
 */
unsigned replay_rng_register(const char *id, const ReplayRngOps *ops,
                             void *opaque);

/**
 * replay_rng_unregister: the back end goes away
 * @number: the return value of replay_rng_register()
 *
 * Context: main thread.
 */
void replay_rng_unregister(unsigned number);

/**
 * replay_rng_receive: queue bytes that a back end has read
 * @number: the return value of replay_rng_register()
 * @buf: the bytes, borrowed; copied
 * @len: number of bytes, at most REPLAY_RNG_MAX_BYTES
 *
 * Context: main loop, locked, with the BQL; record only.
 */
void replay_rng_receive(unsigned number, const void *buf, size_t len);

/* --- Input ------------------------------------------------------------- */

/**
 * replay_input_event: the user has pressed a key or moved a pointer
 * @src: the console, borrowed; not recorded
 * @evt: the event, borrowed; copied if it is queued
 *
 * A replay ignores @evt: the recording has its own events.
 *
 * Context: main loop; locked, with the BQL.
 */
void replay_input_event(QemuConsole *src, InputEvent *evt);

/**
 * replay_input_sync_event: a group of input events ends; ignored in a replay
 *
 * Context: main loop; locked, with the BQL.
 */
void replay_input_sync_event(void);

/* --- Character devices ------------------------------------------------- */

struct CharBackend;
struct QIOChannelSocket;

/**
 * replay_register_char_driver: record what a character device does with the
 * guest
 * @chr: the device; borrowed for the lifetime of QEMU
 *
 * It does nothing without rr=, and for a device that is registered already.  A
 * recording identifies the device by its label.
 *
 * Context: main thread, before the machine first runs.
 */
void replay_register_char_driver(struct Chardev *chr);

/**
 * replay_chr_needs_no_peer: does a replay do without the peer of a character
 * device?
 * @label: label of the device, or of the device below a multiplexed one;
 *         borrowed
 *
 * A device of the guest gets its input from the recording, so a replay need not
 * wait until somebody connects to it.
 *
 * Context: main thread.
 * Returns: true in a replay, if the device is a recorded one.
 */
bool replay_chr_needs_no_peer(const char *label);

/**
 * replay_chr_replace: a character device cannot be opened
 * @label: as above, borrowed
 * @err: the reason; freed if the device is replaced
 *
 * If a replay does without the device, a warning tells the user that what the
 * guest writes to it is lost.
 *
 * Context: main thread.
 * Returns: true if the caller has to make a device in its place that drops all
 * output; false if @err is still the caller's.
 */
bool replay_chr_replace(const char *label, Error *err);

/**
 * replay_chr_connect: connect a character device that a replay does without
 * @sioc: the channel to connect, borrowed
 * @addr: the peer, borrowed
 * @errp: set if there is no connection
 *
 * This does not wait for long for a peer that does not answer.
 *
 * Context: main thread.
 * Returns: 0; -1 with @errp set.
 */
int replay_chr_connect(struct QIOChannelSocket *sioc,
                       struct SocketAddress *addr, Error **errp);

/**
 * replay_chr_can_read: take off the bytes that are queued for the guest
 * @chr: a registered device, borrowed
 * @len: number of bytes that the device of the guest could take now
 *
 * A recorder reads no more from a back end than the device of the guest has
 * room for, as without a recorder.  A replay always reads, because it ignores
 * what it reads, except for the keys that change to a monitor.
 *
 * Context: with the BQL.
 * Returns: the number of bytes that may be read; 0 or more.
 */
int replay_chr_can_read(struct Chardev *chr, int len);

/**
 * replay_chr_be_write: queue bytes that a character device has brought
 * @s: a registered device, borrowed, whose front end is a device of the guest
 * @buf: the bytes, borrowed; copied
 * @len: number of bytes
 *
 * Context: locked, with the BQL; record only.
 */
void replay_chr_be_write(struct Chardev *s, const uint8_t *buf, int len);

/**
 * replay_chr_mux_be_write: queue bytes for one front end of a character device
 * @s: a registered device that is multiplexed, borrowed
 * @frontend: index of the front end that has the focus, a device of the guest
 * @buf: the bytes, borrowed; copied
 * @len: number of bytes
 *
 * A replay ignores the bytes: the recording has its own.
 *
 * Context: locked, with the BQL.
 */
void replay_chr_mux_be_write(struct Chardev *s, int frontend,
                             const uint8_t *buf, int len);

/**
 * replay_chr_break: queue a break that a character device has received
 * @be: the front end, borrowed, a device of the guest
 *
 * A replay ignores it: the recording has its own breaks.
 *
 * Context: locked, with the BQL.
 */
void replay_chr_break(struct CharBackend *be);

/**
 * replay_chr_write: a device of the guest writes to a character device
 * @chr: a registered device, borrowed
 * @buf: the bytes, borrowed; copied
 * @len: number of bytes
 *
 * The write succeeds at once.  Bytes that the back end does not take yet wait
 * in a queue of 8 MiB; further ones are dropped with a warning.  A replay waits
 * for room in the queue, unless the back end takes nothing for 30 s.
 *
 * If the recording has no write here, or one of more bytes, the replay ends
 * with a report, and the write appears to have succeeded as a whole.
 *
 * Context: locked, with the BQL.
 * Returns: @len; for a write that a recording has with another result, this
 * result: the number of bytes that were taken, or -1.
 */
int replay_chr_write(struct Chardev *chr, const uint8_t *buf, int len);

/**
 * replay_char_read_all_load: take the result of a synchronous read from the
 * recording
 * @buf: filled in, borrowed
 * @len: size of @buf in bytes
 *
 * Context: locked.
 * Returns: the number of bytes, or the recorded error (negative).
 *
 * If the recording has no read here, or one of more than @len bytes, the replay
 * ends with a report, and the function returns 0.
 */
int replay_char_read_all_load(uint8_t *buf, int len);

/**
 * replay_char_read_all_save_error: record that a synchronous read has failed
 * @res: the error, negative
 *
 * Context: locked.
 */
void replay_char_read_all_save_error(int res);

/**
 * replay_char_read_all_save_buf: record the bytes of a synchronous read
 * @buf: the bytes, borrowed
 * @offset: number of bytes
 *
 * Context: locked.
 */
void replay_char_read_all_save_buf(uint8_t *buf, int offset);

/* --- Network ----------------------------------------------------------- */

/**
 * replay_net_blocks_sender: must a netdev stop reading?
 * @sender: the netdev, borrowed; a filter has just taken a packet from it
 * @sent_cb: called when the netdev may read again; NULL if the netdev cannot
 *           stop reading
 *
 * Without a recorder, a NIC without room makes its netdev stop reading, and the
 * kernel deals with a flood.  The filter of a recorder takes every packet, so
 * this function makes the netdev stop when many packets wait for the NIC.
 * @sent_cb is called when half of them have been delivered.  The guest does not
 * notice this, and nothing is recorded.
 *
 * Context: BQL.
 * Returns: true if the netdev has to wait for @sent_cb.
 */
bool replay_net_blocks_sender(NetClientState *sender, NetPacketSent *sent_cb);

/**
 * replay_net_nic_ready: the guest has made room in a NIC; wake the vCPU thread
 * if packets wait in the queues of the adapters
 *
 * Context: any thread, BQL.  Outside of the vCPU thread the function wakes
 * nothing.
 * Returns: true if the main loop need not poll its netdevs again, because the
 * packets for a NIC wait in the queue of its adapter, not in its netdev; always
 * false outside of the vCPU thread.
 */
bool replay_net_nic_ready(void);

/**
 * replay_net_only_moves_packets: does this round of the main loop only move
 * packets?
 * @fds: the descriptors that GLib's sources have polled, borrowed
 * @n: number of entries in @fds
 *
 * While recording, packets from a netdev are queued, and packets from the guest
 * have already left the guest.  If a round has nothing else to do, the main
 * loop moves these packets with the BQL alone, while the vCPU executes guest
 * code, and polls again.
 *
 * Context: main loop, after polling and before it takes its locks.
 * Returns: false if this round needs the replay mutex.
 */
bool replay_net_only_moves_packets(const GPollFD *fds, int n);

/**
 * filter_replay_attach: a NIC is being attached to a netdev
 * @ncs: the queues of the netdev, borrowed
 * @queues: number of entries in @ncs
 * @errp: set if packets of this netdev would bypass its filters
 *
 * Under record and replay a NIC must not receive packets that are not recorded.
 * So a netdev (or port of a hub) without a filter-replay gets one with the id
 * "replay-NETDEV".
 *
 * Context: main loop, BQL; before the machine runs.
 * Returns: true; false with @errp set.
 */
bool filter_replay_attach(NetClientState **ncs, int queues, Error **errp);

/**
 * filter_replay_can_move: can filter-replay be on this netdev, in place of
 * another?
 * @ncs: the queues of the netdev, borrowed
 * @queues: how many it has
 * @errp: set if packets would bypass the filter
 *
 * Context: main loop, BQL.
 * Returns: true; false with @errp set.
 */
bool filter_replay_can_move(NetClientState **ncs, int queues, Error **errp);

/**
 * filter_replay_move: the user leaves a replay: move all filters to the netdev
 * that takes the place of another
 * @from: the stand-in of the replay
 * @to: a netdev without filters
 *
 * Context: main loop, BQL; the machine is stopped.
 */
void filter_replay_move(NetClientState *from, NetClientState *to);

/**
 * filter_replay_leave: the user leaves a replay: packets of the guest are going
 * to be forwarded
 *
 * Context: main loop, BQL; the machine is stopped.
 */
void filter_replay_leave(void);

/**
 * replay_netdev_init: make a netdev of the type replay, which neither sends nor
 * receives
 * @netdev: its options, borrowed
 * @id: its id, borrowed
 * @peer: the port of a hub to which it is attached, borrowed; NULL if there is
 *        none
 * @errp: set outside of a replay
 *
 * The netdev tells its NIC that it has the header and the offloads that the
 * netdev with this id had in the recording.
 *
 * Context: main loop, BQL.
 * Returns: 0; -1 with @errp set.
 */
int replay_netdev_init(const Netdev *netdev, const char *id,
                       NetClientState *peer, Error **errp);

/**
 * replay_netdev_arguments: choose the netdev that a QMP command makes
 * @command: the command, borrowed
 * @arguments: of the command, borrowed; may be NULL
 *
 * A replay opens no back end: it makes a netdev of the type replay in place of
 * each.  So in a replay the arguments of netdev_add become those of such a
 * netdev, before QEMU finds a type that it does not know.
 *
 * Context: main loop, BQL.
 */
void replay_netdev_arguments(const char *command, struct QDict *arguments);

/**
 * replay_netdev_from_opts: choose the netdev that is made in place of another
 * whose options are not parsed yet
 * @opts: options of -netdev, -nic, -net or netdev_add of HMP, borrowed
 *
 * Context: main loop, BQL.
 * Returns: an owned netdev of the type replay; NULL if QEMU has to parse @opts:
 * outside of a replay, or without a back end, or without an id.
 */
Netdev *replay_netdev_from_opts(QemuOpts *opts);

/**
 * replay_netdev_from_string: the same for a netdev that QemuOpts cannot hold
 * @optarg: argument of -netdev, JSON or keys and values, borrowed
 * @errp: set if @optarg cannot be parsed
 *
 * Context: main loop, BQL.
 * Returns: an owned netdev, in a replay of the type replay; NULL with @errp
 * set.
 */
Netdev *replay_netdev_from_string(const char *optarg, Error **errp);

/**
 * replay_netdevs_open: the user leaves a replay: open the back ends that it did
 * not open
 * @errp: set if one of them cannot be opened, or does not fit its NIC
 *
 * They are not attached to NICs yet.
 *
 * Context: main loop, BQL; the machine is stopped.
 * Returns: true; false with @errp set, and the stand-ins stay alone.
 */
bool replay_netdevs_open(Error **errp);

/**
 * replay_netdevs_leave: put the back ends that replay_netdevs_open() has opened
 * in the place of their stand-ins, with the same links
 *
 * Context: main loop, BQL; the machine is stopped.
 */
void replay_netdevs_leave(void);

/**
 * replay_link_set: the user unplugs or plugs in a network cable
 * @name: name of a network client, borrowed
 * @up: the new state of the link
 * @errp: set if the name is too long to be recorded
 *
 * While recording, the change becomes an asynchronous event, and the link
 * changes when the event runs.  A replay ignores the user: the recording has
 * its own changes.
 *
 * Context: main loop; locked, with the BQL.
 * Returns: true if the change is queued, ignored, or refused with @errp set;
 * false if the caller has to change the link itself.
 */
bool replay_link_set(const char *name, bool up, Error **errp);

/* --- What the user does to the machine --------------------------------- */

/**
 * replay_is_paused: does the vCPU thread wait for a checkpoint of the machine?
 *
 * Context: BQL.
 * Returns: whether it does.  The run state does not tell: a replay makes such
 * checkpoints while the machine runs.
 */
bool replay_is_paused(void);

/**
 * replay_hides_vm_change: must the guest not notice that the machine stops or
 * continues?
 *
 * Context: VM state handlers, BQL.
 * Returns: true for a machine that is recorded or replayed and has run.  A
 * replay stops at other places than its recorder, or nowhere, so a device must
 * not cancel or restart anything in its VM state handler.
 */
bool replay_hides_vm_change(void);

/**
 * replay_allows_change: may something be plugged, unplugged or announced?
 * @what: the command for the error message, borrowed
 * @before_start: true if the command is harmless before the machine first runs
 * @errp: set if a machine is recorded or replayed, because the recording does
 *        not have the instruction at which the command is carried out
 *
 * Context: main loop, BQL.
 * Returns: true; false with @errp set.
 */
bool replay_allows_change(const char *what, bool before_start, Error **errp);

/**
 * replay_request: the user, or a device of the guest, asks something of the
 * machine
 * @request: the request
 *
 * While recording, a request of the user becomes an asynchronous event.  A
 * replay ignores it, because the recording has its own.  A device makes its
 * request in the vCPU thread, and again in a replay; it is carried out at once.
 *
 * Context: main loop or vCPU thread; locked, with the BQL.
 * Returns: true if one of these has been done; false if the caller has to carry
 * out the request itself: without record and replay, or if it is a reset before
 * the machine first runs.
 */
bool replay_request(ReplayRequest request);

/**
 * replay_requests_of_suspended: carry out requests to a suspended machine
 *
 * Context: main loop, at the beginning of each round; with the BQL, and locked
 * if the round is not one that replay_net_only_moves_packets() has allowed.
 *
 * The vCPU thread runs all other asynchronous events, but none while the guest
 * has suspended the machine.
 */
void replay_requests_of_suspended(void);

/**
 * replay_allows_qmp: may a QMP command be carried out?
 * @name: the command, borrowed
 * @args: its arguments, borrowed; NULL without any
 * @errp: set if it may not, because the machine is recorded or replayed
 *
 * Context: any thread.
 * Returns: true; false with @errp set.
 */
bool replay_allows_qmp(const char *name, const QDict *args, Error **errp);

/**
 * replay_allows_hmp: may a command of the human monitor be carried out?
 * @name: the command with its abbreviations, as in hmp-commands.hx; borrowed
 * @is_info: @name is a subcommand of "info"
 * @args: its arguments, borrowed
 * @errp: set if it may not, because the machine is recorded or replayed
 *
 * Context: main loop, BQL.
 * Returns: true; false with @errp set.
 */
bool replay_allows_hmp(const char *name, bool is_info, const QDict *args,
                       Error **errp);

/* --- Audio ------------------------------------------------------------- */

/**
 * replay_audio_out: record or replay how many samples the back end has played
 * @played: the number of samples, borrowed; a replay overwrites it with the
 *          recorded number
 *
 * Context: locked.
 *
 * If the recording has more samples than *@played, or no audio output here, the
 * replay ends with a report.
 */
void replay_audio_out(size_t *played);

/**
 * replay_audio_in: record or replay samples that the back end has captured
 * @recorded: the number of samples, borrowed
 * @samples: ring buffer of struct st_sample, borrowed
 * @wpos: index behind the last sample in @samples, borrowed
 * @size: size of @samples, in samples
 *
 * A recorder may reduce *@recorded and move *@wpos back, if an event cannot
 * hold all samples.  A replay overwrites *@recorded, the samples and *@wpos.
 *
 * Context: locked.
 *
 * If the recording has no valid samples here, the replay ends with a report,
 * and *@recorded is set to 0.
 */
void replay_audio_in(size_t *recorded, void *samples, size_t *wpos,
                     size_t size);

/* --- State of the virtual machine -------------------------------------- */

/**
 * replay_vmstate_init: save (record) or load (replay) the snapshot that
 * rrsnapshot= names, if it does
 *
 * Context: start-up, locked, before the machine first runs.
 *
 * Reports a failure and exits with status 1.
 */
void replay_vmstate_init(void);

/**
 * replay_can_snapshot: QEMU's question whether a snapshot can be saved now
 *
 * Returns: true; replay_can_save_snapshot() and replay_prepare_snapshot() give
 * the answer, with a reason.
 */
bool replay_can_snapshot(void);

/**
 * replay_can_save_snapshot: may a snapshot be saved?
 * @errp: set while recording, if the snapshot of a disk would be lost; and if a
 *        device does something now that a snapshot cannot hold
 *
 * Context: main loop, before anything is saved; the machine may be running.
 * Returns: true; false with @errp set.
 */
bool replay_can_save_snapshot(Error **errp);

/**
 * replay_prepare_snapshot: make the machine ready for saving a snapshot
 * @errp: set if a device does something now that a snapshot cannot hold
 *
 * While recording, the requests of the guest to its disks come to their end
 * here, as events of this instruction.  In a replay they go on.  Bottom halves
 * and packets that wait are part of the snapshot.
 *
 * Context: main loop, locked, with the BQL; the machine is stopped.
 * Returns: true; false with @errp set.
 */
bool replay_prepare_snapshot(Error **errp);

/**
 * replay_flush_events: a snapshot is about to be loaded: bring to an end what
 * the devices are doing
 *
 * Context: main loop, locked, with the BQL; the machine is stopped.
 *
 * The requests to disks complete without regard to the recording, and bottom
 * halves are forgotten.  If the snapshot cannot be loaded after that, the
 * replay has ended.
 */
void replay_flush_events(void);

/**
 * replay_can_load_snapshot: may a snapshot be loaded?
 * @errp: set while recording, because time would go back
 *
 * Context: main loop, before anything is loaded.
 * Returns: true; false with @errp set.
 */
bool replay_can_load_snapshot(Error **errp);

/* --- Debugging backwards ----------------------------------------------- */

/**
 * replay_reverse_step: go back to where the last step of gdb began
 *
 * Context: gdbstub; replay only; locked, with the BQL.
 * Returns: true if the replay is on its way there; false if it cannot go back.
 */
bool replay_reverse_step(void);

/**
 * replay_reverse_continue: go back to the last breakpoint that was passed
 *
 * Context: gdbstub; replay only; locked, with the BQL.
 * Returns: true if the search has begun; false if the replay cannot go back.
 */
bool replay_reverse_continue(void);

/**
 * replay_running_debug: is the replay on its way to a place?
 *
 * Context: any thread.
 * Returns: true after a successful replay-seek, replay_reverse_step() or
 * replay_reverse_continue(), until the replay has arrived.  Breakpoints do not
 * stop it meanwhile.
 */
bool replay_running_debug(void);

/**
 * replay_breakpoint: note a breakpoint or watchpoint that the guest passes
 *
 * Context: vCPU thread, while replay_running_debug() is true: for a breakpoint
 * with the BQL, for a watchpoint locked and in guest code.
 */
void replay_breakpoint(void);

/**
 * replay_gdb_stops: gdb stops the vCPU here, so in a replay no event happens
 * until the machine runs again
 *
 * Context: vCPU thread, with the BQL.
 */
void replay_gdb_stops(void);

/**
 * replay_gdb_attached: a debugger was attached: from here on, a replay makes
 * checkpoints of the machine to go back to
 *
 * Context: main loop; locked, with the BQL.
 */
void replay_gdb_attached(void);

#endif
