/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A program whose result depends on how the vCPUs take turns: its threads race
 * for a number without a lock.
 *
 *     race THREADS ROUNDS
 *
 * Each of several threads has a CPU of its own, if there are enough.  In each
 * round it reads the number, mixes it into a sum, and writes back one more, so
 * that additions of other threads in between get lost.  Now and then it wakes
 * another thread and waits for it, gives a page back to the kernel (which
 * interrupts the other CPUs for it), reads a clock, or starts a process.  At
 * the end the program prints the number, what it would be without the race,
 * and the sum.
 */

#define _GNU_SOURCE
#include <err.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX     64
#define PAGE_BYTES      4096

/* How many rounds there are between two of these. */
#define ROUNDS_OF_WAKE  20000
#define ROUNDS_OF_PAGE  15000
#define ROUNDS_OF_CLOCK 10000
#define ROUNDS_OF_FORK  20000

static int n_threads, n_rounds;
/* volatile: each access is one, so that the threads race */
static volatile uint64_t number;
static uint64_t sum[THREADS_MAX];
static pthread_barrier_t begin;

/* A thread waits here until the one before it has called it, or has ended. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t woken = PTHREAD_COND_INITIALIZER;
static unsigned calls[THREADS_MAX];     /* that the thread has not answered */
static int n_ended;

static void mix(int thread, uint64_t value)
{
    int i;

    /* FNV-1a; a loop, so that a vCPU can lose its turn in the middle */
    for (i = 0; i < 8; i++, value >>= 8) {
        sum[thread] = (sum[thread] ^ (value & 0xff)) * 0x100000001b3;
    }
}

static void wake_and_wait(int thread)
{
    pthread_mutex_lock(&lock);
    calls[(thread + 1) % n_threads]++;
    pthread_cond_broadcast(&woken);
    while (!calls[thread] && !n_ended) {
        pthread_cond_wait(&woken, &lock);
    }
    calls[thread] -= calls[thread] > 0;
    pthread_mutex_unlock(&lock);
}

static void change_page(void)
{
    char *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED) {
        err(1, "mmap");
    }
    *page = 1;
    munmap(page, PAGE_BYTES);
}

static void read_clock(int thread)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    mix(thread, now.tv_nsec);
}

static void start_process(void)
{
    pid_t child = fork();

    if (!child) {
        _exit(0);
    }
    if (child < 0 || waitpid(child, NULL, 0) < 0) {
        err(1, "fork");
    }
}

static void *run(void *opaque)
{
    int thread = (intptr_t)opaque;
    int round;

    pthread_barrier_wait(&begin);
    for (round = 1; round <= n_rounds; round++) {
        uint64_t seen = number;

        mix(thread, seen);
        number = seen + 1;
        if (round % ROUNDS_OF_WAKE == 0) {
            wake_and_wait(thread);
        }
        if (round % ROUNDS_OF_PAGE == 0) {
            change_page();
        }
        if (round % ROUNDS_OF_CLOCK == 0) {
            read_clock(thread);
        }
        if (round % ROUNDS_OF_FORK == 0) {
            start_process();
        }
    }
    pthread_mutex_lock(&lock);
    n_ended++;
    pthread_cond_broadcast(&woken);
    pthread_mutex_unlock(&lock);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS_MAX];
    long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t all = 0;
    int i;

    if (argc == 3) {
        n_threads = atoi(argv[1]);
        n_rounds = atoi(argv[2]);
    }
    if (n_threads < 1 || n_threads > THREADS_MAX || n_rounds < 1) {
        errx(1, "usage: race THREADS ROUNDS");
    }
    pthread_barrier_init(&begin, NULL, n_threads);
    for (i = 0; i < n_threads; i++) {
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(i % n_cpus, &set);
        if (pthread_create(&threads[i], NULL, run, (void *)(intptr_t)i)) {
            errx(1, "there are too many threads");
        }
        if (n_threads > 1) {
            pthread_setaffinity_np(threads[i], sizeof(set), &set);
        }
    }
    for (i = 0; i < n_threads; i++) {
        pthread_join(threads[i], NULL);
        all = (all ^ sum[i]) * 0x100000001b3;
    }
    printf("%llu of %llu, sum %016llx\n", (unsigned long long)number,
           (unsigned long long)n_threads * n_rounds, (unsigned long long)all);
    return 0;
}
