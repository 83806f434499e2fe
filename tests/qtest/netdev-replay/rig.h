/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each test of netdev-replay-test has a directory of its own, with the guest's
 * BIOS image in it.  Here are that directory, the files in it, and the report
 * when the test fails.
 *
 * The directory is the working directory of the test program and of QEMU, so
 * that all file names are short.
 */

#ifndef NETDEV_REPLAY_RIG_H
#define NETDEV_REPLAY_RIG_H

/* A test fails if it has waited for anything as long as this. */
#define CEILING_S           30

#define ADAPTERS            2

#define BIOS_BYTES          (64 * KiB)

typedef struct Rig {
    char *binary;           /* QEMU's absolute path, from realpath() */
    char *qemu_img;         /* likewise; or NULL */
    const char *program;    /* the path of the test program */
    char *home;             /* where the test program was started */

    /* for each test */
    const char *test;       /* its name */
    char *dir;              /* its working directory */
    GPtrArray *vms;         /* of Vm, owned: those that still run */
    int peer[ADAPTERS];     /* sockets; -1 where there is no peer */
    bool is_stream;         /* the peers' sockets are SOCK_STREAM */
    bool is_udp;            /* they are UDP sockets, connected to QEMU's */
    unsigned frames;        /* made so far; each has a number */
    GString *expected;      /* the lines of the console, without their times */
    uint64_t file_limit_bytes;  /* RLIMIT_FSIZE of the next QEMU; 0: none */
} Rig;

extern Rig rig;

/* Ends the test program; the test has failed, for the reason given. */
#define fail(...) rig_fail_at(__FILE__, __LINE__, G_STRFUNC, __VA_ARGS__)

void G_NORETURN G_GNUC_PRINTF(4, 5)
rig_fail_at(const char *file, int line, const char *func, const char *fmt, ...);

/* Returns: the time when a wait that begins now must fail, monotonic, in us. */
int64_t rig_deadline(void);

/* Before the first test, and after the last one. */
void rig_init(const char *program);
void rig_cleanup(void);

/*
 * Before and after the test called @test, a string that stays.  With
 * NETDEV_REPLAY_KEEP in the environment, the test's directory stays too.
 */
void rig_set_up(const char *test);
void rig_tear_down(void);

/* Returns: the size in bytes, 0 if there is no such file. */
uint64_t file_size(const char *name);

/* Returns: the content, owned, with a NUL behind it. */
char *file_read(const char *name, size_t *len_bytes);

/* The same, of a text file in tests/data/replay. */
char *file_read_data(const char *name);

void file_write(const char *name, const void *data, size_t len_bytes);
void file_rename(const char *from, const char *to);

#endif
