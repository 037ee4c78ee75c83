/*
 * Hands things from other threads to the loop: nodes lie in what they belong to, so that posting cannot fail.
 */
#ifndef SL_FLOW_SERVER_MAIL_H
#define SL_FLOW_SERVER_MAIL_H

#include <pthread.h>

#include "src/net/loop.h"

typedef struct sl_mail sl_mail;
struct sl_mail {
    sl_mail *next;
    void (*deliver)(sl_mail *mail); /* on the loop's thread; the node is free again */
};

typedef struct sl_mailbox {
    uv_async_t wake;
    bool open;
    /* Locked. */
    pthread_mutex_t lock;
    sl_mail *first, **end;
} sl_mailbox;

/* Errors: SL_EIO, SL_ENOMEM. */
SL_MUST_CHECK int sl_mailbox_init(sl_mailbox *box, sl_loop *loop);
/* Any thread. A node that waits must not be posted again. */
void sl_mailbox_post(sl_mailbox *box, sl_mail *mail);
/* Delivers what waits now, in order. On the loop's thread. */
void sl_mailbox_deliver(sl_mailbox *box);
/* Closes the handle; nobody posts any more. Run the loop, then sl_mailbox_done. */
void sl_mailbox_close(sl_mailbox *box);
void sl_mailbox_done(sl_mailbox *box);

#endif
