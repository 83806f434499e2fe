/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Record and replay of the network, without an operating system.  A guest
 * program, netdev-replay/guest.S, drives NE2000 adapters and writes a line
 * about each frame that it receives to a console.  The test is the network at
 * the other end of a dgram netdev.
 *
 *   test  <-- datagrams -->  netdev n0 -- filter-replay -- ne2k_isa  guest
 *     |                                                                |
 *     +--- compares: each frame as sent; record with replay  <--- console
 *
 * A line has the port of the adapter, the length and the checksum of the
 * frame, the number of interrupts so far, and the time stamp counter.  So a
 * replay that is one instruction late has another console.
 *
 * This file has the scenarios.  They wait for conditions, never for an amount
 * of time, and fail after CEILING_S seconds.  In netdev-replay/ are:
 *
 *   rig        the directory of a test, and the report of its failure
 *   vm         a QEMU, and QMP
 *   network    peers, and the frames that they exchange with the guest
 *   session    recording, replaying, and comparing the two
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <glib/gstdio.h>
#include "libqmp.h"
#include "libqtest.h"
#include "netdev-replay/guest.h"
#include "netdev-replay/network.h"
#include "netdev-replay/rig.h"
#include "netdev-replay/session.h"
#include "netdev-replay/vm.h"
#include "qapi/error.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qlist.h"
#include "qemu/bswap.h"
#include "qemu/crc32c.h"
#include "qemu/units.h"
#include "replay/replay-log.h"
#include "sysemu/replay.h"
#include "sysemu/replay-net.h"

/* --- Good recordings --------------------------------------------------- */

typedef struct RoundTrip {
    const char *options;        /* of -icount */
    const char *record_only;    /* more of them, not given to the replay */
} RoundTrip;

static const RoundTrip plain = { "shift=3" };
static const RoundTrip uncompressed = { "shift=3", ",rrcompress=none" };
static const RoundTrip shift_auto = { "shift=auto" };
static const RoundTrip sleep_off = { "shift=3,sleep=off" };

static void test_round_trip(const void *opaque)
{
    const RoundTrip *trip = opaque;
    g_autofree char *rec = g_strdup_printf(ONE " -icount %s,rr=record,"
                                           "rrfile=recording%s", trip->options,
                                           trip->record_only ?: "");
    g_autofree char *play = g_strdup_printf(ONE " -icount %s,rr=replay,"
                                            "rrfile=recording", trip->options);
    GStatBuf st;

    record(30, rec);

    g_assert_cmpint(g_stat("recording", &st), ==, 0);
    g_assert_cmpint(st.st_mode & 0777, ==, 0600);
    assert_replays(play);
    assert_replays(play);
}

/* Options in a file have the same effect. */
static void test_readconfig(const void *opaque)
{
    static const char recorder[] = "[icount]\n  shift = \"3\"\n"
        "  rr = \"record\"\n  rrfile = \"recording\"\n";
    static const char replay[] = "[icount]\n  shift = \"3\"\n"
        "  rr = \"replay\"\n";

    file_write("record.cfg", recorder, strlen(recorder));
    file_write("replay.cfg", replay, strlen(replay));
    record(5, ONE " -readconfig record.cfg");
    /* The options of the file and of the command line complete each other. */
    assert_replays(ONE " -readconfig replay.cfg -icount rrfile=recording");
}

/* An event must reach an idle guest that has no timer to wake it. */
static void test_idle(const void *opaque)
{
    Vm *vm = recorder_start(1, ONE RECORD);

    exchange(0, FRAME_MIN_BYTES, COMMAND_NO_TIMER);
    exchange_many(0, 5);
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    recorder_finish(vm, EXIT_STATUS);

    assert_replays(ONE REPLAY);
}

static void test_reset(const void *opaque)
{
    Vm *vm = recorder_start(1, ONE RECORD);

    exchange_many(0, 5);
    exchange(0, FRAME_MIN_BYTES, COMMAND_RESET);
    recorder_finish(vm, EXIT_SUCCESS);

    replay_finish_identical(vm_start(ONE REPLAY), EXIT_SUCCESS);
}

static void test_quit(const void *opaque)
{
    record_to_quit(5, ONE RECORD);
    replay_finish_identical(vm_start(ONE REPLAY), EXIT_SUCCESS);
}

static void stop_and_continue(Vm *vm, unsigned times)
{
    while (times--) {
        vm_command(vm, "{ 'execute': 'stop' }");
        vm_command(vm, "{ 'execute': 'cont' }");
    }
}

/* While the machine is stopped, the clock of an idle guest must stop, too. */
static void test_stop_continue(const void *opaque)
{
    Vm *vm = recorder_start(1, ONE RECORD);
    unsigned i;

    for (i = 0; i < 5; i++) {
        exchange_many(0, 3);
        stop_and_continue(vm, 50);
    }
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    recorder_finish(vm, EXIT_STATUS);

    assert_replays(ONE REPLAY);
}

/* The replay may be stopped at other moments than the recording. */
static void test_stop_replay(const void *opaque)
{
    Vm *vm = recorder_start(1, ONE RECORD);

    exchange_many(0, 30);
    recorder_kill(vm);

    /* The recording has no end, so the replay stops where it is cut. */
    vm = vm_start(ONE REPLAY ",rrerror=stop -S");
    vm_command(vm, "{ 'execute': 'cont' }");
    stop_and_continue(vm, 30);
    vm_wait_counter(vm, "f0", "sent-packets", 31);
    qobject_unref(vm_wait_event(vm, "REPLAY_ENDED"));
    assert_identical();
    vm_quit_failed(vm);
}

/* Returns: the number of events that were recorded or replayed. */
static int64_t vm_events(Vm *vm)
{
    QDict *reply = vm_query(vm, "{ 'execute': 'query-replay' }");
    int64_t events = qdict_get_int(qdict_get_qdict(reply, "return"), "events");

    qobject_unref(reply);
    return events;
}

/*
 * After -S, the RTC's timer on the host's clock expires.  It must wait for
 * 'cont', in the recording and in the replay.
 */
static void test_wait_before_start(const void *opaque)
{
    Vm *vm = vm_start(ONE RECORD " -S");
    int64_t events;

    peer_open(0);
    vm_greet(vm);
    events = vm_events(vm);
    g_usleep(2 * G_USEC_PER_SEC);
    g_assert_cmpint(vm_events(vm), ==, events);
    vm_continue(vm);
    guest_await(1);
    exchange_many(0, 3);
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    recorder_finish(vm, EXIT_STATUS);

    assert_replays(ONE REPLAY);
    vm = vm_start(ONE REPLAY " -S");
    vm_greet(vm);
    events = vm_events(vm);
    g_usleep(G_USEC_PER_SEC);
    g_assert_cmpint(vm_events(vm), ==, events);
    vm_continue(vm);
    replay_finish_identical(vm, EXIT_STATUS);
}

/* A replay does not even make the socket of its netdev. */
static void test_silent(const void *opaque)
{
    g_autofree char *info = NULL;
    Vm *vm;

    record(10, ONE RECORD);
    unlink("n0.qemu");

    peer_open(0);
    vm = vm_start(ONE REPLAY " -S");
    info = vm_human(vm, "info network");
    assert_says(info, SAYS("n0: index=0,type=replay,recorded as dgram"));
    g_assert_false(g_file_test("n0.qemu", G_FILE_TEST_EXISTS));
    vm_continue(vm);
    replay_finish_identical(vm, EXIT_STATUS);
    g_assert_true(peer_is_silent(0));
}

#define OTHER(netdev)       MACHINE " -netdev " netdev NIC0 FILTER(0)

/* Whatever a netdev needs of its host does not matter. */
static void test_other_back_end(const void *opaque)
{
    static const char *const others[] = {
        OTHER("replay,id=n0"),
        OTHER("tap,id=n0,ifname=none,script=/none,vhost=on,queues=2"),
        OTHER("tap,id=n0,fd=12345"),
        OTHER("bridge,id=n0,br=none,helper=/none"),
        OTHER("l2tpv3,id=n0,src=host.invalid,dst=host.invalid,txsession=1"),
        OTHER("vde,id=n0,sock=/none"),
        OTHER("stream,id=n0,server=off,addr.type=unix,addr.path=none"),
        OTHER("stream,id=n0,server=sometimes,addr.type=pigeon"),
        OTHER("user,id=n0,ipv6-net=fec0::/64,smb=/none,hostname=a"),
        OTHER("'{\"type\": \"tap\", \"id\": \"n0\", \"script\": \"/none\"}'"),
    };
    size_t i;

    record(2, ONE RECORD);
    for (i = 0; i < ARRAY_SIZE(others); i++) {
        g_autofree char *options = g_strconcat(others[i], REPLAY, NULL);

        assert_replays(options);
    }
}

/* A type that this QEMU does not have may be a mistake, so QEMU names it. */
static void test_unknown_back_end(const void *opaque)
{
    static const char *const unknown[] = {
        OTHER("no-such-type,id=n0,nothing=none"),
        OTHER("'{\"type\": \"no-such-type\", \"id\": \"n0\", \"a\": [1]}'"),
    };
    size_t i;

    record(2, ONE RECORD);
    for (i = 0; i < ARRAY_SIZE(unknown); i++) {
        g_autofree char *output = vm_finish(vm_start("%s" REPLAY, unknown[i]),
                                            EXIT_STATUS);

        assert_identical();
        assert_warns_once(output, SAYS("netdev 'n0': this QEMU has no type "
                                       "'no-such-type'"));
    }
}

/* The replay begins although another process has the port of hostfwd=. */
static void test_port_taken(const void *opaque)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    g_autofree char *options = NULL;

    record(2, ONE RECORD);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, len), ==, 0);
    g_assert_cmpint(listen(fd, 1), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)&addr, &len), ==, 0);
    options = g_strdup_printf(OTHER("user,id=n0,hostfwd=tcp:127.0.0.1:%d-:80")
                              REPLAY, ntohs(addr.sin_port));
    assert_replays(options);
    close(fd);
}

static void test_netdev_add(const void *opaque)
{
    g_autofree char *answer = NULL, *info = NULL, *output = NULL;
    Vm *vm;

    record(2, ONE RECORD);
    vm = vm_start(ONE REPLAY " -S");
    vm_command(vm, "{ 'execute': 'netdev_add', 'arguments': { 'type': 'tap', "
               "'id': 'n7', 'ifname': 'none' } }");
    answer = vm_human(vm, "netdev_add no-such-type,id=n8,nothing=none");
    assert_says(answer, SAYS("netdev 'n8': this QEMU has no type "
                             "'no-such-type'"));
    vm_command(vm, "{ 'execute': 'netdev_add', 'arguments': { 'type': "
               "'no-such-type', 'id': 'n9', 'nothing': [ 'none' ] } }");
    vm_refuses(vm, "Duplicate ID 'n9'", "{ 'execute': 'netdev_add', "
               "'arguments': { 'type': 'user', 'id': 'n9' } }");
    vm_refuses(vm, "expects an identifier", "{ 'execute': 'netdev_add', "
               "'arguments': { 'type': 'user', 'id': 'n 9' } }");
    info = vm_human(vm, "info network");
    assert_says(info, SAYS("n7: index=0,type=replay,recorded as nothing",
                           "n8: index=0,type=replay,recorded as nothing",
                           "n9: index=0,type=replay,recorded as nothing"));
    vm_continue(vm);
    output = vm_finish(vm, EXIT_STATUS);
    assert_identical();
    assert_warns_once(output, SAYS("netdev 'n9': this QEMU has no type "
                                   "'no-such-type'"));
}

/* Returns: the counters of the adapter as text, owned. */
static char *vm_counters(Vm *vm)
{
    static const char *const names[] = {
        "received-packets", "received-bytes", "sent-packets", "sent-bytes",
        "dropped", "pending",
    };
    g_autoptr(GString) text = g_string_new(NULL);
    size_t i;

    for (i = 0; i < ARRAY_SIZE(names); i++) {
        g_string_append_printf(text, "%s %" PRIu64 "\n", names[i],
                               vm_counter(vm, "f0", names[i]));
    }
    return g_string_free(g_steal_pointer(&text), false);
}

/* The recorder is killed, so the replay stops and its counters can be read. */
static void test_counters(const void *opaque)
{
    g_autofree char *recorded = NULL;
    g_autofree char *replayed = NULL;
    Vm *vm = recorder_start(1, ONE RECORD);

    exchange_many(0, 5);
    recorded = vm_counters(vm);
    recorder_kill(vm);
    g_assert_cmpstr(recorded, ==,
                    "received-packets 5\nreceived-bytes 1768\n"
                    "sent-packets 6\nsent-bytes 360\ndropped 0\npending 0\n");

    vm = vm_start(ONE REPLAY ",rrerror=stop");
    qobject_unref(vm_wait_event(vm, "STOP"));
    replayed = vm_counters(vm);
    g_assert_cmpstr(replayed, ==, recorded);
    vm_quit_failed(vm);
}

/* Each of two adapters gets frames of its own; then the guest exits. */
static void exchange_two(void)
{
    int i;

    for (i = 0; i < 10; i++) {
        exchange_many(i % 2, 1 + i % 3);
    }
    exchange(1, FRAME_MIN_BYTES, COMMAND_EXIT);
}

static void test_other_order(const void *opaque)
{
    Vm *vm = recorder_start(2, TWO RECORD);

    exchange_two();
    recorder_finish(vm, EXIT_STATUS);

    assert_replays(MACHINE FILTER(1) FILTER(0) DGRAM(1) DGRAM(0) NIC0 NIC1
                   REPLAY);
    /* The netdev identifies an adapter; the id of the filter does not. */
    assert_replays(MACHINE DGRAM(0) DGRAM(1) NIC0 NIC1 REPLAY
                   " -object filter-replay,id=f0,netdev=n1"
                   " -object filter-replay,id=f1,netdev=n0");
}

#define DEBUGCON(id, port) \
    " -chardev null,id=" id " -device isa-debugcon,iobase=" port ",chardev=" id

/* The label identifies a character device; its order does not. */
static void test_chardevs_in_other_order(const void *opaque)
{
    record(2, ONE DEBUGCON("a", "0x500") DEBUGCON("b", "0x501") RECORD);
    assert_replays(ONE DEBUGCON("b", "0x501") DEBUGCON("a", "0x500") REPLAY);
    assert_refused(vm_start(ONE DEBUGCON("a", "0x500") REPLAY),
                   SAYS("chardev.2: recorded as 'b', now missing"));
    assert_refused(vm_start(ONE DEBUGCON("c", "0x502") DEBUGCON("b", "0x501")
                            DEBUGCON("a", "0x500") REPLAY),
                   SAYS("chardev.3: not in the recording, now 'c'"));
}

#define WITH_CHARDEV(options) \
    ONE " -device isa-debugcon,iobase=0x500,chardev=a -chardev " options ",id=a"

/* A replay needs no peer of the guest's character devices, and no file. */
static void test_chardev_elsewhere(const void *opaque)
{
    static const char *const missing[] = {
        WITH_CHARDEV("file,path=none/none"),
        WITH_CHARDEV("pipe,path=none"),
        WITH_CHARDEV("socket,path=none"),
        WITH_CHARDEV("socket,path=none/none,server=on,wait=on"),
        WITH_CHARDEV("file,mux=on,path=none/none"),
        WITH_CHARDEV("no-such-type,path=none"),
        WITH_CHARDEV("no-such-type,mux=on"),
    };
    size_t i;

    record(2, WITH_CHARDEV("null") RECORD);
    assert_replays(WITH_CHARDEV("socket,path=a.socket,server=on,wait=on")
                   REPLAY);
    for (i = 0; i < ARRAY_SIZE(missing); i++) {
        g_autofree char *output = vm_finish(vm_start("%s" REPLAY, missing[i]),
                                            EXIT_STATUS);

        assert_identical();
        assert_warns_once(output, SAYS("character device 'a",
                                       "shows nothing of the replay"));
    }
}

/*
 * A peer that does not answer delays the replay by two seconds, and not until
 * the host gives up.  This one has more connections than it has room for.
 */
static void test_chardev_no_answer(const void *opaque)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    int others[4];
    g_autofree char *output = NULL;
    size_t i;

    strcpy(addr.sun_path, "silent.socket");
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    g_assert_cmpint(listen(fd, 0), ==, 0);
    for (i = 0; i < ARRAY_SIZE(others); i++) {
        others[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(others[i], (struct sockaddr *)&addr, sizeof(addr)) < 0) {
            g_assert_cmpint(errno, ==, EAGAIN);
        }
    }
    record(2, WITH_CHARDEV("null") RECORD);
    output = vm_finish(vm_start(WITH_CHARDEV("socket,path=silent.socket")
                                REPLAY), EXIT_STATUS);
    assert_identical();
    assert_warns_once(output, SAYS("character device 'a'", "the peer has not "
                                   "answered for 2 s"));
    for (i = 0; i < ARRAY_SIZE(others); i++) {
        close(others[i]);
    }
    close(fd);
}

