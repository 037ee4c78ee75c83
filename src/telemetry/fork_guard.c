/* The list of guards; its own lock is held over a fork, too. */
#include "src/telemetry/fork_guard.h"

#include <pthread.h>

#include "src/base/assert.h"

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static sl_fork_guard *guards; /* under the lock */
static bool registered;

static void prepare(void)
{
    pthread_mutex_lock(&list_lock);
    for (sl_fork_guard *guard = guards; guard; guard = guard->next)
        guard->hold(guard->user);
}

static void release_all(bool in_child)
{
    for (sl_fork_guard *guard = guards; guard; guard = guard->next)
        guard->release(guard->user, in_child);
    pthread_mutex_unlock(&list_lock);
}

static void parent(void)
{
    release_all(false);
}

static void child(void)
{
    release_all(true);
}

int sl_fork_guard_add(sl_fork_guard *guard)
{
    SL_ASSERT(guard && guard->hold && guard->release && !guard->next && !guard->previous);
    pthread_mutex_lock(&list_lock);
    if (!registered)
        registered = pthread_atfork(prepare, parent, child) == 0;
    bool ok = registered;
    if (ok) {
        guard->next = guards;
        if (guards)
            guards->previous = guard;
        guards = guard;
    }
    pthread_mutex_unlock(&list_lock);
    return ok ? 0 : SL_ENOMEM;
}

void sl_fork_guard_remove(sl_fork_guard *guard)
{
    SL_ASSERT(guard);
    pthread_mutex_lock(&list_lock);
    if (guard->previous)
        guard->previous->next = guard->next;
    else if (guards == guard)
        guards = guard->next;
    if (guard->next)
        guard->next->previous = guard->previous;
    guard->next = guard->previous = NULL;
    pthread_mutex_unlock(&list_lock);
}
