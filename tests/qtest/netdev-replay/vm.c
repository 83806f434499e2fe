/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A QEMU of netdev-replay-test: its process, its output and QMP.
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#ifdef CONFIG_LINUX
#include <sys/prctl.h>
#endif
#include "libqmp.h"
#include "libqtest.h"
#include "rig.h"
#include "vm.h"

/* --- The process ------------------------------------------------------- */

static void vm_exec(char **argv, int output_fd, int qmp_fd)
{
    struct rlimit limit = { rig.file_limit_bytes, RLIM_INFINITY };
    int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

#ifdef CONFIG_LINUX
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
#endif
    if (rig.file_limit_bytes) {
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    dup2(null_fd, STDIN_FILENO);
    dup2(output_fd, STDOUT_FILENO);
    dup2(output_fd, STDERR_FILENO);
    fcntl(qmp_fd, F_SETFD, 0);
    execv(rig.binary, argv);
    perror(rig.binary);
    _exit(127);
}

Vm *vm_start(const char *fmt, ...)
{
    struct timeval ceiling = { .tv_sec = CEILING_S };
    Vm *vm = g_new0(Vm, 1);
    g_autofree char *options = NULL;
    g_autofree char *line = NULL;
    g_auto(GStrv) argv = NULL;
    int qmp[2], output[2], i;
    va_list ap;

    va_start(ap, fmt);
    options = g_strdup_vprintf(fmt, ap);
    va_end(ap);

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, qmp), ==, 0);
    g_assert_cmpint(pipe(output), ==, 0);
    for (i = 0; i < 2; i++) {
        qemu_set_cloexec(qmp[i]);
        qemu_set_cloexec(output[i]);
    }
    g_assert_cmpint(setsockopt(qmp[0], SOL_SOCKET, SO_RCVTIMEO, &ceiling,
                               sizeof(ceiling)), ==, 0);

    line = g_strdup_printf("%s %s -chardev socket,id=qmp,fd=%d "
                           "-mon chardev=qmp,mode=control",
                           rig.binary, options, qmp[1]);
    g_test_message("in %s: %s", rig.dir, line);
    g_assert_true(g_shell_parse_argv(line, NULL, &argv, NULL));

    vm->pid = fork();
    g_assert_cmpint(vm->pid, >=, 0);
    if (vm->pid == 0) {
        vm_exec(argv, output[1], qmp[1]);
    }
    close(qmp[1]);
    close(output[1]);
    vm->qmp_fd = qmp[0];
    vm->output_fd = output[0];
    vm->output = g_string_new(NULL);
    g_queue_init(&vm->events);
    g_ptr_array_add(rig.vms, vm);
    return vm;
}

/* Returns: whether the output of @vm has ended within @wait_us. */
static bool vm_read_output(Vm *vm, int64_t wait_us)
{
    struct pollfd pfd = { .fd = vm->output_fd, .events = POLLIN };
    int64_t end = g_get_monotonic_time() + wait_us;
    char buf[4096];
    ssize_t n;

    while (vm->output_fd >= 0) {
        int64_t left_us = MAX(end - g_get_monotonic_time(), 0);

        if (poll(&pfd, 1, left_us / 1000) <= 0) {
            return false;
        }
        n = read(vm->output_fd, buf, sizeof(buf));
        if (n > 0) {
            g_string_append_len(vm->output, buf, n);
        } else {
            close(vm->output_fd);
            vm->output_fd = -1;
        }
    }
    return true;
}

void vm_kill(Vm *vm)
{
    if (vm->pid) {
        kill(vm->pid, SIGKILL);
    }
    vm_read_output(vm, G_USEC_PER_SEC);
}

void vm_free(gpointer opaque)
{
    Vm *vm = opaque;
    QDict *event;

    if (vm->pid) {
        kill(vm->pid, SIGKILL);
        waitpid(vm->pid, NULL, 0);
    }
    if (vm->output_fd >= 0) {
        close(vm->output_fd);
    }
    close(vm->qmp_fd);
    while ((event = g_queue_pop_head(&vm->events))) {
        qobject_unref(event);
    }
    g_string_free(vm->output, true);
    g_free(vm);
}

char *vm_finish(Vm *vm, int status)
{
    g_autofree char *output = NULL;
    int wstatus;

    if (!vm_read_output(vm, CEILING_S * G_USEC_PER_SEC)) {
        fail("QEMU is still running after %d s", CEILING_S);
    }
    g_assert_cmpint(waitpid(vm->pid, &wstatus, 0), ==, vm->pid);
    vm->pid = 0;
    output = g_strdup(vm->output->str);
    if (status < 0) {
        if (!WIFSIGNALED(wstatus) || WTERMSIG(wstatus) != -status) {
            fail("QEMU was not killed by signal %d", -status);
        }
    } else if (WIFSIGNALED(wstatus)) {
        fail("QEMU was killed by signal %d", WTERMSIG(wstatus));
    } else if (WEXITSTATUS(wstatus) != status) {
        fail("QEMU exited with status %d, expected %d", WEXITSTATUS(wstatus),
             status);
    }
    g_ptr_array_remove(rig.vms, vm);
    return g_steal_pointer(&output);
}

/* --- QMP --------------------------------------------------------------- */

static QDict *vm_receive(Vm *vm)
{
    return qmp_fd_receive(vm->qmp_fd);
}