#define WITH_OPTIONS(uuid, boot, serial) \
    ONE " -uuid 00000000-0000-0000-0000-00000000000" uuid " -boot " boot \
    " -smbios type=1,serial=" serial

/* The guest of this test does not notice these options; others do. */
static void test_other_options(const void *opaque)
{
    g_autofree char *output = NULL;

    record(2, WITH_OPTIONS("1", "order=c", "/1") RECORD);
    /* It may be the name of a file. */
    assert_replays(WITH_OPTIONS("1", "order=c", "/2") REPLAY);
    output = vm_finish(vm_start(WITH_OPTIONS("2", "order=n", "/1") REPLAY),
                       EXIT_STATUS);
    assert_identical();
    assert_says(output, SAYS(
        "-uuid was '00000000-0000-0000-0000-000000000001' while recording, and "
        "is '00000000-0000-0000-0000-000000000002' now",
        "-boot was 'order=c' while recording, and is 'order=n' now"));
    g_assert_null(strstr(output, "-smbios"));
}

#define WITH_SOUND(driver) \
    ONE " -audiodev " driver ",id=a -device AC97,audiodev=a"

/* A replay does without a display and a sound system that this QEMU lacks. */
static void test_display_elsewhere(const void *opaque)
{
    static const struct {
        const char *options, *warning;
    } lacking[] = {
        { WITH_SOUND("none") " -display no-such-type,gl=on",
          "-display no-such-type,gl=on: this QEMU was built without it" },
        { WITH_SOUND("none") " --display type=no-such-type",
          "-display type=no-such-type: this QEMU was built without it" },
        { WITH_SOUND("no-such-driver,out.frequency=8000"),
          "-audiodev no-such-driver,out.frequency=8000,id=a: this QEMU was "
          "built without it" },
    };
    size_t i;

    /* A recorder needs what its user asks for. */
    assert_refused(vm_start(ONE " -display no-such-type" RECORD),
                   SAYS("'type' does not accept value 'no-such-type'"));

    record(2, WITH_SOUND("none") RECORD);
    for (i = 0; i < ARRAY_SIZE(lacking); i++) {
        g_autofree char *output = vm_finish(
            vm_start("%s" REPLAY, lacking[i].options), EXIT_STATUS);

        assert_identical();
        assert_warns_once(output, SAYS(lacking[i].warning));
    }
}

/* A character device of the user's is opened as always. */
static void test_chardev_of_user(const void *opaque)
{
    record(2, ONE RECORD);
    assert_refused(vm_start(ONE " -chardev file,id=b,path=none/none" REPLAY),
                   SAYS("none/none"));
}

static void test_object_add(const void *opaque)
{
    Vm *vm = vm_start(MACHINE DGRAM(0) DGRAM(1) NIC0 NIC1 RECORD " -S");

    peer_open(0);
    peer_open(1);
    vm_add_filter(vm, 0);
    vm_add_filter(vm, 1);
    vm_command(vm, "{ 'execute': 'cont' }");
    guest_await(2);
    exchange_two();
    recorder_finish(vm, EXIT_STATUS);

    /* Filters that fail or are destroyed before the start do not count. */
    vm = vm_start(MACHINE DGRAM(0) DGRAM(1) NIC0 NIC1 REPLAY " -S");
    vm_command(vm, "{ 'execute': 'qom-list-properties', 'arguments': "
               "{ 'typename': 'filter-replay' } }");
    vm_refuses(vm, "'netdev'", "{ 'execute': 'object-add', 'arguments': "
               "{ 'qom-type': 'filter-replay', 'id': 'f7', 'netdev': 'n7' } }");
    vm_add_filter(vm, 1);
    vm_refuses(vm, "already", "{ 'execute': 'object-add', 'arguments': "
               "{ 'qom-type': 'filter-replay', 'id': 'f8', 'netdev': 'n1' } }");
    vm_add_filter(vm, 0);
    vm_continue(vm);
    replay_finish_identical(vm, EXIT_STATUS);

    /* Filters on the command line give the same machine. */
    assert_replays(TWO REPLAY);
}

/* No filter that is part of a recording can be removed or changed. */
static void refuse_changes(Vm *vm)
{
    vm_refuses(vm, "removed", "{ 'execute': 'object-del', 'arguments': "
               "{ 'id': 'f0' } }");
    vm_refuses(vm, "'status'", "{ 'execute': 'qom-set', 'arguments': "
               "{ 'path': '/objects/f0', 'property': 'status', "
               "'value': 'off' } }");
    vm_refuses(vm, "'queue'", "{ 'execute': 'qom-set', 'arguments': "
               "{ 'path': '/objects/f0', 'property': 'queue', "
               "'value': 'rx' } }");
    vm_refuses(vm, "netdev", "{ 'execute': 'qom-set', 'arguments': "
               "{ 'path': '/objects/f0', 'property': 'netdev', "
               "'value': 'n1' } }");
}

static void refuse_new_filter(Vm *vm)
{
    vm_refuses(vm, "already run", "{ 'execute': 'object-add', 'arguments': "
               "{ 'qom-type': 'filter-replay', 'id': 'f1', 'netdev': 'n1' } }");
}

/* Two netdevs, only one of which has a filter on the command line. */
#define ONE_OF_TWO          ONE DGRAM(1) NIC1

static void test_changes(const void *opaque)
{
    Vm *vm = recorder_start(2, ONE_OF_TWO RECORD);

    refuse_changes(vm);
    refuse_new_filter(vm);
    exchange_many(0, 3);
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    recorder_finish(vm, EXIT_STATUS);

    vm = vm_start(ONE_OF_TWO REPLAY " -S");
    refuse_changes(vm);
    vm_continue(vm);
    replay_finish_identical(vm, EXIT_STATUS);
}

static void test_changes_after_replay(const void *opaque)
{
    Vm *vm = recorder_start(2, ONE_OF_TWO RECORD);

    exchange_many(0, 3);
    recorder_kill(vm);

    vm = vm_start(ONE_OF_TWO REPLAY ",rrerror=stop");
    qobject_unref(vm_wait_event(vm, "STOP"));
    refuse_new_filter(vm);
    refuse_changes(vm);
    assert_identical();
    vm_quit_failed(vm);
}

/* --- NICs without a filter --------------------------------------------- */

/* The netdev gets a filter, which the monitor shows. */
static void test_without_filter(const void *opaque)
{
    g_autofree char *info = NULL;
    QDict *answer;
    Vm *vm = recorder_start(1, NO_FILTER RECORD);

    info = vm_human(vm, "info network");
    assert_says(info, SAYS("replay-n0", "filter-replay"));
    answer = vm_query(vm, "{ 'execute': 'qom-get', 'arguments': { 'path': "
                      "'/objects/replay-n0', 'property': 'automatic' } }");
    g_assert_true(qdict_get_bool(answer, "return"));
    qobject_unref(answer);
    exchange_many(0, 10);
    g_assert_cmpuint(vm_counter(vm, "replay-n0", "received-packets"), ==, 10);
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    recorder_finish(vm, EXIT_STATUS);

    assert_replays(NO_FILTER REPLAY);
    assert_replays(ONE REPLAY);
}

/* A filter that the user adds replaces the automatic one. */
static void test_filter_takes_place(const void *opaque)
{
    Vm *vm = vm_start(NO_FILTER RECORD " -S");

    peer_open(0);
    vm_refuses(vm, "'replay-n0'", "{ 'execute': 'object-add', 'arguments': "
               "{ 'qom-type': 'filter-replay', 'id': 'f0', 'netdev': 'n0', "
               "'position': 'id=replay-n0' } }");
    vm_add_filter(vm, 0);
    vm_refuses(vm, "replay-n0", "{ 'execute': 'qom-get', 'arguments': { 'path':"
               " '/objects/replay-n0', 'property': 'automatic' } }");
    vm_command(vm, "{ 'execute': 'cont' }");
    guest_await(1);
    exchange_many(0, 10);
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    recorder_finish(vm, EXIT_STATUS);

    assert_replays(NO_FILTER REPLAY);
}

/* QEMU invents ids for these netdevs, and they differ from run to run. */
#define NIC_OPTION \
    MACHINE " -nic socket,udp=127.0.0.1:1,localaddr=127.0.0.1:0," \
    "model=ne2k_isa,mac=52:54:00:12:34:00"
#define LEGACY \
    MACHINE " -net nic,model=ne2k_isa,macaddr=52:54:00:12:34:00" \
    " -net socket,udp=127.0.0.1:1,localaddr=127.0.0.1:0"
/* The netdev behind the hub has a filter, so the port of the NIC needs none. */
#define HUB \
    MACHINE " -netdev hubport,id=p0,hubid=0,netdev=n0" \
    " -netdev hubport,id=p1,hubid=0" DGRAM(0) FILTER(0) \
    " -device ne2k_isa,netdev=p1,mac=52:54:00:12:34:00,iobase=0x300,irq=9"

static void test_old_options(const void *opaque)
{
    const char *options = opaque;
    Vm *vm = vm_start("%s" RECORD, options);
    g_autofree char *info = vm_human(vm, "info network");

    assert_says(info, SAYS("filter-replay", "automatic=true"));
    vm_command(vm, "{ 'execute': 'quit' }");
    recorder_finish(vm, EXIT_SUCCESS);
    replay_finish_identical(vm_start("%s" REPLAY, options), EXIT_SUCCESS);
}

static void test_hub(const void *opaque)
{
    Vm *vm = recorder_start(1, HUB RECORD);
    g_autofree char *info = vm_human(vm, "info network");

    if (strstr(info, "automatic=true")) {
        fail("the NIC has an automatic filter, but needs none: %s", info);
    }
    exchange_many(0, 10);
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    recorder_finish(vm, EXIT_STATUS);
    assert_replays(HUB REPLAY);
}

/* --- Requests to the machine --------------------------------------------- */

/* -no-reboot is in MACHINE; this option makes it invalid. */
#define REBOOTS             " -action reboot=reset"

static void assert_has_requests(ReplayRequest request, unsigned count)
{
    ReplayLogReader *reader = replay_log_reader_open("recording", &error_abort);
    ReplayLogEvent ev;
    unsigned found = 0;

    while (replay_log_read_event(reader, &ev, NULL) == REPLAY_LOG_OK) {
        found += ev.kind == REPLAY_EV_ASYNC_REQUEST && ev.num[0] == request;
    }
    replay_log_reader_close(reader);
    g_assert_cmpuint(found, ==, count);
}

static void test_user_resets(const void *opaque)
{
    Vm *vm = recorder_start(1, ONE REBOOTS RECORD);
    int i;

    for (i = 0; i < 3; i++) {
        exchange_many(0, 3);
        vm_command(vm, "{ 'execute': 'system_reset' }");
        qobject_unref(vm_wait_event(vm, "RESET"));
        guest_await(1);
    }
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    recorder_finish(vm, EXIT_STATUS);

    assert_has_requests(REPLAY_REQUEST_RESET, 3);
    assert_replays(ONE REBOOTS REPLAY);
}

/* With -no-reboot a reset ends QEMU. */
static void test_user_resets_to_end(const void *opaque)
{
    Vm *vm = recorder_start(1, ONE RECORD);

    exchange_many(0, 5);
    vm_command(vm, "{ 'execute': 'system_reset' }");
    recorder_finish(vm, EXIT_SUCCESS);

    replay_finish_identical(vm_start(ONE REPLAY), EXIT_SUCCESS);
}

static void test_nmi(const void *opaque)
{
    Vm *vm = recorder_start(1, ONE RECORD);
    int i;

    for (i = 0; i < 5; i++) {
        exchange_many(0, 3);
        vm_command(vm, "{ 'execute': 'inject-nmi' }");
        /* The guest is halted, and has no timer to wake it. */
        exchange(0, FRAME_MIN_BYTES, COMMAND_NO_TIMER);
        g_free(vm_human(vm, "nmi"));
    }
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    recorder_finish(vm, EXIT_STATUS);

    assert_has_requests(REPLAY_REQUEST_NMI, 10);
    assert_replays(ONE REPLAY);
}

/* The power button is an interrupt, too. */
static void test_power_button(const void *opaque)
{
    Vm *vm = recorder_start(1, ONE RECORD);
    int i;

    for (i = 0; i < 5; i++) {
        exchange_many(0, 3);
        vm_command(vm, "{ 'execute': 'system_powerdown' }");
        qobject_unref(vm_wait_event(vm, "POWERDOWN"));
        exchange(0, FRAME_MIN_BYTES, COMMAND_NO_TIMER);
        g_free(vm_human(vm, "system_powerdown"));
    }
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    recorder_finish(vm, EXIT_STATUS);

    assert_has_requests(REPLAY_REQUEST_POWERDOWN, 10);
    assert_replays(ONE REPLAY);
}

/* A request to a machine that is stopped is carried out when it continues. */
static void test_request_while_stopped(const void *opaque)
{
    Vm *vm = recorder_start(1, ONE REBOOTS RECORD);

    exchange_many(0, 3);
    vm_command(vm, "{ 'execute': 'stop' }");
    vm_command(vm, "{ 'execute': 'inject-nmi' }");
    vm_command(vm, "{ 'execute': 'system_powerdown' }");
    vm_command(vm, "{ 'execute': 'system_reset' }");
    vm_command(vm, "{ 'execute': 'cont' }");
    qobject_unref(vm_wait_event(vm, "RESET"));
    guest_await(1);
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    recorder_finish(vm, EXIT_STATUS);

    assert_replays(ONE REBOOTS REPLAY);
}

/*
 * A machine that wakes begins at its reset vector.  It is suspended while the
 * main loop runs its requests.
 */
static void test_wakeup(const void *opaque)
{
    Vm *vm = recorder_start(1, ONE RECORD);
    int i;

    vm_refuses(vm, "not in suspended state",
               "{ 'execute': 'system_wakeup' }");
    for (i = 0; i < 3; i++) {
        exchange_many(0, 3);
        exchange(0, FRAME_MIN_BYTES, COMMAND_SUSPEND);
        qobject_unref(vm_wait_event(vm, "SUSPEND"));
        vm_refuses(vm, "suspended", "{ 'execute': 'system_reset' }");
        vm_command(vm, "{ 'execute': 'system_powerdown' }");
        vm_command(vm, "{ 'execute': 'system_wakeup' }");
        qobject_unref(vm_wait_event(vm, "WAKEUP"));
        guest_await(1);
    }
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    recorder_finish(vm, EXIT_STATUS);

    assert_has_requests(REPLAY_REQUEST_WAKEUP, 3);
    assert_has_requests(REPLAY_REQUEST_POWERDOWN, 3);
    assert_replays(ONE REPLAY);
}

/*
 * Before the machine runs, a reset changes nothing.  The power button takes
 * effect when the machine runs.
 */
static void test_requests_before_start(const void *opaque)
{
    Vm *vm = vm_start(ONE RECORD REBOOTS " -S");

    peer_open(0);
    vm_command(vm, "{ 'execute': 'system_reset' }");
    qobject_unref(vm_wait_event(vm, "RESET"));
    vm_command(vm, "{ 'execute': 'system_powerdown' }");
    vm_command(vm, "{ 'execute': 'cont' }");
    qobject_unref(vm_wait_event(vm, "POWERDOWN"));
    guest_await(1);
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    recorder_finish(vm, EXIT_STATUS);

    assert_has_requests(REPLAY_REQUEST_RESET, 0);
    assert_has_requests(REPLAY_REQUEST_POWERDOWN, 1);
    assert_replays(ONE REPLAY REBOOTS);
}

/* --- Commands ------------------------------------------------------------ */

static const char *const marked_qmp[] = {
#define QMP(mark, name) name, /* a list item; no parentheses */
#define HMP(mark, name)
#include "replay/replay-commands.h.inc"
#undef QMP
#undef HMP
    NULL,
};

static const char *const marked_hmp[] = {
#define QMP(mark, name)
#define HMP(mark, name) name, /* a list item; no parentheses */
#include "replay/replay-commands.h.inc"
#undef QMP
#undef HMP
    NULL,
};

static void assert_qmp_is_marked(Vm *vm)
{
    QDict *reply = vm_query(vm, "{ 'execute': 'query-qmp-schema' }");
    const QListEntry *entry;
    unsigned commands = 0;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(reply, "return"), entry) {
        QDict *info = qobject_to(QDict, qlist_entry_obj(entry));
        const char *name = qdict_get_str(info, "name");

        if (!g_str_equal(qdict_get_str(info, "meta-type"), "command")) {
            continue;
        }
        commands++;
        if (!g_strv_contains(marked_qmp, name)) {
            fail("the QMP command '%s' has no mark in replay-commands.h.inc",
                 name);
        }
    }
    g_assert_cmpuint(commands, >, 100);
    qobject_unref(reply);
}

