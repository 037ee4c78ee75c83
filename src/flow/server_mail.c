/* A locked list and a wake-up. */
#include "src/flow/server_mail.h"

#include "src/base/assert.h"

void sl_mailbox_deliver(sl_mailbox *box)
{
    SL_ASSERT(box);
    pthread_mutex_lock(&box->lock);
    sl_mail *list = box->first;
    box->first = NULL;
    box->end = &box->first;
    pthread_mutex_unlock(&box->lock);
    while (list) {
        sl_mail *mail = list;
        list = mail->next;
        mail->next = NULL;
        mail->deliver(mail);
    }
}

static void on_wake(uv_async_t *handle)
{
    SL_ASSERT(handle);
    sl_mailbox_deliver(handle->data);
}

int sl_mailbox_init(sl_mailbox *box, sl_loop *loop)
{
    SL_ASSERT(box && loop);
    memset(box, 0, sizeof *box);
    box->end = &box->first;
    if (pthread_mutex_init(&box->lock, NULL) != 0)
        return SL_ENOMEM;
    if (uv_async_init(&loop->uv, &box->wake, on_wake) != 0) {
        pthread_mutex_destroy(&box->lock);
        return SL_EIO;
    }
    box->wake.data = box;
    box->open = true;
    return 0;
}

void sl_mailbox_post(sl_mailbox *box, sl_mail *mail)
{
    SL_ASSERT(box && mail && mail->deliver);
    pthread_mutex_lock(&box->lock);
    bool first = !box->first;
    mail->next = NULL;
    *box->end = mail;
    box->end = &mail->next;
    if (first)
        (void)uv_async_send(&box->wake);
    pthread_mutex_unlock(&box->lock);
}

void sl_mailbox_close(sl_mailbox *box)
{
    SL_ASSERT(box);
    if (!box->open)
        return;
    box->open = false;
    uv_close((uv_handle_t *)&box->wake, NULL);
}

void sl_mailbox_done(sl_mailbox *box)
{
    SL_ASSERT(!box->open);
    pthread_mutex_destroy(&box->lock);
}
