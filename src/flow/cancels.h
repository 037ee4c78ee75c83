/*
 * What is cancelled in a cluster: every process that runs tasks is told, whoever it is that has this one. A word that
 * was not heard is said again by the server that has the task, as soon as whoever runs it says anything of it. A word
 * says when: a task that was resumed since, and so put anew by the same server, is not meant.
 */
#ifndef SL_FLOW_CANCELS_H
#define SL_FLOW_CANCELS_H

#include "src/flow/server_mail.h"
#include "src/queue/queue.h"

typedef struct sl_cancels sl_cancels;

/* Messages of `task` that were put until `until_ns` (Unix time, by the clock of the server that has it) are not to run.
 */
typedef void (*sl_cancels_fn)(void *user, sl_str task, uint64_t until_ns);

/* Listens for tasks of a namespace: `fn` is called on the loop, by way of `box`. Errors: SL_ENOMEM, SL_EIO. */
SL_MUST_CHECK int sl_cancels_new(sl_queue *queue, sl_mailbox *box, const char *topics, sl_cancels_fn fn, void *user,
                                 sl_cancels **ret_cancels);
/* After the queue is closed. NULL is accepted. */
void sl_cancels_free(sl_cancels *cancels);
/* Tells all of them; what cannot be told now is said again later. */
void sl_cancels_tell(sl_queue *queue, const char *topics, sl_str task, uint64_t until_ns);
/* The task that a word of the namespace names; empty: it is none, and `*ret_until_ns` is left alone. */
sl_str sl_cancels_read(const char *topics, sl_str word, uint64_t *ret_until_ns);

#endif