/* A line of "help" is: PREFIX NAME PARAMETERS -- TEXT. */
static void assert_hmp_is_marked(Vm *vm, const char *help, const char *prefix)
{
    g_autofree char *text = vm_human(vm, help);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    unsigned commands = 0;
    size_t i;

    for (i = 0; lines[i]; i++) {
        g_autofree char *name = NULL;
        size_t len_bytes = strlen(prefix);

        if (!g_str_has_prefix(lines[i], prefix) || !g_ascii_isalpha(lines[i][0])
            || !strstr(lines[i], " -- ")) {
            continue;
        }
        len_bytes += strcspn(lines[i] + len_bytes, " ");
        name = g_strndup(lines[i], len_bytes);
        commands++;
        if (!g_strv_contains(marked_hmp, name)) {
            fail("the monitor command '%s' has no mark in "
                 "replay-commands.h.inc", name);
        }
    }
    g_assert_cmpuint(commands, >, 30);
}

static void test_commands_marked(const void *opaque)
{
    Vm *vm = vm_start(ONE " -S");

    assert_qmp_is_marked(vm);
    assert_hmp_is_marked(vm, "help", "");
    assert_hmp_is_marked(vm, "help info", "info ");
    vm_command(vm, "{ 'execute': 'quit' }");
    g_free(vm_finish(vm, EXIT_SUCCESS));
}

static void human_refuses(Vm *vm, const char *why, const char *line)
{
    g_autofree char *text = vm_human(vm, line);

    if (!strstr(text, why)) {
        fail("the monitor does not refuse '%s' with '%s': %s", line, why, text);
    }
}

/* Commands whose effect no recording could repeat. */
static void refuse_commands(Vm *vm, const char *why)
{
    static const char *const human[] = {
        "balloon 1", "boot_set c", "change d0 other", "device_add e1000",
        "drive_add 0 if=none,driver=null-co", "drive_del d0", "eject d0",
        "i /b 0x61", "mce 0 0 0 0 0 0",
        "migrate exec:true", "mouse_set 0", "nbd_server_start -a localhost",
        "o /b 0x80 1", "qemu-io d0 help", "qom-set /machine/unattached x y",
        "block_resize d0 1", "snapshot_blkdev d0 file", "watchdog_action none",
        "object_add filter-buffer,id=b0,netdev=n0,interval=1000", NULL
    };
    size_t i;

    vm_refuses(vm, why, "{ 'execute': 'balloon', 'arguments': "
               "{ 'value': 1 } }");
    vm_refuses(vm, why, "{ 'execute': 'migrate', 'arguments': "
               "{ 'uri': 'exec:true' } }");
    vm_refuses(vm, why, "{ 'execute': 'transaction', 'arguments': "
               "{ 'actions': [] } }");
    vm_refuses(vm, why, "{ 'execute': 'calc-dirty-rate', 'arguments': "
               "{ 'calc-time': 1, 'mode': 'dirty-bitmap' } }");
    vm_refuses(vm, why, "{ 'execute': 'eject', 'arguments': "
               "{ 'device': 'd0' } }");
    vm_refuses(vm, why, "{ 'execute': 'block_resize', 'arguments': "
               "{ 'device': 'd0', 'size': 1 } }");
    vm_refuses(vm, why, "{ 'execute': 'blockdev-add', 'arguments': "
               "{ 'driver': 'null-co', 'node-name': 'd1' } }");
    vm_refuses(vm, why, "{ 'execute': 'blockdev-del', 'arguments': "
               "{ 'node-name': 'd1' } }");
    vm_refuses(vm, why, "{ 'execute': 'blockdev-create', 'arguments': "
               "{ 'job-id': 'j0', 'options': { 'driver': 'file', "
               "'filename': 'file', 'size': 0 } } }");
    vm_refuses(vm, why, "{ 'execute': 'blockdev-snapshot-sync', 'arguments': "
               "{ 'device': 'd0', 'snapshot-file': 'file' } }");
    vm_refuses(vm, why, "{ 'execute': 'qom-set', 'arguments': { 'path': "
               "'/machine/unattached', 'property': 'x', 'value': 1 } }");
    vm_refuses(vm, why, "{ 'execute': 'object-add', 'arguments': "
               "{ 'qom-type': 'filter-buffer', 'id': 'b0', 'netdev': 'n0', "
               "'interval': 1000 } }");
    for (i = 0; human[i]; i++) {
        human_refuses(vm, why, human[i]);
    }
}

/* Commands that the recording repeats by itself. */
static void refuse_recorded(Vm *vm)
{
    static const char *const names[] = {
        "inject-nmi", "system_powerdown", "system_reset", "system_wakeup",
    };
    static const char *const human[] = {
        "nmi", "system_powerdown", "system_reset", "system_wakeup",
        "sendkey a", "mouse_move 1 1", "mouse_button 1", "set_link n0 off",
        "chardev-send-break c0",
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(names); i++) {
        vm_refuses(vm, "only as recorded", "{ 'execute': %s }", names[i]);
    }
    vm_refuses(vm, "only as recorded", "{ 'execute': 'chardev-send-break', "
               "'arguments': { 'id': 'c0' } }");
    for (i = 0; i < ARRAY_SIZE(human); i++) {
        human_refuses(vm, "only as recorded", human[i]);
    }
}

/* What the guest cannot notice is allowed, in both modes. */
static void use_commands(Vm *vm)
{
    static const char *const human[] = {
        "info status", "info balloon", "info registers", "info mtree",
        "info qtree", "info network", "info replay", "info block", "x /4 0",
        "xp /4 0", "gva2gpa 0", "memsave 0 16 memory", "pmemsave 0 16 memory",
        "cpu 0", "print 1", "sum 0 16",
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(human); i++) {
        g_autofree char *text = vm_human(vm, human[i]);

        if (strstr(text, "cannot be recorded") || strstr(text, "as recorded")) {
            fail("the monitor refuses '%s': %s", human[i], text);
        }
    }
    vm_command(vm, "{ 'execute': 'dump-guest-memory', 'arguments': "
               "{ 'paging': false, 'protocol': 'file:dump' } }");
    qobject_unref(vm_wait_event(vm, "DUMP_COMPLETED"));
    vm_command(vm, "{ 'execute': 'dump-guest-memory', 'arguments': "
               "{ 'paging': false, 'protocol': 'file:dump', "
               "'detach': true } }");
    qobject_unref(vm_wait_event(vm, "DUMP_COMPLETED"));
    vm_command(vm, "{ 'execute': 'object-add', 'arguments': { 'qom-type': "
               "'memory-backend-ram', 'id': 'ram7', 'size': 4096 } }");
    vm_command(vm, "{ 'execute': 'object-del', 'arguments': "
               "{ 'id': 'ram7' } }");
}

static void test_commands(const void *opaque)
{
    Vm *vm = recorder_start(1, ONE RECORD);

    exchange_many(0, 3);
    use_commands(vm);
    /* a dump says that it is complete before it continues the machine */
    qobject_unref(vm_wait_event(vm, "RESUME"));
    refuse_commands(vm, "recorded");
    human_refuses(vm, "time would go back", "loadvm begin");
    vm_assert_status(vm, "running");
    exchange_many(0, 3);
    recorder_kill(vm);

    vm = vm_start(ONE REPLAY ",rrerror=stop");
    qobject_unref(vm_wait_event(vm, "STOP"));
    refuse_commands(vm, "replayed");
    refuse_recorded(vm);
    use_commands(vm);
    assert_identical();
    vm_quit_failed(vm);
}

/* A migration has a thread of its own, even before the machine runs. */
static void test_migrate_before_start(const void *opaque)
{
    Vm *vm = vm_start(ONE RECORD " -S");

    vm_refuses(vm, "recorded", "{ 'execute': 'migrate', 'arguments': "
               "{ 'uri': 'exec:cat > migrated' } }");
    vm_command(vm, "{ 'execute': 'quit' }");
    g_free(vm_finish(vm, EXIT_SUCCESS));
}

/* Once the guest has shut down, nothing can happen to it any more. */
static void test_request_after_shutdown(const void *opaque)
{
    Vm *vm = recorder_start(1, ONE RECORD " -no-shutdown");

    vm_greet(vm);
    exchange_many(0, 3);
    exchange(0, FRAME_MIN_BYTES, COMMAND_RESET);
    qobject_unref(vm_wait_event(vm, "STOP"));
    vm_refuses(vm, "shut down", "{ 'execute': 'system_reset' }");
    vm_command(vm, "{ 'execute': 'quit' }");
    recorder_finish(vm, EXIT_SUCCESS);
}

/* --- Changes to the machine -------------------------------------------- */

#define SET_LINK(up) \
    "{ 'execute': 'set_link', 'arguments': { 'name': 'n0', 'up': " #up " } }"

static void set_link(Vm *vm, bool up)
{
    if (up) {
        vm_command(vm, SET_LINK(true));
    } else {
        vm_command(vm, SET_LINK(false));
    }
}

/* A frame to a NIC whose link is down is lost, in the replay as well. */
static void test_link(const void *opaque)
{
    uint8_t frame[FRAME_MIN_BYTES];
    Vm *vm = recorder_start(1, ONE RECORD);
    int i;

    for (i = 0; i < 5; i++) {
        exchange_many(0, 3);
        /* A frame that is in the queue when the link goes down is lost. */
        vm_command(vm, "{ 'execute': 'stop' }");
        set_link(vm, false);
        frame_make(frame, sizeof(frame), COMMAND_NONE);
        peer_send(0, frame, sizeof(frame));
        vm_wait_counter(vm, "f0", "pending", 1);
        vm_command(vm, "{ 'execute': 'cont' }");
        vm_wait_counter(vm, "f0", "received-packets", 5 * i + 4);
        /* A frame that is sent after the link has gone up arrives. */
        vm_command(vm, "{ 'execute': 'stop' }");
        set_link(vm, true);
        frame_make(frame, sizeof(frame), COMMAND_NONE);
        peer_send(0, frame, sizeof(frame));
        vm_wait_counter(vm, "f0", "pending", 1);
        vm_command(vm, "{ 'execute': 'cont' }");
        expect_echo(0, frame, sizeof(frame));
    }
    vm_refuses(vm, "not found", "{ 'execute': 'set_link', 'arguments': "
               "{ 'name': 'n7', 'up': false } }");
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    recorder_finish(vm, EXIT_STATUS);

    vm = vm_start(ONE REPLAY " -S");
    vm_continue(vm);
    replay_finish_identical(vm, EXIT_STATUS);
}

/* The id of the netdev ends with other digits in the replay. */
static void test_link_of_nic_option(const void *opaque)
{
    Vm *vm = vm_start(NIC_OPTION RECORD);
    g_autofree char *info = vm_human(vm, "info network");
    const char *id = strstr(info, "#net0");
    g_autofree char *name = g_strndup(id, strlen("#net000"));

    vm_command(vm, "{ 'execute': 'set_link', 'arguments': { 'name': %s, "
               "'up': false } }", name);
    /* With this the recording ends, behind the change of the link. */
    vm_command(vm, "{ 'execute': 'system_reset' }");
    recorder_finish(vm, EXIT_SUCCESS);
    replay_finish_identical(vm_start(NIC_OPTION REPLAY), EXIT_SUCCESS);
}

/* A recording has no room for a longer name. */
static void test_link_long_name(const void *opaque)
{
    g_autofree char *name = g_strnfill(REPLAY_LOG_ADAPTER_NAME_MAX_BYTES + 1,
                                       'x');
    g_autofree char *options = g_strdup_printf(
        MACHINE DGRAM(0) FILTER(0) " -device ne2k_isa,netdev=n0,id=%s,"
        "mac=52:54:00:12:34:00,iobase=0x300,irq=9" RECORD, name);
    Vm *vm = recorder_start(1, options);

    vm_refuses(vm, "has 256 bytes", "{ 'execute': 'set_link', 'arguments': "
               "{ 'name': %s, 'up': false } }", name);
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    recorder_finish(vm, EXIT_STATUS);
}

static void test_link_of_replay(const void *opaque)
{
    Vm *vm = recorder_start(1, ONE RECORD);

    exchange_many(0, 3);
    recorder_kill(vm);

    vm = vm_start(ONE REPLAY ",rrerror=stop");
    qobject_unref(vm_wait_event(vm, "STOP"));
    vm_refuses(vm, "only as recorded", SET_LINK(false));
    assert_identical();
    vm_quit_failed(vm);
}

/* A link that is down at the start is a property of the machine. */
static void test_link_before_start(const void *opaque)
{
    Vm *vm = vm_start(ONE RECORD " -S");

    set_link(vm, false);
    vm_command(vm, "{ 'execute': 'cont' }");
    vm_command(vm, "{ 'execute': 'quit' }");
    recorder_finish(vm, EXIT_SUCCESS);

    /* The replay gives the link this state, unless the user has done so. */
    replay_finish_identical(vm_start(ONE REPLAY), EXIT_SUCCESS);
    vm = vm_start(ONE REPLAY " -S");
    set_link(vm, false);
    vm_continue(vm);
    replay_finish_identical(vm, EXIT_SUCCESS);
}

static void test_link_before_replay(const void *opaque)
{
    g_autofree char *output = NULL;
    Vm *vm;

    record_to_quit(1, ONE RECORD);
    vm = vm_start(ONE REPLAY " -S");
    set_link(vm, false);
    vm_continue(vm);
    output = vm_finish(vm, EXIT_FAILURE);
    assert_says(output, SAYS("adapter.n0: recorded as", "link down"));
}

static void refuse_plugging(Vm *vm, const char *why)
{
    vm_refuses(vm, why, "{ 'execute': 'netdev_add', 'arguments': "
               "{ 'type': 'user', 'id': 'n7' } }");
    vm_refuses(vm, why, "{ 'execute': 'netdev_del', 'arguments': "
               "{ 'id': 'n0' } }");
    vm_refuses(vm, why, "{ 'execute': 'device_add', 'arguments': "
               "{ 'driver': 'e1000', 'netdev': 'n0', 'id': 'nic7' } }");
    vm_refuses(vm, why, "{ 'execute': 'device_del', 'arguments': "
               "{ 'id': 'nic0' } }");
    vm_refuses(vm, "announce-self", "{ 'execute': 'announce-self', "
               "'arguments': { 'initial': 50, 'max': 550, 'rounds': 5, "
               "'step': 50 } }");
}

#define NAMED \
    MACHINE DGRAM(0) FILTER(0) \
    " -device ne2k_isa,netdev=n0,id=nic0,mac=52:54:00:12:34:00," \
    "iobase=0x300,irq=9"

static void test_plugging(const void *opaque)
{
    Vm *vm = recorder_start(1, NAMED RECORD);

    exchange_many(0, 3);
    refuse_plugging(vm, "recorded");
    exchange_many(0, 3);
    recorder_kill(vm);

    vm = vm_start(NAMED REPLAY ",rrerror=stop");
    qobject_unref(vm_wait_event(vm, "STOP"));
    refuse_plugging(vm, "replayed");
    assert_identical();
    vm_quit_failed(vm);
}

/* Before the machine runs, QMP may add netdevs and devices to it. */
static Vm *vm_plugged(const char *mode)
{
    Vm *vm = vm_start(MACHINE "%s -S", mode);
    g_autofree char *info = NULL;

    vm_command(vm, "{ 'execute': 'netdev_add', 'arguments': "
               "{ 'type': 'user', 'id': 'n0' } }");
    vm_command(vm, "{ 'execute': 'netdev_del', 'arguments': "
               "{ 'id': 'n0' } }");
    vm_command(vm, "{ 'execute': 'netdev_add', 'arguments': { 'type': "
               "'dgram', 'id': 'n0', 'local': { 'type': 'unix', 'path': "
               "'n0.qemu' }, 'remote': { 'type': 'unix', 'path': "
               "'n0.peer' } } }");
    vm_command(vm, "{ 'execute': 'device_add', 'arguments': "
               "{ 'driver': 'ne2k_pci', 'netdev': 'n0', 'romfile': '' } }");
    info = vm_human(vm, "info network");
    assert_says(info, SAYS("replay-n0"));
    vm_command(vm, "{ 'execute': 'cont' }");
    return vm;
}

static void test_plugging_before_start(const void *opaque)
{
    Vm *vm = vm_plugged(RECORD);

    vm_command(vm, "{ 'execute': 'quit' }");
    recorder_finish(vm, EXIT_SUCCESS);
    replay_finish_identical(vm_plugged(REPLAY), EXIT_SUCCESS);
}

#define USB_SERIAL \
    ONE " -device piix3-usb-uhci -chardev null,id=c0" \
    " -device usb-serial,chardev=c0,id=s0"

static void unplug_and_continue(Vm *vm)
{
    vm_command(vm, "{ 'execute': 'device_del', 'arguments': "
               "{ 'id': 's0' } }");
    qobject_unref(vm_wait_event(vm, "DEVICE_DELETED"));
    vm_command(vm, "{ 'execute': 'cont' }");
}