bool vm_has_message(Vm *vm)
{
    char c;

    while (recv(vm->qmp_fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 1) {
        /* White space behind the previous message is not a message. */
        if (!g_ascii_isspace(c)) {
            return true;
        }
        recv(vm->qmp_fd, &c, 1, 0);
    }
    return false;
}

static QDict *vm_receive_reply(Vm *vm)
{
    QDict *reply;

    while (qdict_haskey(reply = vm_receive(vm), "event")) {
        g_queue_push_tail(&vm->events, reply);
    }
    return reply;
}

void vm_greet(Vm *vm)
{
    if (!vm->greeted) {
        QDict *greeting = vm_receive(vm);

        g_assert_true(qdict_haskey(greeting, "QMP"));
        qobject_unref(greeting);
        qmp_fd_send(vm->qmp_fd, "{ 'execute': 'qmp_capabilities' }");
        qobject_unref(vm_receive_reply(vm));
        vm->greeted = true;
    }
}

static QDict * G_GNUC_PRINTF(2, 0) vm_vqmp(Vm *vm, const char *fmt, va_list ap)
{
    vm_greet(vm);
    qmp_fd_vsend(vm->qmp_fd, fmt, ap);
    return vm_receive_reply(vm);
}

void vm_continue(Vm *vm)
{
    vm_greet(vm);
    qmp_fd_send(vm->qmp_fd, "{ 'execute': 'cont' }");
}

void vm_command_pair(Vm *vm, const char *first, const char *second)
{
    int i;

    vm_greet(vm);
    qmp_fd_send_raw(vm->qmp_fd, "%s %s", first, second);
    for (i = 0; i < 2; i++) {
        QDict *reply = vm_receive_reply(vm);

        if (!qdict_haskey(reply, "return")) {
            fail("the QMP command '%s' failed: %s", i ? second : first,
                 qdict_get_str(qdict_get_qdict(reply, "error"), "desc"));
        }
        qobject_unref(reply);
    }
}

QDict *vm_query(Vm *vm, const char *fmt, ...)
{
    QDict *reply;
    va_list ap;

    va_start(ap, fmt);
    reply = vm_vqmp(vm, fmt, ap);
    va_end(ap);
    if (!qdict_haskey(reply, "return")) {
        fail("the QMP command '%s' failed: %s", fmt,
             qdict_get_str(qdict_get_qdict(reply, "error"), "desc"));
    }
    return reply;
}

void vm_refuses(Vm *vm, const char *reason, const char *fmt, ...)
{
    QDict *reply;
    const char *desc;
    va_list ap;

    va_start(ap, fmt);
    reply = vm_vqmp(vm, fmt, ap);
    va_end(ap);
    if (!qdict_haskey(reply, "error")) {
        fail("the QMP command '%s' succeeded, but QEMU should refuse it", fmt);
    }
    desc = qdict_get_str(qdict_get_qdict(reply, "error"), "desc");
    if (!strstr(desc, reason)) {
        fail("the QMP command '%s' failed, but its error does not contain "
             "'%s': %s", fmt, reason, desc);
    }
    qobject_unref(reply);
}

char *vm_human(Vm *vm, const char *line)
{
    QDict *reply = vm_query(vm, "{ 'execute': 'human-monitor-command', "
                            "'arguments': { 'command-line': %s } }", line);
    char *text = g_strdup(qdict_get_str(reply, "return"));

    qobject_unref(reply);
    return text;
}

static bool vm_is_event(QDict *message, const char *name)
{
    return g_str_equal(qdict_get_try_str(message, "event") ?: "", name);
}

QDict *vm_wait_event(Vm *vm, const char *name)
{
    QDict *message;

    vm_greet(vm);
    for (;;) {
        message = g_queue_pop_head(&vm->events) ?: vm_receive(vm);
        if (vm_is_event(message, name)) {
            return message;
        }
        qobject_unref(message);
    }
}

void vm_assert_status(Vm *vm, const char *status)
{
    QDict *reply = vm_query(vm, "{ 'execute': 'query-status' }");

    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(reply, "return"), "status"),
                    ==, status);
    qobject_unref(reply);
}

void vm_quit_failed(Vm *vm)
{
    vm_command(vm, "{ 'execute': 'quit' }");
    g_free(vm_finish(vm, EXIT_FAILURE));
}

/* --- The filter -------------------------------------------------------- */

uint64_t vm_counter(Vm *vm, const char *filter, const char *counter)
{
    g_autofree char *path = g_strdup_printf("/objects/%s", filter);
    QDict *reply = vm_query(vm, "{ 'execute': 'qom-get', 'arguments': "
                            "{ 'path': %s, 'property': %s } }", path, counter);
    uint64_t value = qdict_get_int(reply, "return");

    qobject_unref(reply);
    return value;
}

void vm_wait_counter(Vm *vm, const char *filter, const char *counter,
                     uint64_t value)
{
    int64_t end = rig_deadline();
    uint64_t now;

    while ((now = vm_counter(vm, filter, counter)) < value) {
        if (g_get_monotonic_time() > end) {
            fail("after %d s the counter '%s' of the filter '%s' is %" PRIu64
                 ", expected %" PRIu64, CEILING_S, counter, filter, now,
                 value);
        }
    }
    g_assert_cmpuint(now, ==, value);
}

void vm_add_filter(Vm *vm, unsigned n)
{
    g_autofree char *id = g_strdup_printf("f%u", n);
    g_autofree char *netdev = g_strdup_printf("n%u", n);

    vm_command(vm, "{ 'execute': 'object-add', 'arguments': { 'qom-type': "
               "'filter-replay', 'id': %s, 'netdev': %s } }", id, netdev);
}
