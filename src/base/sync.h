/* Deadlines and condition variables on the monotonic clock, and threads that take no signals. */
#ifndef SL_BASE_SYNC_H
#define SL_BASE_SYNC_H

#include <pthread.h>
#include <signal.h>

#include "src/base/assert.h"
#include "src/base/clock.h"

#define SL_FOREVER UINT64_MAX

/* Monotonic nanosecond `timeout_ms` from now. */
static inline uint64_t sl_deadline_ns(uint64_t timeout_ms)
{
    uint64_t now = sl_mono_ns();
    return timeout_ms > (SL_FOREVER - now) / 1000000u ? SL_FOREVER : now + timeout_ms * 1000000u;
}

/* Milliseconds left, rounded up; 0 when it has passed. */
static inline uint64_t sl_deadline_left_ms(uint64_t deadline_ns)
{
    uint64_t now = sl_mono_ns();
    if (deadline_ns <= now)
        return 0;
    return (deadline_ns - now) / 1000000u + ((deadline_ns - now) % 1000000u != 0);
}

/* A condition variable whose timed waits use the monotonic clock. Errors: SL_ENOMEM. */
static inline int sl_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    if (pthread_condattr_init(&attr))
        return SL_ENOMEM;
    int error = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) || pthread_cond_init(cond, &attr) ? SL_ENOMEM : 0;
    (void)pthread_condattr_destroy(&attr);
    return error;
}

/* Waits for a signal, not longer than until `deadline_ns`. False when that has passed. */
static inline bool sl_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t deadline_ns)
{
    if (deadline_ns == SL_FOREVER)
        return pthread_cond_wait(cond, lock) == 0;
    struct timespec at = {(time_t)(deadline_ns / 1000000000u), (long)(deadline_ns % 1000000000u)};
    return pthread_cond_timedwait(cond, lock, &at) == 0;
}

/*
 * What our threads block: the host's handlers run on the host's threads. Not the faults of a thread itself: blocked,
 * the kernel ends the process at once, and whoever watches for crashes is not asked.
 */
static inline void sl_thread_mask(sigset_t *ret_mask)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    SL_ASSERT(ret_mask);
    sigfillset(ret_mask);
    for (unsigned i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(ret_mask, faults[i]);
}

/* Starts a thread with signals blocked: see sl_thread_mask. Errors: SL_ENOMEM. */
static inline int sl_thread_start(pthread_t *ret_thread, void *(*run)(void *), void *user)
{
    SL_ASSERT(ret_thread && run);
    sigset_t mask, before;
    sl_thread_mask(&mask);
    if (pthread_sigmask(SIG_SETMASK, &mask, &before))
        return SL_ENOMEM;
    int error = pthread_create(ret_thread, NULL, run, user) ? SL_ENOMEM : 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

#endif