/* A break waits for the guest, and its device is unplugged before that. */
static void test_break_for_unplugged(const void *opaque)
{
    Vm *vm;

    peer_open(0);
    vm = vm_start(USB_SERIAL RECORD " -S");
    vm_command(vm, "{ 'execute': 'chardev-send-break', 'arguments': "
               "{ 'id': 'c0' } }");
    unplug_and_continue(vm);
    guest_await(1);
    exchange_many(0, 3);
    vm_command(vm, "{ 'execute': 'quit' }");
    recorder_finish(vm, EXIT_SUCCESS);

    vm = vm_start(USB_SERIAL REPLAY " -S");
    unplug_and_continue(vm);
    replay_finish_identical(vm, EXIT_SUCCESS);
}

/* --- Without record and replay ----------------------------------------- */

static void test_without_rr(const void *opaque)
{
    Vm *vm = recorder_start(1, ONE);

    exchange_many(0, 5);
    vm_command(vm, "{ 'execute': 'object-del', 'arguments': "
               "{ 'id': 'f0' } }");
    exchange_many(0, 5);
    vm_add_filter(vm, 0);
    exchange_many(0, 5);
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    recorder_finish(vm, EXIT_STATUS);
}

/* --- Mistakes on the command line -------------------------------------- */

typedef struct Refusal {
    const char *options;
    const char *says[6];
} Refusal;

static void test_refused(const void *opaque)
{
    const Refusal *refusal = opaque;

    assert_refused(vm_start("%s", refusal->options), refusal->says);
}

static const Refusal two_filters = {
    ONE " -object filter-replay,id=other,netdev=n0" RECORD,
    { "'n0'", "'f0'", "One on each netdev is enough" },
};

static const Refusal replay_netdev_plain = {
    OTHER("replay,id=n0"),
    { "netdev 'n0': the type replay exists only in a replay" },
};

static const Refusal replay_netdev_record = {
    OTHER("replay,id=n0") RECORD,
    { "netdev 'n0': the type replay exists only in a replay" },
};

static const Refusal unknown_netdev = {
    OTHER("'{\"type\": \"no-such-type\", \"id\": \"n0\"}'") RECORD,
    { "'type' does not accept value 'no-such-type'" },
};

static const Refusal queue_rx = {
    NO_FILTER " -object filter-replay,id=f0,netdev=n0,queue=rx" RECORD,
    { "'n0'", "queue=rx", "Leave queue= out" },
};

static const Refusal queue_tx = {
    NO_FILTER " -object filter-replay,id=f0,netdev=n0,queue=tx",
    { "'n0'", "queue=tx", "Leave queue= out" },
};

static const Refusal status_off = {
    NO_FILTER " -object filter-replay,id=f0,netdev=n0,status=off" RECORD,
    { "'n0'", "status=off", "Leave status= out" },
};

static const Refusal no_rrfile = {
    ONE " -icount shift=3,rr=record",
    { "rr=record", "Add rrfile=" },
};

static const Refusal no_shift = {
    ONE " -icount rr=record,rrfile=recording",
    { "need the instruction counter", "Add shift=" },
};

static const Refusal incoming = {
    ONE RECORD " -incoming defer",
    { "is migrated to this QEMU", "Remove -incoming" },
};

static const Refusal redirector = {
    ONE RECORD " -chardev null,id=c0"
    " -object filter-redirector,id=r0,netdev=n0,indev=c0",
    { "filter-redirector", "'n0'", "indev=c0", "not recorded" },
};

static const Refusal colo_compare = {
    ONE RECORD " -chardev null,id=c0 -chardev null,id=c1 -chardev null,id=c2"
    " -object iothread,id=t0 -object colo-compare,id=r0,primary_in=c0,"
    "secondary_in=c1,outdev=c2,iothread=t0",
    { "colo-compare", "recorded" },
};

static const Refusal failover = {
    MACHINE DGRAM(0) RECORD
    " -device virtio-net-pci,netdev=n0,failover=on,romfile=",
    { "failover=on", "not in the recording" },
};

static const Refusal rng_egd = {
    ONE RECORD " -chardev null,id=c0 -object rng-egd,id=r0,chardev=c0",
    { "rng-egd", "cannot be recorded", "Use rng-random" },
};

#define UNSAFE_DEVICE       " -device vmware-svga,romfile="

static const Refusal unsafe_device = {
    ONE UNSAFE_DEVICE RECORD,
    { "the device 'vmware-svga'", "display is refreshed", "rrunsafe=on" },
};

static const Refusal rtc_clock_rt = {
    ONE RECORD " -rtc clock=rt",
    { "cannot be recorded or replayed", "-rtc clock=rt" },
};

/* With rrunsafe=on, a device that is refused otherwise is recorded. */
static void test_unsafe_device(const void *opaque)
{
    g_autofree char *output = NULL;
    Vm *vm = recorder_start(1, ONE UNSAFE_DEVICE RECORD ",rrunsafe=on");

    exchange_many(0, 3);
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    output = vm_finish(vm, EXIT_STATUS);
    assert_says(output, SAYS("warning", "'vmware-svga'", "may differ"));
    recorder_keep_console();

    vm = vm_start("%s", ONE UNSAFE_DEVICE REPLAY);
    g_free(output);
    output = vm_finish(vm, EXIT_STATUS);
    assert_says(output, SAYS("warning", "'vmware-svga'", "may differ"));
    assert_identical();
}

static const Refusal shared_memory = {
    ONE " -object memory-backend-memfd,id=m,size=1M,share=on"
    " -device ivshmem-plain,memdev=m" RECORD,
    { "shared memory is not recorded" },
};

static const Refusal unknown_rr = {
    ONE " -icount shift=3,rr=repaly,rrfile=recording",
    { "rr='repaly'", "'record' or 'replay'" },
};

static const Refusal unknown_rrcompress = {
    ONE RECORD ",rrcompress=xz",
    { "rrcompress='xz'", "'zlib' or 'none'" },
};

static const Refusal unknown_rrerror = {
    ONE RECORD ",rrerror=ignore",
    { "rrerror='ignore'", "'exit' or 'stop'" },
};

/* Each disk has an entry in the description of the machine. */
static void test_too_many_disks(const void *opaque)
{
    g_autoptr(GString) options = g_string_new(ONE RECORD);
    unsigned i;

    for (i = 0; i < 1024; i++) {
        g_string_append_printf(options, " -drive if=none,id=d%u,driver=null-co,"
                               "read-zeroes=on", i);
    }
    assert_refused(vm_start("%s", options->str),
                   SAYS("the description of the machine has",
                        "the limit is 1024", "Use fewer"));
}

/* --- A recording of another machine ------------------------------------ */

#define OTHER_MACHINE       "'recording'"

/* A netdev without a NIC, so without a filter. */
#define NO_NIC              MACHINE DGRAM(0)

static const Refusal adapter_missing = {
    NO_NIC REPLAY,
    { OTHER_MACHINE, "adapter.n0: recorded as 'NIC ne2k_isa, MAC "
      "52:54:00:12:34:00", "now missing", "netdev ID" },
};

static const Refusal adapter_too_many = {
    TWO REPLAY,
    { OTHER_MACHINE, "adapter.n1: not in the recording, now 'NIC ne2k_isa, "
      "MAC 52:54:00:12:34:01" },
};

static const Refusal adapter_on_other_netdev = {
    MACHINE " -netdev dgram,id=net,local.type=unix,local.path=n0.qemu,"
    "remote.type=unix,remote.path=n0.peer"
    " -device ne2k_isa,netdev=net,mac=52:54:00:12:34:00,iobase=0x300,irq=9"
    " -object filter-replay,id=f0,netdev=net" REPLAY,
    { OTHER_MACHINE, "adapter.n0: recorded as 'NIC ne2k_isa",
      "adapter.net: not in the recording" },
};

static const Refusal adapter_of_other_model = {
    MACHINE DGRAM(0)
    " -device ne2k_pci,netdev=n0,mac=52:54:00:12:34:00,romfile="
    FILTER(0) REPLAY,
    { OTHER_MACHINE, "adapter.n0: recorded as 'NIC ne2k_isa",
      "now 'NIC ne2k_pci" },
};

static const Refusal adapter_with_other_mac = {
    MACHINE DGRAM(0) FILTER(0) REPLAY
    " -device ne2k_isa,netdev=n0,mac=52:54:00:12:34:99,iobase=0x300,irq=9",
    { OTHER_MACHINE, "recorded as 'NIC ne2k_isa, MAC 52:54:00:12:34:00",
      "now 'NIC ne2k_isa, MAC 52:54:00:12:34:99" },
};

static const Refusal adapter_without_nic = {
    MACHINE DGRAM(0) FILTER(0) REPLAY,
    { OTHER_MACHINE, "adapter.n0: recorded as 'NIC ne2k_isa", "now 'no NIC" },
};

static const Refusal all_differences = {
    NO_NIC " -m 4 -cpu pentium,-apic -icount shift=4,rr=replay,"
    "rrfile=recording",
    { OTHER_MACHINE, "ram: recorded as '2097152 bytes', now '4194304 bytes'",
      "icount.shift: recorded as '3', now '4'", "cpu: recorded as 'qemu32",
      "adapter.n0: recorded as" },
};

static void test_other_machine(const void *opaque)
{
    const Refusal *refusal = opaque;

    record(2, ONE RECORD);
    assert_refused(vm_start("%s", refusal->options), refusal->says);
}

/* With -S, QEMU compares the machine when 'cont' makes it run. */
static void test_other_machine_at_cont(const void *opaque)
{
    g_autofree char *output = NULL;
    Vm *vm;

    record(2, ONE RECORD);
    vm = vm_start(NO_NIC REPLAY " -S");
    vm_greet(vm);
    vm_continue(vm);
    output = vm_finish(vm, EXIT_FAILURE);
    assert_says(output, adapter_missing.says);
    g_assert_cmpuint(file_size("console"), ==, 0);
}

/* With rrcheck=off, the replay runs until it needs the missing adapter. */
static void test_unchecked_machine(const void *opaque)
{
    g_autofree char *output = NULL;

    record(2, ONE RECORD);
    output = vm_finish(vm_start(NO_NIC REPLAY ",rrcheck=off"),
                       EXIT_FAILURE);
    assert_one_message(output);
    assert_says(output, adapter_missing.says);
    assert_says(output, SAYS("warning", "of adapter n0"));
}

/* The machine is the recorded one, but its guest sends longer frames. */
static void test_other_guest(const void *opaque)
{
    g_autofree char *bios = file_read("bios", NULL);
    g_autofree char *output = NULL;

    g_assert_cmpint(bios[SENT_BYTES_OFFSET], ==, FRAME_MIN_BYTES);
    record(2, ONE RECORD);
    bios[SENT_BYTES_OFFSET]++;
    file_write("bios", bios, BIOS_BYTES);
    output = vm_finish(vm_start(ONE REPLAY ",rrcheck=off"), EXIT_FAILURE);
    assert_says(output,
                SAYS("warning: ", "file.rom.0: recorded as",
                     "'n0' has 61 bytes, but the recorded one has 60",
                     "icount "));
}

/* --- The processor ----------------------------------------------------- */

/* See the flags guest in netdev-replay/guest.S. */
static void test_flags(const void *opaque)
{
    g_autofree char *bios = file_read("bios", NULL);

    memcpy(bios, flags_guest, sizeof(flags_guest));
    file_write("bios", bios, BIOS_BYTES);
    g_free(vm_finish(vm_start(MACHINE), EXIT_STATUS));
}

/* --- Files that are not recordings ------------------------------------- */

typedef struct NoRecording {
    char bytes[64];
    size_t len_bytes;
    const char *says[4];
} NoRecording;

static const NoRecording empty_file = {
    "", 0,
    { "'recording'", "empty" },
};

static const NoRecording foreign_file = {
    "#!/bin/sh\necho This is a script, and a long one at that.\n", 40,
    { "'recording' is not a recording" },
};

static const NoRecording old_log = {
    "\x00\xe0\x20\x0c\0\0\0\0\0\0\0\0\x0c\x00\x07", 15,
    { "'recording'", "first format, version 0xe0200c", "QEMU 7.1 to 10.2" },
};

static const NoRecording old_log_0xe0200d = {
    "\x00\xe0\x20\x0d\0\0\0\0\0\0\0\0\x0c\x00\x07", 15,
    { "'recording'", "first format, version 0xe0200d", "newer than 10.2" },
};

static const NoRecording old_log_0xe0200e = {
    "\x00\xe0\x20\x0e\0\0\0\0\0\0\0\0\x0c\x00\x07", 15,
    { "'recording'", "first format, version 0xe0200e", "newer than 10.2" },
};

static const NoRecording old_log_of_killed = {
    "\0\0\0\0\0\0\0\0\0\0\0\0\x0c\x00\x07", 15,
    { "'recording' begins with zeros" },
};

static const NoRecording newer_format = {
    "\x89QRR\r\n\x1a\n\x02\0\0\0And who knows what is in it", 40,
    { "'recording' has a newer format: version 2",
      "Replay it with the QEMU that recorded it" },
};

static void test_no_recording(const void *opaque)
{
    const NoRecording *file = opaque;

    file_write("recording", file->bytes, file->len_bytes);
    assert_refused(vm_start(ONE REPLAY), file->says);
}

static void test_no_file(const void *opaque)
{
    assert_refused(vm_start(ONE REPLAY), SAYS("'recording'", "No such file"));
}

static void test_directory(const void *opaque)
{
    g_assert_cmpint(g_mkdir("recording", 0700), ==, 0);
    assert_refused(vm_start(ONE REPLAY), SAYS("'recording' is a directory"));
    assert_refused(vm_start(ONE RECORD ",rroverwrite=on"),
                   SAYS("'recording' is a directory"));
}

static void test_fifo(const void *opaque)
{
    g_assert_cmpint(mkfifo("recording", 0600), ==, 0);
    assert_refused(vm_start(ONE REPLAY), SAYS("'recording' is a FIFO"));
    assert_refused(vm_start(ONE RECORD ",rroverwrite=on"),
                   SAYS("'recording' is a FIFO"));
}

/* --- Recording over something ------------------------------------------ */

static void assert_not_overwritten(const char *const *says)
{
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;
    size_t len_before, len_after;

    before = file_read("recording", &len_before);
    assert_refused(vm_start(ONE RECORD), says);
    after = file_read("recording", &len_after);
    g_assert_cmpmem(after, len_after, before, len_before);
}

static void test_overwrite_recording(const void *opaque)
{
    g_autofree char *size = NULL;

    record(2, ONE RECORD);
    size = g_strdup_printf("%" PRIu64, file_size("recording"));
    assert_not_overwritten(SAYS("'recording'", "complete", size,
                                "rroverwrite=on"));

    g_string_truncate(rig.expected, 0);
    record(4, ONE RECORD ",rroverwrite=on");
    assert_replays(ONE REPLAY);
}

static void test_overwrite_cut(const void *opaque)
{
    record(2, ONE RECORD);
    g_assert_cmpint(truncate("recording", file_size("recording") - 1), ==, 0);
    assert_not_overwritten(SAYS("'recording'", "cut", "rroverwrite=on"));
}

static void test_overwrite_foreign(const void *opaque)
{
    file_write("recording", foreign_file.bytes, foreign_file.len_bytes);
    assert_not_overwritten(SAYS("'recording'", "rroverwrite=on"));
}

/* Another mistake, together with rroverwrite=on, must not cost a recording. */
static void test_overwrite_without_start(const void *opaque)
{
    record(2, ONE RECORD);
    assert_refused(vm_start(ONE " -object filter-replay,id=other,netdev=n0"
                            RECORD ",rroverwrite=on"), two_filters.says);
    assert_replays(ONE REPLAY);
}

static void test_two_recorders(const void *opaque)
{
    Vm *vm = recorder_start(1, ONE RECORD);

    assert_fails(vm_start(ONE RECORD ",rroverwrite=on"),
                 SAYS("'recording'", "another process"));
    exchange_many(0, 3);
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    recorder_finish(vm, EXIT_STATUS);

    assert_replays(ONE REPLAY);
}

/* --- Damage ------------------------------------------------------------ */

/* Offsets in the header of a chunk; see docs/replay.txt. */
#define CHUNK_STORED_BYTES  8
#define CHUNK_PAYLOAD_CRC   44
#define CHUNK_HEADER_CRC    48

/* Returns: how many bytes of a chunk a trial leaves; SIZE_MAX after the end. */
static size_t cut_in_chunk(size_t chunk_bytes, unsigned trial)
{
    const size_t lens[] = {
        0, 1, REPLAY_LOG_CHUNK_HDR_BYTES, chunk_bytes / 2, chunk_bytes - 1,
    };

    return trial < ARRAY_SIZE(lens) ? lens[trial] : SIZE_MAX;
}

