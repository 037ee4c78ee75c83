/*
 * What a fork() does to locks: an object that has some takes them before it and gives them back after it, in the
 * parent and in the child. So a child finds every lock free and what it guards whole, whatever the parent's other
 * threads did at that moment.
 *
 * One pthread_atfork for all objects, registered with the first of them. Guards are independent of each other: whoever
 * holds a lock of one must not wait for a lock of another.
 */
#ifndef SL_TELEMETRY_FORK_GUARD_H
#define SL_TELEMETRY_FORK_GUARD_H

#include <sightline/base.h>

/* Lies in the object that it guards. */
typedef struct sl_fork_guard {
    void (*hold)(void *user);
    void (*release)(void *user, bool in_child);
    void *user;
    /* Of the list. */
    struct sl_fork_guard *next;
    struct sl_fork_guard *previous;
} sl_fork_guard;

/* From here on until sl_fork_guard_remove. Errors: SL_ENOMEM. Any thread. */
SL_MUST_CHECK int sl_fork_guard_add(sl_fork_guard *guard);
/* Must be called before the object goes. Waits for a fork under way. */
void sl_fork_guard_remove(sl_fork_guard *guard);

#endif
