/* Words "cancel NAMESPACE TASK TIME", from the queue's thread to the loop. */
#include "src/flow/cancels.h"

#include <stdio.h>
#include <string.h>

#include "src/base/assert.h"
#include "src/base/mem.h"

#define VERB "cancel "
#define MAX_HEARD 4096 /* that the loop has not taken yet: the others are said again */

typedef struct heard {
    struct heard *next;
    uint64_t until_ns;
    size_t len;
    char text[];
} heard;

struct sl_cancels {
    sl_mailbox *box;
    const char *topics;
    sl_cancels_fn fn;
    void *user;
    pthread_mutex_t lock;
    /* Locked. */
    heard *first, **end;
    size_t count;
    bool mailed;
    sl_mail mail;
};

sl_str sl_cancels_read(const char *topics, sl_str word, uint64_t *ret_until_ns)
{
    SL_ASSERT(topics && ret_until_ns);
    char start[160];
    int len = snprintf(start, sizeof start, VERB "%.100s ", topics);
    sl_str prefix = sl_str_of(start, (size_t)len);
    sl_str rest = sl_str_sub(word, prefix.len, word.len);
    size_t space = sl_str_chr(rest, ' ');
    bool good = sl_str_starts(word, prefix) && space != SL_NPOS &&
                sl_str_to_u64(sl_str_sub(rest, space + 1, rest.len), ret_until_ns) == 0;
    return good ? sl_str_sub(rest, 0, space) : sl_str_of(NULL, 0);
}

static void deliver(sl_mail *mail)
{
    sl_cancels *c = (sl_cancels *)(void *)((char *)mail - offsetof(sl_cancels, mail));
    pthread_mutex_lock(&c->lock);
    heard *all = c->first;
    c->first = NULL;
    c->end = &c->first;
    c->count = 0;
    c->mailed = false;
    pthread_mutex_unlock(&c->lock);
    while (all) {
        heard *h = all;
        all = h->next;
        c->fn(c->user, sl_str_of(h->text, h->len), h->until_ns);
        sl_free(h);
    }
}

/* On the queue's thread. */
static void on_word(void *user, sl_str word)
{
    sl_cancels *c = user;
    uint64_t until_ns = 0;
    sl_str task = sl_cancels_read(c->topics, word, &until_ns);
    heard *h = task.len ? sl_calloc(1, sizeof *h + task.len) : NULL;
    if (!h)
        return;
    memcpy(h->text, task.ptr, task.len);
    h->len = task.len;
    h->until_ns = until_ns;
    pthread_mutex_lock(&c->lock);
    bool room = c->count < MAX_HEARD, post = room && !c->mailed;
    if (room) {
        *c->end = h;
        c->end = &h->next;
        c->count++;
        c->mailed = true;
    }
    pthread_mutex_unlock(&c->lock);
    if (post)
        sl_mailbox_post(c->box, &c->mail);
    if (!room)
        sl_free(h);
}

int sl_cancels_new(sl_queue *queue, sl_mailbox *box, const char *topics, sl_cancels_fn fn, void *user,
                   sl_cancels **ret_cancels)
{
    SL_ASSERT(queue && box && fn && ret_cancels);
    sl_cancels *c = sl_calloc(1, sizeof *c);
    if (!c || pthread_mutex_init(&c->lock, NULL) != 0) {
        sl_free(c);
        return SL_ENOMEM;
    }
    c->box = box;
    c->topics = topics;
    c->fn = fn;
    c->user = user;
    c->end = &c->first;
    c->mail.deliver = deliver;
    *ret_cancels = c; /* also on failure: the queue may have begun to tell */
    return sl_queue_hear(queue, on_word, c);
}

void sl_cancels_free(sl_cancels *cancels)
{
    while (cancels && cancels->first) {
        heard *h = cancels->first;
        cancels->first = h->next;
        sl_free(h);
    }
    if (cancels)
        (void)pthread_mutex_destroy(&cancels->lock);
    sl_free(cancels);
}

void sl_cancels_tell(sl_queue *queue, const char *topics, sl_str task, uint64_t until_ns)
{
    SL_ASSERT(topics && task.len);
    char word[SL_QUEUE_MAX_WORD_BYTES];
    int len = snprintf(word, sizeof word, VERB "%.100s %.*s %llu", topics, (int)task.len, task.ptr,
                       (unsigned long long)until_ns);
    if (len < 0 || (size_t)len >= sizeof word)
        return;
    int error = sl_queue_tell(queue, sl_str_of(word, (size_t)len));
    (void)error;
}