static void assert_cut_replay(const char *file, size_t len_bytes,
                              const char *const *says)
{
    unlink("console");
    file_write("recording", file, len_bytes);
    assert_fails(vm_start(ONE REPLAY), says);
    assert_prefix();
}

static void test_cut(const void *opaque)
{
    g_autofree char *file = NULL;
    size_t len_bytes, offset, chunk_bytes;
    unsigned chunks = 0, trial;

    record_to_quit(100, ONE RECORD ",rrcompress=none");
    file = file_read("recording", &len_bytes);

    for (offset = 1; offset < REPLAY_LOG_HEADER_BYTES; offset += 13) {
        assert_cut_replay(file, offset,
                          SAYS("'recording'", "cut within its header"));
    }
    for (; offset < len_bytes; offset += chunk_bytes) {
        size_t left;

        offset = MAX(offset, REPLAY_LOG_HEADER_BYTES);
        chunk_bytes = REPLAY_LOG_CHUNK_HDR_BYTES +
                      ldl_le_p(file + offset + CHUNK_STORED_BYTES);
        for (trial = 0;
             (left = cut_in_chunk(chunk_bytes, trial)) != SIZE_MAX; trial++) {
            g_autofree char *place = g_strdup_printf("offset %zu", offset);

            assert_cut_replay(file, offset + left,
                              SAYS("'recording'", "cut", place));
        }
        chunks++;
    }
    g_assert_cmpuint(chunks, >=, 4);    /* description, events twice, end */
}

static void assert_flip_replay(char *file, size_t len_bytes, size_t offset)
{
    unlink("console");
    file[offset] ^= 1 << offset % 8;
    file_write("recording", file, len_bytes);
    file[offset] ^= 1 << offset % 8;
    assert_fails(vm_start(ONE REPLAY), SAYS("'recording'"));
    assert_prefix();
}

/*
 * The number of bytes, spread over the whole file, in which a bit is flipped.
 * Starting QEMU for every byte would take too long; the unit test of the
 * reader covers all.
 */
#define FLIPS               64

static void test_flip(const void *opaque)
{
    g_autofree char *file = NULL;
    size_t len_bytes;
    unsigned i;

    record_to_quit(2, ONE RECORD);
    file = file_read("recording", &len_bytes);
    for (i = 0; i < FLIPS; i++) {
        assert_flip_replay(file, len_bytes, i * (len_bytes - 1) / (FLIPS - 1));
    }
}

/* Corrects the checksums of a chunk that was changed. */
static void chunk_sign(char *chunk)
{
    stl_le_p(chunk + CHUNK_PAYLOAD_CRC,
             crc32c(0xffffffff,
                    (uint8_t *)chunk + REPLAY_LOG_CHUNK_HDR_BYTES,
                    ldl_le_p(chunk + CHUNK_STORED_BYTES)));
    stl_le_p(chunk + CHUNK_HEADER_CRC,
             crc32c(0xffffffff, (uint8_t *)chunk, CHUNK_HEADER_CRC));
}

static void test_unknown_event(const void *opaque)
{
    g_autofree char *file = NULL;
    size_t len_bytes;
    char *chunk;
    int kind, tried = 0;

    record(2, ONE RECORD ",rrcompress=none");
    file = file_read("recording", &len_bytes);
    chunk = file + REPLAY_LOG_HEADER_BYTES;
    chunk += REPLAY_LOG_CHUNK_HDR_BYTES + ldl_le_p(chunk + CHUNK_STORED_BYTES);
    for (kind = 0; kind < REPLAY_LOG_KINDS; kind += 9) {
        if (!replay_log_event_name(kind)) {
            g_autofree char *says = g_strdup_printf("kind 0x%02x", kind);

            chunk[REPLAY_LOG_CHUNK_HDR_BYTES] = kind;
            chunk_sign(chunk);
            file_write("recording", file, len_bytes);
            assert_refused(vm_start(ONE REPLAY),
                           SAYS("'recording'", "chunk 1 at", says,
                                "needs a feature"));
            tried++;
        }
    }
    g_assert_cmpint(tried, >, 10);
}

/* --- Hostile recordings ------------------------------------------------ */

/* The first event of the kind @at is replaced by one with these fields. */
typedef struct Hostile {
    ReplayLogEventKind at;
    ReplayLogEventKind kind;
    uint64_t num[REPLAY_LOG_NUMS_MAX];
    size_t len_bytes;
    const char *says[5];
    const char *options;        /* of the machine, besides those of ONE */
    const char *text;           /* the data; NULL: zeros */
} Hostile;

static const Hostile unknown_adapter = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_NET, { 1, 0 }, 60,
    { "adapter number 1", "async-net" },
};

static const Hostile huge_adapter = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_NET, { UINT64_MAX, 0 }, 60,
    { "adapter number 18446744073709551615", "async-net" },
};

static const Hostile empty_packet = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_NET, { 0, 0 }, 0,
    { "netdev 'n0' has 0 bytes", "async-net of adapter n0" },
};

static const Hostile long_packet = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_NET, { 0, 0 },
    REPLAY_NET_PACKET_MAX_BYTES + 1,
    { "netdev 'n0' has 69633 bytes", "async-net of adapter n0" },
};

static const Hostile longest_event = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_NET, { 0, 0 },
    REPLAY_LOG_DATA_MAX_BYTES,
    { "netdev 'n0' has 524288 bytes", "async-net of adapter n0" },
};

static const Hostile unknown_flag = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_NET, { 0, 2 }, 60,
    { "flags 0x2", "async-net of adapter n0" },
};

static const Hostile flag_beyond_32_bits = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_NET, { 0, 1ULL << 32 }, 60,
    { "flags 0x100000000", "async-net of adapter n0" },
};

static const Hostile unknown_link = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_NET_LINK, { 0 }, 200,
    { "network client", "no such client", "async-net-link" },
};

static const Hostile long_link = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_NET_LINK, { 1 }, 500000,
    { "network client", "no such client", "async-net-link" },
};

#define ESCAPES             "\033]0;title\a\033[2J\r\n\302\233\377%n%s"

static const Hostile escapes_for_link = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_NET_LINK, { 1 }, sizeof(ESCAPES) - 1,
    { "network client '\\033]0;title", "%n%s' changes", "async-net-link" },
    NULL, ESCAPES,
};

static const Hostile half_link = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_NET_LINK, { 2 }, 2,
    { "invalid link state 2", "async-net-link" },
};

static const Hostile unknown_machine_request = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_REQUEST, { REPLAY_REQUEST_COUNT }, 0,
    { "unknown request 4 to the machine", "async-request" },
};

static const Hostile huge_machine_request = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_REQUEST, { UINT64_MAX }, 0,
    { "unknown request 18446744073709551615", "async-request" },
};

/* The machine is not suspended, so nothing happens, and a packet is missing. */
static const Hostile wakeup_for_packet = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_REQUEST, { REPLAY_REQUEST_WAKEUP }, 0,
    { "recorded" },
};

static const Hostile unknown_mux = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_CHAR_MUX, { 0, UINT64_MAX }, 1,
    { "character device", "async-char-mux" },
};

static const Hostile unknown_chardev = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_CHAR_READ, { 99 }, 1,
    { "character device number 99", "async-char-read" },
};

static const Hostile unknown_input = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_INPUT, { 99, 99, 99, 99 }, 0,
    { "input", "async-input" },
};

static const Hostile unknown_bottom_half = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_BH, { 99 }, 0,
    { "async-bh" },
};

static const Hostile unknown_request = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_BLOCK, { 99 }, 0,
    { "async-block" },
};

static const Hostile unknown_cause = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_SHUTDOWN, { 99 }, 0,
    { "shutdown cause 99", "shutdown" },
};

static const Hostile no_instructions = {
    REPLAY_EV_INSTRUCTION, REPLAY_EV_INSTRUCTION, { 0 }, 0,
    { "no instructions", "instruction" },
};

static const Hostile written_too_much = {
    REPLAY_EV_CHAR_WRITE, REPLAY_EV_CHAR_WRITE, { 2, 2 }, 0,
    { "writes 1 bytes", "char-write" },
};

static const Hostile written_less_than_nothing = {
    REPLAY_EV_CHAR_WRITE, REPLAY_EV_CHAR_WRITE, { 1, -1 }, 0,
    { "writes 1 bytes", "char-write" },
};

static const Hostile random_for_write = {
    REPLAY_EV_CHAR_WRITE, REPLAY_EV_RANDOM, { 0 }, 8,
    { "'char-write'", "'random'" },
};

static const Hostile interrupt_for_packet = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_INTERRUPT, { }, 0,
    { "interrupt" },
};

static const Hostile checkpoint_for_packet = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_CHECKPOINT_SUSPEND_REQUESTED, { }, 0,
    { "checkpoint-suspend-requested" },
};

/* A multiplexer's front end 0 is a monitor, which writes into a file. */
#define MONITOR             " -serial mon:file:monitor"
#define COMMAND             "info version\rmigrate exec:touch${IFS}commanded\r"
#define NOT_OF_GUEST        "that is not a device of the guest"

static const Hostile bytes_for_monitor = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_CHAR_MUX, { 0, 0 }, sizeof(COMMAND),
    { "'serial0'", NOT_OF_GUEST, "async-char-mux" }, MONITOR, COMMAND,
};

static const Hostile bytes_for_focus = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_CHAR_READ, { 0 }, sizeof(COMMAND),
    { "'serial0'", NOT_OF_GUEST, "async-char-read" }, MONITOR, COMMAND,
};

static const Hostile bytes_for_qtest = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_CHAR_READ, { 0 }, 24,
    { "'qtest'", NOT_OF_GUEST, "async-char-read" },
    " -qtest file:qtest -qtest-log none", "writeb 0x7c00 0xf4 # 0x\n",
};

static const Hostile bytes_for_no_mux = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_CHAR_MUX, { 0, 0 }, 1,
    { "'debugcon'", "not multiplexed", "async-char-mux" },
};

static const Hostile break_for_monitor = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_CHAR_BREAK, { 0, 0 }, 0,
    { "a break", "'serial0'", NOT_OF_GUEST, "async-char-break" }, MONITOR,
};

static const Hostile break_for_no_front_end = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_CHAR_BREAK, { 0, 1ULL << 32 }, 0,
    { "a break", "'debugcon'", "front end number 4294967296", "does not" },
};

static const Hostile break_for_unknown = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_CHAR_BREAK, { UINT64_MAX, 0 }, 0,
    { "a break", "character device number 18446744073709551615" },
};

static const Hostile bytes_for_no_front_end = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_CHAR_MUX, { 0, 3 }, 1,
    { "'serial0'", "front end number 3", "does not exist" }, MONITOR,
};

static const Hostile unknown_rng = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_RNG, { 0 }, 8,
    { "random bytes", "back end number 0", "async-rng" },
};

static const Hostile unknown_rng_max = {
    REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_RNG, { UINT64_MAX },
    REPLAY_LOG_DATA_MAX_BYTES,
    { "back end number 18446744073709551615", "async-rng" },
};

/* Changes @ev if it is one to be changed.  Returns: whether it did so. */
typedef bool ChangeEvent(ReplayLogEvent *ev, const void *opaque);

typedef struct ChangedKey {
    const char *key;
    const char *value;      /* NULL: leave the key out */
} ChangedKey;

/* Returns: @d, with new values of @keys, which a key NULL ends; owned. */
static ReplayLogDescription *description_change(const ReplayLogDescription *d,
                                                const ChangedKey *keys)
{
    ReplayLogDescription *changed = replay_log_description_new();
    size_t i, n;

    for (i = 0; i < replay_log_description_count(d); i++) {
        const char *value;
        const char *key = replay_log_description_nth(d, i, &value);

        for (n = 0; keys && keys[n].key; n++) {
            if (g_str_equal(keys[n].key, key)) {
                value = keys[n].value;
            }
        }
        if (value) {
            replay_log_description_add(changed, key, value);
        }
    }
    return changed;
}

/*
 * Writes the recording again, with new values of @keys, or NULL, and with one
 * event changed by @change.
 */
static void recording_rewrite_keys(const ChangedKey *keys, ChangeEvent *change,
                                   const void *opaque)
{
    g_autoptr(ReplayLogDescription) d = NULL;
    ReplayLogReader *reader;
    ReplayLogWriter *writer;
    ReplayLogEvent ev;
    bool done = false;

    file_rename("recording", "recording.good");
    reader = replay_log_reader_open("recording.good", &error_abort);
    writer = replay_log_writer_open("recording", 0, &error_abort);
    d = description_change(replay_log_reader_description(reader), keys);
    replay_log_writer_describe(writer, d, &error_abort);
    while (replay_log_read_event(reader, &ev, NULL) == REPLAY_LOG_OK) {
        done = done || change(&ev, opaque);
        g_assert_true(replay_log_write_event(writer, ev.kind, ev.num, ev.data,
                                             ev.len_bytes));
    }
    g_assert_true(done);
    replay_log_writer_close(writer, &error_abort);
    replay_log_reader_close(reader);
}

static void recording_rewrite(ChangeEvent *change, const void *opaque)
{
    recording_rewrite_keys(NULL, change, opaque);
}

static bool hostile_change(ReplayLogEvent *ev, const void *opaque)
{
    static const uint8_t zeros[REPLAY_LOG_DATA_MAX_BYTES];
    const Hostile *hostile = opaque;

    if (ev->kind != hostile->at) {
        return false;
    }
    g_assert_cmpuint(hostile->len_bytes, <=, sizeof(zeros));
    ev->kind = hostile->kind;
    memcpy(ev->num, hostile->num, sizeof(ev->num));
    ev->data = hostile->text ? (const uint8_t *)hostile->text : zeros;
    ev->len_bytes = hostile->len_bytes;
    return true;
}

/* Nothing in @output is more than text to a terminal. */
static void assert_text(const char *output)
{
    for (; *output; output++) {
        if (!g_ascii_isprint(*output) && *output != '\n') {
            fail("the output has the byte 0x%02x", (uint8_t)*output);
        }
    }
}

static void test_hostile(const void *opaque)
{
    const Hostile *hostile = opaque;
    const char *options = hostile->options ?: "";
    g_autofree char *recorder = g_strconcat(ONE RECORD, options, NULL);
    g_autofree char *output = NULL;

    record(3, recorder);
    recording_rewrite(hostile_change, hostile);

    output = vm_finish(vm_start(ONE REPLAY "%s", options), EXIT_FAILURE);
    assert_text(output);
    assert_one_message(output);
    assert_says(output, hostile->says);
    assert_says(output, SAYS("'recording'", "event ", "offset ", "icount "));
    assert_prefix();
    if (g_file_test("monitor", G_FILE_TEST_EXISTS)) {
        g_autofree char *monitor = file_read("monitor", NULL);

        /* Nothing was typed into it. */
        g_assert_null(strstr(monitor, "migrate"));
    }
}

#define RNG_RANDOM          " -object rng-random,id=r0,filename=/dev/urandom"

/* The back end is there, but the guest has not asked it for anything. */
static void test_unwanted_random(const void *opaque)
{
    static const Hostile unwanted = {
        REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_RNG, { 0 }, 8,
    };

    record(3, ONE RNG_RANDOM RECORD);
    recording_rewrite(hostile_change, &unwanted);
    assert_fails(vm_start(ONE RNG_RANDOM REPLAY),
                 SAYS("'recording'", "'async-rng'"));
    assert_prefix();
}

#define VIRTIO_NIC \
    DGRAM(1) " -device virtio-net-pci,netdev=n1,mac=52:54:00:12:34:01"
#define VIRTIO_TEXT         "NIC virtio-net-pci, MAC 52:54:00:12:34:01, "

static const ChangedKey header_of_10_bytes[] = {
    { "adapter.n1", VIRTIO_TEXT "virtio header 10 bytes, offloads" },
    { "info.adapter.n1.offers", "header header-10 unheard-of" },
    { NULL },
};

/* virtio-net expects a header, but cannot set its length. */
static const ChangedKey header_without_length[] = {
    { "adapter.n1", VIRTIO_TEXT "virtio header 0 bytes" },
    { "info.adapter.n1.offers", "header" },
    { NULL },
};

/*
 * The recording claims that the back end of a NIC has a virtio header, and has
 * a packet that ends with this header.
 */
static void test_header_only(const void *opaque)
{
    static const Hostile header_only = {
        REPLAY_EV_ASYNC_NET, REPLAY_EV_ASYNC_NET, { 1 }, 10,
    };
    const ChangedKey *keys = opaque;

    record(3, ONE VIRTIO_NIC RECORD);
    recording_rewrite_keys(keys, hostile_change, &header_only);
    assert_fails(vm_start(ONE VIRTIO_NIC REPLAY),
                 SAYS("'n1' has 10 bytes, but its virtio header has 10"));
    assert_prefix();
}

/* A recording that was only written again replays; so rewriting is harmless. */
static const Hostile harmless = {
    REPLAY_EV_INTERRUPT, REPLAY_EV_INTERRUPT,
};

static void test_rewritten(const void *opaque)
{
    record(3, ONE RECORD);
    recording_rewrite(hostile_change, &harmless);
    assert_replays(ONE REPLAY);
}

static const ChangedKey header_and_ufo[] = {
    { "adapter.n1", VIRTIO_TEXT "virtio header 10 bytes, offloads, UFO" },
    { "info.adapter.n1.offers", "header header-10 unheard-of ufo" },
    { NULL },
};

static const ChangedKey header_of_earlier_recording[] = {
    { "adapter.n1", VIRTIO_TEXT "virtio header 10 bytes, offloads, UFO" },
    { "info.adapter.n1.offers", NULL },
    { NULL },
};

/*
 * The machine of the replay is the recorded one only if its NIC finds what the
 * description says that the back end had.
 */
static void test_offers(const void *opaque)
{
    record(3, ONE VIRTIO_NIC RECORD);
    recording_rewrite_keys(opaque, hostile_change, &harmless);
    assert_replays(ONE VIRTIO_NIC REPLAY);
}

/* --- A recording of an earlier version --------------------------------- */

/*
 * tests/data/replay has a recording in version 1 of the format, from the first
 * QEMU of a base that wrote this version.  Every later QEMU of the same base
 * must replay it.
 *
 *   version-1.recording.base64   the recording
 *   version-1.guest.base64       its guest; guest.S may have changed since
 *   version-1.console            the console of the recorder
 *   version-1.events             the description and the events, as text
 *   version-1.totals             what query-replay and the filters count
 *
 * The files are text, so that a patch can add them.  They must not be made
 * again: a new version of the format gets files of its own.  The test
 * "two-adapters-and-link/identical" records such a session.  If
 * NETDEV_REPLAY_KEEP is set in the environment, the directory of that test
 * stays, with the recording, the console and the BIOS image, whose first bytes
 * are the guest; "kept-recording/decodes" writes the list of events.
 */
#define KEPT                "version-1"

/* The machine type is given, since the default can change. */
#define KEPT_MACHINE \
    MACHINE " -machine pc-i440fx-7.2" DGRAM(0) DGRAM(1) NIC0 NIC1 \
    FILTER(0) " -object filter-replay,id=f1,netdev=n1,verify=full"

/*
 * The length of a packet that cannot be compressed.  The NIC does not get it,
 * as its link is down; its chunk has little else, so the writer stores packets
 * apart from the events.
 */
#define NOISE_BYTES         8000

static void send_noise(unsigned n)
{
    g_autofree uint8_t *packet = g_malloc(NOISE_BYTES);
    uint32_t noise = 1;
    size_t i;

    for (i = 0; i < NOISE_BYTES; i++) {
        noise ^= noise << 13;
        noise ^= noise >> 17;
        noise ^= noise << 5;
        packet[i] = noise;
    }
    peer_send(n, packet, NOISE_BYTES);
}

static void press_key(Vm *vm)
{
    vm_command(vm, "{ 'execute': 'input-send-event', 'arguments': { 'events': "
               "[ { 'type': 'key', 'data': { 'down': true, 'key': "
               "{ 'type': 'qcode', 'data': 'a' } } } ] } }");
}

/*
 * Waits until the recorder writes a chunk.  It sends no QMP command meanwhile:
 * each would make the main loop go round, and so add events.
 */
static void wait_for_chunk(void)
{
    uint64_t len_bytes = file_size("recording");
    int64_t end = rig_deadline();

    while (file_size("recording") == len_bytes) {
        g_usleep(10000);
        if (g_get_monotonic_time() > end) {
            fail("the recorder wrote nothing within %d s", CEILING_S);
        }
    }
}

/* Frames in both directions, a key and a link, in several chunks. */
static void test_two_adapters_and_link(const void *opaque)
{
    Vm *vm = recorder_start(2, KEPT_MACHINE RECORD);

    exchange_many(0, 4);
    exchange_many(1, 7);
    exchange(1, FRAME_MIN_BYTES, COMMAND_NO_TIMER);
    press_key(vm);
    wait_for_chunk();

    vm_command(vm, "{ 'execute': 'stop' }");
    set_link(vm, false);
    send_noise(0);
    vm_wait_counter(vm, "f0", "pending", 1);
    vm_command(vm, "{ 'execute': 'cont' }");
    vm_wait_counter(vm, "f0", "received-packets", 5);
    set_link(vm, true);
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    recorder_finish(vm, EXIT_STATUS);

    assert_replays(KEPT_MACHINE REPLAY);
}

/* Returns: the text of tests/data/replay/@name, decoded, owned. */
static char *read_base64(const char *name, size_t *len_bytes)
{
    g_autofree char *text = file_read_data(name);

    return (char *)g_base64_decode(text, len_bytes);
}

/* Puts the kept files where a recorder would have left them. */
static void kept_unpack(void)
{
    g_autofree char *console = file_read_data(KEPT ".console");
    g_autofree char *recording = NULL;
    g_autofree char *guest = NULL;
    g_autofree char *bios = NULL;
    size_t len_bytes;

    recording = read_base64(KEPT ".recording.base64", &len_bytes);
    file_write("recording", recording, len_bytes);
    file_write("console.recorded", console, strlen(console));

    guest = read_base64(KEPT ".guest.base64", &len_bytes);
    bios = file_read("bios", NULL);
    g_assert_cmpuint(len_bytes, <, BIOS_BYTES - 16);
    memcpy(bios, guest, len_bytes);
    file_write("bios", bios, BIOS_BYTES);
}

/*
 * Lists an event: instructions and packets before it, its name, its numbers,
 * and the length and checksum of its bytes.
 */
static void list_event(GString *list, const ReplayLogEvent *ev)
{
    const char *fields = replay_log_event_fields(ev->kind);
    unsigned i;

    g_string_append_printf(list, "%" PRIu64 " %" PRIu64 " %s", ev->icount,
                           ev->packet, replay_log_event_name(ev->kind));
    for (i = 0; i < ev->n_nums; i++) {
        if (fields[i] == 's' || fields[i] == 'c') {
            g_string_append_printf(list, " %" PRId64, (int64_t)ev->num[i]);
        } else {
            g_string_append_printf(list, " %" PRIu64, ev->num[i]);
        }
    }
    if (ev->data) {
        g_string_append_printf(list, " %zu:%08x", ev->len_bytes,
                               replay_log_crc32c(0, ev->data, ev->len_bytes));
    }
    g_string_append_c(list, '\n');
}

/* Returns: the list of the description and the events, owned. */
static char *recording_list(void)
{
    g_autoptr(GString) list = g_string_new(NULL);
    ReplayLogReader *reader = replay_log_reader_open("recording", &error_abort);
    const ReplayLogDescription *d = replay_log_reader_description(reader);
    ReplayLogInfo info = replay_log_reader_info(reader);
    ReplayLogStatus status;
    ReplayLogEvent ev;
    size_t i;

    for (i = 0; i < replay_log_description_count(d); i++) {
        const char *value;
        const char *key = replay_log_description_nth(d, i, &value);

        g_string_append_printf(list, "%s=%s\n", key, value);
    }
    while ((status = replay_log_read_event(reader, &ev, NULL)) ==
           REPLAY_LOG_OK) {
        /* The line of the next event shows how many were executed. */
        if (ev.kind != REPLAY_EV_INSTRUCTION) {
            list_event(list, &ev);
        }
    }
    g_assert_cmpint(status, ==, REPLAY_LOG_END);
    g_string_append_printf(list, "%" PRIu64 " %" PRIu64 " end: %" PRIu64
                           " events in %" PRIu64 " bytes, %u chunks, %s\n",
                           info.icount, info.packets, info.events,
                           info.raw_bytes, info.chunks,
                           info.complete ? "complete" : "incomplete");
    replay_log_reader_close(reader);
    return g_string_free(g_steal_pointer(&list), false);
}

static void assert_listed(const char *list, const char *key, const char *value)
{
    g_auto(GStrv) lines = g_strsplit(list, "\n", -1);
    size_t i;

    for (i = 0; lines[i]; i++) {
        if (g_str_has_prefix(lines[i], key) && g_str_has_suffix(lines[i],
                                                                value)) {
            return;
        }
    }
    fail("there is no '%s...%s' in: %s", key, value, list);
}

static void test_command_line(const void *opaque)
{
    g_autofree char *name = g_strnfill(REPLAY_LOG_DESC_STR_MAX + 1, 'n');
    g_autofree char *list = NULL;
    g_autofree char *options = g_strdup_printf(
        ONE " -name '\xc3\xa4\xff\n\\' -msg guest-name=off -name %s" RECORD,
        name);

    record(1, options);
    list = recording_list();
    assert_listed(list, "info.argv.0=", "qemu-system-x86_64");
    assert_listed(list, "info.argv.1=", "-accel");
    assert_listed(list, "info.argv.", "=\xc3\xa4\\xff\\x0a\\x5c");
    assert_listed(list, "info.argv.", ".1=n");
    assert_listed(list, "info.argv.", "=shift=3,rr=record,rrfile=recording");
}

/* --- Files that the guest can see ---------------------------------------- */

/* The firmware of the replay has another name, then other content. */
static void test_other_firmware(const void *opaque)
{
    size_t len_bytes;
    g_autofree char *bios = file_read("bios", &len_bytes);

    record(2, ONE RECORD);
    file_write("other", bios, len_bytes);
    assert_replays(ONE " -bios other" REPLAY);
    bios[len_bytes / 2] ^= 1;
    file_write("other", bios, len_bytes);
    assert_refused(vm_start(ONE " -bios other" REPLAY),
                   SAYS("file.rom.0: recorded as", "65536 bytes, bios, now",
                        "65536 bytes, other"));
}

static void test_other_tables(const void *opaque)
{
    record(2, ONE " -fw_cfg name=opt/a,string=a" RECORD);
    assert_refused(vm_start(ONE " -fw_cfg name=opt/a,string=b" REPLAY),
                   SAYS("file.fw_cfg.0: recorded as", "1 bytes, a, now",
                        "1 bytes, b"));
    assert_refused(vm_start(ONE REPLAY),
                   SAYS("file.fw_cfg.0: recorded as", "now missing"));
    assert_refused(vm_start(ONE " -fw_cfg name=opt/a,string=a"
                            " -fw_cfg name=opt/b,string=b" REPLAY),
                   SAYS("file.fw_cfg.1: not in the recording"));
}

static void test_kept_decodes(const void *opaque)
{
    g_autofree char *expected = file_read_data(KEPT ".events");
    g_autofree char *list = NULL;
    g_auto(GStrv) want = NULL;
    g_auto(GStrv) have = NULL;
    size_t i;

    kept_unpack();
    list = recording_list();
    file_write("events", list, strlen(list));
    want = g_strsplit(expected, "\n", -1);
    have = g_strsplit(list, "\n", -1);
    for (i = 0; want[i] || have[i]; i++) {
        if (g_strcmp0(want[i], have[i]) != 0) {
            fail("line %zu of the file 'events' is '%s', expected '%s'", i + 1,
                 have[i] ?: "missing", want[i] ?: "nothing");
        }
    }
}

/*
 * The version of QEMU is part of the description and rises with each update of
 * Debian's package.  So the kept recording is replayed with rrcheck=off; QEMU
 * then warns of differences, and none but the version may be among them.
 */
#define KEPT_REPLAY         KEPT_MACHINE REPLAY ",rrcheck=off"

static void assert_only_version_differs(const char *output)
{
    g_auto(GStrv) lines = g_strsplit(output, "\n", -1);
    size_t i;

    for (i = 0; lines[i]; i++) {
        if (g_str_has_prefix(lines[i], "  ") &&
            !g_str_has_prefix(lines[i], "  qemu: ")) {
            fail("the machine differs from that of the recording: %s", output);
        }
    }
    if (*output) {
        assert_says(output, SAYS("warning: ", "  qemu: recorded as"));
    }
}

/* Compares what QEMU tells with the lines of KEPT.totals that have @words. */
static void assert_kept_totals(Vm *vm, unsigned words)
{
    g_autofree char *totals = file_read_data(KEPT ".totals");
    g_auto(GStrv) lines = g_strsplit(totals, "\n", -1);
    QDict *reply = vm_query(vm, "{ 'execute': 'query-replay' }");
    QDict *info = qdict_get_qdict(reply, "return");
    unsigned compared = 0;
    size_t i;

    g_assert_true(qdict_get_bool(info, "complete"));
    for (i = 0; lines[i]; i++) {
        g_auto(GStrv) word = g_strsplit(lines[i], " ", -1);
        int64_t value;

        if (g_strv_length(word) != words) {
            continue;
        }
        value = words == 2 ? qdict_get_int(info, word[0])
                           : vm_counter(vm, word[0], word[1]);
        if (value != g_ascii_strtoll(word[words - 1], NULL, 10)) {
            fail("it is %" PRId64 ", expected %s", value, lines[i]);
        }
        compared++;
    }
    g_assert_cmpuint(compared, >, 2);
    qobject_unref(reply);
}

/* The totals in the end chunk. */
static void assert_kept_is_complete(Vm *vm)
{
    assert_kept_totals(vm, 2);
}

/* Checks the counters at the instruction before the guest exits. */
static void assert_kept_counters(Vm *vm)
{
    assert_kept_totals(vm, 3);
}

/* The number of instructions of the guest, the last of which exits. */
static int64_t kept_icount(Vm *vm)
{
    QDict *reply = vm_query(vm, "{ 'execute': 'query-replay' }");
    int64_t icount = qdict_get_int(qdict_get_qdict(reply, "return"),
                                   "total-icount");

    qobject_unref(reply);
    return icount;
}

static void test_kept_replays(const void *opaque)
{
    g_autofree char *output = NULL;
    Vm *vm;

    kept_unpack();
    vm = vm_start(KEPT_REPLAY " -S");
    assert_kept_is_complete(vm);
    vm_command(vm, "{ 'execute': 'replay-break', 'arguments': "
               "{ 'icount': %" PRId64 " } }", kept_icount(vm) - 1);
    vm_command(vm, "{ 'execute': 'cont' }");
    qobject_unref(vm_wait_event(vm, "STOP"));
    assert_kept_counters(vm);
    /* The guest may exit before QEMU replies. */
    vm_continue(vm);
    output = vm_finish(vm, EXIT_STATUS);
    assert_only_version_differs(output);
    assert_identical();
}

/* --- A kept recording that was changed --------------------------------- */

typedef struct OtherByte {
    uint64_t adapter;           /* number in the recording */
    const char *says[5];
} OtherByte;

/* verify=on: the replay compares checksums. */
static const OtherByte other_byte_on = {
    0, { "'recording'", "'n0', 60 bytes, differs", "checksum" },
};

/* verify=full: the replay compares each byte. */
static const OtherByte other_byte_full = {
    1, { "'recording'", "'n1' differs", "byte 15 of 60 is 0x31",
         "recorded as 0x21" },
};

#define OTHER_BYTE          15

/* A byte of the first packet for an adapter is changed. */
static bool other_byte_change(ReplayLogEvent *ev, const void *opaque)
{
    static uint8_t packet[FRAME_MAX_BYTES];
    const OtherByte *other = opaque;

    if (ev->kind != REPLAY_EV_ASYNC_NET || ev->num[0] != other->adapter) {
        return false;
    }
    g_assert_cmpuint(ev->len_bytes, >, OTHER_BYTE);
    g_assert_cmpuint(ev->len_bytes, <=, sizeof(packet));
    memcpy(packet, ev->data, ev->len_bytes);
    packet[OTHER_BYTE] ^= 0x10;
    ev->data = packet;
    return true;
}

static void test_kept_other_byte(const void *opaque)
{
    const OtherByte *other = opaque;
    g_autofree char *output = NULL;

    kept_unpack();
    recording_rewrite(other_byte_change, other);
    output = vm_finish(vm_start(KEPT_REPLAY), EXIT_FAILURE);
    assert_one_message(output);
    assert_says(output, other->says);
}

/* One bit is flipped in the middle of the file, in a packet. */
static void test_kept_flipped(const void *opaque)
{
    g_autofree char *file = NULL;
    g_autofree char *output = NULL;
    size_t len_bytes;

    kept_unpack();
    file = file_read("recording", &len_bytes);
    file[len_bytes / 2] ^= 0x10;
    file_write("recording", file, len_bytes);
    output = vm_finish(vm_start(KEPT_REPLAY), EXIT_FAILURE);
    assert_one_message(output);
    assert_says(output, SAYS("'recording' is damaged", "chunk 3 at"));
    assert_prefix();
}

/* --- The end of a recorder --------------------------------------------- */

/*
 * Exchanges frames until @chunks whole chunks of events are in the recording,
 * which is not compressed.  A thread of the recorder writes the chunks, so the
 * file grows before all of a chunk is in it.
 */
static void exchange_until_written(unsigned chunks)
{
    int64_t end = rig_deadline();
    uint64_t wanted_bytes = file_size("recording")
        + chunks * (REPLAY_LOG_CHUNK_HDR_BYTES + REPLAY_LOG_CHUNK_BYTES);

    while (file_size("recording") < wanted_bytes) {
        if (g_get_monotonic_time() > end) {
            fail("the recorder wrote nothing within %d s", CEILING_S);
        }
        exchange(0, FRAME_MAX_BYTES, COMMAND_NONE);
    }
}

static void record_and_kill(unsigned chunks)
{
    Vm *vm = recorder_start(1, ONE RECORD ",rrcompress=none");

    exchange_until_written(chunks);
    kill(vm->pid, SIGKILL);
    g_free(vm_finish(vm, -SIGKILL));
    recorder_keep_console();
}

static void test_killed(const void *opaque)
{
    unsigned chunks = GPOINTER_TO_UINT(opaque);

    record_and_kill(chunks);
    assert_fails(vm_start(ONE REPLAY),
                 SAYS("'recording' is cut", "recorder was killed", "event ",
                      "packet ", "icount "));
    assert_prefix();
    if (chunks) {
        g_assert_cmpuint(file_size("console"), >, 0);
    }
}

static void test_killed_stop(const void *opaque)
{
    g_autofree char *output = NULL;
    uint64_t packets;
    Vm *vm;

    record_and_kill(2);
    vm = vm_start(ONE REPLAY ",rrerror=stop");
    qobject_unref(vm_wait_event(vm, "STOP"));
    vm_assert_status(vm, "paused");
    packets = vm_counter(vm, "f0", "received-packets");
    g_assert_cmpuint(packets, >, 0);
    assert_prefix();

    /* The replay cannot continue, so QEMU stops it again. */
    vm_command(vm, "{ 'execute': 'cont' }");
    qobject_unref(vm_wait_event(vm, "STOP"));
    vm_assert_status(vm, "paused");
    g_assert_cmpuint(vm_counter(vm, "f0", "received-packets"), ==, packets);

    vm_command(vm, "{ 'execute': 'quit' }");
    output = vm_finish(vm, EXIT_FAILURE);
    assert_says(output, SAYS("'recording' is cut", "paused (rrerror=stop)",
                             "cannot be continued"));
}

static void test_damaged_stop(const void *opaque)
{
    g_autofree char *output = NULL;
    g_autofree char *file = NULL;
    size_t len_bytes;
    Vm *vm;

    record(3, ONE RECORD);
    file = file_read("recording", &len_bytes);
    file[REPLAY_LOG_HEADER_BYTES + REPLAY_LOG_CHUNK_HDR_BYTES +
         ldl_le_p(file + REPLAY_LOG_HEADER_BYTES + CHUNK_STORED_BYTES)] ^= 1;
    file_write("recording", file, len_bytes);

    /* The first events are lost, so the guest never runs. */
    vm = vm_start(ONE REPLAY ",rrerror=stop");
    vm_assert_status(vm, "paused");
    vm_command(vm, "{ 'execute': 'quit' }");
    output = vm_finish(vm, EXIT_FAILURE);
    assert_one_message(output);
    assert_says(output, SAYS("'recording' is damaged", "chunk 1 at",
                             "paused (rrerror=stop)"));
    g_assert_cmpuint(file_size("console"), ==, 0);
}

/* --- A file that cannot grow ------------------------------------------- */

#ifdef CONFIG_LINUX
#define FILE_LIMIT_BYTES    (100 * KiB)

/*
 * Exchanges frames until the recorder reaches the limit and stops.  @frame
 * gets the last of them.  Either the guest has not sent it back yet, or its
 * answer can still be received.
 */
static Vm *record_to_limit(uint8_t frame[FRAME_MAX_BYTES])
{
    QDict *event;
    Vm *vm;

    rig.file_limit_bytes = FILE_LIMIT_BYTES;
    vm = recorder_start(1, ONE RECORD ",rrcompress=none");
    rig.file_limit_bytes = 0;
    vm_greet(vm);
    for (;;) {
        struct pollfd pfd[] = {
            { .fd = rig.peer[0], .events = POLLIN },
            { .fd = vm->qmp_fd, .events = POLLIN },
        };

        frame_make(frame, FRAME_MAX_BYTES, COMMAND_NONE);
        peer_send(0, frame, FRAME_MAX_BYTES);
        g_assert_cmpint(poll(pfd, ARRAY_SIZE(pfd), CEILING_S * 1000), >, 0);
        if (pfd[1].revents && vm_has_message(vm)) {
            break;
        }
        expect_echo(0, frame, FRAME_MAX_BYTES);
    }
    event = vm_wait_event(vm, "REPLAY_WRITE_ERROR");
    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(event, "data"), "filename"),
                    ==, "recording");
    qobject_unref(event);
    qobject_unref(vm_wait_event(vm, "STOP"));
    vm_assert_status(vm, "io-error");
    g_assert_cmpuint(file_size("recording"), <=, FILE_LIMIT_BYTES);
    return vm;
}

static void test_full_continue(const void *opaque)
{
    struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
    uint8_t frame[FRAME_MAX_BYTES];
    g_autofree char *output = NULL;
    Vm *vm = record_to_limit(frame);

    /* The limit is still there, so the recorder stops again. */
    vm_command(vm, "{ 'execute': 'cont' }");
    qobject_unref(vm_wait_event(vm, "REPLAY_WRITE_ERROR"));
    qobject_unref(vm_wait_event(vm, "STOP"));

    g_assert_cmpint(prlimit(vm->pid, RLIMIT_FSIZE, &unlimited, NULL), ==, 0);
    vm_command(vm, "{ 'execute': 'cont' }");
    expect_echo(0, frame, sizeof(frame));
    exchange_many(0, 20);
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    output = vm_finish(vm, EXIT_STATUS);
    assert_says(output, SAYS("'recording'", "File too large", "'cont'"));
    recorder_keep_console();

    assert_replays(ONE REPLAY);
}

static void test_full_quit(const void *opaque)
{
    uint8_t frame[FRAME_MAX_BYTES];
    g_autofree char *output = NULL;
    Vm *vm = record_to_limit(frame);

    vm_command(vm, "{ 'execute': 'quit' }");
    output = vm_finish(vm, EXIT_FAILURE);
    assert_says(output, SAYS("'recording'", "File too large"));
    recorder_end();

    assert_fails(vm_start(ONE REPLAY), SAYS("'recording' is cut"));
    assert_prefix();
    g_assert_cmpuint(file_size("console"), >, 0);
}
#endif

/* --- Floods and odd packets -------------------------------------------- */

static void flood(unsigned count, size_t len_bytes)
{
    g_autofree uint8_t *frame = g_malloc(len_bytes);

    while (count--) {
        frame_make(frame, len_bytes, COMMAND_NONE);
        peer_send(0, frame, len_bytes);
    }
}

/*
 * After a flood the guest gets as many frames as the ring of its adapter has
 * room for; these are at least FLOOD_SURE short ones.  Once the guest has sent
 * that many back, the ring has room for the frame that makes it exit.
 */
#define FLOOD_SURE          40

static void finish_flooded(Vm *vm)
{
    uint8_t frame[FRAME_MIN_BYTES], echo[FRAME_MIN_BYTES];
    g_autofree char *output = NULL;
    unsigned i;

    for (i = 0; i < FLOOD_SURE; i++) {
        peer_receive(0, echo);
    }
    frame_make(frame, sizeof(frame), COMMAND_EXIT);
    peer_send(0, frame, sizeof(frame));
    do {
        peer_receive(0, echo);
    } while (memcmp(echo, frame, sizeof(echo)));
    output = vm_finish(vm, EXIT_STATUS);
    assert_warns_once(output, SAYS("'n0'", "dropped"));
    recorder_end();
}

static void test_flood_of_packets(const void *opaque)
{
    Vm *vm = recorder_start(1, ONE RECORD);

    vm_command(vm, "{ 'execute': 'stop' }");
    flood(REPLAY_NET_QUEUE_MAX_PACKETS + 500, FRAME_MIN_BYTES);
    vm_wait_counter(vm, "f0", "dropped", 500);
    g_assert_cmpuint(vm_counter(vm, "f0", "received-packets"), ==, 0);
    vm_command(vm, "{ 'execute': 'cont' }");
    vm_wait_counter(vm, "f0", "received-packets", REPLAY_NET_QUEUE_MAX_PACKETS);
    finish_flooded(vm);

    assert_replays(ONE REPLAY);
}

/* Before the guest runs for the first time, its adapter accepts nothing. */
static void test_flood_of_bytes(const void *opaque)
{
    const unsigned len_bytes = 60000;
    const unsigned kept = REPLAY_NET_QUEUE_MAX_BYTES / len_bytes;
    g_autofree char *output = NULL;
    Vm *vm = vm_start(ONE RECORD " -S");

    peer_open(0);
    vm_greet(vm);
    flood(kept + 20, len_bytes);
    vm_wait_counter(vm, "f0", "dropped", 20);
    vm_command(vm, "{ 'execute': 'cont' }");
    guest_await(1);
    g_assert_cmpuint(vm_counter(vm, "f0", "received-packets"), ==, kept);
    exchange_many(0, 5);
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    output = vm_finish(vm, EXIT_STATUS);
    assert_warns_once(output, SAYS("'n0'", "dropped"));
    recorder_keep_console();

    assert_replays(ONE REPLAY);
}

#define STREAM \
    MACHINE " -netdev stream,id=n0,server=on,addr.type=unix,addr.path=n0.qemu" \
    NIC0 FILTER(0)

/* Only the empty packet is dropped, and none of those after it. */
static void test_empty_packet(const void *opaque)
{
    g_autofree char *output = NULL;
    Vm *vm = vm_start(STREAM RECORD " -S");

    vm_greet(vm);
    rig.is_stream = true;
    peer_open(0);
    qobject_unref(vm_wait_event(vm, "NETDEV_STREAM_CONNECTED"));
    vm_command(vm, "{ 'execute': 'cont' }");
    guest_await(1);

    exchange_many(0, 3);
    peer_send(0, "", 0);
    exchange_many(0, 3);
    g_assert_cmpuint(vm_counter(vm, "f0", "dropped"), ==, 1);
    g_assert_cmpuint(vm_counter(vm, "f0", "received-packets"), ==, 6);
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    output = vm_finish(vm, EXIT_STATUS);
    assert_warns_once(output, SAYS("'n0'", "empty or too long"));
    recorder_keep_console();

    /* No peer connects to the replay. */
    assert_replays(STREAM REPLAY);
}

#define SOCKET_UDP(peer, qemu) \
    "socket,id=n0,udp=127.0.0.1:" peer ",localaddr=127.0.0.1:" qemu
#define DGRAM_UDP(peer, qemu) \
    "dgram,id=n0,remote.type=inet,remote.host=127.0.0.1,remote.port=" peer \
    ",local.type=inet,local.host=127.0.0.1,local.port=" qemu

/* Datagrams have no end: those after an empty one reach the guest. */
static void test_empty_datagram(const void *opaque)
{
    bool is_dgram = opaque;
    uint16_t peer, qemu;
    g_autofree char *netdev = NULL;
    g_autofree char *replay = NULL;
    Vm *vm;

    peer_open_udp(0, &peer, &qemu);
    netdev = is_dgram ? g_strdup_printf(DGRAM_UDP("%u", "%u"), peer, qemu)
                      : g_strdup_printf(SOCKET_UDP("%u", "%u"), peer, qemu);
    vm = vm_start("%s -netdev %s%s%s", MACHINE, netdev, NIC0 FILTER(0), RECORD);
    guest_await(1);
    exchange_many(0, 3);
    peer_send(0, "", 0);
    exchange_many(0, 3);
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    recorder_finish(vm, EXIT_STATUS);

    replay = g_strdup_printf("%s -netdev %s%s%s", MACHINE, netdev,
                             NIC0 FILTER(0), REPLAY);
    assert_replays(replay);
}

/* The guest can go on sending while its peer does not read. */
static void test_slow_peer(const void *opaque)
{
    const unsigned rounds = 1000;
    const unsigned at_once = 8;         /* the NIC has room for these */
    uint8_t frame[FRAME_MIN_BYTES];
    g_autofree char *output = NULL;
    Vm *vm = vm_start(STREAM RECORD " -S");
    unsigned i;

    vm_greet(vm);
    rig.is_stream = true;
    peer_open(0);
    qobject_unref(vm_wait_event(vm, "NETDEV_STREAM_CONNECTED"));
    vm_command(vm, "{ 'execute': 'cont' }");
    guest_await(1);

    for (i = 0; i < rounds; i++) {
        frame_make(frame, sizeof(frame), COMMAND_NONE);
        peer_send(0, frame, sizeof(frame));
        expect_line(0, frame, sizeof(frame));
        if ((i + 1) % at_once == 0) {
            vm_wait_counter(vm, "f0", "sent-packets", 1 + i + 1);
        }
    }
    if (!vm_counter(vm, "f0", "unsent")) {
        fail("all packets left the filter, though the peer has read none");
    }
    g_assert_cmpuint(vm_counter(vm, "f0", "unsent-dropped"), ==, 0);
    for (i = 0; i < rounds; i++) {
        peer_receive(0, frame);
    }
    g_assert_cmpuint(vm_counter(vm, "f0", "unsent"), ==, 0);
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    output = vm_finish(vm, EXIT_STATUS);
    assert_quiet(output);
    recorder_keep_console();

    assert_replays(STREAM REPLAY);
}

#define STREAM_CLIENT \
    MACHINE " -netdev stream,id=n0,server=off,addr.type=unix,addr.path=none" \
    NIC0 FILTER(0)

/* A link that is up does not mean that a peer is connected. */
static void test_link_without_peer(const void *opaque)
{
    Vm *vm = vm_start(STREAM RECORD " -S");

    set_link(vm, false);
    set_link(vm, true);
    vm_command(vm, "{ 'execute': 'cont' }");
    vm_wait_counter(vm, "f0", "sent-packets", 1);
    set_link(vm, false);
    set_link(vm, true);

    rig.is_stream = true;
    peer_open(0);
    exchange_many(0, 3);
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    recorder_finish(vm, EXIT_STATUS);

    assert_replays(STREAM REPLAY);
}

static void test_link_without_server(const void *opaque)
{
    Vm *vm = vm_start(STREAM_CLIENT RECORD " -S");

    set_link(vm, false);
    set_link(vm, true);
    vm_command(vm, "{ 'execute': 'cont' }");
    vm_wait_counter(vm, "f0", "sent-packets", 1);
    vm_command(vm, "{ 'execute': 'quit' }");
    recorder_finish(vm, EXIT_SUCCESS);
}

/* set_link on a NIC does not bring back the netdev that it had. */
static void test_link_without_netdev(const void *opaque)
{
    const char *netdev = opaque;
    g_autofree char *output = NULL;
    Vm *vm = vm_start("%s%s -S -device ne2k_isa,id=nic,netdev=n0,"
                      "iobase=0x300,irq=9", MACHINE, netdev);

    vm_greet(vm);
    if (strstr(netdev, "stream")) {
        /* QEMU listens only some time after it was started. */
        rig.is_stream = true;
        peer_open(0);
        qobject_unref(vm_wait_event(vm, "NETDEV_STREAM_CONNECTED"));
    }
    vm_command(vm, "{ 'execute': 'netdev_del', 'arguments': { 'id': 'n0' } }");
    vm_command(vm, "{ 'execute': 'set_link', 'arguments': "
               "{ 'name': 'nic', 'up': true } }");
    vm_command(vm, "{ 'execute': 'cont' }");
    g_usleep(G_USEC_PER_SEC / 2);
    vm_assert_status(vm, "running");
    vm_command(vm, "{ 'execute': 'quit' }");
    output = vm_finish(vm, EXIT_SUCCESS);
    assert_quiet(output);
}

/*
 * A thread makes the socket of a server listen.  QMP deletes the netdev before
 * the main loop has heard of it.
 */
static void test_delete_before_listening(const void *opaque)
{
    g_autofree char *output = NULL;
    Vm *vm = vm_start(MACHINE " -S");
    unsigned i;

    for (i = 0; i < 100; i++) {
        vm_command_pair(vm, "{ 'execute': 'netdev_add', 'arguments': "
                        "{ 'type': 'stream', 'id': 'n0', 'server': true, "
                        "'addr': { 'type': 'inet', 'host': '127.0.0.1', "
                        "'port': '0' } } }",
                        "{ 'execute': 'netdev_del', 'arguments': "
                        "{ 'id': 'n0' } }");
    }
    vm_command(vm, "{ 'execute': 'quit' }");
    output = vm_finish(vm, EXIT_SUCCESS);
    assert_quiet(output);
}

/* The link of a back end is as set_link says, even after a peer connects. */
static void test_link_down_when_peer_connects(const void *opaque)
{
    static const char hub[] =
        MACHINE " -netdev stream,id=n0,server=on,addr.type=unix,"
        "addr.path=n0.qemu -netdev hubport,id=p0,hubid=0,netdev=n0"
        " -netdev hubport,id=h0,hubid=0"
        " -device ne2k_isa,netdev=h0,iobase=0x300,irq=9"
        " -object filter-replay,id=f0,netdev=h0" RECORD " -S";
    uint8_t frame[FRAME_MIN_BYTES];
    Vm *vm = vm_start("%s", hub);

    set_link(vm, false);
    rig.is_stream = true;
    peer_open(0);
    qobject_unref(vm_wait_event(vm, "NETDEV_STREAM_CONNECTED"));
    vm_command(vm, "{ 'execute': 'cont' }");
    vm_wait_counter(vm, "f0", "sent-packets", 1);
    frame_make(frame, sizeof(frame), COMMAND_NONE);
    peer_send(0, frame, sizeof(frame));
    peer_close(0);
    qobject_unref(vm_wait_event(vm, "NETDEV_STREAM_DISCONNECTED"));
    g_assert_cmpuint(vm_counter(vm, "f0", "received-packets"), ==, 0);

    peer_open(0);
    set_link(vm, true);
    exchange_many(0, 3);
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    recorder_finish(vm, EXIT_STATUS);
}

/*
 * A peer goes away without reading the packets of the guest.  The next peer
 * gets whole packets, and none of those for the first one.
 */
static void test_peer_comes_back(const void *opaque)
{
    const unsigned at_once = 8;         /* the NIC has room for these */
    uint8_t frame[FRAME_MIN_BYTES];
    Vm *vm = vm_start(STREAM RECORD " -S");
    unsigned sent = 1;
    int64_t end;

    vm_greet(vm);
    rig.is_stream = true;
    peer_open(0);
    qobject_unref(vm_wait_event(vm, "NETDEV_STREAM_CONNECTED"));
    vm_command(vm, "{ 'execute': 'cont' }");
    guest_await(1);

    while (!vm_counter(vm, "f0", "unsent")) {
        frame_make(frame, sizeof(frame), COMMAND_NONE);
        peer_send(0, frame, sizeof(frame));
        expect_line(0, frame, sizeof(frame));
        if (++sent % at_once == 0) {
            vm_wait_counter(vm, "f0", "sent-packets", sent);
        }
    }
    vm_wait_counter(vm, "f0", "sent-packets", sent);
    peer_close(0);
    end = rig_deadline();
    qobject_unref(vm_wait_event(vm, "NETDEV_STREAM_DISCONNECTED"));
    while (vm_counter(vm, "f0", "unsent")) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }

    peer_open(0);
    exchange_many(0, 3);
    exchange(0, FRAME_MIN_BYTES, COMMAND_EXIT);
    recorder_finish(vm, EXIT_STATUS);

    assert_replays(STREAM REPLAY);
}

/* --- Snapshots --------------------------------------------------------- */

#define DISK                " -drive if=none,id=d0,file=disk,format=qcow2"
#define SNAPSHOT            ",rrsnapshot=begin"

static void test_snapshot(const void *opaque)
{
    g_autofree char *command = NULL;
    g_autofree char *output = NULL;

    if (!rig.qemu_img) {
        g_test_skip("QTEST_QEMU_IMG is not set, so there is no qemu-img to "
                    "create a disk with");
        return;
    }
    command = g_strdup_printf("%s create -q -f qcow2 disk 16M", rig.qemu_img);
    g_assert_cmpint(system(command), ==, 0);

    record(3, ONE DISK RECORD SNAPSHOT);
    assert_replays(ONE DISK REPLAY SNAPSHOT);
    file_rename("recording", "recording.first");
    g_string_truncate(rig.expected, 0);
    record(3, ONE DISK RECORD SNAPSHOT);
    assert_replays(ONE DISK REPLAY SNAPSHOT);

    /* The snapshot on the disk belongs to the second recording. */
    file_rename("recording.first", "recording");
    output = vm_finish(vm_start(ONE DISK REPLAY SNAPSHOT), EXIT_FAILURE);
    assert_says(output, SAYS("belongs to another recording", "'recording'"));
}

/* --- The program ------------------------------------------------------- */

typedef struct Test {
    const char *name;
    void (*run)(const void *opaque);
    const void *opaque;
} Test;

static const Test tests[] = {
    { "packets/identical", test_round_trip, &plain },
    { "packets-uncompressed/identical", test_round_trip, &uncompressed },
    { "packets-with-shift-auto/identical", test_round_trip, &shift_auto },
    { "packets-with-sleep-off/identical", test_round_trip, &sleep_off },
    { "icount-in-config-file/identical", test_readconfig },
    { "packets-for-idle-guest/identical", test_idle },
    { "guest-resets/identical", test_reset },
    { "recorder-quits/identical", test_quit },
    { "recording-stops/identical", test_stop_continue },
    { "replay-stops/identical", test_stop_replay },
    { "replay/opens-no-back-end", test_silent },
    { "other-back-end/identical", test_other_back_end },
    { "unknown-back-end/identical-and-named", test_unknown_back_end },
    { "port-of-back-end-is-taken/identical", test_port_taken },
    { "netdev-add-before-replay/opens-no-back-end", test_netdev_add },
    { "wait-before-start/makes-no-event", test_wait_before_start },
    { "replay/counts-the-same", test_counters },
    { "options-in-other-order/identical", test_other_order },
    { "chardevs-in-other-order/identical", test_chardevs_in_other_order },
    { "chardev-without-peer/identical", test_chardev_elsewhere },
    { "chardev-without-answer/identical", test_chardev_no_answer },
    { "display-and-sound-elsewhere/identical", test_display_elsewhere },
    { "options-that-differ/named", test_other_options },
    { "chardev-of-user-without-file/refused", test_chardev_of_user },
    { "object-add-before-start/identical", test_object_add },
    { "changes-while-recording/refused", test_changes },
    { "changes-after-replay/refused", test_changes_after_replay },
    { "nic-without-filter/gets-one", test_without_filter },
    { "object-add-before-start/takes-place", test_filter_takes_place },
    { "nic-option/gets-filter", test_old_options, NIC_OPTION },
    { "net-options/get-filter", test_old_options, LEGACY },
    { "hub-with-filter/identical", test_hub },
    { "user-resets/identical", test_user_resets },
    { "user-resets-to-end/identical", test_user_resets_to_end },
    { "user-sends-nmi/identical", test_nmi },
    { "power-button/identical", test_power_button },
    { "requests-while-stopped/identical", test_request_while_stopped },
    { "user-wakes/identical", test_wakeup },
    { "requests-before-start/identical", test_requests_before_start },
    { "commands/have-a-mark", test_commands_marked },
    { "commands-that-guest-notices/refused", test_commands },
    { "migrate-before-start/refused", test_migrate_before_start },
    { "requests-after-shutdown/refused", test_request_after_shutdown },
    { "link-changes/identical", test_link },
    { "link-of-nic-option/identical", test_link_of_nic_option },
    { "link-with-long-name/refused", test_link_long_name },
    { "link-of-replay/refused", test_link_of_replay },
    { "link-down-before-start/identical", test_link_before_start },
    { "link-down-before-replay/refused", test_link_before_replay },
    { "plugging/refused", test_plugging },
    { "plugging-before-start/allowed", test_plugging_before_start },
    { "break-for-unplugged-device/ignored", test_break_for_unplugged },
    { "without-rr/everything-passes", test_without_rr },

    { "netdev-replay/refused", test_refused, &replay_netdev_plain },
    { "netdev-replay-while-recording/refused", test_refused,
      &replay_netdev_record },
    { "unknown-netdev-while-recording/refused", test_refused,
      &unknown_netdev },
    { "two-filters-on-netdev/refused", test_refused, &two_filters },
    { "queue-rx/refused", test_refused, &queue_rx },
    { "queue-tx/refused", test_refused, &queue_tx },
    { "status-off/refused", test_refused, &status_off },
    { "no-rrfile/refused", test_refused, &no_rrfile },
    { "no-shift/refused", test_refused, &no_shift },
    { "incoming/refused", test_refused, &incoming },
    { "too-many-disks/refused", test_too_many_disks },
    { "filter-redirector/refused", test_refused, &redirector },
    { "colo-compare/refused", test_refused, &colo_compare },
    { "failover/refused", test_refused, &failover },
    { "rng-egd/refused", test_refused, &rng_egd },
    { "unsafe-device/refused", test_refused, &unsafe_device },
    { "unsafe-device-with-rrunsafe/warns", test_unsafe_device },
    { "rtc-clock-rt/refused", test_refused, &rtc_clock_rt },
    { "shared-memory/refused", test_refused, &shared_memory },
    { "unknown-rr/refused", test_refused, &unknown_rr },
    { "unknown-rrcompress/refused", test_refused, &unknown_rrcompress },
    { "unknown-rrerror/refused", test_refused, &unknown_rrerror },

    { "adapter-missing/reports", test_other_machine, &adapter_missing },
    { "adapter-too-many/reports", test_other_machine, &adapter_too_many },
    { "adapter-on-other-netdev/reports", test_other_machine,
      &adapter_on_other_netdev },
    { "adapter-of-other-model/reports", test_other_machine,
      &adapter_of_other_model },
    { "adapter-with-other-mac/reports", test_other_machine,
      &adapter_with_other_mac },
    { "adapter-without-nic/reports", test_other_machine,
      &adapter_without_nic },
    { "other-machine/reports-all", test_other_machine, &all_differences },
    { "adapter-missing-at-cont/reports", test_other_machine_at_cont },

    { "unchecked-machine/reports", test_unchecked_machine },
    { "other-guest/reports", test_other_guest },
    { "cmpxchg8b/sets-no-other-flag", test_flags },

    { "no-file/reports", test_no_file },
    { "directory/reports", test_directory },
    { "fifo/reports", test_fifo },
    { "empty-file/reports", test_no_recording, &empty_file },
    { "foreign-file/reports", test_no_recording, &foreign_file },
    { "old-log/reports", test_no_recording, &old_log },
    { "old-log-0xe0200d/reports", test_no_recording, &old_log_0xe0200d },
    { "old-log-0xe0200e/reports", test_no_recording, &old_log_0xe0200e },
    { "old-log-of-killed/reports", test_no_recording, &old_log_of_killed },
    { "newer-format/reports", test_no_recording, &newer_format },

    { "record-over-recording/refused", test_overwrite_recording },
    { "record-over-cut/refused", test_overwrite_cut },
    { "record-over-foreign/refused", test_overwrite_foreign },
    { "overwrite-without-start/keeps", test_overwrite_without_start },
    { "two-recorders/refused", test_two_recorders },

    { "cut/reports", test_cut },
    { "flipped-byte/reports", test_flip },
    { "unknown-event/reports", test_unknown_event },

    { "rewritten/identical", test_rewritten },
    { "unknown-adapter/reports", test_hostile, &unknown_adapter },
    { "huge-adapter/reports", test_hostile, &huge_adapter },
    { "empty-packet/reports", test_hostile, &empty_packet },
    { "long-packet/reports", test_hostile, &long_packet },
    { "longest-event/reports", test_hostile, &longest_event },
    { "virtio-header/offered", test_offers, header_and_ufo },
    { "virtio-header-in-earlier-recording/offered", test_offers,
      header_of_earlier_recording },
    { "virtio-header-without-packet/reports", test_header_only,
      header_of_10_bytes },
    { "virtio-header-without-length/reports", test_header_only,
      header_without_length },
    { "unknown-flag/reports", test_hostile, &unknown_flag },
    { "flag-beyond-32-bits/reports", test_hostile, &flag_beyond_32_bits },
    { "unknown-chardev/reports", test_hostile, &unknown_chardev },
    { "unknown-link/reports", test_hostile, &unknown_link },
    { "long-link-name/reports", test_hostile, &long_link },
    { "half-link/reports", test_hostile, &half_link },
    { "escapes-for-link/reports", test_hostile, &escapes_for_link },
    { "unknown-machine-request/reports", test_hostile,
      &unknown_machine_request },
    { "huge-machine-request/reports", test_hostile, &huge_machine_request },
    { "wakeup-for-packet/reports", test_hostile, &wakeup_for_packet },
    { "unknown-front-end/reports", test_hostile, &unknown_mux },
    { "bytes-for-monitor/reports", test_hostile, &bytes_for_monitor },
    { "bytes-for-monitor-in-focus/reports", test_hostile, &bytes_for_focus },
    { "bytes-for-qtest/reports", test_hostile, &bytes_for_qtest },
    { "bytes-for-no-front-end/reports", test_hostile,
      &bytes_for_no_front_end },
    { "bytes-for-no-mux/reports", test_hostile, &bytes_for_no_mux },
    { "break-for-monitor/reports", test_hostile, &break_for_monitor },
    { "break-for-no-front-end/reports", test_hostile,
      &break_for_no_front_end },
    { "break-for-unknown-chardev/reports", test_hostile, &break_for_unknown },
    { "unknown-input/reports", test_hostile, &unknown_input },
    { "unknown-bottom-half/reports", test_hostile, &unknown_bottom_half },
    { "unknown-request/reports", test_hostile, &unknown_request },
    { "unknown-cause/reports", test_hostile, &unknown_cause },
    { "no-instructions/reports", test_hostile, &no_instructions },
    { "written-too-much/reports", test_hostile, &written_too_much },
    { "written-less-than-nothing/reports", test_hostile,
      &written_less_than_nothing },
    { "random-for-write/reports", test_hostile, &random_for_write },
    { "interrupt-for-packet/reports", test_hostile, &interrupt_for_packet },
    { "random-for-unknown-back-end/reports", test_hostile, &unknown_rng },
    { "random-for-unknown-back-end/reports-number", test_hostile,
      &unknown_rng_max },
    { "random-that-nobody-asked-for/reports", test_unwanted_random },
    { "checkpoint-for-packet/reports", test_hostile, &checkpoint_for_packet },

    { "two-adapters-and-link/identical", test_two_adapters_and_link },
    { "command-line/described", test_command_line },
    { "other-firmware/refused", test_other_firmware },
    { "other-tables/refused", test_other_tables },
    { "kept-recording/decodes", test_kept_decodes },
    { "kept-recording/identical", test_kept_replays },
    { "kept-recording-with-other-byte/reports", test_kept_other_byte,
      &other_byte_on },
    { "kept-recording-with-other-byte/reports-place", test_kept_other_byte,
      &other_byte_full },
    { "kept-recording-flipped/reports", test_kept_flipped },

    { "recorder-killed-at-once/reports", test_killed, GUINT_TO_POINTER(0) },
    { "recorder-killed/reports", test_killed, GUINT_TO_POINTER(1) },
    { "recorder-killed-later/reports", test_killed, GUINT_TO_POINTER(3) },
    { "recorder-killed/stops", test_killed_stop },
    { "damaged/stops", test_damaged_stop },
#ifdef CONFIG_LINUX
    { "full-file/continues", test_full_continue },
    { "full-file/quits", test_full_quit },
#endif

    { "flood-of-packets/bounded", test_flood_of_packets },
    { "flood-of-bytes/bounded", test_flood_of_bytes },
    { "peer-does-not-read/does-not-wait", test_slow_peer },
    { "empty-packet-from-netdev/dropped", test_empty_packet },
    { "empty-datagram-for-socket/ignored", test_empty_datagram },
    { "empty-datagram-for-dgram/ignored", test_empty_datagram, "dgram" },
    { "deleted-before-it-listens/continues", test_delete_before_listening },
    { "link-without-peer/identical", test_link_without_peer },
    { "link-without-server/continues", test_link_without_server },
    { "link-without-netdev-stream/continues", test_link_without_netdev,
      " -netdev stream,id=n0,server=on,addr.type=unix,addr.path=n0.qemu" },
    { "link-without-netdev-dgram/continues", test_link_without_netdev,
      DGRAM(0) },
    { "link-without-netdev-user/continues", test_link_without_netdev,
      " -netdev user,id=n0" },
    { "link-down-when-peer-connects/stays-down",
      test_link_down_when_peer_connects },
    { "peer-comes-back/gets-whole-packets", test_peer_comes_back },
    { "snapshot-of-other-recording/refused", test_snapshot },
};

static void run_test(const void *opaque)
{
    const Test *test = opaque;

    rig_set_up(test->name);
    test->run(test->opaque);
    rig_tear_down();
}

int main(int argc, char **argv)
{
    size_t i;
    int ret;

    g_test_init(&argc, &argv, NULL);
    rig_init(argv[0]);
    for (i = 0; i < ARRAY_SIZE(tests); i++) {
        g_autofree char *path = g_strconcat("netdev-replay/", tests[i].name,
                                            NULL);

        qtest_add_data_func(path, &tests[i], run_test);
    }
    ret = g_test_run();
    rig_cleanup();
    return ret;
}
